# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3's redistributor of one core: LPIs, and what software sees of SGIs and PPIs.

Spec: Arm IHI 0069 12.10, 12.11. Two frames of 64 KiB: RD_base, SGI_base. It forwards nothing to
the core while GICR_WAKER.ProcessorSleep is 1, which it is after reset. Left out: LPIs without an
ITS (DirectLPI), virtual LPIs, power management beyond GICR_WAKER.
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
from smmu_emu.devices.gicv3_interrupts import PRIVATE, SETS, Interrupts
from smmu_emu.devices.gicv3_lpi import Lpis
from smmu_emu.devices.reporter import Report, ignore

FRAME = 0x1_0000
SIZE = 2 * FRAME


class GICR_CTLR(Word, bits=32):  # noqa: N801 - the architecture's name
    """Redistributor control."""

    EnableLPIs = Bits(0)


class GICR_TYPER(Word, bits=64):  # noqa: N801 - the architecture's name
    """What there is: LPIs, and this is the last redistributor."""

    PLPIS = Bits(0)
    Last = Bits(4)
    Processor_Number = Bits(23, 8)
    Affinity_Value = Bits(63, 32)


class GICR_WAKER(Word, bits=32):  # noqa: N801 - the architecture's name
    """Whether the core takes part."""

    ProcessorSleep = Bits(1)
    ChildrenAsleep = Bits(2)


_SLEEP = GICR_WAKER.mask("ProcessorSleep")
_ASLEEP = GICR_WAKER.mask("ProcessorSleep", "ChildrenAsleep")
_ENABLE_LPIS = GICR_CTLR.mask("EnableLPIs")
_WIDE = ("TYPER", "PROPBASER", "PENDBASER")

RANGES = (
    Range("CTLR", 0x0000, 0x0004),
    Range("IIDR", 0x0004, 0x0008),
    Range("TYPER", 0x0008, 0x0010),
    Range("STATUSR", 0x0010, 0x0014),
    Range("WAKER", 0x0014, 0x0018),
    Range("PROPBASER", 0x0070, 0x0078),
    Range("PENDBASER", 0x0078, 0x0080),
    Range("PIDR", 0xFFD0, 0x1_0000),
    *(Range(r.name, FRAME + r.first, FRAME + r.end) for r in COMMON),
    Range("IGRPMODR", FRAME + 0xD00, FRAME + 0xD04),
    Range("NSACR", FRAME + 0xE00, FRAME + 0xE04),
)
_IDENTIFICATION = identification(0x93)
_OWN = (*SETS, "IPRIORITYR", "ICFGR")


class Redistributor(RegisterFrame):
    """The registers; ``asleep`` is what GICR_WAKER says."""

    ranges = by_word(RANGES)

    def __init__(self, interrupts: Interrupts, lpis: Lpis, report: Report = ignore) -> None:
        super().__init__(interrupts, report)
        self.lpis = lpis
        self.asleep = True

    def reset(self) -> None:
        """Power-on state, without that of the interrupts."""
        self.lpis.reset()
        self.asleep = True

    def sizes_of(self, name: str) -> tuple[int, ...]:
        """Bytes that an access to registers of one kind may have."""
        return (1, 4) if name == "IPRIORITYR" else (4, 8) if name in _WIDE else (4,)

    def _read(self, name: str, at: int, size: int) -> int:
        if name in _OWN:
            if at >= _room(name):
                return 0
            if name == "IPRIORITYR":
                return self.interrupts.read_priorities(at, size, PRIVATE)
            if name == "ICFGR":
                return self.interrupts.read_edges(at, PRIVATE)
            return self.interrupts.read_set(name, at, PRIVATE)
        return self._value(name) >> 8 * at

    def _value(self, name: str) -> int:
        """The whole of a register that is not about SGIs and PPIs."""
        match name:
            case "CTLR":
                return self.lpis.enabled * _ENABLE_LPIS
            case "TYPER":
                return TYPER
            case "WAKER":
                return self.asleep * _ASLEEP
            case "PROPBASER":
                return self.lpis.propbaser
            case "PENDBASER":
                return self.lpis.pendbaser & ~(1 << 62)
            case "PIDR":
                return _IDENTIFICATION
            case "IIDR":
                return PRODUCT
        return 0

    def _write(self, name: str, at: int, size: int, value: int) -> None:
        if name in SETS:
            self.interrupts.write_set(name, at, value, PRIVATE)
        elif name == "IPRIORITYR":
            self.interrupts.write_priorities(at, size, value, PRIVATE)
        elif name == "ICFGR":
            self.interrupts.write_edges(at, value, PRIVATE)
        elif name == "CTLR":
            self.lpis.enable(bool(value & _ENABLE_LPIS))
        elif name == "WAKER":
            self.asleep = bool(value & _SLEEP)
        elif name == "PROPBASER":
            self.lpis.write_propbaser(_merge(self.lpis.propbaser, at, size, value))
        elif name == "PENDBASER":
            self.lpis.write_pendbaser(_merge(self.lpis.pendbaser, at, size, value))


TYPER = GICR_TYPER.make(PLPIS=1, Last=1).value


def _room(name: str) -> int:
    """Bytes that the registers of a kind take for 32 interrupts."""
    return {"IPRIORITYR": 32, "ICFGR": 8}.get(name, 4)


def _merge(old: int, at: int, size: int, value: int) -> int:
    window = (1 << 8 * size) - 1 << 8 * at
    return old & ~window | value << 8 * at & window
