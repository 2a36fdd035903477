# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of commands: broken drivers, and a broken way from the queue to the SMMU."""

from __future__ import annotations

import pytest

from smmu_emu.driver.queues import DriverError
from smmu_emu.inject import (
    EVER,
    Abort,
    Drop,
    Duplicate,
    Flip,
    Injection,
    Plan,
    Poison,
    Reorder,
    Replace,
    When,
)
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.testing import MachineUnderTest
from tests.scenarios.faults.catalogue import promises
from tests.scenarios.faults.rig import IOVA, STREAM, TwoStreams

_TLBI = "TLBI_NH_VA"


@pytest.fixture
def recovering(machine: MachineUnderTest) -> TwoStreams:
    """Two streams under a driver that handles command errors."""
    return TwoStreams(machine, machine.attach_driver(recover=True))


@promises(
    "CERROR_ABT and GERROR.CMDQ_ERR; the queue stops at the command, DMA goes on",
    "7.1",
    site="command-fetch",
    effect="abort",
)
def test_aborted_fetch_of_a_command_stops_the_queue(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("command-fetch", Abort())
    with pytest.raises(DriverError, match="CERROR_ABT"):
        two.domain.tlb_flush_all()
    assert machine.global_errors == {"CMDQ_ERR"}
    two.assert_other_unharmed()


@promises(
    "once the error is acknowledged, the same command is fetched again",
    "7.1",
    site="command-fetch",
    effect="abort",
)
def test_driver_that_acknowledges_gets_the_command_through(
    recovering: TwoStreams, machine: MachineUnderTest
) -> None:
    two = recovering
    assert two.write()
    machine.inject("command-fetch", Abort(), opcode=_TLBI)
    two.domain.unmap(IOVA, 0x1000)
    assert two.driver.recovery.seen == {"CMDQ_ERR": 1}
    assert not two.write()
    two.assert_other_unharmed()


@promises(
    "the queue stays stopped while the error persists; a patient driver gives up with a message",
    "7.1",
    site="command-fetch",
    effect="abort",
)
def test_driver_gives_up_a_queue_that_cannot_be_read(
    recovering: TwoStreams, machine: MachineUnderTest
) -> None:
    two = recovering
    machine.inject("command-fetch", Abort(), times=EVER)
    with pytest.raises(DriverError, match=r"the command queue at 0x\w+ cannot be read"):
        two.domain.tlb_flush_all()
    two.assert_other_unharmed()


@promises(
    "consuming an error is CERROR_ABT until software has written the slot anew",
    "12.1, 7.1",
    site="command-fetch",
    effect="poison",
)
def test_poisoned_command_is_an_abort_until_rewritten(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("command-fetch", Poison())
    with pytest.raises(DriverError, match="CERROR_ABT"):
        two.domain.tlb_flush_all()
    registers, commands = two.driver.registers, two.driver.commands
    registers.write("GERRORN", registers.read("GERROR"))
    assert machine.global_errors == {"CMDQ_ERR"}
    for index in range(registers.read("CMDQ_CONS") & 0x7F, commands.prod):
        commands.put(index, Opcode.SYNC)
    registers.write("GERRORN", registers.read("GERROR"))
    two.domain.tlb_flush_all()
    assert machine.global_errors == set()
    two.assert_other_unharmed()


@promises("an unknown opcode is CERROR_ILL", "7.1, 4.1.1", site="command-fetch", effect="flip")
def test_opcode_changed_on_the_bus_is_illegal(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("command-fetch", Flip((7,)), opcode=_TLBI)
    with pytest.raises(DriverError, match="CERROR_ILL"):
        two.domain.unmap(IOVA, 0x1000)
    two.assert_other_unharmed()


@promises(
    "a driver that replaces an illegal TLBI by CMD_SYNC must invalidate again, or a stale "
    "translation stays in use",
    "7.1, 16.2",
    site="command-fetch",
    effect="replace",
)
def test_recovered_driver_has_lost_an_invalidation(
    recovering: TwoStreams, machine: MachineUnderTest
) -> None:
    two = recovering
    assert two.write()
    machine.inject("command-fetch", Replace(0xFF), opcode=_TLBI)
    two.domain.unmap(IOVA, 0x1000)
    assert two.write()
    assert [breach.iova for breach in machine.isolation.breaches] == [IOVA]
    two.domain.tlb_flush_all()
    assert not two.write()


@promises(
    "without a TLBI the old translation may be used: a breach, though SYNC has completed",
    "16.2, 4.7.3",
    site="command-fetch",
    effect="drop",
)
def test_dropped_tlbi_leaves_a_stale_translation(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("command-fetch", Drop(), opcode=_TLBI)
    two.domain.unmap(IOVA, 0x1000)
    assert two.write()
    (breach,) = machine.isolation.breaches
    assert (breach.stream, breach.why) == (STREAM, "the address is not mapped")


@promises(
    "without CFGI_STE the old configuration may be used",
    "4.3.1, 3.21.3",
    site="command-fetch",
    effect="drop",
)
def test_dropped_cfgi_leaves_a_stale_configuration(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("command-fetch", Drop(), opcode="CFGI_STE", stream=STREAM, times=EVER)
    two.driver.detach(STREAM)
    assert two.write()
    assert machine.isolation.breaches[0].why == "no address space is attached to the stream"


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a CMD_SYNC that is not consumed gives no completion: the driver's wait has to have an end",
    "4.7.3",
    site="command-fetch",
    effect="drop",
)
def test_sync_that_never_completes_is_noticed_by_a_driver_that_counts(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("command-fetch", Drop(), opcode="SYNC")
    with pytest.raises(DriverError, match=r"the message of CMD_SYNC at 0x.* has not come"):
        two.domain.tlb_flush_all()
    two.domain.tlb_flush_all()
    two.assert_other_unharmed()


@pytest.mark.parametrize("opcode", [_TLBI, "CFGI_STE", "SYNC"])
@promises(
    "invalidations and synchronisations may be repeated without effect",
    "4.3, 4.4, 4.7.3",
    site="command-fetch",
    effect="duplicate",
)
def test_repeated_command_changes_nothing(
    two: TwoStreams, machine: MachineUnderTest, opcode: str
) -> None:
    consumed = machine.smmu.commands.consumed
    machine.inject("command-fetch", Duplicate(), opcode=opcode)
    before = consumed[Opcode[opcode]]
    assert two.write()
    two.domain.unmap(IOVA, 0x1000)
    assert not two.write()
    two.driver.detach(STREAM)
    two.driver.attach(STREAM, two.domain)
    assert two.write(0x1000)
    plain = {_TLBI: 1, "CFGI_STE": 4, "SYNC": 5}[opcode]
    assert consumed[Opcode[opcode]] - before == plain + 1
    assert machine.global_errors == set()
    two.assert_other_unharmed()


@promises(
    "commands are consumed in order: a driver whose TLBI comes after its CMD_SYNC knows too early",
    "4.7.3, 3.21.1",
    site="command-fetch",
    effect="reorder",
)
def test_tlbi_after_its_sync_leaves_a_window(two: TwoStreams, machine: MachineUnderTest) -> None:
    assert two.write()
    machine.inject("command-fetch", Reorder(), opcode=_TLBI)
    two.domain.unmap(IOVA, 0x1000)
    assert two.write()
    assert [breach.iova for breach in machine.isolation.breaches] == [IOVA]
    two.driver.commands.sync()
    assert not two.write()


@promises(
    "TLBI by ASID and address leaves other ASIDs: one that names a wrong one does not help",
    "4.4.2.4",
    site="command-fetch",
    effect="flip",
)
def test_tlbi_of_another_asid_leaves_the_translation(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("command-fetch", Flip((48 + 9,)), opcode=_TLBI)
    two.domain.unmap(IOVA, 0x1000)
    assert two.write()
    assert len(machine.isolation.breaches) == 1


@promises(
    "a TLBI of another page removes that one: more walks, no harm, and the stale one stays",
    "4.4.2.4",
    site="command-fetch",
    effect="flip",
)
def test_tlbi_of_another_page_leaves_the_translation(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    assert two.write(0x1000)
    machine.inject("command-fetch", Flip((64 + 12,)), opcode=_TLBI)
    two.domain.unmap(IOVA, 0x1000)
    walks = machine.smmu.stages.walks
    assert two.write(0x1000)
    assert machine.smmu.stages.walks == walks + 1
    assert two.write()
    assert len(machine.isolation.breaches) == 1


@promises(
    "two faults at once: a lost TLBI of one address space, a repeated one of another",
    "4.4, 16.2",
    site="command-fetch",
    effect="drop",
)
def test_faults_compose(two: TwoStreams, machine: MachineUnderTest) -> None:
    lost = Injection("command-fetch", Drop(), When(opcode=_TLBI), name="lost")
    again = Injection("command-fetch", Duplicate(2), When(opcode=_TLBI, after="lost"))
    injector = machine.inject(Plan((lost, again)))
    assert two.write()
    assert two.write(0x1000)
    two.domain.unmap(IOVA, 0x1000)
    two.domain.unmap(IOVA + 0x1000, 0x1000)
    assert two.write()
    assert not two.write(0x1000)
    assert list(injector.report().fired.values()) == [1, 1]
    assert {breach.iova for breach in machine.isolation.breaches} == {IOVA}


# -- stalled transactions


@pytest.fixture
def stalling(machine: MachineUnderTest) -> TwoStreams:
    """Faults wait for the driver."""
    return TwoStreams(machine, machine.attach_driver(messages=False), stall=True)


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a stalled transaction stays until it is resumed or terminated, and holds its tag",
    "3.12.2, 4.7.1",
    site="command-fetch",
    effect="drop",
)
def test_stall_whose_resume_is_lost_waits_for_ever(
    stalling: TwoStreams, machine: MachineUnderTest
) -> None:
    two = stalling
    machine.inject("command-fetch", Drop(), opcode="RESUME", stream=STREAM)
    transfer = two.dma.start_write(0x8_0000, b"waits")
    assert [event.stalled for event in two.driver.faults.run()] == [True]
    machine.pass_time(10_000_000_000)
    assert not transfer.done
    assert len(machine.smmu.stalls.held) == 1
    assert two.write()
    two.driver.detach(STREAM)
    assert transfer.done
    assert not transfer.ok
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "with all tags taken further faults wait, none is lost; STALL_TERM ends those of its stream",
    "3.12.2, 4.7.2",
    site="command-fetch",
    effect="drop",
)
def test_stalls_that_nobody_resolves_exhaust_the_tags_and_no_more(
    stalling: TwoStreams, machine: MachineUnderTest
) -> None:
    two = stalling
    most = machine.smmu.stalls.capacity
    machine.inject("command-fetch", Drop(), opcode="RESUME", times=EVER)
    transfers = [two.dma.start_write(0x8_0000 + 0x1000 * n, b"x") for n in range(most + 5)]
    for _ in range(3):
        two.driver.faults.run()
    assert (len(machine.smmu.stalls.held), len(machine.smmu.stalls.waiting)) == (most, 5)
    assert two.write()
    two.assert_other_unharmed()
    two.driver.detach(STREAM)
    two.driver.faults.run()
    assert all(transfer.done and not transfer.ok for transfer in transfers)
