# SPDX-License-Identifier: GPL-2.0-or-later
"""Hearing of what the core stores, as it stores it, in some pages of RAM or in all of it.

The engine asks hooks at every store whether it is in their range, and calls Python if it is. A
store loop that meets no range runs at its speed with up to eight ranges, at two thirds of it with
32, at less than a third with 128; a store that is heard of takes about a microsecond. So pages are
joined to `MOST_RANGES` ranges, and what lies between them is left out here.

Counts and virtual time are the same with and without. Writes of devices are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.pace import Pace
from smmu_emu.memory import PAGE

MOST_RANGES = 16

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
        self._frames: frozenset[int] | None = None
        self._heard: Stored | None = None

    def begin(self, heard: Stored, frames: Iterable[int] | None) -> None:
        """Call ``heard`` before each store into these 4 KiB frames (None: into any RAM)."""
        from unicorn import unicorn_const

        self.end()
        self._heard = heard
        self._frames = None if frames is None else frozenset(frames)
        everything = [(0, (1 << 64) - 1)]
        for first, last in everything if self._frames is None else _ranges(self._frames):
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
        frames, heard = self._frames, self._heard
        if heard is None or (frames is not None and at // PAGE not in frames):
            return
        pace = self._pace
        try:
            value &= (1 << 8 * size) - 1
            heard(at, size, value, self._engine.pc, pace.instructions, pace.time)
        except BaseException as error:
            pace.fail(error)


def _ranges(frames: frozenset[int]) -> list[tuple[int, int]]:
    """At most `MOST_RANGES` ranges of addresses, last bytes included, that hold all frames."""
    ordered = sorted(frames)
    gaps = sorted(range(1, len(ordered)), key=lambda n: ordered[n] - ordered[n - 1], reverse=True)
    cuts = sorted(n for n in gaps[: MOST_RANGES - 1] if ordered[n] - ordered[n - 1] > 1)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(ordered)], strict=True):
        if start < end:
            found.append((ordered[start] * PAGE, ordered[end - 1] * PAGE + PAGE - 1))
    return found
