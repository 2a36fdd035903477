# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of Apple's DARTs: their memory, their descriptors' addresses, and all that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pgtable.config import AppleDartRegs, PageTableConfig
from pgtable.contract import Run
from pgtable.errors import OutOfTableMemoryError
from pgtable.formats.common import CHUNK, TreeTable, stretches
from pgtable.memory import TableMemory

if TYPE_CHECKING:
    from pgtable.contract import Addresses
    from pgtable.formats.common import Index

VALID = 1
WHOLE_PAGE = 0xFFF << 40


class DartTables(TreeTable[AppleDartRegs]):
    """An address space behind a DART; `n_levels` counts the TTBRs as a level."""

    address_mask: int
    address_shift: int

    def __init__(
        self, fmt: str, cfg: PageTableConfig, memory: TableMemory, n_levels: int, tops: int
    ) -> None:
        super().__init__(fmt, cfg, memory)
        self.page = self.table_size = cfg.pgsize_bitmap
        self._page_shift = self.page.bit_length() - 1
        self._bits = self._page_shift - 3
        self._mask = (1 << self._bits) - 1
        self._words = memory.words
        self._array = memory.array
        self._attrs: dict[int, int] = {}
        shifts = [level * self._bits + 3 for level in range(n_levels, 1, -1)]
        self._top_shift = shifts[0]
        self._path = tuple(shifts[1:])
        self._reserved = max(self.page, cfg.cpu_page_size)
        self._tops: list[int] = []
        for _ in range(tops):
            address = memory.alloc(self._reserved)
            if address is None:
                for top in reversed(self._tops):
                    memory.free(self._at(top), self._reserved)
                raise OutOfTableMemoryError(self._reserved)
            self._tops.append(self._index(address))
        self._owned = dict.fromkeys(self._tops, 0)
        self.regs = AppleDartRegs(
            ttbr=tuple(self._at(top) for top in self._tops), n_ttbrs=tops, n_levels=n_levels
        )

    # --- descriptors ----------------------------------------------------------------------

    def attributes(self, prot: int) -> int:
        """Return a leaf's bits for a protection, without its address."""
        raise NotImplementedError

    def encode(self, paddr: int) -> int:
        """Return the address field for a physical address; bits it has no room for are lost."""
        return paddr >> self.address_shift & self.address_mask

    def decode(self, pte: int) -> int:
        """Return the physical address in a descriptor."""
        return (pte & self.address_mask) << self.address_shift

    def _attr(self, prot: int) -> int | None:
        if not prot & 3:
            return None
        attr = self._attrs.get(prot)
        if attr is None:
            attr = self.attributes(prot) | WHOLE_PAGE | VALID
            if 0 < prot < 64:
                self._attrs[prot] = attr
        return attr

    def _follow(self, pte: int, word: int, level: int) -> int:
        """Return the index of the table a descriptor points to, for reading."""
        known = self._tables.get(pte)
        if known is not None:
            return known
        return self._inside(self.decode(pte), self.page, pte, word, level)

    def _follow_own(self, pte: int, word: int, level: int) -> int:
        """Return the index of the table a descriptor points to, for writing."""
        target = self._follow(pte, word, level)
        if target not in self._owned or target in self._tops:
            what = "it points to something that is not a table of this address space"
            self._damaged(what, pte, word, level)
        return target

    def _top(self, iova: int) -> int | None:
        """Return the index of the top table of an address; None when no TTBR is for it."""
        top = iova >> self._top_shift & self._mask
        return self._tops[top] if top < len(self._tops) else None

    # --- look-ups -------------------------------------------------------------------------

    def _leaf_table(self, iova: int, own: bool = False) -> int | None:
        """Return the index of the last table on the way to an address."""
        table = self._top(iova)
        if table is None:
            return None
        for level, shift in enumerate(self._path, 1):
            word = table + (iova >> shift & self._mask)
            pte = self._words[word]
            if not pte:
                return None
            known = self._tables.get(pte)
            if known is not None:
                table = known
            else:
                table = (self._follow_own if own else self._follow)(pte, word, level)
        return table

    def iova_to_phys(self, iova: int) -> int:
        table = self._leaf_table(iova)
        if table is None:
            return 0
        pte = self._words[table + (iova >> self._page_shift & self._mask)]
        if not pte:
            return 0
        return (pte & self.address_mask) << self.address_shift | iova & self.page - 1

    def leaf_at(self, iova: int) -> tuple[int, int] | None:
        table = self._leaf_table(iova)
        if table is None or not self._words[table + (iova >> self._page_shift & self._mask)]:
            return None
        return iova & -self.page, self.page

    def iovas_to_phys(self, iovas: Addresses) -> Addresses:
        flat = np.ascontiguousarray(iovas, dtype=np.uint64).reshape(-1)
        out = np.zeros(flat.shape, dtype=np.uint64)
        tops = np.array(self._tops, dtype=np.int64)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK].view(np.int64)
            top = part >> self._top_shift & self._mask
            good = top < len(tops)
            if good.all():
                self._phys_chunk(part, tops[top], out[start : start + CHUNK], None)
            elif good.any():
                where = np.flatnonzero(good)
                self._phys_chunk(part[where], tops[top[where]], out[start : start + CHUNK], where)
        return out.reshape(np.shape(iovas))

    def _phys_chunk(self, iovas: Index, table: Index, out: Addresses, where: Index | None) -> None:
        """Walk all addresses level by level; those that meet an empty entry drop out."""
        for level, shift in enumerate((*self._path, self._page_shift), 1):
            words = iovas >> shift
            words &= self._mask
            words += table
            ptes = self._array[words]
            if not ptes.all():
                keep = np.flatnonzero(ptes)
                where = keep if where is None else where[keep]
                if not keep.size:
                    return
                iovas, words, ptes = iovas[keep], words[keep], ptes[keep]
            paddrs = (ptes & np.uint64(self.address_mask)) << np.uint64(self.address_shift)
            if shift == self._page_shift:
                paddrs |= (iovas & (self.page - 1)).view(np.uint64)
                out[slice(None) if where is None else where] = paddrs
                return
            paddrs -= np.uint64(self.memory.base)
            if int(paddrs.max()) + self.page > self.memory.size:
                bad = int(paddrs.argmax())
                pte = int(ptes[bad])
                self._inside(self.decode(pte), self.page, pte, int(words[bad]), level)
            paddrs >>= np.uint64(3)
            table = paddrs.view(np.int64)

    def runs(self, iova: int, size: int) -> Iterator[Run]:
        self._check_inputs(iova, size)
        return self._runs_from_top(iova, iova + size)

    def _runs_from_top(self, low: int, high: int) -> Iterator[Run]:
        seen = set(self._tops)
        shift = self._top_shift
        for top in range(low >> shift, min((high - 1 >> shift) + 1, len(self._tops))):
            start, end = top << shift, top + 1 << shift
            yield from self._runs(self._tops[top], 0, max(low, start), min(high, end), seen)

    def _runs(self, table: int, depth: int, low: int, high: int, seen: set[int]) -> Iterator[Run]:
        """Yield the runs of one table between two addresses that it covers."""
        last = depth == len(self._path)
        shift = self._page_shift if last else self._path[depth]
        first = low >> shift
        at = table + (first & self._mask)
        entries = self._array[at : at + (high - 1 >> shift) - first + 1]
        if last:
            for start, count in stretches(entries != 0):
                yield Run(first + start << shift, self.page, count)
            return
        for i in np.flatnonzero(entries).tolist():
            pte = int(entries[i])
            child = self._follow(pte, at + i, depth + 1)
            self._note(child, pte, at + i, depth + 1, seen)
            start = first + i << shift
            end = start + (1 << shift)
            yield from self._runs(child, depth + 1, max(low, start), min(high, end), seen)

    # --- freeing --------------------------------------------------------------------------

    def _free_tables(self) -> None:
        seen: set[int] = set()
        order: list[int] = []

        def visit(table: int, depth: int) -> None:
            seen.add(table)
            if depth < len(self._path):
                for pte in self._array[table : table + self._mask + 1].tolist():
                    child = self._tables.get(pte, self._index(self.decode(pte))) if pte else -1
                    if child in self._owned and child not in seen:
                        visit(child, depth + 1)
            order.append(table)

        for top in self._tops:
            visit(top, 0)
        order += [table for table in self._owned if table not in seen]
        self._owned.clear()
        self._tables.clear()
        for table in order:
            self.memory.free(self._at(table), self._reserved)
