# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a correct driver does in whatever order, and whatever the SMMU may do: nothing is found.

And whoever leaves one invalidation out is found out, once a device uses the address again.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable import Arena
from smmu_emu.check import Checker
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.driver.domain import Domain
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS

TABLES, BUFFERS, SIZE = 0x4800_0000, 0x5000_0000, 8 << 20
PAGE, BLOCK = 0x1000, 0x20_0000
STREAMS = (1, 2)

POLICIES = st.sampled_from(
    [None, "forget", "evict", "prefetch", "table-pointers", "split", "merge", "late-effects"]
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["map", "unmap", "dma", "dma", "attach", "detach", "replace", "bypass"]),
        st.integers(0, 1),
        st.integers(0, 5),
        st.integers(0, 7),
    ),
    max_size=40,
)


class Scene:
    """Two streams, two address spaces, and what is mapped in them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        view = machine.ram.view[TABLES - machine.ram.base :]
        self.driver = Smmuv3Driver(machine.smmu, Arena(TABLES, SIZE, view))
        self.spaces: list[Domain] = [self.driver.domain(ias=39) for _ in STREAMS]
        self.mapped: list[dict[int, int]] = [{}, {}]

    def step(self, what: str, which: int, slot: int, page: int) -> None:
        """One thing that a driver, or a device, does."""
        space, mapped = self.spaces[which], self.mapped[which]
        size = BLOCK if slot == 5 else PAGE
        iova = BLOCK * 8 if slot == 5 else PAGE * (1 + slot) + BLOCK * (slot & 1)
        if what == "map" and iova not in mapped:
            space.map(iova, BUFFERS + BLOCK * (page & 1) + (0 if slot == 5 else page * PAGE), size)
            mapped[iova] = size
        elif what == "unmap" and iova in mapped:
            space.unmap(iova, mapped.pop(iova))
        elif what == "dma":
            self.machine.dma(STREAMS[which]).write(iova + 8 * page, b"data")
            self.machine.dma(STREAMS[1 - which]).read(iova, 8)
        elif what == "attach":
            self.driver.attach(STREAMS[page & 1], space)
        elif what == "detach":
            self.driver.detach(STREAMS[page & 1])
        elif what == "bypass":
            self.driver.bypass(STREAMS[page & 1])
        elif what == "replace":
            space.close()
            self.spaces[which], self.mapped[which] = self.driver.domain(ias=39), {}


def _found(policy: str | None, steps: list[tuple[str, int, int, int]]) -> list[str]:
    policy = policy and f"{policy},seed=1"
    with (
        Machine.virt(smmu_ids=PRESETS["full"], devices=(), policy=policy) as machine,
        Checker(machine) as checker,
    ):
        scene = Scene(machine)
        for step in steps:
            scene.step(*step)
            scene.driver.events.drain()
        return [str(one) for one in checker.finish() if one.severity != "advice"]


@settings(max_examples=60, deadline=None)
@given(POLICIES, STEPS)
def test_correct_driver_is_never_blamed(
    policy: str | None, steps: list[tuple[str, int, int, int]]
) -> None:
    assert _found(policy, steps) == []


@settings(max_examples=25, deadline=None)
@given(STEPS, st.integers(0, 5))
def test_unmap_that_tells_nobody_is_always_blamed(
    steps: list[tuple[str, int, int, int]], slot: int
) -> None:
    with (
        Machine.virt(smmu_ids=PRESETS["full"], devices=()) as machine,
        Checker(machine) as checker,
    ):
        scene = Scene(machine)
        for step in [*steps, ("attach", 0, 0, 0), ("map", 0, slot, 0), ("dma", 0, slot, 0)]:
            scene.step(*step)
            scene.driver.events.drain()
        assert all(one.severity == "advice" for one in checker.findings)
        scene.spaces[0].invalidate = False
        scene.step("unmap", 0, slot, 0)
        assert any(one.severity != "advice" for one in checker.finish())
