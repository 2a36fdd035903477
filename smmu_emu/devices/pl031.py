# SPDX-License-Identifier: GPL-2.0-or-later
"""Arm's PL031 real-time clock: seconds, and an alarm.

Spec: DDI 0224. It counts virtual time, from `START` on: every run has the same dates. As QEMU's, it
runs from power-on, and writes to RTCCR change nothing.
"""

from __future__ import annotations

from smmu_emu.clock import Appointment, Clock
from smmu_emu.devices.register_block import RW, R, Register, RegisterBlock, W
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.interrupt import InterruptLine

START = 1_704_067_200
"""2024-01-01 00:00:00 UTC, in seconds since 1970."""
SECOND = 1_000_000_000
_WORD = 0xFFFF_FFFF

REGISTERS = (
    Register("RTCDR", 0x000, R),
    Register("RTCMR", 0x004, RW),
    Register("RTCLR", 0x008, RW),
    Register("RTCCR", 0x00C, R, reset=1),
    Register("RTCIMSC", 0x010, RW, writable=1),
    Register("RTCRIS", 0x014, R),
    Register("RTCMIS", 0x018, R),
    Register("RTCICR", 0x01C, W, writable=1),
    Register("RTCPeriphID0", 0xFE0, R, reset=0x31),
    Register("RTCPeriphID1", 0xFE4, R, reset=0x10),
    Register("RTCPeriphID2", 0xFE8, R, reset=0x04),
    Register("RTCPeriphID3", 0xFEC, R),
    Register("RTCPCellID0", 0xFF0, R, reset=0x0D),
    Register("RTCPCellID1", 0xFF4, R, reset=0xF0),
    Register("RTCPCellID2", 0xFF8, R, reset=0x05),
    Register("RTCPCellID3", 0xFFC, R, reset=0xB1),
)
"""Spec: table 3-1."""


class Pl031:
    """One clock; ``interrupt`` is its wire, ``start`` its time at power-on, in seconds."""

    def __init__(self, clock: Clock, report: Report = ignore, start: int = START) -> None:
        self.name = "pl031"
        self.clock = clock
        self.start = start
        self.interrupt = InterruptLine(self.name)
        self._block = RegisterBlock(REGISTERS, report)
        self._values = self._block.values
        self._offset = start
        self._alarm: Appointment | None = None
        self._block.on_read.update(RTCDR=lambda: self.seconds, RTCMIS=lambda: self._masked)
        self._block.on_write.update(
            RTCMR=self._set_match,
            RTCLR=self._load,
            RTCIMSC=self._set_mask,
            RTCICR=self._clear,
        )
        self.read, self.write = self._block.read, self._block.write

    @property
    def seconds(self) -> int:
        """What it shows now, modulo 2^32."""
        return self._offset + self.clock.now // SECOND & _WORD

    @property
    def _masked(self) -> int:
        return self._values["RTCRIS"] & self._values["RTCIMSC"]

    def reset(self) -> None:
        """Power-on state."""
        self._block.reset()
        self._offset = self.start
        self._cancel()
        self.interrupt.set(False)

    # -- registers

    def _load(self, value: int) -> None:
        self._values["RTCLR"] = value
        self._offset = value - self.clock.now // SECOND
        self._arm()

    def _set_match(self, value: int) -> None:
        self._values["RTCMR"] = value
        self._arm()

    def _set_mask(self, value: int) -> None:
        self._values["RTCIMSC"] = value
        self._drive()

    def _clear(self, value: int) -> None:
        self._values["RTCRIS"] &= ~value
        self._drive()

    # -- alarm

    def _arm(self) -> None:
        """Ring when the clock next shows the match register, which may be now."""
        self._cancel()
        seconds = self._values["RTCMR"] - self.seconds & _WORD
        past = self.clock.now % SECOND if seconds else 0
        self._alarm = self.clock.after(seconds * SECOND - past, self._ring)

    def _ring(self) -> None:
        self._values["RTCRIS"] = 1
        self._drive()

    def _cancel(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _drive(self) -> None:
        self.interrupt.set(bool(self._masked))
