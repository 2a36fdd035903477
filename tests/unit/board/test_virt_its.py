# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages on a board with an ITS: each carries the DeviceID of who sent it."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from smmu_emu.devices.edu import Edu
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from tests.unit.driver.rig import RAM, TABLES_AT, TABLES_SIZE

GICD, GICR, GITS = 0x0800_0000, 0x080A_0000, 0x0808_0000
TRANSLATER, IOVA = 0x0809_0040, 0x1_2340_0040
EDU_CONFIG, EDU_BAR = 0x40_1001_0000, 0x1010_0000
SMMU, PMCG = 0x0905_0000, 0x0910_0000
CONFIGURATION, PENDING, QUEUE, DEVICES, COLLECTIONS, ITT = (
    RAM + 0x100_0000 + n * 0x10_0000 for n in range(6)
)
VALID = 1 << 63
QEMU = PRESETS["qemu"]
WITH_MSI = replace(QEMU, idr0=QEMU.idr0 | 1 << 13)
EDU, SMMU_DEVICE, PMCG_DEVICE = 0x10, 0x1_0000, 0x1_0001


class Rig:
    """A board with an edu at 00:02.0. Event n of device d is mapped as ``lpi(d, n)``."""

    def __init__(self, *devices: int) -> None:
        self.machine = Machine.virt(devices=["edu@00:02.0"], smmu_ids=WITH_MSI, gic="v3", pmcg=True)
        self.write(GICR + 0x70, CONFIGURATION | 15, 8)
        self.write(GICR + 0x78, PENDING | VALID >> 1, 8)
        self.write(GICR, 1)
        self.write(GITS + 0x100, VALID | DEVICES | 0xFF, 8)
        self.write(GITS + 0x108, VALID | COLLECTIONS, 8)
        self.write(GITS + 0x80, VALID | QUEUE, 8)
        self.write(GITS, 1)
        self.queued = 0
        self.command(0x09, 0, VALID)
        self.lpis: dict[int, tuple[int, int]] = {}
        for place, device in enumerate(devices):
            self.command(device << 32 | 0x08, 3, VALID | ITT + 0x100 * place)
            for event in range(16):
                lpi = 8192 + len(self.lpis)
                self.lpis[lpi] = device, event
                self.command(device << 32 | 0x0A, lpi << 32 | event)

    def write(self, pa: int, value: int, size: int = 4) -> None:
        assert self.machine.memory.write(pa, value.to_bytes(size, "little"))

    def command(self, *words: int) -> None:
        words += (0,) * (4 - len(words))
        self.machine.memory.write(QUEUE + self.queued, struct.pack("<4Q", *words))
        self.queued += 32
        self.write(GITS + 0x88, self.queued, 8)

    @property
    def pending(self) -> list[tuple[int, int]]:
        """(device, event) of each LPI that waits."""
        return [self.lpis[lpi] for lpi in sorted(self.machine.devices["gic"].lpis.pending)]

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
        """The reference driver maps the translation frame's page for the edu at `IOVA`."""
        from pgtable import Arena, Prot
        from smmu_emu.driver import Smmuv3Driver

        arena = Arena(TABLES_AT, TABLES_SIZE, self.machine.ram.view[TABLES_AT - RAM :])
        driver = Smmuv3Driver(self.machine.smmu, arena)
        domain = driver.domain()
        domain.map(IOVA & ~0xFFF, TRANSLATER & ~0xFFF, 0x1000, Prot.WRITE | Prot.MMIO)
        driver.attach(EDU, domain)


def test_message_of_a_device_has_its_requester_id() -> None:
    rig = Rig(0, EDU)
    rig.raise_interrupt(TRANSLATER, 7)
    assert rig.pending == [(EDU, 7)]


def test_message_of_a_device_is_translated() -> None:
    rig = Rig(EDU)
    rig.attach()
    rig.raise_interrupt(IOVA, 3)
    assert rig.pending == [(EDU, 3)]


def test_message_to_an_unmapped_address_is_a_fault_and_no_interrupt() -> None:
    rig = Rig(EDU)
    rig.attach()
    rig.raise_interrupt(TRANSLATER, 3)
    assert rig.pending == []
    edu: Edu = rig.machine.devices["edu@00:02.0"]
    assert edu.dma.last_fault is not None
    assert edu.dma.last_fault.transaction.iova == TRANSLATER


def test_write_of_the_core_has_no_device_id() -> None:
    rig = Rig(0, EDU)
    rig.write(TRANSLATER, 3)
    assert rig.pending == []
    assert [site.where for site in rig.machine.unmodelled] == ["gic its translation"]


def test_device_behind_a_bridge_has_the_bus_number_of_now() -> None:
    machine = Machine.virt(devices=["pcie-root-port,id=rp0", "edu,bus=rp0"], gic="v3")
    edu: Edu = machine.devices["edu@00:01.0/0.0"]
    assert edu.dma.memory.device_id == 0
    machine.memory.write(0x40_1000_8018, bytes([0, 7, 7, 0]))  # secondary bus 7
    assert edu.dma.memory.device_id == edu.dma.stream_id == 0x700


def test_event_queue_message_of_the_smmu_has_a_device_id_of_its_own() -> None:
    rig = Rig(EDU, SMMU_DEVICE)
    rig.attach()
    rig.write(SMMU + 0x50, 0)  # IRQ_CTRL
    rig.write(SMMU + 0xB0, TRANSLATER, 8)  # EVENTQ_IRQ_CFG0
    rig.write(SMMU + 0xB8, 5)  # EVENTQ_IRQ_CFG1
    rig.write(SMMU + 0x50, 5)
    rig.raise_interrupt(TRANSLATER, 3)  # faults
    assert rig.pending == [(SMMU_DEVICE, 5)]


def test_global_error_message_of_the_smmu_has_it_too() -> None:
    rig = Rig(SMMU_DEVICE)
    rig.write(SMMU + 0x68, TRANSLATER, 8)  # GERROR_IRQ_CFG0
    rig.write(SMMU + 0x70, 6)
    rig.write(SMMU + 0x50, 1)
    rig.write(SMMU + 0x90, QUEUE | 1, 8)  # CMDQ_BASE
    rig.write(QUEUE, 0xFF, 8)  # no command
    rig.write(SMMU + 0x20, 8)
    rig.write(SMMU + 0x98, 1)
    assert rig.pending == [(SMMU_DEVICE, 6)]


def test_completion_of_cmd_sync_has_it_too() -> None:
    rig = Rig(SMMU_DEVICE)
    queue = 0x4400_0000
    rig.write(SMMU + 0x90, queue | 1, 8)
    rig.write(queue, 0x46 | 1 << 12 | 9 << 32, 8)  # CMD_SYNC, CS=SIG_IRQ, MSIData
    rig.write(queue + 8, TRANSLATER, 8)
    rig.write(SMMU + 0x20, 8)
    rig.write(SMMU + 0x98, 1)
    assert rig.pending == [(SMMU_DEVICE, 9)]


def test_counter_group_has_a_device_id_of_its_own() -> None:
    rig = Rig(PMCG_DEVICE)
    group = rig.machine.devices["pmcg0"]
    assert group.ports["msi"].device_id == PMCG_DEVICE
    assert group.ports["msi"].write(TRANSLATER, (2).to_bytes(4, "little"))
    assert rig.pending == [(PMCG_DEVICE, 2)]


def test_long_transfers_still_go_at_once() -> None:
    machine = Machine.virt(gic="v3")
    port = machine.dma(0x10)
    assert port.memory.write != machine.memory.write
    assert port.memory.is_plain


def test_board_has_one_controller_or_the_other() -> None:
    v2, v3 = Machine.virt(), Machine.virt(gic="v3")
    names = [
        {window.name for window in machine.memory.windows if window.name.startswith("gic")}
        for machine in (v2, v3)
    ]
    assert names == [
        {"gic distributor", "gic cpu interface", "gic v2m"},
        {"gic distributor", "gic redistributor", "gic its", "gic its translation"},
    ]
    assert "v2m" not in v3.devices
    with pytest.raises(ConfigurationError, match="no GIC 'v4': there is v2 and v3"):
        Machine.virt(gic="v4")


def test_reset_forgets_mappings_and_lpis() -> None:
    rig = Rig(EDU)
    rig.raise_interrupt(TRANSLATER, 3)
    rig.machine.reset()
    assert rig.machine.devices["gic"].lpis.pending == set()
    assert rig.machine.memory.read(GITS + 0x100, 8) == bytes([0, 0, 0, 0, 0, 0, 7, 1])


@pytest.mark.parametrize("level", [0, 3])
def test_image_cannot_start_at_other_levels(level: int) -> None:
    with pytest.raises(ConfigurationError, match=f"not at EL{level}"):
        Machine.virt().load(b"\0\0\0\x14", load_address=RAM + 0x10_0000, el=level)
