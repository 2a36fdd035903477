# SPDX-License-Identifier: GPL-2.0-or-later
"""walk-outside-memory: a walk read descriptors where there is no memory."""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import WARNING, Found, Kind, story_of
from smmu_emu.trace.events import Walk

KIND = Kind(
    "walk-outside-memory",
    WARNING,
    "a table, or a pointer to one, leads where there is no memory",
    "IHI 0070 7.3.12 (F_WALK_EABT); DDI 0487 D8.3: a valid table descriptor gives the address of a "
    "table, at any time",
    "look at the descriptor before the last one in the story: it is no pointer to a table, or the "
    "memory was never a table",
)


class OutsideMemory:
    """Looks at aborted fetches of descriptors."""

    kind = KIND

    def __init__(self, report: Callable[[Found], None]) -> None:
        self._report = report

    def walked(self, event: Walk) -> None:
        """A walk ended."""
        reads = event.reads
        if not reads or reads[-1] != -1:
            return
        pointer = f", which {reads[-4]:#x} points to" if len(reads) >= 4 else ""
        text = (
            f"the walk for {event.iova:#x} read {reads[-2]:#x}{pointer}, and nobody answers there"
        )
        found = Found(KIND, event.unit, text, story_of(event), event.stream_id, event.iova)
        self._report(found)
