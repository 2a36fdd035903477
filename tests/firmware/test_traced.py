# SPDX-License-Identifier: GPL-2.0-or-later
"""Every image under trace: it does what it does without, and the trace tells one story.

A bookkeeper reads the events and keeps books of its own: of what is cached, by number, and of what
each access, walk and invalidation therefore may say.
"""

from __future__ import annotations

from collections.abc import Iterator

import emulated
import pytest
import qemu_virt
import setups

from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.trace.events import (
    Access,
    Command,
    ConfigFetch,
    ConfigInvalidation,
    DmaData,
    Event,
    Evict,
    Fill,
    Invalidation,
    Origin,
    Record,
    Sync,
    Walk,
)
from smmu_emu.trace.tracer import Tracer

IMAGES = sorted(
    path.stem for path in qemu_virt.IMAGES.glob("*.elf") if path.stem not in ("spin", "mmio_odd")
)


class Books:
    """What a trace says is cached, and whether later events agree."""

    def __init__(self) -> None:
        self.seq = 0
        self.time = 0
        self.origins = {0}
        self.entries: dict[int, Fill] = {}
        self.configs: dict[int, ConfigFetch] = {}
        self.ended: set[int] = set()
        self.accesses: dict[int, Access] = {}
        self.pending: list[int] = []
        self.commands: dict[int, Command] = {}

    def __call__(self, event: Event) -> None:
        assert event.seq == self.seq + 1
        assert event.time >= self.time or event.time < 0
        self.seq, self.time = event.seq, event.time
        if isinstance(event, Origin):
            self.origins.add(event.seq)
        assert event.cause in self.origins
        for kind, keep in self.keepers():
            if isinstance(event, kind):
                keep(self, event)

    @staticmethod
    def keepers() -> Iterator[tuple[type, object]]:
        yield from _KEEPERS.items()

    def fill(self, event: Fill) -> None:
        assert event.entry not in self.entries
        assert event.entry not in self.ended
        assert event.base % (1 << event.size_lg2) == 0
        self.entries[event.entry] = event
        self.name(event.transaction)

    def end(self, number: int) -> None:
        assert number in self.entries
        del self.entries[number]
        self.ended.add(number)

    def evict(self, event: Evict) -> None:
        self.end(event.entry)

    def invalidation(self, event: Invalidation) -> None:
        for number in event.removed:
            if event.first is not None and event.last is not None:
                fill = self.entries[number]
                block = fill.granule_lg2 + (fill.granule_lg2 - 3) * (3 - fill.level)
                assert fill.base >> block <= event.last >> block
                assert event.first >> block <= fill.base >> block
            self.end(number)
        for number in event.left[::2]:
            assert number in self.entries
        assert not event.command or event.command in self.commands

    def config_fetch(self, event: ConfigFetch) -> None:
        if event.entry:
            assert event.entry not in self.configs
            self.configs[event.entry] = event

    def config_invalidation(self, event: ConfigInvalidation) -> None:
        for number in event.removed:
            stream_id = self.configs.pop(number).stream_id
            assert event.stream_id <= stream_id < event.stream_id + event.streams

    def walk(self, event: Walk) -> None:
        self.name(event.transaction)
        if event.page is not None:
            assert event.reads[-1] & 1
            assert not event.fault

    def record(self, event: Record) -> None:
        self.name(event.transaction)

    def name(self, transaction: int) -> None:
        """An event names an access that is yet to come."""
        if transaction:
            assert transaction > self.seq
            self.pending.append(transaction)

    def access(self, event: Access) -> None:
        assert all(number == event.seq for number in self.pending), event
        self.pending.clear()
        self.accesses[event.seq] = event
        if event.config:
            assert self.configs[event.config].stream_id == event.stream_id
        if event.outcome in ("hit", "walk"):
            fill = self.entries[event.entry]
            iova = event.iova & (1 << 56) - 1
            assert fill.base & (1 << 56) - 1 <= iova
            assert iova < (fill.base & (1 << 56) - 1) + (1 << fill.size_lg2)
            assert event.pa == fill.page | event.iova & (1 << fill.size_lg2) - 1
        assert bool(event.fault or event.reason) == (event.pa is None)

    def dma(self, event: DmaData) -> None:
        if event.transaction:
            access = self.accesses[event.transaction]
            assert access.stream_id == event.stream_id
            assert access.pa == event.pa

    def command(self, event: Command) -> None:
        self.commands[event.seq] = event

    def sync(self, event: Sync) -> None:
        assert self.commands[event.command].name == "SYNC"


_KEEPERS = {
    Fill: Books.fill,
    Evict: Books.evict,
    Invalidation: Books.invalidation,
    ConfigFetch: Books.config_fetch,
    ConfigInvalidation: Books.config_invalidation,
    Walk: Books.walk,
    Record: Books.record,
    Access: Books.access,
    DmaData: Books.dma,
    Command: Books.command,
    Sync: Books.sync,
}


def _traced(name: str, policy: str | None = None) -> tuple[Machine, object, Books]:
    setup = setups.of(name)
    machine = Machine.virt(
        devices=setup.devices,
        smmu_ids=PRESETS[setup.ids],
        core_stream=setup.core_stream,
        gic=setup.gic,
        policy=policy,
    )
    machine.load(qemu_virt.IMAGES / f"{name}.elf", el=setup.el)
    if name in qemu_virt.BESIDE:
        path, address = qemu_virt.BESIDE[name]
        machine.load_blob(address, path)
    books = Books()
    with Tracer(machine, books):
        result = machine.run(emulated.LIMIT)
    return machine, result, books


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_does_the_same_under_trace_and_the_trace_agrees_with_itself(name: str) -> None:
    plain, expected = emulated.run(name)
    traced, result, books = _traced(name)
    assert result == expected
    assert traced.output == plain.output
    assert traced.smmu.registers.values == plain.smmu.registers.values
    assert traced.smmu.path.hits == plain.smmu.path.hits
    assert traced.smmu.path.misses == plain.smmu.path.misses
    assert len(books.entries) == len(traced.smmu.tlb)


@pytest.mark.parametrize(
    "policy", ["evict,prefetch,table-pointers,split,late-effects,late-commands,seed=3", "forget"]
)
@pytest.mark.parametrize("name", ["unmap_tlbi", "range_tlbi", "two_level", "ats", "stall"])
def test_a_trace_agrees_with_itself_whatever_the_policy(name: str, policy: str) -> None:
    machine, _, books = _traced(name, policy)
    cached = len(machine.smmu.tlb) + len(machine.smmu.walk_cache)
    assert len(books.entries) == cached
    assert books.seq > 100
