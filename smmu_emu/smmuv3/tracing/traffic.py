# SPDX-License-Identifier: GPL-2.0-or-later
"""Accesses under trace: how each was answered, by which entry, under which configuration.

Spec: IHI 0070 3.3, 3.9 (ATS), 3.12. Where nothing is asked of walks and caches, accesses alone are
stood before. A stalled access that is retried is told of again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from smmu_emu.ats import Completion, Status, TranslationRequest
from smmu_emu.interpose import Function
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.smmuv3.tracing.walks import CACHE_KINDS
from smmu_emu.smmuv3.translate import untagged
from smmu_emu.trace.events import Access, DmaData, Event, Fill, Record, Update, Walk
from smmu_emu.transaction import Fault, Transaction, Translation

if TYPE_CHECKING:
    from smmu_emu.smmuv3.tracing.unit import Place, UnitTracing

UNNAMED = -1
"""Stands for the number of the access under way, which is not known before it ends."""

_NAMING = frozenset({Walk, Fill, Update, Record, DmaData})
_TRANSACTION = 4
"""Where those events have the number of their access."""

EVENT_NAMES = {0: "", **{code.value: code.name for code in EventCode}}

Translate = Callable[[Transaction], "Translation | Fault"]


class TrafficTracing:
    """Tells of one SMMU's accesses."""

    def __init__(self, unit: UnitTracing) -> None:
        self.unit = unit
        self._wanted = False
        self._denied: Fault | None = None

    def places(self) -> Iterator[Place]:
        smmu, tracer = self.unit.smmu, self.unit.tracer
        self._wanted = tracer.wants("access")
        if tracer.wants(*CACHE_KINDS):
            yield smmu, "translate_range", self._translate_range
        if tracer.wants(*CACHE_KINDS, "record"):
            yield smmu, "translate", self._translate
            yield smmu.path, "translate", self._translate
            yield smmu.ats, "request", self._request
            yield smmu.ats, "_failed", self._failed
            yield smmu.ats, "translated", self._translated

    def _translate_range(self, translate: Function) -> Function:
        def observed(example: Transaction, size: int) -> None:
            return None  # each page is an access of its own

        return observed

    def _translate(self, translate: Translate) -> Translate:
        path, tlb, unit = self.unit.smmu.path, self.unit.smmu.tlb, self.unit

        def observed(transaction: Transaction) -> Translation | Fault:
            if tlb.deferred:
                tlb.settle()
            hits, misses = path.hits, path.misses
            outer = self._begin(transaction)
            result: Translation | Fault | None = None
            entry = 0
            outcome = "fault"
            try:
                result = translate(transaction)
                missed = path.misses != misses
                if missed:
                    outcome, entry = "walk", unit.caches.made
                elif path.hits != hits:
                    outcome, entry = "hit", self._serving(transaction)
                else:
                    outcome = "bypass"
                return result
            finally:
                self._end(transaction, outcome, result, entry, outer)

        return observed

    def _translated(self, translated: Translate) -> Translate:
        def observed(transaction: Transaction) -> Translation | Fault:
            outer = self._begin(transaction)
            result: Translation | Fault | None = None
            try:
                result = translated(transaction)
                return result
            finally:
                self._end(transaction, "translated", result, 0, outer)

        return observed

    def _request(
        self, request: Callable[[TranslationRequest], Completion]
    ) -> Callable[[TranslationRequest], Completion]:
        def observed(asked: TranslationRequest) -> Completion:
            transaction = Transaction(
                asked.stream_id,
                asked.address,
                not asked.no_write,
                asked.privileged,
                asked.execute,
                asked.substream_id,
            )
            outer, self._denied = self._begin(transaction), None
            result: Translation | Fault | None = None
            try:
                completion = request(asked)
                result = self._answer(transaction, completion)
                return completion
            finally:
                self._end(transaction, "request", result, 0, outer)

        return observed

    def _failed(self, failed: Function) -> Function:
        def observed(request: TranslationRequest, fault: Fault) -> Completion:
            self._denied = fault
            answer: Completion = failed(request, fault)
            return answer

        return observed

    def _answer(self, transaction: Transaction, completion: Completion) -> Translation | Fault:
        """A completion as though it were the answer to an access."""
        if completion.granted:
            inside = transaction.iova & (1 << completion.size_lg2) - 1
            passed = (0, 0)
            return Translation(completion.address | inside, completion.size_lg2, passed)  # type: ignore[arg-type]
        if self._denied is not None:
            return self._denied
        reason = "no access" if completion.status is Status.SUCCESS else completion.status.value
        return Fault(0, transaction, recorded=False, reason=reason)

    # -- begin and end of an access

    def _begin(
        self, transaction: Transaction
    ) -> tuple[Transaction | None, int, int, list[Event] | None, int]:
        """Hold events back, if an access is to be told of that they belong to; what was before."""
        unit, tracer = self.unit, self.unit.tracer
        held = tracer.held
        outer = unit.incoming, unit.access, unit.cause, held, len(held) if held else 0
        unit.incoming = transaction
        if self._wanted:
            unit.cause = tracer.causes.find()
            unit.access = UNNAMED
            if held is None:
                tracer.held = []
        return outer

    def _end(
        self,
        transaction: Transaction,
        outcome: str,
        result: Translation | Fault | None,
        entry: int,
        outer: tuple[Transaction | None, int, int, list[Event] | None, int],
    ) -> None:
        """Tell of the access; ``result`` is None if an exception ended it."""
        unit, tracer = self.unit, self.unit.tracer
        cause = unit.cause
        unit.incoming, unit.access, unit.cause, before, first = outer
        if not self._wanted:
            return
        seq = 0
        if result is not None:
            seq = tracer.seq = tracer.last_access = tracer.seq + 1
        held = tracer.held
        if held and len(held) > first:
            _name(held, first, seq)
        if before is None:
            tracer.held = None
            if held:
                tracer.deliver(held)
        if result is not None:
            self._tell(seq, cause, transaction, outcome, result, entry)

    def _tell(
        self,
        seq: int,
        cause: int,
        transaction: Transaction,
        outcome: str,
        result: Translation | Fault,
        entry: int,
    ) -> None:
        unit = self.unit
        stream_id, iova, write, privileged, instruction, substream_id = transaction
        fault = reason = ""
        pa: int | None = None
        if isinstance(result, Fault):
            outcome = "fault" if result.stag is None else "stall"
            fault, reason = EVENT_NAMES[result.code], result.reason
        else:
            pa = result.pa
        context = unit.smmu.path.context_of(transaction)
        config = unit.configs.get(context, 0) if context is not None else 0
        # fmt: off
        event = tuple.__new__(Access, (
            seq, unit.clock.now, unit.name, cause, stream_id, substream_id, iova, write,
            privileged, instruction, outcome, pa, entry, config, fault, reason,
        ))
        # fmt: on
        unit.tracer.emit(event)

    def _serving(self, transaction: Transaction) -> int:
        """The number of the entry that answers a transaction; 0 if there is none."""
        unit = self.unit
        context = unit.smmu.path.context_of(transaction)
        if context is None:
            return 0
        iova = transaction.iova
        if context.tbi:
            iova = untagged(iova, context.tbi)
        for sizes in (context.sizes, context.shared_sizes):
            for size_lg2, pages in sizes:
                entry = pages.get(iova >> size_lg2)
                if entry is not None:
                    return unit.entries.get(entry, 0)
        return 0


def _name(events: list[Event], first: int, seq: int) -> None:
    """Give the events of an access its number."""
    for index in range(first, len(events)):
        event = events[index]
        kind = type(event)
        if kind in _NAMING and event[_TRANSACTION] == UNNAMED:
            fields = (*event[:_TRANSACTION], seq, *event[_TRANSACTION + 1 :])
            events[index] = tuple.__new__(kind, fields)
