# SPDX-License-Identifier: GPL-2.0-or-later
"""What the public strategies draw is legal, and reaches what it is for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable import Arena, alloc
from smmu_emu.inject import Injector, Plan, parse_plan
from smmu_emu.inject.files import plan_text
from smmu_emu.smmuv3.context import World
from smmu_emu.testing import MachineUnderTest, strategies
from smmu_emu.testing.strategies import Operation, Player, TableSetup
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.strategies import examples


@settings(max_examples=examples(60))
@given(st.data())
def test_tables_can_be_mapped_as_they_are_drawn(data: st.DataObject) -> None:
    setup = data.draw(strategies.page_table_setups())
    table = alloc(setup.fmt, setup.config, memory=Arena(0x8000_0000, 1 << 24))
    calls = data.draw(strategies.tables(setup))
    for call in calls:
        table.map(call.iova, call.paddr, call.size, call.prot)
    for call in calls:
        last = call.size - 1
        assert table.iova_to_phys(call.iova) == call.paddr
        assert table.iova_to_phys(call.iova + last) == call.paddr + last


def test_every_format_is_drawn() -> None:
    seen: set[str] = set()

    @settings(max_examples=120, database=None, derandomize=True)
    @given(strategies.page_table_setups())
    def draw(setup: TableSetup) -> None:
        seen.add(setup.fmt)

    draw()
    assert seen == set(strategies.FORMATS)


@settings(max_examples=examples(30))
@given(strategies.transactions())
def test_transactions_are_answered(transaction: Transaction) -> None:
    with MachineUnderTest.build(ram=64 << 20) as machine:
        result = machine.smmu.translate(transaction)
        assert isinstance(result, Translation | Fault)


@settings(max_examples=examples(20))
@given(strategies.driver_operations())
def test_driver_is_clean_whatever_it_does(operations: list[Operation]) -> None:
    with MachineUnderTest.build(kept=1) as machine:
        player = Player(machine)
        for operation in operations:
            player.play(operation)
        machine.assert_isolated()
        assert [str(one) for one in machine.findings] == []
        assert all(tag.world is World.EL1 for tag in machine.smmu.tlb.spaces)  # type: ignore[attr-defined]


@settings(max_examples=examples(25))
@given(strategies.driver_operations(), strategies.plans())
def test_faults_never_become_exceptions(operations: list[Operation], plan: Plan) -> None:
    """DMA under faults ends in a landing or an abort, and counts add up."""
    with MachineUnderTest.build() as machine:
        player = Player(machine)
        with Injector(machine, plan) as injector:
            for operation in operations:
                assert player.play(operation) in (True, False, None)
        report = injector.report()
        assert sum(report.fired.values()) == len(report.firings)
        assert {one.name for one in report.unfired} == {
            name for name, count in report.fired.items() if not count
        }


@settings(max_examples=examples(100))
@given(strategies.plans(("walk-read", "dma-write", "command-fetch", "transaction")))
def test_plans_survive_a_file(plan: Plan) -> None:
    assert parse_plan(plan_text(plan)) == plan
