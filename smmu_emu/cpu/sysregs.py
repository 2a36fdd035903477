# SPDX-License-Identifier: GPL-2.0-or-later
"""System registers that the engine cannot be left to answer, and names for all of them.

- The generic timer, which the engine would read from the host's clock.
- ID registers, whose fields must not promise what is not here: a PMU, AArch32, EL3.
- Self-hosted debug: breakpoints and watchpoints would stop the engine. They read as zero and
  ignore writes, and so does MDSCR_EL1 apart from keeping its value; use is reported.
- The performance monitors, absent as the ID registers say: undefined.
- Those that a device has, such as an interrupt controller: the engine does not know them, so they
  come by way of `Traps`.

Reference: DDI 0487 D12.2 (timer), D24 (registers and their encodings), D2 (debug).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smmu_emu.cpu import names
from smmu_emu.cpu.engine import Engine, SystemRegister
from smmu_emu.cpu.execution import MASK64
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.cpu.timer import Timer
from smmu_emu.system_registers import SystemDevice

CNTKCTL_EL1 = names.SYSTEM["CNTKCTL_EL1"]
CNTHCTL_EL2 = names.SYSTEM["CNTHCTL_EL2"]
CNTVOFF_EL2 = names.SYSTEM["CNTVOFF_EL2"]
MDSCR_EL1 = names.SYSTEM["MDSCR_EL1"]
ID_AA64PFR0_EL1 = names.SYSTEM["ID_AA64PFR0_EL1"]
ID_AA64DFR0_EL1 = names.SYSTEM["ID_AA64DFR0_EL1"]

_NATIVE, _DONE = 0, 1
"""Answers to the engine: execute the instruction, or it was done here."""


_TIMERS = (3, 3, 14), (3, 4, 14)
"""How the encodings of timer registers begin, those of EL0 and EL1 and those of EL2."""


def sanitised_pfr0(value: int, highest: int = 1, *, gic: bool = False) -> int:
    """ID_AA64PFR0_EL1 with AArch64 only, up to the ``highest`` level of the guest.

    ``gic`` tells of the system registers of a GIC's CPU interface.
    """
    return value & ~0xF00_FFFF | 0x11 | (highest == 2) << 8 | gic << 24


def sanitised_dfr0(value: int) -> int:
    """ID_AA64DFR0_EL1 without performance monitors."""
    return value & ~0xF00


class SystemRegisters:
    """Answers the system register accesses that `CodeWatch` hooks."""

    wiring = ("_engine", "_pace", "_physical", "_virtual", "_hypervisor", "_report", "_numbers")

    def __init__(
        self,
        engine: Engine,
        pace: Pace,
        timers: tuple[Timer, Timer, Timer],
        report: Callable[[str, int], None],
    ) -> None:
        from unicorn import arm64_const

        self._engine = engine
        self._pace = pace
        self._physical, self._virtual, self._hypervisor = timers
        self._report = report
        self.highest = 1
        """The highest exception level of the guest."""
        self.device: SystemDevice | None = None
        self._mdscr = 0
        first = arm64_const.UC_ARM64_REG_X0
        self._numbers = {first + i: i for i in range(29)}
        self._numbers |= {arm64_const.UC_ARM64_REG_X29: 29, arm64_const.UC_ARM64_REG_X30: 30}

    def reset(self) -> None:
        """As after a reset of the core."""
        self._mdscr = 0
        self._physical.reset()
        self._virtual.reset()
        self._hypervisor.reset()

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
        if register[:3] in _TIMERS:
            return self.read_timer(register) if self._timer_allowed(register) else None
        if self._engine.level == 0:
            return None
        if register == MDSCR_EL1:
            return self._mdscr
        if _is_breakpoint(register):
            return 0
        if register == ID_AA64PFR0_EL1:
            pfr0, device = self._engine.get_system(register), self.device
            return sanitised_pfr0(pfr0, self.highest, gic=device is not None)
        if register == ID_AA64DFR0_EL1:
            return sanitised_dfr0(self._engine.get_system(register))
        return self._undefine(register) if register[2] == 9 else None

    def _write(self, register: SystemRegister, value: int) -> bool:
        """Whether the write was done here."""
        if register[:3] in _TIMERS:
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
        """CNTKCTL_EL1 decides for EL0, CNTHCTL_EL2 for both levels below EL2.

        Where they say no, the engine traps to EL1 or EL2; it undefines EL2's registers below.
        """
        level = self._engine.level
        if level == 2 or register[1] == 4:
            return level == 2
        crm, op2 = register[3:]
        if crm not in (0, 2, 3) or not (crm or op2):
            return True  # no timer's, or CNTFRQ_EL0
        if level == 0:
            control = self._engine.get_system(CNTKCTL_EL1)
            bit = op2 - 1 if crm == 0 else 11 - crm  # EL0PCTEN, EL0VCTEN; EL0PTEN, EL0VTEN
            if not control & 1 << bit:
                return False
        if self.highest == 2 and (crm == 2 or (crm == 0 and op2 == 1)):
            control = self._engine.get_system(CNTHCTL_EL2)
            return bool(control & (2 if crm else 1))  # EL1PCEN, EL1PCTEN
        return True

    def read_timer(self, register: SystemRegister) -> int | None:
        """A counter's or timer's register; None for what is neither."""
        if register == CNTVOFF_EL2:
            return self._virtual.offset
        timer = self._timer(register)
        if timer is None:
            return None
        crm, op2 = register[3:]
        if crm == 0:
            return timer.ticks
        return (timer.remaining, timer.control, timer.compare)[op2]

    def _timer(self, register: SystemRegister) -> Timer | None:
        """Whose register it is."""
        op1, _, crm, op2 = register[1:]
        if register[:3] not in _TIMERS or op2 > 2:
            return None
        if op1 == 4:
            return self._hypervisor if crm == 2 else None
        if crm == 0:
            return {1: self._physical, 2: self._virtual}.get(op2)
        return {2: self._physical, 3: self._virtual}.get(crm)

    def write_timer(self, register: SystemRegister, value: int) -> bool:
        """Write a timer's register; False for what is none."""
        if register == CNTVOFF_EL2:
            self._virtual.offset = value
            return True
        timer = self._timer(register)
        crm, op2 = register[3:]
        if timer is None or crm == 0:
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
