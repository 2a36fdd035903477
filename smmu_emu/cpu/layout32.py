# SPDX-License-Identifier: GPL-2.0-or-later
"""Where Unicorn keeps what its interface does not show of an AArch32 core: as `layout` finds it."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import Any

from smmu_emu.cpu import abi, layout
from smmu_emu.cpu.layout import Layout
from smmu_emu.errors import EmulatorError

_NOP, _SVC = 0xE320_F000, 0xEF00_1234
_SYNDROME, _TARGET = struct.pack("<I", 0x4600_1234), struct.pack("<I", 1)
_MARKS = [0x5A5A_0000 + 0x01_0101 * number for number in range(13)]
_REQUESTS = 0x100
_HCR_VI, _VIRQ_REQUEST = 1 << 7, 0x40


@cache
def find_layout32() -> Layout:
    """The layout for AArch32: ``registers`` are R0 to R15, words of 32 bits; the fault status is 4
    bytes behind the syndrome. What it does not have is as AArch64 has it.

    Raises: EmulatorError when this build keeps things where they cannot be found.
    """
    found = layout.find_layout()
    uc = abi.open_engine32()
    uc.ctl_exits_enabled(True)
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, struct.pack("<5I", _NOP, _NOP, _NOP, _SVC, _NOP))
    peeker = layout.Peeker()
    try:
        counter = layout.find_counter(uc)
        cpu, registers = _find_registers(uc, peeker)
        syndrome = _find_syndrome(uc, peeker, cpu, registers)
        requests = _find_requests(uc, cpu, registers)
    finally:
        peeker.close()
    return found._replace(
        counter=counter,
        limit=counter + 1,
        cpu=cpu,
        registers=registers,
        syndrome=syndrome,
        requests=requests,
    )


def _find_registers(uc: Any, peeker: layout.Peeker) -> tuple[int, int]:
    from unicorn import arm_const

    for number, mark in enumerate(_MARKS):
        uc.reg_write(arm_const.UC_ARM_REG_R0 + number, mark)
    for index, pointer in enumerate(layout.engine_words(uc)):
        if pointer < 0x10000 or pointer & 7 or pointer >> 47:
            continue
        at = peeker.peek(pointer, layout.REACH).find(struct.pack("<13I", *_MARKS))
        if at >= 0:
            return index, at
    raise EmulatorError(layout.unknown("registers"))


def _find_syndrome(uc: Any, peeker: layout.Peeker, cpu: int, registers: int) -> int:
    """Where the syndrome of an SVC with a known number appears, with target level 1 behind it."""
    layout.execute(uc, 0x100C, 1)
    data = peeker.peek(layout.engine_words(uc)[cpu] + registers, layout.REACH)
    at = data.find(_SYNDROME)
    while at >= 0:
        if data[at + 16 : at + 20] == _TARGET:
            return at
        at = data.find(_SYNDROME, at + 1)
    raise EmulatorError(layout.unknown("exception syndrome"))


def _find_requests(uc: Any, cpu: int, registers: int) -> int:
    """The word in which HCR.VI asks for a virtual IRQ."""
    from unicorn import arm_const

    state = layout.engine_words(uc)[cpu]
    words = (ctypes.c_uint32 * (min(_REQUESTS, registers) // 4)).from_address(state)
    seen = []
    for hcr in (0, _HCR_VI, 0):
        uc.reg_write(arm_const.UC_ARM_REG_CP_REG, (15, 0, 0, 1, 1, 4, 0, hcr))
        seen.append(list(words))
    found = [i for i, row in enumerate(zip(*seen, strict=True)) if row == (0, _VIRQ_REQUEST, 0)]
    if len(found) != 1:
        raise EmulatorError(layout.unknown("interrupt requests"))
    return 4 * found[0]
