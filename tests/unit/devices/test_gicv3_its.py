# SPDX-License-Identifier: GPL-2.0-or-later
"""LPIs and the ITS against literal words and IHI 0069 chapter 5."""

from __future__ import annotations

import pytest

from smmu_emu.devices.gicv3_its_commands import Command
from smmu_emu.devices.gicv3_its_tables import GITS_BASER
from tests.unit.devices.gicv3_rig import (
    COLLECTIONS,
    DEVICES,
    EOIR1,
    HPPIR1,
    IAR1,
    ITT,
    PENDING,
    QUEUE,
    RAM,
    RPR,
    VALID,
    Rig,
)

DEVICE, EVENT, LPI = 0x1_0008, 5, 8200
SPURIOUS = 1023


@pytest.fixture
def rig() -> Rig:
    """LPIs and ITS are on; the LPI is enabled, with priority 0xa0, and nothing is mapped."""
    rig = Rig()
    rig.configure(LPI, 0xA1)
    rig.enable_lpis()
    rig.its(0x100, VALID | DEVICES | 0xFF)
    rig.enable_its()
    rig.its(0x00, 0, 4)
    rig.its(0x100, VALID | DEVICES | 0xFF)  # 1 MiB: 17 bits of DeviceID
    rig.its(0x00, 1, 4)
    return rig


def pending_bit(rig: Rig, lpi: int) -> int:
    data = rig.memory.read(PENDING + lpi // 8, 1)
    assert data is not None
    return data[0] >> lpi % 8 & 1


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0x0000, 4, 0x8000_0000),
        (0x0004, 4, 0x43B),
        (0x0008, 8, 0x1F_0002_0F71),
        (0x0080, 8, 0),
        (0x0088, 8, 0),
        (0x0090, 8, 0),
        (0x0100, 8, 0x0107_0000_0000_0000),
        (0x0108, 8, 0x0407_0000_0000_0000),
        (0x0110, 8, 0),
        (0xFFE8, 4, 0x3B),
    ],
)
def test_its_reset_value(offset, size, value):
    assert Rig(on=False).its(offset, size=size) == value


def test_fields_of_a_command_are_where_the_specification_has_them():
    command = Command(
        0x0123_4567_89AB_CD0A
        | 0xFEDC_BA98_7654_3213 << 64
        | 0x8001_2345_6789_ABCD << 128
        | 0x0000_0000_0007_0000 << 192
    )
    assert (command.Opcode, command.DeviceID) == (0x0A, 0x0123_4567)
    assert (command.event, command.intid, command.size) == (0x7654_3213, 0xFEDC_BA98, 0x13)
    assert (command.icid, command.valid) == (0xABCD, True)
    assert command.itt == 0x1_2345_6789_AB00
    assert command.processor == 0x1_2345_6789
    assert command.other_processor == 7


def test_message_becomes_the_lpi_of_its_device_and_event(rig):
    rig.map(DEVICE, EVENT, LPI)
    assert rig.ring(DEVICE, EVENT)
    assert rig.irq
    assert pending_bit(rig, LPI) == 1
    assert rig.c(HPPIR1) == LPI
    assert rig.c(IAR1) == LPI
    assert pending_bit(rig, LPI) == 0
    assert rig.c(RPR) == 0xA0
    rig.c(EOIR1, LPI)
    assert rig.c(RPR) == 0xFF
    assert rig.c(IAR1) == SPURIOUS
    assert rig.gic.its.messages == 1
    assert rig.reported == []


def test_message_of_16_bits_is_one(rig):
    rig.map(DEVICE, EVENT, LPI)
    rig.ring(DEVICE, EVENT, size=2)
    assert rig.irq


@pytest.mark.parametrize(
    ("device", "event"), [(DEVICE + 1, EVENT), (DEVICE, EVENT + 1), (DEVICE, 32), (1 << 17, EVENT)]
)
def test_message_that_nobody_mapped_is_told_and_lost(rig, device, event):
    rig.map(DEVICE, EVENT, LPI)
    assert rig.ring(device, event)
    assert not rig.irq
    assert [(part, offset) for part, offset, _ in rig.reported] == [("its translation", 0x40)]


def test_same_event_of_another_device_is_another_lpi(rig):
    rig.configure(8201, 0x81)
    rig.map(DEVICE, EVENT, LPI)
    rig.map(0x20, EVENT, 8201, ITT + 0x100)
    rig.ring(0x20, EVENT)
    assert rig.c(IAR1) == 8201
    assert rig.c(RPR) == 0x80


def test_write_without_a_device_id_is_told_and_ignored(rig):
    rig.map(0, EVENT, LPI)
    rig.gic.its.translation.write(0x40, 4, EVENT)
    assert not rig.irq
    assert rig.reported == [("its translation", 0x40, "write of 4 bytes without a DeviceID")]


def test_lpi_may_be_its_event(rig):
    rig.command(DEVICE << 32 | 0x08, 13, VALID | ITT)
    rig.command(0x09, 0, VALID | 3)
    rig.command(DEVICE << 32 | 0x0B, LPI, 3)  # MAPI
    rig.ring(DEVICE, LPI)
    assert rig.c(IAR1) == LPI


def test_disabled_lpi_waits_and_configuration_is_cached_until_invalidated(rig):
    rig.configure(LPI, 0xA0)
    rig.map(DEVICE, EVENT, LPI)
    rig.ring(DEVICE, EVENT)
    assert not rig.irq
    rig.configure(LPI, 0xA1)
    assert rig.c(IAR1) == SPURIOUS
    rig.command(DEVICE << 32 | 0x0C, EVENT)  # INV
    assert rig.irq
    rig.configure(LPI, 0x00)
    rig.command(0x0D, 0, 3)  # INVALL
    assert not rig.irq
    assert rig.reported == []


def test_int_clear_and_discard(rig):
    rig.map(DEVICE, EVENT, LPI)
    rig.command(DEVICE << 32 | 0x03, EVENT)
    assert rig.irq
    rig.command(DEVICE << 32 | 0x04, EVENT)
    assert not rig.irq
    rig.command(DEVICE << 32 | 0x03, EVENT)
    rig.command(DEVICE << 32 | 0x0F, EVENT)
    assert not rig.irq
    assert pending_bit(rig, LPI) == 0
    rig.command(DEVICE << 32 | 0x03, EVENT)
    assert not rig.irq
    assert rig.reported == [
        ("its", 0x90, "INT: EventID 0x5 of DeviceID 0x10008 is not mapped"),
    ]


def test_move_changes_the_collection(rig):
    rig.map(DEVICE, EVENT, LPI)
    rig.command(0x09, 0, VALID | 4)
    rig.command(DEVICE << 32 | 0x01, EVENT, 4)
    rig.command(0x09, 0, 3)  # collection 3 is no more
    rig.ring(DEVICE, EVENT)
    assert rig.c(IAR1) == LPI
    rig.command(0x05, 0, 0)
    rig.command(0x0E, 0, 0, 0)
    assert rig.reported == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ((0x02,), "command 0x2, which there is not"),
        ((1 << 49 | 0x08, 4, VALID | ITT), "MAPD: DeviceID 0x20000 is too large"),
        ((0x08, 16, VALID | ITT), "MAPD: 17 bits of EventID are too many"),
        ((0x09, 0, VALID | 1 << 16), "MAPC: no redistributor 1"),
        ((0x09, 0, VALID | 0x200), "MAPC: the collection table has no room for collection 512"),
        ((DEVICE << 32 | 0x0A, 8191 << 32, 3), "MAPTI: there is no LPI 8191"),
        ((DEVICE << 32 | 0x0A, 65536 << 32, 3), "MAPTI: there is no LPI 65536"),
        ((7 << 32 | 0x0A, LPI << 32, 3), "MAPTI: DeviceID 0x7 is not mapped"),
        ((DEVICE << 32 | 0x01, EVENT, 9), "MOVI: collection 9 is not mapped"),
        ((0x05, 0, 2 << 16), "SYNC: no redistributor 2"),
        ((0x0D, 0, 9), "INVALL: collection 9 is not mapped"),
    ],
)
def test_wrong_command_is_told_and_the_next_is_executed(rig, words, wrong):
    rig.map(DEVICE, EVENT, LPI)
    rig.command(*words)
    assert rig.reported == [("its", 0x90, wrong)]
    rig.command(DEVICE << 32 | 0x03, EVENT)
    assert rig.irq


def test_itt_outside_memory_is_told(rig):
    rig.map(DEVICE, EVENT, LPI, itt=0x1000)
    assert [kind for _, _, kind in rig.reported] == [
        f"MAPTI: no memory at {0x1000 + 8 * EVENT:#x}, in the ITT of DeviceID 0x10008"
    ]


@pytest.mark.parametrize(("page", "page_size"), [(0, 0x1000), (1, 0x4000), (2, 0x1_0000)])
def test_device_table_may_have_two_levels(page, page_size):
    rig = Rig()
    rig.configure(LPI, 0xA1)
    rig.enable_lpis()
    rig.enable_its()
    rig.its(0x00, 0, 4)
    rig.its(0x100, VALID | 1 << 62 | page << 8 | DEVICES)
    rig.its(0x00, 1, 4)
    index = DEVICE // (page_size // 8)
    rig.map(DEVICE, EVENT, LPI)
    assert [kind for _, _, kind in rig.reported][:1] == [
        "MAPD: the device table has no room for DeviceID 0x10008"
    ]
    rig.memory.write_u64(DEVICES + 8 * index, VALID | RAM + 0x70_0000)
    rig.map(DEVICE, EVENT, LPI)
    rig.ring(DEVICE, EVENT)
    assert rig.irq
    entry = rig.memory.read_u64(RAM + 0x70_0000 + 8 * (DEVICE % (page_size // 8)))
    assert entry == ITT | 4 << 1 | 1


def test_baser_of_64k_pages_has_the_upper_bits_of_its_address_below():
    word = VALID | 2 << 8 | 0x1234_5678_9000 & 0xFFFF_FFFF_0000 | 0x9000
    from smmu_emu.devices.gicv3_its_tables import Table

    assert Table._base(GITS_BASER(word), 16) == 0x9_1234_5678_0000


def test_tables_and_queue_stay_where_they_are_while_the_its_is_enabled(rig):
    rig.its(0x108, VALID | RAM)
    rig.its(0x80, VALID | RAM)
    assert rig.its(0x108) == VALID | COLLECTIONS | 0x0407 << 48
    assert rig.its(0x80) == VALID | QUEUE


def test_queue_wraps_and_reader_follows_writer(rig):
    rig.map(DEVICE, EVENT, LPI)
    for _ in range(126):
        rig.command(0x05)
    assert rig.its(0x88) == rig.its(0x90) == 0x20
    rig.command(DEVICE << 32 | 0x03, EVENT)
    assert rig.irq


def test_commands_wait_until_the_its_is_enabled(rig):
    rig.map(DEVICE, EVENT, LPI)
    rig.its(0x00, 0, 4)
    assert rig.its(0x00, size=4) == 0x8000_0000
    rig.command(DEVICE << 32 | 0x03, EVENT)
    assert not rig.irq
    rig.its(0x00, 1, 4)
    assert rig.irq
    assert rig.its(0x00, size=4) == 1


def test_queue_that_cannot_be_read_stalls_until_software_retries(rig):
    port = rig.gic.ports["its-commands"]
    original, port.read = port.read, lambda pa, size: None
    rig.command(0x05)
    assert rig.its(0x90) == 1  # stalled at 0
    port.read = original
    rig.its(0x88, 0x20)
    assert rig.its(0x90) == 1
    rig.its(0x88, 0x21)
    assert rig.its(0x90) == 0x20


def test_writer_beyond_the_queue_is_told(rig):
    rig.its(0x88, 0x1000)
    assert rig.its(0x90) == 0
    assert rig.reported == [("its", 0x88, "GITS_CWRITER is 0x1000, the queue has 0x1000 bytes")]


def test_registers_of_64_bits_have_halves(rig):
    rig.its(0x00, 0, 4)
    rig.its(0x80, QUEUE & 0xFFFF_FFFF, 4)
    rig.its(0x84, 0x8000_0000, 4)
    assert rig.its(0x80) == VALID | QUEUE
    assert rig.its(0x84, size=4) == 0x8000_0000


def test_pending_table_is_read_when_lpis_are_enabled(rig):
    rig.r(0x00, 0)
    rig.memory.write(PENDING + LPI // 8, bytes([1 << LPI % 8]))
    rig.r(0x78, PENDING, 8)
    rig.r(0x00, 1)
    assert rig.c(IAR1) == LPI
    assert pending_bit(rig, LPI) == 0


def test_pending_table_that_is_said_to_be_zero_is_not_read(rig):
    rig.r(0x00, 0)
    rig.memory.write(PENDING + LPI // 8, bytes([1 << LPI % 8]))
    rig.r(0x78, PENDING | 1 << 62, 8)
    assert rig.r(0x78, size=8) == PENDING  # PTZ reads as zero
    rig.r(0x00, 1)
    assert not rig.irq


def test_messages_are_lost_while_lpis_are_off(rig):
    rig.map(DEVICE, EVENT, LPI)
    rig.r(0x00, 0)
    rig.ring(DEVICE, EVENT)
    rig.r(0x00, 1)
    assert not rig.irq


def test_lpi_tables_stay_where_they_are_while_lpis_are_enabled(rig):
    before = rig.r(0x70, size=8), rig.r(0x78, size=8)
    rig.r(0x70, 0, 8)
    rig.r(0x78, 0, 8)
    assert (rig.r(0x70, size=8), rig.r(0x78, size=8)) == before


def test_lpi_beyond_the_tables_is_lost(rig):
    rig.r(0x00, 0)
    rig.r(0x70, rig.r(0x70, size=8) & ~0x1F | 12, 8)  # 13 bits: not one LPI
    rig.r(0x00, 1)
    rig.map(DEVICE, EVENT, LPI)
    rig.ring(DEVICE, EVENT)
    assert not rig.irq


def test_lpis_and_spis_compete_by_priority(rig):
    rig.map(DEVICE, EVENT, LPI)
    rig.enable(33, 0x90)
    rig.wire(33, True)
    rig.ring(DEVICE, EVENT)
    assert rig.c(IAR1) == 33
    assert not rig.irq
    rig.wire(33, False)
    rig.c(EOIR1, 33)
    assert rig.c(IAR1) == LPI


def test_tables_over_the_its_itself_do_no_harm():
    """Tables are RAM's: an ITT over GITS_CWRITER would start commands out of commands."""
    rig = Rig()
    rig.memory.add_device(0x0808_0000, 0x1_0000, rig.gic.its, "its")
    rig.enable_lpis()
    rig.enable_its()
    rig.map(1, 17, LPI, itt=0x0808_0000)
    assert rig.its(0x90) == 0x60
    assert "no memory at 0x8080088" in rig.reported[0][2]


def test_many_lpis_come_in_the_order_of_their_priorities(rig):
    rig.r(0x00, 0)
    for lpi in range(8192, 8192 + 4096):
        rig.configure(lpi, (lpi * 37 & 0xF8) | 1)
    rig.memory.write(PENDING + 1024, b"\xff" * 512)
    rig.r(0x78, PENDING, 8)
    rig.r(0x00, 1)
    seen = []
    while rig.irq:
        seen.append(rig.c(IAR1))
        rig.c(EOIR1, seen[-1])
    assert sorted(seen) == list(range(8192, 8192 + 4096))
    assert seen == sorted(seen, key=lambda lpi: (lpi * 37 & 0xF8, lpi))


def test_priority_that_changes_counts_after_an_invalidation(rig):
    rig.map(DEVICE, EVENT, LPI)
    rig.configure(LPI + 1, 0x81)
    rig.command(DEVICE << 32 | 0x0A, (LPI + 1) << 32 | 6, 3)
    rig.ring(DEVICE, EVENT)
    rig.ring(DEVICE, 6)
    rig.configure(LPI, 0x41)
    assert rig.c(HPPIR1) == LPI + 1
    rig.command(DEVICE << 32 | 0x0C, EVENT)
    assert rig.c(HPPIR1) == LPI
