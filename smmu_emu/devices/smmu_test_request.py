# SPDX-License-Identifier: GPL-2.0-or-later
"""What a pair of frames of Arm's SMMUv3TestEngine asks for: its fields, checks, order and data.

Reference: as `smmu_emu.devices.smmu_test_engine` says, which carries requests out.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from smmu_emu.bits import Bits, Word
from smmu_emu.port import PAGE

VECTORS = 2048
MOST_TRANSACTIONS = 1 << 20
NO_SUBSTREAM = 0xFFFF_FFFF
SUBSTREAM_BITS = 20
ASCENDING, DESCENDING = 0, 0xFFFF_FFFF
"""Seeds that mean an order; all others mean a random one."""
WORD = 0xFFFF_FFFF
ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF

_NOT_MEMORY = {4, 5, 8, 9, 12, 13}
"""Cacheability encodings that AMBA does not have."""
_DEVICE = 1
"""Up to here the outer encoding means device memory, and the inner one no cacheability."""

MULTIPLIER, INCREMENT, STATE = 0x5_DEEC_E66D, 0xB, (1 << 48) - 1
"""Of the generator, which is that of rand48; it takes two steps for each number."""
_TWICE = MULTIPLIER * MULTIPLIER, (MULTIPLIER + 1) * INCREMENT


class Command(IntEnum):
    """What ``cmd`` of a user frame asks for, and shows."""

    NO_FRAME = 0
    HALTED = 1
    MEMCPY = 2
    RAND48 = 3
    SUM64 = 4
    MISCONFIGURED = 0xFFFF_FFFE
    ERROR = 0xFFFF_FFFF


class ATTRIBUTES(Word, bits=16):
    """How the source, or the destination, is accessed; AMBA's encodings."""

    INNER = Bits(3, 0)
    OUTER = Bits(7, 4)
    PRIVILEGED = Bits(8)
    NON_SECURE = Bits(9)
    INSTRUCTION = Bits(10)
    SHAREABILITY = Bits(15, 14)


class Request(NamedTuple):
    """What a pair of frames says when a command is written."""

    cmd: int
    uctrl: int
    launched: int
    returned: int
    msi_address: int
    msi_data: int
    msi_attributes: int
    attributes: int
    seed: int
    begin: int
    end: int
    stride: int
    target: int
    pctrl: int
    port: int
    stream_id: int
    substream_id: int

    @property
    def source(self) -> ATTRIBUTES:
        """How it reads."""
        return ATTRIBUTES(self.attributes & 0xFFFF)

    @property
    def destination(self) -> ATTRIBUTES:
        """How it writes."""
        return ATTRIBUTES(self.attributes >> 16)

    @property
    def substream(self) -> int | None:
        """The SubstreamID of its accesses, None for none."""
        return None if self.substream_id == NO_SUBSTREAM else self.substream_id

    @property
    def is_too_long(self) -> bool:
        """Whether it has more pieces than an emulator can be asked for."""
        return self.has_range and self.pieces_count > MOST_TRANSACTIONS

    @property
    def has_range(self) -> bool:
        """Whether begin, end and stride make sense together."""
        everything = self.begin <= 7 and self.end | 7 == ALL_ONES
        stride = self.stride
        return (
            self.begin <= self.end and not everything and (stride == 1 or 0 < stride & -8 == stride)
        )

    def is_configured(self, command: int) -> bool:
        """Whether the frames are fit for this command."""
        if not Command.MEMCPY <= command <= Command.SUM64:
            return False
        if not self.has_range or self.is_too_long:
            return False
        if command == Command.SUM64 and (self.begin & 7 or ~self.end & 7):
            return False
        if self.msi_address > 1 or (self.msi_address and self.msi_data >= VECTORS):
            return False
        if self.port or NO_SUBSTREAM != self.substream_id >= 1 << SUBSTREAM_BITS:
            return False
        if command != Command.RAND48 and not is_legal(self.source):
            return False
        return command == Command.SUM64 or is_legal(self.destination)

    @property
    def pieces_count(self) -> int:
        """Number of the pieces of its range."""
        if self.stride == 1:
            return (self.end // PAGE) - (self.begin // PAGE) + 1
        return ((self.end | 7) - (self.begin & ~7) - 7) // self.stride + 1

    def piece(self, index: int) -> tuple[int, int]:
        """Address and length of a piece, in bytes."""
        if self.stride != 1:
            return (self.begin & ~7) + index * self.stride, 8
        page = (self.begin // PAGE + index) * PAGE
        start = max(self.begin, page)
        return start, min(self.end + 1, page + PAGE) - start

    def pieces(self) -> Pieces:
        """All pieces in the order that the seed asks for."""
        return Pieces(self)


class Pieces:
    """The pieces of a request that are still to come."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.first, self.last = 0, request.pieces_count - 1
        self.generator = Rand48(request.seed)

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> tuple[int, int]:
        if self.first > self.last:
            raise StopIteration
        seed = self.request.seed
        if seed == ASCENDING or (seed != DESCENDING and not self.generator.next() & 1):
            self.first += 1
            return self.request.piece(self.first - 1)
        self.last -= 1
        return self.request.piece(self.last + 1)


class Rand48:
    """The engine's generator of random numbers."""

    def __init__(self, seed: int) -> None:
        self.state = seed << 16 | 0x330E

    def next(self) -> int:
        """A number of 32 bits."""
        self.state = (self.state * MULTIPLIER + INCREMENT) & STATE
        low = self.state >> 17 & 0x7FFF_FFFF
        self.state = (self.state * MULTIPLIER + INCREMENT) & STATE
        return low | self.state & 0x8000_0000


def random_bytes(seed: int, address: int, size: int) -> bytes:
    """What RAND48 writes in one piece: the low bytes of numbers seeded by seed and address."""
    state = (seed ^ address >> 32 ^ address & WORD) << 16 | 0x330E
    state = (state * MULTIPLIER + INCREMENT) & STATE
    multiplier, increment = _TWICE
    data = bytearray(size)
    for position in range(size):
        data[position] = state >> 17 & 0xFF
        state = (state * multiplier + increment) & STATE
    return bytes(data)


def is_legal(attributes: ATTRIBUTES) -> bool:
    """Whether AMBA has such memory; device memory has no shareability of its own."""
    outer, inner = attributes.OUTER, attributes.INNER
    if outer <= _DEVICE:
        return True
    return outer not in _NOT_MEMORY and inner not in _NOT_MEMORY and attributes.SHAREABILITY < 3
