# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's edu (1234:11e8), a PCI device to learn driver writing with: arithmetic, interrupts, DMA.

Reference: QEMU 11's device of that name; docs/specs/edu.rst there describes its registers. Its DMA
goes through the translation unit, between memory and a buffer of 4 KiB that is seen nowhere else,
100 ms of virtual time after it was started. An aborted read leaves zeros in the buffer, and a
transfer goes on after an abort with the next 4 bytes, so that each of them makes an event.

As there, addresses are cut to the property ``dma_mask``, 28 bits unless told otherwise: RAM at
0x40000000 is beyond that, so an IOVA below it is needed, or a wider mask. Unlike there, a factorial
is ready when it is asked for, since no time passes meanwhile, and a transfer that is not within the
buffer is told and left undone: QEMU goes beyond its buffer.
"""

from __future__ import annotations

from math import factorial

from smmu_emu.bits import Bits, Word
from smmu_emu.clock import Appointment
from smmu_emu.devices.pcie import Bar, Function
from smmu_emu.devices.pcie_msi import Msi
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.errors import ConfigurationError

VENDOR_ID = 0x1234
DEVICE_ID = 0x11E8
REVISION = 0x10
CLASS_CODE = 0x00FF00
BAR_SIZE = 1 << 20
IDENTIFICATION = 0x0100_00ED

BUFFER = 0x40000
"""Where the device itself sees its buffer."""
BUFFER_SIZE = 4096
DMA_MILLISECONDS = 100
DMA_MASK = (1 << 28) - 1

FACTORIAL_INTERRUPT = 1 << 0
DMA_INTERRUPT = 1 << 8

ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF
WORD = 0xFFFF_FFFF
MILLISECOND = 1_000_000
FIRST_ZERO_FACTORIAL = 34
"""From here on factorials have 32 factors of two or more."""

ID, LIVENESS, FACTORIAL, STATUS, INTERRUPTS, RAISE, ACKNOWLEDGE = 0, 4, 8, 0x20, 0x24, 0x60, 0x64
SOURCE, DESTINATION, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
DMA_REGISTERS = 0x80
"""From here on accesses of 8 bytes count as well."""


class EDU_STATUS(Word, bits=32):  # noqa: N801 - a register's name
    """The status register. COMPUTING, bit 0, is never seen as 1 here."""

    INTERRUPT = Bits(7)


class EDU_COMMAND(Word, bits=64):  # noqa: N801 - a register's name
    """The DMA command register; bits above are stored and mean nothing."""

    RUN = Bits(0)
    TO_MEMORY = Bits(1)
    INTERRUPT = Bits(2)


_INTERRUPT_WHEN_READY = EDU_STATUS.mask("INTERRUPT")
_RUN, _TO_MEMORY = EDU_COMMAND.mask("RUN"), EDU_COMMAND.mask("TO_MEMORY")
_INTERRUPT_WHEN_DONE = EDU_COMMAND.mask("INTERRUPT")
_READABLE = {LIVENESS, FACTORIAL, STATUS, INTERRUPTS, SOURCE, DESTINATION, COUNT, COMMAND}


class Edu(Function):
    """One device; ``buffer`` is what its DMA reads and writes, ``dma_mask`` its property."""

    def __init__(
        self, report: Report = ignore, name: str = "edu", dma_mask: int = DMA_MASK
    ) -> None:
        super().__init__(VENDOR_ID, DEVICE_ID, CLASS_CODE, bars=[Bar(0, BAR_SIZE, self)], name=name)
        self.preset("REVISION_ID", REVISION)
        self.preset("INTERRUPT_PIN", 1)
        self.msi = Msi(self)
        self.report = report
        self.dma_mask = dma_mask
        self.buffer = bytearray(BUFFER_SIZE)
        self._values = dict.fromkeys(_READABLE, 0)
        self._transfer: Appointment | None = None

    def set_property(self, name: str, value: str) -> None:
        """Take ``dma_mask``, a number of 64 bits."""
        if name != "dma_mask":
            super().set_property(name, value)
        try:
            mask = int(value, 0)
        except ValueError:
            mask = -1
        if not 0 <= mask <= ALL_ONES:
            raise ConfigurationError(f"edu: dma_mask={value} is no number of 64 bits")
        self.dma_mask = mask

    def reset(self) -> None:
        """Power-on state."""
        self._values = dict.fromkeys(_READABLE, 0)
        self.buffer[:] = bytes(BUFFER_SIZE)
        if self._transfer is not None:
            self._transfer.cancel()
        super().reset()

    def config_write(self, offset: int, size: int, value: int) -> None:
        """A write of configuration space; the pin is let go once messages are on."""
        super().config_write(offset, size, value)
        if self.msi.enabled:
            self.set_interrupt(False)

    # -- registers

    def read(self, offset: int, size: int) -> int | None:
        """A read of the registers; refused unless it is an aligned one of 4 or 8 bytes."""
        if not _fits_bus(offset, size):
            return None
        known = size == 4 or offset >= DMA_REGISTERS
        if known and offset == ID:
            return IDENTIFICATION
        value = self._values.get(offset) if known else None
        if value is None:
            self.report(offset, f"read of {size} bytes")
            value = ALL_ONES
        return value & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> bool | None:
        """A write of the registers; refused unless it is an aligned one of 4 or 8 bytes."""
        if not _fits_bus(offset, size):
            return False
        if offset < DMA_REGISTERS and size != 4:
            self.report(offset, f"write of {size} bytes")
        elif offset == LIVENESS:
            self._values[LIVENESS] = ~value & WORD
        elif offset == FACTORIAL:
            self._compute(value)
        elif offset == STATUS:
            self._values[STATUS] = value & _INTERRUPT_WHEN_READY
        elif offset == RAISE:
            self._raise(value)
        elif offset == ACKNOWLEDGE:
            self._acknowledge(value)
        elif offset in (SOURCE, DESTINATION, COUNT, COMMAND):
            self._write_dma(offset, value)
        else:
            self.report(offset, f"write of {size} bytes")
        return None

    def _compute(self, number: int) -> None:
        small = number < FIRST_ZERO_FACTORIAL
        self._values[FACTORIAL] = factorial(number) & WORD if small else 0
        if self._values[STATUS] & _INTERRUPT_WHEN_READY:
            self._raise(FACTORIAL_INTERRUPT)

    def _raise(self, bits: int) -> None:
        self._values[INTERRUPTS] |= bits
        if not self._values[INTERRUPTS]:
            return
        if self.msi.enabled:
            self.msi.send()
        else:
            self.set_interrupt(True)

    def _acknowledge(self, bits: int) -> None:
        self._values[INTERRUPTS] &= ~bits
        if not self._values[INTERRUPTS] and not self.msi.enabled:
            self.set_interrupt(False)

    # -- DMA

    def _write_dma(self, register: int, value: int) -> None:
        """The registers of a transfer, which do not change while it is under way."""
        if self._values[COMMAND] & _RUN or (register == COMMAND and not value & _RUN):
            return
        self._values[register] = value
        if register == COMMAND:
            now = self.clock.now
            due = (now // MILLISECOND + DMA_MILLISECONDS) * MILLISECOND
            self._transfer = self.clock.after(due - now, self._end_transfer)

    def _end_transfer(self) -> None:
        """Move everything at once, and tell."""
        values = self._values
        command = values[COMMAND]
        inside, outside = values[DESTINATION], values[SOURCE]
        if command & _TO_MEMORY:
            inside, outside = outside, inside
        start, size = inside - BUFFER, values[COUNT]
        if start < 0 or start + size > BUFFER_SIZE:
            self.report(COUNT, "DMA beyond the buffer")
        else:
            self._move(outside, start, size, to_memory=bool(command & _TO_MEMORY))
        values[COMMAND] &= ~_RUN
        if command & _INTERRUPT_WHEN_DONE:
            self._raise(DMA_INTERRUPT)

    def _move(self, address: int, start: int, size: int, *, to_memory: bool) -> None:
        iova = address & self.dma_mask
        if iova != address:
            self.report(DESTINATION if to_memory else SOURCE, "DMA address beyond dma_mask")
        if not self.bus_master:
            self.report(COMMAND, "DMA while the command register's bus-master bit is 0")
            if not to_memory:
                self.buffer[start : start + size] = bytes(size)
            return
        done = 0
        while done < size:
            where = iova + done & ALL_ONES
            length = min(size - done, BUFFER_SIZE - where % BUFFER_SIZE)
            piece = slice(start + done, start + done + length)
            if to_memory:
                moved = self.dma.write(where, bytes(self.buffer[piece]))
            else:
                data = self.dma.read(where, length)
                moved = data is not None
                self.buffer[piece] = data or bytes(length)
            if not moved:
                length = min(4, where & -where or 4, 1 << length.bit_length() - 1)
            done += length


def _fits_bus(offset: int, size: int) -> bool:
    return size in (4, 8) and not offset & size - 1
