# SPDX-License-Identifier: GPL-2.0-or-later
"""Global errors: every kind is seen, acknowledged, and survived where that is possible."""

from __future__ import annotations

import pytest

from smmu_emu.ats import Endpoint, Invalidation, InvalidationAnswer, PageResponse
from smmu_emu.driver import DriverError
from smmu_emu.driver.recovery import GlobalError
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.device import Delays
from tests.unit.driver.rig import GERROR, SID, TARGET, Rig

FULL = PRESETS["full"]
GERRORN, CMDQ_BASE, CMDQ_CONS, CR0 = 0x64, 0x90, 0x9C, 0x20
NOWHERE = 1 << 38
ILLEGAL, SYNC = 0xFF, 0x46


def quiet(rig: Rig) -> bool:
    """No error is active, and the queue goes."""
    rig.driver.commands.sync()
    return rig.smmu.read(GERROR, 4) == rig.smmu.read(GERRORN, 4)


def test_nothing_wrong_is_nothing_done() -> None:
    rig = Rig()
    assert rig.driver.recovery.handle() == []
    assert rig.driver.recovery.seen == {}


def test_illegal_command_is_replaced_and_the_queue_goes_on() -> None:
    rig = Rig()
    driver = rig.driver
    driver.commands.issue(ILLEGAL | 7 << 64)
    (error,) = driver.recovery.handle()
    assert error.name == "CMDQ_ERR"
    assert error.detail == (
        "ILL at index 0x3: 0x000000000000000700000000000000ff was replaced by CMD_SYNC"
    )
    data = rig.machine.memory.read(driver.commands.slot(3), 16)
    assert data == SYNC.to_bytes(16, "little")
    assert quiet(rig)
    assert driver.recovery.seen == {"CMDQ_ERR": 1}


def test_commands_behind_the_illegal_one_are_not_lost() -> None:
    rig = Rig()
    domain = rig.driver.domain()
    domain.map(0x1000, TARGET, 0x1000)
    rig.driver.attach(SID, domain)
    assert rig.machine.dma(SID).write(0x1000, b"x")
    domain.invalidate = False
    domain.unmap(0x1000, 0x1000)
    rig.driver.commands.issue(ILLEGAL)
    rig.driver.commands.recover = lambda: None
    rig.driver.commands.issue(0x30)  # TLBI_NSNH_ALL
    assert rig.machine.dma(SID).write(0x1000, b"x")
    rig.driver.recovery.handle()
    assert quiet(rig)
    assert not rig.machine.dma(SID).write(0x1000, b"x")


def test_driver_that_recovers_does_not_notice() -> None:
    rig = Rig(recover=True)
    domain = rig.driver.domain()
    rig.driver.commands.issue(ILLEGAL)
    domain.map(0x1000, TARGET, 0x1000)
    rig.driver.attach(SID, domain)
    assert rig.machine.dma(SID).write(0x1000, b"x")
    assert rig.driver.recovery.seen == {"CMDQ_ERR": 1}


def test_many_errors_one_after_another() -> None:
    rig = Rig(recover=True, queue_lg2=2)
    for _ in range(50):
        rig.driver.commands.issue(ILLEGAL)
        rig.driver.commands.sync()
    assert rig.driver.recovery.seen == {"CMDQ_ERR": 50}


def test_fetch_that_aborts_once_is_tried_again() -> None:
    rig = Rig()
    port = rig.smmu.ports["command-queue"]
    read = port.read
    failures = [None]

    def flaky(pa: int, size: int) -> bytes | None:
        return failures.pop() if failures else read(pa, size)

    port.read = flaky
    rig.driver.commands.issue(0x30)
    (error,) = rig.driver.recovery.handle()
    assert error == GlobalError("CMDQ_ERR", "ABT at index 0x3: tried again")
    assert quiet(rig)


def test_queue_that_cannot_be_read_is_given_up() -> None:
    rig = Rig(recover=True)
    rig.smmu.ports["command-queue"].read = lambda pa, size: None
    with pytest.raises(DriverError, match=r"the command queue at 0x[0-9a-f]+ cannot be read"):
        rig.driver.commands.sync()


def test_unknown_error_code_is_an_error() -> None:
    rig = Rig()
    rig.driver.commands.issue(ILLEGAL)
    rig.smmu.registers.values["CMDQ_CONS"] |= 0x70 << 24
    with pytest.raises(DriverError, match=r"CMDQ_CONS.ERR is 0x71, which nobody knows"):
        rig.driver.recovery.handle()


class Deaf:
    """An endpoint that never answers invalidations."""

    def invalidate(self, request: Invalidation, answer: InvalidationAnswer) -> None:
        pass

    def page_response(self, response: PageResponse) -> None:
        pass


def test_endpoint_that_does_not_answer_costs_one_retry() -> None:
    """CERROR_ATC_INV_SYNC: the CMD_SYNC is tried again. Spec: 7.1."""
    rig = Rig(FULL)
    rig.smmu.ats.invalidations.timeout = 1000
    endpoint: Endpoint = Deaf()
    rig.smmu.ats.attach(SID, endpoint)
    clock = rig.machine.clock
    driver = rig.driver
    driver.registers.idle = lambda: clock.advance(clock.now + 500)
    driver.commands.recover = lambda: errors.extend(driver.recovery.handle())
    errors: list[GlobalError] = []
    domain = driver.domain()
    domain.map(0x1000, TARGET, 0x1000)
    driver.attach(SID, domain, ats=True)
    domain.unmap(0x1000, 0x1000)
    assert [error.detail.split(" at")[0] for error in errors] == ["ATC_INV_SYNC"]
    assert quiet(rig)


def test_event_queue_that_aborts_is_told_and_works_again() -> None:
    rig = Rig()
    port = rig.smmu.ports["event-queue"]
    write = port.write
    port.write = lambda pa, data: False
    assert not rig.machine.dma(SID).write(0x1000, b"x")
    port.write = write
    assert rig.driver.faults.run() == []
    assert rig.driver.recovery.handle() == [GlobalError("EVENTQ_ABT_ERR")]
    assert not rig.machine.dma(SID).write(0x1000, b"x")
    assert len(rig.driver.faults.run()) == 1


def test_messages_that_abort_are_told() -> None:
    rig = Rig(FULL)
    rig.driver.send_messages("EVENTQ", NOWHERE, 1)
    assert not rig.machine.dma(SID).write(0x1000, b"x")
    assert rig.driver.recovery.handle() == [GlobalError("MSI_EVENTQ_ABT_ERR")]
    assert len(rig.driver.faults.run()) == 1
    assert quiet(rig)


def test_delays_do_not_hide_an_error() -> None:
    rig = Rig(recover=True)
    rig.smmu.delays = Delays(commands=300)
    clock = rig.machine.clock
    rig.driver.registers.idle = lambda: clock.advance(clock.now + 100)
    rig.driver.commands.issue(ILLEGAL)
    rig.driver.commands.sync()
    assert rig.driver.recovery.seen == {"CMDQ_ERR": 1}


def test_service_failure_mode_is_the_end() -> None:
    rig = Rig()
    rig.smmu.registers.values["GERROR"] ^= 1 << 8
    with pytest.raises(
        DriverError, match="the device is in service failure mode, and now disabled"
    ):
        rig.driver.recovery.handle()
    assert rig.smmu.read(CR0, 4) == 0
