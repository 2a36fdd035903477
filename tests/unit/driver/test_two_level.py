# SPDX-License-Identifier: GPL-2.0-or-later
"""Stream tables of two levels: their words, and streams that nobody attached."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smmu_emu.driver import DriverError
from tests.unit.driver.rig import QEMU, TARGET, Rig

STRTAB_BASE, STRTAB_BASE_CFG = 0x80, 0x88
TWO_LEVELS = 1 << 27


def words_at(rig: Rig, address: int, count: int) -> list[int]:
    return [rig.machine.memory.read_u64(address + 8 * i) or 0 for i in range(count)]


def test_wide_table_has_two_levels_of_which_the_second_is_made_on_demand() -> None:
    rig = Rig(stream_bits=16)
    driver = rig.driver
    assert driver.streams.two_level
    assert rig.smmu.read(STRTAB_BASE, 8) == 1 << 62 | driver.stream_table
    assert rig.smmu.read(STRTAB_BASE_CFG, 4) == 16 | 8 << 6 | 1 << 16
    assert words_at(rig, driver.stream_table, 256) == [0] * 256
    driver.bypass(0x1234)
    level1 = words_at(rig, driver.stream_table, 256)
    assert [i for i, word in enumerate(level1) if word] == [0x12]
    assert level1[0x12] & 0x1F == 9  # Span: 2^8 entries
    level2 = level1[0x12] & ~0x1F
    assert level2 % (64 << 8) == 0
    assert words_at(rig, level2 + 64 * 0x34, 1) == [0b1001]
    assert words_at(rig, level2 + 64 * 0x33, 1) == [0b0001]


def test_neighbours_of_an_attached_stream_abort_silently() -> None:
    rig = Rig(stream_bits=16)
    rig.driver.bypass(0x1234)
    assert rig.machine.dma(0x1234).write(TARGET, b"x")
    assert not rig.machine.dma(0x1233).write(TARGET, b"x")
    assert rig.driver.faults.run() == []
    assert not rig.machine.dma(0x1334).write(TARGET, b"x")
    (fault,) = rig.driver.faults.run()
    assert fault.name == "C_BAD_STREAMID"


def test_streams_come_and_go_in_different_tables() -> None:
    rig = Rig(stream_bits=16)
    domain = rig.driver.domain()
    domain.map(0x1000, TARGET, 0x1000)
    for stream_id in (0, 0xFF, 0x100, 0xFFFF):
        rig.driver.attach(stream_id, domain)
        assert rig.machine.dma(stream_id).write(0x1000, b"x")
    domain.close()
    for stream_id in (0, 0xFF, 0x100, 0xFFFF):
        assert not rig.machine.dma(stream_id).write(0x1000, b"x")
    assert rig.driver.faults.run() == []


def test_device_without_two_levels_gets_a_linear_table() -> None:
    ids = replace(QEMU, idr0=QEMU.idr0 & ~TWO_LEVELS, idr1=QEMU.idr1 & ~0x3F | 6)
    rig = Rig(ids, stream_bits=16)
    assert not rig.driver.streams.two_level
    assert rig.smmu.read(STRTAB_BASE_CFG, 4) == 6
    rig.driver.bypass(63)
    assert rig.machine.dma(63).write(TARGET, b"x")


def test_stream_outside_the_table_is_named() -> None:
    rig = Rig(stream_bits=12)
    with pytest.raises(DriverError, match="StreamID 0x1000 needs a stream table of more than 12"):
        rig.driver.bypass(0x1000)
