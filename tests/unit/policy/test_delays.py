# SPDX-License-Identifier: GPL-2.0-or-later
"""What is late. Spec: IHI 0070 4.1.4, 4.7.3, 4.8, 6.3.9, 6.3.14, 6.3.16, 7.1."""

from __future__ import annotations

from itertools import pairwise

import pytest

from smmu_emu.policy.delays import LateEffects
from tests.unit.policy.rig import adversary, late_do, the, wait
from tests.unit.smmuv3.rig import (
    CFGI_ALL,
    RAM,
    SID,
    SYNC,
    Bench,
    cmd,
    stage1_bench,
)

OLD, NEW = RAM + 0x5000, RAM + 0x6000
IOVA = 0x5000
TLBI = cmd("TLBI_NH_VA", Address=IOVA, ASID=3, Leaf=1)


def test_late_commands_are_not_consumed_at_the_doorbell() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    adversary(bench, "late-commands")
    bench.pa(IOVA)
    tree.page(IOVA, NEW)
    bench.push(TLBI, SYNC)
    assert bench.r("CMDQ_CONS") == 0
    assert bench.pa(IOVA) == OLD
    wait(bench)
    assert bench.r("CMDQ_CONS") == 2
    assert bench.pa(IOVA) == NEW


def test_late_commands_come_in_order_and_a_few_at_a_time() -> None:
    bench, _ = stage1_bench()
    adversary(bench, "late-commands")
    bench.push(*[TLBI] * 30, SYNC)
    seen, clock = [0], bench.smmu.clock
    while (deadline := clock.next_deadline()) is not None:
        clock.advance(deadline)
        seen.append(bench.r("CMDQ_CONS"))
    assert seen == sorted(seen)
    assert seen[-1] == 31
    assert all(1 <= after - before <= 4 for before, after in pairwise(seen))
    assert len(seen) > 8


def test_late_commands_stop_at_an_error_and_go_on_after_its_acknowledge() -> None:
    bench, _ = stage1_bench()
    adversary(bench, "late-commands")
    bench.push(TLBI, 0xFF, TLBI)
    wait(bench)
    assert bench.command_error == 1
    assert bench.r("CMDQ_CONS") & 0xFF == 1
    bench.store(0x4002_0000 + 16, SYNC, 16)
    bench.w("GERRORN", bench.r("GERROR"))
    wait(bench)
    assert bench.r("CMDQ_CONS") & 0xFF == 3


def test_late_effects_leave_entries_after_consumption() -> None:
    """4.8: the consumption of an invalidation means nothing."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    adversary(bench, "late-effects")
    bench.pa(IOVA)
    tree.page(IOVA, NEW)
    bench.push(TLBI)
    assert bench.r("CMDQ_CONS") == 1
    assert bench.pa(IOVA) == OLD
    bench.push(SYNC)
    assert bench.r("CMDQ_CONS") == 2
    assert bench.pa(IOVA) == NEW


def test_late_effects_come_by_themselves_without_sync() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    adversary(bench, "late-effects")
    bench.pa(IOVA)
    tree.page(IOVA, NEW)
    bench.push(TLBI)
    wait(bench)
    assert bench.pa(IOVA) == NEW


def test_late_effects_are_done_before_cons_passes_the_sync() -> None:
    """4.7.3: who sees CONS behind the CMD_SYNC, or its message, must find nothing old."""
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    late = the(adversary(bench, "late-effects"), LateEffects)
    bench.pa(IOVA)
    left: list[int] = []
    queue = bench.smmu.commands.queue
    consume = queue.consume
    queue.consume = lambda: (left.append(len(late.pending)), consume())[1]  # type: ignore[method-assign,func-returns-value]
    bench.push(TLBI, CFGI_ALL, SYNC, TLBI, SYNC)
    assert left == [1, 2, 0, 1, 0]


def test_late_effects_cover_configuration() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    adversary(bench, "late-effects")
    bench.pa(IOVA)
    bench.ste(V=1, Config=4, SHCFG=1)
    bench.push(cmd("CFGI_STE", StreamID=SID, Leaf=1))
    assert bench.pa(IOVA) == OLD
    bench.push(SYNC)
    assert bench.pa(IOVA) == IOVA


def test_late_effects_come_in_any_order() -> None:
    orders = set()
    for seed in range(12):
        bench, _ = stage1_bench()
        late = the(adversary(bench, f"late-effects,seed={seed}"), LateEffects)
        order: list[int] = []
        carried = late._carry_out
        late._carry_out = lambda effect, order=order, run=carried: (  # type: ignore[misc]
            order.append(effect.args[1].first),  # type: ignore[attr-defined]
            run(effect),
        )[1]
        bench.do(*[cmd("TLBI_NH_VA", Address=0x1000 * n, ASID=3, Leaf=1) for n in range(3)])
        orders.add(tuple(order))
        assert sorted(order) == [0, 0x1000, 0x2000]
    assert len(orders) > 3


def test_illegal_invalidations_are_told_at_consumption() -> None:
    """4.1.3: errors stop the queue at the command, however late effects are."""
    bench, _ = stage1_bench()
    adversary(bench, "late-effects")
    bench.push(cmd("TLBI_NH_VA", Address=IOVA, TG=1))
    assert bench.command_error == 1
    assert bench.r("CMDQ_CONS") & 0xFF == 0


def test_removing_late_effects_carries_them_out() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    removed = adversary(bench, "late-effects")
    bench.pa(IOVA)
    tree.page(IOVA, NEW)
    bench.push(TLBI)
    removed.remove()
    assert bench.pa(IOVA) == NEW


@pytest.mark.parametrize(
    ("register", "value", "acknowledge", "before", "after"),
    [
        ("CR0", 0xC, "CR0ACK", 0xD, 0xC),
        ("IRQ_CTRL", 0, "IRQ_CTRLACK", 5, 0),
        ("GBPA", 1 << 31 | 1 << 20, "GBPA", 1 << 31 | 1 << 20, 1 << 20),
    ],
)
def test_late_acknowledges(
    register: str, value: int, acknowledge: str, before: int, after: int
) -> None:
    bench = Bench()
    adversary(bench, "late-acks")
    bench.w(register, value)
    assert bench.r(acknowledge) == before
    wait(bench)
    assert bench.r(acknowledge) == after


def test_smmu_translates_until_the_acknowledge() -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, OLD)
    adversary(bench, "late-acks")
    bench.w("CR0", 0xC)
    assert bench.pa(IOVA) == OLD
    wait(bench)
    assert bench.pa(IOVA) == IOVA


def test_everything_late_together_keeps_what_sync_promises() -> None:
    bench, tree = stage1_bench()
    adversary(bench, "late-commands,late-effects,late-acks,prefetch,table-pointers,seed=5")
    for number in range(20):
        tree.page(IOVA, RAM + 0x1000 * number)
        late_do(bench, cmd("TLBI_NH_VA", Address=IOVA, ASID=3))
        assert bench.pa(IOVA) == RAM + 0x1000 * number
