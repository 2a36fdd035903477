# SPDX-License-Identifier: GPL-2.0-or-later
"""32-bit images: which core they need, and how they are entered."""

from __future__ import annotations

from pathlib import Path

import pytest

from smmu_emu.board.loader import AARCH32, read_image
from smmu_emu.errors import ImageError
from smmu_emu.machine import Machine

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ROOT / "firmware" / "images"
HELLO32 = IMAGES / "aarch32" / "hello.elf"
RAM = 0x4000_0000


def patched(offset: int, value: int, size: int = 4) -> bytes:
    data = bytearray(HELLO32.read_bytes())
    data[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(data)


def test_elf_for_arm_is_loaded_for_an_aarch32_core() -> None:
    image = read_image(HELLO32, RAM, architecture=AARCH32)
    assert (image.kind, image.entry) == ("elf", 0x4010_0000)
    assert image.pieces[0].address == 0x4010_0000


def test_entry_with_bit_0_is_t32_code() -> None:
    entry = 0x18
    image = read_image(patched(entry, 0x4010_0001), RAM, architecture=AARCH32)
    assert image.entry == 0x4010_0001
    with pytest.raises(ImageError, match="not a multiple of 4"):
        read_image(patched(entry, 0x4010_0002), RAM, architecture=AARCH32)


def test_raw_t32_code_runs_from_an_odd_entry() -> None:
    with Machine.virt(cpu_model="cortex-a15") as machine:
        code = b"\x07\x20\xfe\xe7"  # movs r0, #7; b .
        machine.load(code, load_address=0x4010_0000, entry=0x4010_0001)
        machine.run(1)
        assert (machine.core.x(0), machine.core.pc) == (7, 0x4010_0002)


@pytest.mark.parametrize(
    ("model", "image", "told"),
    [
        ("cortex-a57", HELLO32, "runs 64-bit little-endian AARCH64, one with a cortex-a15"),
        ("cortex-a15", IMAGES / "hello.elf", "runs 32-bit little-endian ARM, one with a cortex-a5"),
    ],
)
def test_image_for_another_core_is_refused_with_advice(model: str, image: Path, told: str) -> None:
    with Machine.virt(cpu_model=model) as machine, pytest.raises(ImageError, match=told):
        machine.load(image)


def test_arm64_kernel_is_refused_by_an_aarch32_core() -> None:
    kernel = bytearray(128)
    kernel[56:60] = b"ARM\x64"
    with pytest.raises(ImageError, match="this core executes AArch32"):
        read_image(bytes(kernel), RAM, architecture=AARCH32)


@pytest.mark.parametrize("length", [5, 40, 60])
def test_truncated_image_is_one_clear_error(length: int) -> None:
    with pytest.raises(ImageError):
        read_image(HELLO32.read_bytes()[:length], RAM, architecture=AARCH32)


def test_device_tree_tells_of_the_core() -> None:
    with Machine.virt(cpu_model="cortex-a15") as machine:
        tree = machine.device_tree()
        assert b"arm,cortex-a15\0" in tree
        assert b"arm,armv7-timer\0" in tree
        assert b"arm,armv8-timer\0" not in tree
        assert (0x8400_0003).to_bytes(4, "big") in tree
        assert (0xC400_0003).to_bytes(4, "big") not in tree
