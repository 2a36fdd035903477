# SPDX-License-Identifier: GPL-2.0-or-later
"""Both stages of translation for a TLB miss: walks, hardware updates, combination, caching.

Spec: IHI 0070 3.3.2, 7.3.12 to 7.3.16 (faults), 16.2 (what may be cached), 3.13 (flags). The result
is an `Entry` whose permissions are not judged yet, or a Fault.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.port import MemoryPort
from smmu_emu.smmuv3 import attributes
from smmu_emu.smmuv3.context import Context, Stage1, Stage2, Stream
from smmu_emu.smmuv3.httu import is_clean, updated
from smmu_emu.smmuv3.ids import IdRegisters
from smmu_emu.smmuv3.spec.event import EventCode, FetchClass
from smmu_emu.tlb import Entry, Tlb
from smmu_emu.transaction import ALL_KINDS, PRIVILEGED, WRITE, Fault, Transaction
from smmu_emu.walk.long_descriptor import (
    NOT_GLOBAL,
    Fetch,
    Leaf,
    Root,
    WalkFault,
    WalkFaultKind,
    walk,
)

_VA_MASK = (1 << 64) - 1
_TABLE_READ = PRIVILEGED
_TABLE_WRITE = PRIVILEGED | WRITE
"""Kinds of the SMMU's own accesses to tables and CDs when stage 2 judges them."""

_EVENTS = {
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


class Stages:
    """Makes TLB entries by walking tables; ``walks`` counts the walks of both stages.

    Whoever walks in another way (`smmu_emu.policy`) stands before ``walk``.
    """

    def __init__(self, ids: IdRegisters, tlb: Tlb, port: MemoryPort) -> None:
        self.ids = ids
        self.tlb = tlb
        self.port = port
        self.walk: Callable[[Fetch, Root, int], Leaf | WalkFault] = walk
        self.walks = 0

    def make_entry(
        self, transaction: Transaction, context: Context, iova: int, kind: int
    ) -> Entry | Fault:
        """Translate ``iova`` (without tag) and cache the result, even if it refuses ``kind``."""
        stage1, stage2 = context.stage1, context.stage2
        if stage1 is None:
            assert stage2 is not None
            return self._stage2_only(transaction, stage2, iova, kind)
        root = stage1.halves[iova >> 55 & 1]
        if root is None or not _in_range(root, iova):
            reason = "EPD forbids walks of this half" if root is None else "outside TxSZ's range"
            return stage1_fault(EventCode.F_TRANSLATION, transaction, stage1, None, kind, reason)
        leaf = self._walk_stage1(transaction, stage1, stage2, root, iova, kind)
        if isinstance(leaf, Fault):
            return leaf
        if stage2 is None:
            entry = stage1_entry(stage1, root, leaf, iova)
        else:
            if not leaf.allowed >> kind & 1:
                return stage1_permission_fault(transaction, stage1, leaf.level, kind)
            made = self._nested_entry(transaction, stage1, stage2, root, leaf, iova, kind)
            if isinstance(made, Fault):
                return made
            entry = made
        if stage1.flags.dirty and is_clean(leaf, 1):
            entry.clean = True
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
        fetch = None
        if stage2 is None:
            leaf = self.walk(self.port.read_u64, root, iova)
        else:
            fetch = NestedFetch(self, transaction, stage2, kind)
            leaf = self.walk(fetch, root, iova)
        if isinstance(leaf, WalkFault):
            if fetch is not None and fetch.fault is not None:
                return fetch.fault
            where = leaf.address if fetch is None else fetch.pa
            return _stage1_walk_fault(transaction, stage1, leaf, kind, where)
        if not stage1.flags.access:
            return leaf
        return self._update_stage1(transaction, stage1, stage2, root, leaf, kind)

    def _update_stage1(
        self,
        transaction: Transaction,
        stage1: Stage1,
        stage2: Stage2 | None,
        root: Root,
        leaf: Leaf,
        kind: int,
    ) -> Leaf | Fault:
        """Set the flags that the access asks for; with stage 2 that is a write through it."""
        new = updated(leaf, root, stage1.flags, kind, 1)
        if new.descriptor == leaf.descriptor:
            return new
        where = leaf.address
        if stage2 is not None:
            found = self.through_stage2(
                transaction, stage2, leaf.address, kind, FetchClass.TT, write=True
            )
            if isinstance(found, Fault):
                return found
            where = found
        if not self.port.write_u64(where, new.descriptor):
            stop = WalkFault(WalkFaultKind.NO_DESCRIPTOR, leaf.level, where)
            return _stage1_walk_fault(transaction, stage1, stop, kind, where)
        return new

    # -- stage 2

    def _stage2_only(
        self, transaction: Transaction, stage2: Stage2, ipa: int, kind: int
    ) -> Entry | Fault:
        if ipa >> self.ids.input_bits:
            return Fault(
                EventCode.F_ADDR_SIZE,
                transaction,
                fetch_class=FetchClass.IN,
                kind=kind,
                reason="stage 1 is bypassed and the address is beyond IAS",
            )
        return self._stage2_entry(transaction, stage2, ipa, kind, kind, FetchClass.IN)

    def _stage2_entry(
        self,
        transaction: Transaction,
        stage2: Stage2,
        ipa: int,
        kind: int,
        need: int,
        fetch_class: FetchClass,
    ) -> Entry | Fault:
        """The stage-2 translation of ``ipa``, cached or walked for; permissions unjudged.

        ``need`` is the kind of the access to ``ipa``, ``kind`` that of the transaction behind it.
        """
        entry = stage2.space.find(ipa)
        if entry is not None:
            if entry.allowed >> need & 1 or not entry.clean:
                return entry
            self.tlb.drop(entry)
        return self.walk_stage2(transaction, stage2, ipa, kind, need, fetch_class)

    def walk_stage2(
        self,
        transaction: Transaction,
        stage2: Stage2,
        ipa: int,
        kind: int,
        need: int,
        fetch_class: FetchClass,
    ) -> Entry | Fault:
        """Walk for the stage-2 translation of ``ipa``, which is not cached, and cache it."""
        root = stage2.root
        if ipa >> root.input_bits:
            reason = "outside S2T0SZ's range"
            return stage2_fault(
                EventCode.F_TRANSLATION, transaction, stage2, ipa, kind, fetch_class, None, reason
            )
        self.walks += 1
        leaf = self.walk(self.port.read_u64, root, ipa)
        access, dirty = stage2.flags
        if access and isinstance(leaf, Leaf):
            leaf = self._update_stage2(stage2, leaf, need)
        if isinstance(leaf, WalkFault):
            return _stage2_walk_fault(transaction, stage2, leaf, ipa, kind, fetch_class)
        entry = _stage2_entry(stage2, leaf, ipa)
        if dirty:
            entry.clean = is_clean(leaf, 2)
        self.tlb.insert(stage2.space, entry)
        return entry

    def _update_stage2(self, stage2: Stage2, leaf: Leaf, need: int) -> Leaf | WalkFault:
        """Set the flags that an access of kind ``need`` asks for."""
        new = updated(leaf, stage2.root, stage2.flags, need, 2)
        if new.descriptor == leaf.descriptor or self.port.write_u64(leaf.address, new.descriptor):
            return new
        return WalkFault(WalkFaultKind.NO_DESCRIPTOR, leaf.level, leaf.address)

    def through_stage2(
        self,
        transaction: Transaction,
        stage2: Stage2,
        ipa: int,
        kind: int,
        fetch_class: FetchClass,
        *,
        write: bool = False,
    ) -> int | Fault:
        """Physical address of a table or CD at ``ipa``, if stage 2 lets the SMMU access it.

        Spec: 7.3.13 (CLASS), 5.2 S2PTW (tables must not be in Device memory).
        """
        need = _TABLE_WRITE if write else _TABLE_READ
        entry = self._stage2_entry(transaction, stage2, ipa, kind, need, fetch_class)
        if isinstance(entry, Fault):
            return entry._replace(table_write=write)
        device = stage2.protect_walks and attributes.is_stage2_device(
            entry.stage2_descriptor, forced=stage2.forced
        )
        if not device and entry.allowed_stage2 >> need & 1:
            return entry.page | ipa & entry.mask
        access = "writes" if write else "reads"
        reason = "S2PTW and the table is in Device memory" if device else f"S2AP forbids {access}"
        level = entry.stage2_level
        return stage2_fault(
            EventCode.F_PERMISSION, transaction, stage2, ipa, kind, fetch_class, level, reason
        )._replace(table_write=write)

    def cd_address(self, stream: Stream, transaction: Transaction, pointer: int) -> int | Fault:
        """Physical address of a CD or L1CD."""
        if stream.stage2 is None:
            return pointer
        kind = stream.kinds[transaction.kind]
        return self.through_stage2(transaction, stream.stage2, pointer, kind, FetchClass.CD)

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
        second = self._stage2_entry(transaction, stage2, ipa, kind, kind, FetchClass.IN)
        if isinstance(second, Fault):
            return second
        size_lg2 = min(leaf.size_lg2, second.size_lg2)
        pa = second.page | ipa & second.mask
        first = stage1.attributes[attributes.index(leaf.descriptor)]
        passed = attributes.stage2(first, stage2.forced)
        combined = passed[attributes.stage2_index(second.stage2_descriptor)]
        geometry = (leaf.level, root.granule_lg2, leaf.size_lg2)
        entry = Entry(
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
        entry.clean = second.clean
        return entry


class NestedFetch:
    """Reads stage-1 descriptors through stage 2; keeps the fault, or the last physical address.

    `Stages.through_stage2` says what is done here; this is its short way for what is permitted.
    """

    __slots__ = ("fault", "find", "kind", "pa", "read_u64", "stage2", "stages", "transaction")

    def __init__(self, stages: Stages, transaction: Transaction, stage2: Stage2, kind: int) -> None:
        self.stages = stages
        self.transaction = transaction
        self.stage2 = stage2
        self.kind = kind
        self.find = stage2.space.find
        self.read_u64 = stages.port.read_u64
        self.fault: Fault | None = None
        self.pa = 0

    def __call__(self, ipa: int) -> int | None:
        transaction, stage2, kind = self.transaction, self.stage2, self.kind
        entry = self.find(ipa)
        if entry is None:
            made = self.stages.walk_stage2(
                transaction, stage2, ipa, kind, _TABLE_READ, FetchClass.TT
            )
            if isinstance(made, Fault):
                self.fault = made
                return None
            entry = made
        if entry.allowed >> _TABLE_READ & 1 and not stage2.protect_walks:
            where: int | Fault = entry.page | ipa & entry.mask
        else:
            where = self.stages.through_stage2(transaction, stage2, ipa, kind, FetchClass.TT)
        if isinstance(where, Fault):
            self.fault = where
            return None
        self.pa = where
        return self.read_u64(where)


# -- entries


def stage1_entry(stage1: Stage1, root: Root, leaf: Leaf, iova: int) -> Entry:
    """The entry of a stage-1 leaf that translates ``iova``."""
    page, size_lg2, level, allowed, descriptor, _, _ = leaf
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


def _stage2_entry(stage2: Stage2, leaf: Leaf, ipa: int) -> Entry:
    page, size_lg2, level, allowed, descriptor, _, _ = leaf
    base = ipa & -(1 << size_lg2)
    passed = stage2.attributes[attributes.stage2_index(descriptor)]
    granule_lg2 = stage2.root.granule_lg2
    # fmt: off
    entry = Entry(
        base, size_lg2, page, ALL_KINDS, allowed, passed, level, granule_lg2, size_lg2, base, level
    )
    # fmt: on
    entry.stage2_descriptor = descriptor
    return entry


def _in_range(root: Root, iova: int) -> bool:
    """Whether all bits above TxSZ's range equal bit 55."""
    top = iova >> root.input_bits
    return top == (_VA_MASK >> root.input_bits if iova >> 55 & 1 else 0)


# -- faults


def stage1_fault(
    code: EventCode,
    transaction: Transaction,
    stage1: Stage1,
    level: int | None,
    kind: int,
    reason: str,
) -> Fault:
    """A stage-1 fault of the access itself, with what the CD wants done about it. Spec: 5.5."""
    return Fault(
        code,
        transaction,
        stage=1,
        level=level,
        fetch_class=FetchClass.IN,
        kind=kind,
        recorded=stage1.record,
        reason=reason,
        abort=stage1.abort,
        stall=stage1.stall,
    )


def stage1_permission_fault(
    transaction: Transaction, stage1: Stage1, level: int, kind: int
) -> Fault:
    """F_PERMISSION of stage 1. Spec: 7.3.16."""
    reason = "stage 1 does not permit the access"
    return stage1_fault(EventCode.F_PERMISSION, transaction, stage1, level, kind, reason)


def _stage1_walk_fault(
    transaction: Transaction, stage1: Stage1, stop: WalkFault, kind: int, where: int
) -> Fault:
    """A stage-1 walk that ended early; only aborted fetches have CLASS TT. Spec: 7.3.12-15."""
    reason = _REASONS[stop.kind].format(stop.address)
    fault = stage1_fault(_EVENTS[stop.kind], transaction, stage1, stop.level, kind, reason)
    if stop.kind is not WalkFaultKind.NO_DESCRIPTOR:
        return fault
    return fault._replace(
        fetch_class=FetchClass.TT, address=where, recorded=True, abort=True, stall=False
    )


def stage2_fault(
    code: EventCode,
    transaction: Transaction,
    stage2: Stage2,
    ipa: int,
    kind: int,
    fetch_class: FetchClass,
    level: int | None,
    reason: str,
) -> Fault:
    """A stage-2 fault, with what the STE wants done about it. Spec: 5.5."""
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
        stall=stage2.stall,
    )


def _stage2_walk_fault(
    transaction: Transaction,
    stage2: Stage2,
    stop: WalkFault,
    ipa: int,
    kind: int,
    fetch_class: FetchClass,
) -> Fault:
    reason = _REASONS[stop.kind].format(stop.address)
    fault = stage2_fault(
        _EVENTS[stop.kind], transaction, stage2, ipa, kind, fetch_class, stop.level, reason
    )
    if stop.kind is not WalkFaultKind.NO_DESCRIPTOR:
        return fault
    return fault._replace(address=stop.address, recorded=True, stall=False)


def permission_fault(
    transaction: Transaction, context: Context, entry: Entry, iova: int, kind: int
) -> Fault:
    """F_PERMISSION of the first stage whose permissions do not allow the access. Spec: 7.3.16."""
    if context.stage1 is not None and not entry.allowed_stage1 >> kind & 1:
        return stage1_permission_fault(transaction, context.stage1, entry.level, kind)
    assert context.stage2 is not None
    return stage2_fault(
        EventCode.F_PERMISSION,
        transaction,
        context.stage2,
        entry.ipa | iova & entry.mask,
        kind,
        FetchClass.IN,
        entry.stage2_level,
        "stage 2 does not permit the access",
    )
