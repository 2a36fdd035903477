# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory attributes on their way through an SMMU: stage 1, stage 2, and both combined.

Spec: IHI 0070 13.1 (attributes), 13.3 (stages), DDI 0487 D8.6 (MAIR encodings, combination).
A memory type is a MAIR byte; shareability is the SH encoding. Left out: overrides by STE and GBPA
(IDR1.ATTR_TYPES_OVR is 0), forced write-back, allocation and transient hints of combined stages.
"""

from __future__ import annotations

from functools import lru_cache

from smmu_emu.transaction import Attributes

WRITE_BACK = 0xFF
NON_CACHEABLE = 0x44
OUTER_SHAREABLE, INNER_SHAREABLE = 2, 3

INCOMING = Attributes(WRITE_BACK, INNER_SHAREABLE)
"""What an access carries when nothing overrides it: cacheable and coherent, as PCIe traffic is."""


@lru_cache(maxsize=256)
def stage1(mair: int) -> tuple[Attributes, ...]:
    """Attributes of stage-1 leaves, by `index`; ``mair`` is CD.MAIR1:MAIR0."""
    return tuple(
        _consistent(mair >> 8 * attr_index & 0xFF, shareability)
        for shareability in range(4)
        for attr_index in range(8)
    )


def index(descriptor: int) -> int:
    """``SH << 3 | AttrIndx`` of a stage-1 leaf descriptor."""
    return descriptor >> 5 & 0b11000 | descriptor >> 2 & 0b111


def stage2(descriptor: int) -> Attributes:
    """Attributes of a stage-2 leaf: MemAttr[3:0] as a MAIR byte, SH. Spec: DDI 0487 D8.6.3."""
    attr = descriptor >> 2 & 0xF
    if attr < 4:
        return _consistent(attr << 2, 0)
    nibbles = (0x0, 0x4, 0xB, 0xF)
    return _consistent(nibbles[attr >> 2] << 4 | nibbles[attr & 3], descriptor >> 8 & 3)


def combine(first: Attributes, second: Attributes) -> Attributes:
    """Both stages together: the weaker memory type and the wider shareability win.

    Spec: DDI 0487 D8.6.4; IHI 0070 13.1.5.
    """
    if is_device(first.memory) or is_device(second.memory):
        devices = [a.memory & 0x0C for a in (first, second) if is_device(a.memory)]
        return _consistent(min(devices), 0)
    outer = min(first.memory >> 4, second.memory >> 4, key=_cacheability)
    inner = min(first.memory & 0xF, second.memory & 0xF, key=_cacheability)
    wider = {0: 0, INNER_SHAREABLE: 1, OUTER_SHAREABLE: 2}
    shareability = max(first.shareability, second.shareability, key=lambda sh: wider.get(sh, 0))
    return _consistent(outer << 4 | inner, shareability)


def is_device(memory: int) -> bool:
    """Whether a MAIR byte is one of the Device types."""
    return not memory & 0xF0


def _cacheability(nibble: int) -> int:
    """0 non-cacheable, 1 write-through, 2 write-back."""
    if nibble == 4:
        return 0
    return 2 if nibble & 4 else 1


def _consistent(memory: int, shareability: int) -> Attributes:
    """Device and non-cacheable memory is outer shareable whatever SH says. Spec: 13.1.7."""
    if is_device(memory) or memory == NON_CACHEABLE:
        return Attributes(memory, OUTER_SHAREABLE)
    return Attributes(memory, 0 if shareability == 1 else shareability)
