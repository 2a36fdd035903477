# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing and reading page tables: one page, 512 pages, a gigabyte a call; a million look-ups.

For scale, Linux's own C code on a machine like the one the aims were set on: 57 M maps a second one
page a call, 750 M pages a second at 512 a call, 65 and 1,000 M unmapping, 34 M look-ups a second.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: this folder would hide the package of this name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from bench.measure import Row, once
from pgtable import Arena, FlushOps, IotlbGather, PageTable, PageTableConfig, Prot, alloc

BASE = 0x4000_0000
K4, K16, M2, G1 = 0x1000, 0x4000, 1 << 21, 1 << 30
RW = int(Prot.READ | Prot.WRITE)
SINGLE = 4000
RUNS = 128
ROUNDS = 9


class Listener(FlushOps):
    """A driver that takes a run of leaves as a run."""

    def tlb_add_pages(
        self, gather: IotlbGather | None, iova: int, granule: int, count: int
    ) -> None:
        if gather is not None:
            gather.add_range(iova, granule * count)


def config(bitmap: int = K4 | M2 | G1, ias: int = 48, oas: int = 48) -> PageTableConfig:
    return PageTableConfig(pgsize_bitmap=bitmap, ias=ias, oas=oas, tlb=Listener())


def there_and_back(
    forth: Callable[[], object], back: Callable[[], object], calls: int
) -> tuple[float, float]:
    """Return microseconds a call of two loops that undo each other."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for which, loop in enumerate((forth, back)):
            best[which] = min(best[which], once(loop, rounds=1))
    return best[0] / calls * 1e6, best[1] / calls * 1e6


def single(table: PageTable[Any]) -> Iterator[Row]:
    gather = IotlbGather()
    spots = [place * K4 for place in range(SINGLE)]

    def map_pages() -> None:
        call = table.map_pages
        for iova in spots:
            call(iova, iova, K4, 1, RW)

    def unmap_pages() -> None:
        call = table.unmap_pages
        for iova in spots:
            call(iova, K4, 1, gather)

    def map_checked() -> None:
        call = table.map
        for iova in spots:
            call(iova, iova, K4, RW)

    def unmap_checked() -> None:
        call = table.unmap
        for iova in spots:
            call(iova, K4, gather)

    def look() -> None:
        call = table.iova_to_phys
        for iova in spots:
            call(iova)

    forth, back = there_and_back(map_pages, unmap_pages, SINGLE)
    yield Row("map_pages, one 4K page a call", forth, "us", "< 3")
    yield Row("unmap_pages, one 4K page a call", back, "us", "< 3")
    forth, back = there_and_back(map_checked, unmap_checked, SINGLE)
    yield Row("map, one 4K page a call", forth, "us", "< 3")
    yield Row("unmap, one 4K page a call", back, "us", "< 3")
    map_pages()
    yield Row("iova_to_phys", once(look, ROUNDS) / SINGLE * 1e6, "us", "< 1.5")
    unmap_pages()


def runs(fmt: str, cfg: PageTableConfig, page: int, pages: int, aim: str = "") -> Iterator[Row]:
    """Measure calls that fill, and empty, one leaf table each."""
    table = alloc(fmt, cfg, memory=Arena(BASE, 1 << 26))
    gather = IotlbGather()
    spots = [place * page * pages for place in range(RUNS)]

    def forth() -> None:
        for iova in spots:
            table.map_pages(iova, iova, page, pages, RW)

    def back() -> None:
        for iova in spots:
            table.unmap_pages(iova, page, pages, gather)

    map_us, unmap_us = there_and_back(forth, back, RUNS)
    yield Row(f"{fmt}: map_pages, {pages} pages a call", map_us, "us", aim)
    yield Row(f"{fmt}: unmap_pages, {pages} pages a call", unmap_us, "us", aim)
    table.close()


def gigabyte() -> Iterator[Row]:
    """Measure one call for 262,144 pages, in memory that is there and in fresh memory."""
    memory = Arena(BASE, buffer=bytearray(8 << 20))

    def fresh_table() -> PageTable[Any]:
        return alloc("ARM_64_LPAE_S1", config(K4), memory=memory)

    best = {"new": float("inf"), "unmap": float("inf"), "again": float("inf")}
    for _ in range(ROUNDS):
        with fresh_table() as table:
            for name, call in (
                ("new", lambda: table.map(G1, G1, G1, RW)),
                ("unmap", lambda: table.unmap(G1, G1, IotlbGather())),
                ("again", lambda: table.map(G1, G1, G1, RW)),
            ):
                best[name] = min(best[name], once(call, rounds=1))
    yield Row("map, a gigabyte of 4K pages, new tables", best["new"] * 1e6, "us", "< 600")
    yield Row("map, a gigabyte of 4K pages, same tables", best["again"] * 1e6, "us", "< 600")
    yield Row("unmap, a gigabyte of 4K pages", best["unmap"] * 1e6, "us", "")

    def untouched() -> None:
        with alloc("ARM_64_LPAE_S1", config(K4), memory=Arena(BASE, 8 << 20)) as table:
            table.map(G1, G1, G1, RW)

    yield Row("map a gigabyte in memory never touched before", once(untouched) * 1e6, "us", "")


def look_ups() -> Iterator[Row]:
    table = alloc("ARM_64_LPAE_S1", config(K4), memory=Arena(BASE, 8 << 20))
    table.map(0, G1, G1, RW)
    iovas = np.random.default_rng(7).integers(0, G1, 1_000_000, dtype=np.uint64)
    seconds = once(lambda: table.iovas_to_phys(iovas), ROUNDS)
    yield Row("iovas_to_phys, a million random addresses", 1 / seconds, "M/s", "> 20")


def space() -> Iterator[Row]:
    """Measure what a mapped gigabyte takes: table memory, and Python's own."""
    with alloc("ARM_64_LPAE_S1", config(K4), memory=Arena(BASE, 8 << 20)) as warm:
        warm.map(0, 0, G1, RW)
    memory = Arena(BASE, 8 << 20)
    table = alloc("ARM_64_LPAE_S1", config(K4), memory=memory)
    tracemalloc.start()
    table.map(0, 0, G1, RW)
    python = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    yield Row("tables for a gigabyte of 4K pages", memory.used / 1024, "KiB", "")
    yield Row("Python objects for a gigabyte of 4K pages", python / 1024, "KiB", "")


def creation() -> Iterator[Row]:
    memory = Arena(BASE, 1 << 20)

    def make() -> None:
        for _ in range(200):
            alloc("ARM_64_LPAE_S1", config(), memory=memory).close()

    yield Row("a table made and freed", once(make) / 200 * 1e6, "us", "")


def rows() -> list[Row]:
    """Measure and return the rows of this part of the table."""
    found = list(single(alloc("ARM_64_LPAE_S1", config(), memory=Arena(BASE, 1 << 24))))
    found += runs("ARM_64_LPAE_S1", config(), K4, 512, "< 6")
    found += gigabyte()
    found += look_ups()
    found += runs("ARM_V7S", config(0x1111000, 32, 32), K4, 256)
    found += runs("APPLE_DART2", config(K16, 42, 42), K16, 2048)
    found += space()
    found += creation()
    return found


def main() -> None:
    """Print the table."""
    for name, value, unit, aim in rows():
        print(f"{name:52}{value:12,.2f} {unit:4}{aim and f'  ({aim})'}")


if __name__ == "__main__":
    main()
