# SPDX-License-Identifier: GPL-2.0-or-later
"""Random and damaged images: a run that ends, or one line that says why there is none.

Cases are numbered and made from their number alone. One machine serves many of them, as a campaign
would use it; every case begins with a reset. SMMU_EMU_FUZZ multiplies their number.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from smmu_emu import Machine
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.errors import EmulatorError
from smmu_emu.trace.summary import Recorder
from tests.deadline import within

IMAGES = sorted((Path(__file__).resolve().parents[2] / "firmware" / "images").glob("*.elf"))
GOOD = [path.read_bytes() for path in IMAGES]
Maker = Callable[[random.Random], tuple[bytes, int | None]]
"""Makes an image, and the address at which it is loaded if it is raw."""
BATCHES, CASES = 10, 120 * int(os.environ.get("SMMU_EMU_FUZZ", "1"))
BUDGET = 4000
LONGEST = 20.0
"""Seconds that one case may take; most take hundredths."""

LOAD_AT, VECTORS_AT = 0x4010_0000, 0x4010_8000
SKIP = (0xD518_D080, 0xD538_4020, 0x9100_1000, 0xD518_4020, 0xD538_D080, 0xD69F_03E0)
"""An exception handler that goes on behind the instruction: X0 is kept in TPIDR_EL1 meanwhile."""
PLACES = (
    *(0x0800_0000, 0x0801_0000, 0x0900_0000, 0x0905_0000, 0x0906_0000, 0x1000_0000),
    *(0x40_1000_0000, 0x40_1000_8000, 0x80_0000_0000, 0x4010_0000, 0x4200_0000, 0x43FF_FFF0),
    *(0x4400_0000, 0x70_0000_0000, 0, 0xFFFF_FFFF_FFFF_FFF0),
)
"""Devices, RAM, borders, nothing."""
LOADS_AND_STORES = (
    *(0x3900_0000, 0x3800_0000, 0x2800_0000, 0x2900_0000, 0x3820_0800, 0x0800_0000),
    *(0x3800_0400, 0x3D00_0000),
)
NOTABLE = (
    *(0xD503_201F, 0xD503_207F, 0xD503_3FDF, 0xD69F_03E0),  # nop, wfi, isb, eret
    *(0xD400_0001, 0xD400_0002, 0xD400_0003, 0xD45E_0000),  # svc, hvc, smc, semihosting
)


def _text(image: bytes) -> tuple[int, int]:
    """Offset and size of the first segment, the code."""
    header = struct.unpack_from("<Q", image, 32)[0]
    offset, _, _, size = struct.unpack_from("<QQQQ", image, header + 8)
    return offset, size


def _words(image: bytes) -> tuple[int, ...]:
    offset, size = _text(image)
    return struct.unpack_from(f"<{size // 4}I", image, offset)


REAL = [word for image in GOOD for word in _words(image)]


def _instruction(chance: random.Random) -> int:
    """Anything; often something that touches memory, the system, or what firmware does."""
    kind = chance.randrange(10)
    if kind < 2:
        return chance.getrandbits(32)
    if kind < 5:
        offset = chance.getrandbits(12) & chance.choice((0, 0xFF, 0xFFF))
        size, opcode = chance.getrandbits(2) << 30, chance.getrandbits(2) << 22
        return (
            chance.choice(LOADS_AND_STORES) | size | opcode | offset << 10 | chance.getrandbits(10)
        )
    if kind < 6:
        return 0xD500_0000 | chance.getrandbits(22)
    if kind < 7:
        return chance.choice(NOTABLE)
    if kind < 8:
        return 0x5400_0000 | (chance.randrange(-8, 8) & 0x7FFFF) << 5 | chance.getrandbits(4)
    return chance.choice(REAL)


def _mov(register: int, value: int) -> list[int]:
    """movz, movk: all 64 bits."""
    halves = [value >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
    first = 0xD280_0000 | halves[0] << 5 | register
    return [first, *(0xF280_0000 | i << 21 | halves[i] << 5 | register for i in (1, 2, 3))]


def random_program(chance: random.Random) -> tuple[bytes, int | None]:
    """Registers point at devices, faults are skipped, and the end leads back to the start."""
    words = [*_mov(1, VECTORS_AT), 0xD518_C001]  # msr vbar_el1, x1
    for register in range(31):
        near = chance.choice((0, chance.randrange(0x1000), 4 * chance.randrange(0x400)))
        words += _mov(register, (chance.choice(PLACES) + near) % (1 << 64))
    body = [_instruction(chance) for _ in range(chance.choice((8, 64, 256)))]
    words += [*body, 0x1400_0000 | -len(body) & 0x3FF_FFFF]
    code = struct.pack(f"<{len(words)}I", *words).ljust(VECTORS_AT - LOAD_AT, b"\0")
    return code + struct.pack("<6I", *SKIP).ljust(0x80, b"\0") * 16, LOAD_AT


def random_bytes(chance: random.Random) -> tuple[bytes, int | None]:
    """No sense at all, somewhere in RAM or not."""
    data = chance.randbytes(chance.choice((1, 4, 64, 4096)))
    prefix = chance.choice((b"", b"", b"\x7fELF", b"\x7fELF\x02\x01\x01", bytes(56) + b"ARM\x64"))
    address = chance.choice((None, LOAD_AT, LOAD_AT + chance.randrange(64), 0x43FF_FFFC, 0))
    return prefix + data, address


def _damage(image: bytearray, chance: random.Random, start: int, size: int) -> None:
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        at = start + chance.randrange(size)
        flipped = image[at] ^ 1 << chance.randrange(8)
        image[at] = chance.choice((0, 0xFF, chance.randrange(256), flipped))


def damaged_headers(chance: random.Random) -> tuple[bytes, int | None]:
    """An ELF whose headers have a few wrong bytes, or that ends too early."""
    image = bytearray(chance.choice(GOOD))
    _damage(image, chance, 0, 64 + 4 * 56)
    cut = chance.choice((len(image), len(image), chance.randrange(len(image))))
    return bytes(image[:cut]), None


def damaged_code(chance: random.Random) -> tuple[bytes, int | None]:
    """Firmware that runs, until it comes to the wrong bytes."""
    image = bytearray(chance.choice(GOOD))
    _damage(image, chance, *_text(image))
    return bytes(image), None


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("make", [random_program, random_bytes, damaged_headers, damaged_code])
def test_any_image_ends_or_is_refused(make: Maker, batch: int) -> None:
    ends: set[ExitKind | None] = set()
    with Machine.virt(ram=64 << 20) as machine:
        recorder = Recorder(machine)
        for number in range(batch * CASES, (batch + 1) * CASES):
            image, address = make(random.Random(f"{make.__name__} {number}"))
            machine.reset()
            with within(LONGEST):
                try:
                    machine.load(image, load_address=address)
                    result = machine.run(BUDGET)
                except EmulatorError as error:
                    line, kind = str(error), None
                else:
                    line, kind = result.reason, result.kind
                    assert result.instructions <= BUDGET, number
                    assert 0 <= result.status <= 255, number
            assert line.isprintable(), number
            ends.add(kind)
        assert all(line.isprintable() for line in recorder.summary(result).lines())
    expected: dict[Maker, set[ExitKind | None]] = {
        random_program: {ExitKind.MAX_INSTRUCTIONS},
        random_bytes: {None, ExitKind.LOCKUP},
        damaged_headers: {None, ExitKind.MAX_INSTRUCTIONS},
        damaged_code: {ExitKind.MAX_INSTRUCTIONS, ExitKind.LOCKUP},
    }
    assert expected[make] <= ends
