# SPDX-License-Identifier: GPL-2.0-or-later
"""Speculation. Spec: IHI 0070 3.21.1, 3.21.3, 3.14, 4.2, 6.3.9.6."""

from __future__ import annotations

from tests.unit.policy.rig import adversary, wait
from tests.unit.smmuv3.rig import (
    AF,
    COMMAND_QUEUE,
    HEAP,
    NG,
    PAGE,
    RAM,
    RAM_SIZE,
    READ_ONLY,
    RW,
    S1_STE,
    SID,
    STREAM_TABLE,
    Bench,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
)

DBM = 1 << 51
IOVA = 0x10_0000


def _busy(bench: Bench, iova: int = IOVA, times: int = 40) -> None:
    for _ in range(times):
        bench.go(iova)
        wait(bench)


def test_neighbours_are_cached_before_anybody_asks() -> None:
    bench, tree = stage1_bench()
    for number in range(-4, 5):
        tree.page(IOVA + 0x1000 * number, RAM + 0x2_0000 + 0x1000 * number)
    adversary(bench, "prefetch")
    _busy(bench)
    assert len(bench.smmu.tlb) > 1
    tree.page(IOVA + 0x1000, RAM + 0x9000)
    assert bench.pa(IOVA + 0x1000) == RAM + 0x2_1000


def test_what_is_dropped_may_come_back_at_once() -> None:
    """A driver that invalidates before it changes the table is served what it had."""
    stale = 0
    for seed in range(10):
        bench, tree = stage1_bench()
        tree.page(IOVA, RAM + 0x5000)
        adversary(bench, f"prefetch,seed={seed}")
        bench.pa(IOVA)
        bench.do(cmd("TLBI_NH_VA", Address=IOVA, ASID=3, Leaf=1))
        wait(bench)
        tree.page(IOVA, RAM + 0x6000)
        stale += bench.pa(IOVA) == RAM + 0x5000
    assert stale > 0


def test_speculation_records_nothing_and_changes_no_result() -> None:
    """Neighbours fault in every way; only what was asked for may be told of."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM + 0x5000)
    tree.page(IOVA + 0x1000, RAM + 0x6000, RW & ~AF)
    tree.page(IOVA - 0x1000, 0xFFFF_0000_0000)
    for sid in (SID - 1, SID + 1):
        bench.ste(sid, **{**S1_STE, "S1ContextPtr": 0x20_0000_0000})
    adversary(bench, "prefetch")
    _busy(bench)
    assert bench.events() == []
    assert bench.r("GERROR") == 0


def test_stes_of_neighbours_are_cached() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM + 0x5000)
    bench.ste(SID + 1, V=1, Config=4, SHCFG=1)
    adversary(bench, "prefetch")
    _busy(bench)
    bench.ste(SID + 1, **S1_STE)
    assert bench.pa(IOVA, sid=SID + 1) == IOVA
    bench.do(cmd("CFGI_STE", StreamID=SID + 1, Leaf=1))
    assert bench.pa(IOVA, sid=SID + 1) == RAM + 0x5000


def test_nothing_outside_of_the_stream_table_is_read() -> None:
    bench, tree = stage1_bench()
    last = 255
    bench.ste(last, **S1_STE)
    bench.ste(0, **S1_STE)
    tree.page(IOVA, RAM + 0x5000)
    adversary(bench, "prefetch")
    reads = bench.watch("config")
    for sid in (0, last):
        for _ in range(40):
            bench.go(IOVA, sid=sid)
            wait(bench)
    tables = [pa for pa in reads if pa < COMMAND_QUEUE]
    assert tables
    assert all(STREAM_TABLE <= pa < STREAM_TABLE + 64 * 256 for pa in tables)


def test_walks_read_nothing_but_tables() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM + 0x5000)
    adversary(bench, "prefetch")
    reads = bench.watch("walk")
    _busy(bench)
    tables = bench.unused
    assert all(HEAP <= pa < tables <= RAM + RAM_SIZE for pa in reads)


def test_pages_are_never_marked_dirty() -> None:
    """3.14: speculative accesses set access flags at most."""
    bench, tree = stage1_bench(make_ids(HTTU=2), HA=1, HD=1)
    clean = RW & ~AF | READ_ONLY | DBM
    words = {}
    for number in range(-3, 4):
        iova = IOVA + 0x1000 * number
        where = tree.set(iova, 3, RAM + 0x2_0000 + 0x1000 * number | clean | PAGE)
        words[where] = bench.memory.read_u64(where)
    adversary(bench, "prefetch")
    for _ in range(40):
        bench.go(IOVA, True)
        wait(bench)
    accessed = 0
    for where, before in words.items():
        after = bench.memory.read_u64(where)
        assert after is not None
        assert before is not None
        if where == tree.at(IOVA, 3):
            assert after == (before | AF) & ~READ_ONLY
            continue
        assert after | AF == before | AF
        accessed += after != before
    assert accessed > 0


def test_nothing_happens_while_smmuen_is_0() -> None:
    """6.3.9.6: no structure is read and nothing is cached."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM + 0x5000)
    adversary(bench, "prefetch")
    _busy(bench)
    bench.w("CR0", 0xC)
    bench.do(cmd("TLBI_NSNH_ALL"), cmd("CFGI_STE_RANGE", StreamID=0, Range=31))
    reads = [bench.watch("walk"), bench.watch("config")]
    wait(bench)
    bench.do(cmd("TLBI_NSNH_ALL"))
    wait(bench)
    assert reads == [[], []]
    assert len(bench.smmu.tlb) == 0
    assert not bench.smmu.configuration.streams


def test_a_few_guesses_and_then_rest() -> None:
    """Or a core that waits for an interrupt would wait for ever."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM + 0x5000, RW | NG)
    adversary(bench, "prefetch")
    bench.pa(IOVA)
    assert bench.smmu.clock.next_deadline() is not None
    wait(bench)
    assert bench.smmu.clock.next_deadline() is None


def test_nested_streams_are_guessed_for_as_well() -> None:
    bench, first, _ = nested_bench()
    for number in range(-3, 4):
        first.page(IOVA + 0x1000 * number, 0x1_4000_0000 + IOVA + 0x1000 * number)
    adversary(bench, "prefetch")
    _busy(bench)
    assert bench.events() == []
    nested = [tag for tag, space in bench.smmu.tlb.spaces.items() if len(space) > 1]
    assert "EL1_NESTED" in {tag.world.name for tag in nested}  # type: ignore[attr-defined]
