# SPDX-License-Identifier: GPL-2.0-or-later
"""Random accesses to every PCI device, bridges and messages: values or refusals, no exceptions."""

from __future__ import annotations

import random

import pytest

from smmu_emu.machine import Machine

DEVICES = (
    *("pcie-root-port,id=a", "pcie-root-port,id=b"),
    *("smmu-test-engine,bus=a", "edu,bus=b", "smmu-test-engine", "edu", "dma-engine"),
)
RAM, WINDOW, ECAM, FRAME = 0x4000_0000, 0x1000_0000, 0x40_1000_0000, 0x0802_0000
SLOT = 0x40_0000
"""Bytes of the window for each function."""
SIZES = (1, 2, 4, 8)
ACCESSES = 4000


def ready_machine() -> tuple[Machine, list[int], list[int]]:
    """All functions enumerated, decoding, masters with messages on; their configuration spaces and
    BARs."""
    machine = Machine.virt(ram=1 << 20, devices=DEVICES)

    def write(pa: int, value: int, size: int = 4) -> None:
        machine.memory.write(pa, value.to_bytes(size, "little"))

    for number in (1, 2):
        port = ECAM | number << 15
        write(port | 0x18, number << 16 | number << 8)
        write(port | 0x20, 0x3EF0_1000)
    places, bars = [], []
    for number, function in enumerate(machine.board.pcie.everything):
        place = ECAM | function.requester_id << 12
        places.append(place)
        for bar in function.bars:
            bars.append(WINDOW + SLOT * number + 0x8_0000 * bar.number)
            write(place | 0x10 + 4 * bar.number, bars[-1], 8 if bar.wide else 4)
            assert function.bar_address(bar) == bars[-1]
        write(place | 0x04, 6)
        write(place | 0x42, 0x8001, 2)
    return machine, places, bars


def value(rng: random.Random, size: int, bars: list[int]) -> int:
    """Small numbers, bits, addresses of RAM, of BARs and of the message frame."""
    chosen = rng.choice(
        (
            rng.randrange(8),
            1 << rng.randrange(64),
            RAM + rng.randrange(1 << 20),
            rng.choice(bars) + rng.randrange(0x100),
            FRAME + 0x40,
            rng.getrandbits(64),
            2**64 - 1,
        )
    )
    return chosen & (1 << 8 * size) - 1


@pytest.mark.parametrize("seed", range(6))
def test_random_accesses_never_raise(seed: int) -> None:
    rng = random.Random(seed)
    machine, places, bars = ready_machine()
    for _ in range(ACCESSES):
        size = rng.choice(SIZES)
        offset = rng.choice((rng.randrange(0x100), rng.randrange(0x4_0000))) & -size
        pa = rng.choice(bars) + offset
        if rng.randrange(50) == 0:
            pa = rng.choice(places) | (rng.randrange(0x110) & -size)
        if rng.randrange(3):
            machine.memory.write(pa, value(rng, size, bars).to_bytes(size, "little"))
        else:
            data = machine.memory.read(pa, size)
            assert data is None or len(data) == size
    deadline = machine.clock.next_deadline()
    if deadline is not None:
        machine.clock.advance(deadline)
    machine.reset()
    assert machine.memory.read(ECAM | 1 << 20, 4) == b"\xff\xff\xff\xff"


@pytest.mark.parametrize("seed", range(4))
def test_random_frames_never_raise(seed: int) -> None:
    """Commands with fields that make sense together more often than not."""
    rng = random.Random(seed)
    machine, _, _ = ready_machine()
    name = "smmu-test-engine@00:01.0/0.0"
    engine, states = machine.devices[name], set()
    for _ in range(300):
        begin = RAM + rng.randrange(1 << 20)
        frame = rng.randrange(512) * 128 | rng.randrange(2) << 17
        fields = (
            (0x10, rng.choice((0, 1, 1, 2)), 8),
            (0x18, rng.choice((0, 5, 2047, 2048)), 4),
            (0x20, rng.choice((0, 0x42FF_42FF, rng.getrandbits(32))), 4),
            (0x24, rng.choice((0, 0xFFFF_FFFF, rng.getrandbits(32))), 4),
            (0x28, rng.choice((begin, begin & ~7, begin & ~7, rng.getrandbits(64))), 8),
            (0x30, rng.choice((begin + 0x3FFF | 7, begin | 7, begin | 7, rng.getrandbits(64))), 8),
            (0x38, rng.choice((1, 1, 8, 24, 0, rng.getrandbits(64))), 8),
            (0x40, rng.choice((begin + 0x100, WINDOW, rng.getrandbits(64))), 8),
            (0x1_000C, rng.choice((0xFFFF_FFFF, 0xFFFF_FFFF, 0, rng.getrandbits(32))), 4),
        )
        for register, number, size in fields:
            engine.write(frame + register, size, number)
        engine.write(frame, 4, rng.choice((2, 3, 4, 7)))
        states.add(engine.read(frame, 4))
    assert states == {1, 0xFFFF_FFFE, 0xFFFF_FFFF}
