# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a whole tree, a level at a time, many tables at once.

Damaged trees are read as far as they make sense: loops and tables outside the memory are findings
and are not followed, a table reached twice is followed a limited number of times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pgtable.inspect.arrays import I64, U8, U64, Mask, lengths_of_runs, starts_of_runs, u64
from pgtable.inspect.dumps import Image
from pgtable.inspect.errors import SpaceError
from pgtable.inspect.findings import Finding, Findings
from pgtable.inspect.groups import check_groups
from pgtable.inspect.meaning import Meaning
from pgtable.inspect.reader import ILLEGAL, TABLE, Level, Shape
from pgtable.inspect.space import Space
from pgtable.inspect.tree import FAULTS, Runs, Tables, Tree

CHUNK = 1 << 20
"""Entries looked at together: enough for numpy to be fast, few enough for the memory."""

MOST_REPEATS = 1 << 13
MOST_RUNS = 1 << 25
MOST_EXAMINED = 1000
"""Illegal descriptors of one kind and chunk that are told one by one."""

OVERSIZE = 1
"""Bit 0 beside the inherited bits: the leaf's address is too large, so hardware faults."""


def read(space: Space, image: Image) -> Tree:
    """Read all tables of an address space.

    Raises: SpaceError when a root is not in the memory.
    """
    return _Reading(space, image).run()


@dataclass
class _Front:
    """The tables of one depth that are to be read; `path` has a column for each ancestor."""

    address: U64
    iova: U64
    inherited: U64
    parent: U64
    path: U64

    def part(self, which: slice | I64 | Mask) -> _Front:
        return _Front(*(column[which] for column in vars(self).values()))

    def __len__(self) -> int:
        return len(self.address)


def _concatenate(parts: list[_Front], depth: int) -> _Front:
    if not parts:
        empty = np.zeros(0, dtype=np.uint64)
        return _Front(empty, empty, empty, empty, np.zeros((0, depth), dtype=np.uint64))
    return _Front(
        *(
            np.concatenate(columns)
            for columns in zip(*(vars(p).values() for p in parts), strict=True)
        )
    )


class _Reading:
    """The work of `read`."""

    def __init__(self, space: Space, image: Image) -> None:
        self.space = space
        self.image = image
        self.reader = space.reader
        self.levels = space.levels
        self.found = Findings()
        self.meanings: list[Meaning] = []
        self._meaning_of: dict[Meaning, int] = {}
        self._known: dict[tuple[int, int, int, int], int] = {}
        self._troubled: set[int] = set()
        self._runs: list[Runs] = []
        self._tables: list[tuple[U64, U8, U64, I64, U64]] = []
        self._count = 0
        self._run_count = 0
        self._seen: list[U64] = []
        self._repeats = 0

    def run(self) -> Tree:
        front = self._roots()
        for depth in range(len(self.levels)):
            children = []
            per_chunk = max(1, CHUNK // self.levels[depth].entries)
            for start in range(0, len(front), per_chunk):
                if self._run_count > MOST_RUNS:
                    self._too_large()
                    break
                children.append(self._chunk(depth, front.part(slice(start, start + per_chunk))))
            front = _concatenate(children, depth + 1)
        return Tree(
            self.space, self.image, self._all_tables(), self._all_runs(), self.meanings, self.found
        )

    def _too_large(self) -> None:
        self.found.add(Finding("too-large", f"more than {MOST_RUNS:,} separate runs of leaves"))

    def _roots(self) -> _Front:
        given = [(i, root) for i, root in enumerate(self.space.roots) if root is not None]
        size = self.levels[0].table_size
        for _, root in given:
            if not self.image.holds(root, size):
                raise SpaceError(
                    "root",
                    f"the first table, {size:#x} bytes at {root:#x}, is not in the memory given "
                    f"({self.image})",
                )
        addresses = np.array([root for _, root in given], dtype=np.uint64)
        starts = np.array([i << self.space.root_span_lg2 for i, _ in given], dtype=np.uint64)
        zeros = np.zeros(len(given), dtype=np.uint64)
        self._seen = [np.zeros(0, dtype=np.uint64) for _ in range(len(self.levels) + 1)]
        self._seen[0] = np.unique(addresses)
        path = np.zeros((len(given), 0), dtype=np.uint64)
        return _Front(addresses, starts, zeros, zeros, path)

    def _all_tables(self) -> Tables:
        return Tables(*(np.concatenate(columns) for columns in zip(*self._tables, strict=True)))

    def _all_runs(self) -> Runs:
        empty = Runs(*(np.zeros(0, dtype=kind) for kind in ("u8", "u8", "u8", "u1", "i4", "i4")))
        parts = [vars(part).values() for part in (*self._runs, empty)]
        runs = Runs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        return runs.take(np.argsort(runs.iova, kind="stable"))

    # --- one chunk of tables --------------------------------------------------------------

    def _chunk(self, depth: int, front: _Front) -> _Front:
        """Read some tables of one depth; return the tables below them."""
        level = self.levels[depth]
        words = self.image.rows(front.address, level.entries, level.width).astype(
            np.uint64, copy=False
        )
        codes = level.codes_of(words)
        used = np.count_nonzero(codes >= TABLE, axis=1)
        depths = np.full(len(front), depth, dtype=np.uint8)
        self._tables.append((front.address, depths, front.iova, used, front.parent))
        self._illegal(level, front, words, codes)
        children = _concatenate([], depth + 1)
        for code, shape in level.shapes.items():
            flat = np.flatnonzero(codes == code)
            if not len(flat):
                continue
            entries = _Entries(level, shape, front, flat, words.reshape(-1)[flat])
            if code == TABLE:
                children = self._children(depth, entries)
            else:
                self._leaves(entries)
        check_groups(self.space, self.found, level, front.address, front.iova, words, codes)
        self._count += len(front)
        return children

    def _illegal(self, level: Level, front: _Front, words: U64, codes: U8) -> None:
        flat = np.flatnonzero(codes == ILLEGAL)
        if len(flat):
            shape = next(iter(level.shapes.values()))
            entries = _Entries(level, shape, front, flat, words.reshape(-1)[flat])
            self._report(entries, "reserved-type", self.reader.illegal_words(level))

    # --- leaves ---------------------------------------------------------------------------

    def _leaves(self, entries: _Entries) -> None:
        """Turn leaves into runs."""
        shape, step = entries.shape, u64(1 << entries.level.shift)
        words, iova = entries.words, entries.iova
        address = shape.layout.addresses(words)
        if shape.repeated > 1:
            # Each copy speaks for its own part of the leaf.
            address |= iova & u64(shape.size - 1)
        key = words & u64(shape.key)
        oversize = address >> u64(self.space.output_bits) != 0
        extra = entries.front.inherited[entries.row] | oversize.astype(np.uint64)
        breaks = np.ones(len(words), dtype=np.bool_)
        breaks[1:] = (
            (iova[1:] - iova[:-1] != step)
            | (address[1:] - address[:-1] != step)
            | (key[1:] != key[:-1])
            | (extra[1:] != extra[:-1])
            | (entries.row[1:] != entries.row[:-1])
        )
        starts = starts_of_runs(breaks)
        lengths = lengths_of_runs(starts, len(words))
        meaning = self._meanings(shape, entries.level, key[starts], extra[starts])
        self._runs.append(
            Runs(
                iova[starts],
                address[starts],
                lengths.astype(np.uint64) * step,
                np.full(len(starts), shape.size_lg2, dtype=np.uint8),
                meaning,
                (entries.row[starts] + self._count).astype(np.int32),
            )
        )
        self._run_count += len(starts)
        self._leaf_problems(entries, starts, lengths, meaning, oversize)

    def _meanings(self, shape: Shape, level: Level, key: U64, extra: U64) -> npt.NDArray[np.int32]:
        """Return the number of each leaf's meaning."""
        out = np.zeros(len(key), dtype=np.int32)
        for kind in np.unique(extra).tolist():
            which = np.flatnonzero(extra == u64(kind))
            keys, where = np.unique(key[which], return_inverse=True)
            numbers = [self._meaning(shape, level, word, kind) for word in keys.tolist()]
            out[which] = np.array(numbers, dtype=np.int32)[where]
        return out

    def _meaning(self, shape: Shape, level: Level, word: int, extra: int) -> int:
        known = self._known.get((level.number, shape.size_lg2, word, extra))
        if known is not None:
            return known
        meaning = self.reader.meaning(shape, word, extra & ~OVERSIZE)
        if extra & OVERSIZE:
            meaning = replace(meaning, flags=(*meaning.flags, FAULTS))
        number = self._meaning_of.setdefault(meaning, len(self.meanings))
        if number == len(self.meanings):
            self.meanings.append(meaning)
            if self.reader.meaning_problems(meaning):
                self._troubled.add(number)
        self._known[level.number, shape.size_lg2, word, extra] = number
        return number

    def _leaf_problems(
        self,
        entries: _Entries,
        starts: I64,
        lengths: I64,
        meaning: npt.NDArray[np.int32],
        oversize: Mask,
    ) -> None:
        bad = entries.words & u64(entries.shape.reserved) != 0
        bad |= oversize
        if self._troubled:
            troubled = np.isin(meaning, np.fromiter(self._troubled, dtype=np.int32))
            bad |= np.repeat(troubled, lengths)
        if not bad.any():
            return
        key = (entries.words & u64(entries.shape.key | entries.shape.reserved))[bad]
        self._by_word(entries.only(bad), key)

    def _by_word(self, entries: _Entries, key: U64) -> None:
        """Report entries that are illegal by themselves, grouped while `key` stays the same."""
        groups = list(entries.groups(key))
        self.found.take("illegal", max(0, len(groups) - MOST_EXAMINED))
        for start, count in groups[:MOST_EXAMINED]:
            word = int(entries.words[start])
            meaning = None
            if entries.shape.size_lg2:
                meaning = self.reader.meaning(entries.shape, word, 0)
            for rule, text in self.reader.problems(entries.shape, word, meaning):
                if self.found.take(rule, 1):
                    self.found.add(entries.finding(self.space, rule, text, start, count))

    def _report(self, entries: _Entries, rule: str, text: str) -> None:
        """Report entries that all have the same trouble."""
        groups = list(entries.groups(None))
        for start, count in groups[: self.found.take(rule, len(groups))]:
            self.found.add(entries.finding(self.space, rule, text, start, count))

    # --- tables ---------------------------------------------------------------------------

    def _children(self, depth: int, entries: _Entries) -> _Front:
        """Return the tables that entries point to, without those that must not be followed."""
        words, shape = entries.words, entries.shape
        address = shape.layout.addresses(words)
        oversize = address >> u64(self.space.output_bits) != 0
        bad = (words & u64(shape.reserved) != 0) | oversize
        if bad.any():
            self._by_word(entries.only(bad), (words & u64(shape.reserved))[bad])
        size = self.levels[depth + 1].table_size
        outside = ~self.image.held(address, size) & ~oversize
        if outside.any():
            self._outside(entries.only(outside), address[outside], size)
        path = np.concatenate(
            [entries.front.path[entries.row], entries.front.address[entries.row][:, None]], axis=1
        )
        loop = (path == address[:, None]).any(axis=1) & ~oversize & ~outside
        if loop.any():
            self._report(entries.only(loop), "loop", "it points to a table that leads here")
        good = ~(oversize | outside | loop)
        good &= self._first_time(depth + 1, entries, address, good)
        row = entries.row[good]
        inherited = words[good] & u64(self.reader.inherited_mask)
        return _Front(
            address[good],
            entries.iova[good],
            inherited | entries.front.inherited[row],
            entries.descriptor[good],
            path[good],
        )

    def _outside(self, entries: _Entries, address: U64, size: int) -> None:
        for i in range(self.found.take("table-outside", len(address))):
            at = int(address[i])
            text = f"it points to a table at {at:#x}, outside the memory given"
            if self.image.holds(at, 1):
                text = f"it points to a table at {at:#x}, whose {size:#x} bytes are not all given"
            self.found.add(entries.finding(self.space, "table-outside", text, i, 1))

    def _first_time(self, depth: int, entries: _Entries, address: U64, good: Mask) -> Mask:
        """Report tables that were reached before; say which may be followed all the same."""
        where = np.flatnonzero(good)
        fresh, first = np.unique(address[where], return_index=True)
        again = np.ones(len(where), dtype=np.bool_)
        again[first] = False
        again |= np.isin(address[where], self._seen[depth])
        elsewhere = np.zeros(len(where), dtype=np.bool_)
        for other, seen in enumerate(self._seen):
            if other != depth and len(seen):
                elsewhere |= np.isin(address[where], seen)
        self._seen[depth] = np.union1d(self._seen[depth], fresh)
        follow = np.ones(len(good), dtype=np.bool_)
        if not (again.any() or elsewhere.any()):
            return follow
        for rule, which, text in (
            ("two-levels", elsewhere, "it points to a table that was read on another level"),
            ("shared-table", again & ~elsewhere, "it points to a table reached from elsewhere too"),
        ):
            if which.any():
                self._report(entries.only(where[which]), rule, text)
        repeated = where[again | elsewhere]
        room = max(0, MOST_REPEATS - self._repeats)
        self._repeats += len(repeated)
        if len(repeated) > room:
            follow[repeated[room:]] = False
            text = f"more than {MOST_REPEATS:,} tables are reached a second time"
            self.found.add(Finding("too-large", text))
        return follow


class _Entries:
    """Some entries of some tables of one level: where they are and what they hold."""

    def __init__(self, level: Level, shape: Shape, front: _Front, flat: I64, words: U64) -> None:
        self.level, self.shape, self.front, self.words = level, shape, front, words
        self.flat = flat
        self.row: I64 = flat // level.entries
        index = (flat % level.entries).astype(np.uint64)
        self.iova: U64 = front.iova[self.row] + (index << u64(level.shift))
        self._index = index

    @property
    def descriptor(self) -> U64:
        """The physical address of each entry."""
        return self.front.address[self.row] + self._index * u64(self.level.width)

    def only(self, which: Mask | I64) -> _Entries:
        """Return some of the entries."""
        return _Entries(self.level, self.shape, self.front, self.flat[which], self.words[which])

    def groups(self, key: U64 | None) -> Iterator[tuple[int, int]]:
        """Yield (start, count) of adjacent entries of one table, while `key` stays the same."""
        breaks = np.ones(len(self.flat), dtype=np.bool_)
        breaks[1:] = (self.flat[1:] - self.flat[:-1] != 1) | (self.row[1:] != self.row[:-1])
        if key is not None:
            breaks[1:] |= key[1:] != key[:-1]
        starts = starts_of_runs(breaks)
        lengths = lengths_of_runs(starts, len(self.flat))
        yield from zip(starts.tolist(), lengths.tolist(), strict=True)

    def finding(self, space: Space, rule: str, text: str, start: int, count: int) -> Finding:
        """Make a finding about `count` entries from number `start` on."""
        return Finding(
            rule,
            text,
            self.level.number,
            int(self.front.address[self.row[start]]) + int(self._index[start]) * self.level.width,
            int(self.words[start]),
            count,
            space.base + int(self.iova[start]),
            count << self.level.shift,
        )
