# SPDX-License-Identifier: GPL-2.0-or-later
"""The translation path and DMA: hits, walks, batches; and how long a machine takes to make.

Hits and walks go over 512 pages in turn, each in a transaction of its own: no page is luckier than
the others. A walk is one of four levels with an empty TLB, from the tables to the new TLB entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from bench import batch, nested
from bench.measure import Row, once, per_call
from pgtable import Arena
from smmu_emu import Machine
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.transaction import Transaction, Translation

IOVA, PA, PAGES = 0x4000_0000, 0x5000_0000, 512
SID = 8
CMDQ_PROD = 0x98
ROUNDS = 20
IMAGE = Path(__file__).resolve().parents[1] / "firmware" / "images" / "dma_pages.elf"


def _machine() -> Machine:
    """Stream 8 has 512 pages that lie together but in no block: the last is elsewhere."""
    machine = Machine.virt()
    memory = Arena(0x4800_0000, 16 << 20, machine.ram.view[0x0800_0000:])
    driver = Smmuv3Driver(machine.smmu, memory)
    domain = driver.domain()
    driver.attach(SID, domain)
    for page in range(PAGES):
        domain.map(IOVA + 0x1000 * page, PA + 0x1000 * page, 0x1000)
    return machine


def _sweep(machine: Machine) -> Callable[[], None]:
    """One translation of each page."""
    translate = machine.smmu.translate
    transactions = [Transaction(SID, IOVA + 0x1000 * page, True) for page in range(PAGES)]
    assert all(isinstance(translate(each), Translation) for each in transactions)

    def sweep() -> None:
        for transaction in transactions:
            translate(transaction)

    return sweep


def _translations(machine: Machine) -> Iterator[Row]:
    smmu, sweep = machine.smmu, _sweep(machine)

    def walk_all() -> None:
        smmu.tlb.clear()
        sweep()

    before = smmu.stages.walks
    hit = once(sweep, ROUNDS) / PAGES
    assert smmu.stages.walks == before
    walk = once(walk_all, ROUNDS) / PAGES
    assert smmu.stages.walks == before + ROUNDS * PAGES
    yield Row("translate, TLB hit", hit * 1e6, "us", "< 1.5")
    yield Row("translate, 4-level walk and fill", walk * 1e6, "us", "< 6")


def _dma(machine: Machine) -> Iterator[Row]:
    port, tlb = machine.dma(SID), machine.smmu.tlb
    line, pages = bytes(64), [IOVA + 0x1000 * page for page in range(PAGES)]

    def write_lines() -> None:
        for iova in pages:
            port.write(iova, line)

    def write_lines_cold() -> None:
        tlb.clear()
        write_lines()

    write_lines()
    yield Row("DMA writes of 64 bytes, TLB hit", PAGES / once(write_lines, ROUNDS) / 1e3, "k/s")
    yield Row("DMA writes of 64 bytes, walk", PAGES / once(write_lines_cold, ROUNDS) / 1e3, "k/s")
    block = bytes(PAGES << 12)
    assert port.write(IOVA, block)
    seconds = once(lambda: port.write(IOVA, block), ROUNDS)
    yield Row("DMA write of 2 MiB over 4K pages", len(block) / seconds / (1 << 20), "MiB/s")


def _registers(machine: Machine) -> Iterator[Row]:
    smmu = machine.smmu
    prod = smmu.read(CMDQ_PROD, 4)
    seconds = per_call(lambda: smmu.write(CMDQ_PROD, 4, prod), 20_000)
    yield Row("register write", seconds * 1e6, "us")


def _lives() -> Iterator[Row]:
    """Machines made, and reset after a run that used every part of them."""
    yield Row("machine made", once(lambda: Machine.virt().close(), ROUNDS) * 1e3, "ms", "< 3")

    def with_core() -> None:
        with Machine.virt() as machine:
            assert machine.core

    yield Row("machine made with its core", once(with_core, ROUNDS) * 1e3, "ms")
    with Machine.virt() as machine:
        machine.load(IMAGE)
        best = float("inf")
        for _ in range(ROUNDS):
            machine.run()
            best = min(best, once(machine.reset, 1))
    yield Row("machine reset after a run", best * 1e3, "ms", "< 3")


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    machine = _machine()
    yield from _translations(machine)
    yield from nested.rows()
    yield from batch.rows()
    yield from _dma(machine)
    yield from _registers(machine)
    yield from _lives()
