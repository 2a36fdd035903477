# SPDX-License-Identifier: GPL-2.0-or-later
"""isolation-breach: DMA landed where nothing that software declared allows it.

What is allowed is declared by `Checker.allow`, or by a reference driver that is followed
(`Checker.follow`), and judged by `smmu_emu.inject.isolation`. Declared or not, no device may write
the SMMU's own structures: its Stream table, CDs and queues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smmu_emu.check.configs import Configs
from smmu_emu.check.findings import ERROR, Found, Kind, story_of
from smmu_emu.check.rules.misplaced import Place, places
from smmu_emu.inject.isolation import Breach
from smmu_emu.memory import PAGE
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.trace.events import DmaData, Event, RegisterAccess

KIND = Kind(
    "isolation-breach",
    ERROR,
    "a device reached memory that it has no business with",
    "IHI 0070 3.2, 3.3, 3.21.1: a stream reaches what its STE, CD and tables map, and nothing else",
    "look at the story of the address (smmu-emu history): a mapping too many, a stale translation, "
    "or a damaged structure",
)
_MOVES = frozenset(
    {"CR0", "CMDQ_BASE", "EVENTQ_BASE", "PRIQ_BASE", "STRTAB_BASE", "STRTAB_BASE_CFG"}
)


class IsolationBreaches:
    """Looks at where DMA landed."""

    kind = KIND

    def __init__(self, smmu: Smmuv3, configs: Configs, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._configs = configs
        self._report = report
        self._last: Event | None = None
        self._pages: set[int] | None = None
        self._streams = range(0)

    def changed(self, event: Event) -> None:
        """Structures may lie elsewhere now."""
        self._pages = None

    def register(self, event: RegisterAccess) -> None:
        """A queue may lie elsewhere now, or be on or off."""
        if event.write and event.name in _MOVES:
            self._pages = None

    def dma(self, event: DmaData) -> None:
        """Data moved."""
        self._last = event
        if self._pages is None:
            self._pages = self._find_pages()
        first, last = event.pa // PAGE, (event.pa + event.size - 1) // PAGE
        if not event.write or not event.ok:
            return
        near = not self._pages.isdisjoint(range(first, last + 1))
        if near or first in self._streams or last in self._streams:
            name = self._structure_at(event.pa, event.size)
            if name:
                text = f"stream {event.stream_id:#x} wrote {event.size} bytes into {name}"
                found = Found(KIND, self._smmu.name, text, story_of(event), event.stream_id)
                self._report(found)

    def breached(self, breach: Breach) -> None:
        """Somebody judged a landing by what was declared."""
        text = str(breach)
        story = story_of(self._last)
        self._report(Found(KIND, self._smmu.name, text, story, breach.stream, breach.iova))

    def _find_pages(self) -> set[int]:
        """Numbers of the pages in which any structure lies. The stream table's are a range of their
        own, since software may claim that it is as large as memory."""
        pages = {held.pa // PAGE for held in self._configs.held.values() if held.pa}
        self._streams = range(0)
        for one in self._places():
            numbers = range(one.base // PAGE, (one.base + one.size - 1) // PAGE + 1)
            if one.name == "STRTAB_BASE":
                self._streams = numbers
            else:
                pages.update(numbers)
        return pages

    def _places(self) -> Iterator[Place]:
        """Where the queues and the stream table are that are enabled."""
        enabled = self._smmu.registers.values["CR0"]
        return (one for one in places(self._smmu) if enabled & one.enable)

    def _structure_at(self, pa: int, size: int) -> str:
        """The SMMU's structure that some of a range belongs to; empty if none does."""
        for held in self._configs.held.values():
            if held.pa and held.pa < pa + size and pa < held.pa + 64:
                context = self._configs.context(held.stream_id, held.substream_id)
                guest = context is not None and context.stage2 is not None
                if held.structure == "STE" or not guest:
                    return str(held)
        for one in self._places():
            if one.base < pa + size and pa < one.base + one.size:
                kind = "stream table" if one.name == "STRTAB_BASE" else "queue"
                return f"the {kind} at {one.name}"
        return ""
