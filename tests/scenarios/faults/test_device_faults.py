# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile and broken devices: transactions that lie, caches that remember, data that change."""

from __future__ import annotations

import pytest

from smmu_emu.devices.ats_endpoint import AtsEndpoint, Conduct
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.driver.queues import DriverError
from smmu_emu.inject import (
    EVER,
    Abort,
    Delay,
    Dma,
    Drop,
    Duplicate,
    Flip,
    Poison,
    Reorder,
    Replace,
    Rewrite,
    Stuck,
)
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.testing import MachineUnderTest
from tests.scenarios.faults.catalogue import promises
from tests.scenarios.faults.rig import DATA, IOVA, OTHER, OTHER_PA, PA, STREAM, TwoStreams

_STRAY = 0x8_0000


@promises(
    "a StreamID gives that stream's rights and no others: who can forge it has the other's memory",
    "3.2",
    site="transaction",
    effect="rewrite",
)
def test_forged_stream_has_the_rights_of_the_other_alone(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("transaction", Rewrite(stream=OTHER), stream=STREAM, times=2)
    assert two.write()
    assert two.landed(pa=OTHER_PA)
    assert not two.landed(pa=PA)
    assert not machine.dma(STREAM).write(_STRAY, b"x")
    assert machine.events.one().stream == OTHER
    machine.assert_isolated()


@promises(
    "a StreamID without valid STE is C_BAD_STE", "7.3.5", site="transaction", effect="rewrite"
)
def test_forged_stream_that_nobody_configured_is_aborted(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("transaction", Rewrite(stream=0x44), stream=STREAM)
    assert not two.write()
    assert machine.events.one("C_BAD_STE").stream == 0x44
    two.assert_other_unharmed()


@promises(
    "a StreamID beyond the table is C_BAD_STREAMID",
    "7.3.3, 3.3.1",
    site="transaction",
    effect="rewrite",
)
def test_forged_stream_beyond_the_table_is_aborted(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("transaction", Rewrite(stream=0x4_4444), stream=STREAM)
    assert not two.write()
    assert machine.events.one("C_BAD_STREAMID").stream == 0x4_4444
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a SubstreamID chooses among the stream's own address spaces; one without CD is an error",
    "3.3.2, 7.3.9, 7.3.11",
    site="transaction",
    effect="rewrite",
)
def test_forged_substream_stays_within_its_stream(
    machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    spaces = driver.substreams(bits=2)
    for substream in (1, 2):
        spaces[substream] = driver.domain()
        spaces.spaces[substream].map(IOVA, PA + 0x10_0000 * substream, 0x1000)
    driver.attach_substreams(STREAM, spaces)
    dma = machine.dma(STREAM)
    machine.inject("transaction", Rewrite(substream=2), substream=1)
    assert dma.write(IOVA, DATA, substream_id=1)
    assert machine.memory.read(PA + 0x20_0000, 8) == DATA
    machine.inject("transaction", Rewrite(substream=3), substream=2)
    assert not dma.write(IOVA, DATA, substream_id=2)
    machine.inject("transaction", Rewrite(substream=9), substream=2, nth=1)
    assert not dma.write(IOVA, DATA, substream_id=2)
    assert machine.events.names == ["C_BAD_CD", "C_BAD_SUBSTREAMID"]
    machine.assert_isolated()


@promises(
    "a SubstreamID for a stream that takes none is C_BAD_SUBSTREAMID",
    "7.3.9",
    site="transaction",
    effect="rewrite",
)
def test_substream_for_a_stream_without_is_aborted(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("transaction", Rewrite(substream=1), stream=STREAM)
    assert not two.write()
    assert machine.events.names == ["C_BAD_SUBSTREAMID"]
    two.assert_other_unharmed()


@pytest.mark.parametrize("bit", [12, 14, 16, 17, 30, 47, 48, 63])
@promises(
    "every address outside of the mappings is F_TRANSLATION, whichever bit leads there",
    "7.3.13, 3.4.1",
    site="transaction",
    effect="flip",
)
def test_address_changed_on_the_bus_never_leaves_the_mappings(
    two: TwoStreams, machine: MachineUnderTest, bit: int
) -> None:
    machine.inject("transaction", Flip((bit,)), stream=STREAM)
    inside = bit < 14
    assert two.write() is inside
    assert machine.events.names == ([] if inside else ["F_TRANSLATION"])
    two.assert_other_unharmed()


@promises(
    "a read that becomes a write meets the rights of a write",
    "7.3.16",
    site="transaction",
    effect="rewrite",
)
def test_read_that_becomes_a_write_is_judged_as_one(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    two.domain.map(_STRAY, PA + 0x10_0000, 0x1000, 1)
    machine.inject("transaction", Rewrite(write=True), stream=STREAM, write=False)
    assert two.dma.read(_STRAY, 4) is None
    assert machine.events.names == ["F_PERMISSION"]
    assert two.dma.read(_STRAY, 4) == bytes(4)
    two.assert_other_unharmed()


@promises(
    "none: what never arrives is not the SMMU's to tell of",
    "none",
    site="transaction",
    effect="drop",
)
def test_transaction_that_is_lost_is_silent(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("transaction", Drop(), stream=STREAM)
    assert two.write()
    assert not two.landed()
    assert machine.refused == []
    two.assert_other_unharmed()


@promises(
    "none: an abort of the interconnect is the master's alone",
    "none",
    site="transaction",
    effect="abort",
)
def test_transaction_that_the_bus_aborts_is_the_masters(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("transaction", Abort(), stream=STREAM)
    assert not two.write()
    assert machine.refused == []
    two.assert_other_unharmed()


@promises(
    "each arrival of a transaction is judged, and recorded, for itself",
    "7.3.13",
    site="transaction",
    effect="duplicate",
)
def test_transaction_that_arrives_twice_is_recorded_twice(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("transaction", Duplicate(), stream=STREAM)
    assert not two.dma.write(_STRAY, b"x")
    assert machine.events.names == ["F_TRANSLATION"] * 2
    two.assert_other_unharmed()


@promises(
    "no address outside of the mappings is reachable, read or write",
    "7.3.13",
    site="device",
    effect="dma",
)
def test_device_that_sweeps_memory_finds_its_own_pages_alone(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    for step in range(64):
        machine.inject(
            "device", Dma(STREAM, iova=step << 12, write=bool(step % 2)), stream=OTHER, nth=1
        )
    assert two.write(stream=OTHER)
    machine.heal()
    mapped = range(IOVA, IOVA + 0x4000, 0x1000)
    assert len(machine.events.of("F_TRANSLATION", stream=STREAM)) == 64 - len(mapped)
    assert not {event.iova for event in machine.events} & set(mapped)
    two.assert_other_unharmed()


# -- unmapping


@promises(
    "until its TLBI is consumed a translation may be used: DMA that comes before is no breach",
    "16.2, 3.21.1",
    site="device",
    effect="dma",
)
def test_dma_during_unmap_but_before_the_tlbi_may_land(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    attack = Dma(STREAM, iova=IOVA)
    machine.inject("device", attack, at="command-fetch", opcode="TLBI_NH_VA")
    two.domain.unmap(IOVA, 0x1000)
    assert not two.write()
    machine.assert_isolated()


@promises(
    "after the SYNC of a TLBI no transaction that used the translation is under way: a write that "
    "still is, is a breach",
    "3.21.1, 4.7.3",
    site="dma-write",
    effect="delay",
)
def test_write_in_flight_across_an_unmap_is_a_breach(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("dma-write", Delay(5000), stream=STREAM)
    assert two.write()
    two.domain.unmap(IOVA, 0x1000)
    machine.memory.write(PA, bytes(8))
    machine.pass_time(5000)
    assert two.landed()
    (breach,) = machine.isolation.breaches
    assert (breach.time, breach.why) == (5000, "the address is not mapped")


# -- endpoints with caches


@pytest.fixture
def endpoint(machine: MachineUnderTest, driver: Smmuv3Driver) -> AtsEndpoint:
    """An endpoint of PCIe whose stream may use ATS; its domain maps `IOVA`."""
    domain = driver.domain()
    domain.map(IOVA, PA, 0x4000)
    driver.attach(STREAM, domain, ats=True)
    made = AtsEndpoint(machine.memory, machine.smmu.ats, STREAM, machine.clock)
    machine.isolation.watch(made.memory, made.memory.name)
    return made


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a Translated transaction of a stream without ATS is aborted: F_TRANSL_FORBIDDEN",
    "3.9.1, 7.3.8",
    site="device",
    effect="dma",
)
def test_translated_transaction_without_ats_is_forbidden(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    lie = Dma(STREAM, iova=OTHER_PA + 0x100, translated=True, pattern=0xEE)
    machine.inject("device", lie, stream=OTHER)
    assert two.write(stream=OTHER)
    assert machine.events.names == ["F_TRANSL_FORBIDDEN"]
    assert machine.memory.read(OTHER_PA + 0x100, 1) == b"\0"
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "none: with EATS full the SMMU believes Translated addresses. The breach is seen",
    "3.9.1, 5.2",
    site="device",
    effect="dma",
)
def test_translated_address_that_was_never_granted_is_a_breach_with_ats(
    endpoint: AtsEndpoint, machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    two = TwoStreams(machine, driver)
    driver.attach(STREAM, two.domain, ats=True)
    lie = Dma(STREAM, iova=OTHER_PA, translated=True, pattern=0xEE)
    machine.inject("device", lie, stream=OTHER)
    assert two.write(0x1000, stream=OTHER)
    assert machine.memory.read(OTHER_PA, 1) == b"\xee"
    assert [(one.stream, one.pa) for one in machine.isolation.breaches] == [(STREAM, OTHER_PA)]


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "none: a Translated address that changed on the bus goes where it says",
    "3.9.1",
    site="ats-translated",
    effect="flip",
)
def test_translated_address_changed_on_the_bus_is_a_breach(
    endpoint: AtsEndpoint, machine: MachineUnderTest
) -> None:
    machine.inject("ats-translated", Flip((20,)), stream=STREAM)
    assert endpoint.write(IOVA, DATA)
    assert machine.memory.read(PA ^ 1 << 20, 8) == DATA
    assert [one.pa for one in machine.isolation.breaches] == [PA ^ 1 << 20]


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a request that fails grants nothing: the endpoint has no address to use",
    "3.9.1",
    site="ats-request",
    effect="drop",
)
def test_lost_translation_request_grants_nothing(
    endpoint: AtsEndpoint, machine: MachineUnderTest
) -> None:
    machine.inject("ats-request", Drop())
    assert not endpoint.write(IOVA, DATA)
    assert machine.memory.read(PA, 8) == bytes(8)
    assert endpoint.write(IOVA, DATA)
    machine.assert_isolated()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a request for another stream's addresses is answered by that stream's configuration",
    "3.9.1",
    site="ats-request",
    effect="rewrite",
)
def test_translation_request_for_another_stream_needs_its_ats(
    endpoint: AtsEndpoint, machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    other = driver.domain()
    other.map(IOVA, OTHER_PA, 0x1000)
    driver.attach(OTHER, other)
    machine.inject("ats-request", Rewrite(stream=OTHER), stream=STREAM)
    assert not endpoint.write(IOVA, DATA)
    assert machine.memory.read(OTHER_PA, 8) == bytes(8)
    assert machine.events.names in ([], ["F_BAD_ATS_TREQ"])
    machine.assert_isolated()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "an invalidation that is never answered times out: CERROR_ATC_INV_SYNC at the CMD_SYNC",
    "4.5.1, 7.1, 3.9.1.4",
    site="ats-invalidate",
    effect="drop",
)
def test_endpoint_that_never_answers_an_invalidation_times_out(
    endpoint: AtsEndpoint, machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    assert endpoint.write(IOVA, DATA)
    machine.inject("ats-invalidate", Drop(), stream=STREAM)
    domain = driver.domains[STREAM]
    with pytest.raises(DriverError):
        domain.unmap(IOVA, 0x1000)  # type: ignore[union-attr]
    machine.pass_time(60_000_000_000)
    assert machine.global_errors == {"CMDQ_ERR"}
    assert driver.registers.read("CMDQ_CONS") >> 24 == 3
    (error,) = driver.recovery.handle()
    assert error.detail.startswith("ATC_INV_SYNC")


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "CMD_SYNC waits for the endpoint's answer",
    "4.5.1, 4.7.3",
    site="ats-invalidate",
    effect="delay",
)
def test_late_answer_to_an_invalidation_is_waited_for(
    endpoint: AtsEndpoint, machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    assert endpoint.write(IOVA, DATA)
    machine.inject("ats-invalidate", Delay(300_000), stream=STREAM)
    driver.domains[STREAM].unmap(IOVA, 0x1000)  # type: ignore[union-attr]
    assert machine.clock.now >= 300_000
    assert not endpoint.write(IOVA, DATA)
    machine.assert_isolated()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "none: an endpoint that says that it forgot, and did not, is believed. The breach is seen",
    "3.9.1",
    site="ats-invalidate",
    effect="duplicate",
)
def test_endpoint_that_lies_about_an_invalidation_is_a_breach(
    endpoint: AtsEndpoint, machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    assert endpoint.write(IOVA, DATA)
    machine.inject("ats-invalidate", Duplicate(), stream=STREAM)
    endpoint.conduct = Conduct(keeps_invalidated=True)
    driver.domains[STREAM].unmap(IOVA, 0x1000)  # type: ignore[union-attr]
    assert endpoint.write(IOVA, DATA)
    (breach,) = machine.isolation.breaches
    assert breach.why == "no mapping leads to this translated address"


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a page request that comes twice is two requests; one response too many is the endpoint's to "
    "ignore",
    "8",
    site="page-request",
    effect="duplicate",
)
def test_page_request_that_comes_twice_is_answered_twice(
    endpoint: AtsEndpoint, machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    machine.inject("page-request", Duplicate(), stream=STREAM)
    endpoint.start_write(_STRAY, DATA)
    assert driver.pages is not None
    assert len(driver.pages.run()) == 2
    assert endpoint.unexpected_responses == 1
    machine.assert_isolated()


# -- data


@promises(
    "none: data are not the SMMU's. The wrong byte lands where the right one would",
    "none",
    site="dma-write",
    effect="flip",
)
def test_data_changed_on_the_bus_are_corrupted_silently(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("dma-write", Flip((0,)), stream=STREAM)
    assert two.write()
    assert machine.memory.read(PA, 8) == bytes([DATA[0] ^ 1]) + DATA[1:]
    assert machine.refused == []
    two.assert_other_unharmed()


@promises(
    "an abort behind the SMMU is the master's: no event", "7.2", site="dma-write", effect="abort"
)
def test_write_that_memory_aborts_makes_no_event(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("dma-write", Abort(), address=(PA, PA + 0x1000))
    assert not two.write()
    assert machine.refused == []
    two.assert_other_unharmed()


@promises("none: posted writes can be lost", "none", site="dma-write", effect="drop")
def test_lost_write_is_silent(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("dma-write", Drop(), stream=STREAM)
    assert two.write()
    assert not two.landed()
    two.assert_other_unharmed()


@promises(
    "none: two writes in another order leave the older data",
    "none",
    site="dma-write",
    effect="reorder",
)
def test_writes_in_another_order_leave_the_older_data(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("dma-write", Reorder(), stream=STREAM)
    assert two.dma.write(IOVA, b"older")
    assert two.dma.write(IOVA, b"newer")
    assert machine.memory.read(PA, 5) == b"older"
    two.assert_other_unharmed()


@promises("a write that lands twice in RAM is one", "none", site="dma-write", effect="duplicate")
def test_write_that_lands_twice_is_harmless_in_ram(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("dma-write", Duplicate(), stream=STREAM)
    assert two.write()
    assert two.landed()
    two.assert_other_unharmed()


@promises(
    "none: a byte lane that is stuck corrupts all that passes",
    "none",
    site="dma-write",
    effect="stuck",
)
def test_stuck_byte_lane_corrupts_each_write(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("dma-write", Stuck(0, 0xFF00), stream=STREAM)
    for offset in (0, 0x1000):
        assert two.write(offset)
        assert machine.memory.read(PA + offset, 8) == DATA[:1] + b"\0" + DATA[2:]
    two.assert_other_unharmed()


@promises("the master is told of an abort behind the SMMU", "none", site="dma-read", effect="abort")
def test_read_that_memory_aborts_is_told_to_the_master(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("dma-read", Abort(), stream=STREAM)
    assert two.dma.read(IOVA, 4) is None
    assert two.dma.read(IOVA, 4) == bytes(4)
    assert machine.refused == []
    two.assert_other_unharmed()


@promises(
    "the master is told each time, until the memory is written again",
    "12.1",
    site="dma-read",
    effect="poison",
)
def test_poisoned_data_abort_until_they_are_written(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("dma-read", Poison(), stream=STREAM)
    assert [two.dma.read(IOVA, 8) for _ in range(3)] == [None] * 3
    assert two.write()
    assert two.dma.read(IOVA, 8) == DATA
    two.assert_other_unharmed()


@promises("none: wrong data for ever", "none", site="dma-read", effect="replace")
def test_reads_that_bring_other_data_are_silent(two: TwoStreams, machine: MachineUnderTest) -> None:
    assert two.write()
    machine.inject("dma-read", Replace(0x2A), stream=STREAM, times=EVER)
    assert [two.dma.read(IOVA, 2) for _ in range(2)] == [b"\x2a\0"] * 2
    assert two.landed()
    two.assert_other_unharmed()
