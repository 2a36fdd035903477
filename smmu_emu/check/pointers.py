# SPDX-License-Identifier: GPL-2.0-or-later
"""Pointers to tables, as walks follow them: whatever was followed may be cached.

Spec: IHI 0070 3.21.1, 16.2; DDI 0487 D8.17. The emulated SMMU caches pointers only with a policy
that does; others may always, so every pointer counts as held until an invalidation that reaches it.
"""

from __future__ import annotations

from smmu_emu.check.due import Due, Why
from smmu_emu.check.held import Held, Tag
from smmu_emu.check.holdings import Holdings
from smmu_emu.smmuv3.context import Context
from smmu_emu.trace.events import Walk
from smmu_emu.walk.long_descriptor import Root

_CONTIGUOUS = 1 << 52


class Pointers:
    """Follows the walks of one SMMU."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    def walked(self, event: Walk) -> None:
        """Pointers to tables were followed."""
        reads, level = event.reads, event.level
        context = self._holdings.reach.context(event.stream_id, event.substream_id)
        if context is None or level is None or not reads:
            return
        reads = _path(reads)
        if event.stage == 2:
            stage2 = context.stage2
            if stage2 is None:
                return
            root: Root | None = stage2.root
            tag: Tag = ("S2", context.stream.vmid, None)
        else:
            stage1 = context.stage1
            if stage1 is None:
                return
            root, tag = (
                stage1.halves[event.iova >> 55 & 1],
                self._holdings.reach.stage1_tag(context),
            )
        if root is not None:
            first = level - (len(reads) // 2 - 1)
            self._follow(event, reads, context, root, tag, first)

    def _follow(
        self,
        event: Walk,
        reads: tuple[int, ...],
        context: Context,
        root: Root,
        tag: Tag,
        level: int,
    ) -> None:
        iova = event.iova
        stride = root.granule_lg2 - 3
        shift = root.granule_lg2 + stride * (3 - level)
        if level > root.start_level:
            self._shortened(event, tag, level - 1, iova >> shift + stride)
        else:
            self._holdings.tables.setdefault(reads[0] & -0x1000, [])
        for index in range(0, len(reads), 2):
            pa, value = reads[index], reads[index + 1]
            if level == 3 or value < 0 or value & 3 != 3:
                break
            key = (tag, level, iova >> shift)
            known = self._holdings.pointers.get(key)
            if known is None or known.words.get(pa) != value or not known.alive:
                self._point(event, context, key, pa, value, shift, root)
            level += 1
            shift -= stride

    def _point(
        self,
        event: Walk,
        context: Context,
        key: tuple[Tag, int, int],
        pa: int,
        value: int,
        shift: int,
        root: Root,
    ) -> None:
        known = self._holdings.pointers.get(key)
        if known is not None and known.alive:
            self._holdings.judge(known, event)
        tag, level, prefix = key
        table = value & root.table_mask | ((value & 0xF000) << 36 if root.wide else 0)
        held = Held(
            event.unit,
            tag,
            (event.stream_id, event.substream_id),
            prefix << shift,
            shift,
            table,
            event,
            context,
            {pa: value},
            level=level,
            granule_lg2=root.granule_lg2,
            pointer=True,
        )
        self._holdings.pointers[key] = held
        self._holdings.own(held)
        self._look_for_table(held, event)
        self._holdings.tables.setdefault(table, []).append(held)

    def _shortened(self, event: Walk, tag: Tag, level: int, prefix: int) -> None:
        """A walk began with a cached pointer, not with the root."""
        held = self._holdings.pointers.get((tag, level, prefix))
        if held is not None and held.alive:
            self._holdings.judge(held, event)
            if held.stale is not None:
                self._holdings.hit(held, event)

    def _look_for_table(self, held: Held, event: Walk) -> None:
        """A table is in use while something stale still points to it as another one."""
        for old in tuple(self._holdings.tables.get(held.page, ())):
            if old is held or not old.alive or (old.level, old.base) == (held.level, held.base):
                continue
            self._holdings.judge(old, event)
            if old.stale is not None and self._holdings.reach.user(old) is not None:
                self._holdings.due(Due(old, Why.TABLE_REUSED, event))


def _path(reads: tuple[int, ...]) -> tuple[int, ...]:
    """The descriptors on the way to the leaf, without those beside it that were read to see whether
    they are one run with it (the contiguous hint)."""
    last = reads[-2] & -0x1000
    for index in range(0, len(reads) - 2, 2):
        pa, value = reads[index], reads[index + 1]
        if pa & -0x1000 == last and value > 0 and value & _CONTIGUOUS:
            return reads[: index + 2]
    return reads
