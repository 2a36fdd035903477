# SPDX-License-Identifier: GPL-2.0-or-later
"""Putting images and blobs into RAM: all or nothing, and again."""

from __future__ import annotations

from pathlib import Path

import pytest
from elf_images import CODE, TEXT, Header, Segment, elf

from smmu_emu.board.placement import Placement
from smmu_emu.errors import ImageError
from smmu_emu.memory import PhysicalMemory

RAM, SIZE = 0x4000_0000, 16 << 20


@pytest.fixture
def memory() -> PhysicalMemory:
    memory = PhysicalMemory()
    memory.add_ram(RAM, SIZE)
    return memory


@pytest.fixture
def placement(memory: PhysicalMemory) -> Placement:
    return Placement(memory)


def content(memory: PhysicalMemory) -> bytes:
    return bytes(memory.rams[0].view)


def test_segments_are_written_and_the_rest_is_zero(
    memory: PhysicalMemory, placement: Placement
) -> None:
    memory.write(TEXT, b"\xff" * 0x3000)
    placement.load(elf(Segment(memsz=0x1800), Segment(TEXT + 0x2000, b"data")))
    assert memory.read(TEXT, 0x1800) == CODE + bytes(0x1800 - 16)
    assert memory.read(TEXT + 0x1800, 4) == b"\xff" * 4
    assert memory.read(TEXT + 0x2000, 5) == b"data\xff"


def test_image_replaces_the_one_before(memory: PhysicalMemory, placement: Placement) -> None:
    placement.load(elf(Segment(data=CODE * 4)))
    placement.load(CODE, load_address=RAM)
    assert memory.read(TEXT, 64) == bytes(64)
    assert memory.read(RAM, 16) == CODE


def test_restore_writes_everything_again(memory: PhysicalMemory, placement: Placement) -> None:
    placement.load(elf())
    placement.load_blob(0x4080_0000, b"blob")
    before = content(memory)
    memory.write(TEXT, b"damage")
    memory.write(0x4080_0000, b"damage")
    memory.clear()
    placement.restore()
    assert content(memory) == before


@pytest.mark.parametrize(
    "address", [0, RAM - 0x1000, RAM - 8, RAM + SIZE - 8, RAM + SIZE, (1 << 64) - 8, (1 << 64) - 16]
)
def test_segment_outside_ram(memory: PhysicalMemory, placement: Placement, address: int) -> None:
    image = elf(Segment(), Segment(address, CODE))
    with pytest.raises(ImageError) as caught:
        placement.load(image)
    assert str(caught.value) == (
        f"image segment 1 ({address:#x}-{address + 15:#x}) is outside RAM, "
        "which is 0x40000000-0x40ffffff"
    )
    assert content(memory) == bytes(SIZE)


@pytest.mark.parametrize("size", [SIZE, 1 << 40, (1 << 64) - 1])
def test_segment_larger_than_ram(memory: PhysicalMemory, placement: Placement, size: int) -> None:
    with pytest.raises(ImageError, match=r"image segment 0 .* is outside RAM"):
        placement.load(elf(Segment(memsz=size)))
    assert content(memory) == bytes(SIZE)


@pytest.mark.parametrize("address", [TEXT - 15, TEXT, TEXT + 15])
def test_segments_over_each_other(
    memory: PhysicalMemory, placement: Placement, address: int
) -> None:
    with pytest.raises(ImageError) as caught:
        placement.load(elf(Segment(), Segment(address, CODE)))
    assert str(caught.value) == (
        f"image segment 1 ({address:#x}-{address + 15:#x}) overlaps "
        "image segment 0 (0x40100000-0x4010000f)"
    )
    assert content(memory) == bytes(SIZE)


def test_neighbours_are_fine(placement: Placement) -> None:
    placement.load(elf(Segment(), Segment(TEXT + 16, CODE), Segment(TEXT - 16, CODE)))
    placement.load_blob(TEXT + 32, b"blob")


def test_blob_over_the_image_and_the_image_over_a_blob(
    memory: PhysicalMemory, placement: Placement
) -> None:
    placement.load_blob(TEXT + 8, b"blob")
    with pytest.raises(ImageError, match=r"image segment 0 .* overlaps blob \(0x40100008"):
        placement.load(elf())
    placement.load(elf(Segment(TEXT + 0x1000), header=Header(entry=TEXT + 0x1000)))
    with pytest.raises(
        ImageError, match=r"tables \(0x40100ffe-0x40101001\) overlaps image segment"
    ):
        placement.load_blob(TEXT + 0xFFE, b"1234", "tables")
    with pytest.raises(ImageError, match=r"blob .* overlaps blob"):
        placement.load_blob(TEXT + 11, b"1234")
    assert memory.read(TEXT + 8, 5) == b"blob\0"


@pytest.mark.parametrize("address", [-8, 0, RAM - 1, RAM + SIZE - 3, 1 << 70])
def test_blob_outside_ram(placement: Placement, address: int) -> None:
    with pytest.raises(ImageError, match=r"blob .* is outside RAM"):
        placement.load_blob(address, b"1234")


def test_blob_from_a_file(memory: PhysicalMemory, placement: Placement, tmp_path: Path) -> None:
    path = tmp_path / "tables"
    path.write_bytes(b"words")
    placement.load_blob(RAM, path)
    assert memory.read(RAM, 5) == b"words"
    with pytest.raises(ImageError, match="no such file"):
        placement.load_blob(RAM + 8, tmp_path / "none")
    with pytest.raises(ImageError, match="blob is empty"):
        placement.load_blob(RAM + 8, b"")


def test_failed_load_keeps_the_image_before(memory: PhysicalMemory, placement: Placement) -> None:
    placement.load(elf())
    with pytest.raises(ImageError):
        placement.load(elf(Segment(0)))
    assert memory.read(TEXT, 16) == CODE
    assert placement.image is not None
    assert placement.image.entry == TEXT
