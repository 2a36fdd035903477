# SPDX-License-Identifier: GPL-2.0-or-later
"""I/O page tables, written byte for byte as Linux's io-pgtable code writes them.

    from pgtable import Arena, PageTableConfig, Prot, alloc

    mem = Arena(base=0x4800_0000, size=1 << 20)
    cfg = PageTableConfig(pgsize_bitmap=0x1000 | 0x200000 | 0x40000000, ias=48, oas=48)
    with alloc("ARM_64_LPAE_S1", cfg, memory=mem) as table:
        table.map(0x10000, 0x8000_0000, 0x4000, Prot.READ | Prot.WRITE)
        assert table.iova_to_phys(0x11000) == 0x8000_1000
        print(hex(table.regs.ttbr), table.regs.tcr)

Importing this package imports no numpy; making the first table does.
"""

from __future__ import annotations

from pgtable.config import (
    AppleDartRegs,
    ArmLpaeS1Regs,
    ArmLpaeS2Regs,
    ArmMaliLpaeRegs,
    ArmV7sRegs,
    PageTableConfig,
    Prot,
    Quirk,
    Regs,
    Tcr,
    Vtcr,
)
from pgtable.contract import DIRTY_NO_CLEAR, DirtyBitmap, Run
from pgtable.errors import (
    AlreadyMappedError,
    BadRangeError,
    ConfigRefusedError,
    FormatAlreadyRegisteredError,
    FormatError,
    FormatInUseError,
    FormatNotLoadableError,
    MapError,
    NoAccessError,
    NotMappedError,
    NotOfferedError,
    OutOfTableMemoryError,
    PartialUnmapError,
    PgtableError,
    TableDamagedError,
    TableFreedError,
    TableMemoryError,
    UnknownFormatError,
)
from pgtable.flush import FlushOps, FlushRecorder, IotlbGather
from pgtable.memory import Arena, TableMemory
from pgtable.registry import Format, Registry, State, Status, formats
from pgtable.shared import alloc, free, register, unregister
from pgtable.table import PageTable

__all__ = [
    "DIRTY_NO_CLEAR",
    "AlreadyMappedError",
    "AppleDartRegs",
    "Arena",
    "ArmLpaeS1Regs",
    "ArmLpaeS2Regs",
    "ArmMaliLpaeRegs",
    "ArmV7sRegs",
    "BadRangeError",
    "ConfigRefusedError",
    "DirtyBitmap",
    "FlushOps",
    "FlushRecorder",
    "Format",
    "FormatAlreadyRegisteredError",
    "FormatError",
    "FormatInUseError",
    "FormatNotLoadableError",
    "IotlbGather",
    "MapError",
    "NoAccessError",
    "NotMappedError",
    "NotOfferedError",
    "OutOfTableMemoryError",
    "PageTable",
    "PageTableConfig",
    "PartialUnmapError",
    "PgtableError",
    "Prot",
    "Quirk",
    "Registry",
    "Regs",
    "Run",
    "State",
    "Status",
    "TableDamagedError",
    "TableFreedError",
    "TableMemory",
    "TableMemoryError",
    "Tcr",
    "UnknownFormatError",
    "Vtcr",
    "alloc",
    "formats",
    "free",
    "register",
    "unregister",
]
