# SPDX-License-Identifier: GPL-2.0-or-later
"""From an address in an image to its symbol and source line, where the ELF has them.

ELF sections and DWARF line programs are found by pyelftools, when the first address is asked for;
the symbol table is taken apart here, since a kernel has a hundred thousand symbols. Only the line
programs of the units that hold an address are run. A damaged table yields no names; it never stops
a report.

Reference: System V gABI chapter 4 (symbol table), DWARF 4 6.1.2 and 6.2 (address ranges, lines).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from io import BytesIO
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

_SYMBOL = Struct("<IBBHQQ")  # name, info, other, section, value, size
_SYMBOL32 = Struct("<IIIBBH")  # name, value, size, info, other, section
_NOTYPE, _FUNC = 0, 2
_EXECUTABLE = 4
_LONGEST_NAME = 256
_LARGEST_WHOLE = 1 << 20
"""Bytes of line programs that are run as a whole if no table says which of them is wanted."""


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

_Symbols = list[tuple[int, int, str]]
"""Start, end and name."""
_Lines = list[tuple[int, str | None]]
"""First address of each row and its source line; None where a sequence ends."""


class SymbolTable:
    """Names for addresses of one image; an image that is no ELF has none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._found: dict[int, Place] = {}
        self._lines: dict[int | None, _Lines] = {}

    def find(self, address: int) -> Place:
        """The symbol and source line of an address; parts that are not known are None."""
        place = self._found.get(address)
        if place is None:
            known = any(start <= address < end for start, end in self._code)
            place = Place(*self._symbol(address), self._source(address)) if known else NOWHERE
            self._found[address] = place
        return place

    def address(self, name: str) -> int | None:
        """Address of the function with a name; None if there is none."""
        return next((start for start, _, known in self._symbols if known == name), None)

    def _symbol(self, address: int) -> tuple[str | None, int]:
        index = bisect_right(self._symbols, address, key=_start) - 1
        if index < 0:
            return None, 0
        start, end, name = self._symbols[index]
        return (name, address - start) if address < end else (None, 0)

    def _source(self, address: int) -> str | None:
        try:
            rows = self._lines_near(address)
        except Exception:  # whatever a library says about damage: there are no lines
            return None
        index = bisect_right(rows, address, key=_start) - 1
        return rows[index][1] if index >= 0 else None

    @cached_property
    def _elf(self) -> Any:
        """The image for pyelftools; None if it is no ELF, or gone."""
        from elftools.elf.elffile import ELFFile

        try:
            return ELFFile(BytesIO(self.path.read_bytes())) if self.path is not None else None
        except Exception:  # as above
            return None

    @cached_property
    def _code(self) -> list[tuple[int, int]]:
        """Where there are instructions; tables also tell of functions that the linker left out."""
        try:
            return list(_read_code(self._elf)) if self._elf is not None else []
        except Exception:  # as above
            return []

    @cached_property
    def _symbols(self) -> _Symbols:
        try:
            return sorted(_read_symbols(self._elf)) if self._elf is not None else []
        except Exception:  # as above
            return []

    @cached_property
    def _dwarf(self) -> Any:
        elf = self._elf
        return elf.get_dwarf_info() if elf is not None and elf.has_dwarf_info() else None

    def _lines_near(self, address: int) -> _Lines:
        """The rows of the unit that holds an address, or of all units if none says that it does."""
        dwarf = self._dwarf
        if dwarf is None:
            return []
        ranges = dwarf.get_aranges()
        where = None if ranges is None else ranges.cu_offset_at_addr(address)
        if where not in self._lines:
            self._lines[where] = []  # for the next address, should these be damaged
            if where is not None:
                rows = _read_lines(dwarf, [dwarf.get_CU_at(where)])
            elif dwarf.debug_line_sec.size <= _LARGEST_WHOLE:
                rows = _read_lines(dwarf, dwarf.iter_CUs())
            else:
                rows = {}
            self._lines[where] = sorted(rows.items())
        return self._lines[where]


def _start(row: tuple[int, Any] | tuple[int, int, str]) -> int:
    return row[0]


def _read_code(elf: Any) -> Iterator[tuple[int, int]]:
    for section in elf.iter_sections():
        if section["sh_flags"] & _EXECUTABLE:
            yield section["sh_addr"], section["sh_addr"] + section["sh_size"]


def _read_symbols(elf: Any) -> Iterator[tuple[int, int, str]]:
    """Labels and functions; one that has no size reaches to the end of its section."""
    table = elf.get_section_by_name(".symtab")
    if table is None:
        return
    names = elf.get_section(table["sh_link"]).data()
    ends = [section["sh_addr"] + section["sh_size"] for section in elf.iter_sections()]
    data = table.data()
    for name_at, info, section, start, size in _symbol_rows(data, wide=elf.elfclass == 64):
        if info & 0xF not in (_NOTYPE, _FUNC) or not 0 < section < len(ends):
            continue
        name = _text(names[name_at : name_at + _LONGEST_NAME].partition(b"\0")[0])
        if name and not name.startswith("$"):
            yield start, start + size if size else ends[section], name


def _symbol_rows(data: bytes, *, wide: bool) -> Iterator[tuple[int, int, int, int, int]]:
    """Name, info, section, address and size of each symbol. T32 functions have bit 0 set."""
    row = _SYMBOL if wide else _SYMBOL32
    rows = row.iter_unpack(data[: len(data) - len(data) % row.size])
    if wide:
        return ((name, info, section, value, size) for name, info, _, section, value, size in rows)
    return ((name, info, section, value & ~1, size) for name, value, size, info, _, section in rows)


def _read_lines(dwarf: Any, units: Iterable[Any]) -> dict[int, str | None]:
    """The source line of every row's first address; None where a sequence ends."""
    rows: dict[int, str | None] = {}
    for unit in units:
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        first = 0 if program["version"] >= 5 else 1
        files = [_text(entry.name) for entry in program["file_entry"]]
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            index = state.file - first
            if state.end_sequence:
                rows.setdefault(state.address, None)
            elif 0 <= index < len(files):
                rows[state.address] = f"{files[index]}:{state.line}"
    return rows


def _text(name: bytes | str) -> str:
    """A name that any terminal can show."""
    data = name if isinstance(name, bytes) else name.encode(errors="surrogateescape")
    text = data.decode("ascii", "backslashreplace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
