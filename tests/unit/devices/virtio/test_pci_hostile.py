# SPDX-License-Identifier: GPL-2.0-or-later
"""Drivers that do anything: no access of registers, and nothing in memory, makes an exception."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from smmu_emu.devices.reporter import Report
from smmu_emu.devices.virtio.block import VirtioBlock
from smmu_emu.devices.virtio.console import VirtioConsole
from smmu_emu.devices.virtio.device import VirtioDevice
from smmu_emu.devices.virtio.disk import Disk, DiskMode
from smmu_emu.devices.virtio.net import VirtioNet, loop
from smmu_emu.devices.virtio.pci import VirtioPci
from tests.unit.devices.virtio.pci_rig import APERTURE, BAR4, NOTIFY, RAM, PciDriver

ACCESSES = 3000
FIELDS = (*range(0x40), 0x1000, 0x2000, 0x2007, NOTIFY, NOTIFY + 4, NOTIFY + 0x40, 0x3FFF)


def device(kind: str, folder: Path, report: Report) -> VirtioDevice:
    if kind == "net":
        return VirtioNet(loop, report=report)
    if kind == "console":
        return VirtioConsole(report=report)
    image = folder / "disk.img"
    image.write_bytes(bytes(1 << 16))
    return VirtioBlock(Disk(image, DiskMode.SNAPSHOT), report)


def scribble(driver: PciDriver, dice: random.Random) -> None:
    """Rings and descriptors of small numbers, so that many of them lead somewhere."""
    for number in range(2):
        for ring in driver.rings(number):
            words = [dice.choice((0, 1, 2, 3, 5, 8, dice.getrandbits(16))) for _ in range(64)]
            driver.memory.write(ring, b"".join(word.to_bytes(2, "little") for word in words))
        rows = [
            (
                RAM + dice.randrange(0, 1 << 21),
                dice.choice((0, 1, 12, 16, 512, 4096, 1 << 22)),
                dice.randrange(8),
                dice.randrange(10),
            )
            for _ in range(8)
        ]
        driver.describe(number, *rows)
        index = dice.randrange(12).to_bytes(2, "little")
        driver.memory.write(driver.rings(number)[1] + 2, index)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["blk", "net", "console"])
def test_driver_that_does_anything_gets_an_answer(kind: str, seed: int, tmp_path: Path) -> None:
    dice = random.Random(f"{kind} {seed}")
    driver = PciDriver(lambda report: VirtioPci(device(kind, tmp_path, report), 0, report))
    driver.start(messages=seed != 1)
    for step in range(ACCESSES):
        size = dice.choice((1, 2, 4, 8))
        value = dice.choice((0, 1, 2, 15, dice.getrandbits(8 * size))) & (1 << 8 * size) - 1
        choice = dice.random()
        if choice < 0.3:
            driver.aperture.read(BAR4 - APERTURE + dice.choice(FIELDS), size)
        elif choice < 0.6:
            driver.aperture.write(BAR4 - APERTURE + dice.choice(FIELDS), size, value)
        elif choice < 0.7:
            driver.config_write(dice.choice((0x88, 0x8C, 0x90, 0x94, 0x9A)), min(size, 4), value)
            driver.config_read(0x94, min(size, 4))
        elif choice < 0.8:
            scribble(driver, dice)
            number = dice.randrange(2)
            driver.put(NOTIFY + 4 * number, 2, number)
        if step % 50 == 49:
            driver.config_write(0x04, 2, 6)
            driver.open()
            driver.start(messages=seed != 1)
    assert driver.function.dma.transactions > 50  # else it never came to look at memory
    assert driver.told
