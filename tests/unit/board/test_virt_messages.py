# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages on the virt board: whoever writes to the GICv2m's frame raises an interrupt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smmu_emu.devices.edu import Edu
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from tests.unit.driver.rig import RAM, TABLES_AT, TABLES_SIZE

DOORBELL, IOVA = 0x0802_0040, 0x1_2340_0040
EDU_CONFIG, EDU_BAR = 0x40_1001_0000, 0x1010_0000
SMMU = 0x0905_0000
PENDING, CONFIGURATION = 0x0800_0200, 0x0800_0C00
QEMU = PRESETS["qemu"]
WITH_MSI = replace(QEMU, idr0=QEMU.idr0 | 1 << 13)


class Rig:
    """A board with an edu at 00:02.0, whose interrupts 80 to 143 are edge-triggered."""

    def __init__(self) -> None:
        self.machine = Machine.virt(devices=["edu@00:02.0"], smmu_ids=WITH_MSI)
        for number in range(80, 144, 16):
            self.write(CONFIGURATION + number // 4, 0xAAAA_AAAA)

    def write(self, pa: int, value: int, size: int = 4) -> None:
        assert self.machine.memory.write(pa, value.to_bytes(size, "little"))

    @property
    def pending(self) -> list[int]:
        """Numbers of the interrupts that are pending."""
        data = self.machine.memory.read(PENDING, 0x24)
        assert data is not None
        bits = int.from_bytes(data, "little")
        return [number for number in range(288) if bits >> number & 1]

    def raise_interrupt(self, address: int, data: int) -> None:
        """Let the edu send its message."""
        self.write(EDU_CONFIG + 0x10, EDU_BAR)
        self.write(EDU_CONFIG + 0x04, 6)
        self.write(EDU_CONFIG + 0x44, address & 0xFFFF_FFFF)
        self.write(EDU_CONFIG + 0x48, address >> 32)
        self.write(EDU_CONFIG + 0x4C, data)
        self.write(EDU_CONFIG + 0x42, 1, 2)
        self.write(EDU_BAR + 0x60, 1)

    def attach(self) -> None:
        """The reference driver maps the frame's page for the edu at `IOVA`."""
        from pgtable import Arena, Prot
        from smmu_emu.driver import Smmuv3Driver

        arena = Arena(TABLES_AT, TABLES_SIZE, self.machine.ram.view[TABLES_AT - RAM :])
        driver = Smmuv3Driver(self.machine.smmu, arena)
        domain = driver.domain()
        domain.map(IOVA & ~0xFFF, DOORBELL & ~0xFFF, 0x1000, Prot.WRITE | Prot.MMIO)
        driver.attach(0x10, domain)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_core_raises_an_interrupt_by_a_write(rig: Rig) -> None:
    rig.write(DOORBELL, 143)
    assert rig.pending == [143]


def test_device_tells_by_its_name(rig: Rig) -> None:
    rig.write(DOORBELL, 80)
    assert rig.machine.devices["v2m"].messages == 1


def test_message_of_a_device_passes_an_smmu_that_is_off(rig: Rig) -> None:
    rig.raise_interrupt(DOORBELL, 90)
    assert rig.pending == [90]


def test_message_of_a_device_is_translated(rig: Rig) -> None:
    rig.attach()
    rig.raise_interrupt(IOVA, 91)
    assert rig.pending == [91]


def test_message_to_an_unmapped_address_is_a_fault_and_no_interrupt(rig: Rig) -> None:
    rig.attach()
    rig.raise_interrupt(DOORBELL, 91)
    assert 91 not in rig.pending
    edu: Edu = rig.machine.devices["edu@00:02.0"]
    assert edu.dma.last_fault is not None
    assert edu.dma.last_fault.code == 0x10
    assert edu.dma.last_fault.transaction.iova == DOORBELL


def test_event_queue_interrupt_of_the_smmu_is_a_message(rig: Rig) -> None:
    rig.attach()
    rig.write(SMMU + 0x50, 0)  # IRQ_CTRL
    rig.write(SMMU + 0xB0, DOORBELL, 8)  # EVENTQ_IRQ_CFG0
    rig.write(SMMU + 0xB8, 100)  # EVENTQ_IRQ_CFG1
    rig.write(SMMU + 0x50, 5)
    rig.raise_interrupt(DOORBELL, 91)  # faults
    assert rig.pending == [100]


def test_completion_of_cmd_sync_is_a_message(rig: Rig) -> None:
    queue = 0x4400_0000
    rig.write(SMMU + 0x90, queue | 1, 8)  # CMDQ_BASE
    rig.write(queue, 0x46 | 1 << 12 | 101 << 32, 8)  # CMD_SYNC, CS=SIG_IRQ, MSIData
    rig.write(queue + 8, DOORBELL, 8)
    rig.write(SMMU + 0x20, 8)  # CR0.CMDQEN
    rig.write(SMMU + 0x98, 1)  # CMDQ_PROD
    assert rig.pending == [101]


def test_reset_starts_the_count_again(rig: Rig) -> None:
    rig.write(DOORBELL, 80)
    rig.machine.reset()
    assert rig.machine.devices["v2m"].messages == 0
    assert rig.pending == []
