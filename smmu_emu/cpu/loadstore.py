# SPDX-License-Identifier: GPL-2.0-or-later
"""Which bytes an A64 load or store asks for: read from its instruction word.

The engine splits what the guest asked for (64-bit accesses into halves, misaligned ones into
pieces), and tells physical addresses where a fault wants virtual ones. The instruction knows both.

Reference: DDI 0487 C4.1 (encodings of loads and stores), C5.3 (DC ZVA).
Left out: SVE, memory tagging, the MOPS copies and pointer-authenticated loads; `decode` answers
None for those, as for every instruction that does not touch memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from smmu_emu.cpu.execution import MASK64

LITERAL = -1
"""`MemoryAccess.base` of PC-relative loads."""
_UXTW, _SXTW = 2, 6
_CACHE_BLOCK = 64


class MemoryAccess(NamedTuple):
    """What one instruction touches.

    ``size`` is one element in bytes, aligned accesses are atomic by it; ``total`` is all of them.
    The address is that of general register ``base`` (31 is SP) plus ``offset``, plus register
    ``extended``, extended by ``option`` and shifted left by ``shift``, unless that is None.
    """

    size: int
    total: int
    base: int
    offset: int = 0
    extended: int | None = None
    option: int = 0
    shift: int = 0

    def address(self, registers: Sequence[int], pc: int) -> int:
        """Virtual address of the first byte, given X0 to X30 and SP as they were before."""
        start = pc if self.base == LITERAL else registers[self.base]
        start += self.offset
        if self.extended is not None:
            start += self._extend(0 if self.extended == 31 else registers[self.extended])
        return start & MASK64

    def _extend(self, value: int) -> int:
        if self.option == _UXTW:
            value &= 0xFFFF_FFFF
        elif self.option == _SXTW:
            value = _signed(value, 32)
        return value << self.shift


def is_unprivileged(word: int) -> bool:
    """Whether ``word`` accesses memory as EL0 would, from whatever level: LDTR, STTR and the like.

    Reference: DDI 0487 C4.1 (load/store register, unprivileged).
    """
    return word & 0x3F20_0C00 == 0x3800_0800


def decode(word: int) -> MemoryAccess | None:
    """What instruction ``word`` touches, or None if it is no load or store known here."""
    if word & 0x3F00_0000 == 0x0800_0000:
        return _exclusive_or_ordered(word)
    if word & 0x3B00_0000 == 0x1800_0000:
        return _literal(word)
    if word & 0x3A00_0000 == 0x2800_0000:
        return _pair(word)
    if word & 0x3B00_0000 == 0x3900_0000:
        return _scaled_offset(word)
    if word & 0x3B00_0000 == 0x3800_0000:
        return _other_offset(word)
    if word & 0xBE00_0000 == 0x0C00_0000:
        return _structures(word)
    if word & 0x3F20_0C00 == 0x1900_0000:
        size = 1 << (word >> 30)
        return MemoryAccess(size, size, _base(word), _signed(word >> 12, 9))
    if word & 0xFFFF_FFE0 == 0xD50B_7420:  # DC ZVA
        return MemoryAccess(_CACHE_BLOCK, _CACHE_BLOCK, word & 31)
    return None


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


def _base(word: int) -> int:
    return word >> 5 & 31


def _exclusive_or_ordered(word: int) -> MemoryAccess:
    size = 1 << (word >> 30)
    pair = word >> 21 & 1 and not word >> 23 & 1
    if pair:  # LDXP and STXP have bit 31 set, CASP has not
        size = 4 << (word >> 30 & 1)
    return MemoryAccess(size, size << 1 if pair else size, _base(word))


def _literal(word: int) -> MemoryAccess | None:
    opc, vector = word >> 30, word >> 26 & 1
    if opc == 3:  # PRFM
        return None
    size = 4 << opc if vector else (4, 8, 4)[opc]
    return MemoryAccess(size, size, LITERAL, _signed(word >> 5, 19) << 2)


def _pair(word: int) -> MemoryAccess | None:
    opc, vector, post_index = word >> 30, word >> 26 & 1, word >> 23 & 3 == 1
    if opc == 3:
        return None
    size = 4 << opc if vector else (4, 4, 8)[opc]
    offset = 0 if post_index else _signed(word >> 15, 7) * size
    return MemoryAccess(size, 2 * size, _base(word), offset)


def _single_size(word: int) -> int | None:
    """Bytes of a single-register access; None for a prefetch."""
    size, vector, opc = word >> 30, word >> 26 & 1, word >> 22 & 3
    if vector:
        return 16 if opc & 2 else 1 << size
    return None if size == 3 and opc == 2 else 1 << size


def _scaled_offset(word: int) -> MemoryAccess | None:
    size = _single_size(word)
    if size is None:
        return None
    return MemoryAccess(size, size, _base(word), (word >> 10 & 0xFFF) * size)


def _other_offset(word: int) -> MemoryAccess | None:
    size, form = _single_size(word), word >> 10 & 3
    if not word >> 21 & 1:
        post_index = form == 1
        offset = 0 if post_index else _signed(word >> 12, 9)
        return MemoryAccess(size, size, _base(word), offset) if size else None
    if form == 0:  # atomics
        size = 1 << (word >> 30)
        return MemoryAccess(size, size, _base(word))
    if form != 2 or not size:
        return None
    shift = size.bit_length() - 1 if word >> 12 & 1 else 0
    return MemoryAccess(size, size, _base(word), 0, word >> 16 & 31, word >> 13 & 7, shift)


def _structures(word: int) -> MemoryAccess | None:
    wide = 16 if word >> 30 & 1 else 8
    if not word >> 24 & 1:  # multiple structures
        opcode, size = word >> 12 & 15, 1 << (word >> 10 & 3)
        count = {0: 4, 2: 4, 4: 3, 6: 3, 7: 1, 8: 2, 10: 2}.get(opcode)
        if count is None:
            return None
        single_element = opcode in (2, 6, 7, 10)
        return MemoryAccess(8 if single_element else size, count * wide, _base(word))
    opcode, field = word >> 13 & 7, word >> 10 & 3
    elements = ((opcode & 1) << 1 | word >> 21 & 1) + 1
    scale = opcode >> 1
    size = 1 << field if scale == 3 else 8 if scale == 2 and field & 1 else 1 << scale
    return MemoryAccess(size, elements * size, _base(word))
