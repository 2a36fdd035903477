# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA under way. Spec: IHI 0070 3.21.1, 3.21.3, 4.7.3."""

from __future__ import annotations

import pytest

from smmu_emu.port import DmaPort
from tests.unit.policy.rig import adversary, wait
from tests.unit.smmuv3.rig import (
    PLAIN_CD,
    RAM,
    S1_STE,
    SID,
    SYNC,
    Bench,
    Tree,
    cmd,
    stage1_bench,
    stage2_bench,
)

IOVA, PAGE_PA = 0x5000, RAM + 0x20_5000
DATA = b"\xa5" * 16


def _started(policy: str = "late-dma") -> tuple[Bench, Tree, DmaPort]:
    bench, tree = stage1_bench()
    tree.page(IOVA, PAGE_PA)
    adversary(bench, policy)
    return bench, tree, DmaPort(bench.memory, bench.smmu, SID)


def test_data_moves_after_its_translation() -> None:
    bench, tree, port = _started()
    transfer = port.start_write(IOVA, DATA)
    assert not transfer.done
    tree.page(IOVA, PAGE_PA + 0x1000)
    wait(bench)
    assert transfer.ok
    assert bench.memory.read(PAGE_PA, 16) == DATA


def test_sync_without_invalidation_waits_for_nothing() -> None:
    bench, _, port = _started()
    transfer = port.start_write(IOVA, DATA)
    bench.do()
    assert not transfer.done


@pytest.mark.parametrize(
    ("command", "waits"),
    [
        (cmd("TLBI_NH_VA", Address=IOVA, ASID=3, Leaf=1), True),
        (cmd("TLBI_NH_VAA", Address=IOVA, Leaf=1), True),
        (cmd("TLBI_NH_ASID", ASID=3), True),
        (cmd("TLBI_NSNH_ALL"), True),
        (cmd("CFGI_STE", StreamID=SID, Leaf=1), True),
        (cmd("CFGI_CD", StreamID=SID, Leaf=1), True),
        (cmd("CFGI_STE_RANGE", Range=31), True),
        (cmd("TLBI_NH_VA", Address=IOVA + 0x1000, ASID=3, Leaf=1), False),
        (cmd("TLBI_NH_ALL", VMID=5), False),
        (cmd("TLBI_S2_IPA", Address=IOVA), False),
        (cmd("CFGI_STE", StreamID=SID + 1, Leaf=1), False),
    ],
)
def test_sync_waits_for_what_the_invalidations_before_it_target(command: int, waits: bool) -> None:
    bench, _, port = _started()
    transfer = port.start_write(IOVA, DATA)
    bench.push(command, SYNC)
    assert bench.r("CMDQ_CONS") == (1 if waits else 2)
    assert not transfer.done
    clock = bench.smmu.clock
    while not transfer.done:
        assert bench.r("CMDQ_CONS") == (1 if waits else 2)
        deadline = clock.next_deadline()
        assert deadline is not None
        clock.advance(deadline)
    assert bench.r("CMDQ_CONS") == 2


def test_later_transactions_do_not_hold_up_the_sync() -> None:
    bench, tree, port = _started()
    tree.page(IOVA + 0x1000, PAGE_PA + 0x1000)
    first = port.start_write(IOVA, DATA)
    bench.push(cmd("TLBI_NH_VA", Address=IOVA, ASID=3, Leaf=1), SYNC)
    others = [port.start_write(IOVA + 0x1000, DATA) for _ in range(50)]
    clock = bench.smmu.clock
    while bench.r("CMDQ_CONS") != 2:
        deadline = clock.next_deadline()
        assert deadline is not None
        clock.advance(deadline)
    assert first.done
    assert not all(other.done for other in others)


def test_stage_2_is_waited_for_by_ipa() -> None:
    bench, tree = stage2_bench()
    tree.set(IOVA, 3, PAGE_PA | 0x7FF)
    adversary(bench, "late-dma")
    transfer = DmaPort(bench.memory, bench.smmu, SID).start_write(IOVA, DATA)
    bench.push(cmd("TLBI_S2_IPA", VMID=7, Address=IOVA, Leaf=1), SYNC)
    assert bench.r("CMDQ_CONS") == 1
    wait(bench)
    assert transfer.ok
    assert bench.r("CMDQ_CONS") == 2


@pytest.mark.parametrize("policy", ["late-dma,late-effects", "late-dma,late-commands,forget"])
def test_memory_is_safe_after_unmap_and_sync_however_much_is_late(policy: str) -> None:
    for seed in range(20):
        bench, tree, port = _started(f"{policy},seed={seed}")
        transfer = port.start_write(IOVA, DATA)
        tree.set(IOVA, 3, 0)
        bench.push(cmd("TLBI_NH_VA", Address=IOVA, ASID=3, Leaf=1), SYNC)
        clock = bench.smmu.clock
        while bench.r("CMDQ_CONS") != 2:
            deadline = clock.next_deadline()
            assert deadline is not None
            clock.advance(deadline)
        assert transfer.done
        bench.memory.write(PAGE_PA, bytes(16))  # it is somebody else's now
        wait(bench)
        assert bench.memory.read(PAGE_PA, 16) == bytes(16)


def test_memory_that_is_reused_before_sync_is_written() -> None:
    bench, tree, port = _started()
    port.start_write(IOVA, DATA)
    tree.set(IOVA, 3, 0)
    bench.push(cmd("TLBI_NH_VA", Address=IOVA, ASID=3, Leaf=1))
    bench.memory.write(PAGE_PA, bytes(16))
    wait(bench)
    assert bench.memory.read(PAGE_PA, 16) == DATA


def test_refusals_and_masters_that_cannot_wait_are_not_late() -> None:
    bench, _, port = _started()
    assert port.start_write(IOVA + 0x1000, DATA).done
    assert port.write(IOVA, DATA)
    assert bench.memory.read(PAGE_PA, 16) == DATA


def test_reset_loses_what_is_under_way_and_removal_lands_it() -> None:
    bench, _, port = _started()
    lost = port.start_write(IOVA, DATA)
    bench.smmu.reset()
    wait(bench)
    assert not lost.done
    bench, _, port = _started()
    bench, tree = stage1_bench()
    tree.page(IOVA, PAGE_PA)
    removed = adversary(bench, "late-dma")
    landed = DmaPort(bench.memory, bench.smmu, SID).start_write(IOVA, DATA)
    removed.remove()
    assert landed.ok


def test_streams_are_told_apart() -> None:
    bench, tree, port = _started()
    other = bench.alloc(64)
    bench.cd(other, **{**PLAIN_CD, "TTB0": tree.root, "ASID": 9})
    bench.ste(SID + 1, **{**S1_STE, "S1ContextPtr": other})
    transfer = DmaPort(bench.memory, bench.smmu, SID + 1).start_write(IOVA, DATA)
    bench.push(cmd("TLBI_NH_ASID", ASID=3), SYNC)
    assert bench.r("CMDQ_CONS") == 2
    assert not transfer.done
    assert port.start_write(IOVA, DATA).done is False
