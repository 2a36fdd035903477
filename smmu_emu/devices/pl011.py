# SPDX-License-Identifier: GPL-2.0-or-later
"""PL011 UART: the console of the board.

Spec: Arm DDI 0183 (PrimeCell UART PL011), chapter 3. Characters leave at once, so the transmit FIFO
is always empty. As in QEMU, and other than in hardware: a disabled UART transmits (that is told),
the receive interrupt comes with the first character whatever UARTIFLS says, and so the receive
timeout never comes. Left out: baud rates, parity and framing errors, modem lines outside loopback,
DMA and the test registers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.register_block import RW, R, Register, RegisterBlock, W
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.interrupt import InterruptLine

FIFO_DEPTH = 16

REGISTERS = (
    Register("DR", 0x000, RW),
    Register("RSR", 0x004, RW),
    Register("FR", 0x018, R, reset=0x90),
    Register("ILPR", 0x020, RW, writable=0xFF),
    Register("IBRD", 0x024, RW, writable=0xFFFF),
    Register("FBRD", 0x028, RW, writable=0x3F),
    Register("LCR_H", 0x02C, RW, writable=0xFF),
    Register("CR", 0x030, RW, reset=0x300, writable=0xFF87),
    Register("IFLS", 0x034, RW, reset=0x12, writable=0x3F),
    Register("IMSC", 0x038, RW, writable=0x7FF),
    Register("RIS", 0x03C, R),
    Register("MIS", 0x040, R),
    Register("ICR", 0x044, W, writable=0x7FF),
    Register("DMACR", 0x048, RW, writable=0x7),
    Register("PeriphID0", 0xFE0, R, reset=0x11),
    Register("PeriphID1", 0xFE4, R, reset=0x10),
    Register("PeriphID2", 0xFE8, R, reset=0x14),
    Register("PeriphID3", 0xFEC, R, reset=0x00),
    Register("PCellID0", 0xFF0, R, reset=0x0D),
    Register("PCellID1", 0xFF4, R, reset=0xF0),
    Register("PCellID2", 0xFF8, R, reset=0x05),
    Register("PCellID3", 0xFFC, R, reset=0xB1),
)
"""DDI 0183 table 3-1. The identification is revision r1p1's, which QEMU shows."""


class FR(Word, bits=32):
    """Flags. Spec: 3.3.3."""

    CTS = Bits(0)
    DSR = Bits(1)
    DCD = Bits(2)
    BUSY = Bits(3)
    RXFE = Bits(4)
    TXFF = Bits(5)
    RXFF = Bits(6)
    TXFE = Bits(7)
    RI = Bits(8)


class CR(Word, bits=32):
    """Control. Spec: 3.3.8."""

    UARTEN = Bits(0)
    SIREN = Bits(1)
    SIRLP = Bits(2)
    LBE = Bits(7)
    TXE = Bits(8)
    RXE = Bits(9)
    DTR = Bits(10)
    RTS = Bits(11)
    OUT1 = Bits(12)
    OUT2 = Bits(13)
    RTSEN = Bits(14)
    CTSEN = Bits(15)


class INTERRUPTS(Word, bits=32):
    """One bit a source, the same in IMSC, RIS, MIS and ICR. Spec: 3.3.10 to 3.3.13."""

    RI = Bits(0)
    CTS = Bits(1)
    DCD = Bits(2)
    DSR = Bits(3)
    RX = Bits(4)
    TX = Bits(5)
    RT = Bits(6)
    FE = Bits(7)
    PE = Bits(8)
    BE = Bits(9)
    OE = Bits(10)


_RXFE, _RXFF, _TXFE = FR.mask("RXFE"), FR.mask("RXFF"), FR.mask("TXFE")
_RX, _TX = INTERRUPTS.mask("RX"), INTERRUPTS.mask("TX")
_CAN_TRANSMIT = CR.mask("UARTEN", "TXE")
_LOOPBACK = CR.mask("LBE")
_FIFOS_ENABLED = 1 << 4
_BREAK = 1 << 0
_BREAK_RECEIVED = 1 << 10


class Pl011:
    """One UART. ``output`` takes each character sent, ``feed`` queues characters to receive."""

    def __init__(
        self,
        output: Callable[[bytes], None] = lambda _: None,
        report: Report = ignore,
        name: str = "pl011",
    ) -> None:
        self.output = output
        self.report = report
        self.interrupt = InterruptLine(name)
        self._fifo: deque[int] = deque()
        self._waiting: deque[int] = deque()
        self._block = RegisterBlock(REGISTERS, report)
        self._values = self._block.values
        self._block.on_read.update(DR=self._receive, MIS=lambda: self._raised)
        self._block.on_write.update(
            DR=self._transmit,
            RSR=self._clear_errors,
            LCR_H=self._write_line_control,
            CR=self._write_control,
            IMSC=self._write_mask,
            ICR=self._clear_interrupts,
            DMACR=self._write_dma_control,
        )
        self.read = self._block.read
        self.write = self._block.write

    def reset(self) -> None:
        """Power-on state; characters that wait outside are gone too."""
        self._block.reset()
        self._fifo.clear()
        self._waiting.clear()
        self._update_interrupt()

    def feed(self, data: bytes) -> None:
        """Characters arrive; those that the FIFO cannot hold wait outside."""
        self._waiting.extend(data)
        self._fill()

    # -- receiving

    @property
    def _depth(self) -> int:
        return FIFO_DEPTH if self._values["LCR_H"] & _FIFOS_ENABLED else 1

    def _fill(self) -> None:
        while self._waiting and len(self._fifo) < self._depth:
            if self._values["CR"] & _LOOPBACK:
                self._waiting.clear()  # the input pin is cut off
            else:
                self._put(self._waiting.popleft())

    def _put(self, character: int) -> None:
        """A character with its error bits reaches the FIFO; with no room it is lost."""
        if len(self._fifo) >= self._depth:
            self._values["RIS"] |= INTERRUPTS.mask("OE")
        else:
            self._fifo.append(character)
            if len(self._fifo) == 1:
                self._values["RIS"] |= _RX
        self._update_flags()
        self._update_interrupt()

    def _receive(self) -> int:
        character = self._fifo.popleft() if self._fifo else 0
        if not self._fifo:
            self._values["RIS"] &= ~_RX
        self._values["RSR"] = character >> 8
        self._fill()
        self._update_flags()
        self._update_interrupt()
        return character

    def _clear_errors(self, _: int) -> None:
        self._values["RSR"] = 0

    # -- sending

    def _transmit(self, value: int) -> None:
        control = self._values["CR"]
        if control & _CAN_TRANSMIT != _CAN_TRANSMIT:
            self.report(0, "write while UARTCR keeps the transmitter off; hardware would not send")
        self.output(bytes((value & 0xFF,)))
        if control & _LOOPBACK:
            self._put(value & 0xFF)
        self._values["RIS"] |= _TX
        self._update_interrupt()

    # -- control

    def turn_on(self) -> None:
        """Leave it as boot firmware does, which a kernel's early console relies on."""
        self._values["CR"] |= CR.make(UARTEN=1, TXE=1, RXE=1).value

    def _write_line_control(self, value: int) -> None:
        changed = self._values["LCR_H"] ^ value
        self._values["LCR_H"] = value
        if changed & _FIFOS_ENABLED:
            self._fifo.clear()
            self._values["RIS"] &= ~_RX
        if changed & value & _BREAK and self._values["CR"] & _LOOPBACK:
            self._put(_BREAK_RECEIVED)
        self._fill()
        self._update_flags()
        self._update_interrupt()

    def _write_control(self, value: int) -> None:
        self._values["CR"] = value
        before = self._values["FR"]
        self._update_flags()
        self._raise_modem(before ^ self._values["FR"])
        self._update_interrupt()

    def _write_mask(self, value: int) -> None:
        self._values["IMSC"] = value
        self._update_interrupt()

    def _clear_interrupts(self, value: int) -> None:
        self._values["RIS"] &= ~value
        self._update_interrupt()

    def _write_dma_control(self, value: int) -> None:
        self._values["DMACR"] = value
        if value & 3:
            self.report(0x48, "write that turns DMA on")

    # -- what follows from the state

    @property
    def _raised(self) -> int:
        return self._values["RIS"] & self._values["IMSC"]

    def _update_interrupt(self) -> None:
        self.interrupt.set(self._raised != 0)

    def _update_flags(self) -> None:
        flags = _TXFE
        if not self._fifo:
            flags |= _RXFE
        if len(self._fifo) >= self._depth:
            flags |= _RXFF
        control = CR(self._values["CR"])
        if control.LBE:
            flags |= FR.make(
                RI=control.OUT2, DCD=control.OUT1, CTS=control.RTS, DSR=control.DTR
            ).value
        self._values["FR"] = flags

    def _raise_modem(self, changed: int) -> None:
        """A change of a modem line is an interrupt. Spec: 3.3.11."""
        lines = FR(changed)
        self._values["RIS"] |= INTERRUPTS.make(
            RI=lines.RI, CTS=lines.CTS, DCD=lines.DCD, DSR=lines.DSR
        ).value
