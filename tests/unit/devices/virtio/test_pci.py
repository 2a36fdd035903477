# SPDX-License-Identifier: GPL-2.0-or-later
"""The PCI transport: identity, capabilities, negotiation, queues, messages and the pin."""

from __future__ import annotations

import hashlib
from pathlib import Path
from struct import pack

import pytest

from smmu_emu.devices.virtio.block import VirtioBlock
from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.devices.virtio.pci import VirtioPci
from tests.unit.devices.virtio.pci_rig import (
    ACKNOWLEDGE,
    BAR4,
    DATA,
    DEVICE,
    DRIVER,
    DRIVER_OK,
    FEATURES_OK,
    ISR,
    NEEDS_RESET,
    NEXT,
    NOTIFY,
    PLATFORM,
    RAM,
    VERSION_1,
    WRITE,
    PciDriver,
)

HEADER, STATUS = DATA - 0x1000, DATA - 0x800
SECTORS = 64
CONTENTS = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(SECTORS * 16))


@pytest.fixture
def driver(tmp_path: Path) -> PciDriver:
    path = tmp_path / "disk.img"
    path.write_bytes(CONTENTS)
    disk = Disk(path)
    return PciDriver(
        lambda report: VirtioPci(VirtioBlock(disk, report), 0x010000, report, "virtio-blk-pci")
    )


def request(driver: PciDriver, kind: int, sector: int, length: int, *, write: bool) -> int:
    driver.memory.write(HEADER, pack("<IIQ", kind, 0, sector))
    driver.memory.write(STATUS, b"\xee")
    driver.describe(
        0,
        (HEADER, 16, NEXT, 1),
        (DATA, length, NEXT | (WRITE if write else 0), 2),
        (STATUS, 1, WRITE, 0),
    )
    driver.offer(0, 0)
    return driver.read(STATUS, 1)[0]


# -- configuration space


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0x00, 4, 0x1042_1AF4),
        (0x08, 4, 0x0100_0001),
        (0x2C, 4, 0x1100_1AF4),
        (0x34, 1, 0x98),
        (0x3D, 1, 1),
        (0x98, 4, 0x0001_8411),  # MSI-X, 2 vectors
        (0x9C, 4, 0x0000_0001),
        (0xA0, 4, 0x0000_0801),
        (0x84, 4, 0x0514_7009),
        (0x88, 4, 0),
        (0x70, 4, 0x0214_6009),
        (0x74, 4, 0x0000_0004),
        (0x78, 4, 0x0000_3000),
        (0x7C, 4, 0x0000_1000),
        (0x80, 4, 0x0000_0004),
        (0x60, 4, 0x0410_5009),
        (0x68, 4, 0x0000_2000),
        (0x50, 4, 0x0310_4009),
        (0x58, 4, 0x0000_1000),
        (0x40, 4, 0x0110_0009),
        (0x48, 4, 0x0000_0000),
    ],
)
def test_configuration_space_is_that_of_a_modern_function(
    driver: PciDriver, offset: int, size: int, value: int
) -> None:
    assert driver.config_read(offset, size) == value


def test_bars_have_the_sizes_that_capabilities_need(driver: PciDriver) -> None:
    for offset, value in ((0x14, 0xFFFF_F000), (0x20, 0xFFFF_C00C), (0x24, 0xFFFF_FFFF)):
        driver.config_write(offset, 4, 0xFFFF_FFFF)
        assert driver.config_read(offset, 4) == value


# -- the common configuration


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0x10, 2, 0xFFFF),
        (0x12, 2, 1),
        (0x14, 1, 0),
        (0x15, 1, 0),
        (0x16, 2, 0),
        (0x18, 2, 256),
        (0x1A, 2, 0xFFFF),
        (0x1C, 2, 0),
        (0x1E, 2, 0),
        (0x20, 4, 0),
        (0x30, 8, 0),
        (ISR, 1, 0),
        (DEVICE, 4, SECTORS),
        (DEVICE, 8, SECTORS),
        (DEVICE + 0x14, 4, 512),
    ],
)
def test_register_after_reset(driver: PciDriver, offset: int, size: int, value: int) -> None:
    assert driver.get(offset, size) == value


def test_features_come_in_halves(driver: PciDriver) -> None:
    """SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH; INDIRECT_DESC, VERSION_1, ACCESS_PLATFORM."""
    assert driver.features() == 0x3_1000_0246
    driver.put(0x00, 4, 2)
    assert driver.get(0x04, 4) == 0


@pytest.mark.parametrize("features", [0, PLATFORM, VERSION_1 | PLATFORM | 1 << 40])
def test_features_that_do_not_fit_are_refused(driver: PciDriver, features: int) -> None:
    assert not driver.take_features(features)
    assert driver.take_features(VERSION_1 | PLATFORM)
    driver.put(0x08, 4, 1)
    assert driver.get(0x0C, 4) == 3


def test_queue_that_there_is_not_shows_nothing(driver: PciDriver) -> None:
    driver.put(0x16, 2, 1)
    for offset, value in ((0x18, 0), (0x1A, 0xFFFF), (0x1C, 0), (0x1E, 0)):
        driver.put(offset, 2, 1)
        assert driver.get(offset, 2) == value


def test_queue_registers_are_read_back_until_it_is_enabled(driver: PciDriver) -> None:
    driver.start()
    driver.put(0x16, 2, 0)
    for offset, size, other in ((0x18, 2, 4), (0x20, 4, 7), (0x24, 4, 7), (0x30, 4, 7)):
        before = driver.get(offset, size)
        driver.put(offset, size, other)
        assert driver.get(offset, size) == before
    assert [driver.get(offset, 4) for offset in (0x20, 0x28, 0x30)] == [
        *(RAM, RAM + 0x1000, RAM + 0x2000)
    ]
    driver.put(0x1C, 2, 0)  # which a driver must not
    assert driver.get(0x1C, 2) == 1
    assert driver.told == ["0 written to queue_enable"]


@pytest.mark.parametrize("size", [0, 3, 255])
def test_queue_of_a_size_that_cannot_be_is_not_enabled(driver: PciDriver, size: int) -> None:
    driver.put(0x18, 2, size)
    driver.put(0x1C, 2, 1)
    assert driver.get(0x1C, 2) == 0
    assert driver.told == [f"a queue of {size} descriptors made ready"]


@pytest.mark.parametrize(("offset", "size"), [(0x14, 4), (0x10, 4), (0x12, 1), (0x38, 2), (2, 2)])
def test_field_in_another_width_is_told(driver: PciDriver, offset: int, size: int) -> None:
    driver.put(offset, size, 1)
    assert driver.get(offset, size) == 0
    assert driver.told == [
        f"{kind} of {size} bytes of the common configuration" for kind in ("write", "read")
    ]


def test_vector_that_there_is_not_is_none(driver: PciDriver) -> None:
    for offset in (0x10, 0x1A):
        driver.put(offset, 2, 1)
        assert driver.get(offset, 2) == 1
        driver.put(offset, 2, 2)
        assert driver.get(offset, 2) == 0xFFFF


# -- requests and interrupts


def test_request_is_done_and_a_message_tells(driver: PciDriver) -> None:
    driver.start()
    assert request(driver, 0, 3, 1024, write=True) == 0
    assert driver.read(DATA, 1024) == CONTENTS[3 * 512 :][:1024]
    assert driver.used(0) == [(0, 1025)]
    assert driver.message(1) == 0xC0DE_0001
    assert driver.message(0) == 0
    assert driver.function.interrupt_line is None


def test_request_without_messages_drives_the_pin_until_isr_is_read(driver: PciDriver) -> None:
    driver.start(messages=False)
    assert request(driver, 0, 0, 512, write=True) == 0
    assert driver.function.interrupt_line == 0
    assert driver.get(ISR, 1) == 1
    assert driver.function.interrupt_line is None
    assert driver.get(ISR, 1) == 0


def test_messages_let_go_of_the_pin(driver: PciDriver) -> None:
    driver.start(messages=False)
    request(driver, 0, 0, 512, write=True)
    driver.enable_messages(2)
    assert driver.function.interrupt_line is None


def test_queue_without_a_vector_is_silent(driver: PciDriver) -> None:
    driver.start()
    driver.put(0x1A, 2, 0xFFFF)
    assert request(driver, 0, 0, 512, write=True) == 0
    assert driver.message(1) == 0


def test_driver_that_wants_no_interrupt_gets_none(driver: PciDriver) -> None:
    driver.start()
    driver.memory.write(driver.rings(0)[1], pack("<H", 1))
    assert request(driver, 0, 0, 512, write=True) == 0
    assert driver.message(1) == 0


def test_broken_queue_is_told_by_the_configuration_vector(driver: PciDriver) -> None:
    driver.start()
    driver.offer(0, 99)
    assert driver.get(0x14, 1) & NEEDS_RESET
    assert driver.message(0) == 0xC0DE_0000
    assert driver.get(ISR, 1) == 2
    assert "descriptor 99 of a table of 8" in driver.told


def test_without_bus_master_nothing_is_done(driver: PciDriver) -> None:
    driver.start()
    driver.config_write(0x04, 2, 2)
    assert request(driver, 0, 0, 512, write=True) == 0xEE
    assert driver.told == ["notification of a device that may not be bus master"]
    driver.config_write(0x04, 2, 6)
    driver.put(NOTIFY, 2, 0)
    assert driver.read(STATUS, 1) == b"\0"


def test_registers_are_not_reached_by_the_devices_own_dma(driver: PciDriver) -> None:
    """A request whose data buffer is the device's own notification register."""
    driver.start()
    driver.memory.add_device(BAR4, 0x4000, driver.function, "bar")
    driver.memory.write(HEADER, pack("<IIQ", 0, 0, 0))
    driver.describe(
        0, (HEADER, 16, NEXT, 1), (BAR4 + NOTIFY, 512, NEXT | WRITE, 2), (STATUS, 1, WRITE, 0)
    )
    driver.offer(0, 0)
    assert driver.read(STATUS, 1) == b"\1"


# -- reset


def test_reset_by_the_driver_forgets_what_it_set(driver: PciDriver) -> None:
    driver.start()
    driver.put(0x14, 1, 0)
    for offset, value in ((0x10, 0xFFFF), (0x1A, 0xFFFF), (0x1C, 0), (0x18, 256)):
        assert driver.get(offset, 2) == value
    assert driver.get(0x14, 1) == 0
    assert request(driver, 0, 0, 512, write=True) == 0xEE
    driver.start()
    assert request(driver, 0, 0, 512, write=True) == 0


def test_power_on_forgets_configuration_space_too(driver: PciDriver) -> None:
    driver.start()
    driver.host.reset()
    assert driver.config_read(0x04, 2) == 0
    driver.open()
    assert driver.get(0x14, 1) == 0
    driver.start()
    assert request(driver, 0, 0, 512, write=True) == 0
    assert driver.get(0x14, 1) == ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK


# -- the window in configuration space


def window(driver: PciDriver, bar: int, offset: int, size: int) -> None:
    driver.config_write(0x88, 1, bar)
    driver.config_write(0x8C, 4, offset)
    driver.config_write(0x90, 4, size)


def test_bar_is_reached_through_configuration_space(driver: PciDriver) -> None:
    driver.config_write(0x04, 2, 0)
    window(driver, 4, 0x12, 2)
    assert driver.config_read(0x94, 2) == 1
    window(driver, 4, 0x14, 1)
    driver.config_write(0x94, 1, ACKNOWLEDGE)
    assert driver.function.device.status == ACKNOWLEDGE
    assert driver.config_read(0x94, 1) == ACKNOWLEDGE


@pytest.mark.parametrize(
    ("bar", "offset", "size"), [(1, 0x14, 1), (4, 0x14, 3), (4, 0x4000, 4), (4, 0x13, 2), (4, 0, 0)]
)
def test_window_to_nowhere_reaches_nothing(
    driver: PciDriver, bar: int, offset: int, size: int
) -> None:
    window(driver, bar, offset, size)
    driver.config_write(0x94, 4, 0x0101_0101)
    assert driver.config_read(0x94, 4) == 0x0101_0101
    assert driver.function.device.status == 0
    assert driver.told == []
