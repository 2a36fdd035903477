# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the tables of Apple's DARTs: APPLE_DART (addresses in place) and APPLE_DART2 (shifted).

Up to four TTBRs, each the root of two or three levels; the last level is numbered 3. A leaf can
restrict access to a part of its page, in 4096ths of it.

There is no public specification; the fields are those that the Linux driver and m1n1 use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtable.inspect.fields import Field, Kind, Layout, address, flag, ignored, reserved
from pgtable.inspect.meaning import EXECUTE, READ, WRITE, Meaning, MemoryType
from pgtable.inspect.reader import EMPTY, LEAF, TABLE, Level, Reader, Shape

if TYPE_CHECKING:
    from pgtable.inspect.space import Space

CACHED = MemoryType("cached", "cacheable")
UNCACHED = MemoryType("uncached", "not cacheable")
PLAIN = MemoryType("normal", "no memory type in the descriptor")
WHOLE = 0xFFF


class DartReader(Reader):
    """DART of the first and second kind."""

    def __init__(self, space: Space) -> None:
        self.second = space.format == "APPLE_DART2"
        super().__init__(space)

    def make_levels(self) -> tuple[Level, ...]:
        page = self.space.granule_lg2
        bits = page - 3
        levels = []
        for number in range(self.space.start_level, 4):
            shift = page + bits * (3 - number)
            last = number == 3
            shapes = (
                {LEAF: Shape("page", self._leaf(page), page)}
                if last
                else {TABLE: Shape("table", self._table(page))}
            )
            codes = (EMPTY, LEAF if last else TABLE)
            levels.append(Level(number, shift, 1 << bits, 8, (0,), codes, shapes))
        return tuple(levels)

    def _place(self, page: int) -> tuple[Field, ...]:
        """Return the fields of the bits from 39 down to where the address ends."""
        if self.second:
            # Address bits 41:14 in bits 37:10. With 4K pages there is no room for bits 13:12.
            return reserved(39, 38), address(37, 10, 14)
        below = (reserved(page - 1, 12),) if page > 12 else ()
        return (reserved(39, 36), address(35, page), *below)

    def _table(self, page: int) -> Layout:
        lowest = 10 if self.second else 12
        return Layout(
            "table",
            64,
            (
                ignored(63, 40),
                *self._place(page),
                ignored(lowest - 1, 1),
                Field("valid", 0, 0, Kind.TYPE, ("invalid", "valid")),
            ),
        )

    def _leaf(self, page: int) -> Layout:
        part = (Field("SP_START", 63, 52), Field("SP_END", 51, 40))
        valid = Field("valid", 0, 0, Kind.TYPE, ("invalid", "valid"))
        if self.second:
            low: tuple[Field, ...] = (
                ignored(9, 4),
                flag("no read", 3, "reads pass", "reads fault"),
                flag("no write", 2, "writes pass", "writes fault"),
                flag("no cache", 1, "cacheable", "not cacheable"),
            )
        else:
            low = (
                ignored(11, 9),
                flag("no read", 8, "reads pass", "reads fault"),
                flag("no write", 7, "writes pass", "writes fault"),
                ignored(6, 2),
                flag("whole page", 1, "sub-page limits apply", "sub-page limits are off"),
            )
        return Layout("page", 64, (*part, *self._place(page), *low, valid))

    def meaning(self, shape: Shape, word: int, inherited: int) -> Meaning:
        get = shape.layout.get
        rights = EXECUTE
        if not get(word, "no read"):
            rights |= READ
        if not get(word, "no write"):
            rights |= WRITE
        memory = PLAIN
        if self.second:
            memory = UNCACHED if get(word, "no cache") else CACHED
        flags: tuple[str, ...] = ()
        start, end = get(word, "SP_START"), get(word, "SP_END")
        if not get(word, "whole page") and (start, end) != (0, WHOLE):
            flags = (f"part[{start:#x}-{end:#x}]",)
        software = word & shape.layout.mask(Kind.IGNORED)
        return Meaning(rights, rights, "", memory, "", flags, software)
