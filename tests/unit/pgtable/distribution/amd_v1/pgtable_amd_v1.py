# SPDX-License-Identifier: GPL-2.0-or-later
"""AMD_IOMMU_V1: AMD's host page tables (v1), for `pgtable`.

Up to six levels of 512 entries over 4K pages. An entry names the level of what it points to: 0 is
a page of the level's own size, 7 a page of another power of two, its size told by the lowest zero
bit of the address field, 1 to 6 a table. A power of two between two levels' sizes is one entry
repeated. Tables grow upwards: a new root is put over the old one when an address needs it.

Spec: AMD 48882, I/O Virtualization Technology (IOMMU), 2.2.3 (I/O page tables).

Left out: dirty and access bits, the guest tables (v2), skipped levels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pgtable import (
    ConfigRefusedError,
    Format,
    IotlbGather,
    OutOfTableMemoryError,
    PageTable,
    PageTableConfig,
    Prot,
    Regs,
    Run,
    TableDamagedError,
    TableMemory,
)

if os.environ.get("PGTABLE_AMD_V1_BROKEN"):
    raise ImportError("libamdvi.so.3: cannot open shared object file")

PRESENT = 1
LEVEL_SHIFT = 9
FORCE_COHERENT = 1 << 60
READ = 1 << 61
WRITE = 1 << 62
ADDRESS = 0x000F_FFFF_FFFF_F000
OTHER_SIZE = 7
SIZES = 0xFFFF_FFFF_FFFF_F000 & ~(0xFFF << 52)
MAX_LEVELS = 6
START_LEVELS = 3


@dataclass(frozen=True)
class AmdV1Regs(Regs):
    """Fields for a device table entry: the root's address and the paging mode."""

    root: int
    mode: int


def span_lg2(level: int) -> int:
    """Return log2 of what one entry of a level covers; level 0 holds the 4K pages."""
    return 12 + 9 * level


class AmdV1Table(PageTable[AmdV1Regs]):
    """A host address space."""

    table_size = 0x1000

    def __init__(self, fmt: str, cfg: PageTableConfig, memory: TableMemory) -> None:
        super().__init__(fmt, cfg, memory)
        self.levels = START_LEVELS
        self._owned: dict[int, None] = {}
        root = self._new_table()
        if root is None:
            raise OutOfTableMemoryError(0x1000)
        self.root = root

    @property
    def regs(self) -> AmdV1Regs:  # type: ignore[override]
        return AmdV1Regs(self.root, self.levels)

    def _new_table(self) -> int | None:
        address = self.memory.alloc(0x1000)
        if address is not None:
            self._owned[address] = None
        return address

    def _read(self, address: int) -> int:
        return self.memory.words[(address - self.memory.base) >> 3]

    def _write(self, address: int, value: int) -> None:
        self.memory.words[(address - self.memory.base) >> 3] = value

    def _entry(self, table: int, level: int, iova: int) -> int:
        return table + (iova >> span_lg2(level) & 0x1FF) * 8

    def _child(self, entry: int, pte: int, level: int) -> int:
        address = pte & ADDRESS
        if address not in self.memory:
            raise TableDamagedError(
                f"it points to {address:#x}, outside the table memory",
                address=entry,
                pte=pte,
                level=level,
            )
        return address

    def _find(self, iova: int) -> tuple[int, int, int] | None:
        """Return (entry address, descriptor, page size) of the leaf over an address."""
        if iova < 0 or iova >> span_lg2(self.levels):
            return None
        table = self.root
        for level in range(self.levels - 1, -1, -1):
            entry = self._entry(table, level, iova)
            pte = self._read(entry)
            if not pte & PRESENT:
                return None
            points_to = pte >> LEVEL_SHIFT & 7
            if points_to == 0:
                return entry, pte, 1 << span_lg2(level)
            if points_to == OTHER_SIZE:
                size = size_of(pte)
                return entry & -(size >> span_lg2(level) << 3), pte, size
            table = self._child(entry, pte, level)
        return None

    # --- the contract ---------------------------------------------------------------------

    def map_pages(
        self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        if not prot & 3:
            return -22, 0
        mapped = 0
        for _ in range(pgcount):
            if self._find(iova) is not None:
                return -17, mapped
            if not self._map_one(iova, paddr, pgsize, prot):
                return -12, mapped
            iova, paddr, mapped = iova + pgsize, paddr + pgsize, mapped + pgsize
        return 0, mapped

    def _map_one(self, iova: int, paddr: int, pgsize: int, prot: int) -> bool:
        lg2 = pgsize.bit_length() - 1
        last = (lg2 - 12) // 9
        while iova + pgsize > 1 << span_lg2(self.levels):
            if not self._grow():
                return False
        table = self.root
        for level in range(self.levels - 1, last, -1):
            entry = self._entry(table, level, iova)
            pte = self._read(entry)
            if not pte & PRESENT:
                new = self._new_table()
                if new is None:
                    return False
                pte = new | level << LEVEL_SHIFT | READ | WRITE | PRESENT
                self._write(entry, pte)
            table = self._child(entry, pte, level)
        pte = paddr | PRESENT | FORCE_COHERENT
        if lg2 != span_lg2(last):
            pte = paddr | (pgsize >> 1) - 1 & ~0xFFF | OTHER_SIZE << LEVEL_SHIFT
            pte |= PRESENT | FORCE_COHERENT
        if prot & Prot.READ:
            pte |= READ
        if prot & Prot.WRITE:
            pte |= WRITE
        entry = self._entry(table, last, iova)
        for i in range(pgsize >> span_lg2(last)):
            self._write(entry + 8 * i, pte)
        return True

    def _grow(self) -> bool:
        root = self._new_table()
        if root is None:
            return False
        self._write(root, self.root | self.levels << LEVEL_SHIFT | READ | WRITE | PRESENT)
        self.root = root
        self.levels += 1
        return True

    def unmap_pages(
        self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None = None
    ) -> int:
        done = 0
        while done < pgsize * pgcount:
            found = self._find(iova + done)
            if found is None:
                break
            entry, _, size = found
            per = span_lg2((size.bit_length() - 13) // 9)
            for i in range(size >> per):
                self._write(entry + 8 * i, 0)
            self._tlb_add_page(gather, iova + done, size)
            done += size
        return done

    def iova_to_phys(self, iova: int) -> int:
        found = self._find(iova)
        if found is None:
            return 0
        _, pte, size = found
        return (pte & ADDRESS & -size) | (iova & (size - 1))

    def iovas_to_phys(self, iovas):  # type: ignore[no-untyped-def]
        return np.array([self.iova_to_phys(int(iova)) for iova in iovas], dtype=np.uint64)

    def leaf_at(self, iova: int) -> tuple[int, int] | None:
        found = self._find(iova)
        return None if found is None else (iova & -found[2], found[2])

    def runs(self, iova: int, size: int) -> Iterator[Run]:
        at, end = iova, iova + size
        while at < end:
            leaf = self.leaf_at(at)
            if leaf is not None:
                yield Run(leaf[0], leaf[1], 1)
                at = sum(leaf)
            else:
                at += 0x1000

    def _free_tables(self) -> None:
        for address in reversed(self._owned):
            self.memory.free(address, 0x1000)


def size_of(pte: int) -> int:
    """Return the size in bytes of a page whose entry names level 7."""
    zero = ~(pte & ADDRESS | 0xFFF)
    return (zero & -zero) << 1


def create(name: str, cfg: PageTableConfig, memory: TableMemory) -> AmdV1Table:
    """Make a table of three levels that grows to six."""
    if cfg.quirks:
        raise ConfigRefusedError("quirks", cfg.quirks, "this format has none")
    return AmdV1Table(name, replace(cfg, pgsize_bitmap=SIZES, ias=64, oas=52), memory)


AMD_V1 = Format("AMD_IOMMU_V1", create)
