# SPDX-License-Identifier: GPL-2.0-or-later
"""Accesses under trace: how each was answered, by which entry, under which configuration.

Spec: IHI 0070 3.3, 3.9 (ATS), 3.12. Where nothing is asked of walks and caches, accesses alone are
stood before. A stalled access that is retried is told of again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from smmu_emu.ats import Completion, Status, TranslationRequest
from smmu_emu.interpose import Function, Layer
from smmu_emu.smmuv3.context import Context
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


_MOST_LANDINGS = 4096


class _Answer(NamedTuple):
    """When the access under way was answered: how many events were held, the access's number, and
    those of the entry that could serve it, of the entry that was made for it, and of the
    configuration that ruled it."""

    at: int
    seq: int
    entry: int
    made: int
    config: int


class _Outer(NamedTuple):
    """What was under way before an access."""

    incoming: Transaction | None
    access: int
    cause: int
    held: list[Event] | None
    first: int
    answered: _Answer | None


class TrafficTracing:
    """Tells of one SMMU's accesses."""

    unsaved = ("unit", "_wanted", "_lands", "_denied", "_answered")

    def __init__(self, unit: UnitTracing) -> None:
        self.unit = unit
        self._wanted = self._lands = False
        self._denied: Fault | None = None
        self._answered: _Answer | None = None

    def places(self) -> Iterator[Place]:
        smmu, tracer = self.unit.smmu, self.unit.tracer
        self._wanted = tracer.wants("access")
        self._lands = tracer.wants("dma")
        if tracer.wants(*CACHE_KINDS):
            yield smmu, "translate_range", self._translate_range
        if tracer.wants(*CACHE_KINDS, "record"):
            yield smmu, "translate", self._translate
            yield smmu.path, "translate", self._translate
            yield smmu.ats, "request", self._request
            yield smmu.ats, "_failed", self._failed
            yield smmu.ats, "translated", self._translated
            if smmu.path.one_by_one:  # there are policies
                yield smmu, "translate", self._answers, Layer.ANSWER
                yield smmu.path, "translate", self._answers, Layer.ANSWER
                yield smmu.ats, "request", self._answers, Layer.ANSWER
                yield smmu.ats, "translated", self._answers, Layer.ANSWER

    def _translate_range(self, translate: Function) -> Function:
        def observed(example: Transaction, size: int) -> None:
            return None  # each page is an access of its own

        return observed

    def _translate(self, translate: Translate) -> Translate:
        path, tlb, tracer = self.unit.smmu.path, self.unit.smmu.tlb, self.unit.tracer

        def observed(transaction: Transaction) -> Translation | Fault:
            if tlb.deferred:
                tlb.settle()
            if not self._wanted or not tracer.wants_stream(transaction[0]):
                return self._serve_untold(translate, transaction)
            hits, misses = path.hits, path.misses
            outer = self._begin(transaction)
            try:
                result = translate(transaction)
            except BaseException:
                self._end(transaction, "", None, 0, outer)
                raise
            if path.misses != misses:
                self._end(transaction, "walk", result, self._made_entry(), outer)
            elif path.hits == hits:
                self._end(transaction, "bypass", result, 0, outer)
            elif outer.held is None and not tracer.held and self._answered is None:
                self._end_hit(transaction, result, outer)
            else:
                self._end(transaction, "hit", result, self._hit_entry(transaction), outer)
            return result

        return observed

    def _serve_untold(self, translate: Translate, transaction: Transaction) -> Translation | Fault:
        """An access that nobody wants to hear of; what it fills and reads is its stream's."""
        unit = self.unit
        outer, unit.incoming = unit.incoming, transaction
        try:
            return translate(transaction)
        finally:
            unit.incoming = outer

    def _answers(self, serve: Function) -> Function:
        """What comes after the answer, as long as the access is under way, is a policy's doing."""
        unit, tracer = self.unit, self.unit.tracer

        def observed(incoming: Transaction | TranslationRequest) -> object:
            result = serve(incoming)
            held = tracer.held
            if unit.access and held is not None and unit.incoming is not None:
                entry, config = self._serving(unit.incoming), self._config_of(unit.incoming)
                made = unit.caches.made
                self._answered = _Answer(len(held), tracer.next(), entry, made, config)
                unit.access = 0
            return result

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

    def _end_hit(
        self, transaction: Transaction, result: Translation | Fault, outer: _Outer
    ) -> None:
        """The short way to tell of an access that brought nothing else about, as most do."""
        unit, tracer = self.unit, self.unit.tracer
        cause = unit.cause
        unit.incoming, unit.access, unit.cause, tracer.held, _, self._answered = outer
        seq = tracer.seq = tracer.seq + 1
        entry = config = 0
        context = unit.smmu.path.context_of(transaction)
        if context is not None:
            entry, config = self._entry_in(context, transaction), unit.configs.get(context, 0)
        tracer.emit(self._access(seq, cause, transaction, "hit", result, entry, config))

    def _begin(self, transaction: Transaction) -> _Outer:
        """Hold events back, if an access is to be told of that they belong to; what was before."""
        unit, tracer = self.unit, self.unit.tracer
        held = tracer.held
        outer = _Outer(
            unit.incoming,
            unit.access,
            unit.cause,
            held,
            len(held) if held else 0,
            self._answered,
        )
        unit.incoming = transaction
        if self._wanted:
            unit.cause = tracer.causes.find()
            unit.access = UNNAMED
            self._answered = None
            if held is None:
                tracer.held = []
        return outer

    def _end(
        self,
        transaction: Transaction,
        outcome: str,
        result: Translation | Fault | None,
        entry: int,
        outer: _Outer,
    ) -> None:
        """Tell of the access; ``result`` is None if an exception ended it."""
        unit, tracer = self.unit, self.unit.tracer
        cause, answered = unit.cause, self._answered
        unit.incoming, unit.access, unit.cause, before, first, self._answered = outer
        if not self._wanted:
            return
        held = tracer.held
        assert held is not None
        if answered is None:
            answered = _Answer(len(held), tracer.next(), 0, 0, self._config_of(transaction))
        if result is not None:
            at, seq, _, _, config = answered
            event = self._access(seq, cause, transaction, outcome, result, entry, config)
            if before is None and not held:  # as for most
                tracer.held = None
                tracer.emit(event)
                return
            _name(held, first, at, seq)
            held.insert(at, event)
        else:
            _name(held, first, len(held), 0)
        if before is None:
            tracer.held = None
            tracer.deliver(held)

    def _access(
        self,
        seq: int,
        cause: int,
        transaction: Transaction,
        outcome: str,
        result: Translation | Fault,
        entry: int,
        config: int,
    ) -> Access:
        unit = self.unit
        stream_id, iova, write, privileged, instruction, substream_id = transaction
        fault = reason = ""
        pa: int | None = None
        if isinstance(result, Fault):
            outcome = "fault" if result.stag is None else "stall"
            fault, reason = EVENT_NAMES[result.code], result.reason
        else:
            pa = result.pa
            if self._lands:
                landings = unit.tracer.landings
                if len(landings) >= _MOST_LANDINGS:
                    landings.clear()
                landings[stream_id, pa] = seq
        # fmt: off
        event: Access = tuple.__new__(Access, (
            seq, unit.clock.now, unit.name, cause, stream_id, substream_id, iova, write,
            privileged, instruction, outcome, pa, entry, config, fault, reason,
        ))
        # fmt: on
        return event

    def _hit_entry(self, transaction: Transaction) -> int:
        answered = self._answered
        return self._serving(transaction) if answered is None else answered.entry

    def _made_entry(self) -> int:
        answered = self._answered
        return self.unit.caches.made if answered is None else answered.made

    def _config_of(self, transaction: Transaction) -> int:
        """The number of the context that rules a transaction; 0 if there is none."""
        context = self.unit.smmu.path.context_of(transaction)
        return self.unit.configs.get(context, 0) if context is not None else 0

    def _serving(self, transaction: Transaction) -> int:
        """The number of the entry that answers a transaction; 0 if there is none."""
        context = self.unit.smmu.path.context_of(transaction)
        return 0 if context is None else self._entry_in(context, transaction)

    def _entry_in(self, context: Context, transaction: Transaction) -> int:
        iova = transaction[1]
        if context.tbi:
            iova = untagged(iova, context.tbi)
        for sizes in (context.sizes, context.shared_sizes):
            for size_lg2, pages in sizes:
                entry = pages.get(iova >> size_lg2)
                if entry is not None:
                    return self.unit.entries.get(entry, 0)
        return 0


def _name(events: list[Event], first: int, end: int, seq: int) -> None:
    """Give the events of an access its number."""
    for index in range(first, end):
        event = events[index]
        kind = type(event)
        if kind in _NAMING and event[_TRANSACTION] == UNNAMED:
            fields = (*event[:_TRANSACTION], seq, *event[_TRANSACTION + 1 :])
            events[index] = tuple.__new__(kind, fields)
