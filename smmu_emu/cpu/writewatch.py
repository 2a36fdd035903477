# SPDX-License-Identifier: GPL-2.0-or-later
"""Hearing of what the core stores, as it stores it, into some words of RAM or into all of it.

The engine asks hooks at every store whether it is in their range, and calls Python if it is. A
store loop that meets no range runs at its speed with up to eight ranges, at two thirds of it with
32, at less than a third with 128; a store into a range takes about half a microsecond, one that is
heard of two more. So words are joined to `MOST_RANGES` ranges, and what lies between them is left
out here.

Counts and virtual time are the same with and without. Writes of devices are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.pace import Pace

MOST_RANGES = 16
WORD = 8
_WIDEST = 16
"""Bytes that the engine stores at once, at most."""

Stored = Callable[[int, int, int, int, int, int], None]
"""Physical address, size in bytes, value, PC, instructions begun, and virtual time; RAM is still as
it was before. A store that crosses a page is heard of in pieces."""


class WriteWatch:
    """Who hears of one core's stores."""

    unsaved = ("*",)

    def __init__(self, engine: Execution, pace: Pace) -> None:
        self._engine = engine
        self._pace = pace
        self._hooks: list[int] = []
        self._words: frozenset[int] | None = None
        self._heard: Stored | None = None

    def begin(self, heard: Stored, words: Iterable[int] | None) -> None:
        """Call ``heard`` before each store into these aligned words of 8 bytes (None: anywhere)."""
        from unicorn import unicorn_const

        self.end()
        self._heard = heard
        self._words = None if words is None else frozenset(words)
        everything = [(0, (1 << 64) - 1)]
        for first, last in everything if self._words is None else _ranges(self._words):
            callback = abi.MemoryAccessed(self._stored)
            self._hooks.append(
                self._engine.hook(unicorn_const.UC_HOOK_MEM_WRITE, callback, first, last)
            )
        self._engine.drop_all_code()  # it stores without asking for hooks

    def end(self) -> None:
        """Tell nobody any more. Harmless when done already."""
        if self._hooks:
            for hook in self._hooks:
                self._engine.unhook(hook)
            self._hooks.clear()
            self._engine.drop_all_code()

    def _stored(
        self, _engine: object, _kind: int, at: int, size: int, value: int, _user: object
    ) -> None:
        words, heard = self._words, self._heard
        if words is not None and at & -WORD not in words and at + size - 1 & -WORD not in words:
            return
        pace = self._pace
        try:
            if heard is not None:
                value &= (1 << 8 * size) - 1
                heard(at, size, value, pace.pc, pace.instructions, pace.time)
        except BaseException as error:
            pace.fail(error)


def _ranges(words: frozenset[int]) -> list[tuple[int, int]]:
    """At most `MOST_RANGES` ranges of addresses, last bytes included, that hold all words."""
    ordered = sorted(words)
    gaps = sorted(range(1, len(ordered)), key=lambda n: ordered[n - 1] - ordered[n])
    cuts = sorted(n for n in gaps[: MOST_RANGES - 1] if ordered[n] - ordered[n - 1] > _WIDEST)
    starts, ends = [0, *cuts], [*cuts, len(ordered)]
    return [
        (max(ordered[start] - _WIDEST + 1, 0), ordered[end - 1] + WORD - 1)
        for start, end in zip(starts, ends, strict=True)
        if start < end
    ]
