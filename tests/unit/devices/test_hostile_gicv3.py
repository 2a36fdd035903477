# SPDX-License-Identifier: GPL-2.0-or-later
"""A GICv3 and its ITS under registers, tables and commands of whatever kind.

There is no exception of Python, and what is signalled is there to be taken.
"""

from __future__ import annotations

import random

import pytest

from smmu_emu.system_registers import Outcome
from tests.unit.devices.gicv3_rig import (
    COLLECTIONS,
    CONFIGURATION,
    DEVICES,
    ITT,
    PENDING,
    QUEUE,
    RAM,
    VALID,
    Rig,
)

SIZES = (1, 2, 3, 4, 8, 16)
PLACES = (CONFIGURATION, PENDING, QUEUE, DEVICES, COLLECTIONS, ITT, RAM, 0, 0x0808_0000, 1 << 51)
OPCODES = (1, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0xFF)
STEPS = 1500


def word(rng: random.Random) -> int:
    """Bits as software might have them, or not."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.getrandbits(64)
    if kind == 1:
        return rng.choice((0, 1, 0xFFFF_FFFF, (1 << 64) - 1))
    return rng.choice(PLACES) | rng.choice((0, VALID, VALID | 1 << 62)) | rng.randrange(0x400)


def access(rng: random.Random, rig: Rig) -> None:
    device = rng.choice((rig.gic.distributor, rig.gic.redistributor, rig.gic.its))
    known = (0, 0x70, 0x78, 0x80, 0x88, 0x90, 0x100, 0x108, 0x6100, 0xFFD0, 0x1_0080, 0x1_0100)
    offset = rng.choice((*known, rng.randrange(0x1000))) + rng.choice((0, 0, 4, 1))
    size = rng.choice(SIZES)
    if rng.random() < 0.5:
        assert 0 <= device.read(offset, size) < 1 << 8 * size
    else:
        device.write(offset, size, word(rng) & (1 << 8 * size) - 1)


def command(rng: random.Random, rig: Rig) -> None:
    first = rng.choice(OPCODES) | rng.choice((0, 1, 0x1_FFFF, 1 << 20)) << 32
    second = rng.choice((0, 5, 31, word(rng))) | rng.choice((8192, 8200, 65535)) << 32
    rig.command(first, second & (1 << 64) - 1, word(rng), word(rng))


def system_register(rng: random.Random, rig: Rig) -> None:
    register = (3, rng.choice((0, 4)), rng.choice((4, 12)), rng.randrange(16), rng.randrange(8))
    level, hcr = rng.choice((1, 2)), rng.choice((0, 8, 16, 24))
    if rng.random() < 0.5:
        value = rig.gic.cpu.read_system(register, level, hcr)
        assert isinstance(value, Outcome) or 0 <= value < 1 << 64
    else:
        assert isinstance(rig.gic.cpu.write_system(register, level, hcr, word(rng)), Outcome)


def signal(rng: random.Random, rig: Rig) -> None:
    if rng.random() < 0.5:
        rig.wire(rng.randrange(16, 288), rng.random() < 0.5)
    else:
        rig.ring(rng.choice((0, 1, 0x1_FFFF, 1 << 31)), rng.choice((0, 5, 31)))


@pytest.mark.parametrize("seed", range(6))
def test_nothing_that_software_does_is_an_exception(seed):
    rng = random.Random(seed)
    rig = Rig()
    rig.enable_lpis()
    rig.enable_its()
    rig.memory.add_device(0x0808_0000, 0x1_0000, rig.gic.its, "its")
    for _ in range(STEPS):
        rng.choice((access, command, command, system_register, signal))(rng, rig)
        assert not (rig.irq and rig.fiq)
    rig.gic.reset()
    assert not rig.irq
    assert rig.gic.lpis.pending == set()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_signalled_can_be_acknowledged(seed):
    """Among mapped events and wires, taken and ended at random."""
    rng = random.Random(seed)
    rig = Rig()
    rig.enable_lpis()
    rig.enable_its()
    for event in range(16):
        rig.configure(8192 + event, rng.randrange(256))
        rig.map(1, event, 8192 + event)
        rig.enable(40 + event, rng.randrange(256), edge=rng.random() < 0.5)
    active: list[int] = []
    for _ in range(2000):
        action = rng.randrange(4)
        if action == 0:
            rig.ring(1, rng.randrange(16))
        elif action == 1:
            rig.wire(rng.randrange(40, 56), rng.random() < 0.5)
        elif action == 2 and active:
            rig.c((3, 0, 12, 12, 1), active.pop())
        else:
            signalled = rig.irq
            number = rig.c((3, 0, 12, 12, 0))
            assert (number != 1023) == signalled
            active += [number] if signalled else []
    assert rig.reported == []
