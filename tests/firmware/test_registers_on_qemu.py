# SPDX-License-Identifier: GPL-2.0-or-later
"""Random sequences of register accesses give the same values on QEMU and here.

Skipped where no fitting QEMU is installed. What the sequences avoid are QEMU's own ways: GICv2
groups enabled one by one (its GICC_IAR and GICC_HPPIR heed only both), GICD_SPENDSGIR written with
0 (it pends), characters lost or left over in the UART's FIFO, and bytes 0x40 up of configuration
space, which QEMU lets software write.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
import qemu_virt
from qemu_registers import QemuRegisters

from smmu_emu.machine import Machine

GICD, GICC, UART, ECAM, BAR = 0x0800_0000, 0x0801_0000, 0x0900_0000, 0x40_1000_0000, 0x1000_0000
IAR, EOIR, FR, LCR_H, CR = 0x0C, 0x10, 0x18, 0x2C, 0x30
SPURIOUS = 1022
LENGTH = 250


class Access(NamedTuple):
    """A read (``value`` None) or a write."""

    pa: int
    size: int = 4
    value: int | None = None


class Pair:
    """QEMU and our machine, accessed in step."""

    def __init__(self, qemu: QemuRegisters) -> None:
        self.qemu = qemu
        self.machine = Machine.virt()
        self.log: list[str] = []

    def read(self, pa: int, size: int = 4) -> int:
        data = self.machine.memory.read(pa, size)
        ours = 0 if data is None else int.from_bytes(data, "little")
        theirs = self.qemu.read(pa, size)
        self.log.append(f"read {size} at {pa:#x}: QEMU {theirs:#x}, here {ours:#x}")
        assert ours == theirs, "\n".join(self.log[-40:])
        return theirs

    def write(self, pa: int, size: int, value: int) -> None:
        self.log.append(f"write {size} at {pa:#x}: {value:#x}")
        self.machine.memory.write(pa, value.to_bytes(size, "little"))
        self.qemu.write(pa, size, value)


INTERRUPTS = (0, 1, 5, 16, 27, 30, 33, 34, 287)
GIC_STATE = [
    *(GICD + offset for offset in (0x000, 0x080, 0x084, 0x100, 0x104, 0x120, 0x200, 0x204, 0x220)),
    *(GICD + offset for offset in (0x300, 0x304, 0x320, 0xC04, 0xC08, 0xF10, 0xF20)),
    *(GICC + offset for offset in (0x00, 0x04, 0x08, 0x14, 0x18, 0x1C, 0xD0, 0xE0)),
]


def gic_access(rng: random.Random, acknowledged: list[int]) -> Access:
    number = rng.choice(INTERRUPTS)
    word, bit = number // 32 * 4, 1 << number % 32
    base = rng.choice((0x080, 0x100, 0x180, 0x200, 0x280, 0x380))
    ended = acknowledged.pop() if acknowledged and rng.random() < 0.9 else rng.choice((0, 33, 1023))
    sgi = rng.choice((0, 0, 1, 2)) << 24 | rng.getrandbits(8) << 16 | rng.randrange(16)
    control = rng.choice((0, 3, 7, 0xF, 0x17, 0x207, 0x203, rng.getrandbits(10) | 3))
    choices = (
        Access(GICD, 4, rng.choice((0, 3, 3))),
        Access(GICC, 4, control),
        Access(GICC + 0x04, 4, rng.choice((0xFF, 0xF0, 0x80, rng.getrandbits(8)))),
        Access(GICC + rng.choice((0x08, 0x1C)), 4, rng.getrandbits(3)),
        Access(GICD + base + word, 4, rng.choice((bit, rng.getrandbits(32)))),
        Access(GICD + 0x400 + number, 1, rng.getrandbits(8)),
        Access(GICD + 0xC00 + number // 16 * 4, 4, rng.getrandbits(32) & 0xAAAA_AAAA),
        Access(GICD + 0xF00, 4, sgi),
        Access(GICD + 0xF10 + rng.randrange(0x20), 1, 1),
        Access(UART + 0x38, 4, rng.choice((0, 0x20))),
        Access(UART, 4, 0x41),
        Access(UART + 0x44, 4, 0x7FF),
        Access(GICC + IAR),
        Access(GICC + EOIR, 4, ended),
        Access(GICC + 0x1000, 4, number),
    )
    return rng.choices(choices, (8, 8, 5, 5, 15, 10, 5, 5, 2, 3, 3, 2, 12, 10, 2))[0]


def run_gic(pair: Pair, rng: random.Random) -> None:
    acknowledged: list[int] = []
    for _ in range(LENGTH):
        access = gic_access(rng, acknowledged)
        if access.value is not None:
            pair.write(access.pa, access.size, access.value)
        elif (number := pair.read(access.pa)) < SPURIOUS:
            acknowledged.append(number)
        for pa in GIC_STATE:
            pair.read(pa)


UART_VALUES: dict[int, Callable[[random.Random], int]] = {
    0x00: lambda rng: rng.getrandbits(8),
    0x20: lambda rng: rng.getrandbits(8),
    LCR_H: lambda rng: rng.choice((0x70, 0x10, 0x50)),
    CR: lambda rng: rng.choice((0x301, 0x381, 0x000)),
    0x34: lambda rng: rng.getrandbits(6),
    0x38: lambda rng: rng.getrandbits(11),
    0x48: lambda rng: rng.getrandbits(3),
}
UART_OFFSETS = (0, 0, 4, 0x18, 0x20, 0x24, 0x28, LCR_H, CR, 0x34, 0x38, 0x3C, 0x40, 0x44, 0xFE0)


def run_uart(pair: Pair, rng: random.Random) -> None:
    pair.write(UART + LCR_H, 4, 0x70)
    for _ in range(LENGTH):
        flags, control = pair.read(UART + FR), pair.read(UART + CR)
        offset, write = rng.choice(UART_OFFSETS), rng.random() < 0.5
        full, empty = flags & 0x40 and control & 0x80, flags & 0x10
        if not offset and (full if write else empty):
            continue
        if write:
            value = UART_VALUES.get(offset, lambda rng: rng.getrandbits(16))(rng)
            pair.write(UART + offset, rng.choice((4, 4, 2)), value)
        else:
            pair.read(UART + offset, rng.choice((4, 4, 1, 2)))


def pci_access(rng: random.Random) -> Access:
    function = rng.choice((0x00, 0x08, 0x08, 0x08, 0x09, 0x10, 0x100))
    register = rng.choice(
        (0, 2, 4, 6, 8, 9, 0xC, 0xD, 0xE, 0x10, 0x14, 0x28, 0x2C, 0x30, 0x3D, 0x100)
    )
    size = rng.choice((1, 2, 4)) if not register & 1 else 1
    pa = ECAM + (function << 12 | register)
    if rng.random() < 0.4:
        return Access(pa, size)
    value = rng.choice((rng.getrandbits(32), 0xFFFF_FFFF, 0))
    if register == 0x10:
        size, value = 4, rng.choice((BAR, BAR, BAR + 0x1000_0000, 0xFFFF_FFFF))
    elif register == 0x04:
        value = rng.choice((0, 2, 6, 6, 0xFFFF))
    return Access(pa, size, value & (1 << 8 * size) - 1)


def device_access(rng: random.Random) -> Access:
    register = rng.choice((*range(0, 0x2C, 4), 0xFFC, 0x1000))
    pa = rng.choice((BAR, BAR, BAR, BAR + 0x1000_0000)) + register
    if rng.random() < 0.4:
        return Access(pa, rng.choice((4, 4, 4, 4, 1, 2)))
    targets = (0x4100_0000, 0x4100_0001, 0x4100_0FFE, 0x5FFF_FFFE, 0x7000_0000, BAR)
    values: dict[int, tuple[int, ...]] = {
        0x04: targets,
        0x1C: targets,
        0x08: (0, 0, 0, 1),
        0x20: (0, 0, 0, 1),
        0x0C: (0, 1, 3, 4, 5, 16, 0x1003),
        0x14: (1, 1, 1, 0, 2, 3),
        0x18: (2, 2, rng.getrandbits(4)),
    }
    return Access(pa, 4, rng.choice(values.get(register, (rng.getrandbits(32),))))


def run_pci(pair: Pair, rng: random.Random) -> None:
    for _ in range(LENGTH):
        access = rng.choice((pci_access, device_access, device_access))(rng)
        if access.value is None:
            pair.read(access.pa, access.size)
        else:
            pair.write(access.pa, access.size, access.value)
        for pa in (0x4100_0000, 0x4100_0FFC, 0x4100_1000, 0x4100_1FFE, 0x5FFF_FFF8):
            pair.read(pa, 8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("run", [run_gic, run_uart, run_pci])
def test_random_accesses_give_the_same_on_qemu_and_here(
    run: Callable[[Pair, random.Random], None], seed: int
) -> None:
    command, why_not = qemu_virt.find_qemu()
    if not command:
        pytest.skip(why_not)
    with QemuRegisters() as qemu:
        run(Pair(qemu), random.Random(seed))
