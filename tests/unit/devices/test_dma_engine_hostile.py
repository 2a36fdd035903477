# SPDX-License-Identifier: GPL-2.0-or-later
"""Two DMA engines with random descriptors, aimed at each other, at devices and at the SMMU itself.

Transfers and messages end, or wait; nothing is a Python exception, and nothing goes on for ever.
"""

from __future__ import annotations

import random
import struct

import pytest

from pgtable import Arena
from smmu_emu.devices.dma_engine import State
from smmu_emu.driver import DriverError, Smmuv3Driver
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS

RAM, BAR, SMMU = 0x4000_0000, 0x1000_0000, 0x0905_0000
TABLES, TABLES_SIZE = RAM + (32 << 20), 8 << 20
STREAMS = (0x08, 0x10, 0x18)
ROUNDS = 40

TARGETS = (
    *(RAM + 0x1000, RAM + 0x2000, RAM + 0xFF8, BAR + 0x100, BAR + 0x1100, BAR + 0x2000),
    *(SMMU + 0x98, SMMU + 0x20, SMMU + 0x1_00AC, 0x0802_0040, 0x0800_0000, 0x40_1000_8010),
    *(0x70_0000_0000, (1 << 64) - 8, 0),
)
LENGTHS = (0, 1, 4, 8, 64, 4096, 5000, 0x8000, 1 << 20, 0xFFFF_FFFF)
ACCESSES = (0, 0, 0x10, 0x20, 0x40, 0x60, 0x80, 0xC0)
VALUES = (1, 0x46, 0x2044 | 0x08 << 32, 0xD)


def machine_with_engines() -> Machine:
    machine = Machine.virt(
        ram=64 << 20,
        devices=("dma-engine@00:01.0", "dma-engine@00:02.0", "iommu-testdev@00:03.0"),
        smmu_ids=PRESETS["full"],
    )
    for number, stream_id in enumerate(STREAMS):
        header = 0x40_1000_0000 + (stream_id << 12)
        machine.memory.write(header + 0x10, (BAR + 0x1000 * number).to_bytes(4, "little"))
        machine.memory.write(header + 0x04, b"\x06\0")
    return machine


def set_up(machine: Machine, rng: random.Random, mode: str) -> Smmuv3Driver | None:
    if mode == "off":
        return None
    driver = Smmuv3Driver(machine.smmu, Arena(TABLES, TABLES_SIZE, machine.ram.view[32 << 20 :]))
    domain = driver.domain(stall=rng.random() < 0.5)
    places = ((RAM, 4 << 20), (BAR, 0x4000), (SMMU, 0x2_0000), (0x0800_0000, 0x4_0000))
    for base, size in places:
        domain.map(base, base, size)
    for stream_id in STREAMS:
        if mode == "bypass":
            driver.bypass(stream_id)
        else:
            driver.attach(stream_id, domain, ats=mode == "ats")
    return driver


def start_one(machine: Machine, rng: random.Random) -> None:
    """Random descriptors and registers, and START."""

    def write(pa: int, value: int, size: int = 4) -> None:
        machine.memory.write(pa, value.to_bytes(size, "little"))

    table, count = RAM + 0x1_0000 * rng.randrange(4), rng.randrange(1, 5)
    for index in range(count):
        flags = rng.randrange(5) | rng.choice(ACCESSES) | rng.choice((0, 0, 1, 0xFFFFF)) << 12
        source, target = (rng.choice(TARGETS) + rng.choice((0, 0, 1, 4)) for _ in range(2))
        value = rng.choice((*VALUES, rng.getrandbits(64)))
        mask = (1 << 64) - 1
        words = struct.pack(
            "<IIQQQ", flags, rng.choice(LENGTHS), source & mask, target & mask, value
        )
        machine.memory.write(table + 64 * index, words.ljust(64, b"\0"))
    engine = BAR + 0x1000 * rng.randrange(2)
    channel = engine + 0x100 + 0x80 * rng.randrange(8)
    write(engine + 0x0C, rng.randrange(4))
    write(channel + 0x0C, count)
    write(channel + 0x10, table, 8)
    write(channel + 0x18, rng.choice((0, 0x40, 0x80)))
    write(channel + 0x1C, rng.getrandbits(8))
    write(channel + 0x20, rng.choice((0, RAM, *TARGETS)) & -4, 8)
    write(channel, 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["off", "bypass", "translate", "ats"])
def test_random_work_ends_or_waits(mode: str, seed: int) -> None:
    rng = random.Random(f"{mode} {seed}")
    machine = machine_with_engines()
    driver = set_up(machine, rng, mode)
    engines = [machine.devices[f"dma-engine@00:0{n}.0"] for n in (1, 2)]
    seen: set[State] = set()
    for _ in range(ROUNDS):
        for _ in range(rng.randrange(1, 4)):
            start_one(machine, rng)
        machine.clock.advance(machine.clock.now + 5000)
        seen |= {channel.state for engine in engines for channel in engine.channels}
        if driver is not None and driver.pages is not None and rng.random() < 0.2:
            try:
                driver.faults.run()
                driver.recovery.handle()
                driver.pages.run()
            except DriverError:
                return  # the engines have broken the queues, which is what they are for
    assert State.DONE in seen
    assert State.TRANSFER_FAILED in seen
    machine.reset()
    assert {channel.state for engine in engines for channel in engine.channels} == {State.IDLE}
