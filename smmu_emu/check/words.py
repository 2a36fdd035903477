# SPDX-License-Identifier: GPL-2.0-or-later
"""Which bits of an STE or a CD an SMMU looks at, given the others; and how it can be changed live.

Spec: IHI 0070 5.2, 5.4 (fields by Config, V, EPD), 3.21.3.1 (updates: the SMMU reads 64 bits at a
time, in any order, whenever it likes).
"""

from __future__ import annotations

from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.ste import STE, Config

SIZE = 64
_WORD = (1 << 64) - 1

_STE_VALID = STE.mask("V")
_STE_ALWAYS = STE.mask("V", "Config")
_STE_PASSING = STE.mask(
    *("MEV", "MTCFG", "MemAttr", "ALLOCCFG", "SHCFG", "PRIVCFG", "INSTCFG", "CONT")
)
_STE_STAGE1 = STE.mask(
    *("S1Fmt", "S1ContextPtr", "S1CDMax", "S1DSS", "S1CIR", "S1COR", "S1CSH", "S1STALLD"),
    *("STRW", "EATS", "S2VMID", "PPAR"),
)
_STE_STAGE2 = STE.mask(
    *("S2VMID", "S2T0SZ", "S2SL0", "S2IR0", "S2OR0", "S2SH0", "S2TG", "S2PS", "S2AA64", "S2ENDI"),
    *("S2AFFD", "S2PTW", "S2HD", "S2HA", "S2S", "S2R", "S2TTB", "S2FWB", "EATS"),
)
_CD_VALID = CD.mask("V")
_CD_HALVES = (
    CD.mask("T0SZ", "TG0", "IR0", "OR0", "SH0", "HAD0", "TBI0", "TTB0"),
    CD.mask("T1SZ", "TG1", "IR1", "OR1", "SH1", "HAD1", "TBI1", "TTB1"),
)


def used(structure: str, value: int) -> int:
    """The bits that count, of an "STE" or a "CD"."""
    return _used_ste(value) if structure == "STE" else _used_cd(value)


def _used_ste(value: int) -> int:
    ste = STE(value)
    if not ste.V:
        return _STE_VALID
    mask = _STE_ALWAYS
    if ste.Config & Config.BYPASS:
        mask |= _STE_PASSING
        if ste.Config & Config.STAGE1 == Config.STAGE1:
            mask |= _STE_STAGE1
        if ste.Config & Config.STAGE2 == Config.STAGE2:
            mask |= _STE_STAGE2
    return mask


def _used_cd(value: int) -> int:
    cd = CD(value)
    if not cd.V:
        return _CD_VALID
    mask = CD.mask()
    for disabled, fields in zip((cd.EPD0, cd.EPD1), _CD_HALVES, strict=True):
        if disabled:
            mask &= ~fields
    return mask


def differs(structure: str, old: int, new: int) -> bool:
    """Whether an SMMU can tell the two apart."""
    return bool((old ^ new) & (used(structure, old) | used(structure, new)))


def valid(structure: str, value: int) -> bool:
    """Whether V is 1."""
    return bool(value & (_STE_VALID if structure == "STE" else _CD_VALID))


def words_at_once(structure: str, old: int, new: int) -> int:
    """How many doublewords would have to change at the same moment, to go from one to the other.

    Bits that the old value does not use may change before, those that the new does not use after.
    With one or none, every state in between can be the old or the new one.
    """
    spare = ~used(structure, old)
    wanted = used(structure, new)
    prepared = old & ~spare | new & wanted & spare
    left = (prepared ^ new) & wanted
    return sum(1 for word in range(SIZE // 8) if left >> 64 * word & _WORD)
