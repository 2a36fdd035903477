# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges the change between two dumps: which descriptors needed break-before-make.

Descriptors of tables that are at the same place in both dumps are compared one by one. A table
that was replaced by another one is judged at the descriptor that points to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pgtable.bbm import INVALID, Entry, Kind, Verdict, is_bbm_safe
from pgtable.inspect.arrays import I64, U64, u64
from pgtable.inspect.diff import Comparison
from pgtable.inspect.errors import SpaceError
from pgtable.inspect.reader import ILLEGAL, TABLE, Level
from pgtable.inspect.space import Space
from pgtable.inspect.tree import Tree

CHUNK = 1 << 18


@dataclass(frozen=True)
class Unsafe:
    """Adjacent descriptors whose change needed break-before-make.

    `address` is that of the first one, `old` and `new` are its values.
    """

    level: int
    address: int
    old: int
    new: int
    count: int
    start: int
    last: int
    verdict: Verdict

    def __str__(self) -> str:
        many = f" and {self.count - 1} more" if self.count > 1 else ""
        reasons = "; ".join(reason.value for reason in self.verdict.reasons)
        return (
            f"{self.start:#x}-{self.last:#x}: {reasons} (level {self.level} descriptor at "
            f"{self.address:#x}{many}: {self.old:#x} → {self.new:#x})"
        )


def entry_of(space: Space, word: int, level: int | Level) -> Entry:
    """Return what a descriptor means to a TLB.

    Raises: KeyError for a level that the space does not have.
    """
    level = space.reader.level(level) if isinstance(level, int) else level
    code = level.code(word)
    shape = level.shapes.get(code)
    if shape is None:
        return INVALID
    address = shape.layout.address(word)
    if address >> space.output_bits:
        return INVALID
    if code == TABLE:
        return Entry(kind=Kind.TABLE, address=address, controls=word & space.reader.inherited_mask)
    meaning = space.reader.meaning(shape, word, 0)
    if "no-AF" in meaning.flags:
        # It faults, so it is never cached.
        return INVALID
    return Entry(
        kind=Kind.LEAF,
        address=address,
        size=shape.size,
        memory=(meaning.memory.words, meaning.shareability),
        writable=meaning.writable or "clean" in meaning.flags,
        is_global="global" in meaning.flags,
        space="ns" in meaning.flags,
        contiguous="contiguous" in meaning.flags,
        nt="nT" in meaning.flags,
        other=(meaning.permissions, meaning.flags),
    )


def unsafe_changes(old: Tree, new: Tree, bbml: int = 0) -> list[Unsafe]:
    """Return the changes that needed break-before-make, as far as two dumps show.

    `bbml`: what the hardware has, 0, 1 or 2. A dump does not tell whether an invalid entry stood
    there in between; what is listed is safe only if one did.

    Raises: SpaceError when the two are not the same address space at the same root.
    """
    if old.space.format != new.space.format or old.space.roots != new.space.roots:
        raise SpaceError("root", "descriptors in place are compared: both dumps need the same root")
    return _Judge(old, new, bbml).run()


class _Pair(NamedTuple):
    """Old and new words of some tables of one level, and which of them changed."""

    level: Level
    tables: U64
    iovas: U64
    old: U64
    new: U64
    where: I64


class _Judge:
    def __init__(self, old: Tree, new: Tree, bbml: int) -> None:
        self.old, self.new, self.bbml = old, new, bbml
        self.space = old.space
        self.comparison = Comparison(old, new)
        self.found: list[Unsafe] = []

    def run(self) -> list[Unsafe]:
        for depth, level in enumerate(self.space.levels):
            tables, iovas = self._in_both(depth)
            step = max(1, CHUNK // level.entries)
            for start in range(0, len(tables), step):
                self._tables(level, tables[start : start + step], iovas[start : start + step])
        return sorted(self.found, key=lambda unsafe: (unsafe.start, unsafe.level))

    def _in_both(self, depth: int) -> tuple[U64, U64]:
        """Return the tables that are at the same place and mean the same addresses in both."""
        sides = []
        for tree in (self.old, self.new):
            which = tree.tables.depth == depth
            sides.append((tree.tables.address[which], tree.tables.iova[which]))
        (old_at, old_iova), (new_at, new_iova) = sides
        _, one, other = np.intersect1d(old_iova, new_iova, return_indices=True)
        same = old_at[one] == new_at[other]
        return old_at[one][same], old_iova[one][same]

    def _tables(self, level: Level, tables: U64, iovas: U64) -> None:
        old, new = (
            tree.image.rows(tables, level.entries, level.width).astype(np.uint64)
            for tree in (self.old, self.new)
        )
        valid = np.isin(level.codes_of(old), (0, ILLEGAL), invert=True)
        valid &= np.isin(level.codes_of(new), (0, ILLEGAL), invert=True)
        where = np.flatnonzero(valid & (old != new))
        if len(where):
            pair = _Pair(
                level, tables, iovas, old.reshape(-1)[where], new.reshape(-1)[where], where
            )
            self._judge(pair)

    def _judge(self, pair: _Pair) -> None:
        """Judge each kind of change once, then tell it for all descriptors that made it."""
        kinds = self._kinds(pair)
        order, which = np.unique(kinds, return_inverse=True)
        verdicts = []
        firsts = np.zeros(len(order), dtype=np.int64)
        firsts[which[::-1]] = np.arange(len(which))[::-1]
        for i in firsts.tolist():
            verdicts.append(self._verdict(pair, i))
        unsafe = np.array([not verdict.safe for verdict in verdicts], dtype=np.bool_)[which]
        places = np.flatnonzero(unsafe)
        if not len(places):
            return
        flat = pair.where[places]
        breaks = np.ones(len(places), dtype=np.bool_)
        breaks[1:] = (
            (flat[1:] - flat[:-1] != 1)
            | (flat[1:] // pair.level.entries != flat[:-1] // pair.level.entries)
            | (which[places][1:] != which[places][:-1])
        )
        starts = np.flatnonzero(breaks)
        counts = np.diff(starts, append=len(places))
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            i = int(places[start])
            self._tell(pair, i, count, verdicts[int(which[i])])

    def _kinds(self, pair: _Pair) -> I64:
        """Number the changes so that equal numbers have equal verdicts."""
        level = pair.level
        columns: list[U64] = []
        places: list[U64] = []
        for words in (pair.old, pair.new):
            codes = level.codes_of(words)
            keys, addresses = np.zeros_like(words), np.zeros_like(words)
            for code, shape in level.shapes.items():
                mine = codes == code
                keys[mine] = words[mine] & u64(shape.key)
                addresses[mine] = shape.layout.addresses(words[mine])
            oversize = addresses >> u64(self.space.output_bits) != 0
            columns += [codes.astype(np.uint64), keys, oversize.astype(np.uint64)]
            places.append(addresses)
        columns.append((places[0] != places[1]).astype(np.uint64))
        columns.append(self._retranslated(pair).astype(np.uint64))
        columns.append(self._same_memory(pair, *places).astype(np.uint64))
        kinds = np.zeros(len(pair.where), dtype=np.int64)
        for column in columns:
            if (column != column[0]).any():
                values, number = np.unique(column, return_inverse=True)
                _, kinds = np.unique(kinds * len(values) + number, return_inverse=True)
        return kinds

    def _same_memory(self, pair: _Pair, old: U64, new: U64) -> I64:
        """Say where leaves that moved lead to memory that both dumps show to be the same."""
        size = 1 << pair.level.shift
        both = self.old.image.held(old, size) & self.new.image.held(new, size) & (old != new)
        out = np.zeros(len(old), dtype=np.int64)
        for i in np.flatnonzero(both).tolist():
            before = self.old.image.read(int(old[i]), size)
            out[i] = before == self.new.image.read(int(new[i]), size)
        return out

    def _retranslated(self, pair: _Pair) -> I64:
        """Say where something below a table, old or new, translates otherwise."""
        level = pair.level
        tables = (level.codes_of(pair.old) == TABLE) | (level.codes_of(pair.new) == TABLE)
        out = np.zeros(len(pair.where), dtype=np.int64)
        for i in np.flatnonzero(tables).tolist():
            out[i] = self._changed(pair, i)
        return out

    def _changed(self, pair: _Pair, i: int) -> bool:
        """Say whether something under a descriptor, old or new, translates otherwise."""
        first = self._iova(pair, i)
        swapped = pair.level.code(int(pair.old[i])) == pair.level.code(int(pair.new[i])) == TABLE
        # Under another table, a leaf of another size is a change that needs the sequence too.
        return self.comparison.changed(
            first, first + (1 << pair.level.shift) - 1, page_sizes=swapped and self.bbml < 2
        )

    def _iova(self, pair: _Pair, i: int) -> int:
        """Return the first input address of a descriptor, counted from the lowest."""
        row, index = divmod(int(pair.where[i]), pair.level.entries)
        return int(pair.iovas[row]) + (index << pair.level.shift)

    def _verdict(self, pair: _Pair, i: int) -> Verdict:
        old = entry_of(self.space, int(pair.old[i]), pair.level)
        new = entry_of(self.space, int(pair.new[i]), pair.level)
        same = not self._changed(pair, i)
        return is_bbm_safe(
            old,
            new,
            level=self.bbml,
            same_translations=same,
            same_contents=self._same_contents(old, new),
        )

    def _same_contents(self, old: Entry, new: Entry) -> bool:
        """Compare the memory behind two leaves, where both dumps hold it."""
        if old.kind is not Kind.LEAF or old.size != new.size:
            return False
        before = self.old.image.read(old.address, old.size)
        return before is not None and before == self.new.image.read(new.address, new.size)

    def _tell(self, pair: _Pair, i: int, count: int, verdict: Verdict) -> None:
        row, index = divmod(int(pair.where[i]), pair.level.entries)
        start = self.space.base + self._iova(pair, i)
        self.found.append(
            Unsafe(
                pair.level.number,
                int(pair.tables[row]) + index * pair.level.width,
                int(pair.old[i]),
                int(pair.new[i]),
                count,
                start,
                start + (count << pair.level.shift) - 1,
                verdict,
            )
        )
