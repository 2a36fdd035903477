# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the core's MMU leaves the architecture with two stages, and what that says instead.

A `Reading` follows a walk through both stages up to the first rule that the core breaks. Either
that rule settles the outcome, or it is about bits that must not count: then it names the descriptor
as it should be read, and the core is asked again about tables that say so.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.oracle.deviations import BEYOND_IPS, BLOCK_RES0, NO_BLOCK_HERE, OUTSIDE_RAM
from tests.oracle.nested_tables import PA_MAX, READ, FirstBuilder, World
from tests.oracle.tables import ACCESS_FLAG, BLOCK_LEVELS, IPS_BITS, Half

STATUS_OF_WALK = (
    "DDI 0487 D8.15.4.2: a stage-2 fault on a table of stage 1 has stage 2's status and level"
)
BEYOND_PS = "DDI 0487 D8.15.1.2: an address beyond VTCR.PS is an Address size fault"
NO_FLAG = "IHI 0070 5.2 S2AFFD: the SMMU can ignore stage 2's access flags, the core cannot"
DEVICE_TYPE = "DDI 0487 D8.6.5.1: Normal memory does not change the other stage's Device type"
NAMES = (
    *(OUTSIDE_RAM, NO_BLOCK_HERE, BEYOND_IPS, BLOCK_RES0),
    *(STATUS_OF_WALK, BEYOND_PS, NO_FLAG, DEVICE_TYPE),
)


class Outcome(NamedTuple):
    """How a translation ends: "ok" and where, or a fault, its stage and level (None: no walk).

    ``on_walk`` tells that stage 2 faulted on a table of stage 1, ``address`` what it was asked for;
    with an external abort it is that of the descriptor.
    """

    what: str
    value: int | None
    stage: int = 0
    on_walk: bool = False
    address: int | None = None


class Found(NamedTuple):
    """A broken rule: the outcome that it asks for, or a descriptor (address, word) to be read."""

    name: str
    outcome: Outcome | None = None
    repair: tuple[int, int] | None = None


class Reading:
    """One walk through a world, as the architecture has it.

    ``ipa`` is what stage 1 gave out, if it came so far, ``walked`` which stages read tables, and
    ``leaf`` the last leaf of stage 2; ``first_type`` is the MAIR byte that stage 1 chose.
    """

    def __init__(self, world: World, builder: FirstBuilder) -> None:
        self.world = world
        self.memory = builder.behind
        self.ipa: int | None = None
        self.walked: set[int] = set()
        self.leaf = 0
        self.first_type = 0

    def find(self, va: int, core: Outcome) -> Found | None:
        """The first rule on the way that the core breaks; ``core`` is what it says."""
        self.ipa = None
        self.walked.clear()
        if not self.world.nested:
            self.ipa = va
            return self._stage2(va, on_walk=False)[0]
        upper = bool(va >> 55 & 1)
        half = self.world.first.halves[upper]
        if not half.in_range(va, upper) or half.disabled:
            return None
        found, leaf = self._stage1(half, va)
        if found is not None or leaf is None or (core.stage == 1 and not core.on_walk):
            return found
        self.ipa = leaf
        return self._stage2(leaf, on_walk=False)[0]

    def _stage1(self, half: Half, va: int) -> tuple[Found | None, int | None]:
        """The IPA, or why not; neither where the descriptor is plainly invalid."""
        table, level = half.root, half.start_level
        while True:
            where = table + 8 * half.index(va, level)
            found, pa = self._stage2(where, on_walk=True)
            if found is not None or pa is None:
                return found, None
            self.walked.add(1)
            descriptor = self._word(pa)
            if descriptor is None:
                abort = Outcome("external abort", level, 1, False, pa)
                return Found(OUTSIDE_RAM, abort), None
            limit = min(IPS_BITS[self.world.first.ips], PA_MAX)
            problem = _problem(half, level, descriptor, limit, BEYOND_IPS)
            if isinstance(problem, str):
                what = "address size" if problem == BEYOND_IPS else "translation"
                return Found(problem, Outcome(what, level, 1)), None
            if problem is None:
                return None, None
            if problem != descriptor:
                return Found(BLOCK_RES0, repair=(pa, problem)), None
            if level == 3 or descriptor & 3 == 1:
                self.first_type = self.world.first.mair >> 8 * (descriptor >> 2 & 7) & 0xFF
                inside = (1 << half.shift(level)) - 1
                return None, descriptor & (1 << 48) - 1 & ~inside | va & inside
            table = descriptor & (1 << 48) - (1 << half.granule_lg2)
            level += 1

    def _stage2(self, ipa: int, *, on_walk: bool) -> tuple[Found | None, int | None]:
        """The physical address, or why not. Where the core is right it is not found out why."""
        stage2 = self.world.stage2

        def settled(name: str, what: str, level: int | None, address: int = ipa) -> Found:
            return Found(name, Outcome(what, level, 2, on_walk, address))

        if ipa >> stage2.input_bits:
            return (settled(STATUS_OF_WALK, "translation", None) if on_walk else None), None
        table, level = stage2.root, stage2.start_level
        while True:
            where = table + 8 * stage2.index(ipa, level)
            if not on_walk:
                self.walked.add(2)
            descriptor = self._word(where)
            if descriptor is None:
                return settled(OUTSIDE_RAM, "external abort", level, where), None
            limit = min(IPS_BITS[stage2.ps], PA_MAX)
            problem = _problem(stage2, level, descriptor, limit, BEYOND_PS)
            if isinstance(problem, str):
                what = "address size" if problem == BEYOND_PS else "translation"
                return settled(problem, what, level), None
            if problem is None:
                return (settled(STATUS_OF_WALK, "translation", level) if on_walk else None), None
            if problem != descriptor:
                return Found(BLOCK_RES0, repair=(where, problem)), None
            if level == 3 or descriptor & 3 == 1:
                break
            table = descriptor & (1 << 48) - (1 << stage2.granule_lg2)
            level += 1
        self.leaf = descriptor
        if not descriptor & ACCESS_FLAG:
            if stage2.ignore_access_flag:
                return Found(NO_FLAG, repair=(where, descriptor | ACCESS_FLAG)), None
            return (settled(STATUS_OF_WALK, "access flag", level) if on_walk else None), None
        device = stage2.protect_walks and descriptor >> 4 & 3 == 0
        if on_walk and (device or not descriptor & READ):
            return settled(STATUS_OF_WALK, "permission", level), None
        inside = (1 << stage2.shift(level)) - 1
        return None, descriptor & (1 << 48) - 1 & ~inside | ipa & inside

    @property
    def has_reserved_type(self) -> bool:
        """Whether the leaf's MemAttr is Normal outside and Device inside, D8.6.5."""
        return bool(self.leaf & 0b1100 << 2) and not self.leaf & 0b11 << 2

    @property
    def device_type(self) -> int | None:
        """The Device type of both stages together, D8.6.5.1; None if both are Normal."""
        second = (self.leaf >> 2 & 3) << 2 if self.leaf >> 4 & 3 == 0 else 0xFF
        devices = [memory for memory in (self.first_type, second) if not memory & 0xF0]
        return min(devices, default=None)

    def _word(self, pa: int) -> int | None:
        ram = self.memory.ram
        return self.memory.get(pa) if ram.base <= pa < ram.end else None


def _problem(
    half: Half, level: int, descriptor: int, output_bits: int, beyond: str
) -> str | int | None:
    """A rule that settles a descriptor; None if it is invalid; else what it is to be read as."""
    kind = descriptor & 3
    if not kind & 1 or (level == 3 and kind == 1):
        return None
    is_block = kind == 1
    if is_block and level not in BLOCK_LEVELS[half.granule_lg2]:
        return NO_BLOCK_HERE
    lowest = half.shift(level) if is_block else half.granule_lg2
    if (descriptor & (1 << 48) - (1 << lowest)) >> output_bits:
        return beyond
    return descriptor & ~((1 << lowest) - (1 << half.granule_lg2)) if is_block else descriptor
