# SPDX-License-Identifier: GPL-2.0-or-later
"""Random accesses to every device window: values or refusals, never a Python exception.

The devices are wired as on the board, so that interrupts, DMA and translation take place.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smmu_emu.machine import Machine
from smmu_emu.memory import Window

WINDOWS = [window.name for window in Machine.virt().memory.windows]
SIZES = (1, 2, 4, 8)
ACCESSES = 3000

BAR = 0x1000_0000
ECAM_DEVICE = 0x40_1000_8000
RAM = 0x4000_0000


def ready_machine() -> Machine:
    """A machine whose test device decodes at `BAR` and may master."""
    machine = Machine.virt(ram=16 << 20)
    machine.memory.write(ECAM_DEVICE + 0x10, BAR.to_bytes(4, "little"))
    machine.memory.write(ECAM_DEVICE + 0x04, b"\x06\0")
    return machine


def find(machine: Machine, name: str) -> Window:
    return next(window for window in machine.memory.windows if window.name == name)


def interesting(rng: random.Random, bits: int) -> int:
    """Values that registers take seriously: single bits, masks, addresses of RAM and devices."""
    kind = rng.randrange(6)
    if kind == 0:
        value = 1 << rng.randrange(64)
    elif kind == 1:
        value = (1 << rng.randrange(65)) - 1
    elif kind == 2:
        value = rng.choice((RAM, RAM + 0x1000, BAR, 0x0905_0000, 0x0800_0000)) + rng.randrange(64)
    elif kind == 3:
        value = rng.randrange(16)
    else:
        value = rng.getrandbits(64)
    return value & (1 << bits) - 1


def offset_in(rng: random.Random, window: Window) -> int:
    """Mostly where registers are: at the start, the end, or 64 KiB up (an SMMU's page 1)."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randrange(window.size)
    if kind == 1:
        return window.size - 1 - rng.randrange(0x40)
    if kind == 2:
        return (0x10000 + rng.randrange(0x100)) % window.size
    return rng.randrange(min(0x1100, window.size))


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("seed", range(2))
def test_random_accesses_to_a_window_give_values_or_refusals(name: str, seed: int) -> None:
    rng = random.Random(f"{name} {seed}")
    machine = ready_machine()
    window = find(machine, name)
    for _ in range(ACCESSES):
        offset, size = offset_in(rng, window), rng.choice(SIZES)
        if offset + size > window.size:
            continue
        if rng.random() < 0.5:
            value = window.device.read(offset, size)
            assert value is None or 0 <= value < 1 << 8 * size, (hex(offset), size)
        else:
            answer = window.device.write(offset, size, interesting(rng, 8 * size))
            assert answer is None or isinstance(answer, bool)


@pytest.mark.parametrize("seed", range(4))
def test_random_accesses_to_all_windows_at_once(seed: int) -> None:
    """What one device does to another: DMA into registers, queues and tables in windows."""
    rng = random.Random(seed)
    machine = ready_machine()
    windows = machine.memory.windows
    for _ in range(ACCESSES):
        window = rng.choice(windows)
        offset, size = offset_in(rng, window), rng.choice((1, 2, 3, 4, 8, 16, 64))
        pa = window.base + offset
        if rng.random() < 0.3:
            data = machine.memory.read(pa, size)
            assert data is None or len(data) == size
        else:
            value = interesting(rng, 8 * size)
            assert machine.memory.write(pa, value.to_bytes(size, "little")) in (True, False)
    machine.reset()


@pytest.mark.parametrize("seed", range(4))
def test_random_transfers_of_the_test_device(seed: int) -> None:
    rng = random.Random(seed)
    machine = ready_machine()
    device = machine.devices["iommu-testdev@00:01.0"]
    targets = [
        0,
        RAM,
        RAM + (16 << 20) - 4,
        BAR,
        0x0905_0000,
        0x40_1000_0000,
        1 << 63,
        (1 << 64) - 8,
    ]
    for _ in range(200):
        for register in (0x04, 0x08, 0x1C, 0x20):
            address = rng.choice(targets) + rng.randrange(16)
            shift = 32 if register in (0x08, 0x20) else 0
            device.write(register, 4, address >> shift & 0xFFFF_FFFF)
        device.write(0x0C, 4, rng.choice((0, 1, 7, 64, 0x2001)))
        device.write(0x18, 4, rng.getrandbits(4))
        device.write(0x14, 4, 1)
        device.read(0x00, 4)
        assert device.read(0x10, 4) in (0, *range(0xDEAD_0001, 0xDEAD_0007))


@given(st.sampled_from(WINDOWS), st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_read_is_a_number_of_its_size(name: str, data: st.DataObject) -> None:
    machine = ready_machine()
    window = find(machine, name)
    size = data.draw(st.sampled_from(SIZES))
    offset = data.draw(st.integers(0, window.size - size))
    window.device.write(offset, size, data.draw(st.integers(0, (1 << 8 * size) - 1)))
    value = window.device.read(offset, size)
    assert value is None or 0 <= value < 1 << 8 * size
