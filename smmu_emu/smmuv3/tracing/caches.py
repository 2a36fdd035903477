# SPDX-License-Identifier: GPL-2.0-or-later
"""Caches of translations under trace: what is filled, and what goes without being invalidated.

Spec: IHI 0070 16.2. It hangs on `Tlb.insert`, `drop` and `clear` alone, so whoever has a policy of
caching is seen if it calls those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from smmu_emu.smmuv3.context import Context, Tag
from smmu_emu.tlb import Entry, Space, Tlb
from smmu_emu.trace.events import Evict, Fill
from smmu_emu.transaction import Fault, Transaction

if TYPE_CHECKING:
    from smmu_emu.smmuv3.tracing.unit import Place, UnitTracing

_KINDS = ("access", "fill", "evict", "invalidation")
_STREAM_ID = 0xFFFF_FFFF


def _is_same(one: Transaction | None, other: Transaction) -> bool:
    """Whether a walk is for the access under way."""
    return one is None or (one.stream_id, one.iova, one.substream_id) == (
        other.stream_id,
        other.iova,
        other.substream_id,
    )


class CacheTracing:
    """Tells of the TLB, or of the cache of table pointers (``what`` is as in `Fill`).

    ``made`` is the number of the entry that the last miss made.
    """

    unsaved = ("unit", "tlb", "what", "made", "_inserting", "clearing")

    def __init__(self, unit: UnitTracing, cache: Tlb, what: str) -> None:
        self.unit = unit
        self.tlb = cache
        self.what = what
        self.made = 0
        self._inserting: tuple[Entry, Entry | None] | None = None
        self.clearing = False

    def places(self) -> Iterator[Place]:
        tracer = self.unit.tracer
        if tracer.wants(*_KINDS):
            yield self.tlb, "insert", self._insert
            yield self.tlb, "drop", self._drop
            yield self.tlb, "clear", self._clear
            if self.what == "tlb":
                yield self.unit.smmu.stages, "make_entry", self._make_entry

    def tell_cached(self) -> None:
        """Number what is cached and has none, and tell of it as though it were filled now."""
        unit = self.unit
        if not unit.tracer.wants(*_KINDS):
            return
        self.tlb.settle()
        users: dict[Space, Transaction] = {}
        for key, context in unit.smmu.configuration.contexts.items():
            user = Transaction(key & _STREAM_ID, 0, substream_id=(key >> 32) - 1)
            if not key >> 32:
                user = user._replace(substream_id=None)
            if context.stage2 is not None:
                users[context.stage2.space] = user
            if context.stage1 is not None:
                users[context.stage1.own] = users[context.stage1.shared] = user
        for space in self.tlb.spaces.values():
            for entry in space.entries():
                if entry in unit.entries:
                    continue
                unit.entries[entry] = unit.next_number()
                unit.incoming = users.get(space)
                self._tell_fill(space, entry)
        unit.incoming = None

    # -- coming

    def _make_entry(
        self, make: Callable[[Transaction, Context, int, int], Entry | Fault]
    ) -> Callable[[Transaction, Context, int, int], Entry | Fault]:
        def observed(
            transaction: Transaction, context: Context, iova: int, kind: int
        ) -> Entry | Fault:
            unit = self.unit
            unit.walks.begin()
            outer = unit.incoming, unit.access, self.made
            unit.incoming, self.made = transaction, 0
            if not _is_same(outer[0], transaction):
                unit.access = 0  # a guess, while another access is under way
            try:
                made = make(transaction, context, iova, kind)
                number = unit.entries.get(made, self.made) if isinstance(made, Entry) else 0
            finally:
                speculative = unit.access != outer[1]
                unit.incoming, unit.access, self.made = outer
            if not speculative:
                self.made = number
            return made

        return observed

    def _insert(self, insert: Callable[[Space, Entry], None]) -> Callable[[Space, Entry], None]:
        def observed(space: Space, entry: Entry) -> None:
            unit = self.unit
            old = space.pages(entry.size_lg2).get(entry.base >> entry.size_lg2)
            number = self.made = unit.entries[entry] = unit.next_number()
            outer, self._inserting = self._inserting, (entry, old)
            try:
                insert(space, entry)
            finally:
                self._inserting = outer
            self._tell_fill(space, entry)
            if entry.space is None:  # whoever has a policy did not keep it
                unit.entries.pop(entry, None)
                unit.walks.behind.pop(entry, None)
                self._tell_evict(number, "policy")

        return observed

    def _tell_fill(self, space: Space, entry: Entry) -> None:
        unit = self.unit
        tag = space.tag
        if not unit.tracer.wants("fill") or not isinstance(tag, Tag):
            return
        incoming = unit.incoming
        unit.tracer.emit(
            Fill(
                *unit.head(),
                unit.access,
                unit.entries[entry],
                self.what,
                tag.world.name,
                tag.vmid,
                tag.asid,
                incoming.stream_id if incoming is not None else 0,
                incoming.substream_id if incoming is not None else None,
                entry.base,
                entry.size_lg2,
                entry.page,
                entry.ipa,
                entry.allowed,
                entry.level,
                entry.granule_lg2,
                unit.walks.keep_behind(entry, tag.world),
            )
        )

    # -- going

    def _drop(self, drop: Callable[[Entry], None]) -> Callable[[Entry], None]:
        def observed(entry: Entry) -> None:
            number = self.unit.entries.get(entry, 0)
            inserting = self._inserting
            if inserting is not None and entry is inserting[0]:
                drop(entry)
                return
            reason = self._reason(entry)
            drop(entry)
            if entry.space is None and number:
                del self.unit.entries[entry]
                self.unit.walks.behind.pop(entry, None)
                if not self.unit.invalidations.note(number):
                    self._tell_evict(number, reason)

        return observed

    def _reason(self, entry: Entry) -> str:
        """Why an entry goes without being invalidated."""
        if self.clearing:
            return "reset"
        if self._inserting is not None:
            if entry is self._inserting[1]:
                return "replaced"
            return "capacity" if len(self.tlb._age) >= self.tlb.capacity else "policy"
        return "update" if entry.clean and self.unit.incoming is not None else "policy"

    def _tell_evict(self, number: int, reason: str) -> None:
        unit = self.unit
        if unit.tracer.wants("evict"):
            unit.tracer.emit(Evict(*unit.head(), number, reason))

    def _clear(self, clear: Callable[[], None]) -> Callable[[], None]:
        def observed() -> None:
            self.clearing = True
            try:
                clear()
            finally:
                self.clearing = False

        return observed
