# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading tables of the long-descriptor family: look-ups one by one and by the million, dirty bits.

Spec: DDI 0487 D8.2.4 (walk), D8.5.6 (hardware management of dirty state).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pgtable.config import EINVAL
from pgtable.contract import DIRTY_NO_CLEAR, U64, DirtyBitmap, Run
from pgtable.formats.common import CHUNK, stretches
from pgtable.formats.lpae_tables import ADDRESS, BLOCK, LAST, TABLE, TYPE, LpaeTables
from pgtable.table import R_co

if TYPE_CHECKING:
    from pgtable.contract import Addresses
    from pgtable.formats.common import Index
    from pgtable.memory import Words

RDONLY = 1 << 7
DBM = 1 << 51
RECORDS_DIRTY = "ARM_64_LPAE_S1"


class LpaeReader(LpaeTables[R_co]):
    """What can be asked of a long-descriptor table without changing it (but for dirty bits)."""

    def iova_to_phys(self, iova: int) -> int:
        words = self._words
        tables = self._tables
        table: int | None = self._root
        for shift, mask in self._path:
            pte = words[table + (iova >> shift & mask)]  # type: ignore[operator]
            table = tables.get(pte)
            if table is None:
                return self._phys_slow(iova)
        pte = words[table + (iova >> self._page_shift & self._page_mask)]  # type: ignore[operator]
        if pte & 3 != self.page_kind:
            return 0
        offset = iova & (1 << self._page_shift) - 1
        if self._wide:
            return self.decode(pte) | offset
        return pte & ADDRESS | offset

    def _is_leaf(self, iova: int, size: int) -> bool:
        if size != 1 << self._page_shift:
            return super()._is_leaf(iova, size)
        words = self._words
        tables = self._tables
        table: int | None = self._root
        for shift, mask in self._path:
            table = tables.get(words[table + (iova >> shift & mask)])  # type: ignore[operator]
            if table is None:
                return super()._is_leaf(iova, size)
        pte = words[table + (iova >> self._page_shift & self._page_mask)]  # type: ignore[operator]
        return pte & 3 == self.page_kind

    def _phys_slow(self, iova: int) -> int:
        found = self._find(iova)
        if found is None:
            return 0
        pte, shift = found
        return self.decode(pte) | iova & (1 << shift) - 1

    def _find(self, iova: int) -> tuple[int, int] | None:
        """Return (descriptor, log2 of size) of the leaf that maps `iova`."""
        g = self.geometry
        table = self._root
        for level in range(g.start_level, LAST + 1):
            word = table + (iova >> g.shift(level) & g.mask(level))
            pte = self._words[word]
            if self._leaf(pte, level):
                return pte, g.shift(level)
            if pte & TYPE != TABLE or level == LAST:
                return None
            table = self._follow(pte, word, level)
        return None

    def leaf_at(self, iova: int) -> tuple[int, int] | None:
        found = self._find(iova)
        if found is None:
            return None
        size = 1 << found[1]
        return iova & -size, size

    def pgtable_walk(self, iova: int, ptes: list[int]) -> int:
        g = self.geometry
        table = self._root
        if iova & U64 == U64:
            return 0  # iova + 1 is where Linux's walk of one address ends: it ends at once
        for level in range(g.start_level, LAST + 1):
            word = table + (iova >> g.shift(level) & g.mask(level))
            pte = ptes[level] = self._words[word]
            if self._leaf(pte, level):
                return 0
            if pte & TYPE != TABLE or level == LAST:
                return -EINVAL
            table = self._follow(pte, word, level)
        return -EINVAL

    # --- many addresses at once -----------------------------------------------------------

    def iovas_to_phys(self, iovas: Addresses) -> Addresses:
        flat = np.ascontiguousarray(iovas, dtype=np.uint64).reshape(-1)
        out = np.zeros(flat.shape, dtype=np.uint64)
        if flat.size:
            table, level = self._common(int(flat.min()), int(flat.max()))
            for start in range(0, flat.size, CHUNK):
                part = flat[start : start + CHUNK].view(np.int64)
                self._phys_chunk(part, table, level, out[start : start + CHUNK])
        return out.reshape(np.shape(iovas))

    def _common(self, low: int, high: int) -> tuple[int, int]:
        """Return the lowest table, and its level, that all walks between two addresses meet."""
        g = self.geometry
        table = self._root
        for level in range(g.start_level, LAST):
            if low >> g.shift(level) != high >> g.shift(level):
                return table, level
            word = table + (low >> g.shift(level) & g.mask(level))
            pte = self._words[word]
            if pte & TYPE != TABLE:
                return table, level
            table = self._follow(pte, word, level)
        return table, LAST

    def _phys_chunk(self, iovas: Index, root: int, start: int, out: Addresses) -> None:
        """Walk all addresses level by level; those that met a leaf or a hole drop out."""
        g = self.geometry
        left: Index | None = None  # positions of the addresses still under way; None is all
        table: Index | int = root
        for level in range(start, LAST + 1):
            words = iovas >> g.shift(level)
            words &= g.mask(level)
            words += table
            ptes = self._array[words]
            kind = ptes & np.uint64(TYPE)
            on = kind == TABLE
            if level < LAST and on.all():
                table = self._follow_many(ptes, words, level)
                continue
            leaf = kind == (self.page_kind if level == LAST else BLOCK)
            if left is None and leaf.all():
                out[:] = self._join(ptes, iovas, g.shift(level))
                return
            where = np.flatnonzero(leaf)
            if where.size:
                value = self._join(ptes[where], iovas[where], g.shift(level))
                out[where if left is None else left[where]] = value
            keep = np.flatnonzero(on)
            if level == LAST or not keep.size:
                return
            left = keep if left is None else left[keep]
            iovas, ptes, words = iovas[keep], ptes[keep], words[keep]
            table = self._follow_many(ptes, words, level)

    def _decode_many(self, ptes: Addresses) -> Addresses:
        paddr = ptes & np.uint64(ADDRESS)
        if self._wide:
            paddr |= paddr << np.uint64(36)
            paddr &= np.uint64(ADDRESS << 4)
        return paddr

    def _join(self, ptes: Addresses, iovas: Index, shift: int) -> Addresses:
        paddr = self._decode_many(ptes)
        paddr |= (iovas & ((1 << shift) - 1)).view(np.uint64)
        return paddr

    def _follow_many(self, ptes: Addresses, words: Index, level: int) -> Index:
        tables = self._decode_many(ptes)
        tables -= np.uint64(self.memory.base)
        if int(tables.max()) + self.table_size > self.memory.size:
            bad = int(tables.argmax())
            pte, word = int(ptes[bad]), int(words[bad])
            self._inside(self.decode(pte), self.table_size, pte, word, level)
        tables >>= np.uint64(3)
        return tables.view(np.int64)

    # --- what is mapped -------------------------------------------------------------------

    def runs(self, iova: int, size: int) -> Iterator[Run]:
        self._check_inputs(iova, size)
        seen = {self._root}
        return self._runs(self._root, self.geometry.start_level, iova, iova + size, seen)

    def _runs(self, table: int, level: int, low: int, high: int, seen: set[int]) -> Iterator[Run]:
        """Yield the runs of one table between two addresses that it covers."""
        shift, mask = self.geometry.shift(level), self.geometry.mask(level)
        first = low >> shift
        at = table + (first & mask)
        entries = self._array[at : at + ((high - 1) >> shift) - first + 1]
        kind = entries & TYPE
        leaf = kind == (self.page_kind if level == LAST else BLOCK)
        if level == LAST:
            for start, count in stretches(leaf):
                yield Run(first + start << shift, 1 << shift, count)
            return
        if level == LAST - 1 and len(entries) > 1 and low & (1 << shift) - 1 == 0:
            flat = self._flat(at, min(len(entries), (high >> shift) - first))
            if flat is not None:
                page = self._page_shift
                for start, count in stretches(flat & TYPE == self.page_kind):
                    yield Run(low + (start << page), 1 << page, count)
                covered = len(flat) << page
                if low + covered < high:
                    yield from self._runs(table, level, low + covered, high, seen)
                return
        spans = [(start, count, True) for start, count in stretches(leaf)]
        spans += [(i, 1, False) for i in np.flatnonzero(kind == TABLE).tolist()]
        for start, count, is_leaf in sorted(spans):
            lowest = first + start << shift
            if is_leaf:
                yield Run(lowest, 1 << shift, count)
            else:
                child = self._follow(int(entries[start]), at + start, level)
                self._note(child, int(entries[start]), at + start, level, seen)
                yield from self._runs(
                    child, level + 1, max(low, lowest), min(high, lowest + (1 << shift)), seen
                )

    def _flat(self, word: int, count: int) -> Words | None:
        """Return the leaves under `count` entries of the last but one level as one array.

        None unless all of the entries are tables of this writer, one after the other in memory:
        then a great many leaves can be looked at, or written, in one step.
        """
        if count < 2:
            return None
        ptes = self._array[word : word + count]
        pte = int(ptes[0])
        table = self._tables.get(pte)
        if table is None or pte + (count * self.table_size) >> 64:
            return None
        if not np.array_equal(ptes, self._table_steps[:count] + np.uint64(pte)):
            return None
        if not all(map(self._tables.__contains__, ptes.tolist())):
            return None
        return self._array[table : table + (count << self.geometry.bits)]

    # --- dirty tracking -------------------------------------------------------------------

    def read_and_clear_dirty(self, iova: int, size: int, flags: int, dirty: DirtyBitmap) -> int:
        iova &= U64
        size &= U64
        if not size:
            self.warn("dirty tracking of an empty range")
            return -EINVAL
        if (iova + size - 1 & U64) >> self._ias:
            self.warn(f"dirty tracking of {size:#x} bytes at {iova:#x}: over {self._ias} bits")
            return -EINVAL
        if self.fmt != RECORDS_DIRTY:
            return -EINVAL
        reached = self._dirty(
            self._root,
            self.geometry.start_level,
            iova,
            iova + size & U64,
            flags,
            dirty,
            {self._root},
        )
        return 0 if reached is not None else -EINVAL

    def _dirty(
        self,
        table: int,
        level: int,
        at: int,
        end: int,
        flags: int,
        dirty: DirtyBitmap,
        seen: set[int],
    ) -> int | None:
        """Record the written leaves of one table from `at` on; return where it ended.

        `at` grows by the size of each leaf met, from wherever it started in the first one. None
        at a hole: what came before it has been recorded and cleaned by then.
        """
        words = self._words
        shift = self.geometry.shift(level)
        size = 1 << shift
        for i in range(at >> shift & self.geometry.mask(level), self._entries(level)):
            if at >= end:
                break
            pte = words[table + i]
            if self._leaf(pte, level):
                if pte & (DBM | RDONLY) == DBM:
                    dirty.record(at, size)
                    if not flags & DIRTY_NO_CLEAR:
                        words[table + i] = pte | RDONLY
                at = at + size & U64
            elif pte & TYPE != TABLE or level == LAST:
                return None
            else:
                child = self._follow_own(pte, table + i, level)
                self._note(child, pte, table + i, level, seen)
                reached = self._dirty(child, level + 1, at, end, flags, dirty, seen)
                if reached is None:
                    return None
                at = reached
        return at
