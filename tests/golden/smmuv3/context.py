# SPDX-License-Identifier: GPL-2.0-or-later
"""What the twin knows of a stream: the decoded STE and CD, as QEMU caches them.

Spec: IHI 0070 5.2, 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field

OAS_BITS = 44


@dataclass(frozen=True, slots=True)
class Stage2:
    """What a stage-2 walk needs."""

    granule: int
    start: int
    input_bits: int
    output_bits: int
    ttb: int
    affd: bool
    recorded: bool
    ptw: bool


@dataclass(frozen=True, slots=True)
class Half:
    """One of the two address ranges of stage 1; ``ttb`` after stage 2, ``ttb_ipa`` before."""

    granule: int
    tsz: int
    ttb: int
    ttb_ipa: int
    had: bool

    @property
    def input_bits(self) -> int:
        return 64 - self.tsz


@dataclass(slots=True)
class Config:
    """A decoded STE and CD, as QEMU keeps it for each StreamID."""

    aborts: bool = False
    bypasses: bool = False
    vmid: int = -1
    asid: int = -1
    aset: int = 0
    stage1: bool = False
    stage2: Stage2 | None = None
    output_bits: int = OAS_BITS
    affd: bool = False
    recorded: bool = False
    tbi: tuple[int, int] = (0, 0)
    halves: tuple[Half | None, Half | None] = (None, None)
    names: frozenset[str] = field(default_factory=frozenset)
