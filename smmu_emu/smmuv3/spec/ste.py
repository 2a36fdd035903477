# SPDX-License-Identifier: GPL-2.0-or-later
"""Stream table: level-1 descriptors and Stream Table Entries, declared only.

Spec: IHI 0070 5.1 (L1STD), 5.2 (STE). Fields of SMMUv3.3 and later, of the Secure and Realm states
and of MPAM are not declared.
"""

from __future__ import annotations

from enum import IntEnum

from smmu_emu.bits import Address, Bits, Word

STE_SIZE = 64
L1STD_SIZE = 8


class L1STD(Word, bits=64):
    """Level-1 stream table descriptor. Spec: 5.1."""

    Span = Bits(4, 0)
    L2Ptr = Address(55, 6)


class Config(IntEnum):
    """STE.Config; 0b0xx is ABORT. Spec: 5.2."""

    ABORT = 0b000
    BYPASS = 0b100
    STAGE1 = 0b101
    STAGE2 = 0b110
    NESTED = 0b111


class StreamWorld(IntEnum):
    """Values of STE.STRW in the Non-secure stream table. Spec: 5.2 STRW."""

    EL1 = 0
    EL2 = 2


class DefaultSubstream(IntEnum):
    """STE.S1DSS; 3 behaves as TERMINATE. Spec: 5.2 S1DSS."""

    TERMINATE = 0
    BYPASS = 1
    SUBSTREAM0 = 2


class AtsMode(IntEnum):
    """STE.EATS; 3 acts as OFF without device permission tables. Spec: 5.2 EATS."""

    OFF = 0
    FULL = 1
    SPLIT = 2


class STE(Word, bits=512):
    """Stream Table Entry; bit positions count through all 64 bytes, as in the specification."""

    V = Bits(0)
    Config = Bits(3, 1)
    S1Fmt = Bits(5, 4)
    S1ContextPtr = Address(55, 6)
    S1CDMax = Bits(63, 59)
    S1DSS = Bits(65, 64)
    S1CIR = Bits(67, 66)
    S1COR = Bits(69, 68)
    S1CSH = Bits(71, 70)
    S2HWU = Bits(75, 72)
    DRE = Bits(76)
    CONT = Bits(80, 77)
    DCP = Bits(81)
    PPAR = Bits(82)
    MEV = Bits(83)
    SW_RESERVED = Bits(87, 84)
    S2FWB = Bits(89)
    S1MPAM = Bits(90)
    S1STALLD = Bits(91)
    EATS = Bits(93, 92)
    STRW = Bits(95, 94)
    MemAttr = Bits(99, 96)
    MTCFG = Bits(100)
    ALLOCCFG = Bits(104, 101)
    SHCFG = Bits(109, 108)
    NSCFG = Bits(111, 110)
    PRIVCFG = Bits(113, 112)
    INSTCFG = Bits(115, 114)
    S2VMID = Bits(143, 128)
    S2T0SZ = Bits(165, 160)
    S2SL0 = Bits(167, 166)
    S2IR0 = Bits(169, 168)
    S2OR0 = Bits(171, 170)
    S2SH0 = Bits(173, 172)
    S2TG = Bits(175, 174)
    S2PS = Bits(178, 176)
    S2AA64 = Bits(179)
    S2ENDI = Bits(180)
    S2AFFD = Bits(181)
    S2PTW = Bits(182)
    S2HD = Bits(183)
    S2HA = Bits(184)
    S2S = Bits(185)
    S2R = Bits(186)
    S2TTB = Address(243, 196)
