# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps: pieces, files, ELF cores, and every way in which they can be unusable."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pgtable import Arena
from pgtable.inspect import DumpError, Image, load


def elf(
    segments: list[tuple[int, bytes]],
    *,
    wide: bool = True,
    machine: int = 183,
    extended: bool = False,
) -> bytes:
    """Write an ELF core by hand: header, program headers, then the segments' bytes."""
    head, each = (64, 56) if wide else (52, 32)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    count = 0xFFFF if extended else len(segments)
    sections = head + each * len(segments)
    if wide:
        header = ident + struct.pack(
            "<HHIQQQIHHHHHH", 4, machine, 1, 0, head, sections, 0, head, each, count, 64, 1, 0
        )
    else:
        header = ident + struct.pack(
            "<HHIIIIIHHHHHH", 4, machine, 1, 0, head, sections, 0, head, each, count, 40, 1, 0
        )
    at = sections + (64 if wide else 40)
    table, body = b"", b""
    for physical, data in segments:
        size = len(data)
        if wide:
            table += struct.pack("<IIQQQQQQ", 1, 6, at, 0xFFFF_0000, physical, size, size, 0)
        else:
            table += struct.pack("<IIIIIIII", 1, at, 0xC000_0000, physical, size, size, 6, 0)
        at += size
        body += data
    info = len(segments) if extended else 0
    section = bytes(44) + struct.pack("<I", info) + bytes(16)
    if not wide:
        section = bytes(28) + struct.pack("<I", info) + bytes(8)
    return header + table + section + body


def test_words_are_found_by_address_in_any_piece() -> None:
    image = Image([(0x8000, b"\x01" + bytes(15)), (0x1000, bytes(8) + b"\x02" + bytes(7))])
    assert image.word(0x1008, 8) == 2
    assert image.word(0x8000, 4) == 1
    assert image.word(0x1010, 8) is None
    assert image.word(0x0FFC, 8) is None
    assert 0x100F in image
    assert 0x1010 not in image
    assert image.size == 32
    assert str(image) == "0x1000-0x100f, 0x8000-0x800f"


def test_a_table_may_lie_across_adjacent_pieces() -> None:
    words = np.arange(1024, dtype="<u8")
    data = words.tobytes()
    image = Image([(0x4000, data[:0x1804]), (0x5804, data[0x1804:])])
    assert image.holds(0x5000, 0x1000)
    rows = image.rows(np.array([0x4000, 0x5000], dtype=np.uint64), 512, 8)
    assert rows.tolist() == words.reshape(2, 512).tolist()
    held = image.held(np.array([0x3FF8, 0x5000, 0x5008, 1 << 63], dtype=np.uint64), 0x1000)
    assert held.tolist() == [False, True, False, False]


@pytest.mark.parametrize("shift", [0, 1, 3, 4, 7])
def test_a_piece_may_begin_anywhere(shift: int) -> None:
    words = np.arange(64, dtype="<u8")
    image = Image([(0x1000 - shift, bytes(shift) + words.tobytes())])
    assert image.rows(np.array([0x1000], dtype=np.uint64), 64, 8)[0].tolist() == words.tolist()
    assert image.word(0x1008, 8) == 1
    assert image.rows(np.array([0x1008], dtype=np.uint64), 2, 4)[0].tolist() == [1, 0]


def test_a_live_memory_shows_changes() -> None:
    mem = Arena(0x4000_0000, 0x1000)
    image = Image.of(mem)
    mem.words[1] = 77
    assert image.word(0x4000_0008, 8) == 77


def test_the_top_of_the_address_space_can_be_held() -> None:
    image = Image([((1 << 64) - 0x1000, bytes(0x1000))])
    assert image.held(np.array([(1 << 64) - 0x1000], dtype=np.uint64), 0x1000).tolist() == [True]
    assert image.held(np.array([(1 << 64) - 0xFF8], dtype=np.uint64), 0x1000).tolist() == [False]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([], "no memory given"),
        ([(0, b"")], "empty"),
        ([(0, bytes(16)), (8, bytes(8))], "overlap"),
        ([(-8, bytes(16))], "leaves the 64-bit"),
        ([((1 << 64) - 8, bytes(16))], "leaves the 64-bit"),
    ],
)
def test_impossible_pieces_are_refused(pieces: list[tuple[int, bytes]], words: str) -> None:
    with pytest.raises(DumpError, match=words):
        Image(pieces)


# --- files --------------------------------------------------------------------------------


def test_raw_files_carry_their_address(tmp_path: Path) -> None:
    one, other = tmp_path / "a=b.bin", tmp_path / "c.bin"
    one.write_bytes(b"\x05" + bytes(7))
    other.write_bytes(b"\x06" + bytes(7))
    image = load(f"0x4000_0000={one}", (0x1000, other))
    assert image.word(0x4000_0000, 8) == 5
    assert image.word(0x1000, 8) == 6
    assert load(f"1G={one}").word(1 << 30, 8) == 5


@pytest.mark.parametrize("wide", [True, False])
def test_an_elf_core_tells_its_addresses(tmp_path: Path, wide: bool) -> None:
    core = tmp_path / "core.elf"
    core.write_bytes(
        elf([(0x4000_0000, b"\x07" + bytes(15)), (0x8000_0000, b"\x08" * 8)], wide=wide)
    )
    image = load(core)
    assert image.spans == [(0x4000_0000, 0x4000_0010), (0x8000_0000, 0x8000_0008)]
    assert image.word(0x4000_0000, 8) == 7
    assert image.word(0x8000_0000, 4) == 0x0808_0808


def test_an_elf_core_with_more_headers_than_fit_the_field(tmp_path: Path) -> None:
    core = tmp_path / "core.elf"
    core.write_bytes(elf([(0x1000 * i, bytes([i]) * 8) for i in range(1, 5)], extended=True))
    assert load(core).word(0x3000, 4) == 0x0303_0303


def test_an_elf_file_with_an_address_is_raw_memory(tmp_path: Path) -> None:
    core = tmp_path / "core.elf"
    core.write_bytes(elf([(0x4000_0000, bytes(16))]))
    assert load(f"0x100={core}").word(0x100, 4) == int.from_bytes(b"\x7fELF", "little")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"just bytes, no address", "its address is needed"),
        (b"\x7fELF", "cut off in its header"),
        (b"\x7fELF" + bytes(60), "not a little-endian ELF"),
        (elf([(0, bytes(64))])[:-1], "truncated: segment 0 ends"),
        (elf([(0, bytes(64))])[:80], "truncated in its program headers"),
        (elf([]), "no loadable segment"),
        (elf([(0, bytes(8)), (0, bytes(8))]), "without physical addresses"),
        (elf([(0x1000, bytes(16)), (0x1008, bytes(16))]), "overlap"),
        (elf([(0x1000, bytes(16))], extended=True)[:100], "truncated"),
    ],
)
def test_an_unusable_file_is_one_clear_error(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "dump"
    path.write_bytes(data)
    with pytest.raises(DumpError, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for source, words in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "directory"),
        ("0x1000=", "no file after the address"),
    ):
        with pytest.raises(DumpError, match=words):
            load(source)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(DumpError, match="empty"):
        load((0, empty))


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_an_elf_cut_anywhere_never_raises_anything_else(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(elf([(0x1000, bytes(64)), (0x2000, bytes(64))])[:cut])
    with pytest.raises(DumpError):
        load(path)
