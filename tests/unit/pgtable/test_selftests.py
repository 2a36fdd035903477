# SPDX-License-Identifier: GPL-2.0-or-later
"""The checks of the kernel's two io-pgtable self-tests, on their configurations.

The long-descriptor test runs stage 1 and stage 2 over all granules and address sizes with input
not above output; the short-descriptor test runs one configuration. Both let their flush callbacks
check that they are told sizes the table has.
"""

from __future__ import annotations

from typing import Any

import pytest
from pgtable_helpers import BASE, G1, K4, K16, K64, M1, M2, M16, M32, M512

from pgtable import Arena, FlushOps, IotlbGather, PageTable, PageTableConfig, Prot, Quirk, alloc

FULL = int(Prot.READ | Prot.WRITE | Prot.NOEXEC | Prot.CACHE)
OTHER = int(Prot.READ | Prot.NOEXEC)
WRITE = int(Prot.WRITE)

GRANULES = [K4 | M2 | G1, K16 | M32, K64 | M512]
WIDTHS = [32, 36, 40, 42, 44, 48]
SIZES = [(ias, oas) for oas in WIDTHS for ias in WIDTHS if ias <= oas]


class CheckingFlush(FlushOps):
    """Sees to it that a table only tells sizes of its own."""

    def __init__(self) -> None:
        self.bitmap = 0

    def tlb_flush_walk(self, iova: int, size: int, granule: int) -> None:
        assert size & self.bitmap

    def tlb_add_page(self, gather: IotlbGather | None, iova: int, granule: int) -> None:
        assert granule & self.bitmap


def sizes_in(bitmap: int) -> list[int]:
    return [1 << bit for bit in range(64) if bitmap >> bit & 1]


def check_empty(table: PageTable[Any]) -> None:
    for iova in (42, G1 + 42, 2 * G1 + 42):
        assert table.iova_to_phys(iova) == 0


def check_maps(table: PageTable[Any], stride: int) -> None:
    """Map one page of each size, and fail to map another over it."""
    for place, size in enumerate(sizes_in(table.cfg.pgsize_bitmap)):
        iova = place * stride
        assert table.map_pages(iova, iova, size, 1, FULL)[0] == 0
        assert table.map_pages(iova, iova + size, size, 1, OTHER)[0] != 0
        assert table.iova_to_phys(iova + 42) == iova + 42


def check_unmaps_and_remaps(table: PageTable[Any], stride: int) -> None:
    for place, size in enumerate(sizes_in(table.cfg.pgsize_bitmap)):
        iova = place * stride
        assert table.unmap_pages(iova, size, 1) == size
        assert table.iova_to_phys(iova + 42) == 0
        assert table.map_pages(iova, iova, size, 1, WRITE)[0] == 0
        assert table.iova_to_phys(iova + 42) == iova + 42


def check_last_page(table: PageTable[Any]) -> None:
    size = sizes_in(table.cfg.pgsize_bitmap)[-1]
    iova = (1 << table.cfg.ias) - size
    assert table.map_pages(iova, iova, size, 1, FULL) == (0, size)
    assert table.unmap_pages(iova, size, 1) == size


@pytest.mark.parametrize(("ias", "oas"), SIZES)
@pytest.mark.parametrize("bitmap", GRANULES, ids=["4K", "16K", "64K"])
@pytest.mark.parametrize("fmt", ["ARM_64_LPAE_S1", "ARM_64_LPAE_S2"])
def test_long_descriptor_selftest(fmt: str, bitmap: int, ias: int, oas: int) -> None:
    tlb = CheckingFlush()
    cfg = PageTableConfig(
        pgsize_bitmap=bitmap, ias=ias, oas=oas, coherent_walk=True, tlb=tlb, quirks=Quirk.NO_WARN
    )
    memory = Arena(BASE, 1 << 22)
    with alloc(fmt, cfg, memory=memory) as table:
        tlb.bitmap = table.cfg.pgsize_bitmap
        check_empty(table)
        check_maps(table, G1)
        check_unmaps_and_remaps(table, G1)
        check_last_page(table)
        assert table.warnings == 0
    assert memory.used == 0


def test_short_descriptor_selftest() -> None:
    tlb = CheckingFlush()
    cfg = PageTableConfig(
        pgsize_bitmap=K4 | K64 | M1 | M16,
        ias=32,
        oas=32,
        coherent_walk=True,
        tlb=tlb,
        quirks=Quirk.ARM_NS,
    )
    memory = Arena(BASE, 1 << 22)
    with alloc("ARM_V7S", cfg, memory=memory) as table:
        tlb.bitmap = table.cfg.pgsize_bitmap
        check_empty(table)
        check_maps(table, M16)
        check_unmaps_and_remaps(table, M16)
        assert table.warnings == 4  # one an overlap; the kernel switches these off for the test
    assert memory.used == 0
