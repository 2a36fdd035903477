# SPDX-License-Identifier: GPL-2.0-or-later
"""`map` and `unmap`: any range, checked first, all or nothing, errors with addresses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pgtable_helpers import (
    BASE,
    G1,
    K4,
    K64,
    M1,
    M2,
    M16,
    RW,
    SETUPS,
    CountedArena,
    R,
    Setup,
    cfg,
    contents,
    mappings,
)

from pgtable import (
    AlreadyMappedError,
    Arena,
    BadRangeError,
    NoAccessError,
    NotMappedError,
    NotOfferedError,
    OutOfTableMemoryError,
    PageTable,
    PageTableConfig,
    PartialUnmapError,
    Prot,
    Quirk,
    TableFreedError,
    alloc,
    free,
)
from pgtable.table import pick_pages

formats = pytest.mark.parametrize("setup", SETUPS, ids=str)


def s1(**kw: Any) -> PageTable[Any]:
    return alloc("ARM_64_LPAE_S1", cfg(**kw), memory=Arena(BASE, 1 << 22))


@formats
def test_a_mapped_range_translates_and_an_unmapped_one_does_not(setup: Setup) -> None:
    memory = Arena(BASE, 1 << 22)
    with setup.alloc(memory) as table:
        page = table.cfg.pgsize_bitmap & -table.cfg.pgsize_bitmap
        table.map(3 * page, 7 * page, 2 * page, RW)
        assert table.iova_to_phys(3 * page) == 7 * page
        assert table.iova_to_phys(5 * page - 1) == 9 * page - 1
        assert table.iova_to_phys(5 * page) == 0
        assert table.iova_to_phys(3 * page - 1) == 0
        table.unmap(3 * page, 2 * page)
        assert table.iova_to_phys(3 * page) == 0
    assert memory.used == 0


@formats
def test_the_top_of_the_address_space_can_be_mapped(setup: Setup) -> None:
    with setup.alloc(Arena(BASE, 1 << 22)) as table:
        page = table.cfg.pgsize_bitmap & -table.cfg.pgsize_bitmap
        iova = (1 << table.cfg.ias) - 2 * page
        paddr = (1 << table.cfg.oas) - 2 * page
        table.map(iova, paddr, 2 * page, R)
        assert table.iova_to_phys(iova + 2 * page - 1) == paddr + 2 * page - 1
        assert mappings(table, 0, 1 << table.cfg.ias) == [(iova, page), (iova + page, page)]
        with pytest.raises(BadRangeError):
            table.map(iova, 0, 3 * page, R)
        table.unmap(iova, 2 * page)


def test_the_largest_pages_that_fit_are_used() -> None:
    table = s1()
    table.map(G1 - M2 - K4, 4 * G1 - M2 - K4, G1 + 2 * M2 + 2 * K4, RW)
    assert [tuple(run) for run in table.runs(0, 4 * G1)] == [
        (G1 - M2 - K4, K4, 1),
        (G1 - M2, M2, 1),
        (G1, G1, 1),
        (2 * G1, M2, 1),
        (2 * G1 + M2, K4, 1),
    ]


def test_pgsize_forces_small_pages() -> None:
    table = s1()
    table.map(0, 0, M2, RW, pgsize=K4)
    assert [tuple(run) for run in table.runs(0, M2)] == [(0, K4, 512)]
    with pytest.raises(BadRangeError, match=r"pgsize 0x2000: this table has 4K\|2M\|1G"):
        table.map(M2, 0, M2, RW, pgsize=0x2000)


def test_pick_pages_takes_no_page_larger_than_the_range() -> None:
    sizes = K4 | M2 | G1
    assert pick_pages(sizes, 0, 0, K4) == (K4, 1)
    assert pick_pages(sizes, 0, 0, M2) == (M2, 1)
    assert pick_pages(sizes, 0, 0, M2 + K4) == (M2, 1)
    assert pick_pages(sizes, K4, K4, 4 * M2) == (K4, 511)
    assert pick_pages(sizes, K4, 2 * K4, 4 * M2) == (K4, 2048)  # never aligned to each other
    assert pick_pages(sizes, 0, M2, 2 * G1) == (M2, 1024)


@pytest.mark.parametrize(
    ("iova", "paddr", "size", "why"),
    [
        (0x800, 0, K4, "multiples of the smallest page, 0x1000"),
        (0, 0x800, K4, "multiples of the smallest page"),
        (0, 0, 0x1800, "multiples of the smallest page"),
        (0, 0, 0, "must be positive"),
        (0, 0, -K4, "must be positive"),
        (-K4, 0, K4, "addresses 0x0 to 0xffffffffffff"),
        (0, -K4, K4, "48-bit addresses"),
        (1 << 48, 0, K4, "addresses 0x0 to 0xffffffffffff"),
        ((1 << 48) - K4, 0, 2 * K4, "addresses 0x0 to 0xffffffffffff"),
        (0, (1 << 48) - K4, 2 * K4, "puts out 48-bit"),
        (1 << 200, 0, K4, "addresses 0x0 to"),
        (0, 0, 1 << 200, "addresses 0x0 to"),
    ],
)
def test_a_bad_range_is_refused_with_the_reason(iova: int, paddr: int, size: int, why: str) -> None:
    table = s1()
    with pytest.raises(BadRangeError, match=why) as caught:
        table.map(iova, paddr, size, RW)
    assert (caught.value.iova, caught.value.size) == (iova, size)
    assert list(table.runs(0, 1 << 48)) == []


def test_addresses_that_are_no_integers_are_type_errors() -> None:
    table = s1()
    with pytest.raises(TypeError):
        table.map(0.5, 0, K4, RW)  # type: ignore[arg-type]
    table.map(np.uint64(K4), np.int64(K4), np.uint32(K4), Prot.READ)  # type: ignore[arg-type]
    assert table.iova_to_phys(K4) == K4


def test_a_mapping_without_access_is_refused() -> None:
    with pytest.raises(NoAccessError, match="neither READ nor WRITE"):
        s1().map(0, 0, K4, Prot.CACHE)


def test_an_overlap_is_named_and_changes_nothing() -> None:
    table = s1()
    table.map(5 * K4, 0x9000_0000, K4, RW)
    before = contents(table.memory)  # type: ignore[arg-type]
    with pytest.raises(AlreadyMappedError, match="0x5000 is mapped to 0x90000000") as caught:
        table.map(0, 0x8000_0000, 16 * K4, RW)
    assert (caught.value.iova, caught.value.paddr) == (0x5000, 0x9000_0000)
    assert contents(table.memory) == before  # type: ignore[arg-type]
    assert table.warnings == 0


def test_a_block_never_replaces_the_pages_below_it() -> None:
    table = s1()
    table.map(M2 + 5 * K4, 0x9000_0000, K4, RW)
    with pytest.raises(AlreadyMappedError) as caught:
        table.map(0, 0, 2 * M2, RW)
    assert caught.value.iova == M2 + 5 * K4
    assert mappings(table, 0, G1) == [(M2 + 5 * K4, K4)]
    table.unmap(M2 + 5 * K4, K4)
    table.map(0, 0, 2 * M2, RW)  # an empty table does not stand in the way
    assert mappings(table, 0, G1) == [(0, M2), (M2, M2)]


def test_a_page_under_a_block_is_an_overlap() -> None:
    table = s1()
    table.map(0, G1, M2, RW)
    with pytest.raises(AlreadyMappedError, match="0x3000 is mapped to 0x40003000"):
        table.map(3 * K4, 0, K4, RW)


def test_an_overlap_deep_in_a_long_map_takes_everything_back() -> None:
    table = alloc("ARM_64_LPAE_S1", cfg(K4), memory=Arena(BASE, 1 << 24))
    table.map(G1 + 700 * M2, 0, K4, RW)
    with pytest.raises(AlreadyMappedError) as caught:
        table.map(G1 + K4, 0, 2 * G1, RW)
    assert caught.value.iova == G1 + 700 * M2
    assert mappings(table, 0, 8 * G1) == [(G1 + 700 * M2, K4)]


def test_unmapping_a_hole_names_it_and_changes_nothing() -> None:
    table = s1()
    table.map(0, 0, 4 * K4, RW)
    table.map(5 * K4, 0, K4, RW)
    with pytest.raises(NotMappedError, match="nothing is mapped at 0x4000") as caught:
        table.unmap(0, 6 * K4)
    assert caught.value.iova == 0x4000
    assert len(mappings(table, 0, M2)) == 5
    with pytest.raises(NotMappedError, match="0x8000"):
        table.unmap(8 * K4, K4)
    with pytest.raises(NotMappedError):
        table.unmap(0, M2)
    assert table.warnings == 0


@pytest.mark.parametrize(("iova", "size"), [(0, K4), (K4, M2), (M2 - K4, K4), (K4, M2 - 2 * K4)])
def test_unmapping_part_of_a_block_names_the_block(iova: int, size: int) -> None:
    table = s1()
    table.map(0, G1, M2, RW)
    table.map(M2, 0, K4, RW)
    with pytest.raises(PartialUnmapError, match="leaf of 0x200000 bytes at 0x0") as caught:
        table.unmap(iova, size)
    assert (caught.value.leaf, caught.value.leaf_size) == (0, M2)
    assert len(mappings(table, 0, G1)) == 2


def test_v7s_leaves_of_all_sizes_map_and_unmap_whole() -> None:
    sizes = K4 | K64 | M1 | M16
    table = alloc("ARM_V7S", cfg(sizes, ias=32, oas=32), memory=Arena(BASE, 1 << 22))
    start, size = M16 - M1 - K64 - K4, M16 + 2 * (M1 + K64 + K4)
    table.map(start, start, size, RW)
    assert [tuple(run) for run in table.runs(0, 4 * M16)] == [
        (M16 - M1 - K64 - K4, K4, 1),
        (M16 - M1 - K64, K64, 1),
        (M16 - M1, M1, 1),
        (M16, M16, 1),
        (2 * M16, M1, 1),
        (2 * M16 + M1, K64, 1),
        (2 * M16 + M1 + K64, K4, 1),
    ]
    with pytest.raises(PartialUnmapError, match="leaf of 0x10000 bytes"):
        table.unmap(M16 - M1 - K64, K4)
    with pytest.raises(PartialUnmapError, match="leaf of 0x1000000 bytes"):
        table.unmap(M16, M1)
    table.unmap(start, size)
    assert list(table.runs(0, 1 << 32)) == []


def test_ttbr1_addresses_have_all_upper_bits_set() -> None:
    table = s1(ias=39, quirks=Quirk.ARM_TTBR1)
    top = (1 << 64) - (1 << 39)
    table.map(top, 0x8000_0000, M2 + K4, RW)
    assert table.iova_to_phys(top + M2) == 0x8000_0000 + M2
    table.map((1 << 64) - K4, 0x9000_0000, K4, RW)
    assert mappings(table, top, 1 << 39) == [
        (top, M2),
        (top + M2, K4),
        ((1 << 64) - K4, K4),
    ]
    with pytest.raises(BadRangeError, match="addresses 0xffffff8000000000 to 0xffffffffffffffff"):
        table.map(0, 0, K4, RW)
    table.unmap(top, M2 + K4)


def test_running_out_of_memory_says_where_and_takes_everything_back() -> None:
    memory = CountedArena(BASE, 1 << 22)
    table = alloc("ARM_64_LPAE_S1", cfg(K4), memory=memory)
    memory.allowed = memory.asked + 3
    with pytest.raises(OutOfTableMemoryError, match="0x1000 bytes at 0x400000"):
        table.map(M2, 0, 2 * M2, RW)
    assert mappings(table, 0, 1 << 48) == []
    table.close()
    assert memory.used == 0


def test_a_freed_table_says_so() -> None:
    table = s1()
    table.map(0, 0, K4, RW)
    free(table)
    free(table)
    for call in (
        lambda: table.map(0, 0, K4, RW),
        lambda: table.unmap(0, K4),
        lambda: table.map_pages(0, 0, K4, 1, RW),
        lambda: table.unmap_pages(0, K4, 1),
        lambda: table.iova_to_phys(0),
        lambda: table.iovas_to_phys(np.zeros(1, dtype=np.uint64)),
        lambda: list(table.runs(0, K4)),
    ):
        with pytest.raises(TableFreedError, match="ARM_64_LPAE_S1 table was freed"):
            call()
    assert repr(table).endswith("freed>")


def test_a_table_is_freed_when_its_with_block_fails() -> None:
    memory = Arena(BASE, 1 << 20)

    def fail() -> None:
        with alloc("ARM_64_LPAE_S1", cfg(), memory=memory) as table:
            table.map(0, 0, K4, RW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert memory.used == 0


@pytest.mark.parametrize("fmt", ["ARM_V7S", "APPLE_DART"])
def test_operations_a_format_has_not_are_said_not_to_be_offered(fmt: str) -> None:
    from pgtable import DirtyBitmap

    table = alloc(fmt, cfg(K4, ias=32, oas=32 if fmt == "ARM_V7S" else 36))
    with pytest.raises(NotOfferedError, match="pgtable_walk"):
        table.pgtable_walk(0, [0] * 4)
    with pytest.raises(NotOfferedError, match="dirty"):
        table.read_and_clear_dirty(0, K4, 0, DirtyBitmap())


def test_a_table_without_a_memory_gets_its_own() -> None:
    with alloc("ARM_64_LPAE_S1", cfg()) as table:
        table.map(0, 0, G1, RW)
        assert table.iova_to_phys(G1 - 1) == G1 - 1
        assert table.regs.ttbr == 0x8000_0000


def test_warnings_are_counted_and_told() -> None:
    told: list[str] = []
    table = s1(warn=told.append)
    table.map_pages(0, 0, 0x3000, 1, RW)
    assert table.warnings == 1
    assert told == ["map at 0x0: page size 0x3000 is not one of this table's"]


def test_the_configuration_asked_for_stays_as_it_was() -> None:
    asked = PageTableConfig(pgsize_bitmap=K4 | K64 | M2, ias=64, oas=64)
    table = alloc("ARM_64_LPAE_S1", asked)
    assert (asked.pgsize_bitmap, asked.ias) == (K4 | K64 | M2, 64)
    assert (table.cfg.pgsize_bitmap, table.cfg.ias, table.cfg.oas) == (K4 | M2, 48, 48)
    assert repr(table) == "<ARM_64_LPAE_S1 table, 48-bit in, 48-bit out, pages 4K|2M>"
