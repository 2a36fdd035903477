# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of what the SMMU writes: event records, page requests, messages."""

from __future__ import annotations

import pytest

from smmu_emu.devices.ats_endpoint import AtsEndpoint
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
    PageRequests,
    Reorder,
    Replace,
)
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.testing import MachineUnderTest
from tests.scenarios.faults.catalogue import promises
from tests.scenarios.faults.rig import IOVA, OTHER, STREAM, TwoStreams

_STRAY = 0x8_0000
_MESSAGES = 0x4B00_0000
"""RAM that takes the place of an interrupt controller."""


@promises(
    "the record is lost, EVENTQ_ABT_ERR tells; PROD stays, nothing is written until it is "
    "acknowledged",
    "7.2.2, 7.5",
    site="event-write",
    effect="abort",
)
def test_aborted_write_of_a_record_is_a_global_error(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("event-write", Abort())
    assert not two.dma.write(_STRAY, b"1")
    assert machine.global_errors == {"EVENTQ_ABT_ERR"}
    assert not two.dma.write(_STRAY, b"2")
    assert two.driver.registers.read("EVENTQ_PROD") == 0
    two.driver.recovery.handle()
    assert not two.dma.write(_STRAY + 8, b"3")
    assert [event.iova for event in two.driver.faults.run()] == [_STRAY + 8]
    two.assert_other_unharmed()


@promises(
    "the access is refused whether or not its record arrives",
    "7.2, 3.12.1",
    site="event-write",
    effect="drop",
)
def test_lost_record_hides_the_fault_but_lets_nothing_pass(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("event-write", Drop())
    assert not two.dma.write(_STRAY, b"x")
    (seen,) = two.driver.faults.run()
    assert (seen.code, seen.iova) == (0, 0)
    two.assert_other_unharmed()


@promises(
    "records may be seen twice: a driver handles each for itself",
    "7.3",
    site="event-write",
    effect="duplicate",
)
def test_record_that_arrives_twice_is_handled_twice(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("event-write", Duplicate())
    assert not two.dma.write(_STRAY, b"x")
    seen = two.driver.faults.run()
    assert [event.name for event in seen] == ["F_TRANSLATION"] * 2
    assert seen[0] == seen[1]
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "RESUME of a tag that is not in use is no error",
    "4.7.1",
    site="event-write",
    effect="duplicate",
)
def test_stall_that_is_told_twice_is_resumed_once(machine: MachineUnderTest) -> None:
    two = TwoStreams(machine, machine.attach_driver(), stall=True)
    machine.inject("event-write", Duplicate(), event="F_TRANSLATION", stream=STREAM)
    transfer = two.dma.start_write(_STRAY, b"x")
    assert [event.stalled for event in two.driver.faults.run()] == [True, True]
    assert transfer.done
    assert machine.global_errors == set()
    two.assert_other_unharmed()


@promises(
    "none: the fields of a damaged record mislead; the next one is right",
    "none",
    site="event-write",
    effect="flip",
)
def test_record_changed_on_the_bus_names_another_stream(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("event-write", Flip((32,)))
    assert not two.dma.write(_STRAY, b"1")
    assert not two.dma.write(_STRAY, b"2")
    assert [event.stream_id for event in two.driver.faults.run()] == [STREAM ^ 1, STREAM]
    two.assert_other_unharmed()


@promises(
    "a record is to be visible before the index moves: software that reads one which is not, "
    "reads what was there before",
    "3.5.2, 7.2.2",
    site="event-write",
    effect="delay",
)
def test_record_later_than_its_index_is_read_as_empty(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("event-write", Delay(5000))
    assert not two.dma.write(_STRAY, b"x")
    assert [event.code for event in two.driver.faults.run()] == [0]
    machine.pass_time(5000)
    assert two.driver.faults.run() == []
    two.assert_other_unharmed()


@promises(
    "records are in order: one that the next overtakes is not there when its index says so",
    "3.5.2, 7.2.2",
    site="event-write",
    effect="reorder",
)
def test_record_overtaken_by_the_next_is_late(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("event-write", Reorder())
    assert not two.dma.write(_STRAY, b"1")
    assert [event.code for event in two.driver.faults.run()] == [0]
    assert not two.dma.write(_STRAY + 8, b"2")
    assert [event.iova for event in two.driver.faults.run()] == [_STRAY + 8]
    two.assert_other_unharmed()


@promises(
    "a flood overflows the queue, which OVFLG tells; DMA of others is not concerned, and after an "
    "acknowledge events are recorded again",
    "7.4",
    site="device",
    effect="dma",
)
def test_flood_of_events_overflows_and_ends(two: TwoStreams, machine: MachineUnderTest) -> None:
    slots = 1 << two.driver.events.size_lg2
    machine.inject("device", Dma(stream=STREAM, iova=_STRAY), stream=OTHER, times=slots + 20)
    assert all(two.write(stream=OTHER) for _ in range(slots + 20))
    assert len(two.driver.faults.run()) == slots
    assert two.driver.events.overflows == 1
    machine.heal()
    assert not two.dma.write(_STRAY + 8, b"x")
    assert [event.iova for event in two.driver.faults.run()] == [_STRAY + 8]
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a stall's record is never lost: it waits for room in the queue",
    "7.4, 3.12.2",
    site="device",
    effect="dma",
)
def test_stall_outlives_a_flood_of_events(machine: MachineUnderTest) -> None:
    two = TwoStreams(machine, machine.attach_driver(queue_lg2=2), stall=True)
    machine.inject("device", Dma(stream=OTHER, iova=_STRAY), stream=STREAM, times=10)
    for _ in range(10):
        assert two.write()
    transfer = two.dma.start_write(_STRAY, b"x")
    assert not transfer.done
    handled = [event for _ in range(4) for event in two.driver.faults.run()]
    assert [event.stream_id for event in handled if event.stalled] == [STREAM]
    assert transfer.done
    two.assert_other_unharmed()


# -- page requests


@pytest.fixture
def endpoint(machine: MachineUnderTest, driver: Smmuv3Driver) -> AtsEndpoint:
    """An endpoint of PCIe with a cache, whose pages are not there yet."""
    domain = driver.domain()
    driver.attach(STREAM, domain, ats=True)
    return AtsEndpoint(machine.memory, machine.smmu.ats, STREAM, machine.clock)


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "PRIQ_ABT_ERR, and the endpoint is told of a failure instead of waiting",
    "8.2, 7.5",
    site="pri-write",
    effect="abort",
)
def test_aborted_write_of_a_page_request_is_answered(
    endpoint: AtsEndpoint, machine: MachineUnderTest
) -> None:
    machine.inject("pri-write", Abort())
    transfer = endpoint.start_write(IOVA, b"x")
    assert machine.global_errors == {"PRIQ_ABT_ERR"}
    machine.pass_time(10_000)
    assert transfer.done
    assert not transfer.ok
    machine.assert_isolated()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a request that is lost is never answered: the endpoint waits, others do not",
    "8",
    site="pri-write",
    effect="drop",
)
def test_lost_page_request_leaves_the_endpoint_waiting(
    endpoint: AtsEndpoint, machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    machine.inject("pri-write", Drop())
    transfer = endpoint.start_write(IOVA, b"x")
    assert driver.pages is not None
    driver.pages.run()
    assert not transfer.done
    two = TwoStreams(machine, driver)
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a full PRI queue discards requests, which OVFLG tells; those with Last set are answered",
    "8.1",
    site="device",
    effect="page-requests",
)
def test_flood_of_page_requests_is_answered_by_the_smmu(
    endpoint: AtsEndpoint, machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    two = TwoStreams(machine, driver)
    queue = driver.page_requests
    assert queue is not None
    assert driver.pages is not None
    slots = 1 << queue.size_lg2
    machine.inject("device", PageRequests(STREAM, IOVA, slots + 30), stream=OTHER)
    assert two.write(stream=OTHER)
    assert machine.smmu.page_requests.automatic == 30
    assert len(driver.pages.run()) == slots
    assert queue.overflows == 1
    two.assert_other_unharmed()


# -- messages


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "an aborted message is MSI_EVENTQ_ABT_ERR; the record is in the queue all the same",
    "7.5, 3.18",
    site="msi-write",
    effect="abort",
)
def test_aborted_message_of_the_event_queue_is_a_global_error(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    two.driver.send_messages("EVENTQ", _MESSAGES, 0x55)
    machine.inject("msi-write", Abort())
    assert not two.dma.write(_STRAY, b"x")
    assert machine.global_errors == {"MSI_EVENTQ_ABT_ERR"}
    assert machine.memory.read(_MESSAGES, 4) == bytes(4)
    assert [event.name for event in two.driver.faults.run()] == ["F_TRANSLATION"]
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "an aborted message of CMD_SYNC is MSI_CMDQ_ABT_ERR; the commands before it are done",
    "4.7.3, 7.5",
    site="msi-write",
    effect="abort",
)
def test_aborted_message_of_a_sync_is_a_global_error(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("msi-write", Abort())
    with pytest.raises(DriverError, match="has not come"):
        two.domain.unmap(IOVA, 0x1000)
    assert machine.global_errors == {"MSI_CMDQ_ABT_ERR"}
    assert not two.write()
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "none: a posted message that is lost looks like a CMD_SYNC that never completes",
    "4.7.3",
    site="msi-write",
    effect="drop",
)
def test_lost_message_of_a_sync_is_noticed_by_its_absence(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("msi-write", Drop())
    with pytest.raises(DriverError, match="has not come"):
        two.domain.tlb_flush_all()
    assert machine.global_errors == set()
    two.domain.tlb_flush_all()
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a late message is waited for: the driver goes on when it has come",
    "4.7.3",
    site="msi-write",
    effect="delay",
)
def test_late_message_of_a_sync_is_waited_for(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("msi-write", Delay(200_000))
    two.domain.unmap(IOVA, 0x1000)
    assert machine.clock.now >= 200_000
    assert not two.write()
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "none: other data in a message is another interrupt, or a CMD_SYNC that seems not to complete",
    "none",
    site="msi-write",
    effect="replace",
)
def test_message_with_other_data_is_not_understood(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("msi-write", Replace(0x46))
    with pytest.raises(DriverError, match="has not come"):
        two.domain.tlb_flush_all()
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "messages may come twice: the second changes nothing",
    "3.18",
    site="msi-write",
    effect="duplicate",
)
def test_message_that_comes_twice_is_harmless(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("msi-write", Duplicate(), times=EVER)
    two.domain.unmap(IOVA, 0x1000)
    assert not two.write()
    two.assert_other_unharmed()
