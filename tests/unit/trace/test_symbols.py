# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for addresses, and that no table, however damaged, stops a report."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from smmu_emu.trace import symbols
from smmu_emu.trace.symbols import NOWHERE, Place, SymbolTable
from tests.deadline import within
from tests.unit.trace.elf import (
    ABSOLUTE,
    NOTYPE,
    OBJECT,
    TEXT_AT,
    TEXT_SIZE,
    UNDEFINED,
    Symbol,
    elf,
)

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ROOT / "firmware" / "images"


def table(folder: Path, *entries: Symbol, link: int = 3) -> SymbolTable:
    path = folder / "image.elf"
    path.write_bytes(elf(*entries, link=link))
    return SymbolTable(path)


def names(found: SymbolTable, *offsets: int) -> list[str]:
    return [str(found.find(TEXT_AT + offset)) for offset in offsets]


# -- symbols


def test_function_reaches_as_far_as_its_size(tmp_path: Path) -> None:
    found = table(tmp_path, Symbol(b"one", TEXT_AT, 8), Symbol(b"two", TEXT_AT + 16, 8))
    assert names(found, -4, 0, 4, 8, 12, 16, 20, 24) == (
        ["", "one", "one+0x4", "", "", "two", "two+0x4", ""]
    )


def test_label_without_size_reaches_to_the_next_or_the_end_of_its_section(tmp_path: Path) -> None:
    found = table(
        tmp_path, Symbol(b"label", TEXT_AT, kind=NOTYPE), Symbol(b"next", TEXT_AT + 8, kind=NOTYPE)
    )
    assert names(found, 4, 8, TEXT_SIZE - 4, TEXT_SIZE, 1 << 40) == (
        ["label+0x4", "next", "next+0x3ffff4", "", ""]
    )


@pytest.mark.parametrize(
    "symbol",
    [
        Symbol(b"$x", TEXT_AT, kind=NOTYPE),
        Symbol(b"", TEXT_AT, 8),
        Symbol(b"data", TEXT_AT, 8, kind=OBJECT),
        Symbol(b"missing", TEXT_AT, 8, section=UNDEFINED),
        Symbol(b"constant", TEXT_AT, 8, section=ABSOLUTE),
        Symbol(b"nowhere", TEXT_AT, 8, section=77),
    ],
)
def test_what_is_no_place_in_code_gives_no_name(tmp_path: Path, symbol: Symbol) -> None:
    assert names(table(tmp_path, symbol), 0) == [""]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a\x1b[2Jb", "a?[2Jb"),
        (b"gr\xc3\xb6\xc3\x9fe", "gr\\xc3\\xb6\\xc3\\x9fe"),
        (b"\xff\n", "\\xff?"),
        (b"n" * 1000, "n" * 256),
    ],
)
def test_name_is_fit_for_any_terminal(tmp_path: Path, name: bytes, shown: str) -> None:
    assert names(table(tmp_path, Symbol(name, TEXT_AT, 8)), 0) == [shown]


@pytest.mark.parametrize("link", [0, 1, 2, 4, 5, 0xFFFF_FFFF])
def test_names_from_a_wrong_section_do_no_harm(tmp_path: Path, link: int) -> None:
    place = table(tmp_path, Symbol(b"one", TEXT_AT, 8), link=link).find(TEXT_AT)
    assert place.symbol != "one"


def test_kernel_sized_table_is_quick(tmp_path: Path) -> None:
    many = (Symbol(b"function_%d" % i, TEXT_AT + 16 * i, 16) for i in range(150_000))
    found = table(tmp_path, *many)
    with within(10):
        assert str(found.find(TEXT_AT + 16 * 149_999 + 4)) == "function_149999+0x4"


# -- source lines of the committed images: the named line says what the instruction does


def source_line(place: Place) -> str:
    assert place.source is not None
    file, line = place.source.split(":")
    (path,) = (ROOT / "firmware").rglob(file)
    return path.read_text().splitlines()[int(line) - 1]


def test_first_instruction_is_the_first_line_of_the_start_up_code() -> None:
    place = SymbolTable(IMAGES / "faults.elf").find(0x4010_0000)
    assert (place.symbol, place.offset) == ("_start", 0)
    lines = (ROOT / "firmware" / "lib" / "start.S").read_text().splitlines()
    assert lines[lines.index("_start:") + 1 :].index(source_line(place)) <= 1


def test_every_function_is_found_in_the_file_that_defines_it() -> None:
    path = IMAGES / "faults.elf"
    found = SymbolTable(path)
    section = ELFFile(BytesIO(path.read_bytes())).get_section_by_name(".symtab")
    functions = [s for s in section.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"]
    assert len(functions) > 50
    for function in functions:
        place = found.find(function["st_value"])
        assert (place.symbol, place.offset) == (function.name, 0)
        assert place.source is not None
        files = (ROOT / "firmware").rglob(place.source.split(":")[0])
        assert any(function.name in file.read_text() for file in files)


def test_address_after_the_code_has_no_line() -> None:
    found = SymbolTable(IMAGES / "faults.elf")
    for address in (0, 0x400F_FFFC, 0x4020_0000, 0x70_0000_0000, (1 << 64) - 4):
        assert found.find(address) == NOWHERE


def test_lines_of_a_huge_program_are_read_only_where_ranges_lead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(symbols, "_LARGEST_WHOLE", 0)
    found = SymbolTable(IMAGES / "faults.elf")
    assert found.find(0x4010_0000).source is not None  # assembled: in .debug_aranges
    main = next(start for start, _, name in found._symbols if name == "main")
    assert found.find(main) == Place("main", 0, None)  # compiled: not there


# -- what is no ELF, and damage


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"raw code", bytes(4096)])
def test_raw_binary_has_no_names(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "raw.bin"
    path.write_bytes(data)
    assert SymbolTable(path).find(TEXT_AT) == NOWHERE


def test_image_that_is_gone_has_no_names(tmp_path: Path) -> None:
    assert SymbolTable(tmp_path / "gone").find(TEXT_AT) == NOWHERE
    assert SymbolTable(None).find(TEXT_AT) == NOWHERE


@pytest.mark.parametrize(("image", "count"), [("bad_vectors", 800), ("hello", 300), ("faults", 60)])
def test_damaged_tables_never_stop_a_report(tmp_path: Path, image: str, count: int) -> None:
    good = (IMAGES / f"{image}.elf").read_bytes()
    regions = _tables(good)
    path = tmp_path / "damaged.elf"
    unharmed = 0
    for seed in range(count):
        chance = random.Random(seed)
        damaged = bytearray(good)
        for _ in range(chance.choice((1, 2, 4, 16))):
            start, size = chance.choice(regions)
            at = start + chance.randrange(size)
            damaged[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        path.write_bytes(damaged)
        found = SymbolTable(path)
        with within(10):
            for address in (0, 0x4010_0000, 0x4010_0100, 0x4010_0A00, (1 << 64) - 4):
                assert str(found.find(address)).isprintable()
        unharmed += found.find(0x4010_0000).symbol == "_start"
    assert 0 < unharmed < count


def _tables(image: bytes) -> list[tuple[int, int]]:
    """Offset and size of what names are read from, headers four times as often."""
    elf_file = ELFFile(BytesIO(image))
    regions = [
        (section["sh_offset"], section["sh_size"])
        for section in elf_file.iter_sections()
        if section.name.startswith(".debug") or section.name.endswith("tab")
    ]
    headers = (elf_file["e_shoff"], 64 * elf_file["e_shnum"])
    return [*regions, (0, 64), *[headers] * 4]
