# SPDX-License-Identifier: GPL-2.0-or-later
"""Random stage-1 translation tables, right and wrong, and how to read them back.

Written from DDI 0487 D8.2 and D8.3 alone, without the writer and the walkers of this project.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from hypothesis import strategies as st

from smmu_emu.memory import Ram

GRANULES_LG2 = (12, 14, 16)
TG0 = {12: 0, 16: 1, 14: 2}
TG1 = {14: 1, 12: 2, 16: 3}
IPS_BITS = (32, 36, 40, 42, 44, 48)
BLOCK_LEVELS = {12: (1, 2), 14: (2,), 16: (2,)}
"""Levels with block descriptors, without FEAT_LPA2 and FEAT_LPA."""
MEMORY_TYPES = (0x00, 0x04, 0x08, 0x0C, 0x44, 0xFF, 0xBB, 0xEE)
ACCESS_FLAG = 1 << 10
MASK64 = (1 << 64) - 1


@dataclass
class Half:
    """What TCR says about one half of the addresses, and where its root table is."""

    granule_lg2: int
    tsz: int
    disabled: bool
    top_byte_ignored: bool
    hierarchy_ignored: bool
    root: int = 0

    @property
    def input_bits(self) -> int:
        return 64 - self.tsz

    @property
    def stride(self) -> int:
        return self.granule_lg2 - 3

    @property
    def start_level(self) -> int:
        """The last level at which one table still covers all bits, D8.2.6."""
        level, covered = 3, self.granule_lg2 + self.stride
        while covered < self.input_bits:
            level, covered = level - 1, covered + self.stride
        return level

    @property
    def root_bytes(self) -> int:
        """Memory for the table that walks start from; a whole granule, though less may do."""
        return 1 << self.granule_lg2

    def shift(self, level: int) -> int:
        """Log2 of the bytes below one descriptor."""
        return self.granule_lg2 + (3 - level) * self.stride

    def index(self, va: int, level: int) -> int:
        top = self.input_bits if level == self.start_level else self.shift(level) + self.stride
        return (va & (1 << top) - 1) >> self.shift(level)

    def in_range(self, va: int, upper: bool) -> bool:
        """Whether the bits above the input size are all copies of bit 55, or ignored, D8.2.4."""
        top = 56 if self.top_byte_ignored else 64
        above = va >> self.input_bits & (1 << top - self.input_bits) - 1
        return above == ((1 << top - self.input_bits) - 1 if upper else 0)


@dataclass(frozen=True)
class Mapping:
    """One leaf and the tables above it. ``bits`` are the leaf's attributes with their places.

    ``low_output`` keeps the bits of ``output`` that lie below a block's address.
    """

    upper: bool
    va: int
    level: int
    output: int
    low_output: bool
    bits: int
    table_bits: int


@dataclass
class Regime:
    """Both halves, the tables, and what applies to all."""

    halves: tuple[Half, ...]
    ips: int
    mair: int
    pan: bool
    mappings: list[Mapping]
    damage: list[tuple[int, int]]
    slots: list[int] = field(default_factory=list)
    """Addresses of all descriptors that were written."""

    @property
    def tcr(self) -> int:
        low, high = self.halves
        return (
            low.tsz
            | low.disabled << 7
            | TG0[low.granule_lg2] << 14
            | high.tsz << 16
            | high.disabled << 23
            | TG1[high.granule_lg2] << 30
            | self.ips << 32
            | low.top_byte_ignored << 37
            | high.top_byte_ignored << 38
            | low.hierarchy_ignored << 41
            | high.hierarchy_ignored << 42
        )


class Builder:
    """Puts the tables of a regime into RAM from ``heap`` on, and takes them away again."""

    def __init__(self, ram: Ram, heap: int) -> None:
        self.ram = ram
        self.heap = heap
        self.free = heap
        self._tables: dict[tuple[bool, int, int], int] = {}

    def build(self, regime: Regime) -> None:
        """Write everything, then do the damage."""
        self.write(regime)
        self.damage(regime)

    def write(self, regime: Regime) -> None:
        """Write what is right."""
        self.clear()
        for half in regime.halves:
            half.root = self.table(half, half.root_bytes)
        for mapping in regime.mappings:
            self.map(regime, mapping)

    def damage(self, regime: Regime) -> None:
        """Flip bits."""
        for pick, flips in regime.damage:
            if regime.slots:
                where = regime.slots[pick % len(regime.slots)]
                self.put(where, self.get(where) ^ flips)

    def clear(self) -> None:
        size = self.free - self.heap
        offset = self.heap - self.ram.base
        self.ram.view[offset : offset + size] = bytes(size)
        self.free = self.heap
        self._tables.clear()

    def get(self, where: int) -> int:
        return self.ram.words[(where - self.ram.base) // 8]

    def put(self, where: int, descriptor: int) -> None:
        self.ram.words[(where - self.ram.base) // 8] = descriptor

    def table(self, half: Half, size: int) -> int:
        """Memory for a table, aligned to its size."""
        self.free = -(-self.free // size) * size
        table = self.free
        self.free += size
        return table

    def map(self, regime: Regime, mapping: Mapping) -> None:
        half = regime.halves[mapping.upper]
        table = half.root
        last = max(mapping.level, half.start_level)
        for level in range(half.start_level, last):
            where = table + 8 * half.index(mapping.va, level)
            key = mapping.upper, level, mapping.va >> half.shift(level)
            if key not in self._tables:
                if self.get(where):
                    return  # a block of another mapping is there
                self._tables[key] = self.table(half, 1 << half.granule_lg2)
                self.put(where, self._tables[key] | mapping.table_bits | 3)
                regime.slots.append(where)
            table = self._tables[key]
        where = table + 8 * half.index(mapping.va, last)
        if not self.get(where):
            lowest = half.granule_lg2 if mapping.low_output else half.shift(last)
            output = mapping.output & -(1 << lowest) & (1 << 48) - 1
            self.put(where, output | mapping.bits | (3 if last == 3 else 1))
            regime.slots.append(where)


Step = tuple[int, int, int | None]
"""Level, address of the descriptor, and the descriptor; None where there is no RAM."""


def path(builder: Builder, half: Half, va: int) -> Iterator[Step]:
    """The descriptors that a walk meets, until one is not a table descriptor."""
    table, level = half.root, half.start_level
    while True:
        where = table + 8 * half.index(va, level)
        inside = builder.ram.base <= where < builder.ram.end
        descriptor = builder.get(where) if inside else None
        yield level, where, descriptor
        if descriptor is None or level == 3 or descriptor & 3 != 3:
            return
        table = descriptor & (1 << 48) - (1 << half.granule_lg2)
        level += 1


# -- strategies: hypothesis decides how much there is, a seed each what it looks like; so values are
# spread evenly, and a failure still shrinks to the few mappings that it takes

SEEDS = st.integers(0, MASK64)


def make_half(seed: int) -> Half:
    generator = Random(seed)
    return Half(
        granule_lg2=generator.choice(GRANULES_LG2),
        tsz=generator.randint(16, 39),
        disabled=generator.random() < 0.05,
        top_byte_ignored=generator.random() < 0.5,
        hierarchy_ignored=generator.random() < 0.25,
    )


def make_mapping(pair: tuple[Half, Half], seed: int) -> Mapping:
    generator = Random(seed)
    upper = generator.random() < 0.5
    half = pair[upper]
    va = generator.getrandbits(half.input_bits)
    if upper:
        va |= MASK64 & -(1 << half.input_bits)
    level = generator.choice((3, 3, 3, *BLOCK_LEVELS[half.granule_lg2] * 2))
    if generator.random() < 0.06:
        level = generator.choice((0, 1))
    junk = generator.random() < 0.25  # in bits that hardware must not look at
    return Mapping(
        upper=upper,
        va=va,
        level=level,
        output=generator.getrandbits(48 if generator.random() < 0.2 else 32),
        low_output=generator.random() < 0.1,
        bits=_leaf_bits(generator) | (0x0780_0000_0000_0000 if junk else 0),
        table_bits=_table_bits(generator) | (0x0780_0000_0000_0F00 if junk else 0),
    )


def _leaf_bits(generator: Random) -> int:
    """AttrIndx, NS, AP, SH, nG, Contiguous, PXN and UXN as they come; mostly the access flag."""
    low = (generator.getrandbits(10) << 2) & ~ACCESS_FLAG
    high = generator.getrandbits(3) << 52
    return low | high | (ACCESS_FLAG if generator.random() < 0.9 else 0)


def _table_bits(generator: Random) -> int:
    """PXNTable, UXNTable and APTable, often clear."""
    return generator.getrandbits(4) << 59 if generator.random() < 0.5 else 0


@st.composite
def regimes(draw: st.DrawFn) -> Regime:
    """A regime with a few mappings that share tables, and often some damage."""
    pair = make_half(draw(SEEDS)), make_half(draw(SEEDS))
    seeds = draw(st.lists(SEEDS, min_size=4, max_size=10, unique=True))
    flips = st.integers(0, 63).map(lambda bit: 1 << bit) | SEEDS
    generator = Random(draw(SEEDS))
    return Regime(
        halves=pair,
        ips=generator.randrange(6),
        mair=int.from_bytes(generator.sample(MEMORY_TYPES, 8), "little"),
        pan=generator.random() < 0.5,
        mappings=[make_mapping(pair, seed) for seed in seeds],
        damage=draw(st.lists(st.tuples(st.integers(0, 63), flips), max_size=3)),
    )


def probes(regime: Regime) -> Iterator[int]:
    """Addresses worth asking: in, beside and beyond every mapping."""
    for number, mapping in enumerate(regime.mappings):
        half = regime.halves[mapping.upper]
        va = mapping.va
        size = 1 << half.shift(max(mapping.level, half.start_level))
        yield va
        yield va ^ size - 1
        yield va ^ size >> 1
        if number % 2:
            yield (va + size) & MASK64
        else:
            yield va ^ 1 << (half.input_bits, 55, 56, 60, 63)[number // 2 % 5] % 64
