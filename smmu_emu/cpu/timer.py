# SPDX-License-Identifier: GPL-2.0-or-later
"""The generic timer of one core: counters, and EL1's and EL2's timers, in virtual time.

Both counters are the machine's clock at 62.5 MHz, the virtual one less CNTVOFF_EL2. Each timer
drives its output line, a level: CNTx_CTL.ENABLE, not IMASK, and the compare value reached.

Reference: DDI 0487 D12.2. Left out: the event stream, EL3's timer, EL2's virtual one, CNTPOFF.
"""

from __future__ import annotations

from smmu_emu.clock import Appointment, Clock
from smmu_emu.cpu.execution import MASK64
from smmu_emu.interrupt import InterruptLine

NS_PER_TICK = 16
FREQUENCY = 1_000_000_000 // NS_PER_TICK
"""What CNTFRQ_EL0 says, in Hz."""

_ENABLE, _IMASK, _ISTATUS = 1, 2, 4


class Timer:
    """One compare-value timer and its output."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self.line = InterruptLine(name)
        self._control = 0
        self._compare = 0
        self._offset = 0
        self._appointment: Appointment | None = None

    def reset(self) -> None:
        """Disabled, output low."""
        self._control = self._compare = self._offset = 0
        self._update()

    @property
    def offset(self) -> int:
        """What its counter is behind the physical one, modulo 2^64: CNTVOFF_EL2."""
        return self._offset

    @offset.setter
    def offset(self, value: int) -> None:
        self._offset = value & MASK64
        self._update()

    @property
    def ticks(self) -> int:
        """The counter it compares with."""
        return self._clock.now // NS_PER_TICK - self._offset & MASK64

    @property
    def control(self) -> int:
        """CNTx_CTL_EL0."""
        fired = self._control & _ENABLE and self.ticks >= self._compare
        return self._control | (_ISTATUS if fired else 0)

    @control.setter
    def control(self, value: int) -> None:
        self._control = value & (_ENABLE | _IMASK)
        self._update()

    @property
    def compare(self) -> int:
        """CNTx_CVAL_EL0."""
        return self._compare

    @compare.setter
    def compare(self, value: int) -> None:
        self._compare = value & MASK64
        self._update()

    @property
    def remaining(self) -> int:
        """CNTx_TVAL_EL0: 32 bits, negative once it has fired."""
        return self._compare - self.ticks & 0xFFFF_FFFF

    @remaining.setter
    def remaining(self, value: int) -> None:
        signed = ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000
        self.compare = self.ticks + signed

    def _update(self) -> None:
        if self._appointment is not None:
            self._appointment.cancel()
            self._appointment = None
        wanted = self._control == _ENABLE
        fired = wanted and self.ticks >= self._compare
        if wanted and not fired:
            due = self._clock.now // NS_PER_TICK + self._compare - self.ticks
            self._appointment = self._clock.after(due * NS_PER_TICK - self._clock.now, self._update)
        self.line.set(fired)
