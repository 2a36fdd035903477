# SPDX-License-Identifier: GPL-2.0-or-later
"""LPIs of one redistributor: configuration and pending state, in tables in memory.

Spec: Arm IHI 0069 5.1 (LPIs), 12.11 (GICR_PROPBASER, GICR_PENDBASER). LPIs are always edges, of
Group 1, and never active. The configuration of an LPI is read when it first matters and then cached
until it is invalidated; pending bits are in both places, memory and here, at any time. Tables lie
in RAM: where there is none, or an access aborts, LPIs are not enabled, or lost, and that is told.
"""

from __future__ import annotations

from heapq import heappop, heappush

from smmu_emu.bits import Address, Bits, Word
from smmu_emu.devices.gicv3_distributor import LPI_BITS
from smmu_emu.devices.gicv3_interrupts import IDLE_PRIORITY, SPURIOUS
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.port import MemoryPort

FIRST_LPI = 8192
_ENABLED, _PRIORITY = 1, 0xFC
_SLACK = 64
"""Candidates that are none any more, before they are looked for."""


class GICR_PROPBASER(Word, bits=64):  # noqa: N801 - the architecture's name
    """Where the configuration table is, a byte for each LPI."""

    IDbits = Bits(4, 0)
    InnerCache = Bits(9, 7)
    Shareability = Bits(11, 10)
    Physical_Address = Address(51, 12)
    OuterCache = Bits(58, 56)


class GICR_PENDBASER(Word, bits=64):  # noqa: N801 - the architecture's name
    """Where the pending table is, a bit for each interrupt number."""

    InnerCache = Bits(9, 7)
    Shareability = Bits(11, 10)
    Physical_Address = Address(51, 16)
    OuterCache = Bits(58, 56)
    PTZ = Bits(62)


_PTZ = GICR_PENDBASER.mask("PTZ")


class Lpis:
    """``PROPBASER`` and ``PENDBASER`` are the registers; ``pending`` the numbers that wait."""

    def __init__(
        self, configuration: MemoryPort, pending: MemoryPort, report: Report = ignore
    ) -> None:
        self._configuration_port = configuration
        self._pending_port = pending
        self.report = report
        self.reset()

    def reset(self) -> None:
        """Power-on state."""
        self.enabled = False
        self.propbaser = self.pendbaser = 0
        self.pending: set[int] = set()
        self._configuration: dict[int, int] = {}
        self._candidates: list[tuple[int, int]] = []
        """A heap of (priority, number), among which are all that are pending and enabled."""

    # -- registers

    def write_propbaser(self, value: int) -> None:
        """Ignored while LPIs are enabled, where it is UNPREDICTABLE."""
        if not self.enabled:
            self.propbaser = value & GICR_PROPBASER.mask()

    def write_pendbaser(self, value: int) -> None:
        """Likewise. PTZ reads as zero, but counts until LPIs are enabled."""
        if not self.enabled:
            self.pendbaser = value & GICR_PENDBASER.mask()

    def enable(self, enabled: bool) -> None:
        """GICR_CTLR.EnableLPIs. Enabling looks into the pending table, unless PTZ tells that it
        is all zero."""
        if enabled == self.enabled:
            return
        self.enabled = enabled
        self._configuration.clear()
        self._candidates.clear()
        self.pending.clear()
        if enabled and not self.pendbaser & _PTZ:
            self._load_pending()
        self.pendbaser &= ~_PTZ

    @property
    def end(self) -> int:
        """The number after the last LPI that the tables have room for."""
        return 1 << min(GICR_PROPBASER(self.propbaser).IDbits + 1, LPI_BITS)

    def _load_pending(self) -> None:
        first = FIRST_LPI // 8
        base, size = self._pending_base + first, self.end // 8 - first
        data = _read(self._pending_port, base, size) if size > 0 else b""
        if data is None:
            self.report(0, f"no LPI pending table at {base:#x}")
            return
        bits = int.from_bytes(data, "little")
        while bits:
            number = FIRST_LPI + (bits & -bits).bit_length() - 1
            self.pending.add(number)
            self._consider(number)
            bits &= bits - 1

    # -- state

    def exists(self, number: int) -> bool:
        """Whether this is the number of an LPI now."""
        return FIRST_LPI <= number < self.end

    def set_pending(self, number: int) -> None:
        """A message came for this LPI; lost while LPIs are off."""
        if self.enabled and self.exists(number) and number not in self.pending:
            self.pending.add(number)
            self._store(number)
            self._consider(number)

    def clear_pending(self, number: int) -> None:
        """It was taken, or software wants it to be forgotten."""
        if number in self.pending:
            self.pending.remove(number)
            self._store(number)

    def invalidate(self, number: int) -> None:
        """Read the configuration of this LPI anew."""
        self._configuration.pop(number, None)
        if number in self.pending:
            self._consider(number)

    def invalidate_all(self) -> None:
        """Read all configuration anew."""
        self._configuration.clear()
        self._candidates.clear()
        for number in self.pending:
            self._consider(number)

    def best(self) -> tuple[int, int]:
        """(priority, number) of the first LPI that waits."""
        candidates = self._candidates
        while candidates:
            priority, number = candidates[0]
            if number in self.pending and self._configure(number) == priority | _ENABLED:
                return candidates[0]
            heappop(candidates)  # taken, or configured otherwise since then
        return IDLE_PRIORITY, SPURIOUS

    def _consider(self, number: int) -> None:
        """A pending LPI may be a candidate."""
        candidates, configuration = self._candidates, self._configure(number)
        if len(candidates) > 2 * len(self.pending) + _SLACK:
            candidates[:] = sorted({one for one in candidates if one[1] in self.pending})
        if configuration & _ENABLED:
            heappush(candidates, (configuration & _PRIORITY, number))

    def _configure(self, number: int) -> int:
        known = self._configuration.get(number)
        if known is not None:
            return known
        base = GICR_PROPBASER(self.propbaser).Physical_Address
        data = _read(self._configuration_port, base + number - FIRST_LPI, 1)
        if data is None:
            self.report(0, f"no LPI configuration table at {base:#x}")
        value = data[0] & (_PRIORITY | _ENABLED) if data else 0
        self._configuration[number] = value
        return value

    @property
    def _pending_base(self) -> int:
        return GICR_PENDBASER(self.pendbaser).Physical_Address

    def _store(self, number: int) -> None:
        """Write the byte of the pending table that has this LPI's bit."""
        at, first = self._pending_base + number // 8, number & ~7
        byte = sum((first + n in self.pending) << n for n in range(8))
        port = self._pending_port
        if not port.memory.find_ram(at, 1) or not port.write(at, bytes([byte])):
            self.report(0, f"no LPI pending table at {self._pending_base:#x}")


def _read(port: MemoryPort, at: int, size: int) -> bytes | None:
    return port.read(at, size) if port.memory.find_ram(at, size) else None
