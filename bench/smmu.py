# SPDX-License-Identifier: GPL-2.0-or-later
"""The translation path: hits, walks, DMA; and how long a machine takes to make."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measure import Row, once, per_call
from pgtable import Arena
from smmu_emu import Machine
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.transaction import Transaction

IOVA, PA, PAGES = 0x4000_0000, 0x5000_0000, 512


def _machine() -> Machine:
    machine = Machine.virt()
    memory = Arena(0x4800_0000, 16 << 20, machine.ram.view[0x0800_0000:])
    driver = Smmuv3Driver(machine.smmu, memory)
    domain = driver.domain()
    driver.attach(8, domain)
    for page in range(PAGES):
        domain.map(IOVA + 0x1000 * page, PA + 0x1000 * page, 0x1000)
    return machine


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    machine = _machine()
    smmu, translate = machine.smmu, machine.smmu.translate
    transaction = Transaction(8, IOVA, True)
    translate(transaction)
    yield Row("translate, TLB hit", per_call(lambda: translate(transaction), 50_000) * 1e6, "us", "< 1.5")
    transactions = [Transaction(8, IOVA + 0x1000 * page, True) for page in range(PAGES)]

    def walk_all() -> None:
        smmu.tlb.clear()
        for each in transactions:
            translate(each)

    clear = per_call(smmu.tlb.clear, 1000)
    walk = (once(walk_all, 30) - clear) / PAGES
    yield Row("translate, 4-level walk and fill", walk * 1e6, "us", "< 6")
    port = machine.dma(8)
    data = bytes(64)
    yield Row("DMA write of 64 bytes, hit", per_call(lambda: port.write(IOVA, data), 20_000) * 1e6, "us")
    page = bytes(PAGES << 12)
    yield Row("DMA write over 4K pages", PAGES / 256 / once(lambda: port.write(IOVA, page)), "MiB/s")
    prod = smmu.read(0x98, 4)
    yield Row("register write", per_call(lambda: smmu.write(0x98, 4, prod), 20_000) * 1e6, "us")
    yield Row("machine made, no core", once(lambda: Machine.virt().close(), 20) * 1e3, "ms", "< 3")
    yield Row("machine reset", once(machine.reset, 20) * 1e3, "ms", "< 3")
