# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes of entries. Spec: DDI 0487 D8.7.1 (contiguous hint), D8.17 (splintered blocks)."""

from __future__ import annotations

import pytest

from smmu_emu.policy.sizes import RUN_LG2
from tests.unit.policy.rig import adversary
from tests.unit.smmuv3.rig import (
    AF,
    BLOCK,
    CONTIGUOUS,
    GUEST,
    PAGE,
    RAM,
    READ_ONLY,
    RW,
    S2_RW,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

MIB2, IOVA = 1 << 21, 0x4020_0000
OLD, NEW = 0x100_0000_0000, 0x200_0000_0000


def _sizes(bench: Bench) -> set[int]:
    return {entry.size_lg2 for space in bench.smmu.tlb.spaces.values() for entry in space.entries()}


def test_split_caches_pieces_that_translate_as_the_block_does() -> None:
    bench, tree = stage1_bench()
    tree.set(IOVA, 2, OLD | RW | BLOCK)
    adversary(bench, "split,seed=1")
    for offset in range(0, MIB2, 0x1234):
        assert bench.pa(IOVA + offset) == OLD + offset
    assert len(_sizes(bench)) > 3
    assert min(_sizes(bench)) >= 12


@pytest.mark.parametrize("seed", range(4))
def test_any_address_of_a_split_block_drops_all_pieces(seed: int) -> None:
    bench, tree = stage1_bench()
    tree.set(IOVA, 2, OLD | RW | BLOCK)
    adversary(bench, f"split,seed={seed}")
    for offset in range(0, MIB2, 0x1_1000):
        bench.pa(IOVA + offset)
    tree.set(IOVA, 2, NEW | RW | BLOCK)
    bench.do(cmd("TLBI_NH_VA", Address=IOVA + 0x12_3000, ASID=3, Leaf=1))
    assert len(bench.smmu.tlb) == 0
    for offset in range(0, MIB2, 0x1_1000):
        assert bench.pa(IOVA + offset) == NEW + offset


def test_split_pieces_of_both_stages_go_by_the_blocks_addresses() -> None:
    bench, tree = stage2_bench()
    tree.set(IOVA, 2, OLD | S2_RW | BLOCK)
    adversary(bench, "split,seed=2")
    for offset in range(0, MIB2, 0x1_1000):
        assert bench.pa(IOVA + offset) == OLD + offset
    bench.do(cmd("TLBI_S2_IPA", VMID=7, Address=IOVA + 0x1F_F000, Leaf=1))
    assert len(bench.smmu.tlb) == 0

    bench, first, _ = nested_bench()
    first.set(IOVA, 2, GUEST + RAM + RW | BLOCK)
    adversary(bench, "split,seed=2")
    for offset in range(0, MIB2, 0x1_1000):
        assert bench.pa(IOVA + offset) == RAM + offset
    bench.do(cmd("TLBI_NH_VA", VMID=7, Address=IOVA + 0x1F_F000, ASID=3, Leaf=1))
    nested = [tag for tag, space in bench.smmu.tlb.spaces.items() if len(space)]
    assert {tag.world.name for tag in nested} == {"S2"}  # type: ignore[attr-defined]


def _run(tree: Tree, *, bits: int = RW, count: int = 16, first: int = 0) -> None:
    for number in range(count):
        page = OLD + 0x1000 * (first + number)
        tree.set(0x1_0000 + 0x1000 * number, 3, page | bits | CONTIGUOUS | PAGE)


def test_merge_caches_a_run_as_one_entry() -> None:
    bench, tree = stage1_bench()
    _run(tree)
    adversary(bench, "merge")
    assert bench.pa(0x1_3456) == OLD + 0x3456
    assert _sizes(bench) == {16}
    for number in range(16):
        assert bench.pa(0x1_0000 + 0x1000 * number) == OLD + 0x1000 * number
    assert bench.smmu.stages.walks == 1


def test_merged_run_stays_as_it_was_read_until_an_address_of_it_is_invalidated() -> None:
    """A driver that changes one page of a run, and tells of another, is served the old one."""
    bench, tree = stage1_bench()
    _run(tree)
    adversary(bench, "merge")
    bench.pa(0x1_0000)
    tree.set(0x1_5000, 3, 0)
    assert bench.pa(0x1_5000) == OLD + 0x5000
    bench.do(cmd("TLBI_NH_VA", Address=0x2_0000, ASID=3, Leaf=1))
    assert bench.pa(0x1_5000) == OLD + 0x5000
    bench.do(cmd("TLBI_NH_VA", Address=0x1_5000, ASID=3, Leaf=1))
    assert bench.code(0x1_5000) == 0x10
    assert bench.pa(0x1_6000) == OLD + 0x6000


@pytest.mark.parametrize("number", [0, 7, 15])
@pytest.mark.parametrize("word", [0, OLD | RW | PAGE, NEW | RW | CONTIGUOUS | PAGE])
def test_run_that_is_not_as_the_hint_promises_is_cached_page_by_page(
    number: int, word: int
) -> None:
    bench, tree = stage1_bench()
    _run(tree)
    tree.set(0x1_0000 + 0x1000 * number, 3, word)
    adversary(bench, "merge")
    assert bench.pa(0x1_3456) == OLD + 0x3456
    assert _sizes(bench) == {12}


def test_run_at_an_unaligned_address_is_no_run() -> None:
    bench, tree = stage1_bench()
    _run(tree, first=1)
    adversary(bench, "merge")
    assert bench.pa(0x1_3456) == OLD + 0x4456
    assert _sizes(bench) == {12}


def test_run_with_different_permissions_is_no_run() -> None:
    bench, tree = stage1_bench()
    _run(tree)
    tree.set(0x1_4000, 3, OLD + 0x4000 | RW | READ_ONLY | CONTIGUOUS | PAGE)
    adversary(bench, "merge")
    assert bench.pa(0x1_3000, True) == OLD + 0x3000
    assert bench.code(0x1_4000, True) == 0x13


def test_without_the_hint_nothing_is_merged() -> None:
    bench, tree = stage1_bench()
    for number in range(16):
        tree.page(0x1_0000 + 0x1000 * number, OLD + 0x1000 * number)
    adversary(bench, "merge")
    bench.pa(0x1_0000)
    assert _sizes(bench) == {12}


def test_runs_of_blocks_and_of_stage_2_merge_as_well() -> None:
    bench, tree = stage1_bench()
    for number in range(16):
        tree.set(0x4000_0000 + MIB2 * number, 2, OLD + MIB2 * number | RW | CONTIGUOUS | BLOCK)
    adversary(bench, "merge")
    assert bench.pa(0x4123_4567) == OLD + 0x123_4567
    assert _sizes(bench) == {25}

    bench, tree = stage2_bench()
    _run(tree, bits=S2_RW)
    adversary(bench, "merge")
    assert bench.pa(0x1_3456) == OLD + 0x3456
    assert _sizes(bench) == {16}


def test_lengths_of_runs_are_those_of_the_table() -> None:
    """DDI 0487 Table D8-104."""
    runs = {key: 1 << lg2 for key, lg2 in RUN_LG2.items()}
    assert runs == {
        (12, 1): 16,
        (12, 2): 16,
        (12, 3): 16,
        (14, 2): 32,
        (14, 3): 128,
        (16, 2): 32,
        (16, 3): 32,
    }


def test_runs_that_hardware_marks_pages_of_stay_apart() -> None:
    """D8.7.1 lets members differ in flags that hardware sets; here they are cached one by one."""
    bench, tree = stage1_bench(make_ids(HTTU=2), HA=1)
    _run(tree, bits=RW & ~AF)
    adversary(bench, "merge")
    assert bench.pa(0x1_3456) == OLD + 0x3456
    assert _sizes(bench) == {12}
