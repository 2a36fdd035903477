# SPDX-License-Identifier: GPL-2.0-or-later
"""Which landings some valid chain of descriptors allows, now or since it had to be forgotten.

The reader knows no caches, only what may be in them: an STE or CD that memory held at any time
since the last CFGI command for it, a translation that the tables gave at any time since the last
TLBI command that reaches it, for any stream with the same tags. Of stage 2, a walk of stage 1 may
have used translations older than itself. Intermediate descriptors of one stage are of one time:
this SMMU has no walk cache.

Written from IHI 0070 3.3, 3.9, 3.13, 3.17, 4.3, 4.4, 5.2, 5.4 and DDI 0487 D8; legality and stage
1's permissions are `tests.table_reader`'s. An address tells nothing of attributes, which are not
judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tests.properties.history import Command, History
from tests.table_reader import GRANULE_0, GRANULE_1, PA_BITS, READ, Access, TableReader, decode
from tests.unit.smmuv3.spec import literals

Fields = dict[str, int]
Words = tuple[int, ...]

NEVER = 1 << 62
ONES = (1 << 64) - 1
AF, READ_ONLY, NOT_GLOBAL, DBM = 1 << 10, 1 << 7, 1 << 11, 1 << 51
S2_READ, S2_WRITE = 1 << 6, 1 << 7
MOST_SUBSTREAMS = 4
EL1, NESTED, EL2, E2H = "EL1", "EL1 through stage 2", "EL2", "EL2 with E2H"
GRANULE_OF_TG = {1: 12, 2: 14, 3: 16}


@lru_cache(maxsize=4096)
def _ste(words: Words) -> Fields:
    return decode(literals.STE, list(words))


@lru_cache(maxsize=4096)
def _cd(words: Words) -> Fields:
    return decode(literals.CD, list(words))


class Leaf(NamedTuple):
    """Where a walk of one stage ended: ``address`` is the output for the input asked for."""

    address: int
    descriptor: int
    tables: int
    base: int
    size_lg2: int
    level: int
    granule: int


@dataclass
class Second:
    """Stage 2 as an STE has it; usable in states from ``begin`` until before ``end``."""

    ste: Fields
    begin: int
    end: int = NEVER


@dataclass
class Context:
    """An STE with one of its CDs, or with none; usable in states from ``begin`` until ``end``."""

    sid: int
    index: int | None
    ste: Fields
    cd: Fields | None
    world: str
    vmid: int
    begin: int
    end: int = NEVER

    @property
    def asid(self) -> int:
        return self.cd["ASID"] if self.cd is not None else 0


class Reader:
    """Judges landings of one SMMU; ``sids`` are the streams whose contexts may share tags."""

    def __init__(self, history: History, sids: range) -> None:
        self.history = history
        self.sids = sids
        self.state = 0
        self.rules = TableReader(
            lambda name: history.register(name, self.state),
            lambda where: history.word(where, self.state),
        )
        self.past: dict[str, list[Context]] = {}
        self.seconds: dict[int, list[Second]] = {}
        self._stes: dict[int, dict[Words, Second]] = {sid: {} for sid in sids}
        self._open: dict[int, dict[tuple[Words, int | None, Words], Context]] = {
            sid: {} for sid in sids
        }
        self._leaves_then: dict[tuple[int, int, int], list[tuple[Leaf, Fields]]] = {}
        self._done = -1
        self.stale = 0
        """How many landings only the past allowed."""

    # -- landings

    def allows(self, sid: int, ssid: int | None, iova: int, access: Access, pa: int) -> bool:
        """Whether an access may land at ``pa``."""
        disabled = self._when_disabled(iova, pa)
        if disabled is not None:
            return disabled
        for context, now_only in self._contexts(sid, ssid):
            if self._fits(context, iova, access, lambda leaf, end: end == pa, now_only=now_only):
                self.stale += not now_only
                return True
        return False

    def allows_intermediate(
        self, sid: int, ssid: int | None, iova: int, access: Access, ipa: int
    ) -> bool:
        """Whether an access may be told ``ipa`` as its address, as in split-stage ATS."""
        return any(
            self._fits(context, iova, access, lambda leaf, end: leaf == ipa, now_only=now_only)
            for context, now_only in self._contexts(sid, ssid)
        )

    def allows_translated(self, sid: int, address: int, access: Access, pa: int) -> bool:
        """Whether a Translated transaction may land at ``pa``. Spec: 3.9.1.3."""
        self.state = self.history.now
        enabled = self.rules.register("CR0ACK")
        if not self.rules.ids["ATS"] or not enabled & 1:
            return False
        if not enabled >> 4 & 1:
            return address == pa
        self._catch_up()
        for second in list(self._stes[sid].values()):
            ste = second.ste
            if ste["Config"] in (5, 6, 7) and ste["EATS"] == 1 and address == pa:
                return True
            if ste["Config"] == 7 and ste["EATS"] == 2:
                mine = self.rules.overridden(ste, access)
                found = self._second_leaves(ste["S2VMID"], address, self.history.now)
                if any(
                    self._stage2_allows(*each, mine) and each[0].address == pa for each in found
                ):
                    return True
        return False

    def _when_disabled(self, iova: int, pa: int) -> bool | None:
        self.state = self.history.now
        if self.rules.register("CR0ACK") & 1:
            return None
        return (
            iova == pa and not self.rules.register("GBPA") >> 20 & 1 and not iova >> self.rules.oas
        )

    def _contexts(self, sid: int, ssid: int | None) -> Iterator[tuple[Context, bool]]:
        """What the stream may use in this state: first by memory alone, then by the past."""
        now = self.history.now
        words = self._ste_words(sid, now)
        if words is not None and self._usable(_ste(words)):
            ste = _ste(words)
            index, goes_on = self._index(ste, ssid)
            if goes_on:
                for context in self._of(sid, ste, now, [index], now_only=True):
                    yield context, True
        self._catch_up()
        for context in list(self._open[sid].values()):
            if self._index(context.ste, ssid) == (context.index, True):
                yield context, False

    def _index(self, ste: Fields, ssid: int | None) -> tuple[int | None, bool]:
        """Index of the CD (None: stage 1 is skipped), and whether the transaction may go on."""
        first = bool(ste["Config"] & 1)
        index = self.rules.cd_index(ste, first, ssid)
        if index is None:
            return None, False
        return (index if first and index >= 0 else None), True

    def _fits(
        self,
        context: Context,
        iova: int,
        access: Access,
        wanted: Callable[[int, int], bool],
        *,
        now_only: bool,
    ) -> bool:
        """Whether a context may give an address that is ``wanted(intermediate, final)``."""
        ste, cd, now = context.ste, context.cd, self.history.now
        access = self.rules.overridden(ste, access)
        if cd is None and not ste["Config"] & 2:
            return wanted(iova, iova) and not iova >> self.rules.oas
        if cd is None:
            return any(
                wanted(iova, leaf.address) and self._stage2_allows(leaf, second, access)
                for leaf, second in self._leaves(context, iova, now, now_only)
            )
        if context.world != EL2 or not iova >> 55 & 1:
            iova = _untagged(cd, iova)
        for past in [context] if now_only else self._kin(context):
            for state in [now] if now_only else self._lifetime(past):
                for leaf in self._first_leaves(past, iova, state, now_only):
                    same = past.asid == context.asid or past.world == EL2
                    shared = past.cd["ASET"] == cd["ASET"] and not leaf.descriptor & NOT_GLOBAL
                    if not same and not shared:
                        continue
                    if not self._stage1_allows(past, leaf, access):
                        continue
                    if not now_only and self._forgotten(past, leaf, iova, state):
                        continue
                    if past.world != NESTED:
                        if wanted(leaf.address, leaf.address):
                            return True
                        continue
                    for end, second in self._leaves(past, leaf.address, state, now_only):
                        if wanted(leaf.address, end.address) and self._stage2_allows(
                            end, second, access
                        ):
                            return True
        return False

    def _kin(self, context: Context) -> list[Context]:
        """Contexts of any time that put translations where this one looks, newest first."""
        return [
            past for past in reversed(self.past.get(context.world, [])) if past.vmid == context.vmid
        ]

    def _lifetime(self, context: Context) -> list[int]:
        """States in which a context may have made translations that are still there."""
        first = context.begin
        for command in reversed(self.history.commands):
            if command.state <= first:
                break
            if _reaches_all(command, context.world, context.vmid):
                first = command.state
                break
        return self.history.states(first, min(context.end - 1, self.history.now))

    # -- stage 1

    def _first_leaves(
        self, context: Context, va: int, state: int, now_only: bool
    ) -> Iterator[Leaf]:
        cd = context.cd
        assert cd is not None
        half = va >> 55 & 1
        if context.world == EL2 and half:
            return iter(())
        if context.world != EL2 and cd[f"EPD{half}"]:
            return iter(())
        bits = 64 - cd[f"T{half}SZ"]
        if va >> bits != (ONES >> bits if half else 0):
            return iter(())
        granule = (GRANULE_1 if half else GRANULE_0)[cd[f"TG{half}"]]
        level = 3
        while granule + (4 - level) * (granule - 3) < bits:
            level -= 1

        def places(where: int) -> set[int]:
            if context.world != NESTED:
                return {where}
            return {
                leaf.address
                for leaf, second in self._leaves(context, where, state, now_only)
                if self._stage2_allows(leaf, second, READ, table=context.ste)
            }

        output = PA_BITS[cd["IPS"]]
        return self._walk(cd[f"TTB{half}"], granule, bits, level, va, output, places, state)

    def _stage1_allows(self, context: Context, leaf: Leaf, access: Access) -> bool:
        cd = context.cd
        assert cd is not None
        updates = bool(self.rules.ids["HTTU"] and cd["HA"])
        if not (leaf.descriptor & AF or cd["AFFD"] or updates):
            return False
        half = leaf.base >> 55 & 1
        tables = 0 if self.rules.ids["HAD"] and cd[f"HAD{half}"] else leaf.tables
        el2 = context.world == EL2
        allowed = self.rules.stage1_allows(cd, leaf.descriptor, tables, access, el2)
        clean = updates and cd["HD"] and leaf.descriptor & DBM and leaf.descriptor & READ_ONLY
        if not clean or not (access.write or access.instruction):
            return allowed
        dirty = leaf.descriptor & ~READ_ONLY
        if_dirty = self.rules.stage1_allows(cd, dirty, tables, access, el2)
        return if_dirty or (allowed and access.write)

    # -- stage 2

    def _leaves(
        self, context: Context, ipa: int, state: int, now_only: bool
    ) -> list[tuple[Leaf, Fields]]:
        """What stage 2 may make of an address in a state."""
        if now_only:
            leaf = self._second_leaf(context.ste, ipa, state)
            return [(leaf, context.ste)] if leaf is not None else []
        return self._second_leaves(context.vmid, ipa, state)

    def _second_leaves(self, vmid: int, ipa: int, state: int) -> list[tuple[Leaf, Fields]]:
        """Each different one once; what states before this one had never changes."""
        key = vmid, ipa, state
        known = self._leaves_then.get(key)
        if known is not None:
            return known
        found: dict[tuple[Leaf, int], Fields] = {}
        for second in reversed(self.seconds.get(vmid, [])):
            for then in self.history.states(second.begin, min(second.end - 1, state)):
                leaf = self._second_leaf(second.ste, ipa, then)
                if leaf is None or (leaf, id(second.ste)) in found:
                    continue
                commands = self.history.commands_after(then, state)
                if not any(_reaches_second(command, vmid, leaf) for command in commands):
                    found[leaf, id(second.ste)] = second.ste
        leaves = [(leaf, ste) for (leaf, _), ste in found.items()]
        if state < self.history.now:
            self._leaves_then[key] = leaves
        return leaves

    def _second_leaf(self, ste: Fields, ipa: int, state: int) -> Leaf | None:
        bits = 64 - ste["S2T0SZ"]
        if ipa >> bits:
            return None
        granule = GRANULE_0[ste["S2TG"]]
        level, output = self.rules.start_level(ste, granule), PA_BITS[ste["S2PS"]]
        walk = self._walk(
            ste["S2TTB"], granule, bits, level, ipa, output, lambda where: {where}, state
        )
        return next(walk, None)

    def _stage2_allows(
        self, leaf: Leaf, ste: Fields, access: Access, *, table: Fields | None = None
    ) -> bool:
        """``table`` is the STE of a stream whose stage-1 descriptor is being fetched."""
        word, ids = leaf.descriptor, self.rules.ids
        updates = bool(ids["HTTU"] and ste["S2HA"])
        if not (word & AF or ste["S2AFFD"] or updates):
            return False
        if table is not None and table["S2PTW"]:
            forced = ids["FWB"] and table["S2FWB"]
            if (word >> 2 & (7 if forced else 15)) < 4:
                return False
        if access.write:
            return bool(word & S2_WRITE or (updates and ste["S2HD"] and word & DBM))
        if not access.instruction:
            return bool(word & S2_READ)
        never = word >> 53 & 3
        if ids["XNX"]:
            return never in ((0, 3) if access.privileged else (0, 1))
        return never in (0, 1)

    # -- walks

    def _walk(
        self,
        base: int,
        granule: int,
        bits: int,
        level: int,
        address: int,
        output: int,
        places: Callable[[int], set[int]],
        state: int,
    ) -> Iterator[Leaf]:
        """One stage in one state; ``places`` says where a descriptor may be."""
        rules, stride = self.rules, granule - 3
        wide = granule == 16 and rules.oas == 52
        limit = min(output, rules.oas)
        shift = granule + (3 - level) * stride
        size = 8 << max(0, bits - shift)
        where = base & rules.base_mask & -(max(size, 64) if limit == 52 else size)
        where += 8 * ((address & (1 << bits) - 1) >> shift)
        pending = [(where, level, 0)]
        while pending:
            where, level, tables = pending.pop()
            shift = granule + (3 - level) * stride
            for place in places(where):
                word = self.history.word(place, state)
                if word is None or not word & 1 or (level == 3 and not word & 2):
                    continue
                is_table = level < 3 and word & 2
                if not is_table and level < (1 if granule == 12 or wide else 2):
                    continue
                lowest = granule if is_table else shift
                target = word & (1 << 48) - (1 << lowest)
                if wide:
                    target |= (word >> 12 & 0xF) << 48
                if target >> limit:
                    continue
                if is_table:
                    index = address >> shift - stride & (1 << stride) - 1
                    pending.append((target + 8 * index, level + 1, tables | word))
                    continue
                inside = (1 << shift) - 1
                yield Leaf(
                    target | address & inside,
                    word,
                    tables,
                    address & ~inside,
                    shift,
                    level,
                    granule,
                )

    # -- what commands reach

    def _forgotten(self, context: Context, leaf: Leaf, va: int, state: int) -> bool:
        """Whether a translation of stage 1, or of both, made in a state had to go since."""
        e2h = self.history.register("CR2", self.history.now) & 1
        return any(
            _reaches_first(command, context, leaf, e2h=bool(e2h))
            for command in self.history.commands_after(state, self.history.now)
        )

    # -- configuration, state by state

    def _catch_up(self) -> None:
        """Find the STEs and CDs that states since the last look could have fetched."""
        changes = set(self.history.changes)
        commands: dict[int, list[Command]] = {}
        for command in self.history.commands_after(self._done, self.history.now):
            commands.setdefault(command.state, []).append(command)
        for state in range(self._done + 1, self.history.now + 1):
            closed = False
            for command in reversed(commands.get(state, [])):
                closed |= self._close(command)
            if (
                closed
                or state in changes
                or any(command.name.startswith("TLBI") for command in commands.get(state, []))
            ):
                self._fetch(state)
        self._done = self.history.now

    def _close(self, command: Command) -> bool:
        """CFGI commands end what was fetched before them. Spec: 4.3."""
        fields, state = command.fields, command.state
        if command.name == "CFGI_STE":
            reached = [sid for sid in self.sids if sid == fields["StreamID"]]
        elif command.name == "CFGI_STE_RANGE":
            lg2 = fields["Range"] + 1
            reached = [sid for sid in self.sids if sid >> lg2 == fields["StreamID"] >> lg2]
        elif command.name in ("CFGI_CD", "CFGI_CD_ALL"):
            if fields["StreamID"] not in self.sids:
                return False
            opened = self._open[fields["StreamID"]]
            every = command.name == "CFGI_CD_ALL"
            for key in list(opened):
                if key[1] is not None and (every or key[1] == fields["SubstreamID"]):
                    opened.pop(key).end = state
            return True
        else:
            return False
        for sid in reached:
            for context in self._open[sid].values():
                context.end = state
            for second in self._stes[sid].values():
                second.end = state
            self._open[sid].clear()
            self._stes[sid].clear()
        return True

    def _fetch(self, state: int) -> None:
        """What could be fetched in a state, and was not there before."""
        for sid in self.sids:
            words = self._ste_words(sid, state)
            if words is None or words in self._stes[sid] or not self._usable(_ste(words)):
                continue
            second = self._stes[sid][words] = Second(_ste(words), state)
            if second.ste["Config"] & 2:
                self.seconds.setdefault(second.ste["S2VMID"], []).append(second)
        for sid in self.sids:
            for words, second in self._stes[sid].items():
                for context in self._of(sid, second.ste, state, self._indexes(second.ste)):
                    key = (words, context.index, _key(context.cd))
                    if key not in self._open[sid]:
                        self._open[sid][key] = context
                        if context.cd is not None:
                            self.past.setdefault(context.world, []).append(context)

    def _ste_words(self, sid: int, state: int) -> Words | None:
        self.state = state
        where = self.rules.ste_address(sid)
        return None if where is None else self._words(where, state)

    def _words(self, where: int, state: int) -> Words | None:
        words = [self.history.word(where + 8 * number, state) for number in range(8)]
        return None if None in words else tuple(words)  # type: ignore[arg-type]

    def _usable(self, ste: Fields) -> bool:
        return self.rules.ste_legal(ste) and bool(ste["Config"] & 4)

    def _of(
        self,
        sid: int,
        ste: Fields,
        state: int,
        indexes: list[int | None],
        *,
        now_only: bool = False,
    ) -> Iterator[Context]:
        """The contexts that an STE makes with some of its CDs, as a state has them."""
        self.state = state
        world = self._world(ste)
        has_vmid = self.rules.ids["S2P"] and world in (EL1, NESTED)
        vmid = ste["S2VMID"] if has_vmid else 0
        for index in indexes:
            if index is None:
                yield Context(sid, None, ste, None, world, vmid, state)
                continue
            for where in self._cd_places(ste, index, state, vmid, now_only):
                words = self._words(where, state)
                if words is not None and self.rules.cd_legal(_cd(words), ste):
                    yield Context(sid, index, ste, _cd(words), world, vmid, state)

    def _indexes(self, ste: Fields) -> list[int | None]:
        """Of the CDs that an STE's transactions may use; None where stage 1 is skipped."""
        if not ste["Config"] & 1:
            return [None]
        count = 1 << ste["S1CDMax"] if self.rules.ids["SSIDSIZE"] else 1
        skipped: list[int | None] = [None] if self._index(ste, None) == (None, True) else []
        return skipped + list(range(min(count, MOST_SUBSTREAMS)))

    def _world(self, ste: Fields) -> str:
        if ste["Config"] & 2:
            return NESTED
        if ste["Config"] == 5 and self.rules.ids["Hyp"] and ste["STRW"] == 2:
            return E2H if self.rules.register("CR2") & 1 else EL2
        return EL1

    def _cd_places(
        self, ste: Fields, index: int, state: int, vmid: int, now_only: bool
    ) -> Iterator[int]:
        """Physical addresses where the CD with an index may be. Spec: 5.2 S1Fmt, 5.3."""
        count_lg2 = ste["S1CDMax"] if self.rules.ids["SSIDSIZE"] else 0
        pointer = ste["S1ContextPtr"]
        split = {1: 6, 2: 10}.get(ste["S1Fmt"]) if count_lg2 else None
        if split is None:
            yield from self._behind(
                ste, (pointer & -(64 << count_lg2)) + 64 * index, state, vmid, now_only
            )
            return
        table = pointer & -max(64, 8 << max(0, count_lg2 - split))
        for entry in self._behind(ste, table + 8 * (index >> split), state, vmid, now_only):
            word = self.history.word(entry, state)
            if word is None or not word & 1:
                continue
            leaf = word & 0x00FF_FFFF_FFFF_F000 & -(64 << split)
            if not leaf >> self.rules.oas:
                yield from self._behind(
                    ste, leaf + 64 * (index & (1 << split) - 1), state, vmid, now_only
                )

    def _behind(
        self, ste: Fields, address: int, state: int, vmid: int, now_only: bool
    ) -> Iterator[int]:
        """Physical addresses of a CD or L1CD."""
        if not ste["Config"] & 2:
            yield address
        elif now_only:
            leaf = self._second_leaf(ste, address, state)
            if leaf is not None and self._stage2_allows(leaf, ste, READ):
                yield leaf.address
        else:
            for leaf, second in self._second_leaves(vmid, address, state):
                if self._stage2_allows(leaf, second, READ):
                    yield leaf.address


def _untagged(cd: Fields, iova: int) -> int:
    half = iova >> 55 & 1
    if not cd[f"TBI{half}"]:
        return iova
    return iova | 0xFF << 56 if half else iova & ~(0xFF << 56)


def _key(cd: Fields | None) -> Words:
    return tuple(cd.values()) if cd is not None else ()


def _reaches_first(command: Command, context: Context, leaf: Leaf, *, e2h: bool) -> bool:
    """Whether a command must drop a translation of stage 1 or of both. Spec: 4.4."""
    name, fields, world = command.name, command.fields, context.world
    if _reaches_all(command, world, context.vmid):
        return True
    is_global = world == EL2 or not leaf.descriptor & NOT_GLOBAL
    same_asid = "ASID" in fields and fields["ASID"] == context.asid
    if world in (EL2, E2H):
        if name == "TLBI_EL2_ASID":
            return world == E2H and not is_global and same_asid
        if name not in ("TLBI_EL2_VA", "TLBI_EL2_VAA") or (world == E2H) != e2h:
            return False
        return (is_global or same_asid or name.endswith("VAA")) and _covers(fields, leaf)
    if not name.startswith("TLBI_NH_") or fields["VMID"] != context.vmid:
        return False
    if name == "TLBI_NH_ASID":
        return not is_global and same_asid
    return (is_global or same_asid or name.endswith("VAA")) and _covers(fields, leaf)


def _reaches_all(command: Command, world: str, vmid: int) -> bool:
    """Whether a command drops all of stage 1 in a world and VMID."""
    if world in (EL2, E2H):
        return command.name == "TLBI_EL2_ALL"
    if command.name == "TLBI_NSNH_ALL":
        return True
    return command.name in ("TLBI_NH_ALL", "TLBI_S12_VMALL") and command.fields["VMID"] == vmid


def _reaches_second(command: Command, vmid: int, leaf: Leaf) -> bool:
    """Whether a command must drop a translation of stage 2 alone."""
    if command.name == "TLBI_NSNH_ALL":
        return True
    if command.name not in ("TLBI_S12_VMALL", "TLBI_S2_IPA") or command.fields["VMID"] != vmid:
        return False
    return command.name == "TLBI_S12_VMALL" or _covers(command.fields, leaf)


def _covers(fields: Fields, leaf: Leaf) -> bool:
    """Spec: 4.4.1.1. ``TG`` is 0 here where the SMMU has no ranges."""
    first, size = fields["Address"], 1 << 12
    if fields["TG"]:
        granule = GRANULE_OF_TG[fields["TG"]]
        if granule != leaf.granule:
            return False
        ttl = 0 if granule == 14 and fields["TTL"] == 1 else fields["TTL"]
        if ttl and ttl != leaf.level:
            return False
        size = fields["NUM"] + 1 << fields["SCALE"] + granule
    return leaf.base < first + size and first < leaf.base + (1 << leaf.size_lg2)
