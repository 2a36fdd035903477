# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks into a table that is in use: its space, from its configuration and registers.

Only what the hardware would know is taken over. The tables themselves are read from memory.
"""

from __future__ import annotations

from typing import Any

from pgtable.config import (
    AppleDartRegs,
    ArmLpaeS1Regs,
    ArmLpaeS2Regs,
    ArmMaliLpaeRegs,
    ArmV7sRegs,
    PageTableConfig,
    Quirk,
    Regs,
)
from pgtable.inspect.dumps import Image
from pgtable.inspect.errors import SpaceError
from pgtable.inspect.reading import read
from pgtable.inspect.space import K16, K64, Space
from pgtable.inspect.tree import Tree
from pgtable.table import PageTable

# VTCR_EL2.SL0 to the first level. Spec: DDI 0487 D8.2, tables D8-19, D8-29, D8-38.
SL0_4K = {0: 2, 1: 1, 2: 0, 3: 3}
SL0_OTHER = {0: 3, 1: 2, 2: 1, 3: 0}


def space_of(table: PageTable[Any]) -> Space:
    """Return the address space of a live table.

    Raises: SpaceError for a format that no reader knows.
    """
    return space_from(table.fmt, table.cfg, table.regs)


def read_table(table: PageTable[Any]) -> Tree:
    """Read the tree of a live table from its memory.

    Raises: SpaceError.
    """
    return read(space_of(table), Image.of(table.memory))


def space_from(fmt: str, cfg: PageTableConfig, regs: Regs) -> Space:
    """Return an address space from what a format yields for the hardware's registers.

    Raises: SpaceError for registers that no reader knows.
    """
    if isinstance(regs, ArmLpaeS1Regs | ArmLpaeS2Regs):
        return _long(fmt, cfg, regs)
    if isinstance(regs, ArmMaliLpaeRegs):
        return Space(
            format=fmt,
            root=regs.transtab & ~0xFFF,
            input_bits=cfg.ias,
            output_bits=cfg.oas,
            mair=regs.memattr,
        )
    if isinstance(regs, ArmV7sRegs):
        return _short(fmt, cfg, regs)
    if isinstance(regs, AppleDartRegs):
        return Space(
            format=fmt,
            root=regs.ttbr,
            granule=cfg.pgsize_bitmap,
            start_level=5 - regs.n_levels,
            output_bits=cfg.oas,
        )
    raise SpaceError("format", f"no reader knows the registers of {fmt}")


def _long(fmt: str, cfg: PageTableConfig, regs: ArmLpaeS1Regs | ArmLpaeS2Regs) -> Space:
    granule = cfg.pgsize_bitmap & -cfg.pgsize_bitmap
    # A 64K table keeps address bits 51:48 whatever the size it was asked for.
    output = 52 if granule == K64 and cfg.oas > 48 else cfg.oas
    if isinstance(regs, ArmLpaeS1Regs):
        return Space(
            format=fmt,
            root=regs.ttbr,
            granule=granule,
            input_bits=cfg.ias,
            output_bits=output,
            upper=bool(cfg.quirks & Quirk.ARM_TTBR1),
            mair=regs.mair & (1 << 64) - 1,
        )
    levels = SL0_OTHER if granule in (K16, K64) else SL0_4K
    return Space(
        format=fmt,
        root=regs.vttbr,
        granule=granule,
        input_bits=cfg.ias,
        output_bits=output,
        start_level=levels[regs.vtcr.sl],
        fwb=bool(cfg.quirks & Quirk.ARM_S2FWB),
    )


def _short(fmt: str, cfg: PageTableConfig, regs: ArmV7sRegs) -> Space:
    mtk = bool(cfg.quirks & Quirk.ARM_MTK_EXT)
    size = 4 << max(0, cfg.ias - 20)
    root = regs.ttbr & ~0x7F
    if mtk:
        # MediaTek's register keeps bits above 31 of the address at its bottom.
        root |= (regs.ttbr & 7) << 32
    return Space(
        format=fmt,
        root=root & -size,
        input_bits=cfg.ias,
        output_bits=max(cfg.oas, 32),
        permissions=not cfg.quirks & Quirk.NO_PERMS,
        mtk=mtk,
        mtk_tables=bool(cfg.quirks & Quirk.ARM_MTK_TTBR_EXT),
        prrr=regs.prrr,
        nmrr=regs.nmrr,
    )
