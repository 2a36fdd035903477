# SPDX-License-Identifier: GPL-2.0-or-later
"""How data change: bits flipped, stuck, replaced, a field set. Bytes in, as many bytes out."""

from __future__ import annotations

from random import Random

from smmu_emu.inject.effects import Effect, Flip, Replace, SetField, Stuck
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.ste import STE

_LAYOUTS: dict[str, type[STE] | type[CD]] = {"ste": STE, "cd": CD}


def changed(effect: Effect, data: bytes, random: Random, site: str = "") -> bytes:
    """``data`` after a fault; as it was for effects that do not change data."""
    bits = 8 * len(data)
    everything = (1 << bits) - 1
    value = int.from_bytes(data, "little")
    match effect:
        case Flip(bits=wanted, count=count):
            picked = random.sample(range(bits), min(count, bits)) if count and not wanted else ()
            for bit in (*wanted, *picked):
                value ^= 1 << bit & everything
        case Stuck(value=stuck, mask=mask):
            mask &= everything
            value = value & ~mask | stuck & mask
        case Replace(value=other):
            value = other & everything
        case SetField(field=field, value=number):
            value = _LAYOUTS[site](value).replace(**{field: number}).value
        case _:
            return data
    return value.to_bytes(len(data), "little")
