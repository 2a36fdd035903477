# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM, device windows, and who answers at which address."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smmu_emu import memory as memory_module
from smmu_emu.errors import MemoryMapError
from smmu_emu.memory import PhysicalMemory, Ram
from smmu_emu.ram_image import map_over

BASE = 0x4000_0000


class Recorder:
    """A device that notes accesses and gives the offset back, or refuses."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.log: list[tuple[str, int, int, int]] = []

    def read(self, offset: int, size: int) -> int | None:
        self.log.append(("r", offset, size, 0))
        return None if self.refuse else offset | 0xFFFF_FFFF_FFFF_0000

    def write(self, offset: int, size: int, value: int) -> bool | None:
        self.log.append(("w", offset, size, value))
        return False if self.refuse else None


def make(refuse: bool = False) -> tuple[PhysicalMemory, Recorder]:
    memory, device = PhysicalMemory(), Recorder(refuse)
    memory.add_ram(BASE, 0x10000)
    memory.add_device(0x1000, 0x1000, device, "recorder")
    return memory, device


def test_words_are_little_endian() -> None:
    memory, _ = make()
    assert memory.write_u64(BASE, 0x0102_0304_0506_0708)
    assert memory.read(BASE, 8) == b"\x08\x07\x06\x05\x04\x03\x02\x01"
    assert memory.read_u64(BASE) == 0x0102_0304_0506_0708
    assert memory.read_u64(BASE + 1) == 0x0001_0203_0405_0607


def test_ram_is_shared_with_views_and_arrays() -> None:
    memory, _ = make()
    ram = memory.rams[0]
    ram.array("<u4")[1] = 0xCAFE_F00D
    assert memory.read(BASE + 4, 4) == b"\x0d\xf0\xfe\xca"
    ram.view[0:2] = b"ab"
    assert memory.read(BASE, 2) == b"ab"


@pytest.mark.parametrize("pa", [0, 0xFFF, 0x2000, BASE - 1, BASE + 0x10000, 1 << 63, (1 << 64) - 1])
def test_nobody_answers_is_an_abort_and_is_heard(pa: int) -> None:
    memory, _ = make()
    heard = list[tuple[int, str]]()
    memory.unanswered = lambda pa, kind: heard.append((pa, kind))
    assert memory.read(pa, 1) is None
    assert memory.write(pa, b"x") is False
    assert memory.read_u64(pa) is None
    assert heard == [(pa, "read"), (pa, "write"), (pa, "read")]


def test_access_over_the_end_of_ram_is_an_abort_and_writes_nothing() -> None:
    memory, _ = make()
    heard = list[int]()
    memory.unanswered = lambda pa, _: heard.append(pa)
    end = BASE + 0x10000
    assert memory.write(end - 4, b"12345678") is False
    assert memory.read(end - 4, 8) is None
    assert memory.read_u64(end - 4) is None
    assert memory.read(end - 4, 4) == bytes(4)
    assert heard == [end, end, end]


def test_device_gets_offset_size_and_value() -> None:
    memory, device = make()
    assert memory.write(0x1010, b"\x78\x56\x34\x12")
    assert memory.read(0x1014, 2) == b"\x14\x00"
    assert device.log == [("w", 0x10, 4, 0x12345678), ("r", 0x14, 2, 0)]


def test_value_wider_than_the_access_is_cut() -> None:
    memory, _ = make()
    assert memory.read(0x1000, 1) == b"\x00"
    assert memory.read(0x1000, 8) == (0xFFFF_FFFF_FFFF_0000).to_bytes(8, "little")


def test_device_that_refuses_is_an_abort_but_not_unanswered() -> None:
    memory, _ = make(refuse=True)
    heard = list[int]()
    memory.unanswered = lambda pa, _: heard.append(pa)
    assert memory.read(0x1000, 4) is None
    assert memory.write(0x1000, bytes(4)) is False
    assert heard == []


def test_burst_to_a_device_becomes_aligned_beats() -> None:
    memory, device = make()
    assert memory.write(0x1001, bytes(range(1, 12)))
    assert device.log == [
        ("w", 1, 1, 0x01),
        ("w", 2, 2, 0x0302),
        ("w", 4, 4, 0x07060504),
        ("w", 8, 4, 0x0B0A0908),
    ]


def test_burst_ends_at_the_beat_that_is_refused() -> None:
    memory, device = make(refuse=True)
    assert memory.write(0x1000, bytes(64)) is False
    assert memory.read(0x1000, 64) is None
    assert len(device.log) == 2


@given(st.integers(0, 0xFFF), st.integers(1, 64))
def test_beats_cover_a_burst_once_in_order_aligned(offset: int, size: int) -> None:
    at = offset
    for start, length in memory_module._beats(offset, size):
        assert start == at
        assert length in (1, 2, 4, 8)
        assert start % length == 0
        at += length
    assert at == offset + size


@pytest.mark.parametrize(
    ("base", "size"),
    [(0x800, 0x1000), (0x1000, 0x800), (0x1000, 0), (-0x1000, 0x1000), (0x1000, -0x1000)],
)
def test_window_not_made_of_pages_is_refused(base: int, size: int) -> None:
    with pytest.raises(MemoryMapError, match="whole 4 KiB pages"):
        PhysicalMemory().add_ram(base, size)


def test_overlap_names_both() -> None:
    memory, device = make()
    with pytest.raises(MemoryMapError, match=r"uart at 0x40000000-0x40000fff overlaps RAM"):
        memory.add_device(BASE, 0x1000, device, "uart")
    with pytest.raises(MemoryMapError, match=r"RAM at 0x0-0x1fff overlaps recorder at 0x1000"):
        memory.add_ram(0, 0x2000)


def test_window_added_later_goes_where_its_address_says() -> None:
    memory, _ = make()
    low, high = Recorder(), Recorder()
    memory.add_device(0, 0x1000, low, "low")
    memory.add_device(0x2000, 0x1000, high, "high")
    memory.read(0x2FFF, 1)
    memory.read(0x0, 1)
    assert (low.log, high.log) == ([("r", 0, 1, 0)], [("r", 0xFFF, 1, 0)])


def test_more_ram_than_the_host_has_is_one_error() -> None:
    with pytest.raises(MemoryMapError, match="this host cannot give"):
        PhysicalMemory().add_ram(0, 1 << 62)


def test_clear_zeroes_at_the_same_host_address() -> None:
    ram = Ram(0, 0x10000)
    address = ram.host_address
    ram.view[0:4] = b"abcd"
    ram.view[0x8000:0x8004] = b"abcd"
    ram.clear()
    assert bytes(ram.view) == bytes(0x10000)
    assert ram.host_address == address
    ram.view[0:4] = b"abcd"
    assert ram.words[0] == 0x6463_6261


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="POSIX mmap")
def test_mapping_afresh_zeroes_as_well() -> None:
    """What macOS uses: its madvise does not zero."""
    ram = Ram(0, 0x10000)
    ram.view[0:4] = b"abcd"
    map_over(ram.host_address, ram.size)
    assert ram.words[0] == 0
    ram.view[0:1] = b"x"
    assert bytes(ram.buffer[0:2]) == b"x\0"


def test_write_into_code_is_announced_and_elsewhere_not() -> None:
    memory, _ = make()
    heard = list[tuple[int, int]]()
    memory.code_written = lambda pa, size: heard.append((pa, size))
    memory.code_frames.add(BASE + 0x2000 >> 12)
    memory.write(BASE + 0x1000, bytes(0x1000))
    assert heard == []
    memory.write(BASE + 0x1FFF, b"ab")
    memory.write_u64(BASE + 0x2FF8, 1)
    memory.write(BASE, bytes(0x10000))
    assert heard == [(BASE + 0x1FFF, 2), (BASE + 0x2FF8, 8), (BASE, 0x10000)]


def test_second_ram_is_read_as_the_first() -> None:
    memory, _ = make()
    memory.add_ram(0x8000_0000, 0x1000)
    memory.write_u64(0x8000_0008, 7)
    assert memory.read_u64(0x8000_0008) == 7
    assert memory.find_ram(0x8000_0000, 0x1000) is memory.rams[1]
    assert memory.find_ram(0x8000_0000, 0x1001) is None


@given(st.data())
def test_ram_behaves_like_bytes(data: st.DataObject) -> None:
    memory = PhysicalMemory()
    memory.add_ram(BASE, 0x1000)
    model = bytearray(0x1000)
    for _ in range(20):
        offset = data.draw(st.integers(0, 0xFFF))
        content = data.draw(st.binary(max_size=16))
        if offset + len(content) <= 0x1000:
            model[offset : offset + len(content)] = content
        assert memory.write(BASE + offset, content) == (offset + len(content) <= 0x1000)
    assert memory.read(BASE, 0x1000) == model
