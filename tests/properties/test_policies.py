# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver that follows the rules is served what its tables say, whatever the SMMU may do.

The reference driver maps, unmaps, moves streams between address spaces and closes those, as it is
told by chance. After each of its calls every translation is that of a model, in which nothing is
cached; what is not mapped faults, and DMA that was under way never lands in memory that the driver
has given back.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable import Arena
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.machine import Machine
from smmu_emu.policy.choice import NAMES
from smmu_emu.port import DmaPort, Transfer
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.strategies import examples

RAM, TABLES_AT, TABLES_SIZE, TARGET = 0x4000_0000, 0x4100_0000, 16 << 20, 0x4800_0000
SIDS = (0x08, 0x10)
PAGE, BLOCK = 0x1000, 1 << 21
NEAR = (0x0, 0x20_0000, 0x40_0000, 0x7F_C000_0000)
"""Two neighbouring tables, another, and one far away."""
F_TRANSLATION = 0x10

policies = st.builds(
    lambda names, seed: ",".join(
        [name for name in names if "forget" not in names or name not in ("keep", "prefetch")]
        + [f"seed={seed}"]
    ),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=7, unique=True),
    st.integers(0, 1000),
)
operations = st.lists(
    st.tuples(
        st.sampled_from(
            ["map", "map", "map", "unmap", "unmap", "block", "dma", "start", "attach", "new"]
        ),
        st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
        st.integers(0, 3),
        st.integers(1, 4),
    ),
    min_size=12,
    max_size=30,
)


class Life:
    """A driver at work on a machine with policies, and what is mapped in its two spaces."""

    def __init__(self, policy: str, make: Callable[[Smmuv3Driver], object]) -> None:
        self.machine = Machine.virt(ram=256 << 20, smmu_ids=PRESETS["full"], policy=policy)
        ram = self.machine.ram
        arena = Arena(TABLES_AT, TABLES_SIZE, ram.view[TABLES_AT - RAM :])
        self.driver = Smmuv3Driver(self.machine.smmu, arena, idle=self._idle)
        self.make = make
        self.spaces = [make(self.driver) for _ in range(2)]
        self.pages: list[dict[int, int]] = [{}, {}]
        self.used = {sid: number for number, sid in enumerate(SIDS)}
        self.under_way: list[tuple[int, int, Transfer]] = []
        for sid, number in self.used.items():
            self.driver.attach(sid, self.spaces[number])

    def _idle(self) -> None:
        clock = self.machine.clock
        clock.advance(clock.now + 200)

    # -- what may happen

    def map(self, near: int, page: int, count: int) -> None:
        number, iova = page & 1, NEAR[near] + PAGE * page
        mapped = self.pages[number]
        if any(iova + PAGE * n in mapped for n in range(count)):
            return
        paddr = TARGET + PAGE * (64 * near + 8 * page + count)
        self.spaces[number].map(iova, paddr, PAGE * count)  # type: ignore[attr-defined]
        mapped.update({iova + PAGE * n: paddr + PAGE * n for n in range(count)})

    def block(self, near: int, page: int, count: int) -> None:
        number, iova = page & 1, NEAR[near]
        mapped = self.pages[number]
        while any(iova <= one < iova + BLOCK for one in mapped):
            self.unmap(near, page, 4)
        paddr = TARGET + BLOCK * count
        self.spaces[number].map(iova, paddr, BLOCK)  # type: ignore[attr-defined]
        mapped.update({iova + at: paddr + at for at in range(0, BLOCK, PAGE)})

    def unmap(self, near: int, page: int, count: int) -> None:
        number = page & 1
        mapped = self.pages[number]
        here = sorted(iova for iova in mapped if NEAR[near] <= iova < NEAR[near] + BLOCK)
        if not here:
            return
        whole = len(here) == BLOCK // PAGE
        gone = here if whole else [here[0] + PAGE * n for n in range(count)]
        gone = [iova for iova in gone if iova in mapped]
        if gone != list(range(gone[0], gone[0] + PAGE * len(gone), PAGE)):
            gone = gone[:1]
        self.spaces[number].unmap(gone[0], PAGE * len(gone))  # type: ignore[attr-defined]
        for iova in gone:
            del mapped[iova]
            for sid, number_used in self.used.items():
                if number_used == number:
                    self._nothing_under_way(sid, iova)

    def _nothing_under_way(self, sid: int, iova: int) -> None:
        for owner, address, transfer in self.under_way:
            if (owner, address) == (sid, iova):
                assert transfer.done, f"DMA of stream {sid:#x} to {iova:#x} outlives its unmapping"

    def dma(self, near: int, page: int, count: int) -> None:
        for at in range(count):
            self._check(SIDS[at & 1], NEAR[near] + PAGE * (page + at))

    def start(self, near: int, page: int, count: int) -> None:
        """DMA of a master that can wait: it may be under way when the next thing happens."""
        sid, iova = SIDS[count & 1], NEAR[near] + PAGE * page
        if iova in self.pages[self.used[sid]]:
            port = DmaPort(self.machine.memory, self.machine.smmu, sid)
            self.under_way.append((sid, iova, port.start_write(iova, b"data")))

    def attach(self, near: int, page: int, count: int) -> None:
        sid = SIDS[near & 1]
        self.used[sid] = page & 1
        self.driver.attach(sid, self.spaces[page & 1])

    def new(self, near: int, page: int, count: int) -> None:
        """The space of a stream is closed, and its tag used again."""
        number = page & 1
        for sid in [sid for sid, used in self.used.items() if used == number]:
            self.driver.detach(sid)
        self.spaces[number].close()  # type: ignore[attr-defined]
        self.spaces[number] = self.make(self.driver)
        self.pages[number].clear()
        for sid, used in self.used.items():
            if used == number:
                self.driver.attach(sid, self.spaces[number])
                for owner, _, transfer in self.under_way:
                    assert owner != sid or transfer.done

    # -- what must hold

    def _check(self, sid: int, iova: int) -> None:
        paddr = self.pages[self.used[sid]].get(iova)
        result = self.machine.smmu.translate(Transaction(sid, iova + 8, True))
        if paddr is None:
            assert isinstance(result, Fault), f"{iova:#x} is not mapped and lands"
            assert result.code == F_TRANSLATION
        else:
            assert isinstance(result, Translation), f"{iova:#x}: {result}"
            assert result.pa == paddr + 8

    def check(self) -> None:
        for sid in SIDS:
            for near in NEAR:
                for page in (0, 1, 3, 5, 8):
                    self._check(sid, near + PAGE * page)


def _live(policy: str, make: Callable[[Smmuv3Driver], object], story: list) -> None:  # type: ignore[type-arg]
    life = Life(policy, make)
    with life.machine:
        life.check()
        for name, near, page, count in story:
            getattr(life, name)(near, page, count)
            life.check()


@settings(max_examples=examples(80), deadline=None)
@given(policies, operations)
def test_stage_1_is_what_the_tables_say(policy: str, story: list) -> None:  # type: ignore[type-arg]
    _live(policy, lambda driver: driver.domain(ias=39), story)


@settings(max_examples=examples(60), deadline=None)
@given(policies, operations)
def test_stage_2_is_what_the_tables_say(policy: str, story: list) -> None:  # type: ignore[type-arg]
    _live(policy, lambda driver: driver.stage2(ias=40), story)
