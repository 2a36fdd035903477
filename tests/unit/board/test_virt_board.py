# SPDX-License-Identifier: GPL-2.0-or-later
"""The virt board: QEMU's address map, and wires that lead where QEMU's do."""

from __future__ import annotations

import pytest

from smmu_emu.board.virt import VirtBoard
from smmu_emu.clock import Clock
from smmu_emu.devices.iommu_testdev import IommuTestdev
from smmu_emu.devices.reporter import Reporter, Site
from smmu_emu.errors import ConfigurationError


def make(**options: object) -> tuple[VirtBoard, Reporter, bytearray]:
    reporter, printed = Reporter(), bytearray()
    board = VirtBoard(
        clock=Clock(),
        reporter=reporter,
        console=printed.extend,
        **options,  # type: ignore[arg-type]
    )
    return board, reporter, printed


def read(board: VirtBoard, pa: int, size: int = 4) -> int:
    data = board.memory.read(pa, size)
    assert data is not None
    return int.from_bytes(data, "little")


def test_address_map_is_qemus() -> None:
    board, _, _ = make()
    spans = {window.name: (window.base, window.end - 1) for window in board.memory.windows}
    assert spans == {
        "gic distributor": (0x0800_0000, 0x0800_0FFF),
        "gic cpu interface": (0x0801_0000, 0x0801_1FFF),
        "gic v2m": (0x0802_0000, 0x0802_0FFF),
        "pl011": (0x0900_0000, 0x0900_0FFF),
        "pl031": (0x0901_0000, 0x0901_0FFF),
        "smmu0": (0x0905_0000, 0x0906_FFFF),
        "virtio": (0x0A00_0000, 0x0A00_3FFF),
        "pcie mmio": (0x1000_0000, 0x3EFE_FFFF),
        "pcie ecam": (0x40_1000_0000, 0x40_1FFF_FFFF),
        "pcie high mmio": (0x80_0000_0000, 0xFF_FFFF_FFFF),
    }
    assert [(ram.base, ram.end - 1) for ram in board.memory.rams] == [(0x4000_0000, 0x5FFF_FFFF)]


@pytest.mark.parametrize(
    ("pa", "value"),
    [
        (0x0800_0004, 0x8),
        (0x0801_00FC, 0x2043B),
        (0x0802_0008, 0x50_0040),
        (0x0900_0FE0, 0x11),
        (0x0901_0FE0, 0x31),
        (0x0A00_0000, 0x7472_6976),
        (0x0A00_0004, 2),
        (0x0A00_0008, 0),
        (0x0A00_3E00, 0x7472_6976),
        (0x0A00_3E10, 0),
        (0x40_1000_0000, 0x0008_1B36),
        (0x40_1000_8000, 0x0005_1B36),
        (0x40_1001_0000, 0xFFFF_FFFF),
        (0x1000_0000, 0xFFFF_FFFF),
        (0x80_0000_0000, 0xFFFF_FFFF),
    ],
)
def test_each_device_answers_at_its_address(pa: int, value: int) -> None:
    assert read(make()[0], pa) == value


def test_uart_prints_and_interrupts_as_spi_1() -> None:
    board, _, printed = make()
    board.memory.write(0x0900_0030, b"\x01\x03\0\0")
    board.memory.write(0x0900_0038, b"\x20\0\0\0")
    board.memory.write(0x0900_0000, b"!")
    assert printed == b"!"
    assert read(board, 0x0800_0204) == 1 << 1  # GIC number 33


@pytest.mark.parametrize(
    ("line", "number"), [("eventq", 106), ("priq", 107), ("cmdq_sync", 108), ("gerror", 109)]
)
def test_smmu_interrupts_are_edges_on_spis_74_to_77(line: str, number: int) -> None:
    board, _, _ = make()
    assert board.smmu is not None
    configuration = 0x0800_0C00 + number // 16 * 4
    board.memory.write(configuration, (2 << number % 16 * 2).to_bytes(4, "little"))
    getattr(board.smmu.interrupts, line).pulse()
    assert read(board, 0x0800_0200 + number // 32 * 4) == 1 << number % 32


def test_dma_of_the_test_device_goes_through_the_smmu_as_stream_8() -> None:
    board, _, _ = make()
    assert board.smmu is not None
    device = board.pcie.functions[0x08]
    assert isinstance(device, IommuTestdev)
    assert device.dma.translator is board.smmu
    assert device.dma.stream_id == 8


def test_board_without_smmu_has_none_in_its_map() -> None:
    board, reporter, _ = make(iommu=None)
    assert board.smmu is None
    assert board.pcie.functions[0x08].dma.translator is None
    assert board.memory.read(0x0905_0000, 4) is None
    assert reporter.sites == [Site(0x0905_0000, None, "read", "nothing")]


@pytest.mark.parametrize(
    "pa", [0x0, 0x0803_0000, 0x0903_0000, 0x0A00_4000, 0x3EFF_0000, 0x6000_0000]
)
def test_what_qemu_has_and_we_do_not_is_an_abort_and_told(pa: int) -> None:
    board, reporter, _ = make()
    assert board.memory.read(pa, 4) is None
    assert board.memory.write(pa, bytes(4)) is False
    assert [(site.pa, site.kind) for site in reporter.sites] == [(pa, "read"), (pa, "write")]


def test_reports_of_devices_carry_physical_addresses_and_names() -> None:
    board, reporter, _ = make()
    board.memory.write(0x40_1000_8010, (0x1000_0000).to_bytes(4, "little"))
    board.memory.write(0x40_1000_8004, b"\x06\0")
    for pa in (0x0900_0080, 0x0800_0040, 0x0801_0044, 0x1000_0024, 0x1000_1000):
        board.memory.read(pa, 4)
    assert [(site.where, site.pa) for site in reporter.sites] == [
        ("pl011", 0x0900_0080),
        ("gic distributor", 0x0800_0040),
        ("gic cpu interface", 0x0801_0044),
        ("iommu-testdev@00:01.0", 0x1000_0024),
        ("pcie mmio", 0x1000_1000),
    ]


def test_pci_devices_at_chosen_and_free_places() -> None:
    board, _, _ = make(pci=["iommu-testdev@00:03.0", "iommu-testdev", "iommu-testdev@01:00.0"])
    assert list(board.pcie.by_name()) == [
        "host bridge@00:00.0",
        "iommu-testdev@00:01.0",
        "iommu-testdev@00:03.0",
        "iommu-testdev@01:00.0",
    ]
    assert read(board, 0x40_1010_0000) == 0x0005_1B36


def test_reset_brings_power_on_state() -> None:
    board, _, _ = make()
    board.memory.write(0x4000_0000, b"data")
    board.memory.write(0x40_1000_8004, b"\x06\0")
    board.memory.write(0x0800_0000, b"\x01")
    board.uart.feed(b"abc")
    board.memory.write(0x0900_0038, b"\x10\0\0\0")
    assert read(board, 0x0800_0204) == 2
    board.reset()
    assert read(board, 0x4000_0000) == 0
    assert read(board, 0x40_1000_8004) == 0
    assert read(board, 0x0800_0000) == 0
    assert read(board, 0x0800_0204) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ram": 512}, "RAM of 512 bytes"),
        ({"ram": (1 << 20) + 1}, "whole 4 KiB pages are needed, from 1 MiB to 255 GiB"),
        ({"ram": -(1 << 20)}, "RAM of -1048576 bytes"),
        ({"ram": 1 << 40}, "from 1 MiB to 255 GiB"),
        ({"iommu": "smmuv9"}, "no IOMMU 'smmuv9'"),
        ({"pci": ["e1000"]}, "no device 'e1000': there is dma-engine, edu, iommu-testdev"),
        ({"pci": ["iommu-testdev@here"]}, "'here' is no PCI address"),
        ({"pci": ["iommu-testdev@00:00.0"]}, "is taken by host bridge"),
    ],
)
def test_board_that_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make(**options)
