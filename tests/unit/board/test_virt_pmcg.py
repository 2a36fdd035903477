# SPDX-License-Identifier: GPL-2.0-or-later
"""The virt board's counter group, which QEMU's board has not: its place, its wire, its reset."""

from __future__ import annotations

import pytest

from smmu_emu import Machine
from smmu_emu.errors import ConfigurationError
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.transaction import Transaction

PAGE0, PAGE1 = 0x0910_0000, 0x0911_0000
GIC_NUMBER = 176 + 32
PENDING, CONFIGURATION = 0x0800_0200, 0x0800_0C00


def make() -> Machine:
    return Machine.virt(ram=1 << 20, pmcg=True, smmu_ids=PRESETS["qemu"])


def write(machine: Machine, pa: int, value: int, size: int = 4) -> None:
    assert machine.memory.write(pa, value.to_bytes(size, "little"))


def read(machine: Machine, pa: int, size: int = 4) -> int:
    data = machine.memory.read(pa, size)
    assert data is not None
    return int.from_bytes(data, "little")


def count_transactions(machine: Machine, start: int = 0) -> None:
    """Counter 0 counts all transactions and interrupts."""
    write(machine, PAGE0 + 0x400, 1 << 29 | 1)
    write(machine, PAGE0 + 0xA00, 0xFFFF_FFFF)
    write(machine, PAGE0 + 0xC40, 1, 8)
    write(machine, PAGE0 + 0xE50, 1)
    write(machine, PAGE1, start, 8)
    write(machine, PAGE0 + 0xC00, 1, 8)
    write(machine, PAGE0 + 0xE04, 1)


def test_board_has_none_unless_asked() -> None:
    machine = Machine.virt(ram=1 << 20)
    assert "pmcg0" not in machine.devices
    assert machine.memory.read(PAGE0 + 0xE00, 4) is None


def test_group_needs_an_smmu() -> None:
    with pytest.raises(ConfigurationError, match="a PMCG counts for an SMMU"):
        Machine.virt(ram=1 << 20, iommu=None, pmcg=True)


def test_group_is_found_and_counts_what_passes_its_smmu() -> None:
    machine = make()
    assert read(machine, PAGE0 + 0xE00) == 0x0050_3F03  # 4 counters of 64 bits, page 1, capture
    assert read(machine, PAGE0 + 0xFF4) == 0x90
    count_transactions(machine)
    for _ in range(3):
        machine.smmu.translate(Transaction(8, 0x1000))
    machine.dma(9).read(0x4000_0000, 0x3000)
    assert read(machine, PAGE1, 8) == 6
    assert machine.devices["pmcg0"].counts == [6, 0, 0, 0]


def test_overflow_is_an_edge_on_spi_176() -> None:
    machine = make()
    write(machine, CONFIGURATION + GIC_NUMBER // 16 * 4, 2 << GIC_NUMBER % 16 * 2)
    count_transactions(machine, start=(1 << 64) - 2)
    pending = PENDING + GIC_NUMBER // 32 * 4
    machine.smmu.translate(Transaction(8, 0x1000))
    assert read(machine, pending) == 0
    machine.smmu.translate(Transaction(8, 0x1000))
    assert read(machine, pending) == 1 << GIC_NUMBER % 32
    assert read(machine, PAGE1 + 0xCC0, 8) == 1


def test_reset_ends_counting() -> None:
    machine = make()
    count_transactions(machine)
    machine.smmu.translate(Transaction(8, 0x1000))
    machine.reset()
    machine.smmu.translate(Transaction(8, 0x1000))
    assert (read(machine, PAGE1, 8), read(machine, PAGE0 + 0xE04)) == (0, 0)
    assert machine.smmu.stages.port is machine.smmu.ports["walk"]


def test_what_the_group_lacks_is_reported() -> None:
    machine = make()
    assert read(machine, PAGE0 + 0xE80) == 0
    assert [str(site) for site in machine.unmodelled] == ["pmcg0 at 0x9100e80: read of 4 bytes"]
