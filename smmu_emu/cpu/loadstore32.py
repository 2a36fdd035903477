# SPDX-License-Identifier: GPL-2.0-or-later
"""Which bytes an A32 or T32 load or store asks for: read from its instruction.

Reference: DDI 0406 A5.3, A5.5, A5.6 (A32), A6.2, A6.3 (T32), A7.5 to A7.7 (SIMD and floating
point). Left out: SRS, whose stack is another mode's, single elements of SIMD registers, and
offsets rotated through carry. `decode_a32` and `decode_t32` answer None for those, as for every
instruction that does not touch memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LITERAL = -1
"""`MemoryAccess32.base` of PC-relative accesses."""
_MASK32 = (1 << 32) - 1
_PC = 15
_LSL, _LSR, _ASR, _ROR = range(4)


class MemoryAccess32(NamedTuple):
    """What one instruction touches.

    ``size`` is one element in bytes, ``total`` is all of them. The address is that of register
    ``base`` plus ``offset``; plus, or with ``down`` minus, register ``extended``, shifted by
    ``amount`` in the way ``shift``, unless that is None. ``ahead`` is how far PC reads ahead.
    """

    size: int
    total: int
    base: int
    offset: int = 0
    extended: int | None = None
    down: bool = False
    shift: int = _LSL
    amount: int = 0
    ahead: int = 8

    def address(self, registers: Sequence[int], pc: int) -> int:
        """Address of the first byte, given R0 to R14 as they were before."""
        relative = self.base in (LITERAL, _PC)
        start = (pc & -4) + self.ahead if relative else registers[self.base]
        start += self.offset
        if self.extended is not None:
            index = pc + self.ahead if self.extended == _PC else registers[self.extended]
            index = _shifted(index, self.shift, self.amount)
            start += -index if self.down else index
        return start & _MASK32


def is_unprivileged(word: int, *, thumb: bool) -> bool:
    """Whether an instruction accesses memory as PL0 would: LDRT, STRT and the like.

    Of T32 the first halfword is the upper one. DDI 0406 A8.8.92, A8.8.218.
    """
    if thumb:
        return word >> 25 == 0b1111100 and word & 0xF00 == 0xE00 and not word >> 23 & 1
    if word >> 28 == 15 or word & 0x0120_0000 != 0x0020_0000:
        return False
    is_single = word >> 26 & 3 == 1 and (not word >> 25 & 1 or not word & 0x10)
    return is_single or (not word >> 25 & 7 and word & 0x90 == 0x90 and bool(word & 0x60))


def _shifted(value: int, kind: int, amount: int) -> int:
    if kind == _LSL:
        return value << amount & _MASK32
    if kind == _ROR:
        return (value >> amount | value << 32 - amount) & _MASK32
    amount = amount or 32
    if kind == _ASR:
        value = (value ^ 1 << 31) - (1 << 31)
    return value >> amount & _MASK32


def _base(number: int) -> int:
    return LITERAL if number == _PC else number


def _signed(magnitude: int, up: int) -> int:
    return magnitude if up else -magnitude


def _several(base: int, count: int, *, up: int, before: int) -> MemoryAccess32 | None:
    """``count`` words from or to ascending addresses, as LDM and STM have them."""
    if not count:
        return None
    start = (4 if before else 0) if up else (-4 * count if before else 4 - 4 * count)
    return MemoryAccess32(4, 4 * count, base, start)


# -- A32


def decode_a32(word: int) -> MemoryAccess32 | None:
    """What instruction ``word`` touches, or None if it is no load or store known here."""
    unconditional = word >> 28 == 15
    group = word >> 25 & 7
    if group in (2, 3) and not unconditional:
        return _a32_single(word)
    if group == 0 and not unconditional and word & 0x90 == 0x90:
        return _a32_extra(word)
    if group == 4:
        return _a32_block(word, unconditional=unconditional)
    if group == 6:
        return _floating_point(word, 8)
    if unconditional and word >> 24 & 0xF == 4 and not word >> 20 & 1:
        return _structures(word, 8)
    return None


def _a32_single(word: int) -> MemoryAccess32 | None:
    by_register, before = word >> 25 & 1, word >> 24 & 1
    if by_register and word & 0x10:  # media instructions
        return None
    size = 1 if word >> 22 & 1 else 4
    base, up = _base(word >> 16 & 15), word >> 23 & 1
    if not before:
        return MemoryAccess32(size, size, base)
    if not by_register:
        return MemoryAccess32(size, size, base, _signed(word & 0xFFF, up))
    kind, amount = word >> 5 & 3, word >> 7 & 31
    if kind == _ROR and not amount:  # RRX
        return None
    return MemoryAccess32(size, size, base, 0, word & 15, not up, kind, amount)


def _a32_extra(word: int) -> MemoryAccess32 | None:
    operation = word >> 5 & 3
    if operation == 0:
        return _a32_synchronisation(word)
    load, before = word >> 20 & 1, word >> 24 & 1
    size = 1 if load and operation == 2 else 2 if load or operation == 1 else 4
    total = 8 if size == 4 else size
    base, up = _base(word >> 16 & 15), word >> 23 & 1
    if not before:
        return MemoryAccess32(size, total, base)
    if word >> 22 & 1:
        return MemoryAccess32(size, total, base, _signed(word >> 4 & 0xF0 | word & 15, up))
    return MemoryAccess32(size, total, base, 0, word & 15, not up)


def _a32_synchronisation(word: int) -> MemoryAccess32 | None:
    """SWP, SWPB, LDREX, STREX and their sizes."""
    if not word >> 24 & 1:  # multiplications
        return None
    swap_size = 1 if word >> 22 & 1 else 4
    size = (4, 8, 1, 2)[word >> 21 & 3] if word >> 23 & 1 else swap_size
    return MemoryAccess32(size, size, word >> 16 & 15)


def _a32_block(word: int, *, unconditional: bool) -> MemoryAccess32 | None:
    before, up, base = word >> 24 & 1, word >> 23 & 1, word >> 16 & 15
    if unconditional:
        is_return = word >> 20 & 1 and not word >> 22 & 1
        return _several(base, 2, up=up, before=before) if is_return else None
    return _several(base, (word & 0xFFFF).bit_count(), up=up, before=before)


# -- T32


def decode_t32(first: int, second: int) -> MemoryAccess32 | None:
    """What the instruction of halfword ``first``, and ``second`` if it has one, touches."""
    if first >> 11 not in (0b11101, 0b11110, 0b11111):
        return _t16(first)
    word = first << 16 | second
    group = word >> 25 & 0xF
    if group == 0b0100:
        return _t32_several(word)
    if group in (0b0110, 0b1110):
        return _floating_point(word, 4)
    if group == 0b1100:
        if word >> 24 & 1 and not word >> 20 & 1:
            return _structures(word, 4)
        return _t32_single(word)
    return None


def _t32_several(word: int) -> MemoryAccess32 | None:
    before, up, write_back = word >> 24 & 1, word >> 23 & 1, word >> 21 & 1
    base = word >> 16 & 15
    if not word >> 22 & 1:
        if before == up:  # SRS, RFE
            return _several(base, 2, up=up, before=not up) if word >> 20 & 1 else None
        return _several(base, (word & 0xFFFF).bit_count(), up=up, before=before)
    if before or write_back:  # LDRD, STRD
        offset = _signed((word & 0xFF) << 2, up) if before else 0
        return MemoryAccess32(4, 8, _base(base), offset, ahead=4)
    if not up:  # LDREX, STREX
        return MemoryAccess32(4, 4, base, (word & 0xFF) << 2)
    return _t32_exclusive(word, base)


def _t32_exclusive(word: int, base: int) -> MemoryAccess32 | None:
    operation = word >> 4 & 15
    if operation in (0, 1) and word >> 20 & 1:  # TBB, TBH
        size = 1 + operation
        return MemoryAccess32(size, size, base, 0, word & 15, amount=operation, ahead=4)
    size = {4: 1, 5: 2, 7: 8}.get(operation, 0)
    return MemoryAccess32(size, size, base) if size else None


def _t32_single(word: int) -> MemoryAccess32 | None:
    size_lg2, load, target = word >> 21 & 3, word >> 20 & 1, word >> 12 & 15
    if size_lg2 == 3 or (load and target == _PC and size_lg2 < 2):  # preloads
        return None
    size, base = 1 << size_lg2, word >> 16 & 15
    if base == _PC:
        offset = _signed(word & 0xFFF, word >> 23 & 1)
        return MemoryAccess32(size, size, LITERAL, offset, ahead=4)
    if word >> 23 & 1:
        return MemoryAccess32(size, size, base, word & 0xFFF)
    if word >> 11 & 1:
        before, up = word >> 10 & 1, word >> 9 & 1
        return MemoryAccess32(size, size, base, _signed(word & 0xFF, up) if before else 0)
    return MemoryAccess32(size, size, base, 0, word & 15, amount=word >> 4 & 3, ahead=4)


_BY_REGISTER = (4, 2, 1, 1, 4, 2, 1, 2)
"""Bytes of T16's accesses with a register offset, by opB."""


def _t16(half: int) -> MemoryAccess32 | None:
    top = half >> 11
    base, immediate = half >> 3 & 7, half >> 6 & 31
    if top == 0b01001:
        return MemoryAccess32(4, 4, LITERAL, (half & 0xFF) << 2, ahead=4)
    if half >> 12 == 0b0101:
        size = _BY_REGISTER[half >> 9 & 7]
        return MemoryAccess32(size, size, base, 0, half >> 6 & 7)
    if half >> 13 == 0b011:
        size = 1 if half >> 12 & 1 else 4
        return MemoryAccess32(size, size, base, immediate * size)
    if half >> 12 == 0b1000:
        return MemoryAccess32(2, 2, base, immediate << 1)
    if half >> 12 == 0b1001:
        return MemoryAccess32(4, 4, 13, (half & 0xFF) << 2)
    if half & 0xF600 == 0xB400:  # PUSH, POP
        pop = half >> 11 & 1
        return _several(13, (half & 0x1FF).bit_count(), up=pop, before=not pop)
    if half >> 12 == 0b1100:
        return _several(half >> 8 & 7, (half & 0xFF).bit_count(), up=1, before=0)
    return None


# -- floating point and SIMD, the same in both


def _floating_point(word: int, ahead: int) -> MemoryAccess32 | None:
    """VLDR, VSTR, VLDM, VSTM, VPUSH, VPOP: words, as the engine accesses them or two at once."""
    before, up, write_back = word >> 24 & 1, word >> 23 & 1, word >> 21 & 1
    is_transfer = word >> 21 & 0x7F == 0b1100010  # MCRR, MRRC, VMOV
    if word >> 9 & 7 != 0b101 or is_transfer:
        return None
    base, words = _base(word >> 16 & 15), word & 0xFF
    if before and not write_back:
        total = 8 if word >> 8 & 1 else 4
        return MemoryAccess32(4, total, base, _signed(words << 2, up), ahead=ahead)
    return _several(base, words & -2 if word >> 8 & 1 else words, up=up, before=before)


_STRUCTURE_REGISTERS = {7: 1, 10: 2, 6: 3, 2: 4, 8: 2, 9: 2, 3: 4, 4: 3, 5: 3, 0: 4, 1: 4}


def _structures(word: int, ahead: int) -> MemoryAccess32 | None:
    """VLD1 to VLD4 and VST1 to VST4 of whole registers."""
    registers = _STRUCTURE_REGISTERS.get(word >> 8 & 15)
    if word >> 23 & 1 or registers is None:
        return None
    return MemoryAccess32(1 << (word >> 6 & 3), 8 * registers, word >> 16 & 15, ahead=ahead)
