# SPDX-License-Identifier: GPL-2.0-or-later
"""page-request-unanswered and page-response-unexpected: groups of page requests, one answer each.

Spec: IHI 0070 4.5.2, 8, 8.1. A group is answered after its last request, once. What software never
saw (because the queue was full) the SMMU answers itself.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import ERROR, WARNING, Found, Kind, story_of
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.command import PriResponse
from smmu_emu.smmuv3.spec.page_request import PageRequestRecord
from smmu_emu.smmuv3.spec.registers import CR0
from smmu_emu.trace.events import Command, Event, Record, RegisterAccess

UNANSWERED = Kind(
    "page-request-unanswered",
    WARNING,
    "software took a group of page requests out of the queue and never answered it",
    "IHI 0070 4.5.2, 8: an endpoint waits for the response to its page request group, and has one "
    "request fewer until then",
    "issue CMD_PRI_RESP with the StreamID and PRGIndex of every group whose last request was read",
)
UNEXPECTED = Kind(
    "page-response-unexpected",
    ERROR,
    "software answered a group of page requests that does not wait",
    "IHI 0070 4.5.2: CMD_PRI_RESP answers the group with its PRGIndex; an endpoint takes a "
    "response to a group that it does not have for an error",
    "answer every group once, with StreamID and PRGIndex from its record",
)
KINDS = (UNANSWERED, UNEXPECTED)
_PRIQEN = CR0.mask("PRIQEN")
_FAILURE = 0
"""CMD_PRI_RESP.Resp: the endpoint stops asking, and forgets its groups."""


class PageRequestUse:
    """Follows records of the PRI queue, and responses."""

    def __init__(self, smmu: Smmuv3, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._report = report
        self._knows_all = not smmu.page_requests.received
        self.clear()

    def clear(self) -> None:
        """Nothing waits: a reset, or the queue was disabled."""
        self._waiting: dict[tuple[int, int], Record] = {}
        self._answered: dict[tuple[int, int], Command] = {}
        self._off: set[int] = set()
        self._told: set[int] = set()

    def record(self, event: Record) -> None:
        """A page request was queued, or lost."""
        if event.queue != "pri" or not event.written:
            return
        request = PageRequestRecord.from_bytes(event.data)
        if not request.R and not request.W and request.SSV:
            return  # a Stop marker
        group = (request.StreamID, request.PRGIndex)
        self._waiting[group] = event
        self._answered.pop(group, None)
        self._off.discard(request.StreamID)

    def register(self, event: RegisterAccess) -> None:
        """Disabling the queue ends everything."""
        if event.write and event.name == "CR0" and not event.value & _PRIQEN:
            self.clear()

    def command(self, event: Command) -> None:
        """A response was sent."""
        if event.name != "PRI_RESP" or event.error:
            return
        response = PriResponse.from_bytes(event.data)
        group = (response.StreamID, response.PRGIndex)
        record = self._waiting.pop(group, None)
        if record is None and self._knows_all and response.StreamID not in self._off:
            why = "was answered before" if group in self._answered else "was never asked for"
            text = f"group {response.PRGIndex:#x} of stream {response.StreamID:#x} {why}"
            story = story_of(self._answered.get(group), event)
            self._report(Found(UNEXPECTED, event.unit, text, story, response.StreamID))
        self._answered[group] = event
        if response.Resp == _FAILURE:
            self._off.add(response.StreamID)
            for other in [one for one in self._waiting if one[0] == response.StreamID]:
                del self._waiting[other]

    def ended(self, event: Event) -> None:
        """The run ends; what was not read yet is nobody's fault."""
        queue = self._smmu.page_requests.queue
        unread = queue.prod - queue.cons & queue.index_mask
        records = sorted(self._waiting.values())
        for record in records[: max(0, len(records) - unread)]:
            request = PageRequestRecord.from_bytes(record.data)
            if not request.Last or record.seq in self._told:
                continue
            self._told.add(record.seq)
            text = (
                f"group {request.PRGIndex:#x} of stream {request.StreamID:#x}, for "
                f"{request.Address:#x}, was never answered"
            )
            self._report(Found(UNANSWERED, record.unit, text, story_of(record), request.StreamID))
