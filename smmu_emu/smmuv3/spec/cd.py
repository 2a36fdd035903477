# SPDX-License-Identifier: GPL-2.0-or-later
"""Context Descriptors and their level-1 table, declared only.

Spec: IHI 0070 5.3 (L1CD), 5.4 (CD). Fields of SMMUv3.3 and later and of MPAM are not declared.
"""

from __future__ import annotations

from smmu_emu.bits import Address, Bits, Word

CD_SIZE = 64

L1CD_SIZE = 8


class L1CD(Word, bits=64):
    """Level-1 context descriptor. Spec: 5.3."""

    V = Bits(0)
    L2Ptr = Address(55, 12)


class CD(Word, bits=512):
    """Context Descriptor; bit positions count through all 64 bytes, as in the specification."""

    T0SZ = Bits(5, 0)
    TG0 = Bits(7, 6)
    IR0 = Bits(9, 8)
    OR0 = Bits(11, 10)
    SH0 = Bits(13, 12)
    EPD0 = Bits(14)
    ENDI = Bits(15)
    T1SZ = Bits(21, 16)
    TG1 = Bits(23, 22)
    IR1 = Bits(25, 24)
    OR1 = Bits(27, 26)
    SH1 = Bits(29, 28)
    EPD1 = Bits(30)
    V = Bits(31)
    IPS = Bits(34, 32)
    AFFD = Bits(35)
    WXN = Bits(36)
    UWXN = Bits(37)
    TBI0 = Bits(38)
    TBI1 = Bits(39)
    PAN = Bits(40)
    AA64 = Bits(41)
    HD = Bits(42)
    HA = Bits(43)
    S = Bits(44)
    R = Bits(45)
    A = Bits(46)
    ASET = Bits(47)
    ASID = Bits(63, 48)
    NSCFG0 = Bits(64)
    HAD0 = Bits(65)
    TTB0 = Address(115, 68)
    HWU0 = Bits(127, 124)
    NSCFG1 = Bits(128)
    HAD1 = Bits(129)
    TTB1 = Address(179, 132)
    HWU1 = Bits(191, 188)
    MAIR0 = Bits(223, 192)
    MAIR1 = Bits(255, 224)
    AMAIR0 = Bits(287, 256)
    AMAIR1 = Bits(319, 288)
