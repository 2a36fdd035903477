# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace of a machine that goes back to a snapshot: it goes on, with numbers of its own."""

from __future__ import annotations

from pgtable import Arena
from smmu_emu import Machine
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.trace.events import Access, Event, Fill, Invalidation, Note
from smmu_emu.trace.tracer import Tracer

SID, IOVA, PA = 8, 0x10000, 0x5000_0000


def _driven(machine: Machine) -> Smmuv3Driver:
    memory = Arena(0x4800_0000, 16 << 20, machine.ram.view[0x0800_0000:])
    driver = Smmuv3Driver(machine.smmu, memory)
    domain = driver.domain()
    driver.attach(SID, domain)
    domain.map(IOVA, PA, 0x1000)
    return driver


def _of(events: list[Event], kind: type) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_numbers_go_on_and_what_is_cached_is_told_again() -> None:
    machine = Machine.virt()
    _driven(machine)
    events: list[Event] = []
    with Tracer(machine, events.append):
        machine.dma(SID).write(IOVA, b"a")
        snapshot = machine.snapshot()
        machine.smmu.tlb.clear()
        machine.dma(SID).write(IOVA, b"b")
        machine.restore(snapshot)
        machine.dma(SID).write(IOVA, b"c")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [note.name for note in _of(events, Note)] == ["begin", "restore"]  # type: ignore[attr-defined]
    fills = _of(events, Fill)
    assert [fill.entry for fill in fills] == sorted({fill.entry for fill in fills})  # type: ignore[attr-defined]
    assert [a.outcome for a in _of(events, Access)] == ["walk", "walk", "hit"]  # type: ignore[attr-defined]
    assert events[-2].entry == fills[-1].entry  # type: ignore[attr-defined,union-attr]


def test_effects_that_were_to_come_come_after_a_snapshot() -> None:
    machine = Machine.virt(policy="late-effects")
    _driven(machine)
    smmu = machine.smmu
    events: list[Event] = []
    with Tracer(machine, events.append) as tracer:
        machine.dma(SID).write(IOVA, b"a")
        queue = smmu.commands.queue
        machine.memory.write(queue.address(queue.prod), bytes([0x30]) + bytes(15))
        smmu.write(0x98, 4, queue.prod + 1 & queue.index_mask)
        assert not _of(events, Invalidation)
        snapshot = machine.snapshot()
        machine.clock.advance(machine.clock.now + 1_000_000)
        assert len(_of(events, Invalidation)) == 1
        before = tracer.seq
        machine.restore(snapshot)
        machine.clock.advance(machine.clock.now + 1_000_000)
        assert tracer.seq > before
    first, second = _of(events, Invalidation)
    assert first.name == second.name == "TLBI_NSNH_ALL"  # type: ignore[attr-defined]
    assert len(first.removed) == len(second.removed) == 1  # type: ignore[attr-defined]
    assert first.removed != second.removed  # type: ignore[attr-defined]


def test_nothing_of_a_trace_is_state_of_the_machine() -> None:
    """What a snapshot kept of a tracer, going back would undo: its events among it."""
    with Tracer(Machine.virt(), lambda event: None) as tracer:
        unit = tracer.units[0]
        parts = [tracer, tracer.causes, unit]
        parts += [part for part in vars(unit).values() if hasattr(part, "places")]
        assert len(parts) == 11
        for part in parts:
            assert set(vars(part)) <= set(type(part).unsaved), type(part)  # type: ignore[attr-defined]
