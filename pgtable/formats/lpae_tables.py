# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of the long-descriptor family: descriptors, plans, and the memory tables live in.

Spec: DDI 0487 D8.3 (VMSAv8-64 descriptor formats).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pgtable.config import ENOMEM, PageTableConfig, Quirk
from pgtable.errors import OutOfTableMemoryError, TableMemoryError
from pgtable.formats.common import TreeTable, steps
from pgtable.formats.lpae_config import LEVELS, SZ_64K, Geometry
from pgtable.memory import TableMemory
from pgtable.table import R_co

TYPE = 3
BLOCK = 1
TABLE = 3
PAGE = 3
ADDRESS = 0x0000_FFFF_FFFF_F000
SW_SYNC = 1 << 55
NSTABLE = 1 << 63

LAST = LEVELS - 1


class Plan(NamedTuple):
    """How to reach and write leaves of one size.

    `above`: (shift, mask) of each level over the leaf's. `span`: entries of the table the leaf is
    in that one call may touch. `kind`: the leaf's descriptor type.
    """

    above: tuple[tuple[int, int], ...]
    level: int
    shift: int
    mask: int
    span: int
    kind: int


class LpaeTables(TreeTable[R_co]):
    """The tables of one address space; what is done with them is in the subclasses."""

    page_kind = PAGE

    def __init__(
        self, fmt: str, cfg: PageTableConfig, memory: TableMemory, geometry: Geometry
    ) -> None:
        super().__init__(fmt, cfg, memory)
        self.geometry = geometry
        self.table_size = geometry.granule
        self._words = memory.words
        self._array = memory.array
        self._ias = cfg.ias
        self._oas = cfg.oas
        self._top = (1 << 64 - cfg.ias) - 1 if cfg.quirks & Quirk.ARM_TTBR1 else 0
        self._quiet = bool(cfg.quirks & Quirk.NO_WARN)
        self._table_bits = TABLE | (NSTABLE if cfg.quirks & Quirk.ARM_NS else 0)
        self._wide = geometry.granule == SZ_64K
        self._attrs: dict[int, int] = {}
        self._plan()
        root = self._alloc_table(geometry.pgd_size)
        if root is None:
            raise OutOfTableMemoryError(geometry.pgd_size)
        self.root = root
        self._root = self._index(root)
        self._owned[self._root] = 0

    def _plan(self) -> None:
        """Work out how each page size is reached from the first level."""
        g = self.geometry
        self._path = tuple((g.shift(n), g.mask(n)) for n in range(g.start_level, LAST))
        self._page_mask = g.mask(LAST)
        self._page_shift = g.shift(LAST)
        self._table_steps = steps(1 << g.bits, self._page_shift)
        self._plans: dict[int, Plan] = {}
        for level in range(g.start_level, LEVELS):
            size = 1 << g.shift(level)
            if not size & self.cfg.pgsize_bitmap:
                continue
            entries = 1 << g.bits
            if level == g.start_level:
                # Linux bounds a run by a full table even where the first table is shorter. What
                # it would write behind the memory that was reserved is not written here.
                entries = min(entries, self._reserved(g.pgd_size) >> 3)
            self._plans[size] = Plan(
                above=self._path[: level - g.start_level],
                level=level,
                shift=g.shift(level),
                mask=g.mask(level),
                span=entries,
                kind=self.page_kind if level == LAST else BLOCK,
            )

    def _takes(self, iova: int, size: int) -> bool:
        return iova >> self._ias == self._top == (iova + size - 1) >> self._ias

    def _inputs(self) -> str:
        low = self._top << self._ias
        return f"addresses {low:#x} to {low + (1 << self._ias) - 1:#x}"

    # --- attributes: what the formats differ in ------------------------------------------

    def attributes(self, prot: int) -> int:
        """Return a leaf's bits for a protection, without its type and address."""
        raise NotImplementedError

    def _attr(self, prot: int) -> int | None:
        """Look up, or work out, a protection's bits; None when it allows no access."""
        if not prot & 3:
            return None
        attr = self._attrs.get(prot)
        if attr is None:
            attr = self.attributes(prot)
            if 0 < prot < 64:
                self._attrs[prot] = attr
        return attr

    # --- descriptors ----------------------------------------------------------------------

    def encode(self, paddr: int) -> int:
        """Return the address field for a physical address; bits 51:48 go to bits 15:12."""
        return (paddr | paddr >> 36) & ADDRESS

    def decode(self, pte: int) -> int:
        """Return the physical address in a descriptor."""
        paddr = pte & ADDRESS
        if self._wide:
            return (paddr | paddr << 36) & ADDRESS << 4
        return paddr

    def _leaf(self, pte: int, level: int) -> bool:
        return pte & TYPE == (self.page_kind if level == LAST else BLOCK)

    def _follow(self, pte: int, word: int, level: int) -> int:
        """Return the word index of the table a descriptor points to, for reading."""
        known = self._tables.get(pte)
        if known is not None:
            return known
        return self._inside(self.decode(pte), self.table_size, pte, word, level)

    def _follow_own(self, pte: int, word: int, level: int) -> int:
        """Return the word index of the table a descriptor points to, for writing."""
        known = self._tables.get(pte)
        if known is not None and level != LAST:
            return known
        target = self._follow(pte, word, level)
        if (
            level == LAST
            or pte & TYPE != TABLE
            or target not in self._owned
            or target == self._root
        ):
            what = "it points to something that is not a table of this address space"
            self._damaged(what, pte, word, level)
        return target

    # --- table memory ---------------------------------------------------------------------

    def _reserved(self, size: int) -> int:
        """Return how many bytes are asked of the memory for a table of `size` bytes.

        The walker wants the smallest tables aligned to 64 bytes; the kernel's own allocator
        gives whole CPU pages.
        """
        if self.cfg.alloc is not None:
            return max(size, 64)
        return max(size, self.cfg.cpu_page_size)

    def _alloc_table(self, size: int) -> int | None:
        custom = self.cfg.alloc
        reserved = self._reserved(size)
        address = (custom or self.memory.alloc)(reserved)
        if address is None:
            return None
        if custom is not None:
            self._check_custom(address, reserved)
        if not self._coherent:
            seen = self.memory.dma_map(address, reserved)
            if seen != address:
                if seen is not None:
                    if custom is None:
                        self.warn(f"the walker would see the table at {address:#x} at {seen:#x}")
                    self.memory.dma_unmap(seen, reserved)
                self._release(address, reserved)
                return None
        return address

    def _check_custom(self, address: int, need: int) -> None:
        first, last = address in self.memory, address + need - 1 in self.memory
        if not first or not last or address & (need - 1):
            raise TableMemoryError(
                f"alloc({need:#x}) gave {address:#x}: tables must be aligned to their size and "
                f"lie in {self.memory!r}"
            )

    def _release(self, address: int, reserved: int) -> None:
        (self.cfg.free or self.memory.free)(address, reserved)

    def _free_table(self, word: int, size: int) -> None:
        self._tables.pop(self._owned.pop(word), None)
        self._give_back(self._at(word), size)

    def _give_back(self, address: int, size: int) -> None:
        reserved = self._reserved(size)
        if not self._coherent:
            self.memory.dma_unmap(address, reserved)
        self._release(address, reserved)

    def _install(self, word: int) -> int:
        """Put a new table into an empty entry; return its word index or -ENOMEM."""
        address = self._alloc_table(self.table_size)
        if address is None:
            return -ENOMEM
        pte = self.encode(address) | self._table_bits
        if self.decode(pte) != address:
            # The kernel would walk somewhere else from here on; better to have no table.
            self.warn(f"a descriptor cannot hold the table address {address:#x}")
            self._give_back(address, self.table_size)
            return -ENOMEM
        self._words[word] = pte
        if not self._coherent:
            self.memory.sync(self._at(word), 8)
            pte |= SW_SYNC
            self._words[word] = pte
        table = self._index(address)
        self._tables[pte] = table
        self._owned[table] = pte
        return table

    def _entries(self, level: int) -> int:
        g = self.geometry
        return 1 << (g.pgd_bits if level == g.start_level else g.bits)

    def _children(self, table: int, level: int) -> Iterator[tuple[int, int]]:
        """Yield (word, descriptor) of each entry that is neither empty nor a leaf."""
        entries = self._array[table : table + self._entries(level)]
        for i in np.flatnonzero((entries != 0) & (entries & TYPE != BLOCK)).tolist():
            yield table + i, int(entries[i])

    def _collect(self, table: int, level: int, found: list[int], seen: set[int]) -> None:
        """List a tree's tables, children first; raise before anything is changed if damaged."""
        if level < LAST:
            for word, pte in self._children(table, level):
                child = self._follow_own(pte, word, level)
                self._note(child, pte, word, level, seen)
                self._collect(child, level + 1, found, seen)
        found.append(table)

    def _free_tables(self) -> None:
        """Free the tree, children first; then what damage has cut off from it."""
        seen: set[int] = set()
        order: list[int] = []

        def visit(table: int, level: int) -> None:
            seen.add(table)
            if level < LAST:
                for _, pte in self._children(table, level):
                    offset = self.decode(pte) - self.memory.base
                    child = self._tables.get(pte, offset >> 3)
                    if child in self._owned and child not in seen:
                        visit(child, level + 1)
            order.append(table)

        visit(self._root, self.geometry.start_level)
        order += [table for table in self._owned if table not in seen]
        for table in order:
            size = self.geometry.pgd_size if table == self._root else self.table_size
            self._free_table(table, size)
