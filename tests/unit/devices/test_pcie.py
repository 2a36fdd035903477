# SPDX-License-Identifier: GPL-2.0-or-later
"""The PCIe host as firmware meets it: enumeration, BAR sizing, decoding."""

from __future__ import annotations

import pytest

from smmu_emu.devices.pcie import (
    COMMAND,
    Bar,
    Function,
    format_address,
    parse_address,
)
from smmu_emu.devices.pcie_host import PcieHost
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PhysicalMemory

WINDOW, HIGH = 0x1000_0000, 0x80_0000_0000


class Registers:
    """16 words that read back."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {}

    def read(self, offset: int, size: int) -> int | None:
        return None if size != 4 else self.words.get(offset, offset)

    def write(self, offset: int, size: int, value: int) -> bool | None:
        if size != 4:
            return False
        self.words[offset] = value
        return None


def make_function(registers: Registers | None = None, **bar: bool) -> Function:
    bars = [Bar(0, 0x1000, registers or Registers(), **bar)]
    return Function(0x1B36, 0x0005, 0x00FF00, bars=bars, name="function")


class Rig:
    """A host bridge at 00:00.0; ``config`` reads or writes words of configuration space."""

    def __init__(self) -> None:
        memory = PhysicalMemory()
        self.host = PcieHost(memory, None)
        self.host.add(Function(0x1B36, 0x0008, 0x060000, name="host bridge"))
        self.reported: list[tuple[int, str]] = []
        self.window = self.host.aperture(WINDOW, lambda at, kind: self.reported.append((at, kind)))
        self.high = self.host.aperture(HIGH)

    def config(self, place: str, register: int, value: int | None = None, size: int = 4) -> int:
        offset = parse_address(place) << 12 | register
        if value is None:
            return self.host.ecam.read(offset, size)
        self.host.ecam.write(offset, size, value)
        return 0


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_host_bridge_is_qemus(rig: Rig) -> None:
    words = [rig.config("00:00.0", register) for register in range(0, 0x40, 4)]
    assert words == [0x0008_1B36, 0, 0x0600_0000, *[0] * 8, 0x1100_1AF4, *[0] * 4]


@pytest.mark.parametrize("place", ["00:01.0", "00:00.1", "01:00.0", "ff:1f.7"])
@pytest.mark.parametrize(
    ("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFF_FFFF), (8, 2**64 - 1)]
)
def test_absent_function_reads_all_ones(rig: Rig, place: str, size: int, ones: int) -> None:
    rig.config(place, 0, 0, size)
    assert rig.config(place, 0, size=size) == ones


def test_header_of_a_function(rig: Rig) -> None:
    rig.host.add(make_function())
    assert rig.config("00:01.0", 0x00) == 0x0005_1B36
    assert rig.config("00:01.0", 0x04) == 0
    assert rig.config("00:01.0", 0x08) == 0x00FF_0000
    assert rig.config("00:01.0", 0x0C) == 0
    assert rig.config("00:01.0", 0x2C) == 0x1100_1AF4
    assert rig.config("00:01.0", 0x02, size=2) == 0x0005
    assert rig.config("00:01.0", 0x0A, size=1) == 0xFF


def test_extended_configuration_space_is_all_ones(rig: Rig) -> None:
    assert rig.config("00:00.0", 0x100) == 0xFFFF_FFFF
    rig.config("00:00.0", 0xFC, 1, 8)
    assert rig.config("00:00.0", 0xFC, size=8) == 2**64 - 1
    assert rig.config("00:00.0", 0xFC) == 0


@pytest.mark.parametrize(
    ("register", "readback"),
    [
        (0x00, 0x0005_1B36),
        (0x04, 0x0000_0507),
        (0x08, 0x00FF_0000),
        (0x0C, 0x0000_00FF),
        (0x10, 0xFFFF_F000),
        (0x14, 0),
        (0x28, 0),
        (0x2C, 0x1100_1AF4),
        (0x30, 0),
        (0x34, 0),
        (0x3C, 0x0000_00FF),
        (0x40, 0),
        (0xFC, 0),
    ],
)
def test_only_writable_bits_change(rig: Rig, register: int, readback: int) -> None:
    rig.host.add(make_function())
    rig.config("00:01.0", register, 0xFFFF_FFFF)
    assert rig.config("00:01.0", register) == readback


def test_narrow_writes_reach_their_bytes_alone(rig: Rig) -> None:
    rig.host.add(make_function())
    rig.config("00:01.0", 0x13, 0x20, size=1)
    rig.config("00:01.0", 0x11, 0xFFFF, size=2)
    assert rig.config("00:01.0", 0x10) == 0x20FF_F000


def test_enumeration_as_firmware_does_it(rig: Rig) -> None:
    rig.host.add(make_function(), "00:03.0")
    rig.host.add(make_function(), "00:05.0")
    found = [
        place
        for place in (format_address(rid << 3) for rid in range(32))
        if rig.config(place, 0) == 0x0005_1B36
    ]
    assert found == ["00:03.0", "00:05.0"]
    address = WINDOW
    for place in found:
        rig.config(place, 0x10, 0xFFFF_FFFF)
        mask = rig.config(place, 0x10)
        assert mask & 0xF == 0
        size = (~mask & 0xFFFF_FFFF) + 1
        assert size == 0x1000
        rig.config(place, 0x10, address)
        rig.config(place, 0x04, 0x6, size=2)
        address += size
    assert rig.window.read(0x1004, 4) == 0x4
    assert rig.window.read(0x2000, 4) == 0xFFFF_FFFF


def test_wide_bar_has_type_bits_and_64_bits_of_address(rig: Rig) -> None:
    rig.host.add(make_function(wide=True, prefetchable=True))
    assert rig.config("00:01.0", 0x10) == 0xC
    rig.config("00:01.0", 0x10, 2**64 - 1, size=8)
    assert rig.config("00:01.0", 0x10, size=8) == 0xFFFF_FFFF_FFFF_F00C
    rig.config("00:01.0", 0x10, HIGH, size=8)
    rig.config("00:01.0", 0x04, COMMAND.make(MEMORY_SPACE=1).value)
    assert rig.high.read(0x24, 4) == 0x24
    assert rig.window.read(0x24, 4) == 0xFFFF_FFFF


def test_command_register_gates_decoding(rig: Rig) -> None:
    registers = Registers()
    rig.host.add(make_function(registers))
    rig.config("00:01.0", 0x10, WINDOW + 0x5000)
    assert rig.window.read(0x5008, 4) == 0xFFFF_FFFF
    rig.window.write(0x5008, 4, 1)
    assert registers.words == {}
    assert rig.reported == [
        (0x5008, "read that no BAR decodes"),
        (0x5008, "write that no BAR decodes"),
    ]
    rig.config("00:01.0", 0x04, 2, size=2)
    rig.window.write(0x5008, 4, 1)
    assert rig.window.read(0x5008, 4) == 1
    rig.config("00:01.0", 0x04, 0, size=2)
    assert rig.window.read(0x5008, 4) == 0xFFFF_FFFF


def test_moved_bar_answers_at_its_new_place_only(rig: Rig) -> None:
    rig.host.add(make_function())
    rig.config("00:01.0", 0x04, 2)
    for base in (WINDOW, WINDOW + 0x10_0000):
        rig.config("00:01.0", 0x10, base)
        assert rig.window.read(base - WINDOW + 8, 4) == 8
    assert rig.window.read(8, 4) == 0xFFFF_FFFF


def test_access_over_the_end_of_a_bar_is_all_ones(rig: Rig) -> None:
    rig.host.add(make_function())
    rig.config("00:01.0", 0x10, WINDOW)
    rig.config("00:01.0", 0x04, 2)
    assert rig.window.read(0xFFC, 8) == 2**64 - 1
    assert rig.window.write(0xFFE, 4, 0) is None


def test_device_may_refuse_through_the_window(rig: Rig) -> None:
    rig.host.add(make_function())
    rig.config("00:01.0", 0x10, WINDOW)
    rig.config("00:01.0", 0x04, 2)
    assert rig.window.read(0, 1) is None
    assert rig.window.write(0, 8, 0) is False


def test_first_of_two_bars_at_one_address_wins(rig: Rig) -> None:
    one, two = Registers(), Registers()
    rig.host.add(make_function(one), "00:02.0")
    rig.host.add(make_function(two), "00:01.0")
    for place in ("00:02.0", "00:01.0"):
        rig.config(place, 0x10, WINDOW)
        rig.config(place, 0x04, 2)
    rig.window.write(0, 4, 7)
    assert (one.words, two.words) == ({}, {0: 7})


def test_bus_master_bit(rig: Rig) -> None:
    function = make_function()
    rig.host.add(function)
    assert not function.bus_master
    rig.config("00:01.0", 0x04, 4)
    assert function.bus_master


def test_requester_id_is_the_dma_ports_stream(rig: Rig) -> None:
    function = make_function()
    with pytest.raises(ConfigurationError, match="no PCIe host yet"):
        _ = function.dma
    rig.host.add(function, "2a:1f.0")
    assert function.requester_id == function.dma.stream_id == 0x2AF8


def test_functions_of_one_device_say_so_in_the_header(rig: Rig) -> None:
    rig.host.add(make_function(), "00:04.0")
    assert rig.config("00:04.0", 0x0E, size=1) == 0
    rig.host.add(make_function(), "00:04.3")
    assert rig.config("00:04.0", 0x0E, size=1) == rig.config("00:04.3", 0x0E, size=1) == 0x80


def test_reset_unmaps(rig: Rig) -> None:
    rig.host.add(make_function())
    rig.config("00:01.0", 0x10, WINDOW)
    rig.config("00:01.0", 0x04, 6)
    rig.host.reset()
    assert rig.config("00:01.0", 0x10) == rig.config("00:01.0", 0x04) == 0
    assert rig.window.read(0, 4) == 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("text", "requester_id"),
    [("00:01.0", 0x08), ("01.0", 0x08), ("1.0", 0x08), ("2A:1f.7", 0x2AFF), ("ff:0.1", 0xFF01)],
)
def test_address_is_read(text: str, requester_id: int) -> None:
    assert parse_address(text) == requester_id


def test_address_is_printed() -> None:
    assert format_address(0x2AFF) == "2a:1f.7"


@pytest.mark.parametrize("text", ["", "1", "00:20.0", "00:01.8", "100:01.0", "a:b:c", "00:01.0 "])
def test_bad_address_is_one_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no PCI address such as 00:02\.0"):
        parse_address(text)


def test_places_that_cannot_be(rig: Rig) -> None:
    with pytest.raises(ConfigurationError, match=r"PCI 00:00\.0 is taken by host bridge"):
        rig.host.add(make_function(), "00:00.0")
    with pytest.raises(ConfigurationError, match=r"PCI 00:07\.1 needs a function 00:07\.0"):
        rig.host.add(make_function(), "00:07.1")
    for _ in range(31):
        rig.host.add(make_function())
    with pytest.raises(ConfigurationError, match="all 32 devices of PCI bus 0 are taken"):
        rig.host.add(make_function())
    rig.host.add(make_function(), "01:00.0")


@pytest.mark.parametrize(
    "bar", [(6, 0x1000, False), (5, 0x1000, True), (0, 0x18, False), (0, 8, False)]
)
def test_bar_that_cannot_be(bar: tuple[int, int, bool]) -> None:
    number, size, wide = bar
    with pytest.raises(ConfigurationError, match="function: no BAR"):
        Function(1, 2, 3, bars=[Bar(number, size, Registers(), wide)])
