# SPDX-License-Identifier: GPL-2.0-or-later
"""table-use-after-free: the memory of a table serves something else while the SMMU may walk it.

Three signs: a table that something stale still points to is used as another one; a page that is
linked as a table is handed to a device; a page becomes a table with a device's data still in it.
Tables of a guest (its stage 1 on a stage 2) are the guest's own affair, and may be anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.due import Due, Why
from smmu_emu.check.findings import ERROR, Found, Kind, story_of
from smmu_emu.check.held import Held
from smmu_emu.check.holdings import Holdings
from smmu_emu.check.reach import roots_of
from smmu_emu.check.rules.stories import state_of, told
from smmu_emu.trace.events import DmaData, Fill, Walk

KIND = Kind(
    "table-use-after-free",
    ERROR,
    "memory that the SMMU may still walk as a table is in use for something else",
    "IHI 0070 3.21.1; DDI 0487 D8.16, D8.17.1: a walk may read a table as long as a valid or "
    "cached pointer leads there",
    "unlink a table, TLBI with Leaf=0, CMD_SYNC, and then free it; clear a page before it is "
    "linked as a table",
)
_LARGEST_PAGE_LG2 = 16


def judge(due: Due) -> Found | None:
    """Stale pointers to a table that is in use as another one."""
    held = due.held
    if due.why is not Why.TABLE_REUSED:
        return None
    text = f"{held} {state_of(due)} and was not invalidated, but the table is in use again"
    return told(KIND, due, text)


class TableReuse:
    """Looks at what devices get to see of tables."""

    kind = KIND

    def __init__(self, holdings: Holdings, report: Callable[[Found], None]) -> None:
        self._holdings = holdings
        self._report = report
        self._written: dict[int, tuple[DmaData, int, int]] = {}
        self._seen: set[int] = set()

    def fill(self, event: Fill) -> None:
        """A page is mapped for a device that is a table."""
        if event.size_lg2 > _LARGEST_PAGE_LG2 or event.page not in self._holdings.tables:
            return
        for held in self._holdings.tables[event.page]:
            if self._is_linked(held):
                text = (
                    f"page {event.page:#x} is mapped at {event.base:#x}, and it is still linked "
                    f"as a table, by {held}"
                )
                story = story_of(held.fill, event)
                self._report(Found(KIND, event.unit, text, story, event.stream_id, event.base))
                return

    def dma(self, event: DmaData) -> None:
        """A device wrote memory: into a table, or where a table may be some day."""
        if not event.write or not event.ok:
            return
        page = event.pa & -0x1000
        for held in self._holdings.tables.get(page, ()):
            if self._is_linked(held):
                text = f"stream {event.stream_id:#x} wrote {event.size} bytes into table {page:#x}"
                story = story_of(held.fill, event)
                self._report(Found(KIND, held.unit, text, story, event.stream_id, None))
                return
        pa = event.pa & -8
        value = self._holdings.peek.word(pa)
        if value:
            self._written[page] = (event, pa, value)
            self._seen.discard(page)

    def walked(self, event: Walk) -> None:
        """A page is a table now: are a device's data still in it?"""
        for pa in event.reads[::2]:
            page = pa & -0x1000
            if page in self._seen:
                continue
            self._seen.add(page)
            written = self._written.pop(page, None)
            if written is None:
                continue
            by, where, value = written
            if self._holdings.peek.word(where) == value:
                text = (
                    f"table {page:#x} was not cleared: {where:#x} still holds {value:#x}, which "
                    f"stream {by.stream_id:#x} wrote when it was a buffer"
                )
                story = story_of(by, event)
                self._report(Found(KIND, event.unit, text, story, event.stream_id, event.iova))

    def _is_linked(self, held: Held) -> bool:
        """Whether a pointer is in use, in a space whose tables are no guest's."""
        if not held.alive or held.tag[0] == "EL1_NESTED":
            return False
        holdings = self._holdings
        user = holdings.reach.user(held)
        if user is None or roots_of(user, held.tag) != roots_of(held.context, held.tag):
            return False
        return all(holdings.peek.word(pa) == value for pa, value in held.words.items())
