# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of everything that an SMMU may have cached of its tables: from walk to invalidation.

`Translations` follows one SMMU's events. It compares what is held with memory when it is used, and
when commands take effect, and tells `Due` when something stale was left too long, `Early` when
something was used again too soon. Spec: IHI 0070 3.21.1, 4.4, 4.7.3, 16.2; DDI 0487 D8.16, D8.17.

What is legal and therefore not told: entries that are stale between the write and the CMD_SYNC;
accesses in flight meanwhile; wider permissions until somebody is refused; cleared access flags, of
which software may learn late; hardware's own updates; entries that no stream leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from smmu_emu.check.due import Due, Early, Why
from smmu_emu.check.fresh import NEEDS_BREAK, Difference, Outcome, difference, resolve
from smmu_emu.check.held import BEYOND, Held, Staleness, Tag, why_not
from smmu_emu.check.peek import Change, Peek, TableWatch
from smmu_emu.check.reach import Reach, roots_of
from smmu_emu.smmuv3.context import Context
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.trace.events import (
    Access,
    Event,
    Evict,
    Fill,
    Invalidation,
    Mapping,
    RegisterAccess,
    Sync,
    TableWrite,
    Update,
    Walk,
)
from smmu_emu.walk.long_descriptor import Root

_TABLE_BITS = 0xF800_FFFF_FFFF_F003
"""Of a table descriptor: type, address, hierarchical permissions."""
_MOST_OWNERS = 8


class Removed(NamedTuple):
    """Something stale that an invalidation dropped; its CMD_SYNC has not completed yet."""

    held: Held
    invalidation: Invalidation


class Translations:
    """Everything held of one SMMU's tables.

    ``stale`` is what differs from memory, in the order in which that was found out. ``due`` and
    ``early`` are told of defects, ``refilled`` of what was dropped for nothing. ``lazy`` is for
    drivers that defer invalidations on purpose.
    """

    def __init__(
        self,
        smmu: Smmuv3,
        peek: Peek,
        reach: Reach,
        due: Callable[[Due], None],
        early: Callable[[Early], None],
        refilled: Callable[[Invalidation, Fill], None],
        *,
        lazy: bool = False,
    ) -> None:
        self.refilled = refilled
        self.smmu = smmu
        self.peek = peek
        self.reach = reach
        self.due = due
        self.early = early
        self.lazy = lazy
        self.watch = TableWatch(peek)
        self.clear()

    def clear(self) -> None:
        """Forget everything, as a reset of the SMMU does."""
        self.entries: dict[int, Held] = {}
        self.others: dict[tuple[Tag, int, int], Held] = {}
        self.pointers: dict[tuple[Tag, int, int], Held] = {}
        self.tables: dict[int, list[Held]] = {}
        self.stale: dict[Held, None] = {}
        self.unsynced: list[Removed] = []
        self.unawaited: list[Removed] = []
        self._owners: dict[int, list[Held]] = {}
        self._idle: list[Event] = []
        self._writes: dict[int, TableWrite] = {}
        self._last_sync: Sync | None = None
        self.watch.clear()

    # -- what comes

    def fill(self, event: Fill) -> None:
        """A translation is cached. Pointers are followed by walks instead."""
        if event.what != "tlb":
            return
        context = self.reach.context(event.stream_id, event.substream_id)
        if context is None:
            return
        tag = (event.world, event.vmid, event.asid)
        words = self._words(event, context)
        held = Held(
            event.unit,
            tag,
            (event.stream_id, event.substream_id),
            event.base,
            event.size_lg2,
            event.page,
            event,
            context,
            words,
            number=event.entry,
            ipa=event.ipa,
            level=event.level,
            granule_lg2=event.granule_lg2,
        )
        self.entries[event.entry] = held
        other = self.others.pop((tag, event.size_lg2, event.base), None)
        if other is not None:
            if other.dropped_by is not None and other.page == held.page:
                self.refilled(other.dropped_by, event)
            self._forget(other)
        self._own(held)
        if self.stale or self.unsynced or self.unawaited:
            self._look_for_reuse(held, event)

    def _words(self, event: Fill, context: Context) -> dict[int, int]:
        """The descriptors behind an entry. With stage 2, some were read for others before."""
        found = event.descriptors
        if context.stage2 is None and found:
            return dict(zip(found[::2], found[1::2], strict=True))
        words: dict[int, int] = {}

        def fetch(pa: int) -> int | None:
            value = self.peek.word(pa)
            if value is not None:
                words[pa] = value
            return value

        resolve(context, event.world, event.base, fetch)
        return words

    def _own(self, held: Held) -> None:
        owners, watch = self._owners, self.watch
        for pa, value in held.words.items():
            watch.saw(pa, value)
            known = owners.get(pa)
            if known is None:
                owners[pa] = [held]
            else:
                if len(known) > _MOST_OWNERS:
                    known[:] = [one for one in known if one.alive]
                known.append(held)

    def walked(self, event: Walk) -> None:
        """Pointers to tables were followed."""
        reads, level = event.reads, event.level
        context = self.reach.context(event.stream_id, event.substream_id)
        if context is None or level is None or not reads:
            return
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
            root, tag = stage1.halves[event.iova >> 55 & 1], self.reach.stage1_tag(context)
        if root is not None:
            self._follow(event, context, root, tag, level - (len(reads) // 2 - 1))

    def _follow(self, event: Walk, context: Context, root: Root, tag: Tag, level: int) -> None:
        reads, iova = event.reads, event.iova
        stride = root.granule_lg2 - 3
        shift = root.granule_lg2 + stride * (3 - level)
        if level > root.start_level:
            self._shortened(event, tag, level - 1, iova >> shift + stride)
        else:
            self.tables.setdefault(reads[0] & -0x1000, [])
        for index in range(0, len(reads), 2):
            pa, value = reads[index], reads[index + 1]
            if level == 3 or value < 0 or value & 3 != 3:
                break
            key = (tag, level, iova >> shift)
            known = self.pointers.get(key)
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
        known = self.pointers.get(key)
        if known is not None and known.alive:
            self._judge(known, event)
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
        self.pointers[key] = held
        self._own(held)
        self._look_for_table(held, event)
        self.tables.setdefault(table, []).append(held)

    def _shortened(self, event: Walk, tag: Tag, level: int, prefix: int) -> None:
        """A walk began with a cached pointer, not with the root."""
        held = self.pointers.get((tag, level, prefix))
        if held is not None and held.alive:
            self._judge(held, event)
            if held.stale is not None:
                self._hit(held, event)

    # -- uses

    def accessed(self, event: Access) -> None:
        """An entry served an access, or refused it."""
        held = self.entries.get(event.entry)
        if held is None:
            return
        word = self.peek.word
        for pa, value in held.words.items():
            if word(pa) != value:
                self._judge(held, event)
                break
        context = self.reach.live(event.stream_id, event.substream_id)
        if context is not None and context is not held.context and held.stale is None:
            self._check_root(held, context, event)
        if held.stale is not None and _matters(held, context or held.context, event):
            self._hit(held, event)
        held.used = event

    def _check_root(self, held: Held, context: Context, event: Event) -> None:
        """An entry serves a context that it was not made under."""
        if _same_roots(context, held):
            return
        now = resolve(context, held.tag[0], held.base, self.peek.word)
        if difference(self._then(held), now) is not None:
            self._mark(held, Difference.ROOT, event)

    def _hit(self, held: Held, event: Event) -> None:
        stale = held.stale
        assert stale is not None
        if stale.hit is None:
            stale.hit = event
        if stale.synced is not None:
            self.due(Due(held, Why.USED, event))

    # -- comparing with memory

    def refresh(self, event: Event) -> None:
        """Find out what changed in tables since the last look, and what that made stale."""
        made = self.watch.made
        changes = self.watch.changes()
        if made or any(change.made for change in changes):
            for held in self.stale:
                stale = held.stale
                if stale is not None and stale.moved_on is None:
                    stale.moved_on = event
        for held in self._owners_of(changes):
            self._judge(held, event)
        for change in changes:
            if change.new and not change.new & 1:
                self._look_for_garbage(change, event)

    def _look_for_garbage(self, change: Change, event: Event) -> None:
        """Something that is no descriptor was written into a table that is not linked any more."""
        for held in tuple(self.tables.get(change.pa & -0x1000, ())):
            if held.alive and held.stale is not None:
                self.due(Due(held, Why.TABLE_REUSED, event))

    def _owners_of(self, changes: list[Change]) -> Iterator[Held]:
        seen: set[int] = set()
        for change in changes:
            for held in tuple(self._owners.get(change.pa, ())):
                if held.alive and id(held) not in seen:
                    seen.add(id(held))
                    yield held

    def _judge(self, held: Held, event: Event) -> None:
        """Compare what is held with what a walk would give now."""
        found = self._pointer_difference(held) if held.pointer else self._difference(held)
        if found is None:
            if held.stale is not None:
                held.stale = None
                self.stale.pop(held, None)
            if not held.pointer:
                held.words = {pa: self.peek.word(pa) or 0 for pa in held.words}
            return
        if held.stale is None or held.stale.difference is not found:
            self._mark(held, found, event)
        if found in NEEDS_BREAK and not self._may_resize(found):
            self.due(Due(held, Why.REPLACED, event))

    def _may_resize(self, found: Difference) -> bool:
        """IDR3.BBML 2: blocks may become pages, and pages blocks, in one write."""
        return found is Difference.RESIZED and self.smmu.ids.extras.BBML == 2

    def _mark(self, held: Held, found: Difference, event: Event) -> None:
        before = held.stale
        written = next((self._writes[pa] for pa in held.words if pa in self._writes), None)
        held.stale = stale = Staleness(found, event, written)
        if before is not None:
            stale.noticed, stale.synced, stale.left = before.noticed, before.synced, before.left
            stale.hit, stale.moved_on = before.hit, before.moved_on
        self.stale[held] = None

    def _then(self, held: Held) -> Outcome:
        if held.then is None:
            held.then = resolve(held.context, held.tag[0], held.base, held.words.get)
        return held.then

    def _difference(self, held: Held) -> Difference | None:
        then = self._then(held)
        if then.fault is not None:
            return None
        context = self.reach.user(held)
        if context is None:
            return None
        now = resolve(context, held.tag[0], held.base, self.peek.word)
        found = difference(then, now)
        if found is not None and not _same_roots(context, held):
            return Difference.ROOT
        return found

    def _pointer_difference(self, held: Held) -> Difference | None:
        context = self.reach.user(held)
        if context is None:
            return None
        if not _same_roots(context, held):
            return Difference.ROOT
        for pa, value in held.words.items():
            now = self.peek.word(pa) or 0
            if now & 3 != 3:
                return Difference.RESIZED if now & 1 else Difference.UNMAPPED
            if (now ^ value) & _TABLE_BITS:
                return Difference.MOVED
        return None

    # -- what goes

    def evicted(self, event: Evict) -> None:
        """An entry went by itself. Another SMMU might have kept it."""
        held = self.entries.pop(event.entry, None)
        if held is None:
            return
        if event.reason in ("reset", "update", "replaced"):
            self._forget(held)
        else:
            self._keep_as_possible(held)

    def invalidated(self, event: Invalidation) -> None:
        """An invalidation took effect."""
        if not event.command:
            for number in event.removed:  # an SMMU may forget what it likes
                held = self.entries.pop(number, None)
                if held is not None:
                    self._keep_as_possible(held)
            return
        self.refresh(event)
        reasons = dict(zip(event.left[::2], event.left[1::2], strict=True))
        found = False
        for number in event.removed:
            held = self.entries.pop(number, None)
            if held is not None:
                found = True
                self._drop(held, event)
        for held in tuple(self.stale):
            if not held.alive or held.stale is None:
                continue
            why = why_not(event, held)
            if held.number in self.entries:
                why = str(reasons.get(held.number, why))
            elif not why:
                found = True
                self._drop(held, event)
            if why and why != BEYOND:
                held.stale.left.append((event, why))
        if event.first is None:
            self._forget_unreachable(event)
        if not found:
            self._idle.append(event)

    def _forget_unreachable(self, event: Invalidation) -> None:
        """An invalidation of a whole space ends what nothing leads to any more."""
        for held in (*self.pointers.values(), *self.others.values()):
            reached = held.alive and held.stale is None and not why_not(event, held)
            if reached and not (self.smmu.path.active and self.reach.user(held)):
                self._forget(held)

    def _drop(self, held: Held, event: Invalidation) -> None:
        stale = held.stale
        if stale is None:
            if self.reach.user(held) is not None and self.smmu.path.active:
                held.dropped_by = event
                self._keep_as_possible(held)
            else:
                self._forget(held)
            return
        late = stale.synced is not None and stale.moved_on is not None
        if late and event.first is None and not self.lazy and _harms(held):
            self.due(Due(held, Why.SWEPT, event))
        self._forget(held)
        self.unsynced.append(Removed(held, event))

    def _keep_as_possible(self, held: Held) -> None:
        """It is gone, but its descriptors still say the same: it may be cached again any time."""
        held.number = 0
        key = (held.tag, held.size_lg2, held.base)
        other = self.others.get(key)
        if other is not None and other is not held:
            self._forget(other)
        self.others[key] = held

    def _forget(self, held: Held) -> None:
        held.alive = False
        held.number = 0
        self.stale.pop(held, None)
        key = (held.tag, held.size_lg2, held.base)
        if self.others.get(key) is held:
            del self.others[key]
        if held.pointer:
            users = self.tables.get(held.page)
            if users and held in users:
                users.remove(held)

    # -- moments of truth

    def synced(self, event: Sync) -> None:
        """A CMD_SYNC completed: what was invalidated before it is gone for good."""
        self.refresh(event)
        for held in tuple(self.stale):
            stale = held.stale
            if stale is None:
                continue
            stale.idle += self._idle
            if self.reach.user(held) is None:
                continue
            if stale.synced is None:
                stale.synced = event
            if stale.hit is not None:
                self.due(Due(held, Why.USED, event))
            elif _missed(held, self._idle):
                self.due(Due(held, Why.MISSED, event))
        self._idle.clear()
        self._check_unsynced(event)
        if event.signal in ("none", "sev"):
            self.unawaited = self.unsynced
        self.unsynced = []
        self._last_sync = event

    def _check_unsynced(self, event: Sync) -> None:
        """Descriptors that were made before the CMD_SYNC that follows their break."""
        for held, invalidation in self.unsynced:
            if held.pointer or self.reach.user(held) is None:
                continue
            now = resolve(held.context, held.tag[0], held.base, self.peek.word)
            if now.fault is None and difference(self._then(held), now) in NEEDS_BREAK:
                stale = held.stale
                if stale is not None and stale.difference is Difference.UNMAPPED:
                    self.early(Early(held, invalidation, Why.ADDRESS_REUSED, event, True))

    def register(self, event: RegisterAccess) -> None:
        """Software looks whether CMD_SYNC completed."""
        if self.unawaited and event.name == "CMDQ_CONS" and not event.write:
            self.unawaited = []

    def declared(self, event: Mapping) -> None:
        """Software says that addresses are not mapped any more: everything is due now."""
        if event.mapped:
            return
        self.refresh(event)
        last = event.iova + event.size - 1
        for held in tuple(self.stale):
            if held.overlaps(event.iova, last) and _declares(event, held) and _harms(held):
                self.due(Due(held, Why.DECLARED, event))
        for held, invalidation in self.unsynced:
            if held.overlaps(event.iova, last) and _declares(event, held):
                self.early(Early(held, invalidation, Why.DECLARED, event, True))

    def ended(self, event: Event) -> None:
        """The run ends."""
        self.refresh(event)
        for held in tuple(self.stale):
            stale = held.stale
            if stale is None or not _harms(held) or self.reach.user(held) is None:
                continue
            if stale.hit is not None or not self.lazy:
                self.due(Due(held, Why.END, event))

    # -- reuse

    def _look_for_reuse(self, held: Held, event: Fill) -> None:
        """A page, or an address, is in use again while something stale still leads there."""
        size = 1 << held.size_lg2
        for old in tuple(self.stale):
            stale = old.stale
            if stale is None or stale.synced is None or old.pointer or self.lazy:
                continue
            elsewhere = (old.tag, old.base) != (held.tag, held.base) and not _same_space(old, held)
            if _harms(old) and elsewhere and old.overlaps_page(held.page, size):
                self.due(Due(old, Why.PAGE_REUSED, event))
        self._reused_early(held, event, self.unsynced, awaited=True)
        self._reused_early(held, event, self.unawaited, awaited=False)

    def _reused_early(
        self, held: Held, event: Fill, removed: list[Removed], *, awaited: bool
    ) -> None:
        if awaited and not self.smmu.commands.queue.empty:
            return  # its CMD_SYNC may well be among what waits there
        size = 1 << held.size_lg2
        for old, invalidation in removed:
            if old.pointer or old.stale is None or not _harms(old):
                continue
            if old.tag == held.tag and old.overlaps(held.base, held.last):
                if held.page - held.base != old.page - old.base:
                    self.early(Early(old, invalidation, Why.ADDRESS_REUSED, event, awaited))
            elif old.overlaps_page(held.page, size) and not _same_space(old, held):
                self.early(Early(old, invalidation, Why.PAGE_REUSED, event, awaited))

    def _look_for_table(self, held: Held, event: Walk) -> None:
        """A table is in use while something stale still points to it as another one."""
        for old in tuple(self.tables.get(held.page, ())):
            if old is held or not old.alive or (old.level, old.base) == (held.level, held.base):
                continue
            self._judge(old, event)
            if old.stale is not None and self.reach.user(old) is not None:
                self.due(Due(old, Why.TABLE_REUSED, event))

    # -- writes that somebody watched

    def updated(self, event: Update) -> None:
        """Hardware wrote a descriptor: what is held of it knows."""
        self.watch.saw(event.pa, event.new)

    def wrote(self, event: TableWrite) -> None:
        """Software wrote a descriptor."""
        self._writes[event.pa & -8] = event


def _same_roots(context: Context, held: Held) -> bool:
    """Whether a context's translations under a tag come from the tables that something is from."""
    if context is held.context:
        return True
    return roots_of(context, held.tag) == roots_of(held.context, held.tag)


def _harms(held: Held) -> bool:
    """Whether a stale entry lets something pass that should not."""
    stale = held.stale
    return stale is not None and stale.difference not in (Difference.WIDENED, Difference.AGED)


def _matters(held: Held, context: Context, event: Access) -> bool:
    """Whether an access was answered otherwise than a fresh walk would answer it."""
    stale = held.stale
    assert stale is not None
    if stale.difference is Difference.AGED:
        return False
    if stale.difference is Difference.WIDENED:
        return event.fault == "F_PERMISSION"
    if stale.difference is Difference.NARROWED:
        return event.pa is not None and event.write
    return event.pa is not None


def _missed(held: Held, idle: list[Event]) -> bool:
    """Whether an invalidation that found nothing named just the addresses of something stale."""
    stale = held.stale
    assert stale is not None
    if not _harms(held):
        return False
    if held.pointer:
        return any(why == "leaf-only" for _, why in stale.left)
    return any(event in idle for event, _ in stale.left)


def _declares(event: Mapping, held: Held) -> bool:
    if event.stream_id is not None:
        return event.stream_id == held.stream_id
    _, vmid, asid = held.tag
    return (event.vmid or 0) == vmid and (event.asid is None or event.asid == asid)


def _same_space(one: Held, other: Held) -> bool:
    """Whether two entries are the two sides of one nested translation."""
    nested = {one.tag[0], other.tag[0]} == {"S2", "EL1_NESTED"}
    return nested and one.tag[1] == other.tag[1]


__all__ = ["Removed", "Translations"]
