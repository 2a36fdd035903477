# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk: what requests do to file and memory, and drivers that break the rules."""

from __future__ import annotations

from pathlib import Path
from struct import pack

import pytest

from smmu_emu.devices.virtio.disk import DiskMode
from tests.unit.devices.virtio.rig import (
    AVAILABLE,
    DATA,
    DESCRIPTORS,
    HEADER,
    INDIRECT,
    NEXT,
    NOWHERE,
    PLATFORM,
    RAM,
    SECTORS,
    STATUS_BYTE,
    VERSION_1,
    WRITE,
    Driver,
    contents,
)

READ, STORE, FLUSH, GET_ID = 0, 1, 4, 8
OK, IO_ERROR, UNSUPPORTED, NOTHING = 0, 1, 2, 0xEE


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path).start()


# -- requests


def test_read_brings_sectors_into_memory_and_interrupts(driver: Driver) -> None:
    assert driver.request(READ, 3, 1024, write=True) == OK
    assert driver.read(DATA, 1024) == contents()[1536:2560]
    assert driver.used == [(0, 1025)]
    assert driver.transport.interrupt.level
    assert driver.get(0x60) == 1
    driver.put(0x64, 1)
    assert not driver.transport.interrupt.level


def test_write_goes_to_the_file(driver: Driver) -> None:
    driver.memory.write(DATA, b"x" * 512)
    assert driver.request(STORE, 5, 512, write=False) == OK
    assert driver.used == [(0, 1)]
    expected = bytearray(contents())
    expected[5 * 512 : 6 * 512] = b"x" * 512
    assert driver.path.read_bytes() == expected


def test_flush_and_unknown_requests(driver: Driver) -> None:
    assert driver.request(FLUSH, 0, 0, write=False) == OK
    assert driver.request(99, 0, 0, write=False) == UNSUPPORTED
    assert driver.device.requests == {FLUSH: 1}


def test_identification_is_the_name_of_the_disk(driver: Driver) -> None:
    assert driver.request(GET_ID, 0, 20, write=True) == OK
    assert driver.read(DATA, 20) == b"virtio-blk" + bytes(10)
    assert driver.request(GET_ID, 0, 19, write=True) == IO_ERROR


def test_framing_is_the_drivers_business(driver: Driver) -> None:
    """Header, data and status scattered over many descriptors. Spec: 2.7.4.3."""
    driver.memory.write(HEADER, pack("<IIQ", READ, 0, 1))
    driver.describe(
        (HEADER, 5, NEXT, 3),
        *[(0, 0, 0, 0)] * 2,
        (HEADER + 5, 11, NEXT, 4),
        (DATA, 100, NEXT | WRITE, 5),
        (DATA + 4000, 413, WRITE, 0),
    )
    driver.offer(0)
    sector = contents()[512:1024]
    assert driver.read(DATA, 100) == sector[:100]
    assert driver.read(DATA + 4000, 412) == sector[100:]
    assert driver.read(DATA + 4412, 1) == b"\0"


def test_indirect_table_is_a_chain_as_well(driver: Driver) -> None:
    table = RAM + 0x5000
    driver.memory.write(HEADER, pack("<IIQ", READ, 0, 0))
    driver.describe((HEADER, 16, NEXT, 2), (0, 0, 0, 0), (DATA, 513, WRITE, 0), table=table)
    driver.describe((table, 48, INDIRECT, 0))
    driver.offer(0)
    assert driver.read(DATA, 512) == contents()[:512]
    assert driver.used == [(0, 513)]


def test_several_requests_make_one_interrupt(driver: Driver) -> None:
    driver.memory.write(HEADER, pack("<IIQ", FLUSH, 0, 0))
    driver.describe((HEADER, 16, NEXT, 1), (STATUS_BYTE, 1, WRITE, 0))
    driver.offer(0, 0, 0)
    assert driver.used == [(0, 1)] * 3
    assert driver.transport.interrupt.pulses == 1


def test_queue_goes_round(driver: Driver) -> None:
    for number in range(3 * driver.size):
        assert driver.request(READ, number % SECTORS, 512, write=True) == OK
    assert len(driver.used) == 3 * driver.size
    assert driver.read(DATA, 512) == contents()[23 * 512 : 24 * 512]


def test_driver_may_ask_not_to_be_interrupted(driver: Driver) -> None:
    driver.memory.write(AVAILABLE, pack("<H", 1))
    driver.request(READ, 0, 512, write=True)
    assert len(driver.used) == 1
    assert not driver.transport.interrupt.level


# -- what cannot be done


@pytest.mark.parametrize(
    ("sector", "length"),
    [(SECTORS, 512), (SECTORS - 1, 1024), (0, 511), (1 << 63, 512), (0, 1 << 31)],
)
@pytest.mark.parametrize("kind", [READ, STORE])
def test_impossible_range_is_an_io_error(
    driver: Driver, kind: int, sector: int, length: int
) -> None:
    before = driver.path.read_bytes()
    assert driver.request(kind, sector, length, write=kind == READ) == IO_ERROR
    assert driver.used == [(0, 1)]
    assert driver.path.read_bytes() == before
    assert not driver.broken


@pytest.mark.parametrize("kind", [READ, STORE])
def test_data_that_dma_cannot_reach_is_an_io_error(driver: Driver, kind: int) -> None:
    assert driver.request(kind, 0, 512, write=kind == READ, data=NOWHERE) == IO_ERROR
    assert not driver.broken


def test_read_only_disk_refuses_writes_and_says_so(tmp_path: Path) -> None:
    driver = Driver(tmp_path, DiskMode.READ_ONLY).start()
    assert driver.features() & 1 << 5
    assert driver.request(STORE, 0, 512, write=False) == IO_ERROR
    assert driver.path.read_bytes() == contents()


def test_snapshot_keeps_writes_beside_the_file(tmp_path: Path) -> None:
    driver = Driver(tmp_path, DiskMode.SNAPSHOT).start()
    driver.memory.write(DATA, b"y" * 512)
    assert driver.request(STORE, 2, 512, write=False) == OK
    assert driver.request(READ, 1, 1536, write=True, data=DATA + 0x1000) == OK
    expected = contents()[512:1024] + b"y" * 512 + contents()[1536:2048]
    assert driver.read(DATA + 0x1000, 1536) == expected
    assert driver.path.read_bytes() == contents()
    driver.transport.reset()
    driver.start().request(READ, 2, 512, write=True)
    assert driver.read(DATA, 512) == contents()[1024:1536]


def test_file_that_shrinks_is_an_io_error(driver: Driver) -> None:
    driver.path.write_bytes(b"")
    assert driver.request(READ, 0, 512, write=True) == IO_ERROR
    assert not driver.broken


def test_file_that_was_closed_is_an_io_error(driver: Driver) -> None:
    driver.disk.close()
    statuses = [driver.request(kind, 0, 512, write=kind == READ) for kind in (READ, STORE, FLUSH)]
    assert statuses == [IO_ERROR] * 3


# -- drivers that break the rules

STATUS_ONLY = (STATUS_BYTE, 1, WRITE, 0)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(HEADER, 16, NEXT, 1), (DATA, 512, NEXT, 0)], "a chain of more than 8 descriptors"),
        ([(HEADER, 16, NEXT, 8)], "descriptor 8 of a table of 8"),
        ([(HEADER, 16, NEXT, 0xFFFF)], "descriptor 65535 of a table of 8"),
        ([STATUS_ONLY], "a request without header or status byte"),
        ([(HEADER, 16, 0, 0)], "a request without header or status byte"),
        ([(HEADER, 15, NEXT, 1), STATUS_ONLY], "a request without header or status byte"),
        ([(HEADER, 16, NEXT, 1), (NOWHERE, 1, WRITE, 0)], "a request's status byte cannot be"),
        ([(NOWHERE, 16, NEXT, 1), STATUS_ONLY], "a request's header cannot be read"),
        (
            [(STATUS_BYTE, 1, WRITE | NEXT, 1), (HEADER, 16, 0, 0)],
            "a buffer to be read follows one to be written",
        ),
        ([(DATA, 32, INDIRECT | NEXT, 1)], "an indirect descriptor that has a next one"),
        ([(DATA, 0, INDIRECT, 0)], "an indirect table of 0 bytes"),
        ([(DATA, 33, INDIRECT, 0)], "an indirect table of 33 bytes"),
        ([(NOWHERE, 32, INDIRECT, 0)], "descriptor 0 cannot be read"),
        ([(0xFFFF_FFFF_FFFF_FFF8, 0xFFFF_FFF0, INDIRECT, 0)], "descriptor 0 cannot be read"),
    ],
)
def test_broken_chain_makes_the_device_ask_for_a_reset(
    driver: Driver, rows: list[tuple[int, int, int, int]], told: str
) -> None:
    driver.memory.write(HEADER, pack("<IIQ", FLUSH, 0, 0))
    driver.describe(*rows)
    driver.offer(0)
    assert driver.broken
    assert driver.get(0x60) & 2
    assert driver.transport.interrupt.level
    assert driver.told[0].startswith(told)
    driver.offer(0)
    assert driver.used == []
    driver.start()
    assert driver.request(FLUSH, 0, 0, write=False) == OK


def test_indirect_table_in_an_indirect_table_is_refused(driver: Driver) -> None:
    table = RAM + 0x5000
    driver.describe((table, 16, INDIRECT, 0), table=table)
    driver.describe((table, 16, INDIRECT, 0))
    driver.offer(0)
    assert driver.told == ["an indirect descriptor inside an indirect table"]


def test_indirect_table_of_itself_ends(driver: Driver) -> None:
    driver.describe((DESCRIPTORS, 16, INDIRECT, 0))
    driver.offer(0)
    assert driver.broken


def test_indirect_descriptor_that_was_not_negotiated_is_refused(tmp_path: Path) -> None:
    driver = Driver(tmp_path).start(VERSION_1 | PLATFORM)
    driver.describe((DATA, 16, INDIRECT, 0))
    driver.offer(0)
    assert driver.told == ["an indirect descriptor, which was not negotiated"]


def test_more_requests_than_the_queue_holds_are_refused(driver: Driver) -> None:
    driver.memory.write(AVAILABLE + 2, pack("<H", 9))
    driver.put(0x50, 0)
    assert driver.told == ["9 requests are available in a queue of 8"]
    assert driver.broken


@pytest.mark.parametrize("register", [0x80, 0x90, 0xA0])
def test_ring_that_dma_cannot_reach_makes_the_device_ask_for_a_reset(
    tmp_path: Path, register: int
) -> None:
    driver = Driver(tmp_path).start()
    driver.put(0x44, 0)
    driver.put(register, NOWHERE)
    driver.put(0x44, 1)
    driver.request(FLUSH, 0, 0, write=False)
    assert driver.broken
    assert "cannot be" in driver.told[0]


def test_dma_into_the_devices_own_registers_finds_nobody(tmp_path: Path) -> None:
    """A buffer that lies over QueueNotify must not start the device within itself."""
    driver = Driver(tmp_path)
    window = 0x0A00_0000
    driver.memory.add_device(window, 0x1000, driver.transport, "virtio")
    driver.start()
    assert driver.request(READ, 0, 512, write=True, data=window + 0x50) == IO_ERROR
    assert driver.request(STORE, 0, 512, write=False, data=window) == IO_ERROR
    assert not driver.device.busy


def test_notifications_that_mean_nothing_are_told(driver: Driver) -> None:
    driver.put(0x50, 7)
    driver.put(0x30, 0)
    driver.put(0x44, 0)
    driver.put(0x50, 0)
    assert driver.told == [
        "notification of queue 7, which is not ready",
        "notification of queue 0, which is not ready",
    ]
