# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of interrupt wires, of the clock, and of accesses to registers."""

from __future__ import annotations

import pytest

from smmu_emu.driver.queues import DriverError
from smmu_emu.inject import (
    EVER,
    Abort,
    Delay,
    Drop,
    Duplicate,
    Flip,
    Reorder,
    Replace,
    Stuck,
)
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.testing import MachineUnderTest
from smmu_emu.testing.machine import BusError
from tests.scenarios.faults.catalogue import promises
from tests.scenarios.faults.rig import IOVA, TwoStreams

_STRAY = 0x8_0000


class _Ear:
    """Counts rises of the event queue's wire, where the interrupt controller is."""

    def __init__(self, machine: MachineUnderTest) -> None:
        self.heard: list[bool] = []
        machine.smmu.interrupts.eventq.sink = self.heard.append

    @property
    def rises(self) -> int:
        return self.heard.count(True)


@promises(
    "one interrupt when the queue is no longer empty: if it is lost, the records still wait, and "
    "none comes until they are consumed",
    "3.18, 7.4",
    site="interrupt",
    effect="drop",
)
def test_lost_interrupt_is_not_repeated(two: TwoStreams, machine: MachineUnderTest) -> None:
    ear = _Ear(machine)
    machine.inject("interrupt", Drop(), line="eventq")
    assert not two.dma.write(_STRAY, b"1")
    assert not two.dma.write(_STRAY, b"2")
    assert ear.heard == []
    assert len(two.driver.faults.run()) == 2
    assert not two.dma.write(_STRAY, b"3")
    assert ear.heard == [True, False]
    two.assert_other_unharmed()


@promises(
    "an interrupt without cause finds an empty queue", "3.18", site="interrupt", effect="duplicate"
)
def test_interrupt_that_comes_twice_finds_nothing(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    ear = _Ear(machine)
    machine.inject("interrupt", Duplicate(), line="eventq")
    assert not two.dma.write(_STRAY, b"x")
    assert ear.rises == 2
    assert len(two.driver.faults.run()) == 1
    assert two.driver.faults.run() == []
    two.assert_other_unharmed()


@promises("a late interrupt finds all records in order", "3.18", site="interrupt", effect="delay")
def test_late_interrupt_finds_all_records(two: TwoStreams, machine: MachineUnderTest) -> None:
    ear = _Ear(machine)
    machine.inject("interrupt", Delay(1_000_000), line="eventq")
    assert not two.dma.write(_STRAY, b"1")
    assert not two.dma.write(_STRAY + 8, b"2")
    assert ear.rises == 0
    machine.pass_time(1_000_000)
    assert ear.heard == [True, False]
    assert [event.iova for event in two.driver.faults.run()] == [_STRAY, _STRAY + 8]
    two.assert_other_unharmed()


@pytest.mark.parametrize(("level", "heard"), [(0, []), (1, [True])])
@promises(
    "a stuck wire tells nothing any more: what it would tell is in the registers",
    "3.18, 7.5",
    site="interrupt",
    effect="stuck",
)
def test_stuck_wire_leaves_the_registers_telling(
    two: TwoStreams, machine: MachineUnderTest, level: int, heard: list[bool]
) -> None:
    ear = _Ear(machine)
    machine.inject("interrupt", Stuck(level), line="eventq")
    for number in range(3):
        assert not two.dma.write(_STRAY, b"x")
        assert len(two.driver.faults.run()) == 1, number
    assert ear.heard == heard
    two.assert_other_unharmed()


@promises(
    "sources are independent: an interrupt that another overtakes loses nothing",
    "3.18",
    site="interrupt",
    effect="reorder",
)
def test_interrupts_in_another_order_lose_nothing(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    ear = _Ear(machine)
    order: list[str] = []
    machine.smmu.interrupts.gerror.sink = lambda level: order.append("gerror") if level else None
    machine.inject("interrupt", Reorder(), line="eventq")
    assert not two.dma.write(_STRAY, b"x")
    assert ear.rises == 0
    two.driver.commands.put(two.driver.commands.prod, 0xFF)
    two.driver.registers.write("CMDQ_PROD", two.driver.commands.prod + 1)
    assert (order, ear.rises) == (["gerror"], 1)
    assert len(two.driver.faults.run()) == 1


# -- the clock


@promises(
    "CR0ACK follows CR0 when an update is complete: a driver that never sees it must not go on",
    "6.3.9, 6.3.10",
    site="clock",
    effect="drop",
)
def test_update_of_cr0_that_is_never_acknowledged_is_noticed(machine: MachineUnderTest) -> None:
    machine.inject("clock", Drop(), action="cr0-acknowledge", times=EVER)
    with pytest.raises(DriverError, match="CR0ACK stays at 0x0: the device does not answer"):
        machine.attach_driver()
    assert machine.smmu.path.active == {}


@promises("an acknowledge may take its time: drivers wait", "6.3.9", site="clock", effect="delay")
def test_late_acknowledges_are_waited_for(machine: MachineUnderTest) -> None:
    machine.inject("clock", Delay(50_000), action="*-acknowledge", times=EVER)
    two = TwoStreams(machine, machine.attach_driver())
    assert machine.clock.now >= 50_000
    assert two.write()
    two.assert_other_unharmed()


@promises(
    "commands wait until the SMMU sees PROD: the next doorbell is for all of them",
    "3.5.1, 4.1.2",
    site="clock",
    effect="drop",
)
def test_lost_doorbell_is_made_up_for_by_the_next(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("clock", Drop(), action="doorbell", times=2)
    with pytest.raises(DriverError, match="CMDQ_CONS stays"):
        two.domain.unmap(IOVA, 0x1000)
    assert two.write()
    two.driver.commands.sync()
    assert not two.write()


@promises(
    "until a TLBI is consumed the old translation may be used; the driver waits for its SYNC",
    "3.21.1, 4.7.3",
    site="clock",
    effect="delay",
)
def test_late_commands_are_waited_for(two: TwoStreams, machine: MachineUnderTest) -> None:
    assert two.write()
    machine.inject("clock", Delay(100_000), action="doorbell", times=EVER)
    two.domain.unmap(IOVA, 0x1000)
    assert machine.clock.now >= 100_000
    assert not two.write()
    two.assert_other_unharmed()


@promises("a doorbell without new commands does nothing", "4.1.2", site="clock", effect="duplicate")
def test_doorbell_twice_is_harmless(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("clock", Duplicate(), action="doorbell", times=EVER)
    two.domain.unmap(IOVA, 0x1000)
    assert not two.write()
    two.assert_other_unharmed()


# -- accesses to registers


@promises(
    "the read is aborted towards software; the SMMU goes on",
    "6.2",
    site="register-read",
    effect="abort",
)
def test_aborted_read_of_a_register_is_the_drivers_alone(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("register-read", Abort(), register="CMDQ_CONS")
    with pytest.raises(BusError, match="0x9c aborted"):
        two.domain.tlb_flush_all()
    two.domain.tlb_flush_all()
    two.assert_other_unharmed()


@promises(
    "ID registers say what there is: a driver that reads zeros uses nothing",
    "6.3.1",
    site="register-read",
    effect="stuck",
)
def test_id_register_stuck_at_zero_makes_the_driver_refuse(machine: MachineUnderTest) -> None:
    machine.inject("register-read", Stuck(0), register="IDR0")
    with pytest.raises(DriverError):
        TwoStreams(machine, machine.attach_driver())


@promises(
    "a wrong read index misleads the driver alone: commands are consumed as they were",
    "3.5.1",
    site="register-read",
    effect="flip",
)
def test_wrong_read_index_makes_the_driver_wait(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("register-read", Flip((3,)), register="CMDQ_CONS", times=EVER)
    assert two.write()
    with pytest.raises(DriverError):
        two.domain.unmap(IOVA, 0x1000)
    assert machine.smmu.commands.queue.empty
    assert not two.write()
    two.assert_other_unharmed()


@promises(
    "a write that is lost changes nothing; CR0ACK shows it",
    "6.3.9",
    site="register-write",
    effect="drop",
)
def test_lost_write_of_cr0_is_noticed(machine: MachineUnderTest) -> None:
    machine.inject("register-write", Drop(), register="CR0", nth=2)
    with pytest.raises(DriverError, match="CR0ACK stays"):
        machine.attach_driver()


@promises(
    "an aborted write is the driver's to handle", "6.2", site="register-write", effect="abort"
)
def test_aborted_write_of_the_doorbell_is_the_drivers(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("register-write", Abort(), register="CMDQ_PROD")
    with pytest.raises(BusError, match="0x98 aborted"):
        two.domain.tlb_flush_all()
    two.assert_other_unharmed()


@promises(
    "a stream table elsewhere gives configuration errors, not access",
    "3.3.1, 7.3.4",
    site="register-write",
    effect="flip",
)
def test_stream_table_base_changed_on_its_way_gives_no_access(machine: MachineUnderTest) -> None:
    machine.inject("register-write", Flip((35,)), register="STRTAB_BASE")
    two = TwoStreams(machine, machine.attach_driver())
    assert not two.write()
    assert machine.events.names == ["F_STE_FETCH"]
    machine.assert_isolated()


@promises(
    "an index that is ahead makes the SMMU read what was in the slots: old commands or none",
    "3.5.1, 7.1",
    site="register-write",
    effect="replace",
)
def test_doorbell_with_another_index_reads_stale_slots(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    ahead = two.driver.commands.prod + 9
    machine.inject("register-write", Replace(ahead), register="CMDQ_PROD")
    with pytest.raises(DriverError, match=r"CERROR_ILL|stays"):
        two.domain.tlb_flush_all()
    assert machine.global_errors == {"CMDQ_ERR"}
    two.assert_other_unharmed()


@promises(
    "registers take a value written twice as once", "6.3", site="register-write", effect="duplicate"
)
def test_writes_that_arrive_twice_are_harmless(machine: MachineUnderTest) -> None:
    machine.inject("register-write", Duplicate(), times=EVER)
    two = TwoStreams(machine, machine.attach_driver())
    two.domain.unmap(IOVA, 0x1000)
    assert not two.write()
    two.assert_other_unharmed()


@promises(
    "a late doorbell is a late command: the driver waits",
    "4.1.2",
    site="register-write",
    effect="delay",
)
def test_late_write_of_the_doorbell_is_waited_for(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("register-write", Delay(30_000), register="CMDQ_PROD")
    two.domain.tlb_flush_all()
    assert machine.clock.now >= 0
    two.assert_other_unharmed()


@promises(
    "none: writes are in order. A doorbell that the next one overtakes takes the index back",
    "none",
    site="register-write",
    effect="reorder",
)
def test_doorbells_in_another_order_confuse_the_queue(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("register-write", Reorder(), register="CMDQ_PROD")
    commands = two.driver.commands
    commands.issue(Opcode.PREFETCH_CONFIG)
    assert machine.smmu.commands.queue.empty
    with pytest.raises(DriverError):
        commands.sync()
    machine.assert_isolated()


@promises(
    "an error that nobody acknowledges stays active",
    "7.5",
    site="register-write",
    effect="stuck",
)
def test_acknowledge_that_never_arrives_keeps_the_error(machine: MachineUnderTest) -> None:
    two = TwoStreams(machine, machine.attach_driver(recover=True))
    machine.inject("register-write", Stuck(0), register="GERRORN")
    two.driver.commands.issue(0xFF)
    with pytest.raises(DriverError):
        two.domain.tlb_flush_all()
    assert machine.global_errors == {"CMDQ_ERR"}
    two.assert_other_unharmed()
