# SPDX-License-Identifier: GPL-2.0-or-later
"""Table walks of both stages, descriptor by descriptor, and the descriptors that hardware writes.

Spec: IHI 0070 3.3.2, 3.13. A walk of stage 1 through stage 2 is told of after the walks of stage 2
that its own descriptors needed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any

from smmu_emu.interpose import Function
from smmu_emu.smmuv3.context import Stage1, Stage2, World
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.smmuv3.stages import NestedFetch
from smmu_emu.tlb import Entry, TablePointer
from smmu_emu.trace.events import Update, Walk
from smmu_emu.transaction import Fault, Transaction
from smmu_emu.walk.long_descriptor import Fetch, Leaf, Root, WalkFault

if TYPE_CHECKING:
    from smmu_emu.smmuv3.tracing.unit import Place, UnitTracing

ABORTED = -1
"""The value of a descriptor whose fetch was aborted."""

CACHE_KINDS = (
    *("access", "walk", "fill", "evict", "invalidation", "config-invalidation", "update"),
    "config-fetch",
)
"""Kinds that need to know what happens to single translations: batches are taken apart for them."""


_TABLE = 0x0000_FFFF_FFFF_F000
"""Where a descriptor has the address of the next table, but for bits above 48."""


def _size(pages: tuple[int, object]) -> int:
    return pages[0]


class WalkTracing:
    """Tells of walks and updates.

    ``descriptors`` are those behind what is being translated: read by now, or before for an entry
    of stage 2 or a pointer to a table that is used. ``behind`` keeps them for such entries.
    """

    unsaved = ("unit", "descriptors", "behind", "_used", "_begun", "_reads", "_stage", "_wanted")

    def __init__(self, unit: UnitTracing) -> None:
        self.unit = unit
        self.descriptors: list[int] = []
        self.behind: dict[Entry, tuple[int, ...]] = {}
        self._used: set[Entry] = set()
        self._begun: tuple[int, ...] = ()
        self._reads: list[int] = []
        self._stage = 1
        self._wanted = False

    def places(self) -> Iterator[Place]:
        tracer = self.unit.tracer
        stages = self.unit.smmu.stages
        self._wanted = tracer.wants("walk")
        if tracer.wants(*CACHE_KINDS):
            yield stages.port, "read_u64", self._read
        if tracer.wants("walk", "fill"):
            yield stages, "_walk_stage1", self._walk_stage1
            yield stages, "walk_stage2", self._walk_stage2
        if tracer.wants("fill"):
            yield stages, "walk", self._walk
            yield stages, "_stage2_entry", self._stage2_entry
        if tracer.wants("update"):
            yield stages.port, "write_u64", self._write
            yield stages, "_update_stage2", self._update_stage2

    def begin(self) -> None:
        """Something is translated from here on."""
        self.descriptors.clear()
        self._used.clear()

    def keep_behind(self, entry: Entry, world: World) -> tuple[int, ...]:
        """The descriptors behind an entry that is being filled, kept if others may build on it."""
        if isinstance(entry, TablePointer):
            flat = self._begun + self._as_far_as(entry)
        elif world is World.S2:
            flat = self._begun + tuple(self._reads)
        else:
            return tuple(self.descriptors)
        self.behind[entry] = flat
        return flat

    def _as_far_as(self, pointer: TablePointer) -> tuple[int, ...]:
        """What the walk under way has read, up to the descriptor that is a pointer's."""
        table = _TABLE & -(1 << pointer.granule_lg2)
        for index, value in enumerate(self._reads[1::2]):
            if value >= 0 and value & table == pointer.page:
                return tuple(self._reads[: 2 * index + 2])
        return tuple(self._reads)

    def _begin_below(self, tag: Hashable, root: Root, address: int) -> None:
        """A cached pointer to a table lets a walk begin below the root."""
        self._begun = ()
        space = self.unit.smmu.walk_cache.spaces.get(tag)
        for size_lg2, pages in sorted(space.sizes, key=_size) if space is not None else ():
            found = pages.get(address >> size_lg2)
            if found is not None and found.level >= root.start_level:
                self._begun = self.behind.get(found, ())
                self.descriptors += self._begun
                return

    def _walk(
        self, walk: Callable[[Fetch, Root, int], Leaf | WalkFault]
    ) -> Callable[[Fetch, Root, int], Leaf | WalkFault]:
        """Nested walks look for the tables' addresses among entries of stage 2."""

        def observed(fetch: Fetch, root: Root, address: int) -> Leaf | WalkFault:
            if isinstance(fetch, NestedFetch):
                find = fetch.find

                def noting(address: int) -> Entry | None:
                    entry = find(address)
                    self._use(entry)
                    return entry

                fetch.find = noting
            return walk(fetch, root, address)

        return observed

    def _stage2_entry(self, get: Callable[..., Entry | Fault]) -> Callable[..., Entry | Fault]:
        def observed(transaction: Transaction, stage2: Stage2, ipa: int, *rest: Any) -> Any:
            self._use(stage2.space.find(ipa))
            return get(transaction, stage2, ipa, *rest)

        return observed

    def _use(self, entry: Entry | None) -> None:
        if entry is not None and entry not in self._used:
            self._used.add(entry)
            self.descriptors += self.behind.get(entry, ())

    def _read(self, read_u64: Callable[[int], int | None]) -> Callable[[int], int | None]:
        def observed(pa: int) -> int | None:
            value = read_u64(pa)
            pair = (pa, ABORTED if value is None else value)
            self._reads += pair
            self.descriptors += pair
            return value

        return observed

    def _walk_stage1(self, walk: Callable[..., Leaf | Fault]) -> Callable[..., Leaf | Fault]:
        def observed(
            transaction: Transaction,
            stage1: Stage1,
            stage2: Stage2 | None,
            root: Root,
            iova: int,
            kind: int,
        ) -> Leaf | Fault:
            outer, self._reads = (self._reads, self._begun), []
            self._begin_below(stage1.own.tag, root, iova)
            result = walk(transaction, stage1, stage2, root, iova, kind)
            reads, (self._reads, self._begun) = self._reads, outer
            if self._wanted:
                if isinstance(result, Fault):
                    self._tell(transaction, 1, iova, reads, result.level, None, result)
                else:
                    self._tell(transaction, 1, iova, reads, result.level, result.page, None)
            return result

        return observed

    def _walk_stage2(self, walk: Callable[..., Entry | Fault]) -> Callable[..., Entry | Fault]:
        def observed(transaction: Transaction, stage2: Stage2, ipa: int, *rest: Any) -> Any:
            outer, self._reads = (self._reads, self._begun), []
            self._begin_below(stage2.space.tag, stage2.root, ipa)
            result = walk(transaction, stage2, ipa, *rest)
            reads, (self._reads, self._begun) = self._reads, outer
            if not isinstance(result, Fault):
                self._used.add(result)
            if self._wanted:
                if isinstance(result, Fault):
                    self._tell(transaction, 2, ipa, reads, result.level, None, result)
                else:
                    level = result.stage2_level
                    self._tell(transaction, 2, ipa, reads, level, result.page, None)
            return result

        return observed

    def _tell(
        self,
        transaction: Transaction,
        stage: int,
        iova: int,
        reads: list[int],
        level: int | None,
        page: int | None,
        fault: Fault | None,
    ) -> None:
        unit = self.unit
        unit.tracer.emit(
            Walk(
                *unit.head(),
                unit.access,
                transaction.stream_id,
                transaction.substream_id,
                stage,
                iova,
                tuple(reads),
                level,
                page,
                "" if fault is None or not fault.code else EventCode(fault.code).name,
            )
        )

    # -- hardware updates

    def _update_stage2(self, update: Function) -> Callable[..., Leaf | WalkFault]:
        def observed(*arguments: Any) -> Any:
            self._stage = 2
            try:
                return update(*arguments)
            finally:
                self._stage = 1

        return observed

    def _write(self, write_u64: Callable[[int, int], bool]) -> Callable[[int, int], bool]:
        def observed(pa: int, value: int) -> bool:
            unit = self.unit
            old = unit.smmu.memory.read_u64(pa)
            written = write_u64(pa, value)
            if written:
                incoming = unit.incoming
                stream_id = incoming.stream_id if incoming is not None else 0
                unit.tracer.emit(
                    Update(
                        *unit.head(),
                        unit.access,
                        stream_id,
                        self._stage,
                        pa,
                        ABORTED if old is None else old,
                        value,
                    )
                )
            return written

        return observed
