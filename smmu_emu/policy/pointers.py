# SPDX-License-Identifier: GPL-2.0-or-later
"""Pointers to tables are cached: walks begin below what was read before.

Spec: IHI 0070 3.21.1 (walk caches are invalidated as on a PE), 4.4 (Leaf), 16.2 and 16.2.1
(combined caches), 4.3.1 and 4.3.3 (Leaf, L1STDs and L1CDs); DDI 0487 D8.17. Pointers are found by
input address under the ASID and VMID of their walk; with nested stages they may lead past stage 2,
and then invalidation by IPA leaves them. Only pointers that could be followed are cached.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from smmu_emu.policy.base import Policy
from smmu_emu.policy.sizes import Walk
from smmu_emu.smmuv3.context import Stage1, Stage2
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.stages import NestedFetch
from smmu_emu.tlb import Space, TablePointer
from smmu_emu.transaction import Transaction
from smmu_emu.walk.long_descriptor import Fetch, Leaf, Root, WalkFault, allowed_by

_SPAN = 0x1F
_VALID = 1


class TablePointers(Policy):
    """Table descriptors of both stages, and level-1 descriptors of streams and substreams."""

    name = "table-pointers"
    summary = "cache table descriptors, L1STDs and L1CDs; invalidations with Leaf leave them"

    def __init__(self, smmu: Smmuv3, random: Random) -> None:
        super().__init__(smmu, random)
        self.level1: dict[_Level1Key, _Level1] = {}
        self._space: Space | None = None
        self._stage2: Stage2 | None = None

    def install(self) -> None:
        """Walk from where a pointer leads, and note those that are read."""
        stages, configuration = self.smmu.stages, self.smmu.configuration
        self.stand_before(stages, "_walk_stage1", self._walk_stage1)
        self.stand_before(stages, "walk_stage2", self._walk_stage2)
        self.stand_before(stages, "walk", self._walk)
        self.stand_before(configuration, "read_level1", self._read_level1)
        self.stand_before(configuration, "drop_ste", self._drop_ste)
        self.stand_before(configuration, "drop_ste_range", self._drop_ste_range)
        self.stand_before(configuration, "drop_cds", self._drop_cds)
        self.stand_before(configuration, "drop_cd", self._drop_cd)

    def remove(self) -> None:
        """Nobody looks into the walk cache any more."""
        super().remove()
        self.smmu.walk_cache.clear()

    def reset(self) -> None:
        """Nothing is cached."""
        self.level1.clear()

    # -- walks

    def _walk_stage1(self, walk: Callable[..., Any]) -> Callable[..., Any]:
        def under_tag(
            transaction: Transaction, stage1: Stage1, stage2: Stage2 | None, *rest: Any
        ) -> Any:
            outer = self._space, self._stage2
            self._space, self._stage2 = self.smmu.walk_cache.space(stage1.own.tag), stage2
            try:
                return walk(transaction, stage1, stage2, *rest)
            finally:
                self._space, self._stage2 = outer

        return under_tag

    def _walk_stage2(self, walk: Callable[..., Any]) -> Callable[..., Any]:
        def under_tag(transaction: Transaction, stage2: Stage2, *rest: Any) -> Any:
            outer = self._space, self._stage2
            self._space, self._stage2 = self.smmu.walk_cache.space(stage2.space.tag), None
            try:
                return walk(transaction, stage2, *rest)
            finally:
                self._space, self._stage2 = outer

        return under_tag

    def _walk(self, walk: Walk) -> Walk:
        def shorter(fetch: Fetch, root: Root, address: int) -> Leaf | WalkFault:
            space = self._space
            if space is None:
                return walk(fetch, root, address)
            pointer = _deepest(space, root, address)
            start = root if pointer is None else _below(root, pointer)
            log = _Log(fetch, start, pointer)
            leaf = walk(log, start, address)
            # Outer walks of stage 1 get here after those of stage 2 that they needed.
            self._note(space, root, address, log)
            if pointer is None or isinstance(leaf, WalkFault):
                return leaf
            tables = leaf.tables | pointer.tables & root.hierarchical
            return leaf._replace(allowed=allowed_by(root, leaf.descriptor, tables), tables=tables)

        return shorter

    def _note(self, space: Space, root: Root, address: int, log: _Log) -> None:
        """Cache the table descriptors that a walk has followed: all that it read but the last."""
        stride = root.granule_lg2 - 3
        tables = 0 if log.pointer is None else log.pointer.tables
        level = log.root.start_level
        for (_, descriptor, _), (where, _, pa) in zip(log.reads, log.reads[1:], strict=False):
            tables |= descriptor
            size_lg2 = root.granule_lg2 + stride * (3 - level)
            table = where & -(1 << root.granule_lg2)
            pointer = TablePointer(
                address & -(1 << size_lg2),
                size_lg2,
                table,
                level,
                root.granule_lg2,
                tables,
                self._behind(root, where, pa),
            )
            self.smmu.walk_cache.insert(space, pointer)
            level += 1

    def _behind(self, root: Root, where: int, pa: int | None) -> int | None:
        """Where a table of stage 1 is in memory, if one page of stage 2 holds it; half of the
        pointers know."""
        if self._stage2 is None or pa is None or self.random.random() < 0.5:
            return None
        found = self._stage2.space.find(where)
        if found is None or found.size_lg2 < root.granule_lg2:
            return None
        return pa & -(1 << root.granule_lg2)

    # -- level-1 descriptors of streams and substreams

    def _read_level1(self, read: Callable[..., int | None]) -> Callable[..., int | None]:
        def cached(address: int, stream_id: int | None, number: int, split: int) -> int | None:
            key = _Level1Key(stream_id, number)
            known = self.level1.get(key)
            if known is not None and known.split == split:
                return known.value
            value = read(address, stream_id, number, split)
            if value is not None and value & (_SPAN if stream_id is None else _VALID):
                self.level1[key] = _Level1(value, split)
            return value

        return cached

    def _forget(self, matches: Callable[[_Level1Key, _Level1], bool]) -> None:
        for key in [key for key, level1 in self.level1.items() if matches(key, level1)]:
            del self.level1[key]

    def _drop_ste(self, drop: Callable[..., None]) -> Callable[..., None]:
        def also(stream_id: int, *, leaf: bool = False) -> None:
            if not leaf:
                self._forget(
                    lambda key, level1: (
                        key.stream_id is None and key.number == stream_id >> level1.split
                    )
                )
            drop(stream_id, leaf=leaf)

        return also

    def _drop_ste_range(self, drop: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def reached(first: int, count: int, key: _Level1Key, level1: _Level1) -> bool:
            if key.stream_id is not None:
                return first <= key.stream_id < first + count
            start = key.number << level1.split
            return start < first + count and first < start + (1 << level1.split)

        def also(first: int, count: int) -> None:
            self._forget(lambda key, level1: reached(first, count, key, level1))
            drop(first, count)

        return also

    def _drop_cds(self, drop: Callable[[int], None]) -> Callable[[int], None]:
        def also(stream_id: int) -> None:
            self._forget(lambda key, _: key.stream_id == stream_id)
            drop(stream_id)

        return also

    def _drop_cd(self, drop: Callable[..., None]) -> Callable[..., None]:
        def also(stream_id: int, index: int, *, leaf: bool = False) -> None:
            if not leaf:
                self._forget(
                    lambda key, level1: (
                        key.stream_id == stream_id and key.number == index >> level1.split
                    )
                )
            drop(stream_id, index, leaf=leaf)

        return also


class _Level1Key(NamedTuple):
    """Which level-1 descriptor: an L1STD has no StreamID."""

    stream_id: int | None
    number: int


class _Level1(NamedTuple):
    """Its value, and the log2 of the entries it is for."""

    value: int
    split: int


class _Log:
    """Reads descriptors as ``fetch`` does, and keeps what was read: address, value, and where
    that was in memory if stage 2 translated the address."""

    __slots__ = ("behind", "fetch", "pointer", "reads", "root")

    def __init__(self, fetch: Fetch, root: Root, pointer: TablePointer | None) -> None:
        self.fetch = fetch
        self.root = root
        self.pointer = pointer
        self.behind = pointer.behind if pointer is not None else None
        self.reads: list[tuple[int, int, int | None]] = []

    def __call__(self, where: int) -> int | None:
        fetch = self.fetch
        behind, self.behind = self.behind, None
        if behind is not None and isinstance(fetch, NestedFetch):
            fetch.pa = behind + where - self.root.table
            value = fetch.read_u64(fetch.pa)
        else:
            value = fetch(where)
        if value is not None:
            pa = fetch.pa if isinstance(fetch, NestedFetch) else None
            self.reads.append((where, value, pa))
        return value


def _deepest(space: Space, root: Root, address: int) -> TablePointer | None:
    """The pointer that leaves the least to be walked."""
    best: TablePointer | None = None
    for size_lg2, pages in space.sizes:
        found = pages.get(address >> size_lg2)
        if not isinstance(found, TablePointer) or not _fits(found, root):
            continue
        if best is None or size_lg2 < best.size_lg2:
            best = found
    return best


def _fits(pointer: TablePointer, root: Root) -> bool:
    return pointer.granule_lg2 == root.granule_lg2 and pointer.level >= root.start_level


def _below(root: Root, pointer: TablePointer) -> Root:
    """Where a walk begins that has a pointer."""
    shift = pointer.size_lg2 - (root.granule_lg2 - 3)
    return root._replace(
        table=pointer.page,
        start_level=pointer.level + 1,
        start_shift=shift,
        input_mask=(1 << pointer.size_lg2) - 1,
    )
