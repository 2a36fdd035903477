# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks entries that speak as a group: contiguous bits, and leaves that are written 16 times.

Spec: DDI 0487 D8.7.1 (the contiguous bit and how it is misprogrammed), G5.4.1.3 (supersections
and large pages).
"""

from __future__ import annotations

import numpy as np

from pgtable.inspect.arrays import I64, U8, U64, Mask, u64
from pgtable.inspect.findings import Finding, Findings
from pgtable.inspect.reader import ILLEGAL, LEAF, WIDE_LEAF, Level, Shape
from pgtable.inspect.space import Space
from pgtable.inspect.units import size_words

CONTIGUOUS = 1 << 52
HARDWARE_UPDATES = 1 << 10 | 1 << 7
"""The access flag and AP[2] or S2AP[1]: hardware may make them differ within a group."""


def check_groups(
    space: Space, found: Findings, level: Level, tables: U64, iovas: U64, words: U64, codes: U8
) -> None:
    """Report groups in some tables of one level; `words` and `codes` have a row for each."""
    if level.contiguous > 1:
        _Groups(space, found, level, tables, iovas, words, codes).contiguous()
    if WIDE_LEAF in level.shapes:
        _Groups(space, found, level, tables, iovas, words, codes).repeated()


class _Groups:
    """Rows of words cut into groups of `each` entries."""

    def __init__(
        self,
        space: Space,
        found: Findings,
        level: Level,
        tables: U64,
        iovas: U64,
        words: U64,
        codes: U8,
    ) -> None:
        self.space, self.found, self.level = space, found, level
        self.tables, self.iovas = tables, iovas
        self.words, self.codes = words, codes

    def contiguous(self) -> None:
        """Within a group that one contiguous bit speaks for, all valid entries must agree."""
        marked = (self.codes == LEAF) & (self.words & u64(CONTIGUOUS) != 0)
        shape = self.level.shapes.get(LEAF)
        if shape is None or not marked.any():
            return
        each = self.level.contiguous
        if self.level.entries < each:
            rows = np.flatnonzero(marked.any(axis=1))
            self._tell("contiguous", rows, 0, "a contiguous group is larger than the input range")
            return
        words, codes, marked = self._cut(each, marked)
        valid = (codes != 0) & (codes != ILLEGAL)
        mixed = (valid & ~marked).any(axis=1)
        self._groups("contiguous", each, mixed, "some entries of the group lack the contiguous bit")
        scattered = self._scattered(shape, words, valid, each) & ~mixed
        text = f"the group does not map one aligned {size_words(each << self.level.shift)}"
        self._groups("contiguous", each, scattered, text)
        key = words & u64(shape.key & ~HARDWARE_UPDATES)
        differ = self._differ(key, valid) & ~mixed & ~scattered
        self._groups("contiguous", each, differ, "entries of the group have different attributes")

    def repeated(self) -> None:
        """A supersection or large page is one descriptor in 16 aligned places."""
        wide = self.codes == WIDE_LEAF
        if not wide.any():
            return
        each = self.level.shapes[WIDE_LEAF].repeated
        name = self.level.shapes[WIDE_LEAF].name
        if self.level.entries < each:
            rows = np.flatnonzero(wide.any(axis=1))
            self._tell("repeated-entries", rows, 0, f"a {name} is larger than the input range")
            return
        words, _, wide = self._cut(each, wide)
        differ = wide.any(axis=1) & (words != words[:, :1]).any(axis=1)
        self._groups("repeated-entries", each, differ, f"a {name} is not written 16 times alike")

    def _cut(self, each: int, marked: Mask) -> tuple[U64, U8, Mask]:
        """Cut rows into groups; keep those that have a marked entry."""
        groups = marked.reshape(-1, each)
        self._which: I64 = np.flatnonzero(groups.any(axis=1))
        words = self.words.reshape(-1, each)[self._which]
        codes = self.codes.reshape(-1, each)[self._which]
        return words, codes, groups[self._which]

    def _scattered(self, shape: Shape, words: U64, valid: Mask, each: int) -> Mask:
        step = self.level.shift
        place = np.arange(each, dtype=np.uint64) << u64(step)
        starts = shape.layout.addresses(words) - place
        aligned = starts & u64((each << step) - 1) == 0
        misplaced: Mask = (valid & ~aligned).any(axis=1)
        return self._differ(starts, valid) | misplaced

    @staticmethod
    def _differ(values: U64, valid: Mask) -> Mask:
        """Say for which groups the valid entries' values are not all the same."""
        first = values[np.arange(len(values)), valid.argmax(axis=1)]
        unequal: Mask = (valid & (values != first[:, None])).any(axis=1)
        return unequal

    def _groups(self, rule: str, each: int, bad: Mask, text: str) -> None:
        if bad.any():
            flat = self._which[bad] * each
            rows, firsts = np.divmod(flat, self.level.entries)
            self._tell(rule, rows, firsts, text, each)

    def _tell(
        self, rule: str, rows: I64, firsts: I64 | int, text: str, each: int | None = None
    ) -> None:
        each = each or self.level.entries
        firsts = np.broadcast_to(np.asarray(firsts), rows.shape)
        room = self.found.take(rule, len(rows))
        for row, first in zip(rows[:room].tolist(), firsts[:room].tolist(), strict=True):
            self.found.add(
                Finding(
                    rule,
                    text,
                    self.level.number,
                    int(self.tables[row]) + first * self.level.width,
                    int(self.words[row, first]),
                    each,
                    self.space.base + int(self.iovas[row]) + (first << self.level.shift),
                    each << self.level.shift,
                )
            )
