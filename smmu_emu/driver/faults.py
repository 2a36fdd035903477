# SPDX-License-Identifier: GPL-2.0-or-later
"""The event loop: records of faults, and what becomes of transactions that wait.

Spec: IHI 0070 3.12.2, 4.7.1 (RESUME), 7.3 (records), 8 and 4.5.2 (page requests).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from smmu_emu.driver.queues import CommandProducer, QueueConsumer
from smmu_emu.smmuv3.spec.command import Opcode, PriResponse, Resume
from smmu_emu.smmuv3.spec.event import EventCode, EventRecord, IpaEventRecord
from smmu_emu.smmuv3.spec.page_request import PageRequestRecord

PATIENCE = 8
"""How often one access may be retried before it is ended."""


class Decision(Enum):
    """What to do with a stalled transaction: try again, end it with an abort, or as though it had
    passed (reads give zero)."""

    RETRY = (1, 0)
    ABORT = (0, 1)
    IGNORE = (0, 0)


class Answer(Enum):
    """The answer to a page request: the page is there; it is not to be had; no more of these."""

    SUCCESS = 2
    INVALID = 1
    FAILURE = 0


class FaultEvent(NamedTuple):
    """One event record in a driver's words. ``ipa`` is None unless stage 2 faulted."""

    code: int
    stream_id: int
    substream_id: int | None
    iova: int
    write: bool
    privileged: bool
    stalled: bool
    stag: int
    ipa: int | None

    @classmethod
    def decode(cls, data: bytes) -> FaultEvent:
        """From the 32 bytes of a record."""
        record = EventRecord.from_bytes(data)
        has_substream = record.SSV or record.Number == EventCode.C_BAD_SUBSTREAMID
        return cls(
            code=record.Number,
            stream_id=record.StreamID,
            substream_id=record.SubstreamID if has_substream else None,
            iova=record.InputAddr,
            write=not record.RnW,
            privileged=bool(record.PnU),
            stalled=bool(record.Stall),
            stag=record.STAG if record.Stall else 0,
            ipa=IpaEventRecord.from_bytes(data).IPA if record.S2 else None,
        )

    @property
    def name(self) -> str:
        """F_TRANSLATION and so on."""
        return EventCode(self.code).name if self.code in set(EventCode) else f"{self.code:#x}"


def abort_all(event: FaultEvent) -> Decision:
    """What a driver decides to whom nobody gave better advice."""
    return Decision.ABORT


class FaultLoop:
    """Takes records; ``decide`` is asked about each transaction that is stalled.

    ``other`` hears of the rest.
    """

    def __init__(self, events: QueueConsumer, commands: CommandProducer) -> None:
        self.events = events
        self.commands = commands
        self.decide: Callable[[FaultEvent], Decision] = abort_all
        self.other: Callable[[FaultEvent], None] = lambda event: None

    def run(self) -> list[FaultEvent]:
        """Deal with all records that wait, also those that retries bring; what was dealt with.

        An access that keeps stalling is ended after `PATIENCE` retries.
        """
        handled: list[FaultEvent] = []
        retries: Counter[FaultEvent] = Counter()
        while records := self.events.drain():
            events = [FaultEvent.decode(record) for record in records]
            handled += events
            for event in events:
                if event.stalled:
                    self._resume(event, retries)
                else:
                    self.other(event)
            if any(event.stalled for event in events):
                self.commands.sync()
        return handled

    def _resume(self, event: FaultEvent, retries: Counter[FaultEvent]) -> None:
        access = event._replace(stag=0)
        retries[access] += 1
        decision = Decision.ABORT if retries[access] > PATIENCE else self.decide(event)
        retry, abort = decision.value
        resume = Resume.make(
            Opcode=Opcode.RESUME, StreamID=event.stream_id, STAG=event.stag, Ac=retry, Ab=abort
        )
        self.commands.issue(resume.value)


class PageRequestLoop:
    """Takes page requests; ``grant`` is asked about each, and answered when its group ends."""

    def __init__(self, requests: QueueConsumer, commands: CommandProducer) -> None:
        self.requests = requests
        self.commands = commands
        self.grant: Callable[[PageRequestRecord], Answer] = lambda request: Answer.INVALID
        self._groups: dict[tuple[int, int], Answer] = {}

    def run(self) -> list[PageRequestRecord]:
        """Deal with all requests that wait, and send the responses; what was dealt with."""
        handled = []
        while records := self.requests.drain():
            for data in records:
                request = PageRequestRecord.from_bytes(data)
                handled.append(request)
                if request.R or request.W:
                    self._take(request)
            self.commands.sync()
        return handled

    def _take(self, request: PageRequestRecord) -> None:
        """A group gets the worst of its answers, with its last request. Spec: 8."""
        group = (request.StreamID, request.PRGIndex)
        so_far = self._groups.pop(group, Answer.SUCCESS)
        answer = min(so_far, self.grant(request), key=lambda one: int(one.value))
        if not request.Last:
            self._groups[group] = answer
            return
        response = PriResponse.make(
            Opcode=Opcode.PRI_RESP,
            StreamID=request.StreamID,
            SSV=request.SSV,
            SubstreamID=request.SubstreamID,
            PRGIndex=request.PRGIndex,
            Resp=int(answer.value),
        )
        self.commands.issue(response.value)
