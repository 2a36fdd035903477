# SPDX-License-Identifier: GPL-2.0-or-later
"""Differences by meaning, against a dictionary of pages."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pgtable import Arena, PageTable, PageTableConfig, Prot, alloc
from pgtable.inspect import Image, Space, SpaceError, Tree, read
from pgtable.inspect.diff import What, diff
from pgtable.inspect.live import read_table, space_of

RW, RO = Prot.READ | Prot.WRITE | Prot.CACHE, Prot.READ | Prot.CACHE
CFG = PageTableConfig(pgsize_bitmap=0x1000 | 1 << 21, ias=39, oas=40)


def fresh() -> PageTable[Any]:
    return alloc("ARM_64_LPAE_S1", CFG, memory=Arena(0x4000_0000, 4 << 20))


def frozen(table: PageTable[Any]) -> Tree:
    """Read a copy of a table's memory, as a dump would be."""
    copy = Image([(table.memory.base, bytes(table.memory.bytes))])
    return read(space_of(table), copy)


def test_every_kind_of_change_is_named() -> None:
    table = fresh()
    table.map(0, 0x8000_0000, 0x8000, RW)
    old = frozen(table)
    table.unmap(0, 0x1000)
    for at, to, prot in (
        (0x1000, 0x9000_0000, RW),
        (0x2000, 0x8000_2000, RO),
        (0x3000, 0x8000_3000, Prot.READ | Prot.WRITE),
        (0x4000, 0x9000_0000, RO | Prot.NOEXEC),
    ):
        table.unmap(at, 0x1000)
        table.map(at, to, 0x1000, prot)
    table.map(0x10000, 0xA000_0000, 0x2000, RO)
    found = diff(old, read_table(table))
    assert [(str(c.what), c.start, c.last) for c in found] == [
        ("unmapped", 0, 0xFFF),
        ("moved", 0x1000, 0x1FFF),
        ("permissions", 0x2000, 0x2FFF),
        ("attributes", 0x3000, 0x3FFF),
        ("moved, permissions", 0x4000, 0x4FFF),
        ("mapped", 0x10000, 0x11FFF),
    ]
    moved = found[1]
    assert moved.old is not None
    assert moved.new is not None
    assert (moved.old.address, moved.new.address) == (0x8000_1000, 0x9000_0000)
    assert found[0].new is None
    assert found[-1].old is None


def test_layout_alone_is_a_change_of_page_size() -> None:
    table = fresh()
    table.map(0x20_0000, 0x8000_0000, 1 << 21, RW)
    old = frozen(table)
    table.unmap(0x20_0000, 1 << 21)
    table.map(0x20_0000, 0x8000_0000, 1 << 21, RW, pgsize=0x1000)
    found = diff(old, read_table(table))
    assert [(c.what, c.start, c.size) for c in found] == [(What.PAGE_SIZE, 0x20_0000, 1 << 21)]


def test_tables_elsewhere_that_say_the_same_are_no_change() -> None:
    one, other = fresh(), fresh()
    one.map(0x7000, 0x8000_0000, 0x1000, RW)
    one.map(1 << 30, 0x8000_0000, 0x1000, RW)
    other.map(1 << 30, 0x8000_0000, 0x1000, RW)
    other.map(0x7000, 0x8000_0000, 0x1000, RW)
    assert diff(read_table(one), read_table(other)) == []


def test_bits_of_software_are_a_change_of_their_own() -> None:
    table = fresh()
    table.map(0, 0x8000_0000, 0x1000, RW)
    old = frozen(table)
    leaf = int(old.tables.address[-1])
    table.memory.words[(leaf - table.memory.base) // 8] |= 1 << 56
    assert [c.what for c in diff(old, read_table(table))] == [What.SOFTWARE]


def test_empty_trees_can_be_compared() -> None:
    table = fresh()
    empty = frozen(table)
    assert diff(empty, empty) == []
    table.map(0, 0x8000_0000, 0x1000, RW)
    full = read_table(table)
    assert [c.what for c in diff(empty, full)] == [What.MAPPED]
    assert [c.what for c in diff(full, empty)] == [What.UNMAPPED]


def test_different_input_ranges_cannot_be_compared() -> None:
    image = Image([(0, bytes(0x4000))])
    trees = [
        read(Space(format="ARM_64_LPAE_S1", root=0, input_bits=bits), image) for bits in (39, 48)
    ]
    with pytest.raises(SpaceError, match="different ranges"):
        diff(*trees)


@pytest.mark.parametrize("seed", range(8))
def test_changes_are_those_of_a_dictionary(seed: int) -> None:
    rng = random.Random(seed)
    table = fresh()
    sides: list[dict[int, tuple[int, Prot]]] = []
    model: dict[int, tuple[int, Prot]] = {}
    trees = []
    for _ in range(2):
        for _ in range(120):
            at, count = rng.randrange(200) * 0x1000, rng.choice([1, 2, 8])
            pages = [at + 0x1000 * i for i in range(count)]
            if any(page in model for page in pages):
                for page in pages:
                    if page in model:
                        table.unmap(page, 0x1000)
                        del model[page]
            else:
                to, prot = 0x8000_0000 + rng.randrange(64) * 0x1000, rng.choice([RW, RO])
                table.map(at, to, 0x1000 * count, prot)
                model |= {page: (to + page - at, prot) for page in pages}
        sides.append(dict(model))
        trees.append(frozen(table))
    expected: dict[int, What] = {}
    for page in sides[0].keys() | sides[1].keys():
        old, new = sides[0].get(page), sides[1].get(page)
        what = What(0)
        if old is None:
            what = What.MAPPED
        elif new is None:
            what = What.UNMAPPED
        else:
            what |= What.MOVED if old[0] != new[0] else What(0)
            what |= What.PERMISSIONS if old[1] != new[1] else What(0)
        if what:
            expected[page] = what
    found = {}
    for change in diff(*trees):
        for page in range(change.start, change.last + 1, 0x1000):
            found[page] = change.what
            for side, part in zip(sides, (change.old, change.new), strict=True):
                target = None if part is None else part.address + page - change.start
                assert target == side.get(page, (None,))[0]
    assert found == expected
