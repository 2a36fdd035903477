# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3's distributor: what software sees of SPIs, and where they are routed.

Spec: Arm IHI 0069 12.8, 12.9. One Security state (GICD_CTLR.DS is 1 for ever) and affinity routing
always (ARE is 1): what belongs to a core is in its redistributor. Registers have words of 32 bits,
priorities also bytes, routes also 64 bits. Left out: message-based SPIs, extended SPIs, 1 of N.
"""

from __future__ import annotations

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.gicv3_frame import (
    COMMON,
    PRODUCT,
    Range,
    RegisterFrame,
    by_word,
    identification,
)
from smmu_emu.devices.gicv3_interrupts import FIRST_SPI, INTERRUPTS, SETS, SHARED, Interrupts
from smmu_emu.devices.reporter import Report, ignore

SIZE = 0x1_0000
LPI_BITS = 16
"""Bits of an interrupt's number, LPIs included."""


class GICD_CTLR(Word, bits=32):  # noqa: N801 - the architecture's name
    """Distributor control, with one Security state."""

    EnableGrp0 = Bits(0)
    EnableGrp1 = Bits(1)
    ARE = Bits(4)
    DS = Bits(6)


class GICD_TYPER(Word, bits=32):  # noqa: N801 - the architecture's name
    """What there is."""

    ITLinesNumber = Bits(4, 0)
    LPIS = Bits(17)
    IDbits = Bits(23, 19)
    A3V = Bits(24)
    No1N = Bits(25)


RANGES = (
    Range("CTLR", 0x0000, 0x0004),
    Range("TYPER", 0x0004, 0x0008),
    Range("IIDR", 0x0008, 0x000C),
    Range("TYPER2", 0x000C, 0x0010),
    Range("STATUSR", 0x0010, 0x0014),
    *COMMON,
    Range("ITARGETSR", 0x0800, 0x0C00),
    Range("IGRPMODR", 0x0D00, 0x0D80),
    Range("NSACR", 0x0E00, 0x0F00),
    Range("SGIR", 0x0F00, 0x0F04),
    Range("CPENDSGIR", 0x0F10, 0x0F20),
    Range("SPENDSGIR", 0x0F20, 0x0F30),
    Range("IROUTER", 0x6000 + 8 * FIRST_SPI, 0x6000 + 8 * INTERRUPTS),
    Range("PIDR", 0xFFD0, 0x1_0000),
)
"""Those that are neither `COMMON` nor handled below read as zero and ignore writes."""

_AFFINITY = 0xFF_00FF_FFFF
_CONSTANT_BITS = GICD_CTLR.mask("ARE", "DS")
_WRITABLE = GICD_CTLR.mask("EnableGrp0", "EnableGrp1")


_IDENTIFICATION = identification(0x92)


class Distributor(RegisterFrame):
    """The registers; ``groups`` are those that are enabled, a bit each."""

    ranges = by_word(RANGES)

    def __init__(self, interrupts: Interrupts, report: Report = ignore) -> None:
        super().__init__(interrupts, report)
        self.groups = 0
        self._routes = [0] * INTERRUPTS

    def reset(self) -> None:
        """Power-on state, without that of the interrupts."""
        self.groups = 0
        self._routes = [0] * INTERRUPTS

    def sizes_of(self, name: str) -> tuple[int, ...]:
        """Bytes that an access to registers of one kind may have."""
        return {"IPRIORITYR": (1, 4), "IROUTER": (4, 8)}.get(name, (4,))

    def _read(self, name: str, at: int, size: int) -> int:
        if name in SETS:
            return self.interrupts.read_set(name, at, SHARED)
        if name == "IPRIORITYR":
            return self.interrupts.read_priorities(at, size, SHARED)
        if name == "ICFGR":
            return self.interrupts.read_edges(at, SHARED)
        if name == "IROUTER":
            return self._routes[FIRST_SPI + at // 8] >> 8 * (at & 4)
        if name == "PIDR":
            return _IDENTIFICATION >> 8 * at
        return {"CTLR": self.groups | _CONSTANT_BITS, "TYPER": TYPER, "IIDR": PRODUCT}.get(name, 0)

    def _write(self, name: str, at: int, size: int, value: int) -> None:
        if name in SETS:
            self.interrupts.write_set(name, at, value, SHARED)
        elif name == "IPRIORITYR":
            self.interrupts.write_priorities(at, size, value, SHARED)
        elif name == "ICFGR":
            self.interrupts.write_edges(at, value, SHARED)
        elif name == "IROUTER":
            self._route(FIRST_SPI + at // 8, at & 4, size, value)
        elif name == "CTLR":
            self.groups = value & _WRITABLE

    def _route(self, number: int, at: int, size: int, value: int) -> None:
        """Only affinity 0.0.0.0 is anybody's. Spec: 12.9 (GICD_IROUTER)."""
        window = (1 << 8 * size) - 1 << 8 * at
        self._routes[number] = (self._routes[number] & ~window | value << 8 * at) & _AFFINITY
        elsewhere = self.interrupts.elsewhere & ~(1 << number)
        self.interrupts.elsewhere = elsewhere | bool(self._routes[number]) << number


TYPER = GICD_TYPER.make(
    ITLinesNumber=INTERRUPTS // 32 - 1, LPIS=1, IDbits=LPI_BITS - 1, A3V=1, No1N=1
).value
