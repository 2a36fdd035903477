# SPDX-License-Identifier: GPL-2.0-or-later
"""From an address in an image to its symbol and source line, where the ELF has them.

ELF symbol tables and DWARF line programs are read by pyelftools, when the first address is asked for.
A damaged table yields no names; it never stops a report.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where an address is: ``symbol`` and the distance into it, ``source`` as ``file.c:12``."""

    symbol: str | None
    offset: int
    source: str | None

    def __str__(self) -> str:
        words = []
        if self.symbol is not None:
            words.append(f"{self.symbol}+{self.offset:#x}" if self.offset else self.symbol)
        if self.source is not None:
            words.append(f"({self.source})")
        return " ".join(words)


NOWHERE = Place(None, 0, None)


class SymbolTable:
    """Names for addresses of one image; an image that is no ELF has none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def find(self, address: int) -> Place:
        """The symbol and source line of an address; parts that are not known are None."""
        symbol, offset = self._symbol(address)
        return Place(symbol, offset, self._source(address))

    def _symbol(self, address: int) -> tuple[str | None, int]:
        starts, rows = self._symbols
        index = bisect_right(starts, address) - 1
        if index < 0:
            return None, 0
        start, size, name = rows[index]
        if size and address >= start + size:
            return None, 0
        return name, address - start

    def _source(self, address: int) -> str | None:
        starts, rows = self._lines
        index = bisect_right(starts, address) - 1
        return rows[index] if index >= 0 else None

    @cached_property
    def _symbols(self) -> tuple[list[int], list[tuple[int, int, str]]]:
        rows = sorted(self._read(_read_symbols))
        return [row[0] for row in rows], rows

    @cached_property
    def _lines(self) -> tuple[list[int], list[str | None]]:
        rows = dict(sorted(self._read(_read_lines), key=lambda row: row[0]))
        return list(rows), list(rows.values())

    def _read(self, reader: Any) -> list[Any]:
        """What ``reader`` finds in the ELF; nothing if there is none or it is damaged."""
        if self.path is None:
            return []
        from elftools.common.exceptions import DWARFError, ELFError
        from elftools.elf.elffile import ELFFile

        try:
            with self.path.open("rb") as file:
                return list(reader(ELFFile(file)))
        except (ELFError, DWARFError, OSError, KeyError, ValueError, IndexError, AttributeError):
            return []


def _read_symbols(elf: Any) -> list[tuple[int, int, str]]:
    section = elf.get_section_by_name(".symtab")
    if section is None:
        return []
    kinds = ("STT_FUNC", "STT_NOTYPE")
    return [
        (symbol["st_value"], symbol["st_size"], symbol.name)
        for symbol in section.iter_symbols()
        if symbol["st_info"]["type"] in kinds
        and symbol["st_shndx"] != "SHN_UNDEF"
        and symbol.name
        and not symbol.name.startswith("$")
    ]


def _read_lines(elf: Any) -> list[tuple[int, str | None]]:
    """(first address, source line) of every row; None where a sequence ends."""
    if not elf.has_dwarf_info():
        return []
    rows: list[tuple[int, str | None]] = []
    dwarf = elf.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        first = 0 if program["version"] >= 5 else 1
        files = [_decode(entry.name) for entry in program["file_entry"]]
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            index = state.file - first
            known = 0 <= index < len(files) and not state.end_sequence
            rows.append((state.address, f"{files[index]}:{state.line}" if known else None))
    return rows


def _decode(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
