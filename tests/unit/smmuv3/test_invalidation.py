# SPDX-License-Identifier: GPL-2.0-or-later
"""What each invalidation reaches: which cached entries must go, and which this model keeps.

Every entry is cached, then its tables are changed; whoever still lands on the old page was kept.
Over-invalidation would be allowed (4.3, 4.4); this model drops exactly what the architecture asks.

Spec: IHI 0070 4.3 (configuration), 4.4 (TLB), 3.17 (tags), 5.2.1, 5.4.1; DDI 0487 D8.17.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smmu_emu.smmuv3 import IdRegisters
from smmu_emu.transaction import Fault, Translation
from tests.unit.smmuv3.rig import (
    AF,
    BLOCK,
    CFGI_ALL,
    GUEST,
    NG,
    PAGE,
    PLAIN_CD,
    RAM,
    S1_STE,
    S2_RW,
    S2_STE,
    SID,
    USER,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

OWN = USER | AF | NG
SHARED = USER | AF
OLD, NEW = 0x100_0000_0000, 0x800_0000_0000


class Population:
    """Cached entries of every kind, by name; `kept` tells who survived."""

    def __init__(self, ids: IdRegisters | None = None) -> None:
        self.bench = Bench(ids)
        self.where: dict[str, tuple[int, int]] = {}
        self._map: dict[str, Callable[[int], object]] = {}
        self._sid = 0x10

    def stream(self, tree: Tree, fields: dict[str, int], cd: dict[str, int] | None = None) -> int:
        """A stream of its own for a tree."""
        self._sid += 1
        ste = dict(fields)
        if cd is not None:
            at = self.bench.alloc(64)
            self.bench.cd(at, **{**PLAIN_CD, "TTB0": tree.root, **cd})
            ste["S1ContextPtr"] = at
        self.bench.ste(self._sid, **ste)
        return self._sid

    def entry(self, name: str, sid: int, tree: Tree, iova: int, level: int, bits: int) -> None:
        """A translation of a stream; ``bits`` are those of the leaf besides its address."""
        kind = PAGE if level == 3 else BLOCK
        self.where[name] = (sid, iova)
        self._map[name] = lambda base: tree.set(
            iova, level, base | self._number(name) << 32 | bits | kind
        )

    def nested(self, name: str, sid: int, first: Tree, second: Tree, iova: int) -> None:
        """A combined translation; what changes is the stage-1 leaf."""
        self.where[name] = (sid, iova)
        ipas = {OLD: 0x8_0000_0000, NEW: 0x8_0000_1000}
        for base, ipa in ipas.items():
            second.page(ipa, base | self._number(name) << 32, S2_RW)
        self._map[name] = lambda base: first.page(iova, ipas[base], OWN)

    def _number(self, name: str) -> int:
        return list(self.where).index(name)

    def cache(self) -> None:
        """Cache everything, then change every table."""
        for change in self._map.values():
            change(OLD)
        for name, (sid, iova) in self.where.items():
            assert self.bench.pa(iova, sid=sid) == OLD | self._number(name) << 32, name
        for change in self._map.values():
            change(NEW)
        assert self.kept() == set(self.where)

    def kept(self) -> set[str]:
        """Names of entries that still give the old page."""
        names = set()
        for name, (sid, iova) in self.where.items():
            pa = self.bench.pa(iova, sid=sid)
            if pa == OLD | self._number(name) << 32:
                names.add(name)
            else:
                assert pa == NEW | self._number(name) << 32, name
        return names

    def dropped(self, *commands: int) -> set[str]:
        """Who did not survive these commands."""
        self.bench.do(*commands)
        return set(self.where) - self.kept()


def _population() -> Population:
    people = Population()
    bench = people.bench
    for letter, vmid, asid in (("a", 7, 3), ("b", 7, 4), ("c", 8, 3)):
        tree = Tree(bench)
        sid = people.stream(tree, {**S1_STE, "S2VMID": vmid}, {"ASID": asid})
        people.entry(f"{letter}-page", sid, tree, 0x5000, 3, OWN)
        if letter == "b":
            continue
        people.entry(f"{letter}-global", sid, tree, 0x9000, 3, SHARED)
        if letter == "a":
            people.entry("a-other", sid, tree, 0x6000, 3, OWN)
            people.entry("a-block", sid, tree, 0x40_0000, 2, OWN)
            people.entry("a-giant", sid, tree, 0x4000_0000, 1, OWN)
    tree = Tree(bench, 14)
    sid = people.stream(tree, {**S1_STE, "S2VMID": 7}, {"ASID": 5, "TG0": 2})
    people.entry("16k-page", sid, tree, 0x8000, 3, OWN)
    people.entry("16k-block", sid, tree, 0x200_0000, 2, OWN)
    tree = Tree(bench, 16)
    sid = people.stream(tree, {**S1_STE, "S2VMID": 7}, {"ASID": 6, "TG0": 1})
    people.entry("64k-page", sid, tree, 0x1_0000, 3, OWN)
    people.entry("64k-block", sid, tree, 0x2000_0000, 2, OWN)
    for name, vmid in (("s2", 7), ("s2-c", 8)):
        tree = Tree(bench, start_level=1)
        sid = people.stream(tree, {**S2_STE, "S2VMID": vmid, "S2TTB": tree.root})
        people.entry(f"{name}-page", sid, tree, 0x5000, 3, S2_RW)
        if vmid == 7:
            people.entry("s2-block", sid, tree, 0x40_0000, 2, S2_RW)
    first, second = Tree(bench, delta=-GUEST), Tree(bench, start_level=1)
    for offset in range(0, 64 << 20, 1 << 21):
        second.set(GUEST + RAM + offset, 2, RAM + offset | S2_RW | BLOCK)
    at = bench.alloc(64)
    bench.cd(at, **{**PLAIN_CD, "TTB0": first.root})
    ste = {**S2_STE, "Config": 0b111, "S2VMID": 9, "S2TTB": second.root, "S1ContextPtr": at + GUEST}
    bench.ste(0x50, **ste)
    people.nested("nested", 0x50, first, second, 0x5000)
    people.cache()
    return people


A_OWN = {"a-page", "a-other", "a-block", "a-giant"}
VMID_7 = A_OWN | {"a-global", "b-page", "16k-page", "16k-block", "64k-page", "64k-block"}
S2_7 = {"s2-page", "s2-block"}
EVERYONE = VMID_7 | S2_7 | {"c-page", "c-global", "s2-c-page", "nested"}

# (command, fields, who must go, section)
SCOPES: list[tuple[str, dict[str, int], set[str], str]] = [
    ("TLBI_NH_ALL", {"VMID": 7}, VMID_7, "4.4.2.1"),
    ("TLBI_NH_ALL", {"VMID": 8}, {"c-page", "c-global"}, "4.4.2.1"),
    ("TLBI_NH_ALL", {"VMID": 9}, {"nested"}, "4.4.2.1"),
    ("TLBI_NH_ALL", {"VMID": 0}, set(), "4.4.2.1"),
    ("TLBI_NH_ASID", {"VMID": 7, "ASID": 3}, A_OWN, "4.4.2.2"),
    ("TLBI_NH_ASID", {"VMID": 7, "ASID": 4}, {"b-page"}, "4.4.2.2"),
    ("TLBI_NH_ASID", {"VMID": 8, "ASID": 3}, {"c-page"}, "4.4.2.2"),
    ("TLBI_NH_ASID", {"VMID": 9, "ASID": 3}, {"nested"}, "4.4.2.2"),
    ("TLBI_NH_ASID", {"VMID": 7, "ASID": 0}, set(), "4.4.2.2"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 3, "Address": 0x5000}, {"a-page"}, "4.4.2.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 4, "Address": 0x5000}, {"b-page"}, "4.4.2.4"),
    ("TLBI_NH_VA", {"VMID": 8, "ASID": 3, "Address": 0x5000}, {"c-page"}, "4.4.2.4"),
    ("TLBI_NH_VA", {"VMID": 9, "ASID": 3, "Address": 0x5000}, {"nested"}, "4.4.2.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 3, "Address": 0x7000}, set(), "4.4.2.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 3, "Address": 0x9000}, {"a-global"}, "4.4.2.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 99, "Address": 0x9000}, {"a-global"}, "4.4.2.4"),
    ("TLBI_NH_VA", {"VMID": 8, "ASID": 99, "Address": 0x9000}, {"c-global"}, "4.4.2.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 3, "Address": 0x40_0000}, {"a-block"}, "4.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 3, "Address": 0x5F_F000}, {"a-block"}, "4.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 3, "Address": 0x60_0000}, set(), "4.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 3, "Address": 0x7FFF_F000}, {"a-giant"}, "4.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 5, "Address": 0xB000}, {"16k-page"}, "4.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 6, "Address": 0x1_F000}, {"64k-page"}, "4.4"),
    ("TLBI_NH_VA", {"VMID": 7, "ASID": 3, "Address": 0x5000, "Leaf": 1}, {"a-page"}, "4.4.2.4"),
    ("TLBI_NH_VAA", {"VMID": 7, "Address": 0x5000}, {"a-page", "b-page"}, "4.4.2.3"),
    ("TLBI_NH_VAA", {"VMID": 7, "Address": 0x9000}, {"a-global", "16k-page"}, "4.4.2.3"),
    ("TLBI_NH_VAA", {"VMID": 8, "Address": 0x5000}, {"c-page"}, "4.4.2.3"),
    ("TLBI_NH_VAA", {"VMID": 7, "Address": 0x5000, "ASID": 4}, {"a-page", "b-page"}, "4.4.2.3"),
    ("TLBI_NH_VAA", {"VMID": 7, "Address": 0x2000_0000, "Leaf": 1}, {"64k-block"}, "4.4.2.3"),
    ("TLBI_S12_VMALL", {"VMID": 7}, VMID_7 | S2_7, "4.4.3.2"),
    ("TLBI_S12_VMALL", {"VMID": 8}, {"c-page", "c-global", "s2-c-page"}, "4.4.3.2"),
    ("TLBI_S12_VMALL", {"VMID": 9}, {"nested"}, "4.4.3.2"),
    ("TLBI_S2_IPA", {"VMID": 7, "Address": 0x5000}, {"s2-page"}, "4.4.3.1"),
    ("TLBI_S2_IPA", {"VMID": 8, "Address": 0x5000}, {"s2-c-page"}, "4.4.3.1"),
    ("TLBI_S2_IPA", {"VMID": 7, "Address": 0x41_2000}, {"s2-block"}, "4.4.3.1"),
    ("TLBI_S2_IPA", {"VMID": 7, "Address": 0x41_2000, "Leaf": 1}, {"s2-block"}, "4.4.3.1"),
    ("TLBI_S2_IPA", {"VMID": 7, "Address": 0x6000}, set(), "4.4.3.1"),
    ("TLBI_S2_IPA", {"VMID": 9, "Address": 0x8_0000_0000}, set(), "4.4.3.1, combined"),
    ("TLBI_NSNH_ALL", {}, EVERYONE, "4.4.4.1"),
    ("CFGI_STE_RANGE", {"Range": 31}, set(), "4.3.1: TLBs are not affected"),
    ("SYNC", {}, set(), "4.7.3"),
    ("PREFETCH_CONFIG", {"StreamID": 0x11}, set(), "4.2"),
]
V7 = {"VMID": 7}
# Range and level hints, 4.4.1.1: (fields, who must go)
RANGES: list[tuple[dict[str, int], set[str]]] = [
    ({"TG": 1, "NUM": 1, "Address": 0x5000}, {"a-page", "b-page", "a-other"}),
    ({"TG": 1, "NUM": 1, "Address": 0x4000}, {"a-page", "b-page"}),
    ({"TG": 1, "NUM": 4, "Address": 0x5000}, {"a-page", "b-page", "a-other", "a-global"}),
    ({"TG": 1, "NUM": 3, "Address": 0x5000}, {"a-page", "b-page", "a-other"}),
    ({"TG": 1, "SCALE": 2, "Address": 0x5000}, {"a-page", "b-page", "a-other"}),
    ({"TG": 1, "SCALE": 3, "NUM": 1}, {"a-page", "b-page", "a-other", "a-global"}),
    ({"TG": 1, "SCALE": 10, "Address": 0x40_0000}, {"a-block"}),
    ({"TG": 1, "NUM": 1, "Address": 0x5F_F000}, {"a-block"}),
    ({"TG": 1, "NUM": 31, "SCALE": 31}, A_OWN | {"a-global", "b-page"}),
    ({"TG": 2, "NUM": 31, "SCALE": 20}, {"16k-page", "16k-block"}),
    ({"TG": 3, "NUM": 31, "SCALE": 20}, {"64k-page", "64k-block"}),
    ({"TG": 2, "NUM": 1, "Address": 0x4000}, {"16k-page"}),
    ({"TG": 3, "NUM": 1, "Address": 0x2_0000}, set()),
    ({"TG": 1, "TTL": 3, "Address": 0x5000}, {"a-page", "b-page"}),
    ({"TG": 1, "TTL": 3, "Address": 0x9000}, {"a-global"}),
    ({"TG": 2, "TTL": 3, "Address": 0x8000}, {"16k-page"}),
    ({"TG": 3, "TTL": 3, "Address": 0x1_0000}, {"64k-page"}),
    ({"TG": 1, "TTL": 2, "Address": 0x40_0000}, {"a-block"}),
    ({"TG": 1, "TTL": 3, "Address": 0x40_0000}, set()),
    ({"TG": 1, "TTL": 1, "Address": 0x4000_0000}, {"a-giant"}),
    ({"TG": 1, "TTL": 2, "Address": 0x4000_0000}, set()),
    ({"TG": 2, "TTL": 2, "Address": 0x200_0000}, {"16k-block"}),
    ({"TG": 3, "TTL": 2, "Address": 0x2000_0000}, {"64k-block"}),
    ({"TG": 2, "TTL": 1, "NUM": 1, "Address": 0x8000}, {"16k-page"}),
    ({"TG": 1, "TTL": 3, "NUM": 31, "SCALE": 31}, {"a-page", "b-page", "a-other", "a-global"}),
    ({"TG": 1, "TTL": 2, "NUM": 31, "SCALE": 31}, {"a-block"}),
    ({"TG": 1, "NUM": 1, "Address": 0xFFFF_FFFF_FFFF_F000}, set()),
    ({"TG": 0, "TTL": 3, "NUM": 31, "SCALE": 31, "Address": 0x5000}, {"a-page", "b-page"}),
]


def _fields_id(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={number:#x}" for name, number in value.items())
    return str(value) if isinstance(value, str) else ""


@pytest.mark.parametrize(("name", "fields", "gone", "section"), SCOPES, ids=_fields_id)
def test_invalidation_reaches_its_scope(
    name: str, fields: dict[str, int], gone: set[str], section: str
) -> None:
    assert _population().dropped(cmd(name, **fields)) == gone, section


@pytest.mark.parametrize(("fields", "gone"), RANGES, ids=_fields_id)
def test_range_and_level_narrow_an_invalidation(fields: dict[str, int], gone: set[str]) -> None:
    """4.4.1.1; with TG 0 the other fields are reserved and, here, ignored."""
    assert _population().dropped(cmd("TLBI_NH_VAA", **V7, **fields)) == gone


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ({"TG": 1, "NUM": 1, "Address": 0x4000}, {"s2-page"}),
        ({"TG": 1, "TTL": 3, "Address": 0x5000}, {"s2-page"}),
        ({"TG": 1, "TTL": 2, "Address": 0x40_0000}, {"s2-block"}),
        ({"TG": 1, "TTL": 2, "Address": 0x0}, set()),
        ({"TG": 3, "NUM": 31, "SCALE": 20}, set()),
        ({"TG": 1, "NUM": 31, "SCALE": 20}, S2_7),
    ],
    ids=_fields_id,
)
def test_range_and_level_apply_to_stage_2(fields: dict[str, int], gone: set[str]) -> None:
    """4.4.1.1: addresses are IPAs."""
    assert _population().dropped(cmd("TLBI_S2_IPA", **V7, **fields)) == gone


def test_range_fields_are_reserved_without_ril() -> None:
    """4.4.1.1: TG, TTL, NUM, SCALE are RES0; ignored here: one address, any size and granule."""
    bench, tree = stage1_bench(make_ids(RIL=0))
    for page in (0x5000, 0x6000):
        tree.page(page, OLD)
        bench.pa(page)
        tree.page(page, NEW)
    bench.do(cmd("TLBI_NH_VAA", TG=3, NUM=31, SCALE=20, TTL=1, Address=0x5000))

    assert (bench.pa(0x5000), bench.pa(0x6000)) == (NEW, OLD)


def test_vmid_is_ignored_without_stage_2() -> None:
    """4.4.2: VMID is matched only when stage 2 is supported; entries have no VMID then."""
    ids = make_ids("qemu-stage1")
    bench, tree = stage1_bench(ids)
    bench.ste(**{**S1_STE, "S2VMID": 77})
    tree.page(0x5000, OLD)
    bench.pa(0x5000)
    tree.page(0x5000, NEW)
    bench.do(cmd("TLBI_NH_ALL", VMID=0))

    assert bench.pa(0x5000) == NEW


# -- EL2 worlds


def _el2_population(e2h: int) -> Population:
    people = Population(make_ids(Hyp=1))
    bench = people.bench
    bench.w("CR0", 0xC)
    bench.w("CR2", 2 | e2h)
    bench.w("CR0", 0xD)
    for name, strw, asid in (("el1", 0, 3), ("el2", 2, 3), ("el2-b", 2, 4)):
        if name == "el2-b" and not e2h:
            continue
        tree = Tree(bench)
        cd = {"ASID": asid, "T1SZ": 25, "TG1": 2}
        sid = people.stream(tree, {**S1_STE, "STRW": strw}, cd)
        people.entry(f"{name}-page", sid, tree, 0x5000, 3, OWN)
        if name != "el2-b":
            people.entry(f"{name}-global", sid, tree, 0x9000, 3, SHARED)
    people.cache()
    return people


EL2 = {"el2-page", "el2-global"}


@pytest.mark.parametrize(
    ("e2h", "name", "fields", "gone"),
    [
        (0, "TLBI_EL2_ALL", {}, EL2),
        (0, "TLBI_EL2_VA", {"Address": 0x5000, "ASID": 99}, {"el2-page"}),
        (0, "TLBI_EL2_VA", {"Address": 0x9000}, {"el2-global"}),
        (0, "TLBI_EL2_VA", {"Address": 0x6000}, set()),
        (0, "TLBI_EL2_VAA", {"Address": 0x5000}, {"el2-page"}),
        (0, "TLBI_EL2_ASID", {"ASID": 3}, set()),
        (0, "TLBI_NH_ALL", {}, {"el1-page", "el1-global"}),
        (0, "TLBI_NSNH_ALL", {}, {"el1-page", "el1-global"}),
        (0, "TLBI_NH_VAA", {"Address": 0x5000}, {"el1-page"}),
        (0, "TLBI_S12_VMALL", {}, {"el1-page", "el1-global"}),
        (1, "TLBI_EL2_ALL", {}, EL2 | {"el2-b-page"}),
        (1, "TLBI_EL2_ASID", {"ASID": 3}, {"el2-page"}),
        (1, "TLBI_EL2_ASID", {"ASID": 4}, {"el2-b-page"}),
        (1, "TLBI_EL2_VA", {"Address": 0x5000, "ASID": 3}, {"el2-page"}),
        (1, "TLBI_EL2_VA", {"Address": 0x9000, "ASID": 99}, {"el2-global"}),
        (1, "TLBI_EL2_VA", {"Address": 0x5000, "ASID": 99}, set()),
        (1, "TLBI_EL2_VAA", {"Address": 0x5000}, {"el2-page", "el2-b-page"}),
        (1, "TLBI_NSNH_ALL", {}, {"el1-page", "el1-global"}),
        (1, "TLBI_NH_ASID", {"ASID": 3}, {"el1-page"}),
    ],
)
def test_el2_invalidation_reaches_its_scope(
    e2h: int, name: str, fields: dict[str, int], gone: set[str]
) -> None:
    """4.4.2.7 to 4.4.2.10; EL1 commands leave EL2 alone."""
    assert _el2_population(e2h).dropped(cmd(name, **fields)) == gone


def test_el2_all_drops_both_kinds_of_el2_entries() -> None:
    """4.4.2.7: whether ASID-tagged or not; E2H was changed in between."""
    people = _el2_population(0)
    bench = people.bench
    bench.w("CR0", 0xC)
    bench.w("CR2", 3)
    bench.w("CR0", 0xD)
    bench.do(cmd("TLBI_EL2_ALL"))
    bench.w("CR0", 0xC)
    bench.w("CR2", 2)
    bench.w("CR0", 0xD)
    bench.do(CFGI_ALL)

    assert people.kept() == {"el1-page", "el1-global"}


# -- pieces of larger blocks


def test_every_piece_of_a_stage_1_block_goes_with_any_of_its_addresses() -> None:
    """DDI 0487 D8.17: entries splintered from one block are dropped by any address of the block."""
    bench, first, second = nested_bench()
    ipa = 0x6_0000_0000
    first.set(0x40_0000, 2, ipa | OWN | BLOCK)
    for number in range(3):
        second.page(ipa + 0x1000 * number, OLD + 0x1000 * number, S2_RW)
        bench.pa(0x40_0000 + 0x1000 * number)
    first.set(0x40_0000, 2, ipa + (1 << 21) | OWN | BLOCK)
    for number in range(3):
        second.page(ipa + (1 << 21) + 0x1000 * number, NEW + 0x1000 * number, S2_RW)
        assert bench.pa(0x40_0000 + 0x1000 * number) == OLD + 0x1000 * number
    bench.do(cmd("TLBI_NH_VA", VMID=7, ASID=3, Address=0x5F_F000))

    for number in range(3):
        assert bench.pa(0x40_0000 + 0x1000 * number) == NEW + 0x1000 * number


def test_level_hint_is_that_of_the_stage_1_leaf() -> None:
    """4.4.1.1: a piece of a level-2 block is dropped with TTL 2, not 3."""
    bench, first, second = nested_bench()
    ipa = 0x6_0000_0000
    first.set(0x40_0000, 2, ipa | OWN | BLOCK)
    second.page(ipa, OLD, S2_RW)
    bench.pa(0x40_0000)
    first.set(0x40_0000, 2, ipa + (1 << 21) | OWN | BLOCK)
    second.page(ipa + (1 << 21), NEW, S2_RW)
    bench.do(cmd("TLBI_NH_VA", VMID=7, ASID=3, Address=0x40_0000, TG=1, TTL=3))
    kept = bench.pa(0x40_0000)
    bench.do(cmd("TLBI_NH_VA", VMID=7, ASID=3, Address=0x40_0000, TG=1, TTL=2))

    assert (kept, bench.pa(0x40_0000)) == (OLD, NEW)


def test_stage_2_change_of_a_nested_stream_needs_both_invalidations() -> None:
    """4.4.3.1: S2_IPA and then NH_ALL or NH_VAA."""
    bench, first, second = nested_bench()
    ipa = 0x6_0000_0000
    first.page(0x5000, ipa)
    second.page(ipa, OLD, S2_RW)
    assert bench.pa(0x5000) == OLD
    second.page(ipa, NEW, S2_RW)
    assert bench.pa(0x5000) == OLD
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=ipa), cmd("TLBI_NH_VAA", VMID=7, Address=0x5000))

    assert bench.pa(0x5000) == NEW


def test_stage_2_change_under_a_stage_1_table_is_seen_after_invalidation() -> None:
    """5.4.1, 4.4.3.1: the cached IPA of a table's page is stage-2 information."""
    bench, first, second = nested_bench()
    first.page(0x5000, RAM + GUEST)
    assert bench.pa(0x5000) == RAM
    copy = bench.alloc(0x20_0000)
    root_page = first.root & ~0x1F_FFFF
    data = bench.memory.read(root_page - GUEST, 0x20_0000)
    assert data is not None
    bench.memory.write(copy, data)
    second.set(root_page, 2, copy | S2_RW | BLOCK)
    bench.write64(copy + (first.root & 0x1F_FFFF), 0)  # the copy's root is empty
    bench.do(cmd("TLBI_NH_ALL", VMID=7))
    assert bench.pa(0x5000) == RAM, "the stage-2 entry for the table is still cached"
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=root_page), cmd("TLBI_NH_ALL", VMID=7))

    assert bench.code(0x5000) == 0x10


# -- configuration


def _streams(count: int, first: int = SID) -> tuple[Bench, Tree]:
    bench, tree = stage1_bench()
    tree.page(0x5000, OLD)
    for number in range(count):
        bench.ste(first + number, **S1_STE)
        bench.pa(0x5000, sid=first + number)
    for number in range(count):
        bench.ste(first + number, V=1, Config=0b000)
    return bench, tree


def _kept_streams(bench: Bench, count: int, first: int = SID) -> set[int]:
    kept = set()
    for sid in range(first, first + count):
        if isinstance(bench.go(0x5000, sid=sid), Translation):
            kept.add(sid)
    return kept


@pytest.mark.parametrize("leaf", [0, 1])
def test_cfgi_ste_drops_one_stream(leaf: int) -> None:
    """4.3.1."""
    bench, _ = _streams(4)
    bench.do(cmd("CFGI_STE", StreamID=SID + 1, Leaf=leaf))

    assert _kept_streams(bench, 4) == {SID, SID + 2, SID + 3}


@pytest.mark.parametrize(
    ("sid", "log2", "gone"),
    [
        (0x20, 0, {0x20, 0x21}),
        (0x21, 0, {0x20, 0x21}),
        (0x23, 1, {0x20, 0x21, 0x22, 0x23}),
        (0x2F, 2, set(range(0x28, 0x30))),
        (0x25, 3, set(range(0x20, 0x30))),
        (0x00, 4, set()),
        (0x3F, 4, set(range(0x20, 0x30))),
        (0x00, 31, set(range(0x20, 0x30))),
        (0xFFFF_FFFF, 31, set(range(0x20, 0x30))),
        (0x8000_0020, 0, set()),
    ],
)
def test_cfgi_ste_range_drops_an_aligned_block(sid: int, log2: int, gone: set[int]) -> None:
    """4.3.2: 2^(Range+1) streams, the bottom Range+1 bits ignored; 4.3.6: 31 is CFGI_ALL."""
    bench, _ = _streams(16, 0x20)
    bench.do(cmd("CFGI_STE_RANGE", StreamID=sid, Range=log2))

    assert _kept_streams(bench, 16, 0x20) == set(range(0x20, 0x30)) - gone


@pytest.mark.parametrize("name", ["CFGI_CD", "CFGI_CD_ALL"])
def test_cfgi_cd_drops_the_cd_and_keeps_the_ste(name: str) -> None:
    """4.3.3, 4.3.4: STE and CD are cached one by one (4.3)."""
    bench, tree = stage1_bench()
    tree.page(0x5000, OLD, OWN)
    assert bench.pa(0x5000) == OLD
    other = Tree(bench)
    other.page(0x5000, NEW, OWN)
    bench.cd(**{**PLAIN_CD, "TTB0": other.root, "ASID": 44})
    bench.ste(V=1, Config=0b000)
    assert bench.pa(0x5000) == OLD
    bench.do(cmd(name, StreamID=SID + 1))
    assert bench.pa(0x5000) == OLD
    bench.do(cmd(name, StreamID=SID))
    assert bench.pa(0x5000) == NEW
    bench.do(cmd("CFGI_STE", StreamID=SID))

    assert isinstance(bench.go(0x5000), Fault)


def test_cfgi_ste_drops_the_cds_fetched_through_it() -> None:
    """4.3.1, 5.2.1."""
    bench, tree = stage1_bench()
    tree.page(0x5000, OLD, OWN)
    bench.pa(0x5000)
    other = Tree(bench)
    other.page(0x5000, NEW, OWN)
    bench.cd(**{**PLAIN_CD, "TTB0": other.root, "ASID": 44})
    bench.do(cmd("CFGI_STE", StreamID=SID, Leaf=1))

    assert bench.pa(0x5000) == NEW


def test_shared_cd_is_cached_for_each_stream() -> None:
    """4.3.3, 5.4.1."""
    bench, tree = stage1_bench()
    bench.ste(SID + 1, **S1_STE)
    tree.page(0x5000, OLD, OWN)
    for sid in (SID, SID + 1):
        bench.pa(0x5000, sid=sid)
    other = Tree(bench)
    other.page(0x5000, NEW, OWN)
    bench.cd(**{**PLAIN_CD, "TTB0": other.root, "ASID": 44})
    bench.do(cmd("CFGI_CD", StreamID=SID))

    assert (bench.pa(0x5000), bench.pa(0x5000, sid=SID + 1)) == (NEW, OLD)


def test_l1std_is_fetched_again_after_a_non_leaf_invalidation() -> None:
    """4.3.1 Leaf 0, 5.1.1."""
    bench, _ = stage2_bench()
    bench.w("CR0", 0xC)
    bench.w("STRTAB_BASE_CFG", 1 << 16 | 6 << 6 | 12)
    level1, old, new = (bench.alloc(0x1000) for _ in range(3))
    bench.w("STRTAB_BASE", level1)
    bench.w("CR0", 0xD)
    bench.write64(level1, old | 7)
    bench.ste(at=old + 64 * 3, V=1, Config=0b100, SHCFG=1)
    assert bench.pa(0x5000, sid=3) == 0x5000
    bench.write64(level1, new | 7)
    bench.do(cmd("CFGI_STE", StreamID=3, Leaf=0))

    assert bench.code(0x5000, sid=3) == 0x04
