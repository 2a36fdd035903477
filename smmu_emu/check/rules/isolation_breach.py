# SPDX-License-Identifier: GPL-2.0-or-later
"""isolation-breach: DMA landed where nothing that software declared allows it.

What is allowed is declared by `Checker.allow`, or by a reference driver that is followed
(`Checker.follow`), and judged by `smmu_emu.inject.isolation`. Declared or not, no device may write
the SMMU's own structures: its Stream table, CDs and queues.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.configs import Configs
from smmu_emu.check.findings import ERROR, Found, Kind, story_of
from smmu_emu.inject.isolation import Breach
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.registers import CR0
from smmu_emu.trace.events import DmaData, Event

KIND = Kind(
    "isolation-breach",
    ERROR,
    "a device reached memory that it has no business with",
    "IHI 0070 3.2, 3.3, 3.21.1: a stream reaches what its STE, CD and tables map, and nothing else",
    "look at the story of the address (smmu-emu history): a mapping too many, a stale translation, "
    "or a damaged structure",
)
_QUEUES = (("CMDQ", "CMDQEN", 16), ("EVENTQ", "EVENTQEN", 32), ("PRIQ", "PRIQEN", 16))


class IsolationBreaches:
    """Looks at where DMA landed."""

    kind = KIND

    def __init__(self, smmu: Smmuv3, configs: Configs, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._configs = configs
        self._report = report
        self._last: Event | None = None

    def dma(self, event: DmaData) -> None:
        """Data moved."""
        self._last = event
        if event.write and event.ok:
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

    def _structure_at(self, pa: int, size: int) -> str:
        """The SMMU's structure that some of a range belongs to; empty if none does."""
        for held in self._configs.held.values():
            if held.pa and held.pa < pa + size and pa < held.pa + 64:
                context = self._configs.context(held.stream_id, held.substream_id)
                guest = context is not None and context.stage2 is not None
                if held.structure == "STE" or not guest:
                    return str(held)
        values = self._smmu.registers.values
        for name, enable, entry in _QUEUES:
            if not values["CR0"] & CR0.mask(enable):
                continue
            queue = {
                "CMDQ": self._smmu.commands.queue,
                "EVENTQ": self._smmu.event_queue,
                "PRIQ": self._smmu.page_requests.queue,
            }[name]
            base = queue.address(0)
            if base < pa + size and pa < base + (entry << queue.size_lg2):
                return f"the queue at {name}_BASE"
        return ""
