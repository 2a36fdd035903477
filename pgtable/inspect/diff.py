# SPDX-License-Identifier: GPL-2.0-or-later
"""What changed between two trees, in meaning: how the tables are laid out does not count.

A range that was 512 pages and is one block has changed its page size and nothing else; tables
that moved in memory have changed nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pgtable.inspect.arrays import I64, U64, Mask, u64
from pgtable.inspect.errors import SpaceError
from pgtable.inspect.meaning import Meaning
from pgtable.inspect.tree import Range, Runs, Tree


class What(enum.IntFlag):
    """Kinds of change; a range can have several."""

    MAPPED = 1
    UNMAPPED = 2
    MOVED = 4
    PERMISSIONS = 8
    ATTRIBUTES = 16
    FLAGS = 32
    SOFTWARE = 64
    PAGE_SIZE = 128

    def __str__(self) -> str:
        names = [one.name.lower().replace("_", " ") for one in What if self & one and one.name]
        return ", ".join(names)


class Change(NamedTuple):
    """One range of input addresses that changed, with the parts of the old and new ranges."""

    what: What
    start: int
    last: int
    old: Range | None
    new: Range | None

    @property
    def size(self) -> int:
        return self.last - self.start + 1


def diff(old: Tree, new: Tree) -> list[Change]:
    """Compare two trees of one address space; an empty list means that nothing changed.

    Raises: SpaceError when the two have different input addresses.
    """
    return list(Comparison(old, new).changes())


def compare_meanings(old: Meaning, new: Meaning) -> What:
    """Return how two leaves differ, where they lead to apart."""
    what = What(0)
    if (old.user, old.privileged, old.execute_words) != (
        new.user,
        new.privileged,
        new.execute_words,
    ):
        what |= What.PERMISSIONS
    if (old.memory, old.shareability) != (new.memory, new.shareability):
        what |= What.ATTRIBUTES
    if old.flags != new.flags:
        what |= What.FLAGS
    if old.software != new.software:
        what |= What.SOFTWARE
    return what


def _tags(meaning: Meaning) -> set[str]:
    """Return what, apart from memory attributes, makes a TLB entry another one."""
    return {"global", "ns"} & set(meaning.flags)


_Parts = list[Range | None]


@dataclass
class _Side:
    """One tree's extents, looked up for many addresses."""

    tree: Tree
    runs: Runs
    index: I64
    here: Mask

    @classmethod
    def at(cls, tree: Tree, places: U64) -> _Side:
        runs = tree.extents
        index: I64 = np.searchsorted(runs.iova, places, side="right") - 1
        here = index >= 0
        index = np.maximum(index, 0)
        if len(runs):
            here &= places < (runs.iova + runs.length)[index]
        else:
            here[:] = False
        return cls(tree, runs, index, here)

    def address(self, places: U64) -> U64:
        if not len(self.runs):
            return np.zeros_like(places)
        return self.runs.address[self.index] + (places - self.runs.iova[self.index])

    def column(self, name: str) -> I64:
        values = getattr(self.runs, name)
        if not len(self.runs):
            return np.zeros(len(self.index), dtype=np.int64)
        found: I64 = values[self.index].astype(np.int64)
        return np.where(self.here, found, -1)

    def parts(self, where: I64, places: U64, starts: list[int], lasts: list[int]) -> _Parts:
        """Return, for each change, the piece of this side's extent that it covers."""
        if not len(self.runs):
            return [None] * len(where)
        run = self.index[where]
        address = self.runs.address[run] + (places - self.runs.iova[run])
        columns = (self.here[where], address, self.runs.size_lg2[run], self.runs.meaning[run])
        meanings = self.tree.meanings
        return [
            Range(start, last, target, 1 << size_lg2, meanings[meaning]) if here else None
            for start, last, here, target, size_lg2, meaning in zip(
                starts, lasts, *(column.tolist() for column in columns), strict=True
            )
        ]


class Comparison:
    """Two trees cut at every place where either changes; `places` are the cuts.

    `retranslated`: which pieces both map, but to other memory or with other attributes.

    Raises: SpaceError.
    """

    def __init__(self, old: Tree, new: Tree) -> None:
        if (old.space.base, old.space.size) != (new.space.base, new.space.size):
            raise SpaceError("input bits", f"two different ranges: {old.space}; {new.space}")
        self.old_tree, self.new_tree = old, new
        edges = [
            edge
            for runs in (old.extents, new.extents)
            for edge in (runs.iova, runs.iova + runs.length)
        ]
        self.cuts: U64 = np.unique(np.concatenate(edges))
        self.places: U64 = self.cuts[:-1]
        self.old = _Side.at(old, self.places)
        self.new = _Side.at(new, self.places)
        self.retranslated: Mask
        self.what = self._compare()

    def _compare(self) -> I64:
        what = np.zeros(len(self.places), dtype=np.int64)
        old, new = self.old, self.new
        what[new.here & ~old.here] = What.MAPPED
        what[old.here & ~new.here] = What.UNMAPPED
        both = old.here & new.here
        moved = old.address(self.places) != new.address(self.places)
        what[both & moved] |= int(What.MOVED)
        resized = old.column("size_lg2") != new.column("size_lg2")
        what[both & resized] |= int(What.PAGE_SIZE)
        pairs = old.column("meaning") << 32 | new.column("meaning") & 0xFFFF_FFFF
        kinds, where = np.unique(pairs[both], return_inverse=True)
        meanings = [
            (old.tree.meanings[pair >> 32], new.tree.meanings[pair & 0xFFFF_FFFF])
            for pair in kinds.tolist()
        ]
        bits = [int(compare_meanings(*pair)) for pair in meanings]
        what[both] |= np.array(bits, dtype=np.int64)[where]
        self.retranslated = both & moved
        tagged = np.array([_tags(one) != _tags(other) for one, other in meanings], dtype=np.bool_)
        self.retranslated[both] |= tagged[where]
        self.retranslated |= what & int(What.ATTRIBUTES) != 0
        return what

    def changes(self) -> Iterator[Change]:
        """Yield the changes in ascending order, adjacent pieces of one change joined."""
        where = np.flatnonzero(self.what)
        if not len(where):
            return
        starts = self.places[where]
        ends = self.cuts[where + 1]
        columns = [self.what[where]]
        for side in (self.old, self.new):
            columns += [side.column("meaning")[where], side.column("size_lg2")[where]]
            shift = (side.address(self.places) - self.places)[where]
            columns.append(np.where(side.here[where], shift, u64(0)).view(np.int64))
        breaks = np.ones(len(where), dtype=np.bool_)
        breaks[1:] = starts[1:] != ends[:-1]
        for column in columns:
            breaks[1:] |= column[1:] != column[:-1]
        firsts = np.flatnonzero(breaks)
        lasts = np.append(firsts[1:], len(where)) - 1
        base = self.old_tree.space.base
        begin = [base + at for at in starts[firsts].tolist()]
        end = [base + at - 1 for at in ends[lasts].tolist()]
        which, places = where[firsts], starts[firsts]
        parts = [side.parts(which, places, begin, end) for side in (self.old, self.new)]
        kinds = {number: What(number) for number in np.unique(self.what[which]).tolist()}
        whats = [kinds[number] for number in self.what[which].tolist()]
        yield from map(Change, whats, begin, end, *parts)

    def changed(self, first: int, last: int, *, page_sizes: bool) -> bool:
        """Say whether a mapped address of a range (counted from the lowest) leads elsewhere.

        That is, to other memory or with other attributes; permissions do not count, nor do
        addresses that only one side maps. `page_sizes`: leaves of another size count too.
        """
        low = max(int(np.searchsorted(self.cuts, u64(first), side="right")) - 1, 0)
        high = int(np.searchsorted(self.places, u64(last), side="right"))
        if self.retranslated[low:high].any():
            return True
        return page_sizes and bool((self.what[low:high] & int(What.PAGE_SIZE)).any())
