# SPDX-License-Identifier: GPL-2.0-or-later
"""Probing and setting up: what is written, in which state, and devices that do not answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgtable import Arena
from smmu_emu.driver import DriverError, Smmuv3Driver
from smmu_emu.errors import EmulatorError
from smmu_emu.smmuv3.device import Delays
from tests.unit.driver.rig import QEMU, RAM, TABLES_AT, Rig, Window

# Offsets and values by IHI 0070 6.3.
CR0, CR0ACK, CR1, CR2, IRQ_CTRL, GBPA = 0x20, 0x24, 0x28, 0x2C, 0x50, 0x44
STRTAB_BASE, STRTAB_BASE_CFG, CMDQ_BASE, EVENTQ_BASE = 0x80, 0x88, 0x90, 0xA0


def test_registers_after_bring_up_are_these() -> None:
    rig = Rig()
    read = rig.smmu.read
    assert read(CR0, 4) == read(CR0ACK, 4) == 0b1101  # CMDQEN, EVENTQEN, SMMUEN
    assert read(CR1, 4) == 0xD75  # all write-back, inner shareable
    assert read(CR2, 4) == 0b10  # RECINVSID
    assert read(IRQ_CTRL, 4) == 0b101  # EVENTQ, GERROR
    assert read(STRTAB_BASE_CFG, 4) == 8  # linear, 2^8 entries
    assert read(STRTAB_BASE, 8) == 1 << 62 | rig.driver.stream_table
    assert read(CMDQ_BASE, 8) == 1 << 62 | rig.driver.commands.base | 7
    assert read(EVENTQ_BASE, 8) == 1 << 62 | rig.driver.events.base | 7


def test_structures_lie_in_the_arena_aligned_to_their_size() -> None:
    driver = Rig().driver
    for address, size in (
        (driver.stream_table, 64 << 8),
        (driver.commands.base, 16 << 7),
        (driver.events.base, 32 << 7),
    ):
        assert address >= TABLES_AT
        assert address % size == 0


def test_first_commands_forget_everything() -> None:
    rig = Rig()
    words = [
        int.from_bytes(rig.machine.memory.read(rig.driver.commands.base + 16 * i, 16), "little")
        for i in range(3)
    ]
    assert words == [0x04 | 31 << 64, 0x30, 0x46 | 2 << 12]  # CFGI_ALL, TLBI_NSNH_ALL, SYNC (SEV)


def test_no_stream_may_pass_before_it_is_attached() -> None:
    rig = Rig()
    dma = rig.machine.dma(0x8)
    assert not dma.write(0x1000, b"x")
    assert dma.last_fault.code == 0x04  # C_BAD_STE: V is 0
    assert not rig.machine.dma(0x100).write(0x1000, b"x")
    assert rig.machine.dma(0x100).last_fault.code == 0x02  # C_BAD_STREAMID


def test_second_driver_takes_over_with_traffic_aborted_meanwhile() -> None:
    rig = Rig()
    rig.driver.bypass(8)
    assert rig.machine.dma(8).write(0x5000_0000, b"x")
    Smmuv3Driver(rig.smmu, rig.arena)
    assert rig.smmu.read(GBPA, 4) >> 20 & 1  # ABORT
    assert not rig.machine.dma(8).write(0x5000_0000, b"x")


def test_sizes_are_cut_to_what_the_device_has() -> None:
    ids = replace(QEMU, idr1=3 << 21 | 2 << 16 | 5)  # CMDQS 3, EVENTQS 2, SIDSIZE 5
    rig = Rig(ids, stream_bits=16, queue_lg2=10)
    driver = rig.driver
    assert (driver.commands.size_lg2, driver.events.size_lg2, driver.stream_bits) == (3, 2, 5)
    driver.bypass(31)
    assert rig.machine.dma(31).write(0x5000_0000, b"x")


def test_memory_that_does_not_suffice_is_an_error() -> None:
    rig = Rig()
    small = Arena(0x4900_0000, 0x1000, rig.machine.ram.view[0x4900_0000 - RAM :])
    with pytest.raises(DriverError, match="no memory for 0x1000 bytes in Arena"):
        Smmuv3Driver(rig.smmu, small)


# -- devices that are not what they should be


class Constant:
    """A window where nobody answers: every read gives the same."""

    def __init__(self, value: int) -> None:
        self.value = value

    def read(self, offset: int, size: int) -> int:
        return self.value & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        pass


def _arena() -> Arena:
    return Arena(TABLES_AT, 1 << 20)


def test_bus_of_zeros_has_no_stage_1() -> None:
    with pytest.raises(DriverError, match="has no stage 1 with AArch64 tables"):
        Smmuv3Driver(Constant(0), _arena())


def test_bus_of_ones_does_not_answer() -> None:
    with pytest.raises(DriverError, match="stays at 0xffffffff: the device does not answer"):
        Smmuv3Driver(Constant((1 << 64) - 1), _arena())


def test_device_that_never_acknowledges() -> None:
    rig = Rig()
    window = Window(rig.smmu)
    window.answer = lambda offset, size: 0 if offset == CR0ACK else rig.smmu.read(offset, size)
    with pytest.raises(DriverError, match="CR0ACK stays at 0x0: the device does not answer"):
        Smmuv3Driver(window, rig.arena)


def test_command_queue_that_never_moves() -> None:
    rig = Rig()
    rig.window.answer = lambda offset, size: (
        0 if offset == 0x9C else rig.smmu.read(offset, size)  # CMDQ_CONS
    )
    with pytest.raises(DriverError, match="CMDQ_CONS stays at 0x0: the device does not answer"):
        rig.driver.bypass(8)


def test_device_that_needs_time_is_waited_for() -> None:
    rig = Rig()
    clock = rig.machine.clock
    rig.smmu.delays = Delays(acknowledge=700, commands=300)
    with pytest.raises(DriverError, match="does not answer"):
        Smmuv3Driver(rig.smmu, rig.arena)
    waited = []

    def idle() -> None:
        waited.append(clock.now)
        clock.advance(clock.now + 100)

    driver = Smmuv3Driver(rig.smmu, rig.arena, idle=idle)
    driver.bypass(8)
    assert rig.machine.dma(8).write(0x5000_0000, b"x")
    assert len(waited) > 10


def test_error_of_the_driver_is_an_error_of_the_emulator() -> None:
    assert issubclass(DriverError, EmulatorError)
