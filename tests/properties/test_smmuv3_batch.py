# SPDX-License-Identifier: GPL-2.0-or-later
"""A batch equals its loop: results, faults, event records, TLB contents, order of age, counters."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable import Arena, Prot
from smmu_emu import Machine
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.smmuv3 import Smmuv3
from smmu_emu.tlb import Tlb
from smmu_emu.transaction import Fault, Transaction

STREAM = 8
BASE = 0x4000_0000
TABLES_AT = 0x4800_0000
RAM_AT = 0x5000_0000
PAGE = 0x1000
WINDOW = 96

Runs = list[tuple[int, int, int, int]]

PROTS = (Prot.READ | Prot.WRITE, Prot.READ, Prot.READ | Prot.WRITE | Prot.PRIV)

runs = st.lists(
    st.tuples(
        st.integers(0, WINDOW - 1),
        st.integers(1, 24),
        st.integers(0, 255),
        st.sampled_from(range(len(PROTS))),
    ),
    min_size=1,
    max_size=6,
)
"""Mappings: first page, pages, first page of RAM, protection."""

accesses = st.lists(st.integers(0, WINDOW * PAGE - 1), min_size=64, max_size=200)


def build(mapped: Runs, *, global_pages: bool, block: bool, room: int) -> Machine:
    """A machine whose stream has some pages mapped; made the same way every time."""
    machine = Machine.virt(ram=512 << 20)
    memory = Arena(TABLES_AT, 8 << 20, machine.ram.view[0x0800_0000:0x0880_0000])
    driver = Smmuv3Driver(machine.smmu, memory)
    domain = driver.domain()
    driver.attach(STREAM, domain)
    taken: set[int] = set()
    for first, count, target, prot in mapped:
        for page in range(first, min(first + count, WINDOW)):
            if page not in taken:
                taken.add(page)
                where = RAM_AT + PAGE * (target + page)
                domain.map(BASE + PAGE * page, where, PAGE, PROTS[prot])
    if block:
        domain.map(BASE + (2 << 20), RAM_AT, 2 << 20)
    if global_pages:
        make_global(domain.table, machine)
    machine.smmu.tlb.capacity = room
    return machine


def make_global(table: Any, machine: Machine) -> None:
    """Clear nG in every other leaf, so that both spaces of the context are used."""
    for page in range(0, WINDOW, 2):
        ptes = [0] * 4
        if table.pgtable_walk(BASE + PAGE * page, ptes) == 0:
            level3 = ptes[2] & 0xFFFF_FFFF_F000
            where = level3 + 8 * ((BASE // PAGE + page) % 512)
            machine.memory.write_u64(where, ptes[3] & ~(1 << 11))


def contents(tlb: Tlb) -> list[tuple[Any, ...]]:
    """Every entry, oldest first."""
    tlb.settle()
    return [
        (
            *(entry.space and entry.space.tag, entry.base, entry.size_lg2, entry.page),
            *(entry.allowed, entry.level, entry.granule_lg2, entry.attributes),
        )
        for entry in tlb._age
    ]


def contents_of_ram(machine: Machine) -> list[bytes]:
    """Where tables and data are."""
    return [
        bytes(machine.ram.view[at - BASE : at - BASE + (8 << 20)]) for at in (TABLES_AT, RAM_AT)
    ]


def state(smmu: Smmuv3) -> tuple[Any, ...]:
    events = smmu.read(0x100A8, 4)
    return smmu.path.hits, smmu.path.misses, smmu.stages.walks, events, contents(smmu.tlb)


@settings(max_examples=60, deadline=None)
@given(
    mapped=runs,
    batches=st.lists(st.tuples(st.booleans(), accesses), min_size=1, max_size=3),
    privileged=st.booleans(),
    global_pages=st.booleans(),
    far=st.booleans(),
    room=st.sampled_from((1 << 20, 16)),
    warm=st.booleans(),
)
def test_batch_equals_its_loop(
    mapped: Runs,
    batches: list[tuple[bool, list[int]]],
    privileged: bool,
    global_pages: bool,
    far: bool,
    room: int,
    warm: bool,
) -> None:
    one = build(mapped, global_pages=global_pages, block=far, room=room)
    two = build(mapped, global_pages=global_pages, block=far, room=room)
    if warm:
        for machine in (one, two):
            machine.smmu.translate(Transaction(STREAM, BASE + PAGE * mapped[0][0]))
    for write, batch in batches:
        iovas = [BASE + offset + ((2 << 20) if far and offset % 3 == 0 else 0) for offset in batch]
        loop = [one.smmu.translate(Transaction(STREAM, iova, write, privileged)) for iova in iovas]
        result = two.smmu.batch.translate(
            STREAM, np.array(iovas, np.uint64), write=write, privileged=privileged
        )
        assert result.faults == {
            row: answer for row, answer in enumerate(loop) if isinstance(answer, Fault)
        }
        assert result.pa.tolist() == [
            0 if isinstance(answer, Fault) else answer.pa for answer in loop
        ]
        if room > WINDOW:
            assert state(two.smmu) == state(one.smmu)
    assert state(two.smmu) == state(one.smmu)


@settings(max_examples=40, deadline=None)
@given(mapped=runs, offset=st.integers(0, PAGE), size=st.integers(64 * PAGE, 90 * PAGE))
def test_long_transfer_equals_its_pages(mapped: Runs, offset: int, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    one = build(mapped, global_pages=False, block=False, room=1 << 20)
    two = build(mapped, global_pages=False, block=False, room=1 << 20)
    first, second = one.dma(STREAM), two.dma(STREAM)
    first.memory.write = lambda pa, part: one.memory.write(pa, part)  # forbids the short way
    for port in (first, second):
        port.write(BASE, b"warm")
    assert first.write(BASE + offset, data[:size]) == second.write(BASE + offset, data[:size])
    assert first.transactions == second.transactions
    assert first.last_fault == second.last_fault
    assert contents_of_ram(one) == contents_of_ram(two)
    assert state(one.smmu) == state(two.smmu)
    assert first.read(BASE + offset, size) == second.read(BASE + offset, size)


def test_batch_forgets_what_a_cleared_tlb_held() -> None:
    """Also while the entries of the batch before have not been made yet."""
    machine = build([(0, WINDOW, 0, 0)], global_pages=False, block=False, room=1 << 20)
    iovas = np.arange(BASE, BASE + WINDOW * PAGE, PAGE, dtype=np.uint64)
    machine.smmu.translate(Transaction(STREAM, BASE))  # for the configuration
    machine.smmu.tlb.clear()
    before = machine.smmu.batch.translate(STREAM, iovas)
    machine.smmu.tlb.clear()
    machine.ram.view[TABLES_AT - machine.ram.base :][: 8 << 20] = bytes(8 << 20)
    after = machine.smmu.batch.translate(STREAM, iovas)

    assert not before.faults
    assert len(after.faults) == WINDOW
