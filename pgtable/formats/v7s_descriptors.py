# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors of the short-descriptor format, with MediaTek's extension.

Level 1 describes sections (1M) and supersections (16M), level 2 small (4K) and large (64K) pages.
Supersections and large pages are one descriptor written 16 times. The same attributes stand in
bits 17:10 on level 1 and in bits 11:4 on level 2, but for XN, B and C, and for TEX and XN of a
large page. MediaTek's MMUs keep physical address bits 34:32 in bits 5, 4 and 9.

Spec: DDI 0487 G5.4 (VMSAv8-32 short-descriptor format), G5.7 (TEX remap).
"""

from __future__ import annotations

from typing import NamedTuple

from pgtable.config import Prot

READ, WRITE, CACHE = int(Prot.READ), int(Prot.WRITE), int(Prot.CACHE)
NOEXEC, MMIO, PRIV = int(Prot.NOEXEC), int(Prot.MMIO), int(Prot.PRIV)

TYPE = 3
TABLE = 1
LEAF = 2
LARGE = 1

SECTION_LG2, PAGE_LG2 = 20, 12
REPEATED = 16
TABLE_MASK = 0xFFFF_FC00

B, C = 1 << 2, 1 << 3
TABLE_NS = 1 << 3
SECTION_NS = 1 << 19
SUPERSECTION = 1 << 18

# Within the eight attribute bits that both levels share:
AF = 1 << 0
UNPRIVILEGED = 1 << 1
TEX_1 = 1 << 2
READ_ONLY = 1 << 5
SHAREABLE = 1 << 6
NOT_GLOBAL = 1 << 7


class Attributes(NamedTuple):
    """A protection's bits in each kind of leaf."""

    section: int
    supersection: int
    small: int
    large: int


def attributes(prot: int, permissions: bool, ns: bool) -> Attributes:
    """Return the bits of a protection; `permissions`: the MMU has access bits and XN."""
    shared = NOT_GLOBAL | SHAREABLE
    if not prot & MMIO:
        shared |= TEX_1
    if permissions:
        shared |= AF
        if not prot & PRIV:
            shared |= UNPRIVILEGED
        if not prot & WRITE:
            shared |= READ_ONLY
    if prot & MMIO:
        cached = B
    elif prot & CACHE:
        cached = B | C
    else:
        cached = 0
    xn = bool(prot & NOEXEC) and permissions
    section = shared << 10 | cached | xn << 4 | LEAF | (SECTION_NS if ns else 0)
    small = shared << 4 | cached | xn | LEAF
    return Attributes(section, section | SUPERSECTION, small, to_large(small))


def to_large(small: int) -> int:
    """Turn a small page's bits into a large page's: TEX to 14:12, XN to bit 15, another type."""
    tex = small & 7 << 6
    xn = small & 1
    return small & ~(tex | xn | LEAF) | tex << 6 | xn << 15 | LARGE


def scatter(paddr: int) -> int:
    """Return MediaTek's places for physical address bits 34:32."""
    return paddr >> 23 & 1 << 9 | paddr >> 29 & 1 << 4 | paddr >> 29 & 1 << 5


def gather(pte: int) -> int:
    """Return the physical address bits 34:32 that MediaTek's descriptors hold."""
    return (pte & 1 << 9) << 23 | (pte & 3 << 4) << 29


def leaf_mask(pte: int, level: int) -> int:
    """Return the mask of a leaf's address, as a 32-bit word."""
    if level == 1:
        return 0xFF00_0000 if pte & SUPERSECTION else 0xFFF0_0000
    return 0xFFFF_F000 if pte & LEAF else 0xFFFF_0000
