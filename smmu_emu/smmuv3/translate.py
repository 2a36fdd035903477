# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a transaction: configuration, TLB, walk; a Translation or a Fault comes out.

Spec: IHI 0070 3.3.3, 3.4 (address sizes), 7.3.22 (order of faults), 15 (procedure), 16.2 (caching).
`TranslationPath.translate` is the hot path: a hit costs one look into the contexts and one into the
TLB for each page size in use. Everything else happens in functions below it, in reading order.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.port import MemoryPort
from smmu_emu.smmuv3 import attributes
from smmu_emu.smmuv3.config import ConfigurationCache
from smmu_emu.smmuv3.context import Context, Stage1, Stage2, Stream
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.event import EventCode, FetchClass
from smmu_emu.smmuv3.spec.registers import GBPA
from smmu_emu.tlb import Entry, Tlb
from smmu_emu.transaction import (
    ALL_KINDS,
    PRIVILEGED,
    Attributes,
    Fault,
    Transaction,
    Translation,
)
from smmu_emu.walk.long_descriptor import (
    NOT_GLOBAL,
    Leaf,
    Root,
    WalkFault,
    WalkFaultKind,
    walk,
)

_TOP_BYTE = 0xFF << 56
_VA_MASK = (1 << 64) - 1
_NO_CONTEXTS: dict[int, Context] = {}
_READ = PRIVILEGED
"""Kind of the SMMU's own reads of tables and CDs when stage 2 judges them."""

_WALK_EVENTS = {
    WalkFaultKind.NO_DESCRIPTOR: EventCode.F_WALK_EABT,
    WalkFaultKind.TRANSLATION: EventCode.F_TRANSLATION,
    WalkFaultKind.ADDRESS_SIZE: EventCode.F_ADDR_SIZE,
    WalkFaultKind.ACCESS_FLAG: EventCode.F_ACCESS,
}
_REASONS = {
    WalkFaultKind.NO_DESCRIPTOR: "the fetch of the descriptor at {:#x} aborted",
    WalkFaultKind.TRANSLATION: "the descriptor at {:#x} is not valid",
    WalkFaultKind.ADDRESS_SIZE: "the descriptor at {:#x} gives an address that is too large",
    WalkFaultKind.ACCESS_FLAG: "the descriptor at {:#x} has its access flag clear",
}


class TranslationPath:
    """Translates transactions for one SMMU and counts TLB hits, misses and table walks.

    ``active`` is the configuration cache's contexts while SMMUEN is 1 and an empty dictionary
    otherwise, so that the hot path need not ask. ``report`` is told of every fault.
    """

    def __init__(
        self,
        registers: RegisterFile,
        configuration: ConfigurationCache,
        tlb: Tlb,
        port: MemoryPort,
        report: Callable[[Fault], None],
    ) -> None:
        self.registers = registers
        self.configuration = configuration
        self.tlb = tlb
        self.port = port
        self.report = report
        self.active = _NO_CONTEXTS
        self.hits = 0
        self.misses = 0
        self.walks = 0

    def enable(self, enabled: bool) -> None:
        """Follow CR0.SMMUEN. Caches keep what they hold. Spec: 6.3.9.6."""
        self.active = self.configuration.contexts if enabled else _NO_CONTEXTS

    def translate(self, transaction: Transaction) -> Translation | Fault:
        """Translate one access; a Fault has been reported when this returns."""
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
            iova = _untagged(iova, context.tbi)
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
            return Translation(entry.page | iova & entry.mask, entry.size_lg2, entry.attributes)
        return self._told(_permission_fault(transaction, context, entry, iova, kind))

    def _told(self, fault: Fault) -> Fault:
        self.report(fault)
        return fault

    # -- without a cached context

    def _find_context(self, transaction: Transaction) -> Context | Translation | Fault:
        """Fetch the configuration; a result at once where nothing is to be translated."""
        if not self.registers.values["CR0ACK"] & 1:
            result = self._bypass_disabled(transaction)
            return self._told(result) if isinstance(result, Fault) else result
        context = self.configuration.lookup(transaction, self._cd_address)
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
        return self._bypass(transaction, passed, "SMMUEN is 0")

    def _bypass(
        self, transaction: Transaction, passed: Attributes, reason: str
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
            kind=transaction.kind,
            recorded=enabled,
            reason=f"{reason} and the address is beyond OAS",
        )

    # -- TLB misses

    def _miss(
        self, transaction: Transaction, context: Context, iova: int, kind: int
    ) -> Translation | Fault:
        """No entry: streams that translate nothing never have one, the others walk."""
        if context.bypass:
            reason = "the STE bypasses both stages"
            result = self._bypass(transaction, context.stream.incoming, reason)
            return self._told(result) if isinstance(result, Fault) else result
        if context.aborts:
            reason = "STE.Config aborts the stream"
            return self._told(Fault(0, transaction, recorded=False, reason=reason))
        self.misses += 1
        entry = self._make_entry(transaction, context, iova, kind)
        if isinstance(entry, Fault):
            return self._told(entry)
        if not entry.allowed >> kind & 1:
            return self._told(_permission_fault(transaction, context, entry, iova, kind))
        return Translation(entry.page | iova & entry.mask, entry.size_lg2, entry.attributes)

    def _make_entry(
        self, transaction: Transaction, context: Context, iova: int, kind: int
    ) -> Entry | Fault:
        """Walk, and cache what was found. An entry that refuses this access is cached as well."""
        stage1, stage2 = context.stage1, context.stage2
        if stage1 is None:
            assert stage2 is not None
            return self._stage2_only(transaction, stage2, iova, kind)
        root = stage1.halves[iova >> 55 & 1]
        if root is None or not _in_range(root, iova):
            reason = "EPD forbids walks of this half" if root is None else "outside TxSZ's range"
            return _stage1_refusal(EventCode.F_TRANSLATION, transaction, stage1, None, kind, reason)
        leaf = self._walk_stage1(transaction, stage1, stage2, root, iova, kind)
        if isinstance(leaf, Fault):
            return leaf
        if stage2 is None:
            entry = _stage1_entry(stage1, root, leaf, iova)
        else:
            if not leaf.allowed >> kind & 1:
                return _stage1_permission(transaction, stage1, leaf.level, kind)
            made = self._nested_entry(transaction, stage1, stage2, root, leaf, iova, kind)
            if isinstance(made, Fault):
                return made
            entry = made
        own = leaf.descriptor & NOT_GLOBAL
        self.tlb.insert(stage1.own if own else stage1.shared, entry)
        return entry

    # -- stage 1

    def _walk_stage1(
        self,
        transaction: Transaction,
        stage1: Stage1,
        stage2: Stage2 | None,
        root: Root,
        iova: int,
        kind: int,
    ) -> Leaf | Fault:
        self.walks += 1
        if stage2 is None:
            leaf = walk(self.port.read_u64, root, iova)
            if isinstance(leaf, Leaf):
                return leaf
            return _stage1_fault(transaction, stage1, leaf, kind, leaf.address)
        fetch = _NestedFetch(self, transaction, stage2, kind)
        leaf = walk(fetch, root, iova)
        if isinstance(leaf, Leaf):
            return leaf
        return fetch.fault or _stage1_fault(transaction, stage1, leaf, kind, fetch.pa)

    # -- stage 2

    def _stage2_only(
        self, transaction: Transaction, stage2: Stage2, ipa: int, kind: int
    ) -> Entry | Fault:
        if ipa >> self.registers.ids.input_bits:
            return Fault(
                EventCode.F_ADDR_SIZE,
                transaction,
                fetch_class=FetchClass.IN,
                kind=kind,
                reason="stage 1 is bypassed and the address is beyond IAS",
            )
        return self.stage2_entry(transaction, stage2, ipa, kind, FetchClass.IN)

    def stage2_entry(
        self,
        transaction: Transaction,
        stage2: Stage2,
        ipa: int,
        kind: int,
        fetch_class: FetchClass,
    ) -> Entry | Fault:
        """The stage-2 translation of ``ipa``, cached or walked for; permissions unjudged."""
        entry = stage2.space.find(ipa)
        if entry is not None:
            return entry
        if ipa >> stage2.root.input_bits:
            return _stage2_fault(
                EventCode.F_TRANSLATION,
                *(transaction, stage2, ipa, kind, fetch_class, None, "outside S2T0SZ's range"),
            )
        self.walks += 1
        leaf = walk(self.port.read_u64, stage2.root, ipa)
        if isinstance(leaf, WalkFault):
            reason = _REASONS[leaf.kind].format(leaf.address)
            code = _WALK_EVENTS[leaf.kind]
            fault = _stage2_fault(
                code, transaction, stage2, ipa, kind, fetch_class, leaf.level, reason
            )
            if leaf.kind is WalkFaultKind.NO_DESCRIPTOR:
                return fault._replace(address=leaf.address, recorded=True)
            return fault
        base = ipa & -(1 << leaf.size_lg2)
        passed = attributes.through_stage2(stage2.incoming, leaf.descriptor, forced=stage2.forced)
        geometry = (leaf.level, stage2.root.granule_lg2, leaf.size_lg2, base, leaf.level)
        entry = Entry(base, leaf.size_lg2, leaf.page, ALL_KINDS, leaf.allowed, passed, *geometry)
        entry.stage2_descriptor = leaf.descriptor
        self.tlb.insert(stage2.space, entry)
        return entry

    def read_through_stage2(
        self,
        transaction: Transaction,
        stage2: Stage2,
        ipa: int,
        kind: int,
        fetch_class: FetchClass,
    ) -> int | Fault:
        """Physical address of a table or CD at ``ipa``, if stage 2 lets the SMMU read it.

        Spec: 7.3.13 (CLASS), 5.2 S2PTW (tables must not be in Device memory).
        """
        entry = self.stage2_entry(transaction, stage2, ipa, kind, fetch_class)
        if isinstance(entry, Fault):
            return entry
        device = stage2.protect_walks and attributes.is_stage2_device(
            entry.stage2_descriptor, forced=stage2.forced
        )
        if device or not entry.allowed_stage2 >> _READ & 1:
            reason = "S2PTW and the table is in Device memory" if device else "S2AP forbids reads"
            level = entry.stage2_level
            return _stage2_fault(
                EventCode.F_PERMISSION, transaction, stage2, ipa, kind, fetch_class, level, reason
            )
        return entry.page | ipa & entry.mask

    def _cd_address(self, stream: Stream, transaction: Transaction, pointer: int) -> int | Fault:
        if stream.stage2 is None:
            return pointer
        kind = stream.kinds[transaction.kind]
        return self.read_through_stage2(transaction, stream.stage2, pointer, kind, FetchClass.CD)

    # -- both stages

    def _nested_entry(
        self,
        transaction: Transaction,
        stage1: Stage1,
        stage2: Stage2,
        root: Root,
        leaf: Leaf,
        iova: int,
        kind: int,
    ) -> Entry | Fault:
        """One entry for both stages, as large as the smaller of their pages."""
        ipa = leaf.page | iova & (1 << leaf.size_lg2) - 1
        second = self.stage2_entry(transaction, stage2, ipa, kind, FetchClass.IN)
        if isinstance(second, Fault):
            return second
        size_lg2 = min(leaf.size_lg2, second.size_lg2)
        pa = second.page | ipa & second.mask
        combined = attributes.through_stage2(
            stage1.attributes[attributes.index(leaf.descriptor)],
            second.stage2_descriptor,
            forced=stage2.forced,
        )
        geometry = (leaf.level, root.granule_lg2, leaf.size_lg2)
        return Entry(
            iova & -(1 << size_lg2),
            size_lg2,
            pa & -(1 << size_lg2),
            leaf.allowed,
            second.allowed_stage2,
            combined,
            *geometry,
            ipa & -(1 << size_lg2),
            second.stage2_level,
        )


class _NestedFetch:
    """Reads stage-1 descriptors through stage 2; keeps the fault, or the last physical address."""

    def __init__(
        self, path: TranslationPath, transaction: Transaction, stage2: Stage2, kind: int
    ) -> None:
        self.path = path
        self.transaction = transaction
        self.stage2 = stage2
        self.kind = kind
        self.fault: Fault | None = None
        self.pa = 0

    def __call__(self, ipa: int) -> int | None:
        where = self.path.read_through_stage2(
            self.transaction, self.stage2, ipa, self.kind, FetchClass.TT
        )
        if isinstance(where, Fault):
            self.fault = where
            return None
        self.pa = where
        return self.path.port.read_u64(where)


# -- small pieces


def _untagged(iova: int, tbi: int) -> int:
    """The address without its tag: bit 55 picks the half and fills the top byte. Spec: 3.4.1."""
    if iova >> 55 & 1:
        return iova | _TOP_BYTE if tbi & 2 else iova
    return iova & ~_TOP_BYTE if tbi & 1 else iova


def _in_range(root: Root, iova: int) -> bool:
    """Whether all bits above TxSZ's range equal bit 55."""
    top = iova >> root.input_bits
    return top == (_VA_MASK >> root.input_bits if iova >> 55 & 1 else 0)


def _stage1_entry(stage1: Stage1, root: Root, leaf: Leaf, iova: int) -> Entry:
    page, size_lg2, level, allowed, descriptor, _ = leaf
    return Entry(
        iova & -(1 << size_lg2),
        size_lg2,
        page,
        allowed,
        ALL_KINDS,
        stage1.attributes[attributes.index(descriptor)],
        level,
        root.granule_lg2,
        size_lg2,
    )


def _stage1_fault(
    transaction: Transaction, stage1: Stage1, stop: WalkFault, kind: int, fetch_address: int
) -> Fault:
    """A stage-1 walk that ended early; only aborted fetches have CLASS TT. Spec: 7.3.12-15."""
    aborted = stop.kind is WalkFaultKind.NO_DESCRIPTOR
    return Fault(
        _WALK_EVENTS[stop.kind],
        transaction,
        stage=1,
        level=stop.level,
        fetch_class=FetchClass.TT if aborted else FetchClass.IN,
        address=fetch_address if aborted else 0,
        kind=kind,
        recorded=aborted or stage1.record,
        reason=_REASONS[stop.kind].format(stop.address),
    )


def _stage2_fault(
    code: EventCode,
    transaction: Transaction,
    stage2: Stage2,
    ipa: int,
    kind: int,
    fetch_class: FetchClass,
    level: int | None,
    reason: str,
) -> Fault:
    return Fault(
        code,
        transaction,
        stage=2,
        level=level,
        fetch_class=fetch_class,
        address=ipa,
        kind=kind,
        recorded=stage2.record,
        reason=reason,
    )


def _stage1_refusal(
    code: EventCode,
    transaction: Transaction,
    stage1: Stage1,
    level: int | None,
    kind: int,
    reason: str,
) -> Fault:
    """A stage-1 fault of the access itself, not of a fetch for it."""
    return Fault(
        code,
        transaction,
        stage=1,
        level=level,
        fetch_class=FetchClass.IN,
        kind=kind,
        recorded=stage1.record,
        reason=reason,
    )


def _stage1_permission(transaction: Transaction, stage1: Stage1, level: int, kind: int) -> Fault:
    reason = "stage 1 does not permit the access"
    return _stage1_refusal(EventCode.F_PERMISSION, transaction, stage1, level, kind, reason)


def _permission_fault(
    transaction: Transaction, context: Context, entry: Entry, iova: int, kind: int
) -> Fault:
    """F_PERMISSION of the first stage whose permissions do not allow the access. Spec: 7.3.16."""
    if context.stage1 is not None and not entry.allowed_stage1 >> kind & 1:
        return _stage1_permission(transaction, context.stage1, entry.level, kind)
    assert context.stage2 is not None
    return _stage2_fault(
        EventCode.F_PERMISSION,
        transaction,
        context.stage2,
        entry.ipa | iova & entry.mask,
        kind,
        FetchClass.IN,
        entry.stage2_level,
        "stage 2 does not permit the access",
    )
