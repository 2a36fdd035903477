# SPDX-License-Identifier: GPL-2.0-or-later
"""Shape and registers of a long-descriptor table: which granule, how many levels, what TCR.

Models how Linux turns a driver's wishes into a table's geometry: one granule is chosen, the page
sizes are reduced to what that granule has, address sizes are clamped, the first level gets as
many entries as the input size leaves for it.

Spec: DDI 0487 D8.2 (translation granules, initial lookup level, concatenation), D24.2 (TCR, VTCR,
MAIR fields).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pgtable.config import (
    ArmLpaeS1Regs,
    ArmLpaeS2Regs,
    PageTableConfig,
    Quirk,
    Tcr,
    Vtcr,
    flag_names,
)
from pgtable.errors import ConfigRefusedError

SZ_4K, SZ_16K, SZ_64K = 0x1000, 0x4000, 0x10000
SZ_2M, SZ_32M, SZ_512M = 1 << 21, 1 << 25, 1 << 29
SZ_1G, SZ_4T = 1 << 30, 1 << 42

LEVELS = 4
MAX_CONCATENATED = 16
ENTRY_LG2 = 3

SIZES_OF_GRANULE = {
    SZ_4K: SZ_4K | SZ_2M | SZ_1G,
    SZ_16K: SZ_16K | SZ_32M,
    SZ_64K: SZ_64K | SZ_512M,
}
ADDRESS_SIZE_CODE = {32: 0, 36: 1, 40: 2, 42: 3, 44: 4, 48: 5, 52: 6}
TG0 = {SZ_4K: 0, SZ_16K: 2, SZ_64K: 1}
TG1 = {SZ_4K: 2, SZ_16K: 1, SZ_64K: 3}

SH_OUTER, SH_INNER = 2, 3
RGN_NON_CACHEABLE, RGN_WRITE_BACK = 0, 1

# Attribute 0: Normal non-cacheable, 1: write-back, 2: Device-nGnRE, 3: inner non-cacheable outer
# write-back. Linux forms the word in a signed 32-bit type, which fills the upper half with ones.
MAIR = 0xFFFF_FFFF_F404_FF44


@dataclass(frozen=True)
class Geometry:
    """Shape of a table: `bits` of index a level, the first level and its own index bits."""

    bits: int
    start_level: int
    pgd_bits: int

    @property
    def granule(self) -> int:
        """Size in bytes of a page, and of every table but the first."""
        return 1 << self.bits + ENTRY_LG2

    @property
    def pgd_size(self) -> int:
        """Size in bytes of the first table."""
        return 1 << self.pgd_bits + ENTRY_LG2

    def shift(self, level: int) -> int:
        """Log2 of the bytes an entry of this level covers."""
        return (LEVELS - level) * self.bits + ENTRY_LG2

    def mask(self, level: int) -> int:
        """Mask of an index into a table of this level."""
        return (1 << (self.pgd_bits if level == self.start_level else self.bits)) - 1


def check_quirks(cfg: PageTableConfig, allowed: int) -> None:
    """Raise ConfigRefusedError for quirks a format does not know."""
    extra = cfg.quirks & ~allowed
    if extra:
        accepted = f"accepted quirks: {flag_names(Quirk(allowed))}"
        raise ConfigRefusedError("quirks", Quirk(cfg.quirks), accepted)


def check_limit(cfg: PageTableConfig, field: str, limit: int) -> None:
    """Raise ConfigRefusedError when an address size is over what the format can express."""
    value = getattr(cfg, field)
    if value > limit:
        raise ConfigRefusedError(field, value, f"at most {limit} bits")


def only_4k(cfg: PageTableConfig) -> PageTableConfig:
    """Drop all page sizes but those of the 4K granule."""
    return dataclasses.replace(cfg, pgsize_bitmap=cfg.pgsize_bitmap & SIZES_OF_GRANULE[SZ_4K])


def restrict(cfg: PageTableConfig) -> PageTableConfig:
    """Choose the granule, drop what it does not have, clamp the address sizes.

    The CPU's page size if the hardware has it, else the largest below it, else the smallest
    above.
    """
    bitmap, page = cfg.pgsize_bitmap, cfg.cpu_page_size
    below, above = bitmap & (page - 1), bitmap & ~(page - 1)
    if bitmap & page:
        granule = page
    elif below:
        granule = 1 << below.bit_length() - 1
    else:
        granule = above & -above
    sizes = SIZES_OF_GRANULE.get(granule, 0)
    limit = 48
    if granule == SZ_64K:
        limit = 52
        if cfg.oas > 48:
            sizes |= SZ_4T
    return dataclasses.replace(
        cfg, pgsize_bitmap=bitmap & sizes, ias=min(cfg.ias, limit), oas=min(cfg.oas, limit)
    )


def shape(asked: PageTableConfig) -> tuple[PageTableConfig, Geometry]:
    """Return the restricted configuration and the geometry it leads to.

    Raises: ConfigRefusedError.
    """
    cfg = restrict(asked)
    if not cfg.pgsize_bitmap & (SZ_4K | SZ_16K | SZ_64K):
        raise ConfigRefusedError(
            "pgsize_bitmap",
            asked.pgsize_bitmap,
            "holds no granule (4K, 16K or 64K) this format can use here",
        )
    page_lg2 = (cfg.pgsize_bitmap & -cfg.pgsize_bitmap).bit_length() - 1
    bits = page_lg2 - ENTRY_LG2
    va_bits = cfg.ias - page_lg2
    if va_bits <= 0:
        raise ConfigRefusedError("ias", asked.ias, f"must be more than a page's {page_lg2} bits")
    levels = -(-va_bits // bits)
    return cfg, Geometry(bits, LEVELS - levels, va_bits - bits * (levels - 1))


def stage_1_tcr(cfg: PageTableConfig, geometry: Geometry) -> Tcr:
    """Return the TCR fields of a stage 1 table.

    Raises: ConfigRefusedError.
    """
    outer = bool(cfg.quirks & Quirk.ARM_OUTER_WBWA)
    if cfg.coherent_walk and outer:
        raise ConfigRefusedError(
            "quirks", Quirk(cfg.quirks), "ARM_OUTER_WBWA is for walks that are not coherent"
        )
    sh, irgn, orgn = _cacheability(cfg)
    return Tcr(
        ips=_address_size(cfg),
        tg=(TG1 if cfg.quirks & Quirk.ARM_TTBR1 else TG0)[geometry.granule],
        sh=sh,
        orgn=RGN_WRITE_BACK if outer else orgn,
        irgn=irgn,
        tsz=64 - cfg.ias,
    )


def stage_2_vtcr(cfg: PageTableConfig, geometry: Geometry) -> Vtcr:
    """Return the VTCR fields of a stage 2 table.

    Raises: ConfigRefusedError.
    """
    sh, irgn, orgn = _cacheability(cfg)
    # SL0 counts down from the last level, and one further with 4K granules.
    start = geometry.start_level + (geometry.granule == SZ_4K)
    return Vtcr(
        ps=_address_size(cfg),
        tg=TG0[geometry.granule],
        sh=sh,
        orgn=orgn,
        irgn=irgn,
        sl=~start & 3,
        tsz=64 - cfg.ias,
    )


def must_concatenate(cfg: PageTableConfig, geometry: Geometry) -> bool:
    """Say whether the architecture wants concatenated tables in place of a first level.

    Spec: DDI 0487 D8.2, rules R_DXBSH and R_SRKBC.
    """
    where = (geometry.granule, geometry.start_level)
    if where == (SZ_16K, 0):
        return 48 in (cfg.oas, cfg.ias)
    if where == (SZ_4K, 0):
        return cfg.oas in (40, 42)
    return where == (SZ_16K, 1) and cfg.oas == 40


def s1_regs(tcr: Tcr, root: int) -> ArmLpaeS1Regs:
    return ArmLpaeS1Regs(ttbr=root, tcr=tcr, mair=MAIR)


def s2_regs(vtcr: Vtcr, root: int) -> ArmLpaeS2Regs:
    return ArmLpaeS2Regs(vttbr=root, vtcr=vtcr)


def _cacheability(cfg: PageTableConfig) -> tuple[int, int, int]:
    if cfg.coherent_walk:
        return SH_INNER, RGN_WRITE_BACK, RGN_WRITE_BACK
    return SH_OUTER, RGN_NON_CACHEABLE, RGN_NON_CACHEABLE


def _address_size(cfg: PageTableConfig) -> int:
    code = ADDRESS_SIZE_CODE.get(cfg.oas)
    if code is None:
        sizes = ", ".join(map(str, ADDRESS_SIZE_CODE))
        raise ConfigRefusedError("oas", cfg.oas, f"must be one of {sizes} bits")
    return code
