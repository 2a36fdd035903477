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
from typing import NamedTuple

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.register_block import RW, R, W
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


class Range(NamedTuple):
    """Registers of one kind: from offset ``first`` to before ``end``, and who may do what."""

    name: str
    first: int
    end: int
    access: int


RANGES = (
    Range("CTLR", 0x000, 0x004, RW),
    Range("TYPER", 0x004, 0x008, R),
    Range("IIDR", 0x008, 0x00C, R),
    Range("IGROUPR", 0x080, 0x100, RW),
    Range("ISENABLER", 0x100, 0x180, RW),
    Range("ICENABLER", 0x180, 0x200, RW),
    Range("ISPENDR", 0x200, 0x280, RW),
    Range("ICPENDR", 0x280, 0x300, RW),
    Range("ISACTIVER", 0x300, 0x380, RW),
    Range("ICACTIVER", 0x380, 0x400, RW),
    Range("IPRIORITYR", 0x400, 0x800, RW),
    Range("ITARGETSR", 0x800, 0xC00, R),
    Range("ICFGR", 0xC00, 0xD00, RW),
    Range("SGIR", 0xF00, 0xF04, W),
    Range("CPENDSGIR", 0xF10, 0xF20, RW),
    Range("SPENDSGIR", 0xF20, 0xF30, RW),
    Range("PIDR", 0xFD0, 0x1000, R),
)
"""IHI 0048 table 4-1. Reads of what cannot be read give 0, writes of the rest are ignored."""

_RANGE_OF_WORD = {word: each for each in RANGES for word in range(each.first, each.end, 4)}

TYPER = INTERRUPTS // 32 - 1
IIDR = 0x0000_043B
IDENTIFICATION = sum(
    byte << 32 * n for n, byte in enumerate(bytes.fromhex("04000000 90b42b00 0df005b1"))
)
"""The words from 0xFD0, a byte each: an Arm GICv2, as QEMU shows it."""

_SET_BY = {"ISENABLER": "enabled", "ISPENDR": "pending", "ISACTIVER": "active"}
_CLEARED_BY = {"ICENABLER": "enabled", "ICPENDR": "pending", "ICACTIVER": "active"}


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

    # -- registers: ``at`` is a byte's place in its range, and any size may begin there

    def read(self, offset: int, size: int) -> int:
        """A read by software."""
        place = _RANGE_OF_WORD.get(offset & ~3)
        if place is None:
            self.report(offset, "read")
            return 0
        return _READERS[place.name](self, offset - place.first, size) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software."""
        place = _RANGE_OF_WORD.get(offset & ~3)
        if place is None:
            self.report(offset, "write")
            return
        writer = _WRITERS.get(place.name) if place.access & W else None
        if writer is not None:
            writer(self, offset - place.first, size, value & (1 << 8 * size) - 1)
            self.changed()

    def _write_control(self, at: int, _: int, value: int) -> None:
        if at == 0:
            self.control = value & GICD_CTLR.mask()

    def _assign(self, name: str, at: int, size: int, value: int) -> None:
        """Some bytes of a set get a new value."""
        window = (1 << 8 * size) - 1 << 8 * at
        self.sets[name] = (self.sets[name] & ~window | value << 8 * at) & _ALL

    def _set(self, name: str, at: int, value: int) -> None:
        """Bits become 1. What pends of SGIs is GICD_SPENDSGIR's business (4.3.7)."""
        excepted = _SGIS if name == "pending" else 0
        self.sets[name] |= value << 8 * at & _ALL & ~excepted

    def _clear(self, name: str, at: int, value: int) -> None:
        """Bits become 0; SGIs stay enabled, and GICD_CPENDSGIR ends their pending."""
        excepted = 0 if name == "active" else _SGIS
        self.sets[name] &= ~(value << 8 * at & ~excepted)

    def _read_priorities(self, at: int, size: int) -> int:
        return int.from_bytes(self.priority[at : at + size], "little")

    def _write_priorities(self, at: int, size: int, value: int) -> None:
        values = value.to_bytes(size, "little")[: max(0, INTERRUPTS - at)]
        self.priority[at : at + len(values)] = values

    def _read_edges(self, at: int, size: int) -> int:
        return spread(self.sets["edge"] >> 4 * at, 4 * size, 2) << 1

    def _write_edges(self, at: int, size: int, value: int) -> None:
        window = (1 << 4 * size) - 1 << 4 * at
        edges = self.sets["edge"] & ~window | gather(value >> 1, 4 * size) << 4 * at
        self.sets["edge"] = edges & _ALL | _SGIS

    # -- software-generated interrupts; the only possible sender is core 0. Spec: 4.3.15 to 4.3.17

    def _generate(self, at: int, _: int, value: int) -> None:
        to_self = {0: value >> 16 & 1, 2: 1}.get(value >> 24 & 3, 0)
        if to_self and at == 0:
            self.sets["pending"] |= 1 << (value & 15)

    def _read_senders(self, at: int, size: int) -> int:
        return spread((self.sets["pending"] & _SGIS) >> at, size, 8)

    def _write_senders(self, at: int, size: int, value: int, *, pend: bool) -> None:
        for number, sender in enumerate(value.to_bytes(size, "little"), at):
            if sender & 1 and number < 16:
                self.sets["pending"] &= ~(1 << number)
                self.sets["pending"] |= pend << number


def spread(bits: int, count: int, stride: int) -> int:
    """Bit n of ``count`` bits moves to bit ``stride`` * n."""
    return sum((bits >> n & 1) << stride * n for n in range(count))


def gather(value: int, count: int) -> int:
    """Bit 2n moves to bit n of ``count`` bits."""
    return sum((value >> 2 * n & 1) << n for n in range(count))


Reader = Callable[[Distributor, int, int], int]
Writer = Callable[[Distributor, int, int, int], None]


def _set_reader(name: str) -> Reader:
    if name == "pending":
        return lambda distributor, at, _: distributor.all_pending() >> 8 * at
    return lambda distributor, at, _: distributor.sets[name] >> 8 * at


def _setter(name: str) -> Writer:
    return lambda distributor, at, _, value: distributor._set(name, at, value)


def _clearer(name: str) -> Writer:
    return lambda distributor, at, _, value: distributor._clear(name, at, value)


_READERS: dict[str, Reader] = {
    "CTLR": lambda distributor, at, _: distributor.control >> 8 * at,
    "TYPER": lambda _, at, __: TYPER >> 8 * at,
    "IIDR": lambda _, at, __: IIDR >> 8 * at,
    "IPRIORITYR": Distributor._read_priorities,
    "ITARGETSR": lambda _, __, ___: 0,
    "ICFGR": Distributor._read_edges,
    "SGIR": lambda _, __, ___: 0,
    "CPENDSGIR": Distributor._read_senders,
    "SPENDSGIR": Distributor._read_senders,
    "PIDR": lambda _, at, __: IDENTIFICATION >> 8 * at,
    **{register: _set_reader(name) for register, name in (_SET_BY | _CLEARED_BY).items()},
    "IGROUPR": _set_reader("group1"),
}
_WRITERS: dict[str, Writer] = {
    "CTLR": Distributor._write_control,
    "IPRIORITYR": Distributor._write_priorities,
    "ICFGR": Distributor._write_edges,
    "SGIR": Distributor._generate,
    "CPENDSGIR": lambda d, at, size, value: d._write_senders(at, size, value, pend=False),
    "SPENDSGIR": lambda d, at, size, value: d._write_senders(at, size, value, pend=True),
    **{register: _setter(name) for register, name in _SET_BY.items()},
    **{register: _clearer(name) for register, name in _CLEARED_BY.items()},
    "IGROUPR": lambda d, at, size, value: d._assign("group1", at, size, value),
}
