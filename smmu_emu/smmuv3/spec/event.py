# SPDX-License-Identifier: GPL-2.0-or-later
"""Event records, declared only: 32 bytes each, little-endian.

Spec: IHI 0070 7.3, one section a record. All records share one layout in which each kind uses some
of the fields; `FIELDS_OF` says which. Records of SMMUv3.3 and later are not declared.
"""

from __future__ import annotations

from enum import IntEnum

from smmu_emu.bits import Address, Bits, Word

EVENT_SIZE = 32


class EventCode(IntEnum):
    """Event number, bits [7:0] of a record. Spec: 7.3.2 to 7.3.20."""

    F_UUT = 0x01
    C_BAD_STREAMID = 0x02
    F_STE_FETCH = 0x03
    C_BAD_STE = 0x04
    F_BAD_ATS_TREQ = 0x05
    F_STREAM_DISABLED = 0x06
    F_TRANSL_FORBIDDEN = 0x07
    C_BAD_SUBSTREAMID = 0x08
    F_CD_FETCH = 0x09
    C_BAD_CD = 0x0A
    F_WALK_EABT = 0x0B
    F_TRANSLATION = 0x10
    F_ADDR_SIZE = 0x11
    F_ACCESS = 0x12
    F_PERMISSION = 0x13
    F_TLB_CONFLICT = 0x20
    F_CFG_CONFLICT = 0x21
    E_PAGE_REQUEST = 0x24
    F_VMS_FETCH = 0x25


class FetchClass(IntEnum):
    """CLASS: what was being translated when the fault arose. Spec: 7.3.12, 7.3.13."""

    CD = 0
    TT = 1
    IN = 2


class EventRecord(Word, bits=256):
    """A record whose second address is a fetch address (physical, 8-byte aligned)."""

    Number = Bits(7, 0)
    SSV = Bits(11)
    SubstreamID = Bits(31, 12)
    StreamID = Bits(63, 32)
    STAG = Bits(79, 64)
    Stall = Bits(95)
    PnU = Bits(97)
    InD = Bits(98)
    RnW = Bits(99)
    S2 = Bits(103)
    CLASS = Bits(105, 104)
    TTRnW = Bits(108)
    InputAddr = Bits(191, 128)
    FetchAddr = Address(247, 195)


class IpaEventRecord(Word, bits=256):
    """The same record where the second address is an intermediate physical address, by 4 KiB."""

    Number = Bits(7, 0)
    SSV = Bits(11)
    SubstreamID = Bits(31, 12)
    StreamID = Bits(63, 32)
    STAG = Bits(79, 64)
    Stall = Bits(95)
    PnU = Bits(97)
    InD = Bits(98)
    RnW = Bits(99)
    S2 = Bits(103)
    CLASS = Bits(105, 104)
    TTRnW = Bits(108)
    InputAddr = Bits(191, 128)
    IPA = Address(247, 204)


class BadRequestRecord(Word, bits=256):
    """F_BAD_ATS_TREQ: what a translation request asked for, before overrides. Spec: 7.3.6."""

    Number = Bits(7, 0)
    SSV = Bits(11)
    SubstreamID = Bits(31, 12)
    StreamID = Bits(63, 32)
    Span = Bits(67, 64)
    Priv = Bits(92)
    X = Bits(93)
    W = Bits(94)
    R = Bits(95)
    InputAddr = Address(191, 140)


_FETCH = ("SSV", "SubstreamID", "StreamID", "FetchAddr")
_PLAIN = ("SSV", "SubstreamID", "StreamID")
_TRANSLATION = (
    *("SSV", "SubstreamID", "StreamID", "STAG", "Stall", "PnU", "InD", "RnW", "S2", "CLASS"),
    *("InputAddr", "IPA"),
)

FIELDS_OF: dict[int, tuple[str, ...]] = {
    EventCode.C_BAD_STREAMID: _PLAIN,
    EventCode.F_STE_FETCH: _FETCH,
    EventCode.C_BAD_STE: _PLAIN,
    EventCode.F_STREAM_DISABLED: ("StreamID",),
    EventCode.F_TRANSL_FORBIDDEN: ("StreamID", "RnW", "InputAddr"),
    EventCode.C_BAD_SUBSTREAMID: ("SubstreamID", "StreamID"),
    EventCode.F_CD_FETCH: _FETCH,
    EventCode.C_BAD_CD: _PLAIN,
    EventCode.F_WALK_EABT: (
        *("SSV", "SubstreamID", "StreamID", "PnU", "InD", "RnW", "S2", "CLASS"),
        *("InputAddr", "FetchAddr"),
    ),
    EventCode.F_TRANSLATION: _TRANSLATION,
    EventCode.F_ADDR_SIZE: _TRANSLATION,
    EventCode.F_ACCESS: _TRANSLATION,
    EventCode.F_PERMISSION: (*_TRANSLATION, "TTRnW"),
}
"""Fields that each kind of record carries besides its number; all other bits are zero.

F_BAD_ATS_TREQ has a layout of its own, `BadRequestRecord`.
"""
