# SPDX-License-Identifier: GPL-2.0-or-later
"""Packed images: every packing that kernels come in, and what damage does."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from struct import pack

import pytest

from smmu_emu.board import unpack as unpacking
from smmu_emu.board.loader import read_image
from smmu_emu.board.unpack import unpack
from smmu_emu.errors import ImageError

RAM = 0x4000_0000
KERNEL = bytes(16) + pack("<Q", 0x1_0000) + bytes(32) + b"ARM\x64" + bytes(range(256)) * 64


def zstd(data: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").compress(data))


def zboot(kind: bytes, payload: bytes, *, size: int | None = None) -> bytes:
    """A kernel that unpacks itself as an EFI program: header, payload, and the size behind it."""
    length = len(payload) if size is None else size
    header = b"MZ\0\0zimg" + pack("<IIQ", 128, length, 0) + kind.ljust(32, b"\0") + bytes(8)
    return header.ljust(128, b"\0") + payload + pack("<I", len(KERNEL))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("kind", PACKERS)
def test_packed_kernel_is_loaded_as_if_it_were_not(kind: str) -> None:
    image = read_image(PACKERS[kind](KERNEL) + b"\x10\0\0\0", RAM)
    assert image == read_image(KERNEL, RAM)
    assert image.kind == "linux"
    assert image.pieces[0].data == KERNEL


@pytest.mark.parametrize(
    ("kind", "packer"), [*PACKERS.items(), ("lzma", lambda d: lzma.compress(d, lzma.FORMAT_ALONE))]
)
def test_kernel_inside_an_efi_program_is_found(kind: str, packer: Callable[[bytes], bytes]) -> None:
    assert unpack("k", zboot(kind.encode(), packer(KERNEL))) == KERNEL


def test_packed_elf_is_an_image_too() -> None:
    with pytest.raises(ImageError, match=r"image is truncated: 5 bytes, an ELF header has 64"):
        read_image(gzip.compress(b"\x7fELF!"), RAM)


def test_raw_bytes_at_an_address_stay_packed() -> None:
    data = gzip.compress(KERNEL) + bytes(-len(gzip.compress(KERNEL)) % 4)
    assert read_image(data, RAM, load_address=RAM).pieces[0].data == data


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as error:
        unpack("k", data)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", PACKERS)
def test_damage_is_one_line(kind: str) -> None:
    packed = PACKERS[kind](KERNEL)
    assert refusal(packed[:-20]).startswith(f"k is packed ({kind}) and damaged: ")
    assert refusal(packed[:8] + bytes(200)).startswith(f"k is packed ({kind}) and damaged: ")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"MZ\0\0zimg", "k is truncated: an EFI zboot header has 64 bytes"),
        (zboot(b"gzip", b""), "an EFI zboot payload of 0 bytes at 128"),
        (zboot(b"gzip", b"", size=5), "payload of 5 bytes at 128 in a file of 132"),
        (zboot(b"lzo", b"x"), "k is packed (EFI zboot, lzo): unpack it first"),
        (zboot(b"\xff\n", b"x"), "k is packed (EFI zboot, "),
        (b"PK\x03\x04" + bytes(9), "k is packed (zip): unpack it first"),
    ],
)
def test_what_cannot_be_unpacked_is_told(data: bytes, words: str) -> None:
    assert words in refusal(data)


@pytest.mark.parametrize("kind", PACKERS)
def test_file_that_grows_beyond_all_measure_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "LARGEST", 1 << 20)
    bomb = PACKERS[kind](bytes(8 << 20))
    assert refusal(bomb) == f"k is packed ({kind}) and has more than 1048576 bytes inside"


def test_without_its_package_zstd_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zstd(KERNEL)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert refusal(packed).endswith("unpack it first, or pip install zstandard")
