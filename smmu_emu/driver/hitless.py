# SPDX-License-Identifier: GPL-2.0-or-later
"""How to change a 64-byte entry under the eyes of an SMMU, without it ever seeing a mixture.

The SMMU may read an entry at any moment, and sees 64 bits of it at a time. What it looks at depends
on the entry itself: an aborting STE's other fields are ignored. So bits that the present value does
not use may be written at any time, then everything that differs in use must fit one doubleword,
which is written at once, and then the leftovers may go. Where two doublewords would have to change
at once, the entry is made invalid in between. Spec: IHI 0070 3.21.3.1, 5.2 (fields by Config).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.ste import STE, Config

Entry = TypeVar("Entry", STE, CD)

WORDS = 8
_MASK = (1 << 64) - 1
_ALWAYS = ("V", "Config")
_PASSING = ("MEV", "MTCFG", "MemAttr", "ALLOCCFG", "SHCFG", "PRIVCFG", "INSTCFG", "CONT")
_STAGE1 = (
    *("S1Fmt", "S1ContextPtr", "S1CDMax", "S1DSS", "S1CIR", "S1COR", "S1CSH", "S1STALLD"),
    *("STRW", "EATS", "S2VMID", "PPAR"),
)
_STAGE2 = (
    *("S2VMID", "S2T0SZ", "S2SL0", "S2IR0", "S2OR0", "S2SH0", "S2TG", "S2PS", "S2AA64", "S2ENDI"),
    *("S2AFFD", "S2PTW", "S2HD", "S2HA", "S2S", "S2R", "S2TTB", "S2FWB", "S2HWU", "EATS"),
)


def used_by_ste(ste: STE) -> int:
    """Mask of the bits of an STE that the SMMU looks at, given its V and Config."""
    if not ste.V:
        return STE.mask("V")
    names = {*_ALWAYS}
    if ste.Config & Config.BYPASS:
        names |= {*_PASSING}
        if ste.Config & 1:
            names |= {*_STAGE1}
        if ste.Config & 2:
            names |= {*_STAGE2}
    return STE.mask(*names)


_HALVES = (
    ("T0SZ", "TG0", "IR0", "OR0", "SH0", "HAD0", "TBI0", "HWU0", "TTB0"),
    ("T1SZ", "TG1", "IR1", "OR1", "SH1", "HAD1", "TBI1", "HWU1", "TTB1"),
)


def used_by_cd(cd: CD) -> int:
    """Mask of the bits of a CD that the SMMU looks at, given its V, EPD0 and EPD1."""
    if not cd.V:
        return CD.mask("V")
    mask = CD.mask()
    for disabled, names in zip((cd.EPD0, cd.EPD1), _HALVES, strict=True):
        if disabled:
            mask &= ~CD.mask(*names)
    return mask


def steps(current: Entry, target: Entry, used: Callable[[Entry], int]) -> Iterator[Entry]:
    """The values to store, in order; the SMMU must be told (CFGI, SYNC) after each.

    Between two values only bits that the first does not use change, or one doubleword.
    """
    spare = ~used(current)
    # Bits that nobody looks at yet get their new values, as far as the new entry will use them.
    prepared = current.value & ~spare | target.value & used(target) & spare
    critical = _differing_words(prepared, target.value, used(target))
    if len(critical) > 1:
        yield from _through_invalid(current, target)
        return
    entry = type(current)
    if prepared != current.value:
        yield entry(prepared)
    if critical:
        word = critical[0]
        switched = prepared & ~(_MASK << 64 * word) | target.value & _MASK << 64 * word
        yield entry(switched)
        prepared = switched
    if prepared != target.value:
        yield target


def _differing_words(left: int, right: int, mask: int) -> list[int]:
    difference = (left ^ right) & mask
    return [word for word in range(WORDS) if difference >> 64 * word & _MASK]


def _through_invalid(current: Entry, target: Entry) -> Iterator[Entry]:
    yield current.replace(V=0)
    yield target.replace(V=0)
    yield target
