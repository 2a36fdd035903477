# SPDX-License-Identifier: GPL-2.0-or-later
"""The ATS interface: translation requests, Translated transactions, invalidations of ATCs.

Spec: IHI 0070 3.9 (operation), 13.6 and 13.7 (addresses, granted permissions), 3.13.7 (flags),
4.5.1, 7.3.6, 7.3.8. Choices: addresses of Translated transactions above OAS abort; write permission
is granted whether or not it was asked for, where nothing has to be marked dirty; a skipped stage 1
without stage 2 is answered with one translation of the whole output range; Translated transactions
carry the default attributes, and overrides reach them in split-stage mode alone; C_BAD_CD counts as
one of the errors that REC_CFG_ATS records. Left out: device permission tables, PASIDs on Translated
transactions, answers with more than one translation.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.ats import (
    Completion,
    Endpoint,
    Invalidation,
    PageRequest,
    Status,
    TranslationRequest,
)
from smmu_emu.errors import ConfigurationError
from smmu_emu.smmuv3 import attributes
from smmu_emu.smmuv3.config import ConfigurationCache
from smmu_emu.smmuv3.context import Context, Stream, Tag, World
from smmu_emu.smmuv3.fault import GATED
from smmu_emu.smmuv3.invalidations import Invalidations
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.event import BadRequestRecord, EventCode
from smmu_emu.smmuv3.spec.registers import CR0, CR2
from smmu_emu.smmuv3.spec.ste import AtsMode, Config
from smmu_emu.smmuv3.stages import Stages, permission_fault
from smmu_emu.smmuv3.translate import untagged
from smmu_emu.tlb import Entry, Tlb
from smmu_emu.transaction import INSTRUCTION, PRIVILEGED, WRITE, Fault, Transaction, Translation

_SMMUEN = CR0.mask("SMMUEN")
_ATSCHK = CR0.mask("ATSCHK")
_REC_CFG_ATS = CR2.mask("REC_CFG_ATS")
_MOST_STUS = 15
"""The largest number of units that F_BAD_ATS_TREQ can tell."""

Recorder = Callable[[Fault, "bytes | None"], bool]
"""Told of every fault, and of its record where the fault alone does not say everything."""


class Ats:
    """Serves the endpoints of one SMMU; ``requests`` and ``translated_count`` count what came in.

    ``stu_lg2`` is the smallest translation unit, which endpoints are to be programmed with;
    ``failed`` is service failure mode (12.3).
    """

    def __init__(
        self,
        registers: RegisterFile,
        configuration: ConfigurationCache,
        tlb: Tlb,
        stages: Stages,
        record: Recorder,
        invalidations: Invalidations,
        endpoints: dict[int, Endpoint],
        page_request: Callable[[PageRequest], None],
    ) -> None:
        self.registers = registers
        self.configuration = configuration
        self.tlb = tlb
        self.stages = stages
        self.record = record
        self.invalidations = invalidations
        self.endpoints = endpoints
        self.page_request = page_request
        self.requests = 0
        self.translated_count = 0
        self.failed = False
        self.advertised = bool(registers.ids.features.ATS)
        self.stu_lg2 = next(size for size in (12, 14, 16) if registers.ids.supports_granule(size))

    def attach(self, stream_id: int, endpoint: Endpoint) -> None:
        """Let invalidations and page responses for a stream reach ``endpoint``.

        Raises: ConfigurationError if another endpoint has that StreamID.
        """
        if self.endpoints.setdefault(stream_id, endpoint) is not endpoint:
            raise ConfigurationError(
                f"StreamID {stream_id:#x} has an ATS endpoint already; detach that one first"
            )

    def detach(self, stream_id: int) -> None:
        """Undo `attach`."""
        self.endpoints.pop(stream_id, None)

    def reset(self) -> None:
        """Forget what was counted and what is under way; endpoints stay attached."""
        self.requests = self.translated_count = 0
        self.failed = False
        self.invalidations.reset()

    def invalidate(self, stream_id: int, request: Invalidation) -> None:
        """Pass an invalidation on; where there is no endpoint it is ignored. Spec: 4.5.1."""
        endpoint = self.endpoints.get(stream_id)
        if endpoint is not None:
            self.invalidations.send(endpoint, request)

    # -- translation requests

    def request(self, request: TranslationRequest) -> Completion:
        """Answer a translation request. Spec: 3.9.1.2."""
        self.requests += 1
        if request.substream_id is None:
            request = request._replace(execute=False, privileged=False)
        transaction = Transaction(
            request.stream_id,
            request.address,
            not request.no_write,
            request.privileged,
            request.execute,
            request.substream_id,
        )
        if not self.advertised:
            return Completion(Status.UNSUPPORTED)
        if self.failed:
            return Completion(Status.ABORT)
        if not self.registers.values["CR0ACK"] & _SMMUEN:
            return self._refuse(request, transaction, "SMMUEN is 0")
        stream = self.configuration.find_stream(transaction)
        if isinstance(stream, Fault):
            return self._failed(request, stream)
        if not stream.config & Config.BYPASS:
            return Completion(Status.UNSUPPORTED)
        mode = self._mode(stream)
        if mode is AtsMode.OFF:
            return self._refuse(request, transaction, "the stream's configuration has no ATS")
        context = self.configuration.lookup(transaction, self.stages.cd_address)
        if isinstance(context, Fault):
            return self._failed(request, context)
        if context.bypass:
            return self._identity(request, transaction)
        entry = self._entry(request, transaction, context)
        if isinstance(entry, Fault):
            return self._failed(request, entry)
        return self._grant(request, context, entry, split=mode is AtsMode.SPLIT)

    def _mode(self, stream: Stream) -> AtsMode:
        """The effective EATS. Spec: 5.2 EATS."""
        if stream.ats is AtsMode.SPLIT and not self.registers.values["CR0ACK"] & _ATSCHK:
            return AtsMode.OFF
        return stream.ats

    def _refuse(
        self, request: TranslationRequest, transaction: Transaction, reason: str
    ) -> Completion:
        """UR, and F_BAD_ATS_TREQ. Spec: 7.3.6."""
        code = EventCode.F_BAD_ATS_TREQ
        fault = Fault(code, transaction, kind=transaction.kind, reason=reason)
        self.record(fault, _bad_request(request))
        return Completion(Status.UNSUPPORTED)

    def _failed(self, request: TranslationRequest, fault: Fault) -> Completion:
        """What a fault of an ordinary transaction is to a translation request. Spec: 3.9.1.2."""
        if fault.code in GATED:
            self.record(fault._replace(recorded=False), None)
            return self._denied(request)
        self.record(fault._replace(recorded=fault.recorded and self._records_errors), None)
        return Completion(Status.ABORT)

    @property
    def _records_errors(self) -> bool:
        """CR2.REC_CFG_ATS, which exists with IDR0.ATSRECERR only."""
        return bool(self.registers.values["CR2"] & _REC_CFG_ATS)

    def _denied(self, request: TranslationRequest) -> Completion:
        """Success without any access."""
        return Completion(Status.SUCCESS, size_lg2=self.stu_lg2, privileged=request.privileged)

    def _identity(self, request: TranslationRequest, transaction: Transaction) -> Completion:
        """S1DSS skips the only stage. Spec: 13.6.4, 3.4 (address size)."""
        output_bits = self.registers.ids.output_bits
        if request.address >> output_bits:
            reason = "stage 1 is skipped and the address is beyond OAS"
            code, kind = EventCode.F_ADDR_SIZE, transaction.kind
            return self._failed(request, Fault(code, transaction, kind=kind, reason=reason))
        return Completion(Status.SUCCESS, 0, output_bits, read=True, write=True)

    def _entry(
        self, request: TranslationRequest, transaction: Transaction, context: Context
    ) -> Entry | Fault:
        """The translation; marked dirty if a write is asked for and could then be granted.

        Spec: 3.13.7.1, 13.7.
        """
        iova = request.address
        if context.tbi:
            iova = untagged(iova, context.tbi)
        self.tlb.settle()
        first = PRIVILEGED * request.privileged
        read, write = context.kinds[first], context.kinds[first | WRITE]
        entry: Entry | Fault | None = _cached(context, iova)
        if entry is None:
            entry = self.stages.make_entry(transaction, context, iova, read)
        if request.no_write:
            return entry
        if isinstance(entry, Fault):
            # What cannot be read at stage 1 may be writable all the same.
            unreadable = entry.code == EventCode.F_PERMISSION and entry.stage == 1
            if not unreadable:
                return entry
            return self.stages.make_entry(transaction, context, iova, write)
        if entry.allowed >> write & 1 or not _may_become_writable(context, entry, iova, write):
            return entry
        marked = self.stages.make_entry(transaction, context, iova, write)
        if isinstance(marked, Fault) and marked.code == EventCode.F_PERMISSION:
            return entry
        return marked

    def _grant(
        self, request: TranslationRequest, context: Context, entry: Entry, *, split: bool
    ) -> Completion:
        """The rights of 13.7.1; execute only with read, and only if asked for."""
        kinds = context.kinds
        first = PRIVILEGED * request.privileged
        readable = bool(entry.allowed >> kinds[first] & 1)
        writable = bool(entry.allowed >> kinds[first | WRITE] & 1)
        executable = readable and bool(entry.allowed >> kinds[first | INSTRUCTION] & 1)
        if not readable and not writable:
            return self._denied(request)
        return Completion(
            Status.SUCCESS,
            entry.ipa if split else entry.page,
            entry.size_lg2,
            readable,
            writable,
            executable and request.execute,
            request.privileged,
        )

    # -- Translated transactions

    def translated(self, transaction: Transaction) -> Translation | Fault:
        """Let a Translated transaction pass, or not. Spec: 3.9.1.3.

        A Fault has been reported when this returns. A SubstreamID is not looked at.
        """
        self.translated_count += 1
        transaction = Transaction(transaction.stream_id, transaction.iova, transaction.write)
        values = self.registers.values
        if not self.advertised:
            return self._abort(transaction, "IDR0.ATS is 0")
        if self.failed:
            return self._abort(transaction, "the SMMU is in service failure mode")
        if not values["CR0ACK"] & _SMMUEN:
            return self._forbid(transaction, "SMMUEN is 0")
        if not values["CR0ACK"] & _ATSCHK:
            return self._pass(transaction)
        stream = self.configuration.find_stream(transaction)
        if isinstance(stream, Fault):
            fault = stream._replace(recorded=self._records_errors)
            self.record(fault, None)
            return fault
        if not stream.config & Config.BYPASS:
            return self._abort(transaction, "STE.Config aborts the stream")
        mode = self._mode(stream)
        if mode is AtsMode.OFF:
            return self._forbid(transaction, "the stream's configuration has no ATS")
        if mode is AtsMode.SPLIT:
            return self._second_stage(transaction, stream)
        return self._pass(transaction)

    def _abort(self, transaction: Transaction, reason: str) -> Fault:
        fault = Fault(0, transaction, kind=transaction.kind, recorded=False, reason=reason)
        self.record(fault, None)
        return fault

    def _forbid(self, transaction: Transaction, reason: str) -> Fault:
        code = EventCode.F_TRANSL_FORBIDDEN
        fault = Fault(code, transaction, kind=transaction.kind, reason=reason)
        self.record(fault, None)
        return fault

    def _pass(self, transaction: Transaction) -> Translation | Fault:
        """The address is physical. Spec: 3.9.1.1."""
        output_bits = self.registers.ids.output_bits
        if transaction.iova >> output_bits:
            return self._abort(transaction, "the translated address is beyond OAS")
        return Translation(transaction.iova, output_bits, attributes.INCOMING)

    def _second_stage(self, transaction: Transaction, stream: Stream) -> Translation | Fault:
        """The address is intermediate. Overrides of attributes are ignored (Table 13.5)."""
        assert stream.stage2 is not None
        space = self.tlb.space(Tag(World.S2, stream.vmid, None, attributes.INCOMING))
        ipa, kind = transaction.iova, stream.kinds[transaction.kind]
        found = space.find(ipa)
        if found is None or not found.allowed >> kind & 1:
            context = Context(stream, None, 0)
            plain = attributes.stage2(attributes.INCOMING, stream.stage2.forced)
            context.stage2 = stream.stage2._replace(attributes=plain, space=space)
            made = self._second_stage_entry(transaction, context, found, kind)
            if isinstance(made, Fault):
                self.record(made, None)
                return made
            found = made
        return Translation(found.page | ipa & found.mask, found.size_lg2, found.attributes)

    def _second_stage_entry(
        self, transaction: Transaction, context: Context, entry: Entry | None, kind: int
    ) -> Entry | Fault:
        """An entry that permits the access: the cached one does not."""
        ipa = transaction.iova
        if entry is None or entry.clean:
            made = self.stages.make_entry(transaction, context, ipa, kind)
            if isinstance(made, Fault):
                return made
            entry = made
        if entry.allowed >> kind & 1:
            return entry
        return permission_fault(transaction, context, entry, ipa, kind)


def _cached(context: Context, iova: int) -> Entry | None:
    """The TLB's entry for an address without its tag."""
    for sizes in (context.sizes, context.shared_sizes):
        for size_lg2, pages in sizes:
            entry = pages.get(iova >> size_lg2)
            if entry is not None:
                return entry
    return None


def _may_become_writable(context: Context, entry: Entry, iova: int, kind: int) -> bool:
    """Whether marking pages dirty may allow a write; if stage 2 stands in the way it cannot."""
    stage2 = context.stage2
    if not entry.clean or stage2 is None or entry.allowed_stage2 >> kind & 1:
        return entry.clean
    second = stage2.space.find(entry.ipa | iova & entry.mask)
    return second is None or second.clean


def _bad_request(request: TranslationRequest) -> bytes:
    """The record of F_BAD_ATS_TREQ: rights as they were asked for. Spec: 7.3.6."""
    return BadRequestRecord.make(
        Number=EventCode.F_BAD_ATS_TREQ,
        SSV=int(request.substream_id is not None),
        SubstreamID=request.substream_id or 0,
        StreamID=request.stream_id,
        Span=min(request.span, _MOST_STUS),
        Priv=int(request.privileged),
        X=int(request.execute),
        W=int(not request.no_write),
        R=1,
        InputAddr=request.address & ~0xFFF,
    ).to_bytes()
