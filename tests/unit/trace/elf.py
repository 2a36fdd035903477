# SPDX-License-Identifier: GPL-2.0-or-later
"""A small ELF with a symbol table, put together byte by byte."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

NOTYPE, OBJECT, FUNC = 0, 1, 2
UNDEFINED, TEXT, ABSOLUTE = 0, 1, 0xFFF1
TEXT_AT, TEXT_SIZE = 0x4010_0000, 0x40_0000


class Symbol(NamedTuple):
    """One entry of the symbol table."""

    name: bytes
    value: int
    size: int = 0
    kind: int = FUNC
    section: int = TEXT


def elf(*symbols: Symbol, link: int = 3) -> bytes:
    """Sections: none, .text (only said to be there), .symtab, .strtab, .shstrtab.

    ``link`` is the section that the symbol table takes names from.
    """
    names, table = bytearray(1), bytearray(24)
    for name, value, size, kind, section in symbols:
        table += pack("<IBBHQQ", len(names), 0x10 | kind, 0, section, value, size)
        names += name + b"\0"
    titles = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
    at = 64 + 5 * 64
    sections = bytes(64)
    for title, kind, flags, address, offset, size, linked, entry in (
        (1, 1, 6, TEXT_AT, 0, TEXT_SIZE, 0, 0),
        (7, 2, 0, 0, at, len(table), link, 24),
        (15, 3, 0, 0, at + len(table), len(names), 0, 0),
        (23, 3, 0, 0, at + len(table) + len(names), len(titles), 0, 0),
    ):
        fields = (title, kind, flags, address, offset, size, linked, 0, 1, entry)
        sections += pack("<IIQQQQIIQQ", *fields)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = pack("<16sHHIQQQIHHHHHH", ident, 2, 183, 1, TEXT_AT, 0, 64, 0, 64, 56, 0, 64, 5, 4)
    return header + sections + bytes(table) + bytes(names) + titles
