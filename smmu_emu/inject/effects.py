# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fault does: frozen values, named as in plan files.

Numbers that replace data are little-endian, as memory is. Which effect goes with which site says
`smmu_emu.inject.sites`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Abort:
    """The access ends in an external abort; a write has then not happened."""

    kind: ClassVar[str] = "abort"


@dataclass(frozen=True)
class Poison:
    """What lies there is lost: the doublewords hold garbage, and reads at this site abort until
    somebody has written them anew."""

    kind: ClassVar[str] = "poison"


@dataclass(frozen=True)
class Flip:
    """Bits change: those numbered in ``bits`` from the lowest, or ``count`` that the seed picks."""

    kind: ClassVar[str] = "flip"
    bits: tuple[int, ...] = ()
    count: int = 0


@dataclass(frozen=True)
class Stuck:
    """The bits of ``mask`` are those of ``value``, whatever is there; of a wire, ``value`` is its
    level."""

    kind: ClassVar[str] = "stuck"
    value: int = 0
    mask: int = -1


@dataclass(frozen=True)
class Replace:
    """Other data, as many bytes as the access has: ``value``, cut or filled with zeros."""

    kind: ClassVar[str] = "replace"
    value: int = 0


@dataclass(frozen=True)
class SetField:
    """One field of a structure, by its name in the specification, gets another value."""

    kind: ClassVar[str] = "set"
    field: str = ""
    value: int = 0


@dataclass(frozen=True)
class Drop:
    """It never happens, and nobody is told: a write is lost, a command does nothing, an interrupt
    does not arrive, a cached entry is gone, a transaction never reaches the SMMU."""

    kind: ClassVar[str] = "drop"


@dataclass(frozen=True)
class Duplicate:
    """It happens again, ``copies`` times more."""

    kind: ClassVar[str] = "duplicate"
    copies: int = 1


@dataclass(frozen=True)
class Reorder:
    """It changes places with the next one at the same site."""

    kind: ClassVar[str] = "reorder"


@dataclass(frozen=True)
class Delay:
    """It happens ``ns`` nanoseconds of virtual time later."""

    kind: ClassVar[str] = "delay"
    ns: int = 0


@dataclass(frozen=True)
class Rewrite:
    """A transaction says something else; None leaves that as it is. ``substream`` -1 is none.

    ``iova_offset`` is added to the address, modulo 2^64.
    """

    kind: ClassVar[str] = "rewrite"
    stream: int | None = None
    substream: int | None = None
    iova: int | None = None
    iova_offset: int = 0
    write: bool | None = None
    privileged: bool | None = None
    instruction: bool | None = None


@dataclass(frozen=True)
class Dma:
    """A device sends a transaction of its own making: ``size`` bytes at ``iova``.

    ``translated`` claims that the address was granted by ATS. None takes over what the access that
    triggered it has. Writes bring bytes of ``pattern``.
    """

    kind: ClassVar[str] = "dma"
    stream: int | None = None
    substream: int | None = None
    iova: int | None = None
    size: int = 8
    write: bool = True
    translated: bool = False
    pattern: int = 0xBD


@dataclass(frozen=True)
class PageRequests:
    """A device asks for ``count`` pages from ``iova`` on, and waits for no answer."""

    kind: ClassVar[str] = "page-requests"
    stream: int | None = None
    iova: int = 0
    count: int = 1
    substream: int | None = None


Effect = (
    Abort
    | Poison
    | Flip
    | Stuck
    | Replace
    | SetField
    | Drop
    | Duplicate
    | Reorder
    | Delay
    | Rewrite
    | Dma
    | PageRequests
)

EFFECTS: dict[str, type[Effect]] = {
    one.kind: one
    for one in (
        *(Abort, Poison, Flip, Stuck, Replace, SetField, Drop, Duplicate, Reorder, Delay),
        *(Rewrite, Dma, PageRequests),
    )
}
"""Every effect by the word that files use."""
