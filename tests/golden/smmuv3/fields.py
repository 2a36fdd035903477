# SPDX-License-Identifier: GPL-2.0-or-later
"""Words that software leaves in memory for an SMMUv3: STE, CD, commands, descriptors.

Positions are those of IHI 0070 sections 5.2 (STE), 5.4 (CD), 4 (commands) and of DDI 0487 D8.3
(descriptors); every word is 64 bits wide and little-endian. Declared here a second time, on
purpose: the witness shares nothing with the device.
"""

from __future__ import annotations

import struct

MASK64 = (1 << 64) - 1

STE_BYTES = 64
CD_BYTES = 64
COMMAND_BYTES = 16
EVENT_BYTES = 32

OUTPUT_BITS = (32, 36, 40, 42, 44, 48, 52, 52)  # IDR5.OAS, CD.IPS, STE.S2PS encodings
GRANULE_LG2_0 = {0: 12, 1: 16, 2: 14}  # CD.TG0, STE.S2TG
GRANULE_LG2_1 = {1: 14, 2: 12, 3: 16}  # CD.TG1


def bits(word: int, low: int, width: int) -> int:
    """Return the ``width`` bits of ``word`` that start at bit ``low``."""
    return word >> low & (1 << width) - 1


def low_mask(width: int) -> int:
    """Return a mask of the ``width`` lowest bits."""
    return (1 << width) - 1


class Ste:
    """A stream table entry. Spec: IHI 0070 5.2."""

    __slots__ = ("words",)

    def __init__(self, raw: bytes) -> None:
        self.words: tuple[int, ...] = struct.unpack("<8Q", raw)

    valid = property(lambda self: bits(self.words[0], 0, 1))
    config = property(lambda self: bits(self.words[0], 1, 3))
    s1_context_ptr = property(lambda self: self.words[0] & low_mask(56) & ~0x3F)
    s1_cd_max = property(lambda self: bits(self.words[0], 59, 5))
    s1_stalld = property(lambda self: bits(self.words[1], 27, 1))
    s2_vmid = property(lambda self: bits(self.words[2], 0, 16))
    s2_t0sz = property(lambda self: bits(self.words[2], 32, 6))
    s2_sl0 = property(lambda self: bits(self.words[2], 38, 2))
    s2_tg = property(lambda self: bits(self.words[2], 46, 2))
    s2_ps = property(lambda self: bits(self.words[2], 48, 3))
    s2_aa64 = property(lambda self: bits(self.words[2], 51, 1))
    s2_endi = property(lambda self: bits(self.words[2], 52, 1))
    s2_affd = property(lambda self: bits(self.words[2], 53, 1))
    s2_ptw = property(lambda self: bits(self.words[2], 54, 1))
    s2_hd = property(lambda self: bits(self.words[2], 55, 1))
    s2_ha = property(lambda self: bits(self.words[2], 56, 1))
    s2_s = property(lambda self: bits(self.words[2], 57, 1))
    s2_r = property(lambda self: bits(self.words[2], 58, 1))
    s2_ttb = property(lambda self: self.words[3] & low_mask(52) & ~0xF)


class Cd:
    """A context descriptor; ``half`` is 0 for TTB0's region, 1 for TTB1's. Spec: IHI 0070 5.4."""

    __slots__ = ("words",)

    def __init__(self, raw: bytes) -> None:
        self.words: tuple[int, ...] = struct.unpack("<8Q", raw)

    endi = property(lambda self: bits(self.words[0], 15, 1))
    valid = property(lambda self: bits(self.words[0], 31, 1))
    ips = property(lambda self: bits(self.words[0], 32, 3))
    affd = property(lambda self: bits(self.words[0], 35, 1))
    aa64 = property(lambda self: bits(self.words[0], 41, 1))
    hd = property(lambda self: bits(self.words[0], 42, 1))
    ha = property(lambda self: bits(self.words[0], 43, 1))
    s = property(lambda self: bits(self.words[0], 44, 1))
    r = property(lambda self: bits(self.words[0], 45, 1))
    a = property(lambda self: bits(self.words[0], 46, 1))
    asid = property(lambda self: bits(self.words[0], 48, 16))
    aset = property(lambda self: bits(self.words[0], 47, 1))

    def tsz(self, half: int) -> int:
        return bits(self.words[0], 16 * half, 6)

    def granule(self, half: int) -> int | None:
        """Return the granule's log2, or None where TG is reserved."""
        field = bits(self.words[0], 16 * half + 6, 2)
        return (GRANULE_LG2_1 if half else GRANULE_LG2_0).get(field)

    def epd(self, half: int) -> int:
        return bits(self.words[0], 16 * half + 14, 1)

    def tbi(self, half: int) -> int:
        return bits(self.words[0], 38 + half, 1)

    def had(self, half: int) -> int:
        return bits(self.words[1 + half], 1, 1)

    def ttb(self, half: int) -> int:
        return self.words[1 + half] & low_mask(52) & ~0xF


class Command:
    """A command queue entry. Spec: IHI 0070 4.1 to 4.8."""

    __slots__ = ("high", "low")

    def __init__(self, raw: bytes) -> None:
        self.low, self.high = struct.unpack("<2Q", raw)

    opcode = property(lambda self: bits(self.low, 0, 8))
    ssec = property(lambda self: bits(self.low, 10, 1))
    substream_id = property(lambda self: bits(self.low, 12, 20))
    num = property(lambda self: bits(self.low, 12, 5))
    scale = property(lambda self: bits(self.low, 20, 5))
    completion = property(lambda self: bits(self.low, 12, 2))  # CMD_SYNC.CS
    stream_id = property(lambda self: bits(self.low, 32, 32))
    vmid = property(lambda self: bits(self.low, 32, 16))
    asid = property(lambda self: bits(self.low, 48, 16))
    ttl = property(lambda self: bits(self.high, 8, 2))
    tg = property(lambda self: bits(self.high, 10, 2))
    range = property(lambda self: bits(self.high, 0, 5))  # CMD_CFGI_STE_RANGE.Range
    address = property(lambda self: self.high & ~0xFFF)


def level_shift(level: int, granule: int) -> int:
    """Return the log2 of the bytes that one entry at ``level`` maps."""
    return granule + (3 - level) * (granule - 3)


def start_level(input_bits: int, granule: int) -> int:
    """Return the level at which ``input_bits`` of address fit one table. Spec: DDI 0487 D8.2."""
    return 4 - (input_bits - 4) // (granule - 3)
