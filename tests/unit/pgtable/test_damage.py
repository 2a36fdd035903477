# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors that somebody else wrote: typed errors, no hang, and nothing leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pgtable_helpers import BASE, G1, K4, K16, M1, M2, RW, cfg, mappings

from pgtable import (
    AlreadyMappedError,
    Arena,
    DirtyBitmap,
    PageTable,
    Quirk,
    TableDamagedError,
    alloc,
)

TABLE = 3
OUTSIDE = 0x9_0000_0000


class Victim:
    """A table with one page mapped at 0, and a way to its descriptors."""

    def __init__(self, fmt: str, **kw: Any) -> None:
        self.memory = Arena(BASE, 1 << 20)
        self.table: PageTable[Any] = alloc(fmt, cfg(**kw), memory=self.memory)
        page = self.table.cfg.pgsize_bitmap & -self.table.cfg.pgsize_bitmap
        self.page = page
        self.table.map(0, 0x10_0000 * page // K4, page, RW)

    def poke(self, address: int, value: int) -> None:
        self.memory.words[(address - BASE) >> 3] = value

    def close(self) -> None:
        self.table.close()
        assert self.memory.used == 0


@pytest.fixture
def lpae() -> Victim:
    """Root at BASE, level 1 at +0x1000, level 2 at +0x2000, level 3 at +0x3000."""
    return Victim("ARM_64_LPAE_S1")


def calls(table: PageTable[Any], page: int) -> list[Any]:
    return [
        lambda: table.iova_to_phys(0),
        lambda: table.iovas_to_phys(np.zeros(3, dtype=np.uint64)),
        lambda: table.leaf_at(0),
        lambda: list(table.runs(0, 1 << table.cfg.ias)),
        lambda: table.map_pages(page, 0, page, 1, RW),
        lambda: table.unmap_pages(0, page, 1),
        lambda: table.map(page, 0, page, RW),
        lambda: table.unmap(0, page),
    ]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_pointer_outside_the_memory_is_named_by_every_call(lpae: Victim, level: int) -> None:
    where = BASE + level * 0x1000
    lpae.poke(where, OUTSIDE | TABLE)
    for call in calls(lpae.table, K4):
        with pytest.raises(TableDamagedError, match="0x900000000, outside") as caught:
            call()
        error = caught.value
        assert (error.address, error.pte, error.level) == (where, OUTSIDE | TABLE, level)
    lpae.close()


def test_a_pointer_just_before_and_just_after_the_memory_is_outside(lpae: Victim) -> None:
    for target in (BASE - 0x1000, BASE + (1 << 20)):
        lpae.poke(BASE, target | TABLE)
        with pytest.raises(TableDamagedError):
            lpae.table.iova_to_phys(0)
    lpae.close()


def test_a_loop_ends_every_walk(lpae: Victim) -> None:
    for word in range(512):
        lpae.poke(BASE + 0x1000 + 8 * word, BASE + 0x1000 | TABLE)
    assert lpae.table.iova_to_phys(0) == BASE + 0x1000  # read as a page on the last level
    with pytest.raises(TableDamagedError, match="reached before"):
        list(lpae.table.runs(0, 1 << 48))
    with pytest.raises(TableDamagedError, match="reached before"):
        lpae.table.unmap(0, 1 << 47)
    lpae.close()


def test_a_root_that_points_to_itself_ends_every_walk(lpae: Victim) -> None:
    for word in range(512):
        lpae.poke(BASE + 8 * word, BASE | TABLE)
    with pytest.raises(TableDamagedError):
        list(lpae.table.runs(0, 1 << 48))
    with pytest.raises(TableDamagedError):
        lpae.table.map_pages(0, 0, K4, 1, RW)
    lpae.close()


def test_tearing_down_a_damaged_tree_changes_nothing(lpae: Victim) -> None:
    lpae.table.map(M2, 0, K4, RW)
    lpae.poke(BASE + 0x2008, OUTSIDE | TABLE)
    before = bytes(lpae.memory.bytes[:0x8000])
    live = dict(lpae.memory.live)
    with pytest.raises(TableDamagedError):
        lpae.table.unmap_pages(0, G1, 1)
    with pytest.raises(TableDamagedError):
        lpae.table.map_pages(0, 0, G1, 1, RW)
    assert bytes(lpae.memory.bytes[:0x8000]) == before
    assert lpae.memory.live == live
    lpae.close()


def test_two_entries_with_one_table_are_noticed_before_it_is_freed_twice(lpae: Victim) -> None:
    lpae.poke(BASE + 0x2008, lpae.memory.words[0x2000 >> 3])
    assert lpae.table.iova_to_phys(M2) == lpae.table.iova_to_phys(0)
    with pytest.raises(TableDamagedError, match="reached before"):
        lpae.table.unmap_pages(0, G1, 1)
    lpae.close()


def test_a_table_cut_off_by_damage_is_freed_with_the_rest(lpae: Victim) -> None:
    lpae.poke(BASE, 0)
    assert lpae.table.iova_to_phys(0) == 0
    lpae.close()


def test_writing_through_a_pointer_to_other_memory_is_refused(lpae: Victim) -> None:
    lpae.poke(BASE + 0x2000, BASE + 0x80000 | TABLE)
    assert lpae.table.iova_to_phys(0) == 0  # reading follows it, as a walker would
    with pytest.raises(TableDamagedError, match="not a table of this address space"):
        lpae.table.map_pages(K4, 0, K4, 1, RW)
    with pytest.raises(TableDamagedError, match="not a table of this address space"):
        lpae.table.unmap_pages(0, K4, 1)
    assert not any(lpae.memory.bytes[0x80000:])
    lpae.close()


def test_bits_that_hardware_ignores_do_not_hide_a_table(lpae: Victim) -> None:
    address = BASE + 0x2000
    lpae.poke(address, lpae.memory.words[0x2000 >> 3] | 1 << 58)
    assert lpae.table.iova_to_phys(0) == 0x10_0000
    assert lpae.table.map_pages(K4, 0, K4, 1, RW) == (0, K4)
    assert lpae.table.unmap_pages(0, G1, 1) == G1
    lpae.close()


def test_an_invalid_descriptor_is_no_mapping_and_no_table(lpae: Victim) -> None:
    lpae.poke(BASE + 0x2000, 0x1234_5678_9ABC_D000)
    assert lpae.table.iova_to_phys(0) == 0
    assert mappings(lpae.table, 0, G1) == []
    with pytest.raises(TableDamagedError):
        lpae.table.map_pages(0, 0, K4, 1, RW)
    lpae.close()


def test_dirty_tracking_of_a_damaged_tree_ends() -> None:
    victim = Victim("ARM_64_LPAE_S1", quirks=Quirk.ARM_HD)
    for word in range(512):
        victim.poke(BASE + 8 * word, BASE | TABLE)
    with pytest.raises(TableDamagedError):
        victim.table.read_and_clear_dirty(0, 1 << 48, 0, DirtyBitmap())
    victim.close()


def test_a_mali_table_on_the_last_level_is_damage() -> None:
    victim = Victim("ARM_MALI_LPAE", oas=40)
    victim.poke(BASE + 0x3000, BASE + 0x3000 | TABLE)
    assert victim.table.iova_to_phys(0) == 0
    with pytest.raises(TableDamagedError):
        victim.table.map_pages(0, 0, K4, 1, RW)
    victim.close()


@pytest.mark.parametrize(
    ("fmt", "page", "oas"),
    [("APPLE_DART", K4, 36), ("APPLE_DART", K16, 36), ("APPLE_DART2", K16, 42)],
)
def test_damage_to_a_dart_table_is_named(fmt: str, page: int, oas: int) -> None:
    victim = Victim(fmt, bitmap=page, ias=36, oas=oas)
    shift = 4 if fmt == "APPLE_DART2" else 0
    victim.poke(BASE, OUTSIDE >> shift | 1)
    for call in calls(victim.table, page):
        with pytest.raises(TableDamagedError, match="outside the table memory"):
            call()
    victim.poke(BASE, BASE >> shift | 1)
    victim.poke(BASE + 8, BASE >> shift | 1)
    with pytest.raises(TableDamagedError, match="reached before"):
        list(victim.table.runs(0, 1 << 36))
    victim.close()


def test_damage_to_a_short_descriptor_table_is_named() -> None:
    victim = Victim("ARM_V7S", bitmap=K4 | M1, ias=32, oas=32)
    victim.memory.halves[0] = 0x9000_0000 | 1
    for call in calls(victim.table, K4):
        with pytest.raises(TableDamagedError, match="0x90000000, outside"):
            call()
    victim.memory.halves[0] = BASE | 1
    with pytest.raises(TableDamagedError):
        victim.table.map_pages(0, 0, K4, 1, RW)
    with pytest.raises(TableDamagedError):
        list(victim.table.runs(0, 1 << 32))
    victim.memory.halves[1] = victim.memory.halves[0] = BASE + 0x4000 | 1
    with pytest.raises(TableDamagedError, match="reached before"):
        victim.table.unmap(0, 2 * M1)
    victim.close()


def test_a_leaf_that_hardware_wrote_back_is_still_a_leaf(lpae: Victim) -> None:
    word = lpae.memory.words[0x3000 >> 3]
    lpae.poke(BASE + 0x3000, word | 1 << 7 | 1 << 51)
    with pytest.raises(AlreadyMappedError):
        lpae.table.map(0, 0, K4, RW)
    lpae.table.unmap(0, K4)
    lpae.close()
