# SPDX-License-Identifier: GPL-2.0-or-later
"""pcie-root-port: registers, buses, windows and requester IDs.

The literals were seen on QEMU 11.1 through its qtest socket, but for the capability's slot and for
requests from behind a port that is no bus master.
"""

from __future__ import annotations

import pytest

from smmu_emu.devices.edu import Edu
from smmu_emu.devices.reporter import Site
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine

ECAM, RAM, BAR = 0x40_1000_0000, 0x4000_0000, 0x1010_0000
PORT, OTHER = 1 << 3, 2 << 3
NOBODY = 0xFFFF_FFFF
EDU_ID = 0x11E8_1234
COMMAND, BUSES, WINDOW, PREFETCHABLE, UPPER_BASE, CONTROL = 0x04, 0x18, 0x20, 0x24, 0x28, 0x3C
DEVICES = ["pcie-root-port@00:01.0,id=rp0", "pcie-root-port@00:02.0,id=rp1", "edu,bus=rp0"]


class Rig:
    """Two root ports, an edu behind the first."""

    def __init__(self, *devices: str) -> None:
        self.machine = Machine.virt(ram=16 << 20, devices=devices or DEVICES)
        self.memory = self.machine.memory

    def read(self, pa: int, size: int = 4) -> int:
        data = self.memory.read(pa, size)
        assert data is not None
        return int.from_bytes(data, "little")

    def write(self, pa: int, value: int, size: int = 4) -> None:
        assert self.memory.write(pa, value.to_bytes(size, "little"))

    def config(self, bus: int, devfn: int, register: int, value: int | None = None) -> int:
        pa = ECAM | bus << 20 | devfn << 12 | register
        if value is None:
            return self.read(pa)
        self.write(pa, value)
        return 0

    def open(self, bus: int = 1) -> None:
        """Number the bus, open the window, let the edu decode at `BAR` and master."""
        self.config(0, PORT, BUSES, bus << 16 | bus << 8)
        self.config(0, PORT, WINDOW, 0x1010_1010)
        self.config(0, PORT, COMMAND, 6)
        self.config(bus, 0, 0x10, BAR)
        self.config(bus, 0, COMMAND, 6)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_header_and_capabilities(rig: Rig) -> None:
    words = [rig.config(0, PORT, at) for at in range(0, 0x90, 4)]
    assert words[:16] == [
        *(0x000C_1B36, 0x0010_0000, 0x0604_0000, 0x0001_0000),
        *(0, 0, 0, 0xF0),
        *(0xFFF0, 0x1_FFF1, 0, 0),
        *(0, 0x54, 0, 0x100),
    ]
    assert words[16:] == [
        *(0x0D, 0x1B36, 0x4011, 0),
        *(0x800, 0x0042_4810, 0x8000, 0),
        *(0x0030_0604, 0x2204_0000, 0, 0),
        *(0, 0, 0, 0),
        *(0x1E, 4, 0, 0),
    ]
    assert rig.config(0, PORT, 0x100) == NOBODY


@pytest.mark.parametrize(
    ("register", "ones", "zeros"),
    [
        (0x04, 0x0010_0507, 0x0010_0000),
        (0x0C, 0x0001_00FF, 0x0001_0000),
        (0x10, 0xFFFF_F000, 0),
        (0x14, 0, 0),
        (0x18, 0x00FF_FFFF, 0),
        (0x1C, 0xF0F0, 0),
        (0x20, 0xFFF0_FFF0, 0),
        (0x24, 0xFFF1_FFF1, 0x0001_0001),
        (0x28, NOBODY, 0),
        (0x2C, NOBODY, 0),
        (0x30, 0, 0),
        (0x3C, 0x005F_01FF, 0x100),
        (0x44, 0x1B36, 0x1B36),
        (0x48, 0xC000_4011, 0x4011),
        (0x5C, 0xF, 0),
        (0x70, 7, 0),
    ],
)
def test_writable_bits(rig: Rig, register: int, ones: int, zeros: int) -> None:
    rig.config(0, PORT, register, NOBODY)
    assert rig.config(0, PORT, register) == ones
    rig.config(0, PORT, register, 0)
    assert rig.config(0, PORT, register) == zeros


def test_bus_is_where_software_put_it(rig: Rig) -> None:
    assert rig.config(1, 0, 0) == NOBODY
    rig.config(0, PORT, BUSES, 0x1_0100)
    assert [rig.config(1, devfn, 0) for devfn in (0, 1, 8)] == [EDU_ID, NOBODY, NOBODY]
    assert rig.config(2, 0, 0) == NOBODY
    rig.config(0, PORT, BUSES, 0x5_0500)
    assert (rig.config(1, 0, 0), rig.config(5, 0, 0)) == (NOBODY, EDU_ID)
    rig.config(0, PORT, BUSES, 0x4_0300)
    assert (rig.config(3, 0, 0), rig.config(4, 0, 0)) == (EDU_ID, NOBODY)


def test_enumeration_finds_everything_once(rig: Rig) -> None:
    rig.config(0, PORT, BUSES, 0x1_0100)
    rig.config(0, OTHER, BUSES, 0x2_0200)
    found = [
        (bus, devfn >> 3)
        for bus in range(256)
        for devfn in range(0, 256, 8)
        if rig.config(bus, devfn, 0) != NOBODY
    ]
    assert found == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_stream_id_is_the_requester_id_behind_the_port(rig: Rig) -> None:
    edu: Edu = rig.machine.devices["edu@00:01.0/0.0"]
    rig.config(0, PORT, BUSES, 0x2A_2A00)
    assert edu.requester_id == edu.dma.stream_id == 0x2A00
    rig.config(0, PORT, BUSES, 0x1_0100)
    assert edu.dma.stream_id == 0x100


def test_smmu_sees_that_stream_id(rig: Rig) -> None:
    rig.open(0x1F)
    log = []
    smmu = rig.machine.smmu
    translate = smmu.translate
    smmu.translate = lambda t: (log.append(t), translate(t))[1]  # type: ignore
    for register, value in ((0x44, RAM + 0x100), (0x4C, 0x77), (0x40, 1 << 16)):
        rig.config(0x1F, 0, register, value)
    rig.write(BAR + 0x60, 1)
    assert rig.read(RAM + 0x100) == 0x77
    assert [(t.stream_id, t.iova, t.write) for t in log] == [(0x1F00, RAM + 0x100, True)]


@pytest.mark.parametrize(
    ("port_command", "memory", "prefetchable", "upper", "value"),
    [
        (6, 0x1010_1010, 0x1_FFF1, 0, 0x0100_00ED),
        (2, 0x1010_1010, 0x1_FFF1, 0, 0x0100_00ED),
        (4, 0x1010_1010, 0x1_FFF1, 0, NOBODY),
        (6, 0x0000_FFF0, 0x1_FFF1, 0, NOBODY),
        (6, 0x1020_1020, 0x1_FFF1, 0, NOBODY),
        (6, 0x1020_1000, 0x1_FFF1, 0, 0x0100_00ED),
        (6, 0x0000_FFF0, 0x1011_1011, 0, 0x0100_00ED),
        (6, 0x0000_FFF0, 0x1011_1011, 1, NOBODY),
    ],
)
def test_windows_decide_what_is_decoded(
    rig: Rig, port_command: int, memory: int, prefetchable: int, upper: int, value: int
) -> None:
    rig.open()
    rig.config(0, PORT, WINDOW, memory)
    rig.config(0, PORT, PREFETCHABLE, prefetchable)
    rig.config(0, PORT, UPPER_BASE, upper)
    rig.config(0, PORT, COMMAND, port_command)
    assert rig.read(BAR) == value


def test_pin_is_turned_by_the_slot_of_the_port(rig: Rig) -> None:
    rig.open()
    rig.write(BAR + 0x60, 1)
    assert rig.read(0x0800_0204) == 1 << 4
    rig.write(BAR + 0x64, 1)
    assert rig.read(0x0800_0204) == 0


def test_requests_from_behind_need_the_ports_bus_master_bit(rig: Rig) -> None:
    rig.open()
    edu: Edu = rig.machine.devices["edu@00:01.0/0.0"]
    assert edu.bus_master
    rig.config(0, PORT, COMMAND, 2)
    assert not edu.bus_master


def test_secondary_bus_reset_resets_what_is_behind(rig: Rig) -> None:
    rig.open()
    rig.write(BAR + 4, 0)
    rig.config(0, PORT, CONTROL, 0x40_0000)
    assert (rig.config(1, 0, 0x10), rig.config(1, 0, COMMAND)) == (0, 0x0010_0000)
    rig.config(0, PORT, CONTROL, 0)
    rig.open()
    assert rig.read(BAR + 4) == 0
    rig.write(BAR + 4, 0x1234)
    rig.config(0, PORT, CONTROL, 0)
    assert rig.read(BAR + 4) == 0xFFFF_EDCB


def test_machine_reset_takes_the_bus_away(rig: Rig) -> None:
    rig.open()
    rig.machine.reset()
    assert rig.config(1, 0, 0) == NOBODY
    assert rig.config(0, PORT, BUSES) == 0
    rig.open()
    assert rig.read(BAR) == 0x0100_00ED


def test_reports_name_the_place(rig: Rig) -> None:
    rig.open()
    rig.read(BAR + 0x10)
    assert rig.machine.unmodelled == [Site(BAR + 0x10, None, "read of 4 bytes", "edu@00:01.0/0.0")]


def test_functions_behind_a_port_are_devices_of_the_machine() -> None:
    rig = Rig("pcie-root-port,id=a", "edu,bus=a", "iommu-testdev,bus=a,addr=0.3", "edu,bus=pcie.0")
    names = ["pcie-root-port@00:01.0", "edu@00:01.0/0.0", "iommu-testdev@00:01.0/0.3"]
    assert [name for name in rig.machine.devices if "@" in name] == [
        "host bridge@00:00.0",
        *names,
        "edu@00:02.0",
    ]
    assert len(rig.machine.dma_ports) == 5
    rig.config(0, PORT, BUSES, 0x1_0100)
    assert rig.config(1, 3, 0) == 0x0005_1B36
    assert rig.config(1, 0, 0x0C) == 0x0080_0000


def test_ats_engine_behind_a_port_does_without() -> None:
    rig = Rig("pcie-root-port,id=a", "dma-engine,bus=a")
    engine = rig.machine.devices["dma-engine@00:01.0/0.0"]
    assert engine.endpoint is None


def test_two_ports_with_one_number_do_not_raise() -> None:
    rig = Rig("pcie-root-port,id=a", "pcie-root-port,id=b", "edu,bus=a", "iommu-testdev,bus=b")
    for port in (PORT, OTHER):
        rig.config(0, port, BUSES, 0x1_0100)
    assert rig.config(1, 0, 0) in (EDU_ID, 0x0005_1B36)


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (["edu,bus=rp0"], "edu,bus=rp0: no bus 'rp0': there is pcie.0"),
        (["pcie-root-port,id=a", "edu,bus=a", "edu,bus=a"], "0.0 behind .* is taken by edu"),
        (["pcie-root-port,id=a", "edu,bus=a,addr=1.0"], "leads to device 0 alone"),
        (["pcie-root-port,id=a", "edu,bus=a,addr=0.1"], "needs a function 00:00.0"),
        (["pcie-root-port,id=a", "pcie-root-port,id=a"], "there is a bus 'a' already"),
        (["pcie-root-port,id=a", "pcie-root-port,bus=a"], "root ports are on the root bus"),
        (["pcie-root-port,slot=1"], "pcie-root-port has no property 'slot'"),
        (["edu,addr=20"], "'20.0' is no PCI address"),
    ],
)
def test_places_that_cannot_be(devices: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Rig(*devices)
