# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the core's MMU leaves the architecture: what the specification says instead, by section.

Each deviation is found on the path of a walk before the outcome is known; the specification is the
witness there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.oracle.tables import BLOCK_LEVELS, IPS_BITS, Half, Regime, Step


class Outcome(NamedTuple):
    """How a translation ends: "ok" with an address, or a fault with a level (None: no walk)."""

    what: str
    value: int | None


class Deviation(NamedTuple):
    """A rule the core breaks, and the outcome that the rule asks for."""

    name: str
    outcome: Outcome


OUTSIDE_RAM = "DDI 0487 D8.15.1.3: a walk that nobody answers is an external abort"
NO_BLOCK_HERE = "DDI 0487 D8.3.1.2: a block descriptor where the granule has none is invalid"
BEYOND_IPS = "DDI 0487 D8.15.1.2: an address beyond IPS is an Address size fault"
BLOCK_RES0 = "DDI 0487 D8.3.1.2: bits below a block's address are RES0"
NAMES = (OUTSIDE_RAM, NO_BLOCK_HERE, BEYOND_IPS, BLOCK_RES0)


def find(
    regime: Regime, half: Half, steps: Sequence[Step], va: int, core: Outcome
) -> Deviation | None:
    """The first rule on the path that the core breaks."""
    output_bits = IPS_BITS[regime.ips]
    for level, _, descriptor in steps:
        if descriptor is None:
            return Deviation(OUTSIDE_RAM, Outcome("external abort", level))
        kind = descriptor & 3
        if not kind & 1 or (level == 3 and kind == 1):
            return None
        is_block = kind == 1
        if is_block and level not in BLOCK_LEVELS[half.granule_lg2]:
            return Deviation(NO_BLOCK_HERE, Outcome("translation", level))
        lowest = half.shift(level) if is_block else half.granule_lg2
        address = descriptor & (1 << 48) - (1 << lowest)
        if address >> output_bits:
            return Deviation(BEYOND_IPS, Outcome("address size", level))
        if is_block and descriptor & (1 << lowest) - (1 << half.granule_lg2) and core.what == "ok":
            return Deviation(BLOCK_RES0, Outcome("ok", address | va & (1 << lowest) - 1))
    return None
