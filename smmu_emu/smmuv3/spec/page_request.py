# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of the PRI queue, declared only: 16 bytes each, little-endian.

Spec: IHI 0070 8.
"""

from __future__ import annotations

from smmu_emu.bits import Address, Bits, Word

PAGE_REQUEST_SIZE = 16


class PageRequestRecord(Word, bits=128):
    """A page request, or a Stop PASID marker (R, W, Last = 0, 0, 1 with a SubstreamID)."""

    StreamID = Bits(31, 0)
    SubstreamID = Bits(51, 32)
    Priv = Bits(58)
    X = Bits(59)
    R = Bits(60)
    W = Bits(61)
    Last = Bits(62)
    SSV = Bits(63)
    PRGIndex = Bits(72, 64)
    Address = Address(127, 76)
