# SPDX-License-Identifier: GPL-2.0-or-later
"""The MMIO transport: identification, negotiation, queues, reset."""

from __future__ import annotations

from pathlib import Path

import pytest

from smmu_emu.devices.virtio.mmio import VirtioSlots
from tests.unit.devices.virtio.rig import (
    ACKNOWLEDGE,
    DRIVER,
    DRIVER_OK,
    FEATURES_OK,
    INDIRECT_FEATURE,
    PLATFORM,
    SECTORS,
    VERSION_1,
    Driver,
)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0x000, 0x7472_6976),
        (0x004, 2),
        (0x008, 2),
        (0x00C, 0x554D_4551),
        (0x034, 256),
        (0x044, 0),
        (0x060, 0),
        (0x070, 0),
        (0x0B0, 0xFFFF_FFFF),
        (0x0FC, 0),
        (0x100, SECTORS),
        (0x104, 0),
        (0x108, 1 << 20),
        (0x10C, 254),
        (0x114, 512),
        (0x1FC, 0),
    ],
)
def test_register_after_reset(driver: Driver, offset: int, value: int) -> None:
    assert driver.get(offset) == value


def test_configuration_is_read_in_any_size(driver: Driver) -> None:
    assert driver.get(0x100, 8) == SECTORS
    assert [driver.get(0x100, 1), driver.get(0x115, 1), driver.get(0x114, 2)] == [SECTORS, 2, 512]


def test_features_are_those_that_are_modelled(driver: Driver) -> None:
    """SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH; INDIRECT_DESC, VERSION_1, ACCESS_PLATFORM."""
    assert driver.features() == 0x3_1000_0246


def test_no_queue_but_the_first_exists(driver: Driver) -> None:
    driver.put(0x30, 1)
    assert driver.get(0x34) == 0
    driver.put(0x38, 8)
    driver.put(0x44, 1)
    assert driver.get(0x44) == 0


@pytest.mark.parametrize(
    ("features", "agreed"),
    [
        (VERSION_1 | PLATFORM, True),
        (VERSION_1 | PLATFORM | INDIRECT_FEATURE | 1 << 9, True),
        (VERSION_1, True),
        (PLATFORM, False),
        (0, False),
        (VERSION_1 | PLATFORM | 1 << 34, False),
        (VERSION_1 | PLATFORM | 1 << 5, False),
    ],
)
def test_device_agrees_to_what_it_can_work_with(
    driver: Driver, features: int, agreed: bool
) -> None:
    assert driver.take_features(features) is agreed
    assert bool(driver.told) is not agreed


def test_driving_without_agreed_features_is_refused(driver: Driver) -> None:
    driver.put(0x70, ACKNOWLEDGE | DRIVER | DRIVER_OK)
    assert driver.get(0x70) == ACKNOWLEDGE | DRIVER
    driver.set_up_queue()
    driver.offer(0)
    assert driver.told == [
        "DRIVER_OK without FEATURES_OK",
        "notification of a device that is not driven",
    ]


def test_features_cannot_change_once_they_are_agreed(driver: Driver) -> None:
    driver.take_features(VERSION_1 | PLATFORM)
    driver.put(0x24, 0)
    driver.put(0x20, 1 << 5)
    assert driver.device.driver_features == VERSION_1 | PLATFORM


@pytest.mark.parametrize("size", [0, 3, 512, 0xFFFF_FFFF])
def test_queue_of_an_impossible_size_does_not_become_ready(driver: Driver, size: int) -> None:
    driver.size = size
    driver.set_up_queue()
    assert driver.get(0x44) == 0


def test_queue_that_is_ready_does_not_move(driver: Driver) -> None:
    driver.start()
    driver.put(0x80, 0x1000)
    driver.put(0x38, 4)
    queue = driver.device.queues[0]
    assert (queue.descriptors, queue.size) == (0x4000_0000, 8)


def test_status_bits_stay_until_a_reset(driver: Driver) -> None:
    driver.start()
    driver.put(0x70, ACKNOWLEDGE)
    assert driver.get(0x70) == ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
    driver.put(0x70, 0)
    assert (driver.get(0x70), driver.get(0x44), driver.get(0x60)) == (0, 0, 0)


def test_slots_without_device_say_so_and_ignore_everything(driver: Driver) -> None:
    slots = VirtioSlots([driver.transport])
    assert slots.read(0x008, 4) == 2
    assert [slots.read(0x200 + offset, 4) for offset in (0, 4, 8, 0x10, 0x34, 0x70)] == [
        *(0x7472_6976, 2, 0),
        *(0, 0, 0),
    ]
    assert slots.write(0x270, 4, 1) is None
    assert slots.read(0x270, 4) == 0
