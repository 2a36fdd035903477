# SPDX-License-Identifier: GPL-2.0-or-later
"""Performance Monitor Counter Groups: offsets, fields and events, declared once.

Spec: IHI 0070 10.3 (events), 10.5 (registers). Of registers that exist with Secure state, Realm
state or MPAM alone, only the place is declared.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from smmu_emu.bits import Address, Bits, Word

PAGE_SIZE = 0x1000
"""Pages 0 and 1 are 4 KiB each (10.5)."""

COUNTER_BITS = (32, 36, 40, 44, 48, 64)
"""Sizes that a counter can have; CFGR.SIZE is one less (10.5.2.13)."""
MOST_COUNTERS = 64


class MonitorEvent(IntEnum):
    """Architected events. All but CYCLE can be filtered by StreamID. Spec: 10.3."""

    CYCLE = 0
    TRANSACTION = 1
    TLB_MISS = 2
    CONFIG_MISS = 3
    WALK_ACCESS = 4
    CONFIG_ACCESS = 5
    ATS_REQUEST = 6
    ATS_TRANSLATED = 7


class EVTYPER(Word, bits=32):
    """What a counter counts. Spec: 10.5.2.2."""

    EVENT = Bits(15, 0)
    FILTER_PARTID = Bits(16)
    FILTER_PMG = Bits(17)
    FILTER_MPAM_SP = Bits(19, 18)
    FILTER_REALM_SID = Bits(28)
    FILTER_SID_SPAN = Bits(29)
    FILTER_SEC_SID = Bits(30)
    OVFCAP = Bits(31)


class CAPR(Word, bits=32):
    """Captures all counters when written. Spec: 10.5.2.11."""

    CAPTURE = Bits(0)


class CFGR(Word, bits=32):
    """What the group has. Spec: 10.5.2.13."""

    NCTR = Bits(5, 0)
    SIZE = Bits(13, 8)
    RELOC_CTRS = Bits(20)
    MSI = Bits(21)
    CAPTURE = Bits(22)
    SID_FILTER_TYPE = Bits(23)
    MPAM = Bits(24)
    FILTER_PARTID_PMG = Bits(25)


class CR(Word, bits=32):
    """Enables the whole group. Spec: 10.5.2.14."""

    E = Bits(0)


class IIDR(Word, bits=32):
    """Who made the group; zero says that the register is not there. Spec: 10.5.2.15."""

    Implementer = Bits(11, 0)
    Revision = Bits(15, 12)
    Variant = Bits(19, 16)
    ProductID = Bits(31, 20)


class IRQ_CTRL(Word, bits=32):  # noqa: N801
    """Interrupt enable. IRQ_CTRLACK has the same layout. Spec: 10.5.2.19, 10.5.2.20."""

    IRQEN = Bits(0)


class IRQ_CFG0(Word, bits=64):  # noqa: N801
    """Address of the MSI. Spec: 10.5.2.21."""

    ADDR = Address(55, 2)


class IRQ_CFG2(Word, bits=32):  # noqa: N801
    """Attributes of the MSI. Spec: 10.5.2.23."""

    MEMATTR = Bits(3, 0)
    SH = Bits(5, 4)


class IRQ_STATUS(Word, bits=32):  # noqa: N801
    """What became of MSIs; from v3.1 on. Spec: 10.5.2.24."""

    IRQ_ABT = Bits(0)


class AIDR(Word, bits=32):
    """Architecture version of the group. Spec: 10.5.2.26."""

    ArchMinorRev = Bits(3, 0)
    ArchMajorRev = Bits(7, 4)


class PIDR1(Word, bits=32):
    """Peripheral ID. Spec: 10.5.2.29."""

    PART_1 = Bits(3, 0)
    DES_0 = Bits(7, 4)


class PIDR2(Word, bits=32):
    """Peripheral ID; JEDEC is always 1. Spec: 10.5.2.29."""

    DES_1 = Bits(2, 0)
    JEDEC = Bits(3)
    REVISION = Bits(7, 4)


class PIDR3(Word, bits=32):
    """Peripheral ID. Spec: 10.5.2.29."""

    CMOD = Bits(3, 0)
    REVAND = Bits(7, 4)


class PIDR4(Word, bits=32):
    """Peripheral ID. Spec: 10.5.2.29."""

    DES_2 = Bits(3, 0)
    SIZE = Bits(7, 4)


PMDEVARCH_VALUE = 0x4770_2A56
PMDEVTYPE_VALUE = 0x56
CIDR_VALUES = (0x0D, 0x90, 0x05, 0xB1)
"""Fixed parts of the identification block. Spec: 10.5.2.29."""


class Register(NamedTuple):
    """One register of page 0: where it is and how wide, in bytes."""

    name: str
    offset: int
    size: int


class Array(NamedTuple):
    """One register a counter, from ``offset`` on; ``size`` in bytes.

    None is the size of a counter: 4 up to 32 bits, else 8.
    """

    name: str
    offset: int
    size: int | None


ARRAYS = (
    Array("EVCNTR", 0x000, None),
    Array("EVTYPER", 0x400, 4),
    Array("SVR", 0x600, None),
    Array("SMR", 0xA00, 4),
)

REGISTERS = (
    Register("CNTENSET0", 0xC00, 8),
    Register("CNTENCLR0", 0xC20, 8),
    Register("INTENSET0", 0xC40, 8),
    Register("INTENCLR0", 0xC60, 8),
    Register("OVSCLR0", 0xC80, 8),
    Register("OVSSET0", 0xCC0, 8),
    Register("CAPR", 0xD88, 4),
    Register("SCR", 0xDF8, 4),
    Register("CFGR", 0xE00, 4),
    Register("CR", 0xE04, 4),
    Register("IIDR", 0xE08, 4),
    Register("CEID0", 0xE20, 8),
    Register("CEID1", 0xE28, 8),
    Register("SCR_ALIAS", 0xE40, 4),
    Register("ROOTCR", 0xE48, 4),
    Register("IRQ_CTRL", 0xE50, 4),
    Register("IRQ_CTRLACK", 0xE54, 4),
    Register("IRQ_CFG0", 0xE58, 8),
    Register("IRQ_CFG1", 0xE60, 4),
    Register("IRQ_CFG2", 0xE64, 4),
    Register("IRQ_STATUS", 0xE68, 4),
    Register("GMPAM", 0xE6C, 4),
    Register("AIDR", 0xE70, 4),
    Register("MPAMIDR", 0xE74, 4),
    Register("S_MPAMIDR", 0xE78, 4),
    Register("PMDEVARCH", 0xFBC, 4),
    Register("PMDEVTYPE", 0xFCC, 4),
    Register("PIDR4", 0xFD0, 4),
    Register("PIDR5", 0xFD4, 4),
    Register("PIDR6", 0xFD8, 4),
    Register("PIDR7", 0xFDC, 4),
    Register("PIDR0", 0xFE0, 4),
    Register("PIDR1", 0xFE4, 4),
    Register("PIDR2", 0xFE8, 4),
    Register("PIDR3", 0xFEC, 4),
    Register("CIDR0", 0xFF0, 4),
    Register("CIDR1", 0xFF4, 4),
    Register("CIDR2", 0xFF8, 4),
    Register("CIDR3", 0xFFC, 4),
)
"""Registers of which a group has one, by their place in page 0."""

RELOCATED = ("EVCNTR", "SVR", "OVSCLR0", "OVSSET0", "CAPR")
"""Registers and arrays that are in page 1, at the same offsets, if there is one (10.5.1)."""
