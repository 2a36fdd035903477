# SPDX-License-Identifier: GPL-2.0-or-later
"""The core: instructions, device accesses and exceptions in small loops of machine code."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measure import Row, once
from smmu_emu import Machine
from smmu_emu.machine import RunResult

AT = 0x4020_0000
VECTORS = 0x800
UART = 0x0900_0000
PAGES = 0x4400_0000
STREAM = 0x20

# One register each: x0 counts down, x1 and x2 are at hand.
SUBS_X0_X0_1 = 0xF100_0400
LDR_X1_X2 = 0xF940_0041
ADD_X2_X2_4096 = 0x9140_0442
LDR_W1_X2_FR = 0xB940_1841
STR_W1_X2_DR = 0xB900_0041
SVC, ERET, HVC, NOP = 0xD400_0001, 0xD69F_03E0, 0xD400_0002, 0xD503_201F
MSR_VBAR_X2, ISB = 0xD518_C002, 0xD503_3FDF
SYSTEM_OFF = 0x8400_0008


def _mov(register: int, value: int) -> list[int]:
    """movz and movk of 32 bits."""
    low, high = value & 0xFFFF, value >> 16
    return [0xD280_0000 | low << 5 | register, 0xF2A0_0000 | high << 5 | register]


def _b_ne(words: int) -> int:
    return 0x5400_0001 | (words & 0x7FFFF) << 5


def _image(setup: list[int], body: list[int], rounds: int) -> bytes:
    """A loop around ``body``, then a power-off; an ERET at the vector of synchronous exceptions."""
    loop = [*body, SUBS_X0_X0_1]
    words = [*_mov(0, rounds), *setup, *loop, _b_ne(-len(loop)), *_mov(0, SYSTEM_OFF), HVC]
    code = b"".join(word.to_bytes(4, "little") for word in words)
    return code.ljust(VECTORS + 0x200, b"\0") + ERET.to_bytes(4, "little")


def _seconds(
    setup: list[int], body: list[int], rounds: int, core_stream: int | None = None
) -> tuple[float, RunResult]:
    """Seconds of the loop alone, in a machine that has run it before."""
    with Machine.virt(core_stream=core_stream) as machine:
        machine.load(_image(setup, body, rounds), load_address=AT)
        results = []

        def run() -> None:
            results.append(machine.run())

        best = float("inf")
        for _ in range(4):
            machine.reset()
            best = min(best, once(run, 1))
        result = results[-1]
    assert result.status == 0, result.reason
    return best, result


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    seconds, result = _seconds([], [NOP] * 6, 8_000_000)
    yield Row("instructions, a loop of 8", result.instructions / seconds / 1e6, "M/s")
    seconds, result = _seconds(_mov(2, AT), [LDR_X1_X2], 10_000_000)
    yield Row("loads from RAM, a loop of 3", 10_000_000 / seconds / 1e6, "M/s")
    count = 200_000
    seconds, _ = _seconds(_mov(2, UART), [LDR_W1_X2_FR], count)
    yield Row("device register reads", count / seconds / 1e3, "k/s")
    setup = [*_mov(1, ord(".")), *_mov(2, UART)]
    seconds, _ = _seconds(setup, [STR_W1_X2_DR], count)
    yield Row("characters printed", count / seconds / 1e3, "k/s")
    setup = [*_mov(2, AT + VECTORS), MSR_VBAR_X2, ISB]
    seconds, _ = _seconds(setup, [SVC], 50_000)
    yield Row("exception entry and return", 1e6 * seconds / 50_000, "us")
    yield from _rows_behind_the_smmu()


def _rows_behind_the_smmu() -> Iterator[Row]:
    """The same loops on a core whose accesses the SMMU translates, and what a new page costs."""
    seconds, result = _seconds([], [NOP] * 6, 8_000_000, STREAM)
    yield Row("behind the SMMU: a loop of 8", result.instructions / seconds / 1e6, "M/s")
    seconds, _ = _seconds(_mov(2, AT), [LDR_X1_X2], 10_000_000, STREAM)
    yield Row("behind the SMMU: loads, a loop of 3", 10_000_000 / seconds / 1e6, "M/s")
    seconds, _ = _seconds(_mov(2, PAGES), [LDR_X1_X2, ADD_X2_X2_4096], 20_000, STREAM)
    yield Row("behind the SMMU: first access to a page", 1e6 * seconds / 20_000, "us")
