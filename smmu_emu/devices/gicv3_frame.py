# SPDX-License-Identifier: GPL-2.0-or-later
"""What register frames of a GICv3 have in common: ranges of registers, and how they are reached.

Spec: Arm IHI 0069 12.8 to 12.11.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from smmu_emu.devices.gicv3_interrupts import Interrupts
from smmu_emu.devices.reporter import Report, ignore

PRODUCT = 0x43B
"""GICD_IIDR and GICR_IIDR: Arm."""


class Range(NamedTuple):
    """Registers of one kind, from offset ``first`` to before ``end``."""

    name: str
    first: int
    end: int


COMMON = (
    Range("IGROUPR", 0x080, 0x100),
    Range("ISENABLER", 0x100, 0x180),
    Range("ICENABLER", 0x180, 0x200),
    Range("ISPENDR", 0x200, 0x280),
    Range("ICPENDR", 0x280, 0x300),
    Range("ISACTIVER", 0x300, 0x380),
    Range("ICACTIVER", 0x380, 0x400),
    Range("IPRIORITYR", 0x400, 0x800),
    Range("ICFGR", 0xC00, 0xD00),
)
"""What a redistributor has at the same places, for its own interrupts."""


def by_word(ranges: tuple[Range, ...]) -> dict[int, Range]:
    """Ranges by the offset of each of their words."""
    return {word: each for each in ranges for word in range(each.first, each.end, 4)}


def identification(part: int) -> int:
    """The words from 0xFFD0 on, a byte each in 32 bits: a GICv3 of Arm's, as QEMU shows it."""
    text = bytes.fromhex("44000000") + bytes([part]) + bytes.fromhex("b43b000df005b1")
    return sum(byte << 32 * n for n, byte in enumerate(text))


class RegisterFrame:
    """One frame. ``changed`` is called after each change that may matter to the core.

    ``ranges`` are its registers by the offset of each of their words.
    """

    ranges: ClassVar[dict[int, Range]] = {}

    def __init__(self, interrupts: Interrupts, report: Report = ignore) -> None:
        self.interrupts = interrupts
        self.report = report
        self.changed: Callable[[], None] = lambda: None

    def read(self, offset: int, size: int) -> int:
        """A read by software."""
        place = self._place(offset, size)
        if place is None:
            self.report(offset, f"read of {size} bytes")
            return 0
        return self._read(place.name, offset - place.first, size) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software."""
        place = self._place(offset, size)
        if place is None:
            self.report(offset, f"write of {size} bytes")
            return
        self._write(place.name, offset - place.first, size, value)
        self.changed()

    def _place(self, offset: int, size: int) -> Range | None:
        """Whose registers an access goes to; None if nobody's, or of a size that they lack."""
        place = self.ranges.get(offset & ~3)
        if place is None or offset & size - 1 or size not in self.sizes_of(place.name):
            return None
        return place

    @abstractmethod
    def sizes_of(self, name: str) -> tuple[int, ...]:
        """Bytes that an access to registers of one kind may have."""

    @abstractmethod
    def _read(self, name: str, at: int, size: int) -> int: ...

    @abstractmethod
    def _write(self, name: str, at: int, size: int, value: int) -> None: ...
