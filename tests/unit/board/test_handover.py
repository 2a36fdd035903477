# SPDX-License-Identifier: GPL-2.0-or-later
"""What images find in RAM and X0, as QEMU leaves it."""

from __future__ import annotations

from pathlib import Path

import fdt
import pytest

from smmu_emu.errors import ImageError
from smmu_emu.machine import Machine

RAM = 0x4000_0000
MAGIC = b"\xd0\x0d\xfe\xed"
NOP, HLT = 0xD503_201F, 0xD45E_0000
POWER_OFF = (0x5280_0100, 0x72B0_8000, 0xD400_0002)
IMAGES = Path(__file__).resolve().parents[3] / "firmware" / "images"


def code(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def kernel(*words: int, size: int = 0x10_0000) -> bytes:
    """An arm64 image: a branch over its header, then ``words``; 2 MiB above the start of RAM."""
    header = bytearray(code(0x1400_0010, NOP) + bytes(56))
    header[16:24] = size.to_bytes(8, "little")
    header[56:60] = b"ARM\x64"
    return bytes(header) + code(*words, *POWER_OFF)


MOV_X20_X0 = 0xAA00_03F4


def test_kernel_gets_the_tree_in_x0_and_the_initrd_before_it() -> None:
    with Machine.virt(ram=512 << 20) as machine:
        machine.load(kernel(MOV_X20_X0), initrd=b"initrd!", append="quiet")
        assert machine.run().status == 0
        assert machine.core.x(20) == RAM + (130 << 20)
        assert machine.memory.read(RAM + (128 << 20), 7) == b"initrd!"
        assert machine.memory.read(machine.core.x(20), 4) == MAGIC
        tree = fdt.parse_dtb(machine.handover.tree)
    assert list(tree.get_property("linux,initrd-start", "/chosen").data) == [0, 0x4800_0000]
    assert list(tree.get_property("linux,initrd-end", "/chosen").data) == [0, 0x4800_0007]
    assert tree.get_property("bootargs", "/chosen").value == "quiet"


def test_little_ram_brings_them_nearer() -> None:
    with Machine.virt(ram=64 << 20) as machine:
        machine.load(kernel(MOV_X20_X0), initrd=bytes(5 << 20))
        assert [piece.address - RAM for piece in machine.handover.pieces] == [32 << 20, 38 << 20]


def test_large_kernel_keeps_them_behind_it() -> None:
    with Machine.virt(ram=64 << 20) as machine:
        machine.load(kernel(size=40 << 20), initrd=b"x")
        assert [piece.address - RAM for piece in machine.handover.pieces] == [42 << 20, 44 << 20]


def test_initrd_that_does_not_fit_is_one_line() -> None:
    with Machine.virt(ram=64 << 20) as machine:
        with pytest.raises(ImageError, match="is outside RAM"):
            machine.load(kernel(), initrd=bytes(40 << 20))
        assert machine.memory.read(RAM, 1 << 20) == bytes(1 << 20)


def test_initrd_is_for_kernels() -> None:
    with Machine.virt() as machine, pytest.raises(ImageError, match="is no Linux kernel"):
        machine.load(IMAGES / "hello.elf", initrd=b"x")


def test_other_images_find_the_tree_at_the_start_of_ram_and_0_in_x0() -> None:
    with Machine.virt() as machine:
        machine.load(code(MOV_X20_X0, *POWER_OFF), load_address=RAM + 0x10_0000)
        machine.run()
        assert machine.core.x(20) == 0
        assert machine.memory.read(RAM, 4) == MAGIC
        assert machine.handover.tree == machine.device_tree()


def test_image_at_the_start_of_ram_finds_itself_there() -> None:
    with Machine.virt() as machine:
        machine.load(code(*POWER_OFF), load_address=RAM)
        assert machine.handover.tree == b""
        assert machine.run().status == 0


def test_blob_at_the_start_of_ram_drives_the_tree_out() -> None:
    with Machine.virt() as machine:
        machine.load(code(*POWER_OFF), load_address=RAM + 0x10_0000)
        machine.load_blob(RAM + 4, b"mine")
        assert machine.memory.read(RAM, 12) == bytes(4) + b"mine" + bytes(4)
        machine.load(code(*POWER_OFF), load_address=RAM + 0x10_0000)
        assert machine.handover.tree == b""


def test_kernels_tree_gives_way_to_nobody() -> None:
    with Machine.virt(ram=64 << 20) as machine:
        machine.load(kernel())
        with pytest.raises(ImageError, match="overlaps device tree"):
            machine.load_blob(RAM + (32 << 20), b"mine")


def test_reset_brings_tree_and_initrd_back() -> None:
    with Machine.virt(ram=64 << 20) as machine:
        machine.load(kernel(), initrd=b"initrd!")
        machine.memory.write(RAM + (32 << 20), b"damage!")
        machine.memory.write(RAM + (34 << 20), bytes(64))
        machine.reset()
        assert machine.memory.read(RAM + (32 << 20), 7) == b"initrd!"
        assert machine.memory.read(RAM + (34 << 20), 4) == MAGIC


def test_next_image_does_not_see_what_the_last_one_was_given() -> None:
    with Machine.virt(ram=64 << 20) as machine:
        machine.load(kernel(), initrd=b"initrd!")
        machine.load(kernel())
        assert machine.memory.read(RAM + (32 << 20), 4) == MAGIC
        assert machine.memory.read(RAM + (34 << 20), 4) == bytes(4)


def test_users_tree_is_handed_over() -> None:
    with Machine.virt() as machine:
        own = fdt.parse_dtb(machine.device_tree())
        own.set_property("model", "mine")
        machine.load(kernel(), dtb=own.to_dtb(version=17))
        assert fdt.parse_dtb(machine.handover.tree).get_property("model").value == "mine"
