# SPDX-License-Identifier: GPL-2.0-or-later
"""A64 instructions as words, for tests: the few that they need.

Registers are numbers, 31 is XZR or SP as the instruction has it. Checked against literal words in
test_a64.py.
"""

from __future__ import annotations

import struct

NOP = 0xD503_201F
WFI = 0xD503_207F
WFE = 0xD503_205F
ISB = 0xD503_3FDF
DSB_SY = 0xD503_3F9F
ERET = 0xD69F_03E0
SPIN = 0x1400_0000
UDF = 0x0000_0000
HLT_SEMIHOSTING = 0xD45E_0000
SPSEL_0, SPSEL_1 = 0xD500_40BF, 0xD500_41BF
DAIF_UNMASK_I, DAIF_MASK_I = 0xD503_42FF, 0xD503_42DF


def code(*words: int | list[int]) -> bytes:
    """Words (or lists of them) as bytes in memory."""
    flat: list[int] = []
    for word in words:
        flat += word if isinstance(word, list) else [word]
    return struct.pack(f"<{len(flat)}I", *flat)


def mov(rd: int, value: int) -> list[int]:
    """Any 64-bit constant, in four words."""
    words = [0xD280_0000 | (value & 0xFFFF) << 5 | rd]
    words += [0xF280_0000 | i << 21 | (value >> 16 * i & 0xFFFF) << 5 | rd for i in (1, 2, 3)]
    return words


def add(rd: int, rn: int, imm: int) -> int:
    """ADD Xd|SP, Xn|SP, #imm."""
    return 0x9100_0000 | imm << 10 | rn << 5 | rd


def sub(rd: int, rn: int, imm: int) -> int:
    """SUB Xd|SP, Xn|SP, #imm."""
    return 0xD100_0000 | imm << 10 | rn << 5 | rd


def ldr(rt: int, rn: int, offset: int = 0) -> int:
    """LDR Xt, [Xn, #offset]."""
    return 0xF940_0000 | offset // 8 << 10 | rn << 5 | rt


def str_(rt: int, rn: int, offset: int = 0) -> int:
    """STR Xt, [Xn, #offset]."""
    return 0xF900_0000 | offset // 8 << 10 | rn << 5 | rt


def ldr_w(rt: int, rn: int, offset: int = 0) -> int:
    """LDR Wt, [Xn, #offset]."""
    return 0xB940_0000 | offset // 4 << 10 | rn << 5 | rt


def str_w(rt: int, rn: int, offset: int = 0) -> int:
    """STR Wt, [Xn, #offset]."""
    return 0xB900_0000 | offset // 4 << 10 | rn << 5 | rt


def b(distance: int) -> int:
    """B to this address plus ``distance`` instructions."""
    return 0x1400_0000 | distance & 0x3FF_FFFF


def cbnz(rt: int, distance: int) -> int:
    """CBNZ Xt to this address plus ``distance`` instructions."""
    return 0xB500_0000 | (distance & 0x7FFFF) << 5 | rt


def br(rn: int) -> int:
    """BR Xn."""
    return 0xD61F_0000 | rn << 5


def svc(imm: int) -> int:
    """SVC #imm."""
    return 0xD400_0001 | imm << 5


def hvc(imm: int = 0) -> int:
    """HVC #imm."""
    return 0xD400_0002 | imm << 5


def smc(imm: int = 0) -> int:
    """SMC #imm."""
    return 0xD400_0003 | imm << 5


def brk(imm: int) -> int:
    """BRK #imm."""
    return 0xD420_0000 | imm << 5


def mrs(rt: int, op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """MRS Xt, S<op0>_<op1>_C<crn>_C<crm>_<op2>."""
    return 0xD520_0000 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | rt


def msr(rt: int, op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """MSR S<op0>_<op1>_C<crn>_C<crm>_<op2>, Xt."""
    return 0xD500_0000 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | rt
