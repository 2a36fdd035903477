# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes with the Event queue and the PRI queue: records lost, CONS where it must not be.

Spec: IHI 0070 3.5.1, 7.2, 7.4 (overflow), 8.1, 6.3.95 to 6.3.98.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import ADVICE, ERROR, WARNING, Found, Kind, story_of
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.registers import CR0
from smmu_emu.trace.events import Event, Record, RegisterAccess

LOST = Kind(
    "event-queue-lost",
    WARNING,
    "records were lost because software did not take them out of a full queue",
    "IHI 0070 7.4, 8.1: a full Event queue drops records and toggles OVFLG; a PRI queue answers "
    "requests itself until the overflow is acknowledged",
    "make the queue larger or empty it faster; copy PROD's OVFLG to CONS's OVACKFLG after an "
    "overflow",
)
BEYOND = Kind(
    "event-queue-cons-beyond-prod",
    ERROR,
    "software moved the read index of a queue over records that were not there",
    "IHI 0070 3.5.1, 6.3.96: CONS never passes PROD, and its wrap bit toggles with every passage "
    "over the queue's end",
    "move CONS by the number of records that were read, with one bit more than the queue has",
)
KINDS = (LOST, BEYOND)
_OVERFLOW = 1 << 31
_QUEUES = {"event": ("EVENTQ", CR0.mask("EVENTQEN")), "pri": ("PRIQ", CR0.mask("PRIQEN"))}


class OutputQueueUse:
    """Looks at records, and at the indexes that software moves."""

    def __init__(self, smmu: Smmuv3, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._report = report
        self._lost: dict[str, tuple[Event, int]] = {}

    def record(self, event: Record) -> None:
        """A record was written, or lost."""
        if event.written:
            return
        name, enable = _QUEUES[event.queue]
        values = self._smmu.registers.values
        if values["CR0ACK"] & enable and self._queue(event.queue).full:
            first, count = self._lost.get(name, (event, 0))
            self._lost[name] = (first, count + 1)

    def _queue(self, which: str):  # type: ignore[no-untyped-def]
        smmu = self._smmu
        return smmu.event_queue if which in ("event", "EVENTQ") else smmu.page_requests.queue

    def register(self, event: RegisterAccess) -> None:
        """CONS is about to move."""
        if not event.write or event.name not in ("EVENTQ_CONS", "PRIQ_CONS"):
            return
        name = event.name.removesuffix("_CONS")
        enable = dict(_QUEUES.values())[name]
        if not self._smmu.registers.values["CR0"] & enable:
            return
        queue = self._queue(name)
        mask = queue.index_mask
        there, taken = queue.prod - queue.cons & mask, event.value - queue.cons & mask
        if taken > there:
            text = (
                f"{event.name} went from {queue.cons:#x} to {event.value & mask:#x} with "
                f"{name}_PROD at {queue.prod:#x}"
            )
            self._report(Found(BEYOND, event.unit, text, story_of(event)))
        prod = self._smmu.registers.values[f"{name}_PROD"]
        if name in self._lost and not (event.value ^ prod) & _OVERFLOW:
            first, count = self._lost.pop(name)
            text = f"{count:,} records were lost until the overflow was acknowledged"
            story = story_of(first, event)
            self._report(Found(LOST, event.unit, text, story, severity=ADVICE))

    def ended(self, event: Event) -> None:
        """The run ends."""
        for name, (first, count) in self._lost.items():
            text = f"{count:,} records were lost, and {name}'s overflow was never acknowledged"
            self._report(Found(LOST, first.unit, text, story_of(first)))
        self._lost.clear()
