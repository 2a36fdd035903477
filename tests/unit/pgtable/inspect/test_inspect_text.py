# SPDX-License-Identifier: GPL-2.0-or-later
"""What people read: lines of text, ptdump's style, and plain values for JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgtable import Arena, PageTable, PageTableConfig, Prot, alloc
from pgtable.inspect import Image, Tree, find, jsonable, ptdump, read, text, walk
from pgtable.inspect.changes import unsafe_changes
from pgtable.inspect.diff import diff
from pgtable.inspect.live import read_table, space_of
from pgtable.inspect.units import about, parse_size, plural, size_words

RW, RO = Prot.READ | Prot.WRITE | Prot.CACHE, Prot.READ | Prot.CACHE
BASE = 0x4000_0000


@pytest.fixture
def table() -> PageTable[Any]:
    cfg = PageTableConfig(pgsize_bitmap=0x1000 | 1 << 21 | 1 << 30, ias=39, oas=40)
    made = alloc("ARM_64_LPAE_S1", cfg, memory=Arena(BASE, 1 << 20))
    made.map(0x20_0000, 0x4800_0000, 0x8_0000, RW)
    made.map(0x40_0000, 0x8000_0000, 0x40_1000, RW)
    for i in range(3):
        made.map(0xA0_0000 + 0x1000 * i, 0x9000_0000 - 0x2000 * i, 0x1000, RO)
    made.map(1 << 30, 1 << 32, 1 << 30, Prot.READ | Prot.NOEXEC | Prot.MMIO | Prot.PRIV)
    return made


@pytest.fixture
def tree(table: PageTable[Any]) -> Tree:
    return read_table(table)


def test_ranges_are_merged(tree: Tree) -> None:
    assert list(text.flat(tree)) == [
        "0x200000-0x27ffff → 0x48000000 rw cached, 128 \N{MULTIPLICATION SIGN} 4K",
        "0x400000-0x800fff → 0x80000000 rw cached, "
        "2 \N{MULTIPLICATION SIGN} 2M + 1 \N{MULTIPLICATION SIGN} 4K",
        "0xa00000-0xa00fff → 0x90000000 ro cached, 1 \N{MULTIPLICATION SIGN} 4K",
        "0xa01000-0xa01fff → 0x8fffe000 ro cached, 1 \N{MULTIPLICATION SIGN} 4K",
        "0xa02000-0xa02fff → 0x8fffc000 ro cached, 1 \N{MULTIPLICATION SIGN} 4K",
        "0x40000000-0x7fffffff → 0x100000000 ro priv device xn, 1 \N{MULTIPLICATION SIGN} 1G",
    ]


def test_brief_merges_wherever_it_leads(tree: Tree) -> None:
    lines = list(text.brief(tree))
    assert "0xa00000-0xa02fff → 3 places ro cached, 3 \N{MULTIPLICATION SIGN} 4K" in lines
    assert len(lines) == 5


def test_the_tree_shows_tables_with_their_ranges(tree: Tree) -> None:
    lines = list(text.nested(tree))
    assert lines[:4] == [
        "level 1 table at 0x40000000 for 0x0-0x7fffffffff: 2 of 512 entries",
        "  [0x000] level 2 table at 0x40001000 for 0x0-0x3fffffff: 5 of 512 entries",
        "    [0x001] level 3 table at 0x40002000 for 0x200000-0x3fffff: 128 of 512 entries",
        "      0x200000-0x27ffff → 0x48000000 rw cached, 128 \N{MULTIPLICATION SIGN} 4K",
    ]
    assert lines[4].startswith("    0x400000-0x7fffff → 0x80000000")
    assert lines[-1].startswith("  0x40000000-0x7fffffff")
    assert sum("table at" in line for line in lines) == len(tree.tables)


def test_the_summary_counts(tree: Tree) -> None:
    assert next(text.summary(tree)) == (
        "1 GiB mapped by 135 leaves (132 \N{MULTIPLICATION SIGN} 4K, 2 \N{MULTIPLICATION SIGN} 2M, "
        "1 \N{MULTIPLICATION SIGN} 1G) in 7 ranges; 5 tables, 20 KiB"
    )


def test_ptdump_merges_by_protection_and_level(tree: Tree) -> None:
    lines = list(ptdump.lines(tree))
    assert lines[0] == "---[ ARM_64_LPAE_S1 at 0x40000000 ]---"
    assert lines[2] == (
        "0x0000000000200000-0x0000000000280000        512K PTE       "
        "USR RW x  SHD AF NG                MEM/NORMAL"
    )
    assert lines[4] == (
        "0x0000000000400000-0x0000000000800000          4M PMD       "
        "USR RW x  SHD AF NG     BLK        MEM/NORMAL"
    )
    assert " ".join(lines[7].split()) == (
        "0x0000000000a00000-0x0000000000a03000 12K PTE USR ro x SHD AF NG MEM/NORMAL"
    )
    assert " ".join(lines[9].split()) == (
        "0x0000000040000000-0x0000000080000000 1G PGD ro NX SHD AF NG BLK UXN DEVICE/nGnRE"
    )
    assert lines[-1] == "---[ end ]---"
    ends = [line.split("-")[1][:18] for line in lines[1:-1]]
    starts = [line[:18] for line in lines[1:-1]]
    assert ends[:-1] == starts[1:]


def test_ptdump_of_formats_without_privileges() -> None:
    cfg = PageTableConfig(pgsize_bitmap=0x4000, ias=36, oas=36)
    table = alloc("APPLE_DART", cfg, memory=Arena(BASE, 1 << 20))
    table.map(0, 0x8000_0000, 0x8000, Prot.WRITE)
    lines = list(ptdump.lines(read_table(table)))
    assert lines[1].split()[1:] == ["32K", "PTE", "-WX", "AF", "MEM/NORMAL"]


def test_a_walk_is_told_level_by_level(tree: Tree) -> None:
    lines = list(text.walk(tree.space, walk(tree.space, tree.image, 0x20_1234)))
    assert lines[0] == (
        "walk of 0x201234 in ARM_64_LPAE_S1, 4K granule, 39-bit input, 40-bit output, "
        "root 0x40000000"
    )
    assert lines[1] == (
        "  level 1  table 0x40000000  index 0x000  at 0x40000000  0x0000000040001003  "
        "table → 0x40001000"
    )
    assert lines[3].endswith("0x0000000048001f47  4K page → 0x48001000 rw cached")
    assert lines[4] == "0x201234 → 0x48001234 rw cached, in a leaf of 4K"
    hole = list(text.walk(tree.space, walk(tree.space, tree.image, 0x30_0000)))
    assert hole[-1] == "0x300000 is not mapped: level 3: invalid"
    beyond = list(text.walk(tree.space, walk(tree.space, tree.image, 1 << 39)))
    assert beyond[-1].endswith("out of range: the space has 0x0-0x7fffffffff")


def test_a_descriptor_is_told_field_by_field(tree: Tree) -> None:
    reader = tree.space.reader
    lines = list(text.decode(reader.decode(0x0001_0000_4800_1F47, reader.level(3))))
    assert lines[0] == "0x0001000048001f47 on level 3: 4K page → 0x48001000 rw cached"
    assert "     [7:6] AP = 0x1: read/write" in lines
    assert "   [47:12] address = 0x48001000" in lines
    assert lines[-1] == "  ! reserved-bits: reserved bits set: 48"


def test_changes_have_a_sign(table: PageTable[Any], tree: Tree) -> None:
    old = read(space_of(table), Image([(BASE, bytes(table.memory.bytes))]))
    table.unmap(0x20_0000, 0x1000)
    table.map(0x28_0000, 0x5000_0000, 0x1000, RO)
    table.unmap(0x20_1000, 0x1000)
    table.map(0x20_1000, 0x5000_0000, 0x1000, RO)
    new = read_table(table)
    assert list(text.changes(diff(old, new))) == [
        "- 0x200000-0x200fff unmapped: was → 0x48000000 rw cached, 1 \N{MULTIPLICATION SIGN} 4K",
        "~ 0x201000-0x201fff moved, permissions: → 0x48001000 now 0x50000000; rw now ro",
        "+ 0x280000-0x280fff mapped: → 0x50000000 ro cached, 1 \N{MULTIPLICATION SIGN} 4K",
    ]
    assert list(text.changes([])) == ["no change in meaning"]
    (line,) = text.unsafe(unsafe_changes(old, new))
    assert line.startswith("break-before-make: 0x201000-0x201fff: the output address changes")
    assert list(text.unsafe([])) == ["every change is safe without break-before-make"]


def test_findings_are_told_with_a_total(tree: Tree) -> None:
    assert list(text.findings(())) == ["nothing wrong found"]
    words = bytearray(bytes(tree.image.pieces[0].data))
    words[0x2006] |= 1
    broken = read(tree.space, Image([(BASE, bytes(words))]))
    lines = list(text.findings(broken.findings))
    assert lines[0] == (
        "error: reserved-bits: reserved bits set: 48 (0x200000-0x200fff, level 3 descriptor at "
        "0x40002000 = 0x1000048000f47)"
    )
    assert lines[-1] == "1 error"


def test_finds_are_told(tree: Tree) -> None:
    found = find(tree, 0x4800_0800, 0x10)
    assert list(text.finds(0x4800_0800, 0x10, found)) == [
        "0x200800-0x20080f → 0x48000800 rw cached, 16 bytes of a 4K leaf"
    ]
    assert list(text.finds(0, 1, find(tree, 0, 1))) == ["nothing maps 0x0-0x0"]


def test_everything_can_be_json(table: PageTable[Any], tree: Tree) -> None:
    plain = jsonable.tree(tree)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["ranges"][0] == {
        "start": "0x200000",
        "last": "0x27ffff",
        "address": "0x48000000",
        "leaf": 4096,
        "leaves": 128,
        "meaning": "rw cached",
    }
    assert plain["meanings"]["rw cached"]["user"] == "rwx"
    assert len(plain["tables"]) == 5
    walked = jsonable.walk(walk(tree.space, tree.image, 0x20_1234))
    assert walked["target"] == "0x48001234"
    assert walked["steps"][2]["descriptor"]["kind"] == "page"
    json.dumps(walked)
    old = read(space_of(table), Image([(BASE, bytes(table.memory.bytes))]))
    table.unmap(0x20_0000, 0x1000)
    new = read_table(table)
    (change,) = [jsonable.change(c) for c in diff(old, new)]
    assert (change["what"], change["new"]) == (["unmapped"], None)
    assert jsonable.found(find(tree, BASE))["tables"][0]["address"] == hex(BASE)


@pytest.mark.parametrize(
    ("size", "exact", "rough"),
    [
        (0, "0", "0 bytes"),
        (12, "12", "12 bytes"),
        (4096, "4K", "4 KiB"),
        (1536 << 10, "1536K", "1.5 MiB"),
        (1 << 21, "2M", "2 MiB"),
        (127 << 40, "127T", "127 TiB"),
        (1 << 60, "1E", "1 EiB"),
        ((1 << 30) + (10 << 20), "1034M", "1.01 GiB"),
    ],
)
def test_sizes(size: int, exact: str, rough: str) -> None:
    assert (size_words(size), about(size)) == (exact, rough)


def test_counts_and_sizes_are_read_and_written() -> None:
    assert [plural(1, "leaf"), plural(2, "leaf"), plural(3, "entry"), plural(1000, "table")] == [
        "1 leaf",
        "2 leaves",
        "3 entries",
        "1,000 tables",
    ]
    assert [parse_size(word) for word in ("4096", "4K", "64k", "0x1000", "1G", "4KiB")] == [
        4096,
        4096,
        65536,
        4096,
        1 << 30,
        4096,
    ]
