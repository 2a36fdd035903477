# SPDX-License-Identifier: GPL-2.0-or-later
"""Pointers to tables. Spec: IHI 0070 3.21.1, 4.4 (Leaf, TTL), 4.3.1, 16.2; DDI 0487 D8.17."""

from __future__ import annotations

import pytest

from tests.unit.policy.rig import adversary
from tests.unit.smmuv3.rig import (
    AP_TABLE_1,
    GUEST,
    NG,
    PLAIN_CD,
    RAM,
    RW,
    S1_STE,
    S2_RW,
    SID,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

NEAR, FAR = 0x5000, 0x40_0000
OLD, NEW = RAM + 0x5000, RAM + 0x9000
F_TRANSLATION, F_PERMISSION = 0x10, 0x13


def _replaced(tree: Tree, page: int, address: int = NEAR) -> None:
    """Software frees the last table and puts another in its place, which maps to ``page``."""
    where = tree.at(address, 2)
    old = tree.bench.memory.read_u64(where + tree.delta)
    assert old is not None
    tree.bench.write64(where + tree.delta, 0)
    tree.page(address, page)
    assert tree.bench.memory.read_u64(where + tree.delta) != old


def _stage1() -> tuple[Bench, Tree]:
    bench, tree = stage1_bench()
    tree.page(NEAR, OLD)
    adversary(bench, "table-pointers")
    assert bench.pa(NEAR) == OLD
    return bench, tree


VA = {"Address": NEAR, "ASID": 3}


@pytest.mark.parametrize(
    ("command", "stale"),
    [
        (cmd("TLBI_NH_VA", **VA, Leaf=1), True),
        (cmd("TLBI_NH_VAA", Address=NEAR, Leaf=1), True),
        (cmd("TLBI_NH_VA", **VA), False),
        (cmd("TLBI_NH_VAA", Address=NEAR), False),
        (cmd("TLBI_NH_ASID", ASID=3), False),
        (cmd("TLBI_NH_ASID", ASID=4), True),
        (cmd("TLBI_NH_ALL"), False),
        (cmd("TLBI_NSNH_ALL"), False),
    ],
)
def test_freed_table_is_used_until_an_invalidation_that_is_not_leaf_only(
    command: int, stale: bool
) -> None:
    bench, tree = _stage1()
    _replaced(tree, NEW)
    bench.do(cmd("TLBI_NH_VA", **VA, Leaf=1), command)
    assert bench.pa(NEAR) == (OLD if stale else NEW)


def test_invalidation_of_a_neighbour_drops_the_pointer_that_both_share() -> None:
    bench, tree = _stage1()
    _replaced(tree, NEW)
    bench.do(cmd("TLBI_NH_VA", Address=NEAR + 0x1000, ASID=3))
    assert bench.pa(NEAR) == OLD  # the page's own entry is not reached
    bench.do(cmd("TLBI_NH_VA", **VA, Leaf=1))
    assert bench.pa(NEAR) == NEW


def test_invalidation_elsewhere_leaves_the_pointer() -> None:
    bench, tree = _stage1()
    _replaced(tree, NEW)
    bench.do(cmd("TLBI_NH_VA", Address=FAR, ASID=3), cmd("TLBI_NH_VA", **VA, Leaf=1))
    assert bench.pa(NEAR) == OLD


@pytest.mark.parametrize(("level", "stale"), [(3, False), (2, True), (0, False)])
def test_ttl_reaches_pointers_above_the_level_that_it_names(level: int, stale: bool) -> None:
    """4.4.1.1: with Leaf 0 those from the start of the walk to the level before TTL's."""
    bench, tree = _stage1()
    _replaced(tree, NEW)
    ranged = cmd("TLBI_NH_VA", Address=0, ASID=3, TG=1, TTL=level, NUM=7)
    bench.do(cmd("TLBI_NH_VA", **VA, Leaf=1), ranged)
    assert bench.pa(NEAR) == (OLD if stale else NEW)


def test_range_of_another_granule_leaves_pointers() -> None:
    bench, tree = _stage1()
    _replaced(tree, NEW)
    bench.do(
        cmd("TLBI_NH_VA", **VA, Leaf=1), cmd("TLBI_NH_VA", Address=0, ASID=3, TG=3, TTL=3, NUM=7)
    )
    assert bench.pa(NEAR) == OLD


def test_pointers_save_reads() -> None:
    bench, tree = stage1_bench()
    tree.page(NEAR, OLD)
    tree.page(NEAR + 0x1000, NEW)
    adversary(bench, "table-pointers")
    reads = bench.watch("walk")
    bench.pa(NEAR)
    assert len(reads) == 3  # 39 bits of 4 KiB pages start at level 1
    bench.pa(NEAR + 0x1000)
    assert len(reads) == 4


def test_pointers_are_under_their_own_asid() -> None:
    bench, tree = _stage1()
    other = bench.alloc(64)
    bench.cd(other, **{**PLAIN_CD, "TTB0": tree.root, "ASID": 4})
    bench.ste(SID + 1, **{**S1_STE, "S1ContextPtr": other})
    _replaced(tree, NEW)
    bench.do(cmd("TLBI_NH_VAA", Address=NEAR, Leaf=1))
    assert bench.pa(NEAR, sid=SID + 1) == NEW
    bench.do(cmd("TLBI_NH_VAA", Address=NEAR, Leaf=1))
    assert bench.pa(NEAR) == OLD


def test_restrictions_of_the_tables_above_hold_below_a_pointer() -> None:
    bench, tree = stage1_bench(make_ids())
    tree.set(NEAR, 3, OLD | RW | 3, table_bits=AP_TABLE_1)
    tree.page(NEAR + 0x1000, NEW)
    adversary(bench, "table-pointers")
    assert bench.code(NEAR, True) == F_PERMISSION
    assert bench.pa(NEAR + 0x1000) == NEW
    assert bench.code(NEAR + 0x1000, True) == F_PERMISSION


def test_invalid_descriptors_are_never_pointers() -> None:
    bench, tree = stage1_bench()
    adversary(bench, "table-pointers")
    assert bench.code(NEAR) == F_TRANSLATION
    tree.page(NEAR, OLD)
    assert bench.pa(NEAR) == OLD


def test_stage2_pointers_go_by_ipa_unless_leaf_only() -> None:
    bench, tree = stage2_bench()
    tree.set(NEAR, 3, OLD | S2_RW | 3)
    adversary(bench, "table-pointers")
    assert bench.pa(NEAR) == OLD
    where = tree.at(NEAR, 2)
    bench.write64(where, 0)
    tree.set(NEAR, 3, NEW | S2_RW | 3)
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=NEAR, Leaf=1))
    assert bench.pa(NEAR) == OLD
    bench.do(cmd("TLBI_S2_IPA", VMID=8, Address=NEAR), cmd("TLBI_S2_IPA", VMID=7, Address=FAR << 8))
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=NEAR, Leaf=1))
    assert bench.pa(NEAR) == OLD
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=NEAR))
    assert bench.pa(NEAR) == NEW


def _guest_tables_move(seed: int) -> int | None:
    """Stage 2 moves the guest's last table, and software invalidates by IPA alone: where a
    transaction to another page of that table lands then."""
    bench, first, second = nested_bench()
    first.page(NEAR, GUEST + OLD)
    first.page(NEAR + 0x1000, GUEST + OLD)
    adversary(bench, f"table-pointers,seed={seed}")
    assert bench.pa(NEAR) == OLD
    table = first.at(NEAR, 3) & -0x1000
    copy = bench.alloc(0x1000)
    data = bench.memory.read(table + first.delta, 0x1000)
    assert data is not None
    bench.memory.write(copy, data)
    block = table & -(1 << 21)
    offset = copy - (table - GUEST)
    where = copy & -(1 << 21)
    if where == block - GUEST:  # within one block nothing moves by blocks
        pages = bench.alloc(0x1000)
        for number in range(512):
            bench.write64(pages + 8 * number, block - GUEST + 0x1000 * number | S2_RW | 3)
        bench.write64(pages + (table >> 9 & 0xFF8), copy | S2_RW | 3)
        bench.write64(second.at(block, 2), pages | 3)
    assert offset
    index = (NEAR + 0x1000) >> 9 & 0xFF8
    bench.write64(copy + index, GUEST + NEW | RW | 3)
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=table))
    stale = bench.pa(NEAR + 0x1000)
    bench.do(cmd("TLBI_NH_ALL", VMID=7))
    assert bench.pa(NEAR + 0x1000) == NEW
    return stale


def test_pointer_past_stage_2_survives_invalidation_by_ipa_alone() -> None:
    """16.2.1: combined entries need an invalidation by VA, or of all of stage 1, as well."""
    assert {_guest_tables_move(seed) for seed in range(8)} == {OLD, NEW}


@pytest.mark.parametrize(("leaf", "stale"), [(1, True), (0, False)])
def test_l1std_is_kept_by_cfgi_ste_with_leaf(leaf: int, stale: bool) -> None:
    """4.3.1: with Leaf 1 the L1STD is not required to go."""
    bench, tree = stage1_bench()
    tree.page(NEAR, OLD)
    level1, tables = bench.alloc(0x1000), [bench.alloc(64 << 6) for _ in range(2)]
    bench.w("CR0", 0xC)
    bench.w("STRTAB_BASE", level1)
    bench.w("STRTAB_BASE_CFG", 8 | 6 << 6 | 1 << 16)
    bench.write64(level1, tables[0] | 7)
    bench.ste(at=tables[0] + 64 * SID, **S1_STE)
    bench.ste(at=tables[1] + 64 * SID, V=1, Config=4, SHCFG=1)
    bench.w("CR0", 0xD)
    adversary(bench, "table-pointers")
    assert bench.pa(NEAR) == OLD
    bench.write64(level1, tables[1] | 7)
    bench.do(cmd("CFGI_STE", StreamID=SID, Leaf=leaf))
    assert bench.pa(NEAR) == (OLD if stale else NEAR)
    bench.do(cmd("CFGI_STE_RANGE", StreamID=0, Range=31))
    assert bench.pa(NEAR) == NEAR


@pytest.mark.parametrize(
    ("command", "stale"),
    [
        (cmd("CFGI_CD", StreamID=SID, SubstreamID=1, Leaf=1), True),
        (cmd("CFGI_CD", StreamID=SID, SubstreamID=1), False),
        (cmd("CFGI_CD_ALL", StreamID=SID), False),
        (cmd("CFGI_STE", StreamID=SID, Leaf=1), False),
    ],
)
def test_l1cd_goes_by_what_names_it(command: int, stale: bool) -> None:
    """4.3.1, 4.3.3, 4.3.4."""
    bench = Bench(make_ids(SSIDSIZE=8, CD2L=1))
    trees = [Tree(bench), Tree(bench)]
    for tree, page in zip(trees, (OLD, NEW), strict=True):
        tree.page(NEAR, page, RW | NG)
    level1, tables = bench.alloc(64), [bench.alloc(64 << 6) for _ in range(2)]
    for table, tree in zip(tables, trees, strict=True):
        bench.cd(table + 64, **{**PLAIN_CD, "TTB0": tree.root, "ASID": 3 + trees.index(tree)})
    bench.write64(level1, tables[0] | 1)
    bench.ste(**{**S1_STE, "S1ContextPtr": level1, "S1Fmt": 1, "S1CDMax": 7})
    adversary(bench, "table-pointers")
    assert bench.pa(NEAR, ssid=1) == OLD
    bench.write64(level1, tables[1] | 1)
    bench.do(cmd("CFGI_CD", StreamID=SID, SubstreamID=1, Leaf=1), command)
    assert bench.pa(NEAR, ssid=1) == (OLD if stale else NEW)


def test_reset_and_removal_leave_no_pointer() -> None:
    bench, _ = _stage1()
    assert len(bench.smmu.walk_cache) == 2
    bench.smmu.reset()
    assert len(bench.smmu.walk_cache) == 0
    bench, tree = stage1_bench()
    tree.page(NEAR, OLD)
    removed = adversary(bench, "table-pointers")
    bench.pa(NEAR)
    removed.remove()
    assert len(bench.smmu.walk_cache) == 0
