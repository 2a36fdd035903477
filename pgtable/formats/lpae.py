# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine of the long-descriptor family: 64-bit descriptors, up to four levels.

Shared by ARM_64_LPAE_S1/S2, ARM_32_LPAE_S1/S2 and ARM_MALI_LPAE, which differ in their
attributes, limits and registers only. `lpae_tables` knows descriptors and memory, `lpae_read`
looks things up, `lpae_map` is Linux's contract; here many tables are written in one step. A bulk
step does what the calls it replaces would do, to the last address and callback.

Left out: contiguous hints, the 52-bit layouts of 4K and 16K granules (LPA2), splitting of blocks;
Linux's writer does none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pgtable.flush import IotlbGather
from pgtable.formats.common import steps
from pgtable.formats.lpae_map import LpaeMapper
from pgtable.formats.lpae_tables import ADDRESS, LAST, TYPE
from pgtable.table import R_co

if TYPE_CHECKING:
    from pgtable.memory import Words


class LpaeTable(LpaeMapper[R_co]):
    """A long-descriptor table; subclasses give the attributes."""

    def _map_run(
        self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        word, tables = self._bulk(iova, pgsize, pgcount)
        size = tables * self._leaf_table_span()
        if tables < 2 or (paddr + size - 1) >> 48:
            return self.map_pages(iova, paddr, pgsize, pgcount, prot)
        if not self._array[word : word + tables].any():
            leaves = self._install_run(word, tables)
        else:
            leaves = self._flat(word, tables)
            if leaves is not None and leaves.max():
                leaves = None
        attr = self._attr(prot)
        if leaves is None or attr is None:
            return self.map_pages(iova, paddr, pgsize, pgcount, prot)
        bits = self.geometry.bits
        first = attr | self.page_kind | paddr & ADDRESS
        of_table = steps(1 << bits, self._page_shift + bits)[:tables] + np.uint64(first)
        of_page = steps(1 << bits, self._page_shift)
        np.add(of_table[:, None], of_page[None, :], out=leaves.reshape(tables, -1))
        return 0, size

    def _unmap_run(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None) -> int:
        word, tables = self._bulk(iova, pgsize, pgcount)
        leaves = self._flat(word, tables)
        if leaves is None or not (leaves & TYPE == self.page_kind).all():
            return self.unmap_pages(iova, pgsize, pgcount, gather)
        leaves.fill(0)
        if gather is not None and not gather.queued:
            self._tlb_add_pages(gather, iova, pgsize, leaves.size)
        return tables * self._leaf_table_span()

    def _leaf_table_span(self) -> int:
        """Return the bytes that a table of pages maps."""
        return 1 << self._page_shift + self.geometry.bits

    def _bulk(self, iova: int, pgsize: int, pgcount: int) -> tuple[int, int]:
        """Return the first entry of, and how many, whole tables of pages start at an address."""
        span = self._leaf_table_span()
        tables = pgcount >> self.geometry.bits
        if (
            tables < 2
            or pgsize != 1 << self._page_shift
            or iova & span - 1
            or not self._coherent
            or self.geometry.start_level == LAST
        ):
            return 0, 0
        table: int | None = self._root
        for shift, mask in self._path[:-1]:
            table = self._tables.get(self._words[table + (iova >> shift & mask)])  # type: ignore[operator]
            if table is None:
                return 0, 0
        shift, mask = self._path[-1]
        first = iova >> shift & mask
        return table + first, min(tables, mask + 1 - first)  # type: ignore[operator]

    def _install_run(self, word: int, count: int) -> Words | None:
        """Put adjacent new tables into empty entries; return their leaves, not yet zeroed."""
        size = self.table_size
        memory = self.memory
        if self.cfg.alloc is not None or self._reserved(size) != size:
            return None
        if memory.base + memory.size > 1 << 48:
            return None
        address = memory.alloc_run(size, count)
        if address is None:
            return None
        pte = self.encode(address) | self._table_bits
        np.add(self._table_steps[:count], pte, out=self._array[word : word + count])
        table = self._index(address)
        ptes = range(pte, pte + count * size, size)
        indices = range(table, table + (count * size >> 3), size >> 3)
        self._tables.update(zip(ptes, indices, strict=True))
        self._owned.update(zip(indices, ptes, strict=True))
        return self._array[table : table + (count * size >> 3)]
