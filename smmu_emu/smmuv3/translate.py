# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a transaction: configuration, TLB, walk; a Translation or a Fault comes out.

Spec: IHI 0070 3.3.3, 3.4 (address sizes), 3.12 (fault models), 7.3.22 (order of faults), 15 (the
procedure). `TranslationPath.translate` is the hot path: a hit costs one look into the contexts and
one into the TLB for each page size in use. What happens on a miss is in `stages`.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.smmuv3 import attributes
from smmu_emu.smmuv3.config import ConfigurationCache, context_key
from smmu_emu.smmuv3.context import Context
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.event import EventCode, FetchClass
from smmu_emu.smmuv3.spec.registers import GBPA
from smmu_emu.smmuv3.stages import Stages, permission_fault
from smmu_emu.smmuv3.stall import WITHOUT_TAG, Answer, Held, StallBuffer
from smmu_emu.tlb import Tlb
from smmu_emu.transaction import WRITE, Attributes, Fault, Transaction, Translation

_TOP_BYTE = 0xFF << 56

Report = Callable[[Fault], bool]
"""Told of every fault; False when a stalled access's record could not be written."""


class TranslationPath:
    """Translates transactions for one SMMU and counts TLB hits and misses.

    ``active`` is the configuration cache's contexts while SMMUEN is 1 and an empty dictionary
    otherwise, so that the hot path need not ask. ``failed`` is service failure mode. ``report`` is
    told of every fault. ``one_by_one`` keeps batches from short ways.
    """

    def __init__(
        self,
        registers: RegisterFile,
        configuration: ConfigurationCache,
        tlb: Tlb,
        stages: Stages,
        stalls: StallBuffer,
        report: Report,
    ) -> None:
        self.registers = registers
        self.configuration = configuration
        self.tlb = tlb
        self.stages = stages
        self.stalls = stalls
        self.report = report
        self._no_contexts: dict[int, Context] = {}
        self.active = self._no_contexts
        self.hits = 0
        self.misses = 0
        self.failed = False
        self.one_by_one = False
        self._answer: Answer | None = None

    def enable(self, enabled: bool) -> None:
        """Follow CR0.SMMUEN. Caches keep what they hold. Spec: 6.3.9.6."""
        works = enabled and not self.failed
        self.active = self.configuration.contexts if works else self._no_contexts

    def fail(self, failed: bool) -> None:
        """Terminate everything from now on, or, after a reset, no longer. Spec: 12.3."""
        self.failed = failed
        self.enable(False)

    def context_of(self, transaction: Transaction) -> Context | None:
        """The cached context that a transaction would use now, or None."""
        return self.active.get(context_key(transaction.stream_id, transaction.substream_id))

    def translate(self, transaction: Transaction) -> Translation | Fault:
        """Translate one access of a master that cannot wait: it is never stalled (3.12).

        A Fault has been reported when this returns.
        """
        stream_id, iova, write, privileged, instruction, substream_id = transaction
        if substream_id is not None:
            stream_id |= (substream_id + 1) << 32  # the same as context_key()
        context = self.active.get(stream_id)
        if context is None:
            found = self._find_context(transaction)
            if not isinstance(found, Context):
                return found
            context = found
        if context.tbi:
            iova = untagged(iova, context.tbi)
        kind = context.kinds[write + 2 * privileged + 4 * instruction]
        for size_lg2, pages in context.sizes:
            entry = pages.get(iova >> size_lg2)
            if entry is not None:
                break
        else:
            for size_lg2, pages in context.shared_sizes:
                entry = pages.get(iova >> size_lg2)
                if entry is not None:
                    break
            else:
                return self._miss(transaction, context, iova, kind)
        self.hits += 1
        if entry.allowed >> kind & 1:
            # tuple.__new__ takes half the time of Translation(...).
            pa = entry.page | iova & entry.mask
            return tuple.__new__(Translation, (pa, entry.size_lg2, entry.attributes))
        if entry.clean and kind & WRITE:
            # Hardware may mark the page dirty: only a walk can tell.
            self.tlb.drop(entry)
            return self._miss(transaction, context, iova, kind)
        return self._told(permission_fault(transaction, context, entry, iova, kind))

    def submit(self, transaction: Transaction, answer: Answer) -> Translation | Fault:
        """Translate one access of a master that can wait.

        A Fault whose ``stag`` is not None is no answer: ``answer`` is called when there is one.
        Spec: 3.12.2.
        """
        self._answer = answer
        try:
            return self.translate(transaction)
        finally:
            self._answer = None

    def _told(self, fault: Fault) -> Fault:
        """Report a fault, and hold its transaction if that is wanted and its master can wait."""
        answer, self._answer = self._answer, None
        if fault.stall and answer is not None:
            return self._hold(fault, answer)
        self.report(fault)
        return fault

    def _hold(self, fault: Fault, answer: Answer) -> Fault:
        """Record the stall whatever R says; until that is possible, wait. Spec: 3.12.2."""
        stalls = self.stalls
        if not stalls.full:
            stag = stalls.free_tag()
            fault = fault._replace(stag=stag, recorded=True)
            stalls.held[stag] = Held(fault.transaction, answer, fault)
            if self.report(fault):
                return fault
            del stalls.held[stag]
        fault = fault._replace(stag=WITHOUT_TAG)
        stalls.waiting.append(Held(fault.transaction, answer, fault))
        return fault

    def retry(self, held: Held) -> None:
        """Handle a held transaction as though it had just arrived. Spec: 4.7.1."""
        result = self.submit(held.transaction, held.answer)
        if not isinstance(result, Fault) or result.stag is None:
            held.answer(result)

    def retry_waiting(self) -> None:
        """A tag or a slot of the event queue is free: let those try again who wait for it."""
        waiting = list(self.stalls.waiting)
        self.stalls.waiting.clear()
        for held in waiting:
            self.retry(held)

    # -- without a cached context

    def _find_context(self, transaction: Transaction) -> Context | Translation | Fault:
        """Fetch the configuration; a result at once where nothing is to be translated."""
        if self.failed:
            reason = "the SMMU is in service failure mode"
            return self._told(Fault(0, transaction, recorded=False, reason=reason))
        if not self.registers.values["CR0ACK"] & 1:
            result = self._bypass_disabled(transaction)
            return self._told(result) if isinstance(result, Fault) else result
        context = self.configuration.lookup(transaction, self.stages.cd_address)
        return self._told(context) if isinstance(context, Fault) else context

    def _bypass_disabled(self, transaction: Transaction) -> Translation | Fault:
        """SMMUEN is 0: GBPA decides, and no event is ever recorded. Spec: 3.11, 6.3.14."""
        gbpa = GBPA(self.registers.values["GBPA"])
        if gbpa.ABORT:
            return Fault(0, transaction, recorded=False, reason="GBPA.ABORT is 1")
        passed = attributes.INCOMING
        if self.registers.ids.sizes.ATTR_TYPES_OVR:
            passed = attributes.override(
                passed,
                mtcfg=gbpa.MTCFG,
                memattr=gbpa.MemAttr,
                alloccfg=gbpa.ALLOCCFG,
                shcfg=gbpa.SHCFG,
            )
        return self._bypass(transaction, transaction.kind, passed, "SMMUEN is 0")

    def _bypass(
        self, transaction: Transaction, kind: int, passed: Attributes, reason: str
    ) -> Translation | Fault:
        """Addresses pass unchanged if they fit the output size. Spec: 3.4."""
        output_bits = self.registers.ids.output_bits
        if not transaction.iova >> output_bits:
            return Translation(transaction.iova, output_bits, passed)
        enabled = bool(self.registers.values["CR0ACK"] & 1)
        return Fault(
            EventCode.F_ADDR_SIZE if enabled else 0,
            transaction,
            fetch_class=FetchClass.IN,
            kind=kind,
            recorded=enabled,
            reason=f"{reason} and the address is beyond OAS",
        )

    # -- TLB misses

    def _miss(
        self, transaction: Transaction, context: Context, iova: int, kind: int
    ) -> Translation | Fault:
        """No entry: streams that translate nothing never have one, the others walk."""
        if self.tlb.deferred:
            self.tlb.settle()
            return self.translate(transaction)
        if context.bypass:
            reason = "the STE bypasses both stages"
            result = self._bypass(transaction, kind, context.stream.incoming, reason)
            return self._told(result) if isinstance(result, Fault) else result
        if context.aborts:
            reason = "STE.Config aborts the stream"
            return self._told(Fault(0, transaction, recorded=False, reason=reason))
        self.misses += 1
        entry = self.stages.make_entry(transaction, context, iova, kind)
        if isinstance(entry, Fault):
            return self._told(entry)
        if not entry.allowed >> kind & 1:
            return self._told(permission_fault(transaction, context, entry, iova, kind))
        return Translation(entry.page | iova & entry.mask, entry.size_lg2, entry.attributes)


def untagged(iova: int, tbi: int) -> int:
    """The address without its tag: bit 55 picks the half and fills the top byte. Spec: 3.4.1."""
    if iova >> 55 & 1:
        return iova | _TOP_BYTE if tbi & 2 else iova
    return iova & ~_TOP_BYTE if tbi & 1 else iova
