# SPDX-License-Identifier: GPL-2.0-or-later
"""Fast ways equal the slow ones, and no argument of any size or sign does harm."""

from __future__ import annotations

import contextlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "pgtable"))

from pgtable_helpers import BASE, G1, K4, K64, M2, M512, RW, SETUPS, R, Setup, W, cfg, contents

from pgtable import (
    Arena,
    DirtyBitmap,
    FlushRecorder,
    IotlbGather,
    PageTable,
    PgtableError,
    Quirk,
    alloc,
)

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

LPAE = [setup for setup in SETUPS if "LPAE" in setup.fmt] + [
    Setup("ARM_64_LPAE_S1", cfg(ias=40, coherent_walk=False)),
    Setup("ARM_64_LPAE_S1", cfg(ias=39, quirks=Quirk.ARM_TTBR1 | Quirk.ARM_NS)),
    Setup("ARM_64_LPAE_S1", cfg(ias=32, quirks=Quirk.NO_WARN)),
]

Call = tuple[str, int, int, int, int, int]


class Watched(Arena):
    """An arena that notes every call of the table, in order with the flushes."""

    def __init__(self, fmt: str, asked: Any) -> None:
        import dataclasses

        super().__init__(BASE, 1 << 25, reuse=False)
        self.events: list[tuple[Any, ...]] = []
        self.tlb = FlushRecorder()
        self.tlb.events = self.events  # type: ignore[assignment]
        self.table = alloc(
            fmt, dataclasses.replace(asked, tlb=self.tlb, warn=self.warned), memory=self
        )

    def warned(self, what: str) -> None:
        self.events.append(("warn",))

    def alloc(self, size: int) -> int | None:
        address = super().alloc(size)
        self.events.append(("alloc", address, size))
        return address

    def free(self, address: int, size: int) -> None:
        super().free(address, size)
        self.events.append(("free", address, size))

    def sync(self, address: int, length: int) -> None:
        self.events.append(("sync", address, length))

    def taken(self) -> list[tuple[Any, ...]]:
        """Return the events so far, runs taken apart."""
        out: list[tuple[Any, ...]] = []
        for event in self.events:
            if event[0] == "add_page":
                out += [("add_page", event[1] + i * event[2], event[2]) for i in range(event[3])]
            else:
                out.append(event)
        self.events.clear()
        return out


def calls(setup: Setup) -> st.SearchStrategy[list[Call]]:
    """Make lists of raw calls that meet each other."""
    bitmap = setup.cfg.pgsize_bitmap
    sizes = [1 << bit for bit in range(48) if bitmap >> bit & 1]
    low = 0
    if setup.cfg.quirks & Quirk.ARM_TTBR1:
        low = (1 << 64) - (1 << setup.cfg.ias)

    top, out = 1 << setup.cfg.ias, 1 << setup.cfg.oas

    def call(kind: str, size: int, block: int, page: int, count: int, prot: int, odd: int) -> Call:
        iova = low + block * sizes[-1] + (page * size if size != sizes[-1] else 0)
        paddr = page * size
        if odd == 1:
            paddr = out - page * size  # runs over the end, or starts at it
        elif odd == 2:
            iova = low + top - page * size & (1 << 64) - 1
        return kind, iova, paddr, size, count, prot

    one = st.builds(
        call,
        st.sampled_from(["map", "map", "unmap", "unmap0", "look"]),
        st.sampled_from(sizes),
        st.integers(0, 2),
        st.one_of(st.integers(0, 5), st.integers(505, 513)),
        st.one_of(st.just(1), st.integers(0, 600)),
        st.sampled_from([R, W, RW, RW | 4, 0]),
        st.integers(0, 9),
    )
    return st.lists(one, min_size=1, max_size=25)


def perform(table: PageTable[Any], call: Call) -> Any:
    kind, iova, paddr, size, count, prot = call
    if kind == "map":
        return table.map_pages(iova, paddr, size, count, prot)
    if kind == "look":
        return table.iova_to_phys(iova + 42)
    return table.unmap_pages(iova, size, count, IotlbGather() if kind == "unmap" else None)


@pytest.mark.parametrize("setup", LPAE, ids=str)
@quick
@given(data=st.data())
def test_the_short_way_through_a_call_equals_the_checked_one(
    setup: Setup, data: st.DataObject
) -> None:
    fast, slow = (Watched(setup.fmt, setup.cfg) for _ in range(2))
    slow.table.map_pages = slow.table._map_odd  # type: ignore[method-assign, attr-defined]
    slow.table.unmap_pages = slow.table._unmap_odd  # type: ignore[method-assign, attr-defined]
    for call in data.draw(calls(setup)):
        assert perform(fast.table, call) == perform(slow.table, call), call
        assert fast.taken() == slow.taken(), call
        assert contents(fast) == contents(slow), call
    fast.table.close()
    slow.table.close()
    assert fast.taken() == slow.taken()
    assert fast.used == slow.used == 0


V7S = [
    Setup("ARM_V7S", cfg(0x1111000, ias=32, oas=32)),
    Setup("ARM_V7S", cfg(0x1111000, ias=32, oas=32, coherent_walk=False)),
    Setup("ARM_V7S", cfg(0x1111000, ias=34, oas=35, quirks=Quirk.ARM_MTK_EXT | Quirk.NO_PERMS)),
]


@pytest.mark.parametrize("setup", V7S, ids=str)
@quick
@given(data=st.data())
def test_a_short_descriptor_call_equals_its_pages_one_by_one(
    setup: Setup, data: st.DataObject
) -> None:
    whole, parts = (Watched(setup.fmt, setup.cfg) for _ in range(2))
    ends = 1 << setup.cfg.ias, 1 << setup.cfg.oas
    for kind, iova, paddr, size, pages, prot in data.draw(calls(setup)):
        count = min(pages, (ends[0] - iova) // size, (ends[1] - paddr) // size)
        if kind == "look" or count < 1:
            continue
        done = 0
        if kind == "map":
            ret = 0
            while not ret and done < count * size:
                ret, mapped = parts.table.map_pages(iova + done, paddr + done, size, 1, prot)
                done += mapped
            assert whole.table.map_pages(iova, paddr, size, count, prot) == (ret, done)
        else:
            gather = IotlbGather() if kind == "unmap" else None
            while done < count * size:
                step = parts.table.unmap_pages(iova + done, size, 1, gather)
                if not step:
                    break
                done += step
            assert whole.table.unmap_pages(iova, size, count, gather) == done
        assert whole.taken() == parts.taken()
        assert contents(whole) == contents(parts)


@pytest.mark.parametrize("setup", [setup for setup in SETUPS if "DART" in setup.fmt], ids=str)
@quick
@given(data=st.data())
def test_a_dart_call_equals_its_pages_one_by_one(setup: Setup, data: st.DataObject) -> None:
    whole, parts = (Watched(setup.fmt, setup.cfg) for _ in range(2))
    for kind, iova, paddr, size, count, prot in data.draw(calls(setup)):
        if kind == "look" or not count:
            continue
        if kind == "map":
            ret, mapped = whole.table.map_pages(iova, paddr, size, count, prot)
            if ret:
                return  # a long call checks all of its entries first
            for at in range(0, mapped, size):
                assert parts.table.map_pages(iova + at, paddr + at, size, 1, prot) in (
                    (0, size),
                    (-34, 0),
                )
            if paddr + mapped > 1 << setup.cfg.oas:
                return
        else:
            unmapped = whole.table.unmap_pages(iova, size, count, IotlbGather())
            for at in range(0, unmapped, size):
                assert parts.table.unmap_pages(iova + at, size, 1, IotlbGather()) == size
            if unmapped < count * size:
                whole.events = [event for event in whole.events if event[0] != "warn"]
                whole.tlb.events = whole.events  # type: ignore[assignment]
        assert whole.taken() == parts.taken()
        assert contents(whole) == contents(parts)


BULK = [
    Setup("ARM_64_LPAE_S1", cfg(K4)),
    Setup("ARM_64_LPAE_S1", cfg(K4, ias=39, quirks=Quirk.ARM_TTBR1)),
    Setup("ARM_64_LPAE_S2", cfg(K4, ias=40, oas=40)),
    Setup("ARM_64_LPAE_S1", cfg(K64 | M512, ias=52, oas=52)),
    Setup("ARM_MALI_LPAE", cfg(K4 | M2 | G1, oas=40)),
    Setup("ARM_64_LPAE_S1", cfg(K4, coherent_walk=False)),
]


def loop_only(memory: Arena, setup: Setup) -> PageTable[Any]:
    """Make a table that works call by call, in a memory that gives no runs."""
    table = setup.alloc(memory)
    memory.alloc_run = lambda size, count: None  # type: ignore[method-assign]
    for name in ("_map_run", "_unmap_run"):
        setattr(table, name, types.MethodType(getattr(PageTable, name), table))
    table._flat = lambda word, count: None  # type: ignore[attr-defined]
    return table


@pytest.mark.parametrize("setup", BULK, ids=str)
@quick
@given(data=st.data())
def test_many_tables_at_once_equal_their_loop(setup: Setup, data: st.DataObject) -> None:
    import dataclasses

    flushes = FlushRecorder(), FlushRecorder()
    memories = Arena(BASE, 1 << 22), Arena(BASE, 1 << 22)
    fast, slow = (Setup(setup.fmt, dataclasses.replace(setup.cfg, tlb=tlb)) for tlb in flushes)
    tables = fast.alloc(memories[0]), loop_only(memories[1], slow)
    page = setup.cfg.pgsize_bitmap & -setup.cfg.pgsize_bitmap
    span = page * page // 8
    low = tables[0]._top << setup.cfg.ias  # type: ignore[attr-defined]
    for _ in range(data.draw(st.integers(1, 8))):
        iova = low + span * data.draw(st.integers(0, 6)) + page * data.draw(st.integers(0, 2))
        size = span * data.draw(st.integers(0, 5)) + page * data.draw(st.integers(1, 3))
        paddr = data.draw(st.sampled_from([0, page, 1 << setup.cfg.oas - 1]))
        remove = data.draw(st.booleans())
        answers = []
        for table in tables:
            try:
                if remove:
                    answers.append(table.unmap(iova, size, IotlbGather()))  # type: ignore[func-returns-value]
                else:
                    answers.append(table.map(iova, paddr, size, RW, pgsize=page))  # type: ignore[func-returns-value]
            except PgtableError as error:
                answers.append(str(error))  # type: ignore[arg-type]
        assert answers[0] == answers[1]
        assert list(flushes[0].expanded()) == list(flushes[1].expanded())
        assert memories[0].live == memories[1].live
        assert memories[0].array.tobytes() == memories[1].array.tobytes()
        everything = low, 1 << setup.cfg.ias
        covered = [merged(table.runs(*everything)) for table in tables]
        assert covered[0] == covered[1]
    for table in tables:
        table.close()
    assert memories[0].used == memories[1].used == 0


def merged(runs: Any) -> list[tuple[int, int, int]]:
    """Join runs that continue each other."""
    out: list[tuple[int, int, int]] = []
    for iova, size, leaves in runs:
        if out and out[-1][0] + out[-1][1] * out[-1][2] == iova and out[-1][1] == size:
            out[-1] = (out[-1][0], size, out[-1][2] + leaves)
        else:
            out.append((iova, size, leaves))
    return out


@pytest.mark.parametrize("setup", [*SETUPS, *LPAE[-3:]], ids=str)
@quick
@given(data=st.data())
def test_a_batch_of_addresses_equals_its_loop(setup: Setup, data: st.DataObject) -> None:
    table = setup.alloc(Arena(BASE, 1 << 25))
    sizes = [1 << bit for bit in range(48) if table.cfg.pgsize_bitmap >> bit & 1]
    for place in range(data.draw(st.integers(0, 6))):
        size = data.draw(st.sampled_from(sizes))
        iova = data.draw(st.integers(0, 3)) * sizes[-1] * 2 + place * size
        table.map_pages(iova, place * size, size, data.draw(st.integers(1, 20)), RW)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    top = min(1 << table.cfg.ias, 8 * sizes[-1])
    iovas = rng.integers(0, top, 300, dtype=np.uint64)
    found = table.iovas_to_phys(iovas)
    assert found.dtype == np.uint64
    assert found.tolist() == [table.iova_to_phys(int(iova)) for iova in iovas]
    assert table.iovas_to_phys(iovas.reshape(3, 100)).tolist() == found.reshape(3, 100).tolist()
    assert table.iovas_to_phys(iovas[:0]).size == 0


ANY = st.one_of(
    st.sampled_from([0, 1, -1, K4, -K4, M2, G1, 1 << 31, 1 << 32, 1 << 63, 1 << 64, -(1 << 63)]),
    st.integers(0, 600).map(lambda n: n * K4),
    st.integers(-(1 << 70), 1 << 70),
)


@pytest.mark.parametrize("setup", SETUPS, ids=str)
@quick
@given(data=st.data())
def test_no_argument_of_any_size_or_sign_does_harm(setup: Setup, data: st.DataObject) -> None:
    memory = Arena(BASE, 1 << 24)
    table = setup.alloc(memory)
    page = table.cfg.pgsize_bitmap & -table.cfg.pgsize_bitmap
    pick = st.one_of(ANY, st.just(page))
    for _ in range(data.draw(st.integers(1, 12))):
        a, b, c, d = (data.draw(pick) for _ in range(4))
        kind = data.draw(st.integers(0, 6))
        if kind == 0:
            ret, mapped = table.map_pages(a, b, c, d, data.draw(ANY))
            assert ret in (0, -12, -17, -22, -34)
            assert 0 <= mapped < 1 << 64
        elif kind == 1:
            assert 0 <= table.unmap_pages(a, c, d, IotlbGather()) < 1 << 64
        elif kind == 2:
            assert 0 <= table.iova_to_phys(a) < 1 << 52
        elif kind == 3:
            harmless(table.read_and_clear_dirty, a, b, c, DirtyBitmap())
        elif kind == 4:
            harmless(table.map, a, b, c, d)
        elif kind == 5:
            harmless(table.unmap, a, b)
        else:
            harmless(lambda low, size: list(table.runs(low, size)), a, b)
    leaves = 0
    for run in table.runs(0, 1 << table.cfg.ias):
        leaves += run.leaves
        assert table.leaf_at(run.iova) == (run.iova, run.size)
    table.close()
    assert memory.used == 0


def harmless(call: Any, *arguments: Any) -> None:
    """Allow typed errors only."""
    with contextlib.suppress(PgtableError):
        call(*arguments)
