# SPDX-License-Identifier: GPL-2.0-or-later
"""Mapping and unmapping in the long-descriptor family, call by call as Linux does it.

Each call works on one table; what is left is the caller's to ask for again. Checks, return values,
flush callbacks, allocations and syncs come in the kernel's order.
"""

from __future__ import annotations

import numpy as np

from pgtable.config import EEXIST, EINVAL, ERANGE
from pgtable.contract import U64
from pgtable.flush import IotlbGather
from pgtable.formats.common import ZEROS, signed_32, steps
from pgtable.formats.lpae_read import LpaeReader
from pgtable.formats.lpae_tables import ADDRESS, LAST, SW_SYNC, TABLE, TYPE, Plan
from pgtable.table import R_co


class LpaeMapper(LpaeReader[R_co]):
    """`map_pages` and `unmap_pages` of a long-descriptor table."""

    # --- map ------------------------------------------------------------------------------

    def map_pages(
        self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        plan = self._plans.get(pgsize)
        attr = self._attrs.get(prot) or self._attr(prot)
        if (
            plan is None
            or attr is None
            or iova >> self._ias != self._top
            or paddr >> self._oas
            or pgcount >> 31
        ):
            return self._map_odd(iova, paddr, pgsize, pgcount, prot)
        words = self._words
        tables = self._tables
        table: int | None = self._root
        for shift, mask in plan.above:
            table = tables.get(words[table + (iova >> shift & mask)])  # type: ignore[operator]
            if table is None:
                table = self._descend(iova, plan.above)
                if table < 0:
                    return table, 0
                break
        word = iova >> plan.shift & plan.mask
        count = plan.span - (word & plan.span - 1)
        if pgcount < count:
            count = pgcount
        word += table  # type: ignore[operator]
        if count == 1:
            if words[word] or paddr >> 48:
                return self._write_slow(iova, paddr, plan, word, 1, attr)
            words[word] = attr | plan.kind | paddr & ADDRESS
        else:
            start, size = word << 3, count << 3
            if self._bytes[start : start + size].tobytes() != ZEROS[:size] or (
                paddr + (count << plan.shift) - 1 >> 48
            ):
                return self._write_slow(iova, paddr, plan, word, count, attr)
            base = attr | plan.kind | paddr & ADDRESS
            ramp = steps(1 << self.geometry.bits, plan.shift)
            np.add(ramp[:count], base, out=self._array[word : word + count])
        if not self._coherent:
            self.memory.sync(self._at(word), count << 3)
        return 0, count << plan.shift

    def _map_odd(
        self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        """Map with all checks, in Linux's order and in C's integers."""
        iova, paddr, pgsize, pgcount = iova & U64, paddr & U64, pgsize & U64, pgcount & U64
        if not pgsize or pgsize & self.cfg.pgsize_bitmap != pgsize:
            self.warn(f"map at {iova:#x}: page size {pgsize:#x} is not one of this table's")
            return -EINVAL, 0
        if iova >> self._ias != self._top or paddr >> self._oas:
            self.warn(f"map of {iova:#x} to {paddr:#x}: out of range")
            return -ERANGE, 0
        attr = self._attr(prot)
        if attr is None:
            return -EINVAL, 0
        plan = self._plans.get(pgsize)
        table = self._descend(iova, self._path if plan is None else plan.above)
        if table < 0:
            return table, 0
        if plan is None:
            # No level has leaves of this size; Linux finds out at the bottom.
            self.warn(f"map at {iova:#x}: no level maps {pgsize:#x} bytes")
            return -EINVAL, 0
        word = iova >> plan.shift & plan.mask
        count = min(signed_32(pgcount), plan.span - (word & plan.span - 1))
        return self._write_slow(iova, paddr, plan, table + word, count, attr)

    def _descend(self, iova: int, above: tuple[tuple[int, int], ...]) -> int:
        """Walk down, adding the tables that are missing.

        Returns the word index of the table reached, or a negative errno.
        """
        table = self._root
        level = self.geometry.start_level
        for shift, mask in above:
            word = table + (iova >> shift & mask)
            pte = self._words[word]
            if not pte:
                table = self._install(word)
                if table < 0:
                    return table
            else:
                if not self._coherent and not pte & SW_SYNC:
                    self.memory.sync(self._at(word), 8)
                if self._leaf(pte, level):
                    self._warn_overlap(iova)
                    return -EEXIST
                table = self._follow_own(pte, word, level)
            level += 1
        return table

    def _write_slow(
        self, iova: int, paddr: int, plan: Plan, word: int, count: int, attr: int
    ) -> tuple[int, int]:
        """Write leaves over whatever is there: a leaf stops it, tables are torn down."""
        words = self._words
        level = plan.level
        for i in range(count):
            pte = words[word + i]
            if self._leaf(pte, level):
                self._warn_overlap(iova + (i << plan.shift))
                return -EEXIST, 0
            if pte & TYPE == TABLE:
                self._tear_down(iova + (i << plan.shift) & U64, plan, word + i)
                if not self._coherent:
                    self.memory.sync(self._at(word + i), 8)
        attr |= plan.kind
        for i in range(count):
            words[word + i] = attr | self.encode(paddr + (i << plan.shift) & U64)
        if not self._coherent:
            self.memory.sync(self._at(word), (count << 3) & U64)
        return 0, (count << plan.shift) & U64

    def _warn_overlap(self, iova: int) -> None:
        if not self._quiet:
            self.warn(f"map at {iova & U64:#x}: mapped already")

    def _tear_down(self, iova: int, plan: Plan, word: int) -> None:
        """Take a table out of its entry, tell the TLB's owner, then free the tree below it."""
        pte = self._words[word]
        child = self._follow_own(pte, word, plan.level)
        found: list[int] = []
        self._collect(child, plan.level + 1, found, {self._root, child})
        self._words[word] = 0
        if not self._coherent:
            self.memory.sync(self._at(word), 8)
        self._tlb_flush_walk(iova, 1 << plan.shift, self.table_size)
        for table in found:
            self._free_table(table, self.table_size)

    # --- unmap ----------------------------------------------------------------------------

    def unmap_pages(
        self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None = None
    ) -> int:
        plan = self._plans.get(pgsize)
        if plan is None or iova >> self._ias != self._top or pgcount <= 0 or pgcount >> 31:
            return self._unmap_odd(iova, pgsize, pgcount, gather)
        words = self._words
        tables = self._tables
        table: int | None = self._root
        for shift, mask in plan.above:
            table = tables.get(words[table + (iova >> shift & mask)])  # type: ignore[operator]
            if table is None:
                table = self._reach(iova, plan.above)
                if table < 0:
                    return 0
                break
        word = iova >> plan.shift & plan.mask
        count = plan.span - (word & plan.span - 1)
        if pgcount < count:
            count = pgcount
        word += table  # type: ignore[operator]
        if count == 1:
            if words[word] & 3 != plan.kind:
                return self._clear_slow(iova, plan, word, 1, gather)
            words[word] = 0
            if not self._coherent:
                self.memory.sync(self._at(word), 8)
            if gather is not None and not gather.queued:
                self._tlb_add_page(gather, iova, pgsize)
            return pgsize
        start, size = word << 3, count << 3
        low = self._bytes[start : start + size].tobytes()[::8]
        if low[0] & 3 != plan.kind or low.count(low[0]) != count:
            return self._clear_slow(iova, plan, word, count, gather)
        self._bytes[start : start + size] = ZEROS[:size]
        if not self._coherent:
            self.memory.sync(self._at(word), size)
        if gather is not None and not gather.queued:
            self._tlb_add_pages(gather, iova, pgsize, count)
        return count << plan.shift

    def _unmap_odd(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None) -> int:
        """Unmap with all checks, in Linux's order and in C's integers."""
        iova, pgsize, pgcount = iova & U64, pgsize & U64, pgcount & U64
        if not pgsize or pgsize & self.cfg.pgsize_bitmap != pgsize or not pgcount:
            self.warn(f"unmap at {iova:#x}: {pgcount:#x} pages of {pgsize:#x} bytes")
            return 0
        if iova >> self._ias != self._top:
            self.warn(f"unmap at {iova:#x}: out of range")
            return 0
        plan = self._plans.get(pgsize)
        table = self._reach(iova, self._path if plan is None else plan.above)
        if table < 0:
            return 0
        if plan is None:
            pte = self._words[table + (iova >> self._page_shift & self._page_mask)]
            self._warn_unmap(iova, pte, LAST)
            return 0
        word = iova >> plan.shift & plan.mask
        count = min(signed_32(pgcount), plan.span - (word & plan.span - 1))
        if not self._words[table + word]:
            self._warn_unmap(iova, 0, plan.level)
            return 0
        return self._clear_slow(iova, plan, table + word, count, gather)

    def _reach(self, iova: int, above: tuple[tuple[int, int], ...]) -> int:
        """Walk down to where leaves of a size would be; -1, and a warning, if that ends early."""
        table = self._root
        level = self.geometry.start_level
        for shift, mask in above:
            word = table + (iova >> shift & mask)
            pte = self._words[word]
            if not pte or self._leaf(pte, level):
                self._warn_unmap(iova, pte, level)
                return -1
            table = self._follow_own(pte, word, level)
            level += 1
        return table

    def _warn_unmap(self, iova: int, pte: int, level: int) -> None:
        if pte:
            size = 1 << self.geometry.shift(level)
            self.warn(f"unmap at {iova:#x}: part of a leaf of {size:#x} bytes")
        elif not self._quiet:
            self.warn(f"unmap at {iova & U64:#x}: nothing mapped")

    def _clear_slow(
        self, iova: int, plan: Plan, word: int, count: int, gather: IotlbGather | None
    ) -> int:
        """Clear entries up to the first empty one, tearing down the tables among them."""
        words = self._words
        done = 0
        while done < count:
            pte = words[word + done]
            at = iova + (done << plan.shift) & U64
            if not pte:
                self._warn_unmap(at, 0, plan.level)
                break
            if not self._leaf(pte, plan.level):
                self._tear_down(at, plan, word + done)
            done += 1
        if not done:
            return 0
        size = done << 3
        self._bytes[word << 3 : (word << 3) + size] = bytes(size)
        if not self._coherent:
            self.memory.sync(self._at(word), size)
        if gather is not None and not gather.queued:
            self._tlb_add_pages(gather, iova, 1 << plan.shift, done)
        return done << plan.shift
