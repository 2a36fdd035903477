# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of a tree as a whole, beyond what single descriptors show while it is read.

Spec: DDI 0487 B2.16 (mismatched memory attributes) for physical memory that is mapped twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pgtable.inspect.arrays import I64, U64, u64
from pgtable.inspect.findings import Finding
from pgtable.inspect.units import plural

if TYPE_CHECKING:
    from pgtable.inspect.tree import Tree


def check_whole(tree: Tree) -> None:
    """Add to a tree's findings what only the whole tree shows."""
    _overlapping_tables(tree)
    _mismatched_aliases(tree)
    _mapped_tables(tree)
    _empty_tables(tree)


def _table_sizes(tree: Tree) -> I64:
    sizes = np.array([level.table_size for level in tree.space.levels], dtype=np.int64)
    return sizes[tree.tables.depth]


def _overlapping_tables(tree: Tree) -> None:
    """Tables of different sizes (a first table, MediaTek's) can lie across each other."""
    order = np.lexsort((-_table_sizes(tree), tree.tables.address))
    addresses = tree.tables.address[order]
    ends = addresses + _table_sizes(tree)[order].astype(np.uint64)
    highest = np.maximum.accumulate(ends)
    inside = np.flatnonzero((addresses[1:] < highest[:-1]) & (addresses[1:] != addresses[:-1])) + 1
    for i in inside[: tree.found.take("tables-overlap", len(inside))].tolist():
        at, depth = int(addresses[i]), int(tree.tables.depth[order[i]])
        owner = int(np.argmax(highest[:i] > addresses[i]))
        text = (
            f"the level {tree.space.levels[depth].number} table at {at:#x} lies inside the one at "
            f"{int(addresses[owner]):#x}"
        )
        iova = tree.space.base + int(tree.tables.iova[order[i]])
        tree.found.add(Finding("tables-overlap", text, iova=iova))


def _mismatched_aliases(tree: Tree) -> None:
    """Find physical memory that two runs map with different types or shareability."""
    runs = tree.extents
    kinds = {attributes: i for i, attributes in enumerate({m.attributes for m in tree.meanings})}
    if len(kinds) < 2:
        return
    kind = np.array([kinds[m.attributes] for m in tree.meanings], dtype=np.int64)[runs.meaning]
    order = np.argsort(runs.address, kind="stable")
    start, end = runs.address[order], (runs.address + runs.length)[order]
    kind = kind[order]
    # A run overlaps an earlier one of another kind if one of those reaches beyond its start.
    found = np.zeros(len(order), dtype=np.bool_)
    owners = np.zeros(len(order), dtype=np.int64)
    for one in range(len(kinds)):
        reach = np.where(kind == one, end, u64(0))
        highest = np.maximum.accumulate(reach)
        overlaps = np.zeros(len(order), dtype=np.bool_)
        overlaps[1:] = (highest[:-1] > start[1:]) & (kind[1:] != one)
        found |= overlaps
        owners[overlaps] = _owner(highest, reach)[np.flatnonzero(overlaps) - 1]
    which = np.flatnonzero(found)
    for i in which[: tree.found.take("mismatched-alias", len(which))].tolist():
        one, other = int(order[owners[i]]), int(order[i])
        tree.found.add(_alias(tree, one, other))


def _owner(highest: U64, reach: U64) -> I64:
    """Return, for each place, the latest one whose reach is the highest so far."""
    numbers = np.where(reach == highest, np.arange(len(reach)), 0)
    return np.maximum.accumulate(numbers)


def _alias(tree: Tree, one: int, other: int) -> Finding:
    runs = tree.extents
    low = max(int(runs.address[one]), int(runs.address[other]))
    high = min(int((runs.address + runs.length)[i]) for i in (one, other))
    words = [tree.meanings[int(runs.meaning[i])].attributes for i in (one, other)]
    places = [
        tree.space.base + int(runs.iova[i]) + low - int(runs.address[i]) for i in (one, other)
    ]
    return Finding(
        "mismatched-alias",
        f"physical {low:#x}-{high - 1:#x} is {words[0]} at {places[0]:#x} "
        f"and {words[1]} at {places[1]:#x}",
        iova=places[1],
        size=high - low,
    )


def _mapped_tables(tree: Tree) -> None:
    """Find tables of this tree that the space maps writable."""
    runs = tree.extents
    writable = np.array([m.writable for m in tree.meanings] or [False], dtype=np.bool_)
    runs = runs.take(writable[runs.meaning]) if len(runs) else runs
    if not len(runs):
        return
    tables = np.unique(tree.tables.address)
    low = np.searchsorted(tables, runs.address)
    high = np.searchsorted(tables, runs.address + runs.length)
    which = np.flatnonzero(high > low)
    for i in which[: tree.found.take("maps-tables", len(which))].tolist():
        here = tables[low[i] : high[i]]
        first, last = int(here[0]), int(here[-1])
        what = f"the table at {first:#x} is"
        if len(here) > 1:
            what = f"{len(here):,} tables between {first:#x} and {last:#x} are"
        iova = tree.space.base + int(runs.iova[i]) + first - int(runs.address[i])
        text = f"{what} mapped writable at {iova:#x}"
        size = last - first + 1
        tree.found.add(Finding("maps-tables", text, count=len(here), iova=iova, size=size))


def _empty_tables(tree: Tree) -> None:
    empty = (tree.tables.used == 0) & (tree.tables.parent != 0)
    count = int(empty.sum())
    if count:
        size = int(_table_sizes(tree)[empty].sum())
        text = f"{plural(count, 'table')} without a valid entry, {size:#x} bytes"
        at = int(tree.tables.parent[empty][0])
        tree.found.add(Finding("empty-table", text, address=at, count=count))
