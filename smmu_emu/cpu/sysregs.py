# SPDX-License-Identifier: GPL-2.0-or-later
"""System registers that the engine cannot be left to answer, and names for all of them.

- The generic timer, which the engine would read from the host's clock.
- ID registers, whose fields must not promise what is not here: a PMU, AArch32.
- Self-hosted debug: breakpoints and watchpoints would stop the engine. They read as zero and
  ignore writes, and so does MDSCR_EL1 apart from keeping its value; use is reported.
- The performance monitors, absent as the ID registers say: undefined.

Reference: DDI 0487 D12.2 (timer), D24 (registers and their encodings), D2 (debug).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smmu_emu.cpu import names
from smmu_emu.cpu.engine import MASK64, Engine, SystemRegister
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.cpu.timer import Timer

CNTKCTL_EL1 = names.SYSTEM["CNTKCTL_EL1"]
MDSCR_EL1 = names.SYSTEM["MDSCR_EL1"]
ID_AA64PFR0_EL1 = names.SYSTEM["ID_AA64PFR0_EL1"]
ID_AA64DFR0_EL1 = names.SYSTEM["ID_AA64DFR0_EL1"]

_NATIVE, _DONE = 0, 1
"""Answers to the engine: execute the instruction, or it was done here."""


def sanitised_pfr0(value: int) -> int:
    """ID_AA64PFR0_EL1 with AArch64 only at EL0 and EL1."""
    return value & ~0xFF | 0x11


def sanitised_dfr0(value: int) -> int:
    """ID_AA64DFR0_EL1 without performance monitors."""
    return value & ~0xF00


class SystemRegisters:
    """Answers the system register accesses that `CodeWatch` hooks."""

    def __init__(
        self,
        engine: Engine,
        pace: Pace,
        physical: Timer,
        virtual: Timer,
        report: Callable[[str, int], None],
    ) -> None:
        from unicorn import arm64_const

        self._engine = engine
        self._pace = pace
        self._physical = physical
        self._virtual = virtual
        self._report = report
        self._mdscr = 0
        first = arm64_const.UC_ARM64_REG_X0
        self._numbers = {first + i: i for i in range(29)}
        self._numbers |= {arm64_const.UC_ARM64_REG_X29: 29, arm64_const.UC_ARM64_REG_X30: 30}

    def reset(self) -> None:
        """As after a reset of the core."""
        self._mdscr = 0
        self._physical.reset()
        self._virtual.reset()

    # -- what the engine calls

    def read(self, _engine: object, register: int, cell: Any, _user: object) -> int:
        """A hooked MRS: do it here, or let it be executed."""
        pace = self._pace
        if self._engine.deaf:
            return _DONE
        try:
            pace.sync()
            value = self._read(_encoding(cell[0]))
            if value is None:
                return _NATIVE
            target = self._numbers.get(register)
            if target is not None:
                self._engine.registers[target] = value & MASK64
        except BaseException as error:
            pace.fail(error)
        return _DONE

    def write(self, _engine: object, _register: int, cell: Any, _user: object) -> int:
        """A hooked MSR: do it here, or let it be executed."""
        pace = self._pace
        if self._engine.deaf:
            return _DONE
        try:
            pace.sync()
            if not self._write(_encoding(cell[0]), cell[0].value):
                return _NATIVE
            pace.settle()
        except BaseException as error:
            pace.fail(error)
        return _DONE

    # -- what they mean

    def _read(self, register: SystemRegister) -> int | None:
        """The register's value, None where the engine's own answer is right."""
        if register[2] == 14 and register[1] == 3:
            return self.read_timer(register) if self._timer_allowed(register) else None
        if self._engine.level == 0:
            return None
        if register == MDSCR_EL1:
            return self._mdscr
        if _is_breakpoint(register):
            return 0
        if register == ID_AA64PFR0_EL1:
            return sanitised_pfr0(self._engine.get_system(register))
        if register == ID_AA64DFR0_EL1:
            return sanitised_dfr0(self._engine.get_system(register))
        return self._undefine(register) if register[2] == 9 else None

    def _write(self, register: SystemRegister, value: int) -> bool:
        """Whether the write was done here."""
        if register[2] == 14 and register[1] == 3:
            return self._timer_allowed(register) and self.write_timer(register, value)
        if self._engine.level == 0:
            return False
        if register == MDSCR_EL1:
            self._mdscr = value & 0xFFFF_FFFF
        elif _is_breakpoint(register):
            if value:
                self._report(f"{names.system_name(register)} (breakpoints)", self._pace.pc)
        elif register[2] == 9:
            self._undefine(register)
        else:
            return False
        return True

    def _undefine(self, register: SystemRegister) -> int:
        self._report(f"{names.system_name(register)} (performance monitors)", self._pace.pc)
        self._pace.cancel(PendingException(data_abort=False))
        return 0

    def _timer_allowed(self, register: SystemRegister) -> bool:
        """CNTKCTL_EL1 decides for EL0; where it says no, the engine traps to EL1."""
        if self._engine.level:
            return True
        control = self._engine.get_system(CNTKCTL_EL1)
        crm, op2 = register[3:]
        bit = op2 - 1 if crm == 0 else 11 - crm  # EL0PCTEN, EL0VCTEN; EL0PTEN, EL0VTEN
        return bool(control & 1 << bit)

    def read_timer(self, register: SystemRegister) -> int | None:
        """A counter's or timer's register; None for what is neither."""
        if register[:3] != (3, 3, 14):
            return None
        crm, op2 = register[3:]
        if crm == 0:
            return self._physical.ticks if op2 in (1, 2) else None
        timer = {2: self._physical, 3: self._virtual}.get(crm)
        if timer is None or op2 > 2:
            return None
        return (timer.remaining, timer.control, timer.compare)[op2]

    def write_timer(self, register: SystemRegister, value: int) -> bool:
        """Write a timer's register; False for what is none."""
        if register[:3] != (3, 3, 14):
            return False
        crm, op2 = register[3:]
        timer = {2: self._physical, 3: self._virtual}.get(crm)
        if timer is None or op2 > 2:
            return False
        if op2 == 0:
            timer.remaining = value
        elif op2 == 1:
            timer.control = value
        else:
            timer.compare = value
        return True


def _encoding(cell: Any) -> SystemRegister:
    return cell.op0, cell.op1, cell.crn, cell.crm, cell.op2


def _is_breakpoint(register: SystemRegister) -> bool:
    """DBGBVR, DBGBCR, DBGWVR, DBGWCR."""
    op0, op1, crn, _, op2 = register
    return op0 == 2 and op1 == 0 and crn == 0 and op2 >= 4
