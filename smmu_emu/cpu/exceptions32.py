# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking exceptions to PL1 of an AArch32 core: what the engine leaves to us.

Interrupts are not here: the engine takes them by itself.

Reference: DDI 0406 B1.8 (vectors, entry), B1.9 (each exception), B3.13 (fault status).
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.cpu.engine32 import (
    ABORT,
    CONTROL,
    LR,
    MASK32,
    PC,
    SP,
    SUPERVISOR,
    THUMB,
    UNDEFINED,
    CoRegister,
    Engine32,
)
from smmu_emu.cpu.exceptions import ALIGNMENT_FAULT, EXTERNAL_ABORT

VBAR = CoRegister(12, 0, 0, 0)
DFSR, IFSR = CoRegister(5, 0, 0, 0), CoRegister(5, 0, 0, 1)
DFAR, IFAR = CoRegister(6, 0, 0, 0), CoRegister(6, 0, 0, 2)
WRITE_NOT_READ = 1 << 11
_LONG_FORMAT = 1 << 9
_SHORT_STATUS = {EXTERNAL_ABORT: 0b01000, ALIGNMENT_FAULT: 0b00001}
"""Fault status in the format for short descriptors, by that of AArch64 and long descriptors."""
_HIGH_VECTORS, _THUMB_EXCEPTIONS, _BIG_ENDIAN = 1 << 13, 1 << 30, 1 << 25
_CPSR_E, _CPSR_A, _CPSR_I = 1 << 9, 1 << 8, 1 << 7
_MODE_AND_STATE = 0x0600_FC3F | 1 << 24
"""CPSR's mode, T, J and IT bits, which an exception replaces."""
BREAKPOINT_CLASS = 0x38
"""Exception class of BKPT, which is a prefetch abort."""
_SHORT_HANDLER, _MANY = 64, 1000


class Kind(NamedTuple):
    """One kind of exception: its vector's offset, its mode, and what LR is ahead of PC."""

    name: str
    vector: int
    mode: int
    ahead: int
    ahead_in_thumb: int


UNDEFINED_INSTRUCTION = Kind("undefined instruction", 0x04, UNDEFINED, 4, 2)
SUPERVISOR_CALL = Kind("SVC", 0x08, SUPERVISOR, 0, 0)
"""PC is behind the instruction already."""
PREFETCH_ABORT = Kind("prefetch abort", 0x0C, ABORT, 4, 4)
DATA_ABORT = Kind("data abort", 0x10, ABORT, 8, 8)


def external_status(status: int, *, long_descriptors: bool) -> int:
    """DFSR or IFSR for a fault status as AArch64 has it."""
    if long_descriptors:
        return _LONG_FORMAT | status
    return _SHORT_STATUS[status]


class Vectors32:
    """Enters PL1's vectors, and notices when that leads nowhere."""

    def __init__(self, engine: Engine32) -> None:
        self._engine = engine
        self.reset()

    def reset(self) -> None:
        """Forget what was taken before."""
        self._last: tuple[int, ...] = ()
        self._last_sp = 0
        self._taken_at = 0
        self._falling = 0

    def enter(self, kind: Kind, instructions: int) -> str:
        """Take an exception at PC; ``instructions`` is how many were begun so far.

        Answers why the core can never get any further, or an empty string.
        """
        engine, registers = self._engine, self._engine.registers
        cpsr, control = engine.cpsr, engine.get_coprocessor(CONTROL)
        pc: int = registers[PC]
        base = 0xFFFF_0000 if control & _HIGH_VECTORS else engine.get_coprocessor(VBAR)
        new = cpsr & ~_MODE_AND_STATE & ~_CPSR_E | kind.mode | _CPSR_I
        new |= THUMB if control & _THUMB_EXCEPTIONS else 0
        new |= _CPSR_E if control & _BIG_ENDIAN else 0
        new |= _CPSR_A if kind.mode == ABORT else 0
        engine.set_cpsr(new)
        engine.set("SPSR", cpsr)
        ahead = kind.ahead_in_thumb if cpsr & THUMB else kind.ahead
        registers[LR] = pc + ahead & MASK32
        registers[PC] = base + kind.vector & MASK32
        return self._loop(kind, (kind.vector, pc, cpsr), instructions)

    def _loop(self, kind: Kind, entry: tuple[int, ...], instructions: int) -> str:
        """The same exception over and over, without or hardly without an instruction between."""
        gap, sp = instructions - self._taken_at, self._engine.registers[SP]
        same = entry == self._last
        moving = same and gap <= _SHORT_HANDLER and sp != self._last_sp
        self._falling = self._falling + 1 if moving else 0
        stuck = (same and gap <= 1 and sp == self._last_sp) or self._falling > _MANY
        self._last, self._taken_at, self._last_sp = entry, instructions, sp
        if not stuck:
            return ""
        vector = self._engine.registers[PC]
        return (
            f"exception loop: {kind.name} at {entry[1]:#x}, and again in its handler at "
            f"{vector:#x}, SP {sp:#x}"
        )
