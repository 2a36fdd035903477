# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that an SMMU may hold of its tables, and the comparison of it with memory.

Spec: IHI 0070 3.21.1, 16.2; DDI 0487 D8.16, D8.17. `Holdings` is state and comparison alone;
`smmu_emu.check.translations` and `smmu_emu.check.pointers` tell it what happens.

What is never stale: wider permissions until somebody is refused; cleared access flags, of which
software may learn late; hardware's own updates; what no stream leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smmu_emu.check.due import Due, Why
from smmu_emu.check.fresh import NEEDS_BREAK, NOWHERE, Difference, Outcome, difference, resolve
from smmu_emu.check.held import Held, Staleness, Tag
from smmu_emu.check.peek import Change, Peek, TableWatch, is_enabled
from smmu_emu.check.reach import Reach, roots_of
from smmu_emu.smmuv3.context import Context
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.trace.events import Event, TableWrite

_TABLE_BITS = 0xF800_FFFF_FFFF_F003
"""Of a table descriptor: type, address, hierarchical permissions."""
_ADDRESS = 0xFFFF_FFFF_F000
_MOST_OWNERS = 8
_NEAR_LG2, _LARGE = 21, -1


class Holdings:
    """Everything held of one SMMU's tables.

    ``entries`` are the emulated TLB's, by number; ``others`` what another SMMU might hold besides;
    ``pointers`` lead to tables, ``tables`` are their targets. ``stale`` is what differs from
    memory, in the order in which that was found out. ``version`` changes with tables. ``due`` is
    told of defects.
    """

    def __init__(self, smmu: Smmuv3, peek: Peek, reach: Reach, due: Callable[[Due], None]) -> None:
        self.smmu = smmu
        self.peek = peek
        self.reach = reach
        self.due = due
        self.watch = TableWatch(peek)
        self.clear()

    def clear(self) -> None:
        """Forget everything, as a reset of the SMMU does."""
        self.entries: dict[int, Held] = {}
        self.others: dict[tuple[Tag, int, int], Held] = {}
        self.pointers: dict[tuple[Tag, int, int], Held] = {}
        self.tables: dict[int, list[Held]] = {}
        self.stale: dict[Held, None] = {}
        self.writes: dict[int, TableWrite] = {}
        self._owners: dict[int, list[Held]] = {}
        self._now = NOWHERE
        self.version = 0
        self._stale_near: dict[int, dict[Held, None]] = {}
        self.watch.clear()

    # -- coming and going

    def own(self, held: Held) -> None:
        """Remember something that is held, by the descriptors behind it."""
        owners, watch = self._owners, self.watch
        changed: list[Held] = []
        for pa, value in held.words.items():
            differs = watch.saw(pa, value)
            known = owners.get(pa)
            if known is None:
                owners[pa] = [held]
            else:
                if differs:
                    changed += known
                if len(known) > _MOST_OWNERS:
                    known[:] = [one for one in known if one.alive]
                known.append(held)
        for other in changed:
            if other.alive:
                self.judge(other, held.fill)

    def keep_as_possible(self, held: Held) -> None:
        """It is gone, but its descriptors still say the same: it may be cached again any time."""
        held.number = 0
        key = (held.tag, held.size_lg2, held.base)
        other = self.others.get(key)
        if other is not None and other is not held:
            self.forget(other)
        self.others[key] = held

    def forget(self, held: Held) -> None:
        """It is gone for good."""
        held.alive = False
        held.number = 0
        self._forget_stale(held)
        key = (held.tag, held.size_lg2, held.base)
        if self.others.get(key) is held:
            del self.others[key]
        if held.pointer:
            users = self.tables.get(held.page)
            if users and held in users:
                users.remove(held)

    # -- uses

    def check_root(self, held: Held, context: Context, event: Event) -> None:
        """An entry serves a context that it was not made under."""
        if same_walks(context, held):
            return
        now = resolve(context, held.tag[0], held.base, self.peek.word)
        if difference(self.then(held), now) is not None:
            self.mark(held, Difference.ROOT, event)

    def hit(self, held: Held, event: Event) -> None:
        """Something stale was used."""
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
        self.version += bool(changes)
        if made or any(change.made for change in changes):
            for held in self.stale:
                stale = held.stale
                if stale is not None and stale.moved_on is None:
                    stale.moved_on = event
        for held in self._owners_of(changes):
            self.judge(held, event)
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

    def judge(self, held: Held, event: Event) -> None:
        """Compare what is held with what a walk would give now."""
        found = self._pointer_difference(held) if held.pointer else self._difference(held)
        if found is None:
            if held.stale is not None:
                held.stale = None
                self._forget_stale(held)
            if not held.pointer:
                held.words = {pa: self.peek.word(pa) or 0 for pa in held.words}
            return
        if held.stale is None or held.stale.difference is not found:
            self.mark(held, found, event)
        # While SMMUEN is 0 nothing is translated, and software may do as it likes.
        if found in NEEDS_BREAK and is_enabled(self.smmu) and not self._may_be_done(held, found):
            self.due(Due(held, Why.REPLACED, event))

    def _may_be_done(self, held: Held, found: Difference) -> bool:
        """What may be done in one write: with IDR3.BBML 2 blocks may become pages, and the other
        way round; always a table may be exchanged for its copy."""
        if held.pointer and found is Difference.MOVED:
            return self._is_copy(held)
        return found is Difference.RESIZED and self.smmu.ids.extras.BBML == 2

    def _is_copy(self, held: Held) -> bool:
        """Whether a pointer leads to the same descriptors as before, elsewhere."""
        [(pa, value)] = held.words.items()
        now = self.peek.word(pa) or 0
        if (now ^ value) & _TABLE_BITS & ~_ADDRESS:
            return False
        size = 1 << held.granule_lg2
        old, new = self.peek.read(held.page, size), self.peek.read(now & _ADDRESS & -size, size)
        guest = held.tag[0] == "EL1_NESTED"  # whose pointers are intermediate addresses
        return old == new and old is not None and not guest

    def mark(self, held: Held, found: Difference, event: Event) -> None:
        """Something turns out to be stale, or stale in another way."""
        before = held.stale
        written = next((self.writes[pa] for pa in held.words if pa in self.writes), None)
        held.stale = stale = Staleness(found, event, written)
        stale.allowed = self._now.allowed
        if before is not None:
            stale.noticed, stale.synced, stale.left = before.noticed, before.synced, before.left
            stale.hit, stale.moved_on = before.hit, before.moved_on
        self.stale[held] = None
        self._stale_near.setdefault(_near(held), {})[held] = None

    def _forget_stale(self, held: Held) -> None:
        if held in self.stale:
            del self.stale[held]
            del self._stale_near[_near(held)][held]

    def stale_at(self, pa: int, size: int) -> list[Held]:
        """Stale translations that lead to some of ``size`` bytes at ``pa``."""
        if not self.stale:
            return []
        places = range(pa >> _NEAR_LG2, (pa + size - 1 >> _NEAR_LG2) + 1)
        found = [self._stale_near.get(place, {}) for place in (*places, _LARGE)]
        return [one for some in found for one in some if one.overlaps_page(pa, size)]

    def then(self, held: Held) -> Outcome:
        """What its descriptors say, as they were when it was made."""
        if held.then is None:
            held.then = resolve(held.context, held.tag[0], held.base, held.words.get)
        return held.then

    def _difference(self, held: Held) -> Difference | None:
        then = self.then(held)
        if then.fault is not None:
            return None
        context = self.reach.user(held)
        if context is None:
            return None
        now = self._now = resolve(context, held.tag[0], held.base, self.peek.word)
        found = difference(then, now)
        if found is not None and not same_walks(context, held):
            return Difference.ROOT
        return found

    def _pointer_difference(self, held: Held) -> Difference | None:
        context = self.reach.user(held)
        if context is None:
            return None
        if not same_roots(context, held):
            return Difference.ROOT
        for pa, value in held.words.items():
            now = self.peek.word(pa) or 0
            if now & 3 != 3:
                return Difference.RESIZED if now & 1 else Difference.UNMAPPED
            if (now ^ value) & _TABLE_BITS:
                return Difference.MOVED
        return None


def _near(held: Held) -> int:
    """Where in memory something leads to, roughly."""
    return held.page >> _NEAR_LG2 if held.size_lg2 <= _NEAR_LG2 else _LARGE


def same_roots(context: Context, held: Held) -> bool:
    """Whether a context's translations under a tag come from the tables that something is from."""
    if context is held.context:
        return True
    return roots_of(context, held.tag) == roots_of(held.context, held.tag)


def same_walks(context: Context, held: Held) -> bool:
    """The same of whole translations, which have attributes out of a CD's MAIR as well."""
    first, second = context.stage1, held.context.stage1
    if first is not None and second is not None and first.attributes != second.attributes:
        return False
    return same_roots(context, held)


def harms(held: Held) -> bool:
    """Whether a stale entry lets something pass that should not."""
    stale = held.stale
    return stale is not None and stale.difference not in (Difference.WIDENED, Difference.AGED)
