# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of what devices send: transactions, ATS requests, page requests, answers.

A transaction that is dropped is posted into nowhere: writes seem done, reads give zeros; one that
is aborted comes back as an abort. The SMMU has seen neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smmu_emu.ats import (
    Completion,
    Endpoint,
    Invalidation,
    InvalidationAnswer,
    PageRequest,
    PageResponse,
    Status,
    TranslationRequest,
)
from smmu_emu.inject.armed import Access
from smmu_emu.inject.change import changed
from smmu_emu.inject.effects import Abort, Delay, Drop, Duplicate, Flip, Rewrite
from smmu_emu.transaction import Fault, Transaction

if TYPE_CHECKING:
    from smmu_emu.inject.injector import Injector

_ADDRESSES = (1 << 64) - 1
LOST = "lost on the way to the SMMU"
"""`Fault.reason` of a transaction that never arrived."""


def install(injector: Injector) -> None:
    """Stand before what the SMMU offers to devices, where faults aim at it."""
    smmu = injector.smmu
    if injector.wants("transaction"):
        for name in ("translate", "submit"):
            injector.stand_before(smmu, name, lambda function: _arrival(injector, function))
        injector.stand_before(smmu, "translate_range", lambda _: lambda example, size: None)
    if injector.wants("ats-translated"):
        injector.stand_before(
            smmu.ats, "translated", lambda function: _arrival(injector, function, "ats-translated")
        )
    if injector.wants("ats-request"):
        injector.stand_before(smmu.ats, "request", lambda function: _asked(injector, function))
    if injector.wants("page-request"):
        injector.stand_before(smmu.ats, "page_request", lambda function: _paged(injector, function))
    if injector.wants("ats-invalidate"):
        injector.stand_before(smmu.ats, "invalidate", lambda function: _told(injector, function))
    if injector.wants_streams:
        _watch_service(injector)


def _watch_service(injector: Injector) -> None:
    """Know for which stream the SMMU accesses memory."""
    smmu = injector.smmu

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def served(incoming: Any, *rest: Any) -> Any:
            with injector.serving(incoming):
                return function(incoming, *rest)

        return served

    for owner, name in (
        (smmu, "translate"),
        (smmu, "submit"),
        (smmu.path, "translate"),
        (smmu.ats, "request"),
        (smmu.ats, "translated"),
        (smmu.ats, "page_request"),
    ):
        injector.stand_before(owner, name, wrap)


# -- transactions


def _arrival(
    injector: Injector, function: Callable[..., Any], site: str = "transaction"
) -> Callable[..., Any]:
    def arrives(transaction: Transaction, *rest: Any) -> Any:
        def about(one: Transaction) -> Access:
            return Access(
                site,
                iova=one.iova,
                stream=one.stream_id,
                substream=one.substream_id,
                write=one.write,
            )

        if site == "transaction":
            injector.let_rest(about(transaction))
        access = about(transaction)
        copies = 0
        answer: Fault | None = None
        for one in injector.struck(access):
            before = transaction
            match one.fault.effect:
                case Drop():
                    answer = _lost(transaction, abort=False)
                case Abort():
                    answer = _lost(transaction, abort=True)
                case Duplicate(copies=more):
                    copies += more
                case Flip() as effect:
                    data = transaction.iova.to_bytes(8, "little")
                    iova = int.from_bytes(changed(effect, data, one.random), "little")
                    transaction = transaction._replace(iova=iova)
                case Rewrite() as effect:
                    transaction = _rewritten(transaction, effect)
            access = about(transaction)
            note = "" if transaction == before else f"became {access}"
            injector.tell(one, about(before), note=note)
        if answer is not None:
            return answer
        for _ in range(copies):
            function(transaction, *rest)
        return function(transaction, *rest)

    return arrives


def _lost(transaction: Transaction, *, abort: bool) -> Fault:
    return Fault(0, transaction, recorded=False, reason=LOST, abort=abort)


def _rewritten(transaction: Transaction, effect: Rewrite) -> Transaction:
    iova = transaction.iova if effect.iova is None else effect.iova
    stream_id, substream = _names(transaction.stream_id, transaction.substream_id, effect)

    def choose(wanted: bool | None, now: bool) -> bool:
        return now if wanted is None else wanted

    return Transaction(
        stream_id,
        iova + effect.iova_offset & _ADDRESSES,
        choose(effect.write, transaction.write),
        choose(effect.privileged, transaction.privileged),
        choose(effect.instruction, transaction.instruction),
        substream,
    )


def _names(stream: int, substream: int | None, effect: Rewrite) -> tuple[int, int | None]:
    if effect.stream is not None:
        stream = effect.stream
    if effect.substream is not None:
        substream = None if effect.substream < 0 else effect.substream
    return stream, substream


# -- ATS and PRI


def _changed_request(
    injector: Injector, site: str, request: Any, write: bool
) -> tuple[Any, int, bool]:
    """The request as faults leave it, how often more it comes, and whether it is lost."""

    def about(one: Any) -> Access:
        stream, substream = one.stream_id, one.substream_id
        return Access(site, iova=one.address, stream=stream, substream=substream, write=write)

    access = about(request)
    copies, lost = 0, False
    for one in injector.struck(access):
        before = request
        match one.fault.effect:
            case Drop():
                lost = True
            case Duplicate(copies=more):
                copies += more
            case Flip() as effect:
                data = changed(effect, request.address.to_bytes(8, "little"), one.random)
                request = request._replace(address=int.from_bytes(data, "little"))
            case Rewrite() as effect:
                stream, substream = _names(request.stream_id, request.substream_id, effect)
                address = request.address if effect.iova is None else effect.iova
                request = request._replace(
                    stream_id=stream,
                    substream_id=substream,
                    address=address + effect.iova_offset & _ADDRESSES,
                )
        access = about(request)
        note = "" if request == before else f"became {access}"
        injector.tell(one, about(before), note=note)
    return request, copies, lost


def _asked(
    injector: Injector, function: Callable[[TranslationRequest], Completion]
) -> Callable[[TranslationRequest], Completion]:
    def request(asked: TranslationRequest) -> Completion:
        asked, copies, lost = _changed_request(injector, "ats-request", asked, not asked.no_write)
        if lost:
            return Completion(Status.ABORT)
        for _ in range(copies):
            function(asked)
        return function(asked)

    return request


def _paged(
    injector: Injector, function: Callable[[PageRequest], None]
) -> Callable[[PageRequest], None]:
    def page_request(asked: PageRequest) -> None:
        asked, copies, lost = _changed_request(injector, "page-request", asked, asked.write)
        for _ in range(0 if lost else copies + 1):
            function(asked)

    return page_request


def _told(
    injector: Injector, function: Callable[[int, Invalidation], None]
) -> Callable[[int, Invalidation], None]:
    ats = injector.smmu.ats

    def invalidate(stream_id: int, request: Invalidation) -> None:
        endpoint = ats.endpoints.get(stream_id)
        access = Access(
            "ats-invalidate",
            iova=request.address,
            stream=stream_id,
            substream=request.substream_id,
        )
        instead = None
        if endpoint is not None:
            for one in injector.struck(access):
                instead = _Between(injector, instead or endpoint, one.fault.effect)
                injector.tell(one, access)
        if instead is None:
            function(stream_id, request)
        else:
            ats.invalidations.send(instead, request)

    return invalidate


class _Between:
    """Stands between the SMMU and an endpoint for one invalidation."""

    def __init__(self, injector: Injector, endpoint: Endpoint, effect: object) -> None:
        self.injector = injector
        self.endpoint = endpoint
        self.effect = effect

    def invalidate(self, request: Invalidation, answer: InvalidationAnswer) -> None:
        match self.effect:
            case Delay(ns=ns):
                self.injector.later(ns, lambda: self.endpoint.invalidate(request, answer))
            case Duplicate(copies=copies):
                for _ in range(copies):
                    self.endpoint.invalidate(request, lambda done: None)
                self.endpoint.invalidate(request, answer)

    def page_response(self, response: PageResponse) -> None:
        self.endpoint.page_response(response)
