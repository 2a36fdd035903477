# SPDX-License-Identifier: GPL-2.0-or-later
"""Where Unicorn keeps what its interface does not show: found by looking, never assumed.

Four things are wanted in a nanosecond or without any interface at all: the instruction counter and
limit of the running slice, the general registers and PC, the syndrome of the last exception, and
the interrupts that are asked for.
They lie at constant places for one build of the library. A scratch engine is made to leave marks
there, and the marks are searched for; memory is only looked at through a system call that answers
with an error where a wild pointer would end the process.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache
from typing import Any, NamedTuple

from smmu_emu.cpu import abi
from smmu_emu.errors import EmulatorError

_WORDS = 256
"""How much of uc_struct is searched, in 64-bit words."""
REACH = 0x10000
"""How far behind a pointer in uc_struct the registers may lie, in bytes."""
_MARKS = [0x5A5A_0000_0000_0000 + i * 0x01_0101_0101 for i in range(29)]
_PC_MARK = 0x1234_5678_9ABC
_NOP, _SVC = 0xD503_201F, 0xD400_0001
_REQUESTS = 0x100
"""How far into the core's state the word of interrupt requests may lie, in bytes."""
_VECTORS, _IRQ_VECTOR = 0x1800, 0x1A80
_EL1H_UNMASKED = 0x305
_HCR_EL2 = (3, 4, 1, 1, 0)
_SCR, _HCR_RW, _HCR_VI = 0x401, 1 << 31, 1 << 7
IRQ_REQUEST, FIQ_REQUEST, VIRQ_REQUEST, VFIQ_REQUEST = 0x02, 0x10, 0x40, 0x200
"""Bits of that word: physical IRQ and FIQ, virtual IRQ and FIQ."""
_BEHIND_SYNDROME = range(20, 128, 4)
"""Where, after the syndrome, the word of lines may lie, in bytes."""


class Layout(NamedTuple):
    """Word indexes into uc_struct, and byte offsets from what they point to.

    ``registers`` is X0 to X30, SP and PC, 33 words of 64 bits, and one whose upper half is 1 in
    AArch64 state and 0 in AArch32. ``syndrome`` counts from there: a 32-bit syndrome, FAR 8 bytes
    on, the target exception level 16 bytes on. ``requests`` is a 32-bit word of bits such as
    `IRQ_REQUEST`: the engine takes such an interrupt, to the level that SCR_EL3 and HCR_EL2 say, as
    soon as it is not masked. ``lines`` counts from the registers: a 32-bit word of the same bits,
    of virtual interrupts that hardware asks for beside HCR_EL2; it counts when that is written.
    """

    counter: int
    limit: int
    cpu: int
    registers: int
    syndrome: int
    requests: int
    lines: int


class Peeker:
    """Reads this process's memory, and answers None where there is none."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._read, self._write = os.pipe()

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def peek(self, address: int, size: int) -> bytes:
        """Up to ``size`` bytes (64 KiB at most) at ``address``: as many as are there."""
        pointer, length = ctypes.c_void_p(address), ctypes.c_size_t(size)
        written = self._libc.write(self._write, pointer, length)
        return os.read(self._read, written) if written > 0 else b""


@cache
def find_layout() -> Layout:
    """The layout of the Unicorn library in this process.

    Raises: EmulatorError when this build keeps things where they cannot be found.
    """
    from unicorn import arm64_const

    uc = abi.open_engine()
    uc.ctl_exits_enabled(True)
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, struct.pack("<5I", _NOP, _NOP, _NOP, _SVC | 0x1234 << 5, _NOP))
    peeker = Peeker()
    try:
        counter = find_counter(uc)
        for number, mark in enumerate(_MARKS):
            uc.reg_write(arm64_const.UC_ARM64_REG_X0 + number, mark)
        uc.reg_write(arm64_const.UC_ARM64_REG_PC, _PC_MARK)
        cpu, registers = _find_registers(uc, peeker)
        syndrome = _find_syndrome(uc, peeker, cpu, registers)
        requests = _find_requests(uc, cpu, registers)
        lines = _find_lines(uc, cpu, registers + syndrome, requests) - registers
    finally:
        peeker.close()
    return Layout(counter, counter + 1, cpu, registers, syndrome, requests, lines)


def engine_words(uc: Any) -> list[int]:
    """The first words of uc_struct."""
    return list((ctypes.c_uint64 * _WORDS).from_address(uc._uch.value))


def execute(uc: Any, address: int, count: int) -> None:
    """Execute so many instructions."""
    abi.library().uc_emu_start(uc._uch, address, 0, 0, count)


def find_counter(uc: Any) -> int:
    """The word that goes to count + 1 when a slice of count ends, with count in the next word."""
    candidates = set(range(_WORDS - 1))
    for count in (2, 1, 3):
        execute(uc, 0x1000, count)
        words = engine_words(uc)
        candidates &= {
            i for i in range(_WORDS - 1) if words[i] == count + 1 and words[i + 1] == count
        }
    if len(candidates) != 1:
        raise EmulatorError(unknown("instruction counter"))
    return candidates.pop()


def _find_registers(uc: Any, peeker: Peeker) -> tuple[int, int]:
    marks = struct.pack("<29Q", *_MARKS)
    for index, pointer in enumerate(engine_words(uc)):
        if pointer < 0x10000 or pointer & 7 or pointer >> 47:
            continue
        data = peeker.peek(pointer, REACH)
        at = data.find(marks)
        if at >= 0 and len(data) >= at + 34 * 8:
            pc, _, aarch64 = struct.unpack_from("<QII", data, at + 32 * 8)
            if (pc, aarch64) == (_PC_MARK, 1):
                return index, at
    raise EmulatorError(unknown("registers"))


def _find_syndrome(uc: Any, peeker: Peeker, cpu: int, registers: int) -> int:
    """Where the syndrome of an SVC with a known number appears, with target level 1 behind it."""
    execute(uc, 0x100C, 1)
    base = engine_words(uc)[cpu] + registers
    wanted, target = struct.pack("<I", 0x5600_1234), struct.pack("<I", 1)
    data = peeker.peek(base, REACH)
    at = data.find(wanted)
    while at >= 0:
        if data[at + 16 : at + 20] == target:
            return at
        at = data.find(wanted, at + 1)
    raise EmulatorError(unknown("exception syndrome"))


def _find_requests(uc: Any, cpu: int, registers: int) -> int:
    """The word in which HCR_EL2.VI asks for a virtual IRQ; and a physical one is taken from it."""
    state = engine_words(uc)[cpu]
    words = (ctypes.c_uint32 * (min(_REQUESTS, registers) // 4)).from_address(state)
    seen = []
    for hcr in (_HCR_RW, _HCR_RW | _HCR_VI, _HCR_RW):
        _set_system(uc, _HCR_EL2, hcr)
        seen.append(list(words))
    found = [i for i, row in enumerate(zip(*seen, strict=True)) if row == (0, VIRQ_REQUEST, 0)]
    if len(found) == 1 and _takes_irq(uc, words, found[0]):
        return 4 * found[0]
    raise EmulatorError(unknown("interrupt requests"))


def _find_lines(uc: Any, cpu: int, syndrome: int, requests: int) -> int:
    """The word, near the syndrome, that makes HCR_EL2 ask for a virtual IRQ without its VI."""
    state = engine_words(uc)[cpu]
    asked = ctypes.c_uint32.from_address(state + requests)
    found = []
    for offset in _BEHIND_SYNDROME:
        word = ctypes.c_uint32.from_address(state + syndrome + offset)
        if not word.value:
            word.value = VIRQ_REQUEST
            _set_system(uc, _HCR_EL2, _HCR_RW)
            found += [syndrome + offset] if asked.value & VIRQ_REQUEST else []
            word.value = 0
            _set_system(uc, _HCR_EL2, _HCR_RW)
    if len(found) != 1:
        raise EmulatorError(unknown("virtual interrupt lines"))
    return found[0]


def _takes_irq(uc: Any, words: Any, index: int) -> bool:
    from unicorn import arm64_const

    uc.mem_write(_IRQ_VECTOR, struct.pack("<I", _NOP))
    uc.reg_write(arm64_const.UC_ARM64_REG_VBAR_EL1, _VECTORS)
    uc.reg_write(arm64_const.UC_ARM64_REG_PSTATE, _EL1H_UNMASKED)
    _set_system(uc, (3, 6, 1, 1, 0), _SCR)
    words[index] |= IRQ_REQUEST
    execute(uc, 0x1000, 1)
    words[index] &= ~IRQ_REQUEST
    after: int = uc.reg_read(arm64_const.UC_ARM64_REG_PC)
    return after == _IRQ_VECTOR + 4


def _set_system(uc: Any, register: tuple[int, int, int, int, int], value: int) -> None:
    from unicorn import arm64_const

    op0, op1, crn, crm, op2 = register
    uc.reg_write(arm64_const.UC_ARM64_REG_CP_REG, (crn, crm, op0, op1, op2, value))


def unknown(what: str) -> str:
    """The complaint about another build."""
    return (
        f"this build of Unicorn keeps its {what} where they cannot be found; "
        "install the wheel this package names: pip install unicorn==2.1.4"
    )
