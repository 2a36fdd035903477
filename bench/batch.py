# SPDX-License-Identifier: GPL-2.0-or-later
"""Many addresses at once: batches of a million, and a DMA of 16 MiB, over 4 KiB pages.

Pages lie in order, or scattered at random. "Cold" is an empty TLB; the entries that a batch leaves
are made when somebody looks, and what that costs is a row of its own. A DMA is compared with one
plain copy of as many bytes that lie together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bench.measure import Row, once
from pgtable import Arena
from smmu_emu import Machine
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.transaction import Transaction

IOVA, PA, TABLES, PAGE = 0x4000_0000, 0x5000_0000, 0x4800_0000, 0x1000
MAPPED = 256 << 20
TRANSFER = 16 << 20
COUNT = 1_000_000
SID = 8
ROUNDS = 9


def _machine(*, scattered: bool) -> Machine:
    machine = Machine.virt(ram=1 << 30)
    memory = Arena(TABLES, 8 << 20, machine.ram.view[TABLES - machine.ram.base :])
    driver = Smmuv3Driver(machine.smmu, memory)
    domain = driver.domain()
    driver.attach(SID, domain)
    pages = np.arange(MAPPED // PAGE)
    if scattered:
        np.random.default_rng(1).shuffle(pages)
    for number, page in enumerate(pages.tolist()):
        domain.map(IOVA + PAGE * number, PA + PAGE * page, PAGE)
    machine.smmu.translate(Transaction(SID, IOVA))  # so that the configuration is cached
    return machine


def _batches(machine: Machine) -> Iterator[Row]:
    smmu = machine.smmu
    for span, name in ((MAPPED, "256 MiB"), (2 << 20, "2 MiB")):
        iovas = np.random.default_rng(7).integers(IOVA, IOVA + span, COUNT, dtype=np.uint64)

        def translate(iovas: np.ndarray = iovas) -> None:
            assert not smmu.batch.translate(SID, iovas).faults

        def cold(translate: Callable[[], None] = translate) -> None:
            smmu.tlb.clear()
            translate()

        def settled(cold: Callable[[], None] = cold) -> None:
            cold()
            smmu.tlb.settle()

        yield Row(f"batch, cold, in {name}", COUNT / once(cold, ROUNDS) / 1e6, "M/s", "> 20")
        yield Row(f"batch, warm, in {name}", COUNT / once(translate, ROUNDS) / 1e6, "M/s", "> 20")
        yield Row(f"batch, cold, entries made, in {name}", COUNT / once(settled, 3) / 1e6, "M/s")


def _transfers(machine: Machine, how: str) -> Iterator[Row]:
    port, tlb, view = machine.dma(SID), machine.smmu.tlb, machine.ram.view
    data = np.random.default_rng(3).bytes(TRANSFER)
    start = PA - machine.ram.base

    def copy() -> None:
        view[start : start + TRANSFER] = data

    def write() -> None:
        assert port.write(IOVA, data)

    def write_cold() -> None:
        tlb.clear()
        write()

    def read() -> None:
        assert port.read(IOVA, TRANSFER) is not None

    def copy_out() -> None:
        bytes(view[start : start + TRANSFER])

    plain, plain_out = once(copy, 4 * ROUNDS), once(copy_out, 4 * ROUNDS)
    for name, function, against, aim in (
        ("write", write, plain, "< 2"),
        ("write with walks", write_cold, plain, ""),
        ("read", read, plain_out, ""),
    ):
        ratio = once(function, 4 * ROUNDS) / against
        yield Row(f"DMA {name} of 16 MiB, {how} pages", ratio, "copies", aim)


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    with _machine(scattered=True) as machine:
        yield from _batches(machine)
        yield from _transfers(machine, "scattered")
    with _machine(scattered=False) as machine:
        yield from _transfers(machine, "ordered")
