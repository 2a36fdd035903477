# SPDX-License-Identifier: GPL-2.0-or-later
"""Table walks of both stages, descriptor by descriptor, and the descriptors that hardware writes.

Spec: IHI 0070 3.3.2, 3.13. A walk of stage 1 through stage 2 is told of after the walks of stage 2
that its own descriptors needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from smmu_emu.interpose import Function
from smmu_emu.smmuv3.context import Stage1, Stage2
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.tlb import Entry
from smmu_emu.trace.events import Update, Walk
from smmu_emu.transaction import Fault, Transaction
from smmu_emu.walk.long_descriptor import Leaf, Root, WalkFault

if TYPE_CHECKING:
    from smmu_emu.smmuv3.tracing.unit import Place, UnitTracing

ABORTED = -1
"""The value of a descriptor whose fetch was aborted."""

CACHE_KINDS = (
    *("access", "walk", "fill", "evict", "invalidation", "config-invalidation", "update"),
    "config-fetch",
)
"""Kinds that need to know what happens to single translations: batches are taken apart for them."""


class WalkTracing:
    """Tells of walks and updates; ``descriptors`` are those read in the access under way."""

    def __init__(self, unit: UnitTracing) -> None:
        self.unit = unit
        self.descriptors: list[int] = []
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
        if tracer.wants("update"):
            yield stages.port, "write_u64", self._write
            yield stages, "_update_stage2", self._update_stage2

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
            outer, self._reads = self._reads, []
            result = walk(transaction, stage1, stage2, root, iova, kind)
            reads, self._reads = self._reads, outer
            if self._wanted:
                if isinstance(result, Fault):
                    self._tell(transaction, 1, iova, reads, result.level, None, result)
                else:
                    self._tell(transaction, 1, iova, reads, result.level, result.page, None)
            return result

        return observed

    def _walk_stage2(self, walk: Callable[..., Entry | Fault]) -> Callable[..., Entry | Fault]:
        def observed(transaction: Transaction, stage2: Stage2, ipa: int, *rest: Any) -> Any:
            outer, self._reads = self._reads, []
            result = walk(transaction, stage2, ipa, *rest)
            reads, self._reads = self._reads, outer
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
