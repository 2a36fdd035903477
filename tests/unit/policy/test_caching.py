# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept. Spec: IHI 0070 16.2, 3.21.1, 3.21.3."""

from __future__ import annotations

from smmu_emu.policy.caching import BadConfig
from smmu_emu.tlb import Tlb
from tests.unit.policy.rig import adversary, the
from tests.unit.smmuv3.rig import (
    CD_AT,
    PLAIN_CD,
    RAM,
    S1_STE,
    SID,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
)

C_BAD_STE, C_BAD_CD, F_TRANSLATION = 0x04, 0x0A, 0x10
PAGES = 32


def _many(bench: Bench, tree: Tree) -> None:
    for number in range(PAGES):
        tree.page(0x1000 * number, RAM + 0x1000 * number)
    for number in range(PAGES):
        bench.pa(0x1000 * number)


def test_keep_holds_more_than_the_tlb_has_room_for() -> None:
    bench = Bench(tlb=Tlb(4))
    tree = Tree(bench)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
    removed = adversary(bench, "keep")
    _many(bench, tree)
    assert len(bench.smmu.tlb) == PAGES
    bench.do(cmd("TLBI_NSNH_ALL"))
    assert len(bench.smmu.tlb) == 0
    removed.remove()
    _many(bench, tree)
    assert len(bench.smmu.tlb) == 4


def test_forget_walks_for_every_transaction() -> None:
    bench, tree = stage1_bench()
    tree.page(0x5000, RAM + 0x5000)
    adversary(bench, "forget")
    for count in range(1, 4):
        assert bench.pa(0x5000) == RAM + 0x5000
        assert bench.smmu.stages.walks == count
        assert len(bench.smmu.tlb) == 0
        assert not bench.smmu.configuration.streams
        assert not bench.smmu.configuration.contexts


def test_forget_sees_changes_that_nobody_told_of() -> None:
    bench, tree = stage1_bench()
    tree.page(0x5000, RAM + 0x5000)
    adversary(bench, "forget")
    bench.pa(0x5000)
    tree.page(0x5000, RAM + 0x6000)
    assert bench.pa(0x5000) == RAM + 0x6000
    bench.ste(V=1, Config=4, SHCFG=1)
    assert bench.pa(0x5000) == 0x5000


def test_forget_drops_both_stages() -> None:
    bench, first, _ = nested_bench()
    first.page(0x5000, 0x1_4000_5000)
    adversary(bench, "forget")
    bench.pa(0x5000)
    assert len(bench.smmu.tlb) == 0


def test_evict_loses_entries_and_configuration_without_being_asked() -> None:
    bench, tree = stage1_bench()
    tree.page(0x5000, RAM + 0x5000)
    adversary(bench, "evict,seed=1")
    fetches = set()
    for _ in range(200):
        assert bench.pa(0x5000) == RAM + 0x5000
        fetches.add(bench.smmu.configuration.fetches)
    assert 10 < bench.smmu.stages.walks < 200
    assert len(fetches) > 5


def test_evict_with_one_seed_is_the_same_twice_and_after_a_reset() -> None:
    def walks(bench: Bench, tree: Tree) -> list[int]:
        counts = []
        for _ in range(50):
            bench.pa(0x5000)
            counts.append(bench.smmu.stages.walks)
        return counts

    runs = []
    for _ in range(2):
        bench, tree = stage1_bench()
        tree.page(0x5000, RAM + 0x5000)
        adversary(bench, "evict,seed=7")
        runs.append(walks(bench, tree))
        bench.smmu.reset()
        bench.set_up()
        runs.append(walks(bench, tree))
    assert runs[0] == runs[1] == runs[2] == runs[3]
    other, tree = stage1_bench()
    tree.page(0x5000, RAM + 0x5000)
    adversary(other, "evict,seed=8")
    assert walks(other, tree) != runs[0]


def test_bad_config_keeps_an_invalid_ste_until_cfgi() -> None:
    """3.21.3: any fetched structure may be cached, marked valid or not."""
    bench, tree = stage1_bench()
    tree.page(0x5000, RAM + 0x5000)
    bench.ste(V=0)
    adversary(bench, "bad-config")
    assert bench.code(0x5000) == C_BAD_STE
    bench.ste(**S1_STE)
    assert bench.code(0x5000) == C_BAD_STE
    bench.do(cmd("CFGI_STE", StreamID=SID + 1, Leaf=1))
    assert bench.code(0x5000) == C_BAD_STE
    bench.do(cmd("CFGI_STE", StreamID=SID, Leaf=1))
    assert bench.pa(0x5000) == RAM + 0x5000


def test_bad_config_keeps_an_invalid_cd_until_cfgi() -> None:
    bench, tree = stage1_bench(V=0)
    tree.page(0x5000, RAM + 0x5000)
    adversary(bench, "bad-config")
    assert bench.code(0x5000) == C_BAD_CD
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
    assert bench.code(0x5000) == C_BAD_CD
    bench.do(cmd("CFGI_CD", StreamID=SID, SubstreamID=1, Leaf=1))
    assert bench.code(0x5000) == C_BAD_CD
    bench.do(cmd("CFGI_CD", StreamID=SID, Leaf=1))
    assert bench.pa(0x5000) == RAM + 0x5000


def test_bad_config_goes_with_every_command_that_reaches_it() -> None:
    for command in (
        cmd("CFGI_CD_ALL", StreamID=SID),
        cmd("CFGI_STE", StreamID=SID, Leaf=1),
        cmd("CFGI_STE_RANGE", StreamID=0, Range=31),
    ):
        bench, tree = stage1_bench(V=0)
        tree.page(0x5000, RAM + 0x5000)
        found = the(adversary(bench, "bad-config"), BadConfig)
        assert bench.code(0x5000) == C_BAD_CD
        bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
        bench.do(command)
        assert not found.cds
        assert bench.pa(0x5000) == RAM + 0x5000


def test_bad_config_does_not_keep_an_aborted_fetch() -> None:
    """3.21.3: a fetch that failed leaves no knowledge behind."""
    bench, tree = stage1_bench()
    tree.page(0x5000, RAM + 0x5000)
    bench.ste(**{**S1_STE, "S1ContextPtr": 0x20_0000_0000})
    adversary(bench, "bad-config")
    assert bench.code(0x5000) == 0x09
    bench.do(cmd("CFGI_STE", StreamID=SID, Leaf=1))
    bench.ste(**{**S1_STE, "S1ContextPtr": CD_AT})
    bench.do(cmd("CFGI_STE", StreamID=SID, Leaf=1))
    assert bench.pa(0x5000) == RAM + 0x5000


def test_no_policy_keeps_a_failed_translation() -> None:
    for policy in ("keep,prefetch,table-pointers,split,merge,bad-config", "evict"):
        bench, tree = stage1_bench(make_ids())
        tree.page(0x6000, RAM + 0x6000)
        adversary(bench, policy)
        assert bench.code(0x5000) == F_TRANSLATION
        tree.page(0x5000, RAM + 0x5000)
        assert bench.pa(0x5000) == RAM + 0x5000
