# SPDX-License-Identifier: GPL-2.0-or-later
"""Random stage-2 tables, and stage-1 tables that lie scattered behind them.

Written from DDI 0487 D8.2 and D8.3 alone, like `tables`, whose builder and mappings serve here too:
to it stage 2 is a regime with one half.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from hypothesis import strategies as st

from smmu_emu.memory import Ram
from tests.oracle.tables import (
    ACCESS_FLAG,
    BLOCK_LEVELS,
    GRANULES_LG2,
    IPS_BITS,
    SEEDS,
    TG0,
    Builder,
    Half,
    Mapping,
    Regime,
    regimes,
)

PA_MAX = 44
"""What the core has; the sizes of both stages' addresses end there."""
MEMORY_TYPES = (0x00, 0x04, 0x08, 0x0C, 0x44, 0xFF, 0xBB, 0xEE, 0xF4, 0x4F, 0xBF, 0xA4)
NORMAL = 0b1111 << 2
READ, WRITE = 1 << 6, 1 << 7
START_LEVELS = {12: (0, 1, 2), 14: (1, 2, 3), 16: (1, 2, 3)}
"""Levels that walks of stage 2 may start from, without small tables and with 44 bits, D8.2.8."""


@dataclass
class Stage2(Half):
    """What VTCR says, and STE; ``upper`` halves do not exist here."""

    start: int = 0
    ps: int = 5
    ignore_access_flag: bool = False
    protect_walks: bool = False

    @property
    def start_level(self) -> int:
        return self.start

    @property
    def root_bytes(self) -> int:
        """All concatenated start tables, to whose size they are aligned, D8.2.2."""
        return 8 << self.input_bits - self.shift(self.start)

    @property
    def sl0(self) -> int:
        return (2 if self.granule_lg2 == 12 else 3) - self.start

    @property
    def vtcr(self) -> int:
        return self.tsz | self.sl0 << 6 | TG0[self.granule_lg2] << 14 | self.ps << 16 | 1 << 31


@dataclass
class World:
    """Both stages; without ``nested`` the first is off. ``context`` is where the CD appears.

    ``scatter`` decides where stage 2 shows the tables of stage 1.
    """

    first: Regime
    second: Regime
    nested: bool
    context: int
    scatter: int

    @property
    def stage2(self) -> Stage2:
        (half,) = self.second.halves
        assert isinstance(half, Stage2)
        return half

    @property
    def base(self) -> int:
        """VTTBR's BADDR and STE.S2TTB, whose bits below the start tables' size do not count."""
        stage2 = self.stage2
        return stage2.root | (self.scatter & stage2.root_bytes - 16)

    @property
    def ipa_bits(self) -> int:
        """Bits of addresses that both stages can name."""
        return min(self.stage2.input_bits, IPS_BITS[self.first.ips])


class FirstBuilder(Builder):
    """Writes stage-1 tables, whose addresses are intermediate: each lies where stage 2 shows it."""

    def __init__(self, ram: Ram, heap: int, behind: Builder) -> None:
        super().__init__(ram, heap)
        self.behind = behind
        self.world: World | None = None
        self._pages: dict[int, int] = {}
        self._random = Random(0)

    def begin(self, world: World) -> None:
        """Write both stages, undamaged."""
        self.world = world
        self._pages.clear()
        self._random = Random(world.scatter)
        self.behind.write(world.second)
        if world.nested:
            self.write(world.first)

    def physical(self, ipa: int) -> int:
        """Where the builder put a descriptor."""
        return self._pages[ipa >> 12] | ipa & 0xFFF

    def get(self, where: int) -> int:
        return super().get(self.physical(where))

    def put(self, where: int, descriptor: int) -> None:
        super().put(self.physical(where), descriptor)

    def table(self, half: Half, size: int) -> int:
        """Memory for a table of stage 1, and mappings of stage 2 that show it; returns its IPA."""
        world = self.world
        assert world is not None
        stage2, generator = world.stage2, self._random
        frame = super().table(half, max(size, 1 << stage2.granule_lg2))
        level = generator.choice((3, 3, 2))
        block = 1 << stage2.shift(level)
        if level != 3 and block >> world.ipa_bits == 0:
            ipa = generator.getrandbits(world.ipa_bits) & -block | frame & block - 1
        else:
            level, ipa = 3, self._free_address(size)
            frame |= ipa & (1 << stage2.granule_lg2) - 1
        for offset in range(0, size, 1 << 12):
            self._pages[ipa + offset >> 12] = frame + offset
        bits = leaf_bits(generator) if generator.random() < 0.1 else SHOWN
        for offset in range(0, size, 1 << stage2.granule_lg2):
            mapping = Mapping(False, ipa + offset, level, frame + offset, False, bits, 0)
            self.behind.map(world.second, mapping)
        return ipa

    def _free_address(self, size: int) -> int:
        world = self.world
        assert world is not None
        while True:
            ipa = self._random.getrandbits(world.ipa_bits) & -size
            if ipa >> 12 not in self._pages:
                return ipa


SHOWN = READ | WRITE | NORMAL | ACCESS_FLAG


def leaf_bits(generator: Random) -> int:
    """MemAttr, S2AP, SH, DBM, Contiguous and XN as they come; mostly the access flag."""
    low = generator.getrandbits(8) << 2
    high = generator.getrandbits(4) << 51
    ignored = generator.getrandbits(4) << 55 if generator.random() < 0.25 else 0
    flag = ACCESS_FLAG if generator.random() < 0.85 else 0
    if generator.random() < 0.6:
        low |= READ | WRITE
    if generator.random() < 0.4:
        low |= NORMAL
    return low | flag | high | ignored


def make_stage2(generator: Random) -> Stage2:
    """Any legal combination of granule, start level and input size, D8.2.8 to D8.2.10."""
    granule_lg2 = generator.choice(GRANULES_LG2)
    start = generator.choice(START_LEVELS[granule_lg2])
    stride = granule_lg2 - 3
    shortest = granule_lg2 + (3 - start) * stride + 1
    longest = min(shortest + stride + 3, PA_MAX)
    bits = generator.randint(max(shortest, 25), longest)
    return Stage2(
        granule_lg2=granule_lg2,
        tsz=64 - bits,
        disabled=False,
        top_byte_ignored=False,
        hierarchy_ignored=True,
        start=start,
        ps=generator.choice((0, 1, 2, 3, 4, 5, 5, 5)),
        ignore_access_flag=generator.random() < 0.3,
        protect_walks=generator.random() < 0.5,
    )


def _map_outputs(generator: Random, stage2: Stage2, first: Regime, nested: bool) -> list[Mapping]:
    """Mappings of stage 2, most of them for what stage 1 gives out."""
    wanted = [_output(first, mapping) for mapping in first.mappings] if nested else []
    wanted += [generator.getrandbits(stage2.input_bits) for _ in range(2 if nested else 6)]
    mappings = []
    for ipa in wanted:
        if ipa >> stage2.input_bits or generator.random() < 0.1:
            continue
        level = generator.choice((3, 3, *BLOCK_LEVELS[stage2.granule_lg2] * 2))
        if generator.random() < 0.06:
            level = generator.choice((0, 1))
        mappings.append(
            Mapping(
                upper=False,
                va=ipa,
                level=level,
                output=generator.getrandbits(48 if generator.random() < 0.2 else 32),
                low_output=generator.random() < 0.1,
                bits=leaf_bits(generator),
                table_bits=generator.getrandbits(5) << 59 if generator.random() < 0.25 else 0,
            )
        )
    return mappings


def _output(regime: Regime, mapping: Mapping) -> int:
    """What stage 1 makes of a mapping's own address."""
    half = regime.halves[mapping.upper]
    inside = (1 << half.shift(max(mapping.level, half.start_level))) - 1
    return mapping.output & ~inside | mapping.va & inside


def _aim(mapping: Mapping, half: Half, ipa_bits: int, generator: Random) -> Mapping:
    """Most of what stage 1 gives out is within stage 2's range, as far as its size allows."""
    if generator.random() < 0.15:
        return mapping
    size = 1 << half.shift(max(mapping.level, half.start_level))
    return replace(mapping, output=mapping.output & -size & (1 << ipa_bits) - 1)


@st.composite
def worlds(draw: st.DrawFn, context_page: int) -> World:
    """Both stages and damage to both. The CD lies in the 64 KiB from ``context_page`` on."""
    first = draw(regimes())
    flips = st.integers(0, 63).map(lambda bit: 1 << bit) | SEEDS
    generator = Random(draw(SEEDS))
    stage2 = make_stage2(generator)
    nested = generator.random() < 0.85
    first.pan = False
    first.ips = generator.choice((first.ips, 5))
    first.mair = int.from_bytes(generator.sample(MEMORY_TYPES, 8), "little")
    ipa_bits = min(stage2.input_bits, IPS_BITS[first.ips])
    first.mappings = [
        _aim(mapping, first.halves[mapping.upper], ipa_bits, generator)
        for mapping in first.mappings
    ]
    context = generator.getrandbits(ipa_bits) & -1 << stage2.granule_lg2
    shown = Mapping(False, context, 3, context_page, False, SHOWN, 0)
    second = Regime(
        halves=(stage2,),
        ips=stage2.ps,
        mair=0,
        pan=False,
        mappings=[shown, *_map_outputs(generator, stage2, first, nested)],
        damage=draw(st.lists(st.tuples(st.integers(0, 63), flips), max_size=2)),
    )
    return World(first, second, nested, context, generator.getrandbits(64))
