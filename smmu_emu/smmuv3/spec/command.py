# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands, declared only: 16 bytes each, little-endian.

Spec: IHI 0070 4.1 to 4.7. One class a layout; opcodes that share a layout share the class. Commands
of SMMUv3.3 and later are not declared.
"""

from __future__ import annotations

from enum import IntEnum

from smmu_emu.bits import Address, Bits, Word

COMMAND_SIZE = 16


class Opcode(IntEnum):
    """Bits [7:0] of a command. Spec: 4.1.1."""

    PREFETCH_CONFIG = 0x01
    PREFETCH_ADDR = 0x02
    CFGI_STE = 0x03
    CFGI_STE_RANGE = 0x04
    CFGI_CD = 0x05
    CFGI_CD_ALL = 0x06
    CFGI_VMS_PIDM = 0x07
    TLBI_NH_ALL = 0x10
    TLBI_NH_ASID = 0x11
    TLBI_NH_VA = 0x12
    TLBI_NH_VAA = 0x13
    TLBI_EL3_ALL = 0x18
    TLBI_EL3_VA = 0x1A
    TLBI_EL2_ALL = 0x20
    TLBI_EL2_ASID = 0x21
    TLBI_EL2_VA = 0x22
    TLBI_EL2_VAA = 0x23
    TLBI_S12_VMALL = 0x28
    TLBI_S2_IPA = 0x2A
    TLBI_NSNH_ALL = 0x30
    ATC_INV = 0x40
    PRI_RESP = 0x41
    RESUME = 0x44
    STALL_TERM = 0x45
    SYNC = 0x46


class CommandError(IntEnum):
    """CMDQ_CONS.ERR. Spec: 6.3.28, 7.1."""

    NONE = 0
    ILL = 1
    ABT = 2
    ATC_INV_SYNC = 3


class Prefetch(Word, bits=128):
    """PREFETCH_CONFIG and the head of PREFETCH_ADDR. Spec: 4.2."""

    Opcode = Bits(7, 0)
    SSec = Bits(10)
    SSV = Bits(11)
    SubstreamID = Bits(31, 12)
    StreamID = Bits(63, 32)


class ConfigInvalidate(Word, bits=128):
    """CFGI_STE, CFGI_CD and CFGI_CD_ALL. Spec: 4.3.1, 4.3.3, 4.3.4."""

    Opcode = Bits(7, 0)
    SSec = Bits(10)
    SubstreamID = Bits(31, 12)
    StreamID = Bits(63, 32)
    Leaf = Bits(64)


class ConfigInvalidateRange(Word, bits=128):
    """CFGI_STE_RANGE and, with Range 31, CFGI_ALL. Spec: 4.3.2, 4.3.6."""

    Opcode = Bits(7, 0)
    SSec = Bits(10)
    StreamID = Bits(63, 32)
    Range = Bits(68, 64)


class TlbInvalidate(Word, bits=128):
    """Every TLBI; each uses some of the fields. Spec: 4.4, range fields 4.4.1.1."""

    Opcode = Bits(7, 0)
    NUM = Bits(16, 12)
    SCALE = Bits(24, 20)
    VMID = Bits(47, 32)
    ASID = Bits(63, 48)
    Leaf = Bits(64)
    TTL = Bits(73, 72)
    TG = Bits(75, 74)
    Address = Address(127, 76)


class AtcInvalidate(Word, bits=128):
    """ATC_INV. Spec: 4.5.1."""

    Opcode = Bits(7, 0)
    Global = Bits(9)
    SSV = Bits(11)
    SubstreamID = Bits(31, 12)
    StreamID = Bits(63, 32)
    Size = Bits(69, 64)
    Address = Address(127, 76)


class PriResponse(Word, bits=128):
    """PRI_RESP. Spec: 4.5.2."""

    Opcode = Bits(7, 0)
    SSV = Bits(11)
    SubstreamID = Bits(31, 12)
    StreamID = Bits(63, 32)
    PRGIndex = Bits(72, 64)
    Resp = Bits(77, 76)


class Resume(Word, bits=128):
    """RESUME; STALL_TERM uses its head. Spec: 4.7.1, 4.7.2."""

    Opcode = Bits(7, 0)
    SSec = Bits(10)
    Ac = Bits(12)
    Ab = Bits(13)
    StreamID = Bits(63, 32)
    STAG = Bits(79, 64)


class Sync(Word, bits=128):
    """CMD_SYNC. Spec: 4.7.3."""

    Opcode = Bits(7, 0)
    CS = Bits(13, 12)
    MSH = Bits(23, 22)
    MSIAttr = Bits(27, 24)
    MSIData = Bits(63, 32)
    MSIAddress = Address(119, 66)


class SyncSignal(IntEnum):
    """CMD_SYNC.CS: how completion is told. Spec: 4.7.3."""

    NONE = 0
    IRQ = 1
    SEV = 2
