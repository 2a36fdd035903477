# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory attributes on their way through an SMMU: overridden, replaced by stage 1, combined.

Spec: IHI 0070 13.1 (attributes and operations), 13.2 to 13.4 (bypass, stages), DDI 0487 D8.6 (MAIR
encodings, stage 2, FEAT_S2FWB). A memory type is a MAIR byte, whose nibbles also hold the
allocation and transient hints; shareability is the SH encoding. Left out: No_snoop, MTE tags.
"""

from __future__ import annotations

from functools import lru_cache

from smmu_emu.transaction import Attributes

WRITE_BACK = 0xFF
NON_CACHEABLE = 0x44
NON_SHAREABLE, OUTER_SHAREABLE, INNER_SHAREABLE = 0, 2, 3

INCOMING = Attributes(WRITE_BACK, NON_SHAREABLE)
"""What an access carries when its master supplies nothing. Spec: 13.1.3."""

_STAGE2_NIBBLES = (0x0, 0x4, 0xB, 0xF)
_FORCED_WRITE_BACK, _FROM_STAGE1 = 6, 7


def override(
    incoming: Attributes, *, mtcfg: int, memattr: int, alloccfg: int, shcfg: int
) -> Attributes:
    """Incoming attributes after the overrides of an STE or of GBPA. Spec: 13.1.4, 5.2, 6.3.14."""
    memory, shareability = incoming
    if mtcfg:
        memory = _type_of_memattr(memattr)
    if alloccfg & 8 and not is_device(memory):
        read, write, transient = alloccfg >> 2 & 1, alloccfg >> 1 & 1, alloccfg & 1
        memory = _with_hints(memory, read << 1 | write, bool(transient))
    if shcfg != 1:
        shareability = shcfg
    return _consistent(memory, shareability)


@lru_cache(maxsize=256)
def stage1(mair: int) -> tuple[Attributes, ...]:
    """Attributes of stage-1 leaves, by `index`; ``mair`` is CD.MAIR1:MAIR0."""
    return tuple(
        _consistent(_mair_type(mair >> 8 * attr_index & 0xFF), shareability)
        for shareability in range(4)
        for attr_index in range(8)
    )


def index(descriptor: int) -> int:
    """``SH << 3 | AttrIndx`` of a stage-1 leaf descriptor."""
    return descriptor >> 5 & 0b11000 | descriptor >> 2 & 0b111


@lru_cache(maxsize=256)
def stage2(first: Attributes, forced: bool) -> tuple[Attributes, ...]:
    """What becomes of attributes in stage-2 leaves, by `stage2_index`; ``forced`` is STE.S2FWB."""
    return tuple(
        _through_stage2(first, attr, shareability, forced=forced)
        for shareability in range(4)
        for attr in range(16)
    )


def stage2_index(descriptor: int) -> int:
    """``SH << 4 | MemAttr`` of a stage-2 leaf descriptor."""
    return descriptor >> 4 & 0b110000 | descriptor >> 2 & 0b1111


def _through_stage2(first: Attributes, attr: int, shareability: int, *, forced: bool) -> Attributes:
    """Spec: 13.1.5, 13.1.6."""
    if forced and attr & 7 in (_FORCED_WRITE_BACK, _FROM_STAGE1):
        memory = first.memory
        if attr & 7 == _FORCED_WRITE_BACK:
            memory = _with_hints(WRITE_BACK, *_hints(memory))
        return _consistent(memory, _wider(first.shareability, shareability))
    if (attr & 7 if forced else attr) < 4:
        second = (attr & 3) << 2
    elif forced:
        second = NON_CACHEABLE
    else:
        second = _STAGE2_NIBBLES[attr >> 2] << 4 | _STAGE2_NIBBLES[attr & 3]
    return _consistent(_stronger(first.memory, second), _wider(first.shareability, shareability))


def is_device(memory: int) -> bool:
    """Whether a MAIR byte is one of the Device types."""
    return not memory & 0xF0


def is_stage2_device(descriptor: int, *, forced: bool) -> bool:
    """Whether a stage-2 leaf maps Device memory. Spec: 5.2 S2PTW."""
    attr = descriptor >> 2 & 0xF
    return (attr & 7 if forced else attr) < 4


def _stronger(first: int, second: int) -> int:
    """The stronger type: Device before non-cacheable before write-through before write-back."""
    if is_device(first) or is_device(second):
        return min(memory for memory in (first, second) if is_device(memory))
    return _stronger_half(first >> 4, second >> 4) << 4 | _stronger_half(first & 15, second & 15)


def _stronger_half(first: int, second: int) -> int:
    """One cacheability level; hints are those of the first stage, as stage 2 has none (13.1.5)."""
    if first == 4 or second == 4:
        return 4
    return first if second & 4 else first & ~4


def _wider(first: int, second: int) -> int:
    """Outer before inner before non-shareable."""
    if OUTER_SHAREABLE in (first, second):
        return OUTER_SHAREABLE
    return INNER_SHAREABLE if INNER_SHAREABLE in (first, second) else NON_SHAREABLE


def _mair_type(memory: int) -> int:
    """MAIR codes that a PE leaves unpredictable are fixed. Spec: 3.23, 5.4 MAIR0."""
    if is_device(memory):
        return memory & 0x0C
    return memory if memory & 0xF else memory & 0xF0 | 0x3


def _type_of_memattr(memattr: int) -> int:
    """STE.MemAttr and GBPA.MemAttr: as stage 2's, with 4, 8 and 12 nGnRnE. Spec: 5.2 MemAttr."""
    if memattr < 4:
        return memattr << 2
    if not memattr & 3:
        return 0
    return _STAGE2_NIBBLES[memattr >> 2] << 4 | _STAGE2_NIBBLES[memattr & 3]


def _with_hints(memory: int, allocate: int, transient: bool) -> int:
    """A Normal type with both levels' hints replaced; non-cacheable levels have none.

    No-allocate is never transient (13.1.7).
    """
    result = 0
    for shift in (4, 0):
        nibble = memory >> shift & 0xF
        if nibble != 4:
            write_back = nibble & 4
            nibble = write_back | allocate | (0 if transient and allocate else 8)
        result |= nibble << shift
    return result


def _hints(memory: int) -> tuple[int, bool]:
    """(allocate bits, transient) of a type; the defaults where it has none. Spec: 13.1.4."""
    nibble = memory & 0xF
    if is_device(memory) or nibble == 4:
        return 3, False
    return nibble & 3, not nibble & 8


def _consistent(memory: int, shareability: int) -> Attributes:
    """Device and non-cacheable memory is outer shareable whatever SH says. Spec: 13.1.7."""
    if is_device(memory) or memory == NON_CACHEABLE:
        return Attributes(memory, OUTER_SHAREABLE)
    return Attributes(memory, NON_SHAREABLE if shareability == 1 else shareability)
