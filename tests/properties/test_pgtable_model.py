# SPDX-License-Identifier: GPL-2.0-or-later
"""Random operations on tables of every format, against a dictionary of leaves."""

from __future__ import annotations

import sys
from bisect import bisect_left
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "pgtable"))

from pgtable_helpers import BASE, K4, M2, RW, SETUPS, R, Setup, W, cfg

from pgtable import (
    AlreadyMappedError,
    Arena,
    DirtyBitmap,
    FlushOps,
    IotlbGather,
    MapError,
    NotMappedError,
    PartialUnmapError,
    Quirk,
)

MORE = [
    Setup("ARM_64_LPAE_S1", cfg(ias=39, quirks=Quirk.ARM_TTBR1)),
    Setup("ARM_64_LPAE_S1", cfg(K4 | M2, quirks=Quirk.ARM_HD)),
    Setup("ARM_64_LPAE_S1", cfg(ias=40, coherent_walk=False)),
    Setup("ARM_V7S", cfg(0x1111000, ias=32, oas=32, coherent_walk=False)),
    Setup(
        "ARM_V7S",
        cfg(0x1111000, ias=34, oas=35, quirks=Quirk.ARM_MTK_EXT | Quirk.NO_PERMS),
    ),
]


class Tlb(FlushOps):
    """A TLB that holds everything that is mapped, and may drop only what it is told."""

    def __init__(self) -> None:
        self.cached: dict[int, int] = {}

    def drop(self, iova: int, size: int) -> None:
        for start in [s for s in self.cached if iova - self.cached[s] < s < iova + size]:
            del self.cached[start]

    def tlb_flush_walk(self, iova: int, size: int, granule: int) -> None:
        self.drop(iova, size)

    def tlb_add_page(self, gather: IotlbGather | None, iova: int, granule: int) -> None:
        self.drop(iova, granule)


class Model(RuleBasedStateMachine):
    """A table, and what ought to be in it: start of a leaf -> (size, physical address, prot)."""

    setup_of: Setup

    @initialize()
    def make(self) -> None:
        import dataclasses

        self.tlb = Tlb()
        self.memory = Arena(BASE, 1 << 24)
        setup = self.setup_of
        self.table = Setup(setup.fmt, dataclasses.replace(setup.cfg, tlb=self.tlb)).alloc(
            self.memory
        )
        bitmap = self.table.cfg.pgsize_bitmap
        self.sizes = [1 << bit for bit in range(64) if bitmap >> bit & 1]
        self.page = self.sizes[0]
        self.low = 0
        if setup.cfg.quirks & Quirk.ARM_TTBR1 and setup.fmt.endswith("S1"):
            self.low = (1 << 64) - (1 << self.table.cfg.ias)
        self.high = self.low + (1 << self.table.cfg.ias)
        self.leaves: dict[int, tuple[int, int, int]] = {}

    # --- the model ------------------------------------------------------------------------

    def overlapping(self, iova: int, size: int) -> list[int]:
        starts = sorted(self.leaves)
        first = bisect_left(starts, iova)
        if first and starts[first - 1] + self.leaves[starts[first - 1]][0] > iova:
            first -= 1
        last = bisect_left(starts, iova + size)
        return starts[first:last]

    def split(self, iova: int, paddr: int, size: int) -> list[tuple[int, int, int]]:
        """Return (start, size, paddr) of the largest leaves that cover a range."""
        found = []
        while size:
            leaf = max(s for s in self.sizes if s <= size and not (iova | paddr) & (s - 1))
            found.append((iova, leaf, paddr))
            iova, paddr, size = iova + leaf, paddr + leaf, size - leaf
        return found

    def phys(self, iova: int) -> int:
        over = self.overlapping(iova, 1)
        if not over:
            return 0
        return self.leaves[over[0]][1] + iova - over[0]

    def place(self, data: st.DataObject) -> int:
        """Draw an aligned address, near others and near the borders of tables."""
        edges = [self.low, self.high, (self.low + self.high) // 2]
        edges += [self.low + step * s for s in self.sizes for step in (1, 2, 511, 512)]
        edges += list(self.leaves)[:8]
        near = data.draw(st.sampled_from(edges)) + self.page * data.draw(st.integers(-20, 20))
        near &= -self.page
        return min(max(near, self.low), self.high - self.page)

    def length(self, data: st.DataObject, iova: int, limit: int = 1 << 64) -> int:
        big = [s for s in self.sizes if s <= 1 << 34] or [self.page]
        size = data.draw(
            st.one_of(
                st.integers(1, 24).map(lambda n: n * self.page),
                st.sampled_from(big),
                st.sampled_from(big[:2]).map(lambda s: s + self.page),
                st.just(600 * self.page),
            )
        )
        return min(size, self.high - iova, limit)

    # --- what is done ---------------------------------------------------------------------

    @rule(data=st.data(), prot=st.sampled_from([R, W, RW, RW | 4, R | 8, RW | 16 | 32]))
    def map(self, data: st.DataObject, prot: int) -> None:
        iova = self.place(data)
        size = self.length(data, iova, (1 << self.table.cfg.oas) // 2)
        align = data.draw(st.sampled_from([self.page, *self.sizes]))
        paddr = iova & (align - 1) if data.draw(st.booleans()) else 0
        paddr += align * data.draw(st.integers(0, 3))
        if paddr + size > 1 << self.table.cfg.oas:
            paddr = 0
        over = self.overlapping(iova, size)
        if over:
            with pytest.raises(AlreadyMappedError) as caught:
                self.table.map(iova, paddr, size, prot)
            assert caught.value.iova == max(over[0], iova)
            return
        self.table.map(iova, paddr, size, prot)
        for start, leaf, at in self.split(iova, paddr, size):
            self.leaves[start] = (leaf, at, prot)
            self.tlb.cached[start] = leaf

    @rule(data=st.data(), gather=st.booleans())
    def unmap(self, data: st.DataObject, gather: bool) -> None:
        if self.leaves and data.draw(st.integers(0, 3)):
            iova = data.draw(st.sampled_from(sorted(self.leaves)))
            size = self.leaves[iova][0]
            while iova + size in self.leaves and data.draw(st.booleans()):
                size += self.leaves[iova + size][0]
        else:
            iova = self.place(data)
            size = self.length(data, iova)
        expected = self.unmap_outcome(iova, size)
        if expected is not None:
            with pytest.raises(expected):
                self.table.unmap(iova, size, IotlbGather())
            return
        self.table.unmap(iova, size, IotlbGather() if gather else None)
        for start in self.overlapping(iova, size):
            del self.leaves[start]
        if not gather:
            self.tlb.drop(iova, size)

    def unmap_outcome(self, iova: int, size: int) -> type[MapError] | None:
        at = iova
        for start in self.overlapping(iova, size):
            if start > at:
                return NotMappedError
            if start < at:
                return PartialUnmapError
            at = start + self.leaves[start][0]
        if at > iova + size:
            return PartialUnmapError
        return None if at == iova + size else NotMappedError

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        iova = self.place(data) + data.draw(st.integers(0, self.page - 1))
        assert self.table.iova_to_phys(iova) == self.phys(iova)
        over = self.overlapping(iova, 1)
        assert self.table.leaf_at(iova) == ((over[0], self.leaves[over[0]][0]) if over else None)

    @rule(data=st.data())
    def look_at_many(self, data: st.DataObject) -> None:
        iovas = [self.place(data) + data.draw(st.integers(0, self.page - 1)) for _ in range(6)]
        found = self.table.iovas_to_phys(np.array(iovas, dtype=np.uint64))
        assert found.tolist() == [self.phys(iova) for iova in iovas]

    @rule(data=st.data(), clear=st.booleans())
    def track(self, data: st.DataObject, clear: bool) -> None:
        """Every writable leaf is dirty until it was read; here one leaf is read at a time."""
        if not self.leaves or not self.setup_of.cfg.quirks & Quirk.ARM_HD:
            return
        iova = data.draw(st.sampled_from(sorted(self.leaves)))
        size, paddr, prot = self.leaves[iova]
        dirty = DirtyBitmap()
        assert self.table.read_and_clear_dirty(iova, size, 0 if clear else 1, dirty) == 0
        assert dirty.records == ([(iova, size)] if prot & W else [])
        if clear and prot & W:
            self.leaves[iova] = (size, paddr, prot & ~W)  # clean now

    # --- what always holds ----------------------------------------------------------------

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        runs = self.table.runs(self.low, self.high - self.low)
        found = [(r.iova + i * r.size, r.size) for r in runs for i in range(r.leaves)]
        assert found == [(start, leaf[0]) for start, leaf in sorted(self.leaves.items())]

    @invariant()
    def no_stale_translation_is_cached(self) -> None:
        assert self.tlb.cached == {start: leaf[0] for start, leaf in self.leaves.items()}

    def teardown(self) -> None:
        self.table.close()
        assert self.memory.used == 0
        assert self.table.warnings == 0


@pytest.mark.parametrize("setup", SETUPS + MORE, ids=str)
def test_random_operations_agree_with_a_dictionary(setup: Setup) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("Model", (Model,), {"setup_of": setup})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
