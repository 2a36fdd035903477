# SPDX-License-Identifier: GPL-2.0-or-later
"""What is cached, for how long, and under which tags.

Spec: IHI 0070 3.3.3 and 3.17 (tags), 3.21 (structure rules), 5.2.1 and 5.4.1 (fields that may sit
in a TLB), 6.3.9.6 (SMMUEN), 16.2; DDI 0487 D8.16 (R_XCLRD: what is never cached).
"""

from __future__ import annotations

import pytest

from smmu_emu.tlb import Tlb
from smmu_emu.transaction import Translation
from tests.unit.smmuv3.rig import (
    AF,
    BLOCK,
    CD_AT,
    CFGI_ALL,
    GUEST,
    NG,
    PLAIN_CD,
    RAM,
    READ_ONLY,
    RW,
    S1_STE,
    S2_READ,
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
OLD, NEW = 0x100_0000_0000, 0x200_0000_0000
IOVA = 0x5000
TLBI_ALL = cmd("TLBI_NSNH_ALL")


def test_translation_stays_until_it_is_invalidated() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    assert bench.pa(IOVA) == OLD
    tree.set(IOVA, 3, 0)
    assert [bench.pa(IOVA + offset) for offset in (0, 0xFFF)] == [OLD, OLD + 0xFFF]
    bench.do(TLBI_ALL)

    assert bench.code(IOVA) == 0x10


def test_hit_reads_no_memory() -> None:
    bench, first, _ = nested_bench()
    first.page(IOVA, RAM + GUEST)
    bench.pa(IOVA)
    reads = bench.watch("walk"), bench.watch("config")
    bench.pa(IOVA, True)

    assert reads == ([], [])


def test_structures_stay_until_they_are_invalidated() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.pa(IOVA)
    bench.ste(V=0)
    bench.cd(V=0)
    bench.do(TLBI_ALL)
    assert bench.pa(IOVA) == OLD
    bench.do(cmd("CFGI_CD", StreamID=SID))
    assert bench.code(IOVA) == 0x0A
    bench.do(CFGI_ALL)

    assert bench.code(IOVA) == 0x04


def test_switching_translation_off_and_on_keeps_the_caches() -> None:
    """6.3.9.6: a change to SMMUEN is not required to invalidate anything, and does not."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.pa(IOVA)
    tree.page(IOVA, NEW)
    bench.ste(V=0)
    bench.w("CR0", 0xC)
    assert bench.pa(IOVA) == IOVA
    bench.w("CR0", 0xD)

    assert bench.pa(IOVA) == OLD


def test_nothing_is_fetched_or_cached_while_translation_is_off() -> None:
    """3.11, 6.3.9.6."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.w("CR0", 0xC)
    reads = bench.watch("walk"), bench.watch("config")
    assert bench.pa(IOVA) == IOVA
    bench.do(cmd("PREFETCH_CONFIG", StreamID=SID), cmd("PREFETCH_ADDR", StreamID=SID))
    assert reads == ([], [])
    bench.w("CR0", 0xD)

    assert bench.pa(IOVA) == OLD


# -- what is never cached


@pytest.mark.parametrize(
    ("descriptor", "event"),
    [
        (0, 0x10),
        (OLD | RW | 1, 0x10),
        (1 << 45 | RW | 3, 0x11),
        (OLD | USER | 3, 0x12),
    ],
)
def test_repaired_descriptor_needs_no_invalidation(descriptor: int, event: int) -> None:
    """DDI 0487 R_XCLRD: translation, address size and access flag faults are not cached."""
    bench, tree = stage1_bench()
    tree.set(IOVA, 3, descriptor)
    if event == 0x11:
        bench.cd(**{**PLAIN_CD, "TTB0": tree.root, "IPS": 4})
    assert bench.code(IOVA) == event
    tree.page(IOVA, NEW)

    assert bench.pa(IOVA) == NEW


def test_repaired_table_descriptor_needs_no_invalidation() -> None:
    bench, tree = stage1_bench()
    assert bench.code(IOVA) == 0x10
    tree.page(IOVA, NEW)

    assert bench.pa(IOVA) == NEW


def test_aborted_walk_is_not_cached() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, NEW)
    port = bench.smmu.ports["walk"]
    read = port.read_u64
    port.read_u64 = lambda pa: None
    assert bench.code(IOVA) == 0x0B
    port.read_u64 = read

    assert bench.pa(IOVA) == NEW


def test_repaired_stage_2_descriptor_needs_no_invalidation() -> None:
    bench, first, second = nested_bench()
    ipa = 0x6_0000_0000
    first.page(IOVA, ipa)
    assert bench.code(IOVA) == 0x10
    second.page(ipa, NEW, S2_RW & ~AF)
    assert bench.code(IOVA) == 0x12
    second.page(ipa, NEW, S2_RW)

    assert bench.pa(IOVA) == NEW


@pytest.mark.parametrize("stage", [1, 2])
def test_widened_permission_is_seen_after_invalidation_at_the_latest(stage: int) -> None:
    """Entries that only lack a permission may be cached."""
    bench, tree = stage1_bench() if stage == 1 else stage2_bench()
    tree.page(IOVA, OLD, RW | READ_ONLY if stage == 1 else S2_READ | 0x3C | AF)
    assert bench.code(IOVA, True) == 0x13
    tree.page(IOVA, OLD, RW if stage == 1 else S2_RW)
    bench.do(TLBI_ALL)

    assert bench.pa(IOVA, True) == OLD


# -- permissions on hits


def test_hit_is_judged_by_the_kind_of_this_access() -> None:
    """16.2: a hit gives the result of the walk."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD, RW | READ_ONLY)
    assert bench.pa(IOVA) == OLD
    record = bench.refused(IOVA, True)
    assert record is not None
    assert (record["Number"], record["RnW"], record["S2"], record["CLASS"]) == (0x13, 0, 0, 2)

    assert bench.pa(IOVA) == OLD


def test_refusal_by_stage_2_on_a_hit_reports_the_ipa() -> None:
    """7.3.16, 7.3.13: S2, CLASS IN and the IPA's page, gated by S2R."""
    bench, first, second = nested_bench(cd={"R": 0})
    ipa = 0x6_0000_0000
    first.page(IOVA, ipa)
    second.page(ipa, OLD, S2_RW & ~0x80)
    assert bench.pa(IOVA + 0x123) == OLD + 0x123
    record = bench.refused(IOVA + 0x456, True)

    assert record is not None
    assert (record["Number"], record["S2"], record["CLASS"]) == (0x13, 1, 2)
    assert (record["IPA"], record["InputAddr"]) == (ipa, IOVA + 0x456)


def test_write_only_stage_2_page_refuses_reads_on_hits() -> None:
    bench, tree = stage2_bench()
    tree.page(IOVA, OLD, S2_RW & ~S2_READ)
    assert bench.pa(IOVA, True) == OLD
    record = bench.refused(IOVA)

    assert record is not None
    assert (record["Number"], record["S2"], record["IPA"], record["RnW"]) == (0x13, 1, IOVA, 1)


# -- tags


def _second_stream(bench: Bench, ste: dict[str, int], cd: dict[str, int]) -> Tree:
    tree = Tree(bench)
    at = bench.alloc(64)
    bench.cd(at, **{**PLAIN_CD, "TTB0": tree.root, **cd})
    bench.ste(SID + 1, **{**S1_STE, **ste, "S1ContextPtr": at})
    return tree


@pytest.mark.parametrize(
    ("ste", "cd"), [({"S2VMID": 5}, {}), ({}, {"ASID": 4}), ({"S2VMID": 5}, {"ASID": 4})]
)
def test_address_spaces_are_told_apart(ste: dict[str, int], cd: dict[str, int]) -> None:
    """3.17: NS-EL1 translations carry VMID and ASID, stage-1-only streams too (5.2 S2VMID)."""
    bench, tree = stage1_bench()
    other = _second_stream(bench, ste, cd)
    tree.page(IOVA, OLD, OWN)
    other.page(IOVA, NEW, OWN)

    for _ in range(2):
        assert (bench.pa(IOVA), bench.pa(IOVA, sid=SID + 1)) == (OLD, NEW)


def test_global_translation_serves_every_asid_of_its_vmid() -> None:
    """3.17: nG 0; another VMID does not see it."""
    bench, tree = stage1_bench()
    same_vmid = _second_stream(bench, {}, {"ASID": 4})
    tree.page(IOVA, OLD)
    same_vmid.page(IOVA, NEW, OWN)
    assert bench.pa(IOVA) == OLD
    assert bench.pa(IOVA, sid=SID + 1) == OLD
    _second_stream(bench, {"S2VMID": 5}, {"ASID": 4}).page(IOVA, NEW, OWN)
    bench.do(CFGI_ALL)

    assert bench.pa(IOVA, sid=SID + 1) == NEW


@pytest.mark.parametrize("aset", [0, 1])
def test_global_translation_stays_within_its_asid_set(aset: int) -> None:
    """3.17.1, 5.4 ASET: global entries match only lookups from the same ASID set."""
    bench, tree = stage1_bench(ASET=aset)
    other = _second_stream(bench, {}, {"ASID": 4, "ASET": 1 - aset})
    tree.page(IOVA, OLD)
    other.page(IOVA, NEW)

    for _ in range(2):
        assert (bench.pa(IOVA), bench.pa(IOVA, sid=SID + 1)) == (OLD, NEW)


def test_asid_set_does_not_divide_what_is_not_global() -> None:
    """3.17: an ASID is the same with either value of ASET, for lookup and for commands."""
    bench, tree = stage1_bench()
    other = _second_stream(bench, {}, {"ASET": 1})
    tree.page(IOVA, OLD, OWN)
    other.page(IOVA, NEW, OWN)
    assert bench.pa(IOVA) == OLD
    bench.pa(IOVA, sid=SID + 1)
    bench.do(cmd("TLBI_NH_ASID", ASID=3))
    tree.set(IOVA, 3, 0)
    other.set(IOVA, 3, 0)

    assert (bench.code(IOVA), bench.code(IOVA, sid=SID + 1)) == (0x10, 0x10)


def test_vmid_has_no_effect_without_stage_2() -> None:
    """5.2 S2VMID: no VMID tagging when stage 2 is not implemented."""
    bench, tree = stage1_bench(make_ids("qemu-stage1"))
    other = _second_stream(bench, {"S2VMID": 5}, {})
    tree.page(IOVA, OLD, OWN)
    other.page(IOVA, NEW, OWN)
    assert bench.pa(IOVA) == OLD

    assert bench.pa(IOVA, sid=SID + 1) == OLD


def test_stage_2_translations_are_kept_apart_from_stage_1_ones() -> None:
    bench, first, second = nested_bench()
    first.page(IOVA, RAM + GUEST)
    second.page(IOVA, NEW, S2_RW)
    bench.ste(SID + 1, **{**S2_STE, "S2TTB": second.root})
    for _ in range(2):
        assert (bench.pa(IOVA), bench.pa(IOVA, sid=SID + 1)) == (RAM, NEW)


def test_stage_1_only_stream_survives_entries_of_a_nested_one_with_the_same_tags() -> None:
    """3.3.3: equal tags may give either stream's translation, never a crash."""
    bench, first, second = nested_bench()
    ipa = 0x6_0000_0000
    first.page(IOVA, ipa, OWN)
    second.page(ipa, OLD, S2_RW & ~0x80)
    assert bench.pa(IOVA) == OLD
    tree = _second_stream(bench, {"S2VMID": 7}, {})
    tree.page(IOVA, NEW, OWN)
    result = bench.go(IOVA, True, sid=SID + 1)

    assert not isinstance(result, Translation) or result.pa in (OLD, NEW)


def test_nested_stream_never_escapes_stage_2_through_a_stage_1_only_one() -> None:
    """5.4.1: no mistake in tags may give access that stage 2 does not."""
    bench, first, second = nested_bench()
    ipa = 0x6_0000_0000
    first.page(IOVA, ipa, OWN)
    second.page(ipa, OLD, S2_RW)
    tree = _second_stream(bench, {"S2VMID": 7}, {})
    tree.page(IOVA, NEW, OWN)
    assert bench.pa(IOVA, sid=SID + 1) == NEW

    assert bench.pa(IOVA) == OLD


# -- fields that may, and fields that may not, sit in a TLB


def test_recording_of_faults_changes_with_cfgi_alone() -> None:
    """5.4.1: A, R and S need no TLB invalidation."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD, RW | READ_ONLY)
    bench.pa(IOVA)
    assert bench.code(IOVA, True) == 0x13
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root, "R": 0})
    bench.do(cmd("CFGI_CD", StreamID=SID))

    assert bench.code(IOVA, True) is None


def test_recording_of_stage_2_faults_changes_with_cfgi_alone() -> None:
    """5.2.1: S2R is not in the list of cacheable fields."""
    bench, tree = stage2_bench()
    tree.page(IOVA, OLD, S2_RW & ~0x80)
    bench.pa(IOVA)
    assert bench.code(IOVA, True) == 0x13
    bench.ste(**{**S2_STE, "S2TTB": tree.root, "S2R": 0})
    bench.do(cmd("CFGI_STE", StreamID=SID))

    assert bench.code(IOVA, True) is None


def test_cached_translation_outlives_a_new_table_base() -> None:
    """5.4.1: TTB0 may be cached in a TLB; CFGI and TLBI together make the change visible."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD, OWN)
    bench.pa(IOVA)
    other = Tree(bench)
    other.page(IOVA, NEW, OWN)
    bench.cd(**{**PLAIN_CD, "TTB0": other.root})
    bench.do(cmd("CFGI_CD", StreamID=SID))
    assert bench.pa(IOVA) == OLD
    bench.do(cmd("TLBI_NH_ASID", ASID=3))

    assert bench.pa(IOVA) == NEW


def test_disabled_half_still_hits() -> None:
    """5.4.1.1: EPD forbids the walk; the architecture allows the hit, and it is given here."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    bench.pa(IOVA)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root, "EPD0": 1})
    bench.do(cmd("CFGI_CD", StreamID=SID))
    assert bench.pa(IOVA) == OLD
    bench.do(TLBI_ALL)

    assert bench.code(IOVA) == 0x10


# -- sizes and capacity


@pytest.mark.parametrize(("level", "size_lg2"), [(1, 30), (2, 21), (3, 12)])
def test_entry_covers_its_block(level: int, size_lg2: int) -> None:
    bench, tree = stage1_bench()
    start = 3 << 30
    tree.set(start, level, OLD | RW | (BLOCK if level < 3 else 3))
    result = bench.go(start)
    assert isinstance(result, Translation)
    assert result.size_lg2 == size_lg2
    tree.set(start, level, 0)
    last = (1 << size_lg2) - 1

    assert bench.pa(start + last) == OLD + last


@pytest.mark.parametrize(("s1_level", "s2_level", "size_lg2"), [(2, 3, 12), (3, 2, 12), (2, 2, 21)])
def test_combined_entry_is_as_large_as_the_smaller_leaf(
    s1_level: int, s2_level: int, size_lg2: int
) -> None:
    """13.6.3, 16.2."""
    bench, first, second = nested_bench()
    ipa = 0x6_0000_0000
    first.set(0x40_0000, s1_level, ipa | RW | (BLOCK if s1_level < 3 else 3))
    second.set(ipa, s2_level, OLD | S2_RW | (BLOCK if s2_level < 3 else 3))
    result = bench.go(0x40_0000)

    assert isinstance(result, Translation)
    assert (result.pa, result.size_lg2) == (OLD, size_lg2)


def test_full_tlb_forgets_the_oldest() -> None:
    """A capacity is a choice; the first in is the first out."""
    tlb = Tlb(capacity=4)
    bench = Bench(tlb=tlb)
    tree = Tree(bench)
    bench.ste(**S1_STE)
    bench.cd(CD_AT, **{**PLAIN_CD, "TTB0": tree.root})
    for number in range(5):
        tree.page(number << 12, OLD + (number << 12), OWN)
        bench.pa(number << 12)
    for number in range(5):
        tree.page(number << 12, NEW + (number << 12), OWN)
    assert [bench.pa(number << 12) >> 40 for number in (4, 3, 2, 1)] == [1, 1, 1, 1]

    assert bench.pa(0) == NEW
    assert len(tlb) == 4


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_tiny_tlb_translates_correctly(capacity: int) -> None:
    """Nested walks insert stage-2 entries while they go on; results do not depend on it."""
    bench, first, second = nested_bench()
    bench.smmu.tlb.capacity = capacity
    for number in range(4):
        ipa = 0x6_0000_0000 + (number << 30)
        first.page(number << 30, ipa, OWN)
        second.page(ipa, OLD + (number << 12), S2_RW)
    for _ in range(2):
        for number in range(4):
            assert bench.pa(number << 30) == OLD + (number << 12)

    assert len(bench.smmu.tlb) <= capacity
