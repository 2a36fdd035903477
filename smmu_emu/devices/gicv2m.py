# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv2m: a frame of registers that turns messages into shared peripheral interrupts.

Spec: Arm DEN 0029 (SBSA) 2.2, appendix E. Reference for identification and for accesses of odd
sizes: QEMU 11's arm_gicv2m. Messages come as ordinary writes, of the core, of DMA masters through
the translation unit, and of the SMMU itself. Each is an edge, so an interrupt that software left
level-sensitive does not keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smmu_emu.devices.reporter import Report, ignore

MSI_TYPER = 0x008
MSI_SETSPI_NS = 0x040
MSI_IIDR = 0xFCC
IDENTIFICATION = range(0xFD0, 0x1000, 4)
"""Reads as zero, as an implementation without a name has it."""

PRODUCT = 0x51 << 20
"""MSI_IIDR: QEMU's product number."""
NUMBER_MASK = 0x3FF


class Gicv2m:
    """One frame: message ``first + n`` is an edge on the n-th of ``sinks``.

    ``first`` is the GIC's own number of the first interrupt. ``messages`` counts those that were
    taken.
    """

    def __init__(
        self, first: int, sinks: Sequence[Callable[[bool], None]], report: Report = ignore
    ) -> None:
        self._first = first
        self._sinks = tuple(sinks)
        self.report = report
        self.messages = 0
        self._values = dict.fromkeys((MSI_SETSPI_NS, *IDENTIFICATION), 0)
        self._values[MSI_TYPER] = first << 16 | len(self._sinks)
        self._values[MSI_IIDR] = PRODUCT

    def reset(self) -> None:
        """Power-on state."""
        self.messages = 0

    def read(self, offset: int, size: int) -> int:
        """A read; 8 bytes are two words, and less than a word is zero."""
        if size == 8:
            return self.read(offset, 4) | self.read(offset + 4, 4) << 32
        value = self._values.get(offset) if size == 4 else None
        if value is None:
            self.report(offset, f"read of {size} bytes")
            return 0
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """A write; messages have 2 or 4 bytes, 8 bytes are two words."""
        if size == 8:
            self.write(offset, 4, value & 0xFFFF_FFFF)
            self.write(offset + 4, 4, value >> 32)
        elif offset != MSI_SETSPI_NS or size == 1:
            self.report(offset, f"write of {size} bytes")
        else:
            self._signal(value & NUMBER_MASK)

    def _signal(self, number: int) -> None:
        index = number - self._first
        if not 0 <= index < len(self._sinks):
            self.report(MSI_SETSPI_NS, f"message for interrupt {number}, which the frame lacks")
            return
        self.messages += 1
        self._sinks[index](True)
        self._sinks[index](False)
