# SPDX-License-Identifier: GPL-2.0-or-later
"""Who maps physical memory."""

from __future__ import annotations

import pytest

from pgtable import Arena, PageTableConfig, Prot, alloc
from pgtable.inspect import SpaceError, find
from pgtable.inspect.live import read_table

RW = Prot.READ | Prot.WRITE | Prot.CACHE


def test_every_range_that_leads_there_is_found_and_cut() -> None:
    cfg = PageTableConfig(pgsize_bitmap=0x1000 | 1 << 21, ias=39, oas=40)
    table = alloc("ARM_64_LPAE_S1", cfg, memory=Arena(0x4000_0000, 1 << 20))
    table.map(0x10_0000, 0x8000_0000, 0x4000, RW)
    table.map(0x20_0000, 0x8000_0000, 0x20_0000, Prot.READ | Prot.CACHE)
    table.map(0x70_0000, 0x9000_0000, 0x1000, RW)
    tree = read_table(table)
    found = find(tree, 0x8000_1000, 0x2000)
    assert [(part.start, part.last, part.address) for part in found.ranges] == [
        (0x10_1000, 0x10_2FFF, 0x8000_1000),
        (0x20_1000, 0x20_2FFF, 0x8000_1000),
    ]
    assert [str(part.meaning) for part in found.ranges] == ["rw cached", "ro cached"]
    assert find(tree, 0x8000_4000).ranges[0].start == 0x20_4000
    assert find(tree, 0x9000_1000).ranges == []
    everything = find(tree, 0, 1 << 64)
    assert len(everything.ranges) == 3
    assert sum(part.size for part in everything.ranges) == tree.mapped


def test_tables_that_lie_there_are_found() -> None:
    cfg = PageTableConfig(pgsize_bitmap=0x1000, ias=39, oas=40)
    table = alloc("ARM_64_LPAE_S1", cfg, memory=Arena(0x4000_0000, 1 << 20))
    table.map(0x20_0000, 0x8000_0000, 0x1000, RW)
    tables = find(read_table(table), 0x4000_1FFF, 0x10).tables
    assert [(t.level, t.address, t.iova) for t in tables] == [
        (2, 0x4000_1000, 0),
        (3, 0x4000_2000, 0x20_0000),
    ]


@pytest.mark.parametrize(("address", "size"), [(0, 0), (-1, 1), (0, -5), ((1 << 64) - 1, 2)])
def test_physical_ranges_without_sense_are_refused(address: int, size: int) -> None:
    cfg = PageTableConfig(pgsize_bitmap=0x1000, ias=39, oas=40)
    tree = read_table(alloc("ARM_64_LPAE_S1", cfg, memory=Arena(0x4000_0000, 1 << 20)))
    with pytest.raises(SpaceError):
        find(tree, address, size)
