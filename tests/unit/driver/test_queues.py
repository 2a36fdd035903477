# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver's side of the queues: full, wrapping, in error, overflowing."""

from __future__ import annotations

import pytest

from smmu_emu.driver import DriverError
from smmu_emu.smmuv3.device import Delays
from tests.unit.driver.rig import CMDQ_PROD, SID, TARGET, Rig

CMDQ_CONS, GERRORN = 0x9C, 0x64
EVENTQ_CONS = 0x100AC
TLBI_NSNH_ALL = 0x30
NO_SUCH_COMMAND = 0xFF
OVERFLOW = 1 << 31


@pytest.mark.parametrize("queue_lg2", [0, 1, 2, 7])
def test_commands_go_round_a_queue_of_any_size(queue_lg2: int) -> None:
    rig = Rig(queue_lg2=queue_lg2)
    for _ in range(5 << queue_lg2):
        rig.driver.commands.issue(TLBI_NSNH_ALL)
    rig.driver.commands.sync()
    assert rig.counts == {"TLBI_NSNH_ALL": 5 << queue_lg2, "SYNC": 1}
    index_mask = (2 << queue_lg2) - 1
    assert rig.smmu.read(CMDQ_PROD, 4) == rig.smmu.read(CMDQ_CONS, 4) & index_mask


def test_full_queue_is_waited_for_and_nothing_is_lost() -> None:
    """A device that takes its time: the driver fills the queue and waits for room."""
    rig = Rig(queue_lg2=2)
    clock = rig.machine.clock
    rig.smmu.delays = Delays(commands=1000)
    depths = []

    def idle() -> None:
        depths.append((rig.smmu.read(CMDQ_PROD, 4) - rig.smmu.read(CMDQ_CONS, 4)) & 7)
        clock.advance(clock.now + 400)

    rig.driver.registers.idle = idle
    for _ in range(11):
        rig.driver.commands.issue(TLBI_NSNH_ALL)
    rig.driver.commands.sync()
    assert rig.counts == {"TLBI_NSNH_ALL": 11, "SYNC": 1}
    assert max(depths) == 4


def test_full_queue_that_stays_full_is_an_error() -> None:
    rig = Rig(queue_lg2=2)
    rig.smmu.delays = Delays(commands=1000)
    for _ in range(4):
        rig.driver.commands.issue(TLBI_NSNH_ALL)
    with pytest.raises(DriverError, match="CMDQ_CONS stays at 0x3: the device does not answer"):
        rig.driver.commands.issue(TLBI_NSNH_ALL)


def test_command_error_is_named_with_its_place() -> None:
    rig = Rig()
    index = rig.driver.commands.prod
    rig.driver.commands.issue(NO_SUCH_COMMAND)
    with pytest.raises(DriverError, match=f"the command at index {index:#x} met CERROR_ILL"):
        rig.driver.commands.sync()
    with pytest.raises(DriverError, match="CERROR_ILL"):
        rig.driver.domain().close()


def test_command_queue_outside_memory_is_named_too() -> None:
    rig = Rig()
    rig.smmu.registers.values["CMDQ_BASE"] = 0x7 << 32 | 7
    rig.window.write(CMDQ_PROD, 4, rig.driver.commands.prod + 1)
    with pytest.raises(DriverError, match="met CERROR_ABT"):
        rig.driver.commands.issue(TLBI_NSNH_ALL)


def test_error_that_is_repaired_lets_the_queue_go_on() -> None:
    """Software may overwrite the command and acknowledge. IHI 0070 7.1."""
    rig = Rig()
    queue = rig.driver.commands
    place = queue.base + 16 * (queue.prod & (1 << queue.size_lg2) - 1)
    queue.issue(NO_SUCH_COMMAND)
    rig.machine.memory.write(place, TLBI_NSNH_ALL.to_bytes(16, "little"))
    rig.smmu.write(GERRORN, 4, 1)
    queue.sync()
    assert rig.counts == {"TLBI_NSNH_ALL": 1, "SYNC": 1}


# -- events


def _fault(rig: Rig, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        assert not rig.machine.dma(SID).write(number << 12, b"x")


def _pages(records: list[bytes]) -> list[int]:
    return [int.from_bytes(record[16:24], "little") >> 12 for record in records]


def test_events_come_in_order_and_only_once() -> None:
    rig = Rig(queue_lg2=3)
    rig.driver.attach(SID, rig.driver.domain())
    drained = []
    for number in range(0, 60, 6):
        _fault(rig, 6, number)
        drained += _pages(rig.driver.events.drain())
    assert drained == list(range(60))
    assert rig.driver.events.drain() == []
    assert rig.driver.events.overflows == 0


def test_overflow_is_counted_and_acknowledged() -> None:
    rig = Rig(queue_lg2=2)
    rig.driver.attach(SID, rig.driver.domain())
    events = rig.driver.events
    for round_ in (1, 2, 3):
        _fault(rig, 7)
        assert _pages(events.drain()) == [0, 1, 2, 3]
        assert events.overflows == round_
        assert not (rig.smmu.read(0x100A8, 4) ^ rig.smmu.read(EVENTQ_CONS, 4)) & OVERFLOW
    _fault(rig, 4)
    assert len(events.drain()) == 4
    assert events.overflows == 3


def test_record_says_who_and_where() -> None:
    rig = Rig()
    domain = rig.driver.domain()
    rig.driver.attach(SID, domain)
    domain.map(0x1000, TARGET, 0x1000)
    assert not rig.machine.dma(SID).write(0x2010, b"x")
    (record,) = rig.driver.events.drain()
    assert record == bytes.fromhex(
        "1000000008000000 0000000000020000 1020000000000000 0000000000000000"
    )
