# SPDX-License-Identifier: GPL-2.0-or-later
"""Nested walks: four levels of either stage, 4 KiB pages, 24 descriptors to read with an empty TLB.

The guest's tables, like its pages, lie behind stage 2 page by page, so that nothing is shared but
the upper tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.measure import Row, once
from pgtable import Arena, PageTableConfig, Prot, alloc
from smmu_emu.memory import PhysicalMemory
from smmu_emu.smmuv3 import PRESETS, Smmuv3
from smmu_emu.transaction import Transaction, Translation

RAM, STREAM_TABLE, CD = 0x4000_0000, 0x4000_0000, 0x4006_0000
GUEST_TABLES, HOST_TABLES, DATA = 0x4100_0000, 0x4200_0000, 0x4800_0000
GUEST = 0x100_0000_0000
"""What is at a physical address appears to the guest this much higher up."""
IOVA, PAGES, PAGE = 0x7F_0000_0000, 512, 0x1000
RW = int(Prot.READ | Prot.WRITE)
SID = 8
ROUNDS = 20
READS = 24


def _smmu() -> Smmuv3:
    """Stream 8 reaches 512 pages through both stages."""
    memory = PhysicalMemory()
    ram = memory.add_ram(RAM, 256 << 20)
    tables = Arena(GUEST + GUEST_TABLES, 1 << 20, ram.view[GUEST_TABLES - RAM :])
    first = alloc(
        "ARM_64_LPAE_S1", PageTableConfig(pgsize_bitmap=PAGE, ias=48, oas=44), memory=tables
    )
    for page in range(PAGES):
        first.map(IOVA + PAGE * page, GUEST + DATA + PAGE * page, PAGE, RW)
    host = Arena(HOST_TABLES, 1 << 20, ram.view[HOST_TABLES - RAM :])
    second = alloc(
        "ARM_64_LPAE_S2", PageTableConfig(pgsize_bitmap=PAGE, ias=44, oas=44), memory=host
    )
    for start, size in ((CD, PAGE), (GUEST_TABLES, 1 << 20), (DATA, PAGE * PAGES)):
        second.map(GUEST + start, start, size, RW)
    vttbr = second.regs.vttbr
    vtcr = 20 | 2 << 6 | 4 << 16 | 1 << 19 | 1 << 26  # T0SZ, SL0 (level 0), PS, AA64, R
    control = 16 | 1 << 30 | 1 << 31 | 4 << 32 | 1 << 41 | 1 << 45 | 1 << 46  # T0SZ, EPD1 ...
    _store(memory, STREAM_TABLE + 64 * SID, (0xF | GUEST + CD, 1 << 44, vtcr << 32, vttbr))
    _store(memory, CD, (control, first.regs.ttbr, 0, first.regs.mair))
    smmu = Smmuv3(memory, PRESETS["qemu"])
    for offset, size, value in ((0x80, 8, STREAM_TABLE), (0x88, 4, 8), (0x20, 4, 1)):
        smmu.write(offset, size, value)
    return smmu


def _store(memory: PhysicalMemory, address: int, words: tuple[int, ...]) -> None:
    for number, word in enumerate(words):
        memory.write_u64(address + 8 * number, word)


def _reads(smmu: Smmuv3, transaction: Transaction) -> int:
    """How many descriptors one walk reads."""
    port, addresses = smmu.stages.port, []
    read_u64 = port.read_u64

    def counted(address: int) -> int | None:
        addresses.append(address)
        return read_u64(address)

    port.read_u64 = counted
    assert isinstance(smmu.translate(transaction), Translation)
    port.read_u64 = read_u64
    return len(addresses)


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    smmu = _smmu()
    translate, clear, now = smmu.translate, smmu.tlb.clear, time.perf_counter
    transactions = [Transaction(SID, IOVA + PAGE * page, True) for page in range(PAGES)]
    assert all(isinstance(translate(each), Translation) for each in transactions)
    clear()
    assert _reads(smmu, transactions[0]) == READS

    def cold(transaction: Transaction) -> float:
        """Seconds for a walk, without the time that it takes to empty the TLB."""
        clear()
        start = now()
        translate(transaction)
        return now() - start

    def walk_all() -> None:
        clear()
        for transaction in transactions:
            translate(transaction)

    best = [min(cold(each) for _ in range(ROUNDS)) for each in transactions]
    yield Row(f"nested walk, {READS} reads, cold", sum(best) / PAGES * 1e6, "us", "< 25")
    yield Row("nested walk, tables in the TLB", once(walk_all, ROUNDS) / PAGES * 1e6, "us")
