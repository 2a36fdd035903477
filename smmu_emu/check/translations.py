# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of translations: from the walk to the invalidation and its CMD_SYNC.

`Translations` follows one SMMU's events. What is held is compared with memory when it is used, and
when commands take effect; `Due` tells of something stale that was left too long, `Early` of
something that was used again too soon. Spec: IHI 0070 3.21.1, 4.4, 4.7.3, 16.2; DDI 0487 D8.17.

Legal, and therefore not told: what is stale between the write and the CMD_SYNC that is due, and
accesses in flight meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.check.due import Due, Early, Why
from smmu_emu.check.fresh import NEEDS_BREAK, Difference, difference, resolve
from smmu_emu.check.held import BEYOND, Held, why_not
from smmu_emu.check.holdings import Holdings, harms, same_roots
from smmu_emu.check.peek import is_enabled
from smmu_emu.smmuv3.context import Context
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
)

_MOST_IDLE = 8


class Removed(NamedTuple):
    """Something stale that an invalidation dropped; its CMD_SYNC has not completed yet."""

    held: Held
    invalidation: Invalidation


class Translations:
    """Follows the translations of one SMMU; ``held`` is all that it may hold.

    ``early`` is told of what was used again too soon, ``refilled`` of what was dropped for nothing.
    ``lazy`` is for drivers that defer invalidations on purpose.
    """

    def __init__(
        self,
        holdings: Holdings,
        early: Callable[[Early], None],
        refilled: Callable[[Invalidation, Fill], None],
        *,
        lazy: bool = False,
    ) -> None:
        self.held = holdings
        self.smmu = holdings.smmu
        self.peek = holdings.peek
        self.reach = holdings.reach
        self.due = holdings.due
        self.early = early
        self.refilled = refilled
        self.lazy = lazy
        self.clear()

    def clear(self) -> None:
        """Forget everything, as a reset of the SMMU does."""
        self.held.clear()
        self.unsynced: list[Removed] = []
        self.unawaited: list[Removed] = []
        self._idle: list[Event] = []

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
        self.held.entries[event.entry] = held
        other = self.held.others.pop((tag, event.size_lg2, event.base), None)
        if other is not None:
            if other.words != words:
                self.held.judge(other, event)
            if other.dropped_by is not None and other.page == held.page:
                self.refilled(other.dropped_by, event)
            self.held.forget(other)
        self.held.own(held)
        if self.held.stale or self.unsynced or self.unawaited:
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

    # -- uses

    def accessed(self, event: Access) -> None:
        """An entry served an access, or refused it."""
        held = self.held.entries.get(event.entry)
        if held is None:
            return
        word = self.peek.word
        for pa, value in held.words.items():
            if word(pa) != value:
                self.held.judge(held, event)
                break
        context = self.reach.live(event.stream_id, event.substream_id)
        if context is not None and context is not held.context and held.stale is None:
            self.held.check_root(held, context, event)
        if held.stale is not None and _matters(held, context or held.context, event):
            self.held.hit(held, event)

    # -- what goes

    def evicted(self, event: Evict) -> None:
        """An entry went by itself. Another SMMU might have kept it."""
        held = self.held.entries.pop(event.entry, None)
        if held is None:
            return
        if event.reason in ("reset", "update", "replaced"):
            self.held.forget(held)
        else:
            self.held.keep_as_possible(held)

    def invalidated(self, event: Invalidation) -> None:
        """An invalidation took effect."""
        if not event.command:
            for number in event.removed:  # an SMMU may forget what it likes
                held = self.held.entries.pop(number, None)
                if held is not None:
                    self.held.keep_as_possible(held)
            return
        self.held.refresh(event)
        reasons = dict(zip(event.left[::2], event.left[1::2], strict=True))
        found = False
        for number in event.removed:
            held = self.held.entries.pop(number, None)
            if held is not None:
                found = True
                self._drop(held, event)
        for held in tuple(self.held.stale):
            if not held.alive or held.stale is None:
                continue
            why = why_not(event, held)
            if held.number in self.held.entries:
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
        for held in (*self.held.pointers.values(), *self.held.others.values()):
            reached = held.alive and held.stale is None and not why_not(event, held)
            if not reached:
                continue
            user = self.reach.user(held)
            if user is None or not is_enabled(self.smmu) or not same_roots(user, held):
                self.held.forget(held)

    def _drop(self, held: Held, event: Invalidation) -> None:
        stale = held.stale
        if stale is None:
            user = self.reach.user(held)
            if user is not None and same_roots(user, held) and is_enabled(self.smmu):
                held.dropped_by = event
                self.held.keep_as_possible(held)
            else:
                self.held.forget(held)
            return
        late = stale.synced is not None and stale.moved_on is not None
        if late and event.first is None and not self.lazy and harms(held):
            self.due(Due(held, Why.SWEPT, event))
        self.held.forget(held)
        self.unsynced.append(Removed(held, event))

    # -- moments of truth

    def synced(self, event: Sync) -> None:
        """A CMD_SYNC completed: what was invalidated before it is gone for good."""
        self.held.refresh(event)
        # What waits behind this CMD_SYNC may be the very invalidation that is due.
        if self.smmu.commands.queue.empty:
            self._judge_at_sync(event)
            self._idle.clear()
        self._check_unsynced(event)
        if event.signal in ("none", "sev"):
            self.unawaited = self.unsynced
        self.unsynced = []

    def _judge_at_sync(self, event: Sync) -> None:
        for held in tuple(self.held.stale):
            stale = held.stale
            if stale is None or (stale.synced is not None and not _is_waiting(held)):
                continue
            stale.idle = (stale.idle + self._idle)[:_MOST_IDLE]
            if self.reach.user(held) is None:
                continue
            if stale.synced is None:
                stale.synced = event
            elif stale.difference is Difference.ROOT:
                self.due(Due(held, Why.TAG_REUSED, event))
            if stale.hit is not None:
                self.due(Due(held, Why.USED, event))
            elif _missed(held, self._idle):
                self.due(Due(held, Why.MISSED, event))

    def _check_unsynced(self, event: Sync) -> None:
        """Descriptors that were made before the CMD_SYNC that follows their break."""
        for held, invalidation in self.unsynced:
            if held.pointer or not self._is_made_again(held) or self.reach.user(held) is None:
                continue
            now = resolve(held.context, held.tag[0], held.base, self.peek.word)
            if now.fault is None and difference(self.held.then(held), now) in NEEDS_BREAK:
                stale = held.stale
                if stale is not None and stale.difference is Difference.UNMAPPED:
                    self.early(Early(held, invalidation, Why.ADDRESS_REUSED, event, True))

    def _is_made_again(self, held: Held) -> bool:
        """Whether the last of its descriptors is valid: a quick look before a walk."""
        return bool((self.peek.word(next(reversed(held.words), 0)) or 0) & 1)

    def register(self, event: RegisterAccess) -> None:
        """Software looks whether CMD_SYNC completed."""
        if self.unawaited and event.name == "CMDQ_CONS" and not event.write:
            self.unawaited = []

    def declared(self, event: Mapping) -> None:
        """Software says that addresses are not mapped any more: everything is due now."""
        if event.mapped:
            return
        self.held.refresh(event)
        last = event.iova + event.size - 1
        for held in tuple(self.held.stale):
            if held.overlaps(event.iova, last) and _declares(event, held) and harms(held):
                self.due(Due(held, Why.DECLARED, event))
        for held, invalidation in self.unsynced:
            if held.overlaps(event.iova, last) and _declares(event, held):
                self.early(Early(held, invalidation, Why.DECLARED, event, True))

    def ended(self, event: Event) -> None:
        """The run ends."""
        self.held.refresh(event)
        for held in tuple(self.held.stale):
            stale = held.stale
            if stale is None or not harms(held) or self.reach.user(held) is None:
                continue
            if stale.hit is not None or not self.lazy:
                self.due(Due(held, Why.END, event))

    # -- reuse

    def _look_for_reuse(self, held: Held, event: Fill) -> None:
        """A page, or an address, is in use again while something stale still leads there."""
        size = 1 << held.size_lg2
        for old in self.held.stale_at(held.page, size):
            stale = old.stale
            if stale is None or stale.synced is None or old.pointer or self.lazy:
                continue
            elsewhere = (old.tag, old.base) != (held.tag, held.base) and not _same_space(old, held)
            if harms(old) and elsewhere:
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
            if old.pointer or old.stale is None or not harms(old):
                continue
            if old.tag == held.tag and old.overlaps(held.base, held.last):
                if held.page - held.base != old.page - old.base:
                    self.early(Early(old, invalidation, Why.ADDRESS_REUSED, event, awaited))
            elif old.overlaps_page(held.page, size) and not _same_space(old, held):
                self.early(Early(old, invalidation, Why.PAGE_REUSED, event, awaited))

    # -- writes that somebody watched

    def updated(self, event: Update) -> None:
        """Hardware wrote a descriptor: what is held of it knows."""
        self.held.watch.saw(event.pa, event.new)

    def wrote(self, event: TableWrite) -> None:
        """Software wrote a descriptor."""
        self.held.writes[event.pa & -8] = event


def _matters(held: Held, context: Context, event: Access) -> bool:
    """Whether an access was answered otherwise than a fresh walk would answer it."""
    stale = held.stale
    assert stale is not None
    if stale.difference is Difference.AGED:
        return False
    if stale.difference is Difference.WIDENED:
        return event.fault == "F_PERMISSION"
    if stale.difference is Difference.NARROWED:
        kind = context.kinds[event.write | event.privileged << 1 | event.instruction << 2]
        return event.pa is not None and not stale.allowed >> kind & 1
    return event.pa is not None


def _is_waiting(held: Held) -> bool:
    """Whether another CMD_SYNC can say something about what is stale."""
    stale = held.stale
    assert stale is not None
    return bool(stale.hit or stale.left or stale.difference is Difference.ROOT)


def _missed(held: Held, idle: list[Event]) -> bool:
    """Whether an invalidation that found nothing named just the addresses of something stale."""
    stale = held.stale
    assert stale is not None
    if not harms(held) or stale.difference is Difference.ROOT:
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
