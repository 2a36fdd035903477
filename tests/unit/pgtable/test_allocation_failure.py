# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that refuses an allocation, at every point at which one is made."""

from __future__ import annotations

from typing import Any

import pytest
from pgtable_helpers import (
    BASE,
    G1,
    K4,
    M2,
    RW,
    SETUPS,
    CountedArena,
    Setup,
    cfg,
    contents,
    mappings,
)

from pgtable import (
    Arena,
    ConfigRefusedError,
    OutOfTableMemoryError,
    PageTable,
    Quirk,
    TableMemoryError,
    alloc,
)

formats = pytest.mark.parametrize("setup", SETUPS, ids=str)


def work(table: PageTable[Any]) -> None:
    """Map ranges that need tables on every level."""
    page = table.cfg.pgsize_bitmap & -table.cfg.pgsize_bitmap
    top = 1 << table.cfg.ias
    table.map(top // 2 - page, 0, 2 * page, RW)
    table.map(page, page, 3 * page, RW)
    table.map(top - 5 * page, 0, 5 * page, RW)


@formats
def test_creation_fails_cleanly_at_every_allocation(setup: Setup) -> None:
    memory = CountedArena(BASE, 1 << 22)
    setup.alloc(memory).close()
    needed = memory.asked
    assert needed
    for allowed in range(needed):
        memory.asked, memory.allowed = 0, allowed
        with pytest.raises(OutOfTableMemoryError):
            setup.alloc(memory)
        assert memory.live == {}


@formats
def test_mapping_fails_cleanly_at_every_allocation(setup: Setup) -> None:
    memory = CountedArena(BASE, 1 << 23)
    table = setup.alloc(memory)
    start = memory.asked
    work(table)
    needed = memory.asked - start
    table.close()
    assert needed > 2
    for allowed in range(needed):
        memory.asked, memory.allowed = 0, None
        table = setup.alloc(memory)
        memory.allowed = memory.asked + allowed
        with pytest.raises(OutOfTableMemoryError):
            work(table)
        consistent_and_usable(table, memory)
        assert memory.live == {}


def consistent_and_usable(table: PageTable[Any], memory: CountedArena) -> None:
    """Check that leaves found by looking are leaves that translate, then do the work after all."""
    everything = 1 << table.cfg.ias
    for iova, size in mappings(table, 0, everything):
        assert table.leaf_at(iova) == (iova, size)
    memory.allowed = None
    for iova, size in mappings(table, 0, everything):
        table.unmap(iova, size)
    work(table)
    table.close()


@formats
def test_a_refused_map_pages_says_enomem_and_keeps_what_was_mapped(setup: Setup) -> None:
    memory = CountedArena(BASE, 1 << 23)
    table = setup.alloc(memory)
    page = table.cfg.pgsize_bitmap & -table.cfg.pgsize_bitmap
    table.map_pages(0, page, page, 1, RW)
    memory.allowed = memory.asked
    far = (1 << table.cfg.ias) - page
    assert table.map_pages(far, 0, page, 1, RW) == (-12, 0)
    assert table.iova_to_phys(0) == page
    assert mappings(table, 0, 1 << table.cfg.ias) == [(0, page)]


def test_an_arena_that_is_simply_full_refuses_too() -> None:
    memory = Arena(BASE, 0x4000)
    table = alloc("ARM_64_LPAE_S1", cfg(), memory=memory)
    table.map(0, 0, K4, RW)
    before = contents(memory)
    with pytest.raises(OutOfTableMemoryError):
        table.map(M2, 0, K4, RW)
    assert contents(memory) == before


@pytest.mark.parametrize("fmt", ["ARM_64_LPAE_S1", "ARM_V7S"])
@pytest.mark.parametrize("answer", [None, "elsewhere"])
def test_a_walker_that_cannot_see_a_table_fails_its_allocation(fmt: str, answer: Any) -> None:
    class Blind(Arena):
        blind = False

        def dma_map(self, address: int, size: int) -> int | None:
            if not self.blind:
                return address
            return None if answer is None else address + (1 << 32)

    memory = Blind(BASE, 1 << 20)
    sizes = cfg(K4 | M2, ias=32, oas=32, coherent_walk=False)
    table = alloc(fmt, sizes, memory=memory)
    live = dict(memory.live)
    memory.blind = True
    assert table.map_pages(0, 0, K4, 1, RW) == (-12, 0)
    assert memory.live == live
    table.close()
    with pytest.raises(OutOfTableMemoryError):
        alloc(fmt, sizes, memory=memory)
    assert memory.live == {}


def test_a_custom_allocator_gets_all_requests_and_all_frees() -> None:
    memory = Arena(BASE, 1 << 20)
    given: dict[int, int] = {}

    def take(size: int) -> int | None:
        address = memory.alloc(size)
        assert address is not None
        given[address] = size
        return address

    def back(address: int, size: int) -> None:
        assert given.pop(address) == size
        memory.free(address, size)

    with alloc("ARM_64_LPAE_S1", cfg(ias=40, alloc=take, free=back), memory=memory) as table:
        table.map(0, 0, K4, RW)
        assert sorted(given.values()) == [64, 0x1000, 0x1000, 0x1000]  # two entries take 64 bytes
    assert given == {}
    assert memory.used == 0


@pytest.mark.parametrize("address", [0, BASE + 0x20, BASE + (1 << 20) - 0x800, -4096, 1 << 70])
def test_a_custom_allocator_that_gives_nonsense_is_caught(address: int) -> None:
    memory = Arena(BASE, 1 << 20)
    sizes = cfg(alloc=lambda size: address, free=lambda address, size: None)
    with pytest.raises(TableMemoryError, match=r"must be aligned to their size and lie in Arena"):
        alloc("ARM_64_LPAE_S1", sizes, memory=memory)


def test_half_a_custom_allocator_and_one_where_none_fits_are_refused() -> None:
    take, back = (lambda size: None), (lambda address, size: None)
    with pytest.raises(ConfigRefusedError, match="needs both"):
        alloc("ARM_64_LPAE_S1", cfg(alloc=take))
    with pytest.raises(ConfigRefusedError, match="needs both"):
        alloc("ARM_64_LPAE_S1", cfg(free=back))
    with pytest.raises(ConfigRefusedError, match="no custom allocator"):
        alloc("ARM_V7S", cfg(ias=32, oas=32, alloc=take, free=back))


def test_tables_where_no_descriptor_can_point_are_not_used() -> None:
    far = Arena(1 << 48, 1 << 20)
    table = alloc("ARM_64_LPAE_S1", cfg(), memory=far)
    assert table.map_pages(0, 0, K4, 1, RW) == (-12, 0)
    assert table.warnings == 1
    table.close()
    assert far.used == 0
    dart = alloc("APPLE_DART", cfg(K4, ias=32, oas=42), memory=Arena(1 << 40, 1 << 20))
    assert dart.map_pages(0, 0, K4, 1, RW) == (-12, 0)


def test_a_short_descriptor_root_above_4g_needs_mediateks_extension() -> None:
    high = Arena(0x1_0000_0000, 1 << 20)
    with pytest.raises(TableMemoryError, match="0x100000000, over what the registers can hold"):
        alloc("ARM_V7S", cfg(ias=32, oas=32), memory=high)
    assert high.used == 0
    quirks = Quirk.ARM_MTK_EXT | Quirk.ARM_MTK_TTBR_EXT | Quirk.NO_PERMS
    table = alloc("ARM_V7S", cfg(ias=34, oas=35, quirks=quirks), memory=high)
    table.map(3 * G1, 0, K4, RW)
    assert high.halves[3 * G1 >> 20] == 0x0001_0201  # bit 9 is address bit 32
    table.close()
    assert high.used == 0
