# SPDX-License-Identifier: GPL-2.0-or-later
"""Images: what is understood, and one clear line for everything that is wrong with them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from elf_images import CODE, TEXT, Header, Segment, elf
from hypothesis import given, settings
from hypothesis import strategies as st

from smmu_emu.board.loader import Image, read_image
from smmu_emu.errors import ImageError

RAM = 0x4000_0000


def read(
    source: bytes | Path | str, load_address: int | None = None, entry: int | None = None
) -> Image:
    return read_image(source, RAM, load_address=load_address, entry=entry)


def error_of(
    source: bytes | Path | str, load_address: int | None = None, entry: int | None = None
) -> str:
    """The one line that refuses this image."""
    with pytest.raises(ImageError) as caught:
        read(source, load_address, entry)
    line = str(caught.value)
    assert "\n" not in line
    return line


def is_image_or_one_line(data: bytes) -> None:
    line = ""
    try:
        read(data)
    except ImageError as error:
        line = str(error)
    assert "\n" not in line


# -- what is understood


def test_elf_segments_and_entry() -> None:
    data = Segment(0x4020_0000, b"data", memsz=0x2000)
    image = read(elf(Segment(), data, header=Header(entry=TEXT + 4)))
    assert (image.kind, image.entry) == ("elf", TEXT + 4)
    assert [(piece.address, piece.data, piece.size) for piece in image.pieces] == [
        (TEXT, CODE, 16),
        (0x4020_0000, b"data", 0x2000),
    ]


def test_segments_that_are_not_loaded_and_empty_ones_are_left_out() -> None:
    note = Segment(0, b"note", type=4)
    empty = Segment(0x1234, b"")
    assert len(read(elf(note, Segment(), empty)).pieces) == 1


def test_entry_of_a_segment_linked_elsewhere_is_physical() -> None:
    high = 0xFFFF_8000_0000_0000
    image = read(elf(Segment(vaddr=high), header=Header(entry=high + 8)))
    assert image.entry == TEXT + 8
    assert image.pieces[0].address == TEXT


def test_entry_can_be_chosen() -> None:
    assert read(elf(), entry=TEXT + 8).entry == TEXT + 8


def test_raw_bytes_start_at_their_first_byte() -> None:
    image = read(CODE, load_address=0x4020_0000)
    assert (image.kind, image.entry) == ("raw", 0x4020_0000)
    assert image.pieces[0].data == CODE
    assert read(CODE, load_address=0x4020_0000, entry=0x4020_0004).entry == 0x4020_0004


@pytest.mark.parametrize(
    ("text_offset", "image_size", "address", "size"),
    [
        (0, 0x10_0000, 0x4020_0000, 0x10_0000),
        (0x8_0000, 0x10_0000, 0x4008_0000, 0x10_0000),
        (0, 0, 0x4008_0000, 64),
        (0, 16, 0x4020_0000, 64),
    ],
)
def test_linux_kernel_goes_where_its_header_says(
    text_offset: int, image_size: int, address: int, size: int
) -> None:
    kernel = struct.pack("<IIQQQQQQ4sI", 0, 0, text_offset, image_size, 0, 0, 0, 0, b"ARM\x64", 0)
    image = read(kernel)
    assert (image.kind, image.entry) == ("linux", address)
    assert (image.pieces[0].address, image.pieces[0].size) == (address, size)


def test_path_and_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "image.elf"
    path.write_bytes(elf())
    for source in (path, str(path)):
        image = read(source)
        assert image.name == str(path)
        assert image.pieces[0].data == CODE


def test_real_image_has_its_segments_and_entry() -> None:
    path = Path(__file__).resolve().parents[3] / "firmware" / "images" / "hello.elf"
    image = read(path)
    assert image.entry == TEXT
    assert image.pieces[0].address == TEXT
    assert len(image.pieces[0].data) > 0x100


# -- files that are none


def test_missing_file(tmp_path: Path) -> None:
    assert error_of(tmp_path / "no.elf") == f"{tmp_path}/no.elf: no such file"


def test_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert "cannot be read: Not a directory" in error_of(tmp_path / "file" / "no.elf")


def test_directory(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"{tmp_path} is a directory, not a file"


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert error_of(tmp_path / "empty") == f"{tmp_path}/empty is empty"
    assert error_of(b"") == "image is empty"


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="POSIX devices")
def test_endless_device() -> None:
    assert error_of("/dev/zero") == "/dev/zero is not a regular file"


def test_name_that_cannot_be_a_file() -> None:
    assert "cannot be read: embedded null byte" in error_of("a\0b")
    assert error_of("two\nlines") == r"'two\nlines': no such file"


def test_absurdly_large_file(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert "has 1073741825 bytes; the limit is 1073741824" in error_of(tmp_path / "large")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "cannot be read: Permission denied" in error_of(path)


# -- what is no image of ours


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00" * 100, "neither an ELF nor a Linux kernel; a raw binary needs a load address"),
        (b"#!/bin/sh\n", "neither an ELF"),
        (b"\x04\x22\x4d\x18" + bytes(100), "is packed (lz4): unpack it first"),
        (b"\x7f", "is truncated: 1 bytes, an ELF header has 64"),
        (b"\x7fELF", "is truncated: 4 bytes, an ELF header has 64"),
    ],
)
def test_foreign_file(data: bytes, words: str) -> None:
    assert words in error_of(data)


def test_kernel_cut_inside_its_header() -> None:
    kernel = bytes(56) + b"ARM\x64"
    assert error_of(kernel) == "image is truncated: a kernel's header has 64 bytes"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (Header(machine=62), "64-bit little-endian ELF for X86_64"),
        (Header(wide=1, machine=40), "32-bit little-endian ELF for ARM"),
        (Header(order=2), "64-bit big-endian ELF for"),
        (Header(machine=243), "64-bit little-endian ELF for RISCV"),
        (Header(machine=0xBEEF), "64-bit little-endian ELF for number 48879"),
    ],
)
def test_foreign_architecture(header: Header, words: str) -> None:
    line = error_of(elf(header=header))
    assert words in line
    assert "this machine runs 64-bit little-endian AARCH64" in line


@pytest.mark.parametrize(
    ("kind", "name"), [(1, "REL"), (3, "DYN"), (4, "CORE"), (0, "NONE"), (77, "number 77")]
)
def test_elf_that_is_no_static_executable(kind: int, name: str) -> None:
    line = error_of(elf(header=Header(type=kind)))
    assert f"an ELF of type {name}, not a static executable" in line


def test_dynamically_linked_executable() -> None:
    line = error_of(elf(Segment(0, b"/lib/ld.so\0", type=3), Segment()))
    assert line == "image is dynamically linked; link it with -static -no-pie"


# -- damage


def test_class_that_does_not_exist() -> None:
    assert "image is a damaged ELF: " in error_of(elf(header=Header(wide=7)))


@pytest.mark.parametrize("length", [5, 16, 40, 63])
def test_cut_in_the_header(length: int) -> None:
    assert f"is truncated: {length} bytes" in error_of(elf()[:length])


@pytest.mark.parametrize("length", [64, 100, 119])
def test_cut_in_the_program_headers(length: int) -> None:
    assert error_of(elf()[:length]) == "image is truncated: its program headers lie past its end"


def test_cut_in_a_segment() -> None:
    line = error_of(elf()[:-1])
    assert line == "image segment 0 is truncated: bytes 0x78-0x87 of a file of 0x87"


@pytest.mark.parametrize(
    ("segment", "header", "words"),
    [
        (Segment(offset=1 << 63), Header(), "is truncated"),
        (Segment(filesz=1 << 63, memsz=1 << 63), Header(), "is truncated"),
        (Segment(filesz=(1 << 64) - 1, memsz=(1 << 64) - 1), Header(), "is truncated"),
        (Segment(memsz=4), Header(), "0x10 bytes in the file, 0x4 in memory"),
        (Segment(), Header(phoff=1 << 63), "program headers lie past its end"),
        (Segment(), Header(phnum=0xFFFF), "program headers lie past its end"),
        (Segment(), Header(phentsize=0), "program headers of 0 bytes, not 56"),
        (Segment(), Header(phentsize=0xFFFF), "program headers of 65535 bytes, not 56"),
        (Segment(), Header(phnum=0), "has no segment to load"),
        (Segment(type=4), Header(), "has no segment to load"),
        (Segment(data=b""), Header(), "has no segment to load"),
    ],
)
def test_absurd_numbers(segment: Segment, header: Header, words: str) -> None:
    assert words in error_of(elf(segment, header=header))


@pytest.mark.parametrize("entry", [0, TEXT - 4, TEXT + 16, (1 << 64) - 4])
def test_entry_outside_of_what_is_loaded(entry: int) -> None:
    line = error_of(elf(header=Header(entry=entry)))
    assert line == f"image: entry {entry:#x} is outside of what is loaded, 0x40100000-0x4010000f"


def test_entry_between_instructions() -> None:
    assert error_of(elf(header=Header(entry=TEXT + 2))) == (
        "image: entry 0x40100002 is not a multiple of 4"
    )


def test_entry_that_was_chosen_wrong() -> None:
    assert "entry 0x0 is outside of what is loaded" in error_of(elf(), entry=0)
    assert "entry 0x40200010 is outside" in error_of(CODE, 0x4020_0000, 0x4020_0010)


def test_load_address_for_an_elf() -> None:
    assert error_of(elf(), load_address=RAM) == (
        "image is an ELF, which says itself where it is loaded"
    )


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_elf_is_an_image_or_one_line(data: st.DataObject) -> None:
    image = bytearray(elf(Segment(), Segment(0x4020_0000, b"data", memsz=64)))
    for _ in range(data.draw(st.integers(1, 6))):
        image[data.draw(st.integers(0, 64 + 2 * 56 - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(image)))
    for damaged in (bytes(image), bytes(image[:cut])):
        is_image_or_one_line(damaged)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_an_image_or_one_line(data: bytes) -> None:
    for prefix in (b"", b"\x7fELF", b"\x7fELF\x02\x01\x01"):
        is_image_or_one_line(prefix + data)
