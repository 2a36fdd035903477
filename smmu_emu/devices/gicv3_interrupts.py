# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3: the state of SGIs, PPIs and SPIs of one core, and the registers that show it.

Spec: Arm IHI 0069 4.1 (states), 4.8 (priorities), 12.9 and 12.11 (the registers, which distributor
and redistributor have alike). 16 SGIs, 16 PPIs and 256 SPIs with 8 bits of priority; one Security
state, so there are two groups. Sets of interrupts are integers with a bit each.
"""

from __future__ import annotations

from smmu_emu.devices.gicv2_distributor import gather, spread

INTERRUPTS = 288
FIRST_SPI = 32
SPURIOUS = 1023
IDLE_PRIORITY = 0x100
"""Lower than any interrupt's."""

SGIS = 0xFFFF
PRIVATE = (1 << FIRST_SPI) - 1
"""SGIs and PPIs: the redistributor shows them."""
SHARED = (1 << INTERRUPTS) - 1 & ~PRIVATE
"""SPIs: the distributor shows them."""

_SET_BY = {"ISENABLER": "enabled", "ISPENDR": "pending", "ISACTIVER": "active"}
_CLEARED_BY = {"ICENABLER": "enabled", "ICPENDR": "pending", "ICACTIVER": "active"}
SETS = ("IGROUPR", *_SET_BY, *_CLEARED_BY)
"""Kinds of registers with a bit for each interrupt."""


class Interrupts:
    """What every interrupt is about. Registers are accessed in words, ``at`` a byte's place in the
    registers of their kind; ``shown`` are the interrupts that whoever is asked shows."""

    def __init__(self) -> None:
        self.sets = dict.fromkeys(("group1", "enabled", "pending", "active", "edge", "level"), 0)
        self.priority = bytearray(INTERRUPTS)
        self.elsewhere = 0
        """SPIs that are routed to cores which there are not."""
        self.reset()

    def reset(self) -> None:
        """Power-on state: SGIs are edge-triggered for ever; wires keep their level."""
        self.sets.update(group1=0, enabled=0, pending=0, active=0, edge=SGIS)
        self.priority[:] = bytes(INTERRUPTS)
        self.elsewhere = 0

    def set_level(self, number: int, level: bool) -> None:
        """Drive the wire of interrupt ``number`` (16 and up); edges latch."""
        bit, sets = 1 << number, self.sets
        if level:
            sets["pending"] |= bit & sets["edge"] & ~sets["level"]
            sets["level"] |= bit
        else:
            sets["level"] &= ~bit

    def all_pending(self) -> int:
        """Latched interrupts, and level-sensitive ones whose wire is up."""
        return self.sets["pending"] | self.sets["level"] & ~self.sets["edge"]

    def best(self, groups: int) -> tuple[int, int]:
        """(priority, number) of the first of those that wait, among the enabled ``groups``."""
        sets = self.sets
        forwarded = -(groups & 1) & ~sets["group1"] | -(groups >> 1 & 1) & sets["group1"]
        candidates = self.all_pending() & sets["enabled"] & ~sets["active"] & ~self.elsewhere
        candidates &= forwarded
        best = IDLE_PRIORITY, SPURIOUS
        while candidates:
            number = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            best = min(best, (self.priority[number], number))
        return best

    def group(self, number: int) -> int:
        """0 or 1."""
        return self.sets["group1"] >> number & 1

    def take(self, number: int) -> None:
        """The core took this interrupt: it is active and its latch is empty."""
        self.sets["pending"] &= ~(1 << number)
        self.sets["active"] |= 1 << number

    def deactivate(self, number: int) -> None:
        """Active no more."""
        self.sets["active"] &= ~(1 << number)

    def generate(self, number: int) -> None:
        """Make an SGI pending."""
        self.sets["pending"] |= 1 << number

    # -- registers

    def read_set(self, kind: str, at: int, shown: int) -> int:
        """A word of one of `SETS`."""
        if kind in ("ISPENDR", "ICPENDR"):
            value = self.all_pending()
        else:
            value = self.sets[_SET_BY.get(kind) or _CLEARED_BY.get(kind) or "group1"]
        return (value & shown) >> 8 * at & 0xFFFF_FFFF

    def write_set(self, kind: str, at: int, value: int, shown: int) -> None:
        """A word of one of `SETS`."""
        bits, sets = value << 8 * at & shown, self.sets
        if kind in _SET_BY:
            sets[_SET_BY[kind]] |= bits
        elif kind in _CLEARED_BY:
            sets[_CLEARED_BY[kind]] &= ~bits
        else:
            sets["group1"] = sets["group1"] & ~(0xFFFF_FFFF << 8 * at & shown) | bits

    def read_priorities(self, at: int, size: int, shown: int) -> int:
        """Bytes of IPRIORITYR."""
        numbers = range(at, at + size)
        return sum(
            self.priority[n] << 8 * (n - at) for n in numbers if n < INTERRUPTS and shown >> n & 1
        )

    def write_priorities(self, at: int, size: int, value: int, shown: int) -> None:
        """Bytes of IPRIORITYR."""
        for number, byte in enumerate(value.to_bytes(size, "little"), at):
            if number < INTERRUPTS and shown >> number & 1:
                self.priority[number] = byte

    def read_edges(self, at: int, shown: int) -> int:
        """A word of ICFGR."""
        return spread((self.sets["edge"] & shown) >> 4 * at, 16, 2) << 1

    def write_edges(self, at: int, value: int, shown: int) -> None:
        """A word of ICFGR."""
        window = 0xFFFF << 4 * at & shown & ~SGIS
        edges = gather(value >> 1, 16) << 4 * at & window
        self.sets["edge"] = self.sets["edge"] & ~window | edges
