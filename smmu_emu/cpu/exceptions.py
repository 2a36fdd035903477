# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking exceptions to EL1 and EL2: what the engine leaves to us.

Interrupts are not here: the engine takes them by itself.
The cores on offer have none of the later additions to PSTATE (PAN, UAO, SSBS and the like).

Reference: DDI 0487 D1.4.2 (entry), D1.4.1.6 (vectors), J1.1 AArch64.TakeException, D24.2 (ESR_EL1).
"""

from __future__ import annotations

from smmu_emu.cpu.engine import PC, SP, Engine
from smmu_emu.cpu.execution import MASK64
from smmu_emu.cpu.names import SYSTEM

EC_UNKNOWN = 0x00
EC_WFX = 0x01
EC_HVC, EC_SMC = 0x16, 0x17
EC_SYSTEM_REGISTER = 0x18
EC_INSTRUCTION_ABORT_LOWER, EC_INSTRUCTION_ABORT = 0x20, 0x21
EC_PC_ALIGNMENT = 0x22
EC_DATA_ABORT_LOWER, EC_DATA_ABORT = 0x24, 0x25
IL = 1 << 25
FAR_NOT_VALID = 1 << 10
EXTERNAL_ABORT, ALIGNMENT_FAULT = 0x10, 0x21
"""Fault status codes of aborts."""
WRITE_NOT_READ = 1 << 6

_CLASSES = {
    0x00: "undefined instruction",
    0x07: "floating point is off",
    0x01: "WFI",
    0x0E: "illegal execution state",
    0x15: "SVC",
    0x16: "HVC",
    0x17: "SMC",
    0x18: "trapped system register",
    0x20: "instruction abort from EL0",
    0x21: "instruction abort",
    0x22: "PC alignment fault",
    0x24: "data abort from EL0",
    0x25: "data abort",
    0x26: "SP alignment fault",
    0x3C: "BRK",
}
_NZCV = 0xF000_0000
_DAIF, _OWN_STACK = 0x3C0, 1
_STACKS = ("SP_EL0", "SP_EL1", "SP_EL2")
_SHORT_HANDLER, _MANY = 64, 1000


def describe(esr: int) -> str:
    """A syndrome in words."""
    name = _CLASSES.get(esr >> 26, f"exception class {esr >> 26:#x}")
    return f"{name} (ESR {esr:#010x})"


def trapped_transfer(word: int) -> int:
    """The syndrome of an MRS or MSR that is trapped: class 0x18. Spec: DDI 0487 D24.2 (ESR_ELx)."""
    op0, op1, op2 = word >> 19 & 3, word >> 16 & 7, word >> 5 & 7
    crn, crm, rt, read = word >> 12 & 15, word >> 8 & 15, word & 31, word >> 21 & 1
    iss = op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | read
    return EC_SYSTEM_REGISTER << 26 | IL | iss


class Vectors:
    """Enters the vectors of one exception level, and notices when that leads nowhere."""

    unsaved = ("_before", "_after")

    def __init__(self, engine: Engine, level: int = 1) -> None:
        self._engine = engine
        self._level = level
        self._far, self._stack = f"FAR_EL{level}", f"SP_EL{level}"
        self._spsr = SYSTEM[f"SPSR_EL{level}"]
        self._before = engine.batch("PSTATE", f"VBAR_EL{level}")
        self._after = engine.batch(f"ELR_EL{level}", f"ESR_EL{level}", "PSTATE")
        self.reset()

    def reset(self) -> None:
        """Forget what was taken before."""
        self._last: tuple[int, ...] = ()
        self._last_sp = 0
        self._taken_at = 0
        self._falling = 0

    def enter(self, esr: int, far: int | None, return_address: int, instructions: int) -> str:
        """Take a synchronous exception from the present level, which is not above this one.

        ``instructions`` is how many were begun so far. Answers why the core can never get any
        further, or an empty string.
        """
        engine = self._engine
        pstate, vbar = self._before.read()
        origin, own_stack = pstate >> 2 & 3, pstate & _OWN_STACK
        offset = 0x400 if origin < self._level else 0x200 if own_stack else 0
        vector = vbar + offset & MASK64
        if origin < self._level or not own_stack:
            engine.set(_STACKS[origin if own_stack else 0], engine.registers[SP])
            engine.registers[SP] = engine.get(self._stack)
        if far is not None:
            engine.set(self._far, far)
        after = self._after.values
        after[0], after[1] = return_address, esr
        after[2] = pstate & _NZCV | _DAIF | self._level << 2 | _OWN_STACK
        self._after.write()
        engine.registers[PC] = vector
        engine.set_system(self._spsr, pstate)
        return self._loop((esr, return_address, pstate, vector), instructions)

    def _loop(self, entry: tuple[int, ...], instructions: int) -> str:
        """The same exception over and over, without or hardly without an instruction between.

        Identical twice in a row, the core's state repeats for ever. A handler that faults on its
        stack moves SP each time; no stack is deep enough for that to be meant.
        """
        gap, sp = instructions - self._taken_at, self._engine.registers[SP]
        same = entry == self._last
        moving = same and gap <= _SHORT_HANDLER and sp != self._last_sp
        self._falling = self._falling + 1 if moving else 0
        stuck = (same and gap <= 1 and sp == self._last_sp) or self._falling > _MANY
        self._last, self._taken_at, self._last_sp = entry, instructions, sp
        if not stuck:
            return ""
        esr, return_address, _, vector = entry
        return (
            f"exception loop: {describe(esr)} at {return_address:#x}, "
            f"and again in its handler at {vector:#x}, SP {sp:#x}"
        )
