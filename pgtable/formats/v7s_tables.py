# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of the short-descriptor format: their memory, registers, and all that reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pgtable.config import ENOMEM, ArmV7sRegs, PageTableConfig, Quirk
from pgtable.contract import Run
from pgtable.errors import OutOfTableMemoryError, TableMemoryError
from pgtable.formats.common import CHUNK, TreeTable, stretches
from pgtable.formats.v7s_descriptors import (
    LARGE,
    LEAF,
    PAGE_LG2,
    REPEATED,
    SECTION_LG2,
    SUPERSECTION,
    TABLE,
    TABLE_MASK,
    TABLE_NS,
    TYPE,
    Attributes,
    gather,
    leaf_mask,
    scatter,
)
from pgtable.memory import TableMemory

if TYPE_CHECKING:
    from pgtable.contract import Addresses
    from pgtable.formats.common import Index

LEVEL_2_SIZE = 0x400

TTBR_SHAREABLE = 1 << 1
# Not outer shareable, inner and outer write-back write-allocate.
TTBR_COHERENT = 1 << 5 | 1 << 6 | 1 << 3

# TEX remap (types 1: Device, 2: Normal) gives indices 1, 4 and 7 the meaning they have without it.
PRRR = 1 << 2 | 2 << 8 | 2 << 14 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << 31
NMRR = 1 << 14 | 1 << 30


class V7sTables(TreeTable[ArmV7sRegs]):
    """The tables of one address space; what is done with them is in the subclass."""

    entry_lg2 = 2
    table_size = LEVEL_2_SIZE

    def __init__(self, fmt: str, asked: PageTableConfig, sizes: int, memory: TableMemory) -> None:
        cfg = dataclasses.replace(asked, pgsize_bitmap=asked.pgsize_bitmap & sizes)
        super().__init__(fmt, cfg, memory)
        self._halves = memory.halves
        self._half_array = memory.half_array
        self._ias, self._oas = cfg.ias, cfg.oas
        self._mask = (1 << cfg.ias - SECTION_LG2) - 1
        self._mtk = bool(cfg.quirks & Quirk.ARM_MTK_EXT)
        self._mtk_tables = bool(cfg.quirks & Quirk.ARM_MTK_TTBR_EXT)
        self._attrs: dict[int, Attributes] = {}
        # The sizes of a table of each level, and what is asked of the memory: whole CPU pages for
        # the first table, 1K for the others.
        self._sizes = {1: self._mask + 1 << 2, 2: LEVEL_2_SIZE}
        self._reserved = {1: max(self._sizes[1], cfg.cpu_page_size), 2: LEVEL_2_SIZE}
        root = self._alloc_table(1)
        if root is None:
            raise OutOfTableMemoryError(self._reserved[1])
        if root < 0:
            raise TableMemoryError(
                f"the first table lies at {~root:#x}, over what the registers can hold"
            )
        self._root = self._index(root)
        self._owned[self._root] = 0
        self.regs = ArmV7sRegs(ttbr=self._ttbr(root), tcr=0, nmrr=NMRR, prrr=PRRR)

    def _ttbr(self, root: int) -> int:
        if self._mtk:
            return (root | root >> 32) & 0xFFFF_FFFF
        return root | TTBR_SHAREABLE | (TTBR_COHERENT if self._coherent else 0)

    # --- table memory ---------------------------------------------------------------------

    def _alloc_table(self, level: int) -> int | None:
        """Return a new table's address; None without memory, ~address if it cannot be named."""
        size, reserved = self._sizes[level], self._reserved[level]
        address = self.memory.alloc(reserved)
        if address is None:
            return None
        if address >> (self._oas if self._mtk_tables else 32):
            self.memory.free(address, reserved)
            return ~address
        if not self._coherent:
            seen = self.memory.dma_map(address, size)
            if seen != address:
                if seen is not None:
                    self.memory.dma_unmap(seen, size)
                self.memory.free(address, reserved)
                return None
        return address

    def _free_table(self, table: int) -> None:
        level = 1 if table == self._root else 2
        self._tables.pop(self._owned.pop(table), None)
        address = self._at(table)
        if not self._coherent:
            self.memory.dma_unmap(address, self._sizes[level])
        self.memory.free(address, self._reserved[level])

    def _install(self, entry: int) -> int:
        """Put a new table into an empty entry; return its index or -ENOMEM."""
        address = self._alloc_table(2)
        if address is None:
            return -ENOMEM
        if address < 0:
            self.warn(f"a descriptor cannot hold the table address {~address:#x}")
            return -ENOMEM
        pte = address & 0xFFFF_FFFF | TABLE
        if self._mtk_tables:
            pte |= scatter(address)
        if self.cfg.quirks & Quirk.ARM_NS:
            pte |= TABLE_NS
        self._halves[entry] = pte
        if not self._coherent:
            self.memory.sync(self._at(entry), 4)
        table = self._tables[pte] = self._index(address)
        self._owned[table] = pte
        return table

    def _free_tables(self) -> None:
        entries = self._half_array[self._root : self._root + self._mask + 1]
        order: dict[int, None] = {}
        for i in np.flatnonzero((entries & TYPE) == TABLE).tolist():
            child = self._child(int(entries[i]))
            if child in self._owned and child != self._root:
                order[child] = None
        order |= dict.fromkeys(table for table in self._owned if table != self._root)
        for table in (*order, self._root):
            self._free_table(table)

    # --- descriptors ----------------------------------------------------------------------

    def _high(self, pte: int) -> int:
        return gather(pte) if self._mtk else 0

    def _child(self, pte: int) -> int:
        known = self._tables.get(pte)
        return known if known is not None else self._index(pte & TABLE_MASK | self._high(pte))

    def _follow(self, pte: int, entry: int) -> int:
        """Return the index of the table a descriptor points to, for reading."""
        known = self._tables.get(pte)
        if known is not None:
            return known
        return self._inside(pte & TABLE_MASK | self._high(pte), LEVEL_2_SIZE, pte, entry, 1)

    def _follow_own(self, pte: int, entry: int) -> int:
        """Return the index of the table a descriptor points to, for writing."""
        target = self._follow(pte, entry)
        if target not in self._owned or target == self._root:
            what = "it points to something that is not a table of this address space"
            self._damaged(what, pte, entry, 1)
        return target

    # --- look-ups -------------------------------------------------------------------------

    def _find(self, iova: int) -> tuple[int, int] | None:
        """Return (descriptor, mask of its address) of the leaf that maps an address."""
        entry = self._root + (iova >> SECTION_LG2 & self._mask)
        pte, level = self._halves[entry], 1
        if pte & TYPE == TABLE:
            pte = self._halves[self._follow(pte, entry) + (iova >> PAGE_LG2 & 0xFF)]
            level = 2
        if not pte & TYPE:
            return None
        return pte, leaf_mask(pte, level)

    def iova_to_phys(self, iova: int) -> int:
        found = self._find(iova)
        if found is None:
            return 0
        pte, mask = found
        paddr = pte & mask | iova & ~mask & 0xFFFF_FFFF
        return paddr | gather(pte) if self._mtk else paddr

    def leaf_at(self, iova: int) -> tuple[int, int] | None:
        found = self._find(iova)
        if found is None:
            return None
        size = (1 << 32) - found[1]
        return iova & -size, size

    def iovas_to_phys(self, iovas: Addresses) -> Addresses:
        flat = np.ascontiguousarray(iovas, dtype=np.uint64).reshape(-1)
        out = np.zeros(flat.shape, dtype=np.uint64)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK].view(np.int64)
            self._phys_chunk(part, out[start : start + CHUNK])
        return out.reshape(np.shape(iovas))

    def _phys_chunk(self, iovas: Index, out: Addresses) -> None:
        entries = (iovas >> SECTION_LG2 & self._mask) + self._root
        ptes = self._half_array[entries].astype(np.int64)
        kind = ptes & TYPE
        sections = np.flatnonzero(kind & LEAF)
        if sections.size:
            mask = np.where(ptes[sections] & SUPERSECTION, 0xFF00_0000, 0xFFF0_0000)
            out[sections] = self._join(ptes[sections], iovas[sections], mask)
        below = np.flatnonzero(kind == TABLE)
        if not below.size:
            return
        ptes, iovas, entries = ptes[below], iovas[below], entries[below]
        tables = ptes & TABLE_MASK
        if self._mtk:
            tables |= gather_many(ptes)
        tables -= self.memory.base
        bad = np.flatnonzero((tables < 0) | (tables + LEVEL_2_SIZE > self.memory.size))
        if bad.size:
            self._follow(int(ptes[bad[0]]), int(entries[bad[0]]))
        ptes = self._half_array[(tables >> 2) + (iovas >> PAGE_LG2 & 0xFF)].astype(np.int64)
        keep = np.flatnonzero(ptes & TYPE)
        ptes = ptes[keep]
        mask = np.where(ptes & LEAF, 0xFFFF_F000, 0xFFFF_0000)
        out[below[keep]] = self._join(ptes, iovas[keep], mask)

    def _join(self, ptes: Index, iovas: Index, mask: Index) -> Addresses:
        paddrs = ptes & mask | iovas & (mask ^ 0xFFFF_FFFF)
        if self._mtk:
            paddrs |= gather_many(ptes)
        return paddrs.view(np.uint64)

    # --- what is mapped -------------------------------------------------------------------

    def runs(self, iova: int, size: int) -> Iterator[Run]:
        self._check_inputs(iova, size)
        return self._runs(iova, iova + size)

    def _runs(self, low: int, high: int) -> Iterator[Run]:
        first = low >> SECTION_LG2
        start = self._root + first
        entries = self._half_array[start : start + (high - 1 >> SECTION_LG2) - first + 1]
        seen = {self._root}
        large = (entries & LEAF != 0) & (entries & SUPERSECTION != 0)
        small = (entries & LEAF != 0) & ~large
        spans = [(i, n, 1 << SECTION_LG2) for i, n in stretches(small)]
        spans += [(i, n, REPEATED << SECTION_LG2) for i, n in stretches(large)]
        spans += [(i, 1, 0) for i in np.flatnonzero(entries & TYPE == TABLE).tolist()]
        for i, count, size in sorted(spans):
            at = first + i << SECTION_LG2
            if size:
                yield leaf_run(at, count << SECTION_LG2, size)
                continue
            pte = int(entries[i])
            child = self._follow(pte, start + i)
            self._note(child, pte, start + i, 1, seen)
            yield from self._page_runs(child, max(low, at), min(high, at + (1 << SECTION_LG2)))

    def _page_runs(self, table: int, low: int, high: int) -> Iterator[Run]:
        first = low >> PAGE_LG2
        start = table + (first & 0xFF)
        entries = self._half_array[start : start + (high - 1 >> PAGE_LG2) - first + 1]
        spans = [(i, n, 1 << PAGE_LG2) for i, n in stretches(entries & LEAF != 0)]
        large = entries & TYPE == LARGE
        spans += [(i, n, REPEATED << PAGE_LG2) for i, n in stretches(large)]
        for i, count, size in sorted(spans):
            yield leaf_run(first + i << PAGE_LG2, count << PAGE_LG2, size)


def leaf_run(iova: int, length: int, size: int) -> Run:
    """Return the run of leaves of one size that a stretch of entries belongs to."""
    start = iova & -size
    return Run(start, size, -(-(iova + length - start) // size))


def gather_many(ptes: Index) -> Index:
    """Return the physical address bits 34:32 that MediaTek's descriptors hold."""
    return (ptes & 1 << 9) << 23 | (ptes & 3 << 4) << 29
