# SPDX-License-Identifier: GPL-2.0-or-later
"""What a table is made from, and what each format yields for the hardware's registers.

The names are those of Linux's `struct io_pgtable_cfg`. The configuration that is passed in is
never changed: the one a table ends up with (page sizes reduced to one granule, address sizes
clamped) is `table.cfg`, and the register values are `table.regs`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgtable.errors import ConfigRefusedError

if TYPE_CHECKING:
    from pgtable.flush import FlushOps

ENOMEM = 12
EEXIST = 17
EINVAL = 22
ERANGE = 34


class Prot(enum.IntFlag):
    """What a mapping allows and how it is cached; the values are Linux's IOMMU_*."""

    READ = 1
    WRITE = 2
    CACHE = 4
    NOEXEC = 8
    MMIO = 16
    PRIV = 32

    # Protections are looked up on every map call; the hash that enum makes from the name is slow.
    __hash__ = int.__hash__


class Quirk(enum.IntFlag):
    """Deviations of hardware that a format can accommodate; bit numbers as in Linux."""

    ARM_NS = 1 << 0
    NO_PERMS = 1 << 1
    ARM_MTK_EXT = 1 << 3
    ARM_MTK_TTBR_EXT = 1 << 4
    ARM_TTBR1 = 1 << 5
    ARM_OUTER_WBWA = 1 << 6
    ARM_HD = 1 << 7
    ARM_S2FWB = 1 << 8
    NO_WARN = 1 << 9


def flag_names(flags: enum.IntFlag) -> str:
    """Write flags by their names: ARM_NS|ARM_HD; bits without a name in hexadecimal."""
    names = [flag.name or "" for flag in type(flags) if flag & flags]
    rest = flags & ~sum(type(flags))
    return "|".join([*names, *([hex(rest)] if rest else [])]) or "none"


@dataclass(frozen=True, kw_only=True)
class PageTableConfig:
    """What the caller asks of a format.

    `pgsize_bitmap`: one bit a page size in bytes. `ias`, `oas`: input and output address size in
    bits. `coherent_walk`: the walker sees the CPU's caches; if not, each write is followed by a
    `sync` of the memory. `tlb`: whom to tell what to invalidate. `alloc(size) -> address or None`
    and `free(address, size)`: a custom allocator of table memory, both or none.
    `cpu_page_size`: in bytes, that of the CPU the driver would run on; it picks the granule.
    `warn`: called with a sentence wherever Linux prints a warning.
    """

    pgsize_bitmap: int
    ias: int
    oas: int
    quirks: int = 0
    coherent_walk: bool = True
    tlb: FlushOps | None = None
    alloc: Callable[[int], int | None] | None = field(default=None, repr=False)
    free: Callable[[int, int], None] | None = field(default=None, repr=False)
    cpu_page_size: int = 0x1000
    warn: Callable[[str], None] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("pgsize_bitmap", "ias", "oas", "quirks", "cpu_page_size"):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise ConfigRefusedError(name, value, "an integer is needed")
            if value < 0:
                raise ConfigRefusedError(name, value, "must not be negative")
        page = self.cpu_page_size
        if page & (page - 1) or page < 0x1000:
            raise ConfigRefusedError("cpu_page_size", page, "a power of two of at least 0x1000")

    def __repr__(self) -> str:
        quirks = f", quirks={flag_names(Quirk(self.quirks))}" if self.quirks else ""
        walk = "" if self.coherent_walk else ", coherent_walk=False"
        return (
            f"PageTableConfig(pgsize_bitmap={self.pgsize_bitmap:#x}, ias={self.ias}, "
            f"oas={self.oas}{quirks}{walk})"
        )


def _hex(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_hex, value))})"
    return hex(value) if isinstance(value, int) and value > 9 else repr(value)


@dataclass(frozen=True)
class Tcr:
    """Fields for one half of TCR_ELx (stage 1). Spec: DDI 0487 D24.2 TCR_EL1."""

    ips: int
    tg: int
    sh: int
    orgn: int
    irgn: int
    tsz: int


@dataclass(frozen=True)
class Vtcr:
    """Fields for VTCR_EL2 (stage 2). Spec: DDI 0487 D24.2 VTCR_EL2."""

    ps: int
    tg: int
    sh: int
    orgn: int
    irgn: int
    sl: int
    tsz: int


class Regs:
    """Base of what a format yields for the hardware's registers; prints them in hexadecimal."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_hex(value)}" for name, value in vars(self).items())
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True, repr=False)
class ArmLpaeS1Regs(Regs):
    """Stage 1 of the long-descriptor format: table base, TCR fields, MAIR."""

    ttbr: int
    tcr: Tcr
    mair: int


@dataclass(frozen=True, repr=False)
class ArmLpaeS2Regs(Regs):
    """Stage 2 of the long-descriptor format: table base and VTCR fields."""

    vttbr: int
    vtcr: Vtcr


@dataclass(frozen=True, repr=False)
class ArmMaliLpaeRegs(Regs):
    """Mali: the address space's TRANSTAB and MEMATTR registers."""

    transtab: int
    memattr: int


@dataclass(frozen=True, repr=False)
class ArmV7sRegs(Regs):
    """The short-descriptor format: TTBR, TCR, and the TEX remap registers."""

    ttbr: int
    tcr: int
    nmrr: int
    prrr: int


@dataclass(frozen=True, repr=False)
class AppleDartRegs(Regs):
    """Apple's DART: the addresses of up to four top tables, and how deep the trees are.

    `n_levels` counts the TTBR level too.
    """

    ttbr: tuple[int, ...]
    n_ttbrs: int
    n_levels: int
