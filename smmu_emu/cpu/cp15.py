# SPDX-License-Identifier: GPL-2.0-or-later
"""Coprocessor registers of an AArch32 core that the engine cannot be left to answer.

- The generic timer, which the engine would read from the host's clock.
- ID_DFR0, which must not promise the performance monitors; and those, which are undefined.
- Self-hosted debug (coprocessor 14): reads as zero and ignores writes; use is reported.

Reference: DDI 0406 B4.1 (registers), B8 (generic timer), B3.17 (encodings), B1.14.3 (traps).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.cpu.engine32 import MASK32, CoRegister, Engine32, wide
from smmu_emu.cpu.execution import MASK64
from smmu_emu.cpu.timer import Timer

CNTKCTL = CoRegister(14, 0, 1, 0)
_TIMER_CRN = 14
ID_DFR0 = CoRegister(0, 0, 1, 2)
_PERFORMANCE_MONITORS = 0xF << 24
_CNTPCT, _CNTVCT, _CNTP_CVAL, _CNTV_CVAL = (wide(opc1, 14) for opc1 in range(4))
_TRAPPED_MCR, _TRAPPED_MCRR, _TRAPPED_DEBUG = 0x03, 0x04, 0x05


class Transfer(NamedTuple):
    """One MRC, MCR, MRRC or MCRR: ``rt2`` is None for those of 32 bits."""

    coprocessor: int
    register: CoRegister
    read: bool
    rt: int
    rt2: int | None

    def __str__(self) -> str:
        crn, opc1, crm, opc2, _ = self.register
        double = self.rt2 is not None
        name = ("mrrc" if double else "mrc") if self.read else ("mcrr" if double else "mcr")
        if double:
            return f"{name} p{self.coprocessor}, {opc1}, r{self.rt}, r{self.rt2}, c{crm}"
        return f"{name} p{self.coprocessor}, {opc1}, r{self.rt}, c{crn}, c{crm}, {opc2}"


def decode(word: int) -> Transfer | None:
    """The transfer that A32 or T32 instruction ``word`` makes, whatever its condition."""
    coprocessor, read = word >> 8 & 15, bool(word >> 20 & 1)
    rt, crm = word >> 12 & 15, word & 15
    if word & 0x0F00_0010 == 0x0E00_0010:
        register = CoRegister(word >> 16 & 15, word >> 21 & 7, crm, word >> 5 & 7)
        return Transfer(coprocessor, register, read, rt, None)
    if word & 0x0FE0_0000 == 0x0C40_0000:
        return Transfer(coprocessor, wide(word >> 4 & 15, crm), read, rt, word >> 16 & 15)
    return None


def trapped(esr: int) -> Transfer | None:
    """The transfer that a syndrome tells of, if it was trapped to Hyp mode."""
    kind, read, rt, crm = esr >> 26, bool(esr & 1), esr >> 5 & 31, esr >> 1 & 15
    if kind in (_TRAPPED_MCR, _TRAPPED_DEBUG):
        register = CoRegister(esr >> 10 & 15, esr >> 14 & 7, crm, esr >> 17 & 7)
        return Transfer(15 if kind == _TRAPPED_MCR else 14, register, read, rt, None)
    if kind == _TRAPPED_MCRR:
        return Transfer(15, wide(esr >> 16 & 15, crm), read, rt, esr >> 10 & 31)
    return None


def must_be_watched(word: int) -> bool:
    """Whether an instruction accesses what Hyp mode cannot trap: the virtual timer and counter, and
    ID_DFR0.
    """
    transfer = decode(word)
    if transfer is None or transfer.coprocessor != 15:
        return False
    register = transfer.register
    if register.wide:
        return register in (_CNTVCT, _CNTV_CVAL)
    if register == ID_DFR0:
        return True
    return register.crn == _TIMER_CRN and register.opc1 == 0 and register.crm == 3


class Coprocessor:
    """Answers transfers that trapped."""

    wiring = ("_engine", "_physical", "_virtual", "_report")

    def __init__(
        self,
        engine: Engine32,
        physical: Timer,
        virtual: Timer,
        report: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._physical = physical
        self._virtual = virtual
        self._report = report

    def reset(self) -> None:
        """As after a reset of the core."""
        self._physical.reset()
        self._virtual.reset()

    def execute(self, transfer: Transfer) -> bool:
        """Do a transfer; False if it is undefined here."""
        registers = self._engine.registers
        _, register, read, rt, rt2 = transfer
        if not read:
            value = registers[rt] | (registers[rt2] << 32 if rt2 is not None else 0)
            return self._write(transfer, register, value)
        result = self._read(transfer, register)
        if result is None:
            return False
        registers[rt] = result & MASK32
        if rt2 is not None:
            registers[rt2] = result >> 32 & MASK32
        return True

    def _read(self, transfer: Transfer, register: CoRegister) -> int | None:
        if transfer.coprocessor == 14:
            return 0
        if self.is_timer(register):
            return self.read_timer(register) if self._timer_allowed(register) else None
        if self._is_monitor(transfer):
            return None
        value = self._engine.get_coprocessor(register)
        return value & ~_PERFORMANCE_MONITORS if register == ID_DFR0 else value

    def _write(self, transfer: Transfer, register: CoRegister, value: int) -> bool:
        if transfer.coprocessor == 14:
            if value:
                self._report(f"{transfer} (debug)")
            return True
        if self.is_timer(register):
            return self._timer_allowed(register) and self.write_timer(register, value)
        if self._is_monitor(transfer):
            return False
        self._engine.set_coprocessor(register, value)
        return True

    def _is_monitor(self, transfer: Transfer) -> bool:
        """Performance monitors are at CRn 9 with opc1 0; 1 is the L2 cache."""
        register = transfer.register
        if register.wide or register.crn != 9 or register.opc1:
            return False
        self._report(f"{transfer} (performance monitors)")
        return True

    # -- the generic timer

    def is_timer(self, register: CoRegister) -> bool:
        """Whether a register is one of the counters' or timers'."""
        if register.wide:
            return register.crm == _TIMER_CRN
        return register.crn == _TIMER_CRN and not register.opc1 and register.crm in (2, 3)

    def _timer_allowed(self, register: CoRegister) -> bool:
        """CNTKCTL decides for PL0: PL0PCTEN, PL0VCTEN; PL0VTEN, PL0PTEN."""
        if self._engine.level:
            return True
        if register.wide:
            bit = {_CNTPCT: 0, _CNTVCT: 1, _CNTV_CVAL: 8}.get(register, 9)
        else:
            bit = 9 if register.crm == 2 else 8
        return bool(self._engine.get_coprocessor(CNTKCTL) >> bit & 1)

    def read_timer(self, register: CoRegister) -> int | None:
        """A counter's or timer's register; None for what is neither."""
        if register in (_CNTPCT, _CNTVCT):
            return (self._physical if register == _CNTPCT else self._virtual).ticks
        if register in (_CNTP_CVAL, _CNTV_CVAL):
            return (self._physical if register == _CNTP_CVAL else self._virtual).compare
        timer = self._timer(register)
        if timer is None or register.opc2 > 1:
            return None
        return timer.control if register.opc2 else timer.remaining

    def write_timer(self, register: CoRegister, value: int) -> bool:
        """Write a timer's register; False for what is none."""
        if register in (_CNTP_CVAL, _CNTV_CVAL):
            (self._physical if register == _CNTP_CVAL else self._virtual).compare = value & MASK64
            return True
        timer = self._timer(register)
        if timer is None or register.opc2 > 1:
            return False
        if register.opc2:
            timer.control = value
        else:
            timer.remaining = value
        return True

    def _timer(self, register: CoRegister) -> Timer | None:
        if register.wide:
            return None
        return {2: self._physical, 3: self._virtual}.get(register.crm)
