# SPDX-License-Identifier: GPL-2.0-or-later
"""Gathers, and flush callbacks that travel as runs."""

from __future__ import annotations

from pgtable_helpers import BASE, G1, K4, M2, RW, cfg

from pgtable import Arena, FlushOps, FlushRecorder, IotlbGather, alloc


class Listener(FlushOps):
    """A driver that knows nothing of runs."""

    def __init__(self) -> None:
        self.pages: list[tuple[int, int]] = []

    def tlb_add_page(self, gather: IotlbGather | None, iova: int, granule: int) -> None:
        self.pages.append((iova, granule))
        if gather is not None:
            gather.add_range(iova, granule)


def test_a_run_reaches_a_plain_listener_page_by_page() -> None:
    tlb = Listener()
    table = alloc("ARM_64_LPAE_S1", cfg(tlb=tlb), memory=Arena(BASE, 1 << 20))
    table.map(0x5000, 0x8000_0000, 3 * K4, RW)
    gather = IotlbGather()
    table.unmap(0x5000, 3 * K4, gather)
    assert tlb.pages == [(0x5000, K4), (0x6000, K4), (0x7000, K4)]
    assert (gather.start, gather.end) == (0x5000, 0x7FFF)


def test_a_recorder_keeps_runs_and_expands_them_on_demand() -> None:
    tlb = FlushRecorder()
    table = alloc("ARM_64_LPAE_S1", cfg(tlb=tlb), memory=Arena(BASE, 1 << 20))
    table.map(0, 0x8000_0000, 2 * K4, RW)
    table.unmap(0, 2 * K4, IotlbGather())
    assert tlb.events == [("add_page", 0, K4, 2)]
    assert list(tlb.expanded()) == [("add_page", 0, K4, 1), ("add_page", K4, K4, 1)]


def test_a_queued_gather_and_no_gather_are_told_no_leaves() -> None:
    tlb = FlushRecorder()
    table = alloc("ARM_64_LPAE_S1", cfg(tlb=tlb), memory=Arena(BASE, 1 << 20))
    for gather in (None, IotlbGather(queued=True)):
        table.map(0, 0x8000_0000, 2 * K4, RW)
        table.unmap(0, 2 * K4, gather)
    assert tlb.events == []


def test_a_table_that_goes_away_is_flushed_before_its_memory_is_freed() -> None:
    order: list[str] = []

    class Tlb(FlushOps):
        def tlb_flush_walk(self, iova: int, size: int, granule: int) -> None:
            order.append(f"walk {iova:#x} {size:#x} {granule:#x}")

        def tlb_flush_all(self) -> None:
            order.append("all")

    class Memory(Arena):
        def free(self, address: int, size: int) -> None:
            order.append(f"free {address:#x}")
            super().free(address, size)

    table = alloc("ARM_64_LPAE_S1", cfg(tlb=Tlb()), memory=Memory(BASE, 1 << 20))
    table.map(G1, 0x8000_0000, K4, RW)
    table.unmap_pages(G1, M2, 1)
    assert order == ["walk 0x40000000 0x200000 0x1000", "free 0x40003000"]
    table.close()
    assert order[2:] == ["all", "free 0x40002000", "free 0x40001000", "free 0x40000000"]


def test_a_gather_grows_and_knows_what_is_apart_from_it() -> None:
    gather = IotlbGather()
    assert gather.empty
    assert not gather.is_disjoint(0, K4)
    gather.add_range(0x4000, K4)
    gather.add_range(0x8000, K4)
    assert (gather.start, gather.end) == (0x4000, 0x8FFF)
    assert not gather.is_disjoint(0x9000, K4)
    assert gather.is_disjoint(0xA000, K4)
    assert repr(gather) == "IotlbGather(0x4000-0x8fff)"
    gather.clear()
    assert repr(gather) == "IotlbGather(empty)"
