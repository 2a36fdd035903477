# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv2's distributor for one core: the state of 288 interrupts, and which one comes first.

Spec: Arm IHI 0048 B.b: 3.2 (states), 4.3 (registers). 16 SGIs, 16 PPIs and 256 SPIs with 8 bits of
priority and two groups; no Security Extensions. Sets of interrupts are integers with a bit each.
Every register may be accessed bytewise. There is one core: GICD_ITARGETSRn is RAZ/WI, every SPI
reaches it. Left out: GICD_NSACRn, and the status registers of PPIs and SPIs that are outside the
architecture.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.reporter import Report, ignore

INTERRUPTS = 288
FIRST_SPI = 32
SPURIOUS = 1023
IDLE_PRIORITY = 0x100
"""Lower than any interrupt's."""

_ALL = (1 << INTERRUPTS) - 1
_SGIS = 0xFFFF


class GICD_CTLR(Word, bits=32):  # noqa: N801 - the architecture's name
    """Distributor control. Spec: 4.3.1."""

    EnableGrp0 = Bits(0)
    EnableGrp1 = Bits(1)


class Distributor:
    """State of every interrupt, and which of them wants the core most. Spec: 4.3.

    ``changed`` is called after each change that may matter to the core.
    """

    def __init__(self, report: Report = ignore) -> None:
        self.report = report
        self.changed: Callable[[], None] = lambda: None
        self.control = 0
        self.sets = dict.fromkeys(("group1", "enabled", "pending", "active", "edge", "level"), 0)
        self.priority = bytearray(INTERRUPTS)
        self._ranges = {
            0x080: ("group1", self._assign),
            0x100: ("enabled", self._set),
            0x180: ("enabled", self._clear),
            0x200: ("pending", self._set),
            0x280: ("pending", self._clear),
            0x300: ("active", self._set),
            0x380: ("active", self._clear),
        }
        self.reset()

    def reset(self) -> None:
        """Power-on state: SGIs are enabled and edge-triggered for ever; wires keep their level."""
        self.control = 0
        self.sets.update(group1=0, enabled=_SGIS, pending=0, active=0, edge=_SGIS)
        self.priority[:] = bytes(INTERRUPTS)
        self.changed()

    def set_level(self, number: int, level: bool) -> None:
        """Drive the wire of interrupt ``number`` (16 and up). Spec: 3.2.4 (edges latch)."""
        bit = 1 << number
        sets = self.sets
        if level:
            sets["pending"] |= bit & sets["edge"] & ~sets["level"]
            sets["level"] |= bit
        else:
            sets["level"] &= ~bit
        self.changed()

    def all_pending(self) -> int:
        """Latched interrupts, and level-sensitive ones whose wire is up."""
        return self.sets["pending"] | self.sets["level"] & ~self.sets["edge"]

    def best(self) -> int:
        """The pending interrupt with the highest priority that is forwarded, or `SPURIOUS`."""
        group1, enabled, active = self.sets["group1"], self.sets["enabled"], self.sets["active"]
        forwarded = -(self.control & 1) & ~group1 | -(self.control >> 1) & group1
        candidates = self.all_pending() & enabled & ~active & forwarded
        best, best_priority = SPURIOUS, IDLE_PRIORITY
        while candidates:
            number = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            if self.priority[number] < best_priority:
                best, best_priority = number, self.priority[number]
        return best

    def acknowledge(self, number: int) -> None:
        """The core took this interrupt: it is active and its latch is empty."""
        self.sets["pending"] &= ~(1 << number)
        self.sets["active"] |= 1 << number

    def deactivate(self, number: int) -> None:
        """Active no more; level-sensitive interrupts whose wire is still up are pending again."""
        self.sets["active"] &= ~(1 << number)

    # -- registers; every one of them may be accessed bytewise

    def read(self, offset: int, size: int) -> int:
        """A read by software."""
        base = offset & ~0x7F
        if base in self._ranges:
            name = self._ranges[base][0]
            bits = self.all_pending() if name == "pending" else self.sets[name]
            return bits >> 8 * (offset - base) & (1 << 8 * size) - 1
        if 0x400 <= offset < 0x800:
            return int.from_bytes(self.priority[offset - 0x400 : offset - 0x400 + size], "little")
        if 0xC00 <= offset < 0xD00:
            return _spread(self.sets["edge"] >> 4 * (offset - 0xC00), 4 * size) << 1
        if 0xF10 <= offset < 0xF30:
            return self._pending_sgis(offset, size)
        return self._read_plain(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software."""
        value &= (1 << 8 * size) - 1
        base = offset & ~0x7F
        if base in self._ranges:
            name, change = self._ranges[base]
            change(name, value << 8 * (offset - base) & _ALL, 8 * (offset - base), 8 * size)
        elif 0x400 <= offset < 0x800:
            self._write_priorities(offset - 0x400, value.to_bytes(size, "little"))
        elif 0xC00 <= offset < 0xD00:
            shift, count = 4 * (offset - 0xC00), 4 * size
            self._assign("edge", _gather(value >> 1, count) << shift & _ALL, shift, count)
            self.sets["edge"] |= _SGIS
        elif offset == 0xF00:
            self._generate(value)
        elif 0xF10 <= offset < 0xF30:
            self._write_pending_sgis(offset, value.to_bytes(size, "little"))
        elif offset == 0x000:
            self.control = value & GICD_CTLR.mask()
        elif not 0x800 <= offset < 0xC00 and offset & ~3 not in _IDENTIFICATION:
            self.report(offset, "write")
        self.changed()

    def _read_plain(self, offset: int, size: int) -> int:
        word = offset & ~3
        if word == 0x000:
            value = self.control
        elif word in _IDENTIFICATION:
            value = _IDENTIFICATION[word]
        else:
            value = 0
            if not 0x800 <= offset < 0xC00 and word != 0xF00:  # targets, write-only SGIR
                self.report(offset, "read")
        return value >> 8 * (offset - word) & (1 << 8 * size) - 1

    # -- the kinds of writes to sets of interrupts: bits in place, and the range they came in

    def _set(self, name: str, bits: int, _: int, __: int) -> None:
        if name == "pending":
            bits &= ~_SGIS  # GICD_SPENDSGIR is for those (4.3.7)
        self.sets[name] |= bits

    def _clear(self, name: str, bits: int, _: int, __: int) -> None:
        if name != "active":
            bits &= ~_SGIS
        self.sets[name] &= ~bits

    def _assign(self, name: str, bits: int, shift: int, count: int) -> None:
        window = (1 << count) - 1 << shift
        self.sets[name] = self.sets[name] & ~window | bits

    def _write_priorities(self, first: int, values: bytes) -> None:
        room = max(0, INTERRUPTS - first)
        self.priority[first : first + len(values[:room])] = values[:room]

    # -- software-generated interrupts; the only possible sender is core 0. Spec: 4.3.15 to 4.3.17

    def _generate(self, value: int) -> None:
        to_self = {0: value >> 16 & 1, 2: 1}.get(value >> 24 & 3, 0)
        if to_self:
            self.sets["pending"] |= 1 << (value & 15)

    def _pending_sgis(self, offset: int, size: int) -> int:
        return _spread_bytes(self.sets["pending"] & _SGIS, offset & 15, size)

    def _write_pending_sgis(self, offset: int, senders: bytes) -> None:
        for number, sender in enumerate(senders, offset & 15):
            if sender & 1 and number < 16:
                if offset < 0xF20:
                    self.sets["pending"] &= ~(1 << number)
                else:
                    self.sets["pending"] |= 1 << number


_IDENTIFICATION = {
    0x004: INTERRUPTS // 32 - 1,
    0x008: 0x0000_043B,
    0xFD0: 0x04,
    0xFD4: 0x00,
    0xFD8: 0x00,
    0xFDC: 0x00,
    0xFE0: 0x90,
    0xFE4: 0xB4,
    0xFE8: 0x2B,
    0xFEC: 0x00,
    0xFF0: 0x0D,
    0xFF4: 0xF0,
    0xFF8: 0x05,
    0xFFC: 0xB1,
}
"""GICD_TYPER, GICD_IIDR and the identification of an Arm GICv2, as QEMU shows them."""


def _spread(bits: int, count: int) -> int:
    """Bit n of ``count`` bits moves to bit 2n."""
    return sum((bits >> n & 1) << 2 * n for n in range(count))


def _gather(value: int, count: int) -> int:
    """Bit 2n moves to bit n of ``count`` bits."""
    return sum((value >> 2 * n & 1) << n for n in range(count))


def _spread_bytes(bits: int, first: int, count: int) -> int:
    """Bit ``first`` + n moves to bit 8n."""
    return sum((bits >> first + n & 1) << 8 * n for n in range(count))
