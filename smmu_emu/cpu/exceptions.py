# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking exceptions to EL1: what the engine leaves to us.

IRQs are not here: the engine takes them by itself (as virtual IRQs, which EL1 cannot tell apart).
The cores on offer have none of the later additions to PSTATE (PAN, UAO, SSBS and the like).

Reference: DDI 0487 D1.4.2 (entry), D1.4.1.6 (vectors), J1.1 AArch64.TakeException, D24.2 (ESR_EL1).
"""

from __future__ import annotations

from smmu_emu.cpu.engine import MASK64, PC, SP, Engine
from smmu_emu.cpu.names import SYSTEM

EC_UNKNOWN = 0x00
EC_WFX = 0x01
EC_HVC, EC_SMC = 0x16, 0x17
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
    0x0E: "illegal execution state",
    0x15: "SVC",
    0x18: "trapped system register",
    0x20: "instruction abort from EL0",
    0x21: "instruction abort",
    0x22: "PC alignment fault",
    0x24: "data abort from EL0",
    0x25: "data abort",
    0x26: "SP alignment fault",
    0x3C: "BRK",
}
_SPSR = SYSTEM["SPSR_EL1"]
_NZCV = 0xF000_0000
_EL1H, _DAIF = 5, 0x3C0
_SHORT_HANDLER, _MANY = 64, 1000


def describe(esr: int) -> str:
    """A syndrome in words."""
    name = _CLASSES.get(esr >> 26, f"exception class {esr >> 26:#x}")
    return f"{name} (ESR {esr:#010x})"


class Vectors:
    """Enters EL1's vectors, and notices when that leads nowhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._before = engine.batch("PSTATE", "VBAR_EL1")
        self._after = engine.batch("ELR_EL1", "ESR_EL1", "PSTATE")
        self.reset()

    def reset(self) -> None:
        """Forget what was taken before."""
        self._last: tuple[int, ...] = ()
        self._last_sp = 0
        self._taken_at = 0
        self._falling = 0

    def enter(self, esr: int, far: int | None, return_address: int, instructions: int) -> str:
        """Take a synchronous exception from the present level to EL1.

        ``instructions`` is how many were begun so far. Answers why the core can never get any
        further, or an empty string.
        """
        engine = self._engine
        pstate, vbar = self._before.read()
        from_el0 = not pstate & 0xC
        offset = 0x400 if from_el0 else 0x200 if pstate & 1 else 0
        vector = vbar + offset & MASK64
        if not pstate & 1:
            engine.set("SP_EL0", engine.registers[SP])
            engine.registers[SP] = engine.get("SP_EL1")
        if far is not None:
            engine.set("FAR_EL1", far)
        after = self._after.values
        after[0], after[1] = return_address, esr
        after[2] = pstate & _NZCV | _DAIF | _EL1H
        self._after.write()
        engine.registers[PC] = vector
        engine.set_system(_SPSR, pstate)
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
