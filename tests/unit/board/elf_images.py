# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF images packed by hand from the gABI's tables, as damaged as a test wants them."""

from __future__ import annotations

import struct
from typing import NamedTuple

TEXT = 0x4010_0000
CODE = bytes.fromhex("1f2003d5") * 4


class Segment(NamedTuple):
    """A program header and its bytes."""

    paddr: int = TEXT
    data: bytes = CODE
    memsz: int | None = None
    filesz: int | None = None
    vaddr: int | None = None
    type: int = 1
    offset: int | None = None


class Header(NamedTuple):
    """What an ELF header says; None is worked out."""

    wide: int = 2
    order: int = 1
    type: int = 2
    machine: int = 183
    entry: int = TEXT
    phoff: int | None = None
    phentsize: int = 56
    phnum: int | None = None


_USUAL = Header()


def elf(*segments: Segment, header: Header = _USUAL) -> bytes:
    segments = segments or (Segment(),)
    body = 64 + 56 * len(segments)
    headers, content = b"", b""
    for segment in segments:
        size = len(segment.data)
        headers += struct.pack(
            "<IIQQQQQQ",
            segment.type,
            7,
            body + len(content) if segment.offset is None else segment.offset,
            segment.paddr if segment.vaddr is None else segment.vaddr,
            segment.paddr,
            size if segment.filesz is None else segment.filesz,
            size if segment.memsz is None else segment.memsz,
            0x1000,
        )
        content += segment.data
    start = struct.pack(
        "<4sBBBBQHHIQQQIHHHHHH",
        b"\x7fELF",
        header.wide,
        header.order,
        1,
        0,
        0,
        header.type,
        header.machine,
        1,
        header.entry,
        64 if header.phoff is None else header.phoff,
        0,
        0,
        64,
        header.phentsize,
        len(segments) if header.phnum is None else header.phnum,
        0,
        0,
        0,
    )
    assert len(start) == 64
    return start + headers + content
