# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures that change in memory, or in the SMMU, between two transactions."""

from __future__ import annotations

import pytest

from smmu_emu.driver.queues import DriverError
from smmu_emu.inject import Drop, Flip, Injection, Replace, SetField, Stuck, Target, When
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.testing import MachineUnderTest
from tests.scenarios.faults.catalogue import promises
from tests.scenarios.faults.rig import IOVA, OTHER, PA, STREAM, TwoStreams


@promises(
    "a cached STE rules until a CFGI drops it, whatever memory says meanwhile",
    "3.21.3, 4.3.1",
    site="ste",
    effect="set",
)
def test_ste_that_changes_behind_the_driver_waits_for_cfgi(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("ste", SetField("Config", 0), stream=STREAM)
    assert two.write()
    machine.smmu.configuration.drop_ste(STREAM)
    assert not two.write()
    two.assert_other_unharmed()


@promises("Config 0b000 aborts the stream and records nothing", "5.2", site="ste", effect="set")
def test_ste_turned_to_abort_is_silent(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("ste", SetField("Config", 0), stream=STREAM)
    assert not two.write()
    assert machine.refused.one(stream=STREAM).name == ""
    assert machine.events == []
    two.assert_other_unharmed()


@promises(
    "none: Config 0b100 bypasses. The breach is seen, with the address that passed",
    "5.2",
    site="ste",
    effect="set",
)
def test_ste_turned_to_bypass_is_a_breach(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("ste", SetField("Config", 0b100), stream=STREAM)
    assert machine.dma(STREAM).write(0x5100_0000, b"anywhere")
    assert machine.memory.read(0x5100_0000, 8) == b"anywhere"
    (breach,) = machine.isolation.breaches
    assert (breach.iova, breach.pa) == (0x5100_0000, 0x5100_0000)


@promises("reserved values of Config abort as 0b000 does", "5.2", site="ste", effect="set")
def test_ste_with_a_reserved_config_lets_nothing_pass(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("ste", SetField("Config", 0b011), stream=STREAM)
    assert not two.write()
    assert machine.events == []
    two.assert_other_unharmed()


@promises("a pointer to where no memory is, is F_CD_FETCH", "7.3.10", site="ste", effect="set")
def test_ste_pointing_nowhere_is_recorded(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("ste", SetField("S1ContextPtr", 0x3_0000_0000), stream=STREAM)
    assert not two.write()
    assert "at 0x300000000" in machine.events.one("F_CD_FETCH").text
    two.assert_other_unharmed()


@promises("V 0 is C_BAD_CD", "7.3.11", site="cd", effect="set")
def test_cd_that_is_no_longer_valid_is_recorded(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("cd", SetField("V", 0), stream=STREAM)
    assert not two.write()
    assert machine.events.names == ["C_BAD_CD"]
    two.assert_other_unharmed()


@promises("EPD0 forbids walks: F_TRANSLATION, and no table is read", "5.4", site="cd", effect="set")
def test_cd_that_forbids_walks_ends_the_access(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("cd", SetField("EPD0", 1), stream=STREAM)
    assert not two.write()
    assert machine.events.one("F_TRANSLATION").level is None
    assert machine.smmu.stages.walks == 0
    two.assert_other_unharmed()


@promises(
    "addresses beyond the range that T0SZ leaves are F_TRANSLATION",
    "3.4.1, 5.4",
    site="cd",
    effect="set",
)
def test_cd_with_a_smaller_range_refuses_what_is_beyond(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    two.domain.map(0x80_0000_0000, PA, 0x1000)
    machine.inject("cd", SetField("T0SZ", 25), stream=STREAM)
    assert not machine.dma(STREAM).write(0x80_0000_0000, b"beyond")
    assert machine.events.names == ["F_TRANSLATION"]
    two.assert_other_unharmed()


@pytest.mark.parametrize("bit", range(4, 48, 5))
@promises(
    "a table pointer that leads astray ends in a fault here, as what is there is no table",
    "7.3.12, 7.3.13",
    site="cd",
    effect="flip",
)
def test_cd_with_a_wrong_table_pointer_faults(
    two: TwoStreams, machine: MachineUnderTest, bit: int
) -> None:
    machine.inject("cd", Flip((64 + bit,)), stream=STREAM)
    passed = two.write()
    if not passed:
        assert machine.events.names[0] in (
            "F_TRANSLATION",
            "F_WALK_EABT",
            "C_BAD_CD",
            "F_ADDR_SIZE",
        )
    else:
        assert two.landed()
    two.assert_other_unharmed()


@promises(
    "a cached translation holds until its TLBI; the walk after that sees the new descriptor",
    "16.2, 3.21.1",
    site="descriptor",
    effect="flip",
)
def test_leaf_that_becomes_invalid_waits_for_tlbi(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("descriptor", Flip((0,)), stream=STREAM)
    assert two.write()
    two.domain.tlb_flush_all()
    assert not two.write()
    assert machine.events.names == ["F_TRANSLATION"]
    two.assert_other_unharmed()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@promises(
    "an entry that is not valid is F_TRANSLATION with its level",
    "7.3.13",
    site="descriptor",
    effect="replace",
)
def test_descriptor_that_is_gone_faults_at_its_level(
    two: TwoStreams, machine: MachineUnderTest, level: int
) -> None:
    machine.inject("descriptor", Replace(0), stream=STREAM, target=Target(level=level))
    assert not two.write()
    assert machine.events.one("F_TRANSLATION").level == level
    two.assert_other_unharmed()


@promises(
    "none: output addresses are trusted. The breach names the page that was reached",
    "none",
    site="descriptor",
    effect="flip",
)
def test_leaf_with_another_output_address_is_a_breach(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("descriptor", Flip((27,)), stream=STREAM)
    assert two.write()
    (breach,) = machine.isolation.breaches
    assert breach.pa == PA ^ 1 << 27
    assert breach.why == f"it is mapped to {PA:#x}"


@promises(
    "a read-only leaf refuses writes with F_PERMISSION, and lets reads pass",
    "7.3.16",
    site="descriptor",
    effect="flip",
)
def test_leaf_that_becomes_read_only_refuses_writes(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("descriptor", Flip((7,)), stream=STREAM)
    assert not two.write()
    assert machine.dma(STREAM).read(IOVA, 4) is not None
    assert machine.events.names == ["F_PERMISSION"]
    two.assert_other_unharmed()


@promises(
    "a descriptor stuck at not valid cannot be mapped again; each access faults",
    "7.3.13",
    site="descriptor",
    effect="stuck",
)
def test_stuck_descriptor_defies_the_driver(two: TwoStreams, machine: MachineUnderTest) -> None:
    stuck = Injection(
        "descriptor", Stuck(0, 1), When(stream=STREAM), Target(STREAM, iova=IOVA, level=3)
    )
    machine.inject(stuck)
    assert not two.write()
    two.domain.unmap(IOVA + 0x1000, 0x1000)
    two.domain.map(IOVA + 0x1000, PA + 0x1000, 0x1000)
    assert not two.write()
    assert two.write(0x1000)
    assert machine.events.names == ["F_TRANSLATION"] * 2
    two.assert_other_unharmed()


@promises(
    "none: cached addresses are used as they are. A TLBI heals",
    "12.1",
    site="tlb-entry",
    effect="flip",
)
def test_damaged_tlb_entry_is_a_breach_until_invalidated(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("tlb-entry", Flip((13,)), stream=STREAM)
    assert two.write()
    (breach,) = machine.isolation.breaches
    assert breach.pa == PA ^ 1 << 13
    two.domain.tlb_flush_all()
    machine.isolation.breaches.clear()
    assert two.write()
    two.assert_other_unharmed()


@promises(
    "an SMMU may forget at any time: the next access walks and lands as before",
    "16.2",
    site="tlb-entry",
    effect="drop",
)
def test_lost_tlb_entry_is_masked(two: TwoStreams, machine: MachineUnderTest) -> None:
    assert two.write()
    machine.inject("tlb-entry", Drop(), stream=STREAM)
    assert two.write()
    assert (machine.smmu.path.hits, machine.smmu.path.misses) == (0, 2)
    assert machine.events == []
    two.assert_other_unharmed()


@promises(
    "none: records belong to software once written. The next one is whole",
    "none",
    site="event",
    effect="replace",
)
def test_damaged_record_hides_one_event(two: TwoStreams, machine: MachineUnderTest) -> None:
    dma = machine.dma(STREAM)
    assert not dma.write(0x8_0000, b"1")
    machine.inject("event", Replace(0xEE), stream=STREAM)
    assert not dma.write(0x8_1000, b"2")
    seen = two.driver.faults.run()
    assert [event.name for event in seen] == ["0xee", "F_TRANSLATION"]
    assert seen[1].iova == 0x8_1000
    two.assert_other_unharmed()


@promises(
    "an illegal command is CERROR_ILL: it and what follows wait, nothing else stops",
    "7.1, 4.1.1",
    site="command",
    effect="replace",
)
def test_command_damaged_in_the_queue_stops_it(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("command", Replace(0xFF), at="register-write", register="CMDQ_PROD")
    with pytest.raises(DriverError, match="CERROR_ILL"):
        two.domain.unmap(IOVA, 0x1000)
    assert machine.global_errors == {"CMDQ_ERR"}
    two.assert_other_unharmed()


@promises(
    "a driver that replaces the command and acknowledges gets the queue going again",
    "7.1",
    site="command",
    effect="replace",
)
def test_driver_recovers_from_a_damaged_command(machine: MachineUnderTest) -> None:
    two = TwoStreams(machine, machine.attach_driver(recover=True))
    machine.inject("command", Replace(0xFF), at="register-write", register="CMDQ_PROD", nth=2)
    two.domain.unmap(IOVA, 0x1000)
    assert two.driver.recovery.seen == {"CMDQ_ERR": 1}
    assert machine.global_errors == set()
    assert not two.write()
    two.assert_other_unharmed()


@promises(
    "with SMMUEN clear GBPA rules: ABORT aborts all that has no cached context, without events",
    "3.11, 6.3.14",
    site="register",
    effect="flip",
)
def test_enable_lost_in_the_registers_is_silent(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.smmu.registers.values["GBPA"] |= 1 << 20
    machine.inject("register", Flip((0,)), stream=STREAM, target=Target(register="CR0ACK"))
    assert not two.write()
    assert not two.write(stream=OTHER)
    assert machine.events == []
    machine.assert_isolated()


@promises(
    "a base that leads nowhere is F_STE_FETCH; streams that are cached are not concerned",
    "7.3.4",
    site="register",
    effect="flip",
)
def test_stream_table_base_changed_in_the_registers_is_recorded(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write(stream=OTHER)
    machine.inject("register", Flip((40,)), stream=STREAM, target=Target(register="STRTAB_BASE"))
    assert not two.write()
    assert machine.events.names == ["F_STE_FETCH"]
    two.assert_other_unharmed()


@promises(
    "an active CMDQ_ERR stops the queue until it is acknowledged; what waits is then consumed",
    "7.1, 7.5",
    site="register",
    effect="flip",
)
def test_error_out_of_nothing_stops_commands_until_acknowledged(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    error = Target(register="GERROR")
    machine.inject("register", Flip((0,)), stream=STREAM, target=error)
    assert two.write()
    consumed = machine.smmu.commands.consumed[Opcode.SYNC]
    with pytest.raises(DriverError):
        two.domain.tlb_flush_all()
    assert machine.smmu.commands.consumed[Opcode.SYNC] == consumed
    two.driver.registers.write("GERRORN", two.driver.registers.read("GERROR"))
    two.domain.tlb_flush_all()
    assert machine.smmu.commands.consumed[Opcode.SYNC] > consumed
    two.assert_other_unharmed()
