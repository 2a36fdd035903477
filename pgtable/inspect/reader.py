# SPDX-License-Identifier: GPL-2.0-or-later
"""How one format is read: its levels, the kinds of descriptors on each, and what they mean.

A format's reader declares; everything that walks, prints, checks or compares works on these
declarations, over single descriptors here and over whole levels at once in `tree`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pgtable.inspect.fields import Field, Kind, Layout
from pgtable.inspect.meaning import Meaning
from pgtable.inspect.units import size_words

if TYPE_CHECKING:
    from pgtable.inspect.arrays import U8, U64
    from pgtable.inspect.space import Space

EMPTY, ILLEGAL, TABLE, LEAF, WIDE_LEAF = range(5)
"""What an entry can be: nothing, a type that its level must not have, a table, or a leaf."""


@dataclass(frozen=True)
class Shape:
    """One kind of descriptor: its layout and, for a leaf, its size and how often it is written."""

    name: str
    layout: Layout
    size_lg2: int = 0
    repeated: int = 1
    key: int = field(init=False)
    """Mask of the bits that a leaf's meaning is made of."""
    reserved: int = field(init=False)
    """Mask of the bits that must be zero."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.layout.mask(Kind.ATTRIBUTE, Kind.IGNORED))
        object.__setattr__(self, "reserved", self.layout.mask(Kind.RESERVED))

    @property
    def size(self) -> int:
        """Bytes that a leaf maps."""
        return 1 << self.size_lg2


@dataclass(frozen=True)
class Level:
    """One level: how the input address indexes it and which descriptors it may hold.

    `shift`: log2 of the bytes that one entry covers. `codes[i]` is what an entry is whose bits
    `type_bits`, taken together as a number, are i. `contiguous`: how many entries one contiguous
    bit speaks for, 1 if there is none.
    """

    number: int
    shift: int
    entries: int
    width: int
    type_bits: tuple[int, ...]
    codes: tuple[int, ...]
    shapes: dict[int, Shape]
    contiguous: int = 1

    @property
    def table_size(self) -> int:
        """Bytes of a table of this level."""
        return self.entries * self.width

    def code(self, word: int) -> int:
        """Return what one entry is."""
        return self.codes[sum((word >> bit & 1) << i for i, bit in enumerate(self.type_bits))]

    def codes_of(self, words: U64) -> U8:
        """Return what each of many entries is."""
        index = np.zeros(words.shape, dtype=np.uint8)
        for i, bit in enumerate(self.type_bits):
            index |= ((words >> np.uint64(bit) & np.uint64(1)) << np.uint64(i)).astype(np.uint8)
        codes: U8 = np.array(self.codes, dtype=np.uint8)[index]
        return codes


class FieldValue(NamedTuple):
    """One field of one descriptor, and what its number means."""

    field: Field
    number: int
    words: str


@dataclass(frozen=True)
class Descriptor:
    """A descriptor taken apart. `address` and `size` are None and 0 where it has none."""

    word: int
    level: int
    kind: str
    address: int | None
    size: int
    fields: tuple[FieldValue, ...] = field(repr=False)
    meaning: Meaning | None
    problems: tuple[tuple[str, str], ...]
    """(rule, words) for everything that is illegal about it, by itself."""

    @property
    def is_table(self) -> bool:
        return self.kind == "table"

    @property
    def is_leaf(self) -> bool:
        return self.meaning is not None

    def __str__(self) -> str:
        if self.address is None:
            return self.kind
        if self.meaning is None:
            return f"{self.kind} → {self.address:#x}"
        return f"{size_words(self.size)} {self.kind} → {self.address:#x} {self.meaning}"


class Reader:
    """Reads one address space; subclasses know a family of formats."""

    inherited_mask = 0
    """Bits of a table descriptor that restrict everything below it."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.levels = self.make_levels()

    def make_levels(self) -> tuple[Level, ...]:
        """Return the levels, the first one first."""
        raise NotImplementedError

    def meaning(self, shape: Shape, word: int, inherited: int) -> Meaning:
        """Return what a leaf means below tables whose restrictions are `inherited`."""
        raise NotImplementedError

    def level(self, number: int) -> Level:
        """Return the level of a number.

        Raises: KeyError.
        """
        for level in self.levels:
            if level.number == number:
                return level
        raise KeyError(number)

    def index(self, depth: int, iova: int) -> int:
        """Return the index of an input address (without its upper bits) in a level's table."""
        level = self.levels[depth]
        return iova >> level.shift & level.entries - 1

    def decode(self, word: int, level: Level, inherited: int = 0) -> Descriptor:
        """Take a descriptor apart."""
        code = level.code(word)
        shape = level.shapes.get(code)
        if shape is None:
            kind = "invalid" if code == EMPTY else "reserved type"
            problems = () if code == EMPTY else ((("reserved-type"), self.illegal_words(level)),)
            return Descriptor(word, level.number, kind, None, 0, (), None, problems)
        fields = tuple(
            FieldValue(field, number, field.say(number))
            for field in shape.layout.fields
            for number in (field.get(word),)
        )
        meaning = None if code == TABLE else self.meaning(shape, word, inherited)
        return Descriptor(
            word,
            level.number,
            shape.name,
            shape.layout.address(word),
            0 if code == TABLE else shape.size,
            fields,
            meaning,
            tuple(self.problems(shape, word, meaning)),
        )

    def illegal_words(self, level: Level) -> str:
        """Say why a level may not have a descriptor of this type."""
        return f"this descriptor type is reserved on level {level.number}; hardware faults"

    def problems(self, shape: Shape, word: int, meaning: Meaning | None) -> list[tuple[str, str]]:
        """Return what is illegal about a descriptor by itself, as (rule, words)."""
        found = []
        bits = word & shape.reserved
        if bits:
            names = ", ".join(str(bit) for bit in range(63, -1, -1) if bits >> bit & 1)
            below = bits & shape.size - 1 & ~0xFFF if meaning is not None else 0
            if below:
                found.append(
                    (
                        "misaligned",
                        f"the output address is not a multiple of {size_words(shape.size)} "
                        f"(bits {names} set)",
                    )
                )
            else:
                found.append(("reserved-bits", f"reserved bits set: {names}"))
        address = shape.layout.address(word)
        if address >> self.space.output_bits:
            found.append(
                (
                    "address-size",
                    f"address {address:#x} is over the {self.space.output_bits}-bit output size",
                )
            )
        if meaning is not None:
            found.extend(self.meaning_problems(meaning))
        return found

    def meaning_problems(self, meaning: Meaning) -> list[tuple[str, str]]:
        """Return what is illegal about a leaf's attributes."""
        found = []
        if meaning.memory.reserved:
            found.append(("reserved-memory-type", meaning.memory.words))
        if meaning.shareability.startswith("reserved"):
            found.append(("reserved-shareability", "SH is 0b01, a reserved value"))
        if "no-AF" in meaning.flags:
            found.append(("access-flag", "the access flag is clear: the first access faults"))
        return found
