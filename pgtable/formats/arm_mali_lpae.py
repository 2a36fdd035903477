# SPDX-License-Identifier: GPL-2.0-or-later
"""ARM_MALI_LPAE: the tables of Mali Midgard and Bifrost GPUs' address spaces.

Long descriptors with the attribute index of stage 1 and the access bits of stage 2, no access
flag, and the block type on the last level too. The walk has four levels whatever the input size.

There is no public specification; registers AS_TRANSTAB and AS_MEMATTR are known from the GPU
drivers in Linux. GPUs of the later "AArch64" mode use ARM_64_LPAE_S1.
"""

from __future__ import annotations

import dataclasses

from pgtable.config import ArmMaliLpaeRegs, PageTableConfig, Prot
from pgtable.formats.lpae import LpaeTable
from pgtable.formats.lpae_config import check_limit, check_quirks, only_4k, shape
from pgtable.formats.lpae_tables import BLOCK
from pgtable.memory import TableMemory
from pgtable.registry import Format

READ, WRITE, CACHE = int(Prot.READ), int(Prot.WRITE), int(Prot.CACHE)
NOEXEC, MMIO = int(Prot.NOEXEC), int(Prot.MMIO)

XN = 3 << 53
SH_OUTER = 2 << 8
ACCESS_READ = 1 << 6
ACCESS_WRITE = 2 << 6
INDEX_CACHE = 1 << 2
INDEX_DEVICE = 2 << 2

TRANSTAB_TABLE_MODE = 3
TRANSTAB_READ_INNER = 1 << 2
TRANSTAB_SHARE_OUTER = 1 << 4
# Attributes 0 and 2: the GPU's own caching policy, for it has no uncached type; 1: write-allocate.
MEMATTR = 0x88_8D_88


class MaliTable(LpaeTable[ArmMaliLpaeRegs]):
    """An address space of a Mali GPU."""

    page_kind = BLOCK

    def attributes(self, prot: int) -> int:
        bits = SH_OUTER
        if prot & READ:
            bits |= ACCESS_READ
        if prot & WRITE:
            bits |= ACCESS_WRITE
        if prot & MMIO:
            bits |= INDEX_DEVICE
        elif prot & CACHE:
            bits |= INDEX_CACHE
        if prot & NOEXEC:
            bits |= XN
        return bits


def create(fmt: str, asked: PageTableConfig, memory: TableMemory) -> MaliTable:
    """Make a table of at most 48 bits in and 40 out.

    Raises: ConfigRefusedError, OutOfTableMemoryError.
    """
    check_quirks(asked, 0)
    check_limit(asked, "ias", 48)
    check_limit(asked, "oas", 40)
    cfg, geometry = shape(only_4k(asked))
    if geometry.start_level:
        geometry = dataclasses.replace(geometry, start_level=0, pgd_bits=0)
    table = MaliTable(fmt, cfg, memory, geometry)
    transtab = table.root | TRANSTAB_READ_INNER | TRANSTAB_TABLE_MODE
    if cfg.coherent_walk:
        transtab |= TRANSTAB_SHARE_OUTER
    table.regs = ArmMaliLpaeRegs(transtab=transtab, memattr=MEMATTR)
    return table


MALI = Format("ARM_MALI_LPAE", create, custom_allocator=True)
