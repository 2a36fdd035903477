# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds who maps physical memory, and which tables lie in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pgtable.inspect.arrays import U64, u64
from pgtable.inspect.errors import SpaceError
from pgtable.inspect.tree import Range, Runs, Tree


class TableAt(NamedTuple):
    """A table of the tree that lies in the memory asked about."""

    level: int
    address: int
    size: int
    iova: int


class Found(NamedTuple):
    """Ranges of input addresses that lead to the memory, and tables that lie in it."""

    ranges: list[Range]
    tables: list[TableAt]


def find(tree: Tree, address: int, size: int = 1) -> Found:
    """Find what maps any of `size` bytes at a physical address. Ranges are cut to those bytes.

    Raises: SpaceError when the bytes are not within physical memory.
    """
    if size <= 0 or address < 0 or address + size > 1 << 64:
        raise SpaceError("physical range", f"{size:#x} bytes at {address:#x} make no sense")
    runs, last = tree.extents, address + size - 1
    ends = runs.address + runs.length - u64(1)
    cut = runs.take((runs.address <= u64(last)) & (ends >= u64(address)))
    low: U64 = np.maximum(cut.address, u64(address))
    high: U64 = np.minimum(cut.address + cut.length - u64(1), u64(last))
    clipped = Runs(
        cut.iova + (low - cut.address),
        low,
        high - low + u64(1),
        cut.size_lg2,
        cut.meaning,
        cut.table,
    )
    return Found(list(tree.ranges(clipped)), _tables(tree, address, last))


def _tables(tree: Tree, first: int, last: int) -> list[TableAt]:
    out = []
    sizes = [level.table_size for level in tree.space.levels]
    ends = tree.tables.address + np.array(sizes, dtype=np.uint64)[tree.tables.depth] - u64(1)
    for i in np.flatnonzero((tree.tables.address <= u64(last)) & (ends >= u64(first))).tolist():
        depth = int(tree.tables.depth[i])
        iova = tree.space.base + int(tree.tables.iova[i])
        level = tree.space.levels[depth].number
        out.append(TableAt(level, int(tree.tables.address[i]), sizes[depth], iova))
    return out
