# SPDX-License-Identifier: GPL-2.0-or-later
"""Declare a descriptor: every bit of it belongs to exactly one field, and each field has words.

A layout that leaves a bit out, or gives one to two fields, is an error when it is made. The
readers declare their layouts from the specifications, apart from the code that writes tables: if
both shared one idea of a descriptor, one mistake would hide the other.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pgtable.inspect.arrays import U64, u64


class Kind(enum.Enum):
    """What a field is for."""

    TYPE = "type"
    ADDRESS = "address"
    ATTRIBUTE = "attribute"
    IGNORED = "ignored"
    RESERVED = "reserved"


Words = Sequence[str] | Callable[[int], str]


class Field(NamedTuple):
    """Bits [msb:lsb]. An address field holds address bits from `low` up."""

    name: str
    msb: int
    lsb: int
    kind: Kind = Kind.ATTRIBUTE
    words: Words | None = None
    low: int = 0

    @property
    def mask(self) -> int:
        """Mask of the field's number, at bit 0."""
        return (1 << self.msb - self.lsb + 1) - 1

    @property
    def place(self) -> int:
        """Mask of the field's bits in the word."""
        return self.mask << self.lsb

    @property
    def bits(self) -> str:
        """The bit positions, as specifications write them."""
        return f"[{self.msb}]" if self.msb == self.lsb else f"[{self.msb}:{self.lsb}]"

    def get(self, word: int) -> int:
        """Return the field's number."""
        return word >> self.lsb & self.mask

    def say(self, number: int) -> str:
        """Return what a number means, or nothing where it means nothing."""
        if self.kind is Kind.ADDRESS:
            return hex(number << self.low)
        if self.kind is Kind.RESERVED:
            return "reserved, must be zero" if number else ""
        if self.kind is Kind.IGNORED:
            return "ignored by hardware" if number else ""
        if self.words is None:
            return ""
        if callable(self.words):
            return self.words(number)
        return self.words[number] if number < len(self.words) else "reserved"


def address(msb: int, lsb: int, low: int | None = None, name: str = "address") -> Field:
    """A field that holds address bits from `low` (by default, its own position) up."""
    return Field(name, msb, lsb, Kind.ADDRESS, None, lsb if low is None else low)


def reserved(msb: int, lsb: int | None = None) -> Field:
    """Bits that must be zero."""
    return Field("RES0", msb, msb if lsb is None else lsb, Kind.RESERVED)


def ignored(msb: int, lsb: int | None = None, name: str = "ignored") -> Field:
    """Bits that hardware does not look at; software may keep something there."""
    return Field(name, msb, msb if lsb is None else lsb, Kind.IGNORED)


def flag(name: str, bit: int, off: str = "", on: str = "") -> Field:
    """One attribute bit."""
    return Field(name, bit, bit, Kind.ATTRIBUTE, (off, on))


@dataclass(frozen=True)
class Layout:
    """All fields of one kind of descriptor, from the highest bit down.

    Raises: TypeError if the fields do not cover the word exactly.
    """

    name: str
    bits: int
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        at = self.bits
        for field in self.fields:
            if field.msb != at - 1 or field.lsb > field.msb:
                raise TypeError(f"{self.name}: bit {at - 1} wanted, {field.name}{field.bits} found")
            at = field.lsb
        if at:
            raise TypeError(f"{self.name}: bits below {at} are not declared")

    def mask(self, *kinds: Kind) -> int:
        """Return the mask of all fields of some kinds."""
        return sum(field.place for field in self.fields if field.kind in kinds)

    def field(self, name: str) -> Field:
        """Return a field by its name."""
        return next(field for field in self.fields if field.name == name)

    def get(self, word: int, name: str) -> int:
        """Return a field's number, or 0 if this kind of descriptor lacks it."""
        for field in self.fields:
            if field.name == name:
                return field.get(word)
        return 0

    def address(self, word: int) -> int:
        """Return the address that a descriptor holds."""
        return sum(
            field.get(word) << field.low for field in self.fields if field.kind is Kind.ADDRESS
        )

    def addresses(self, words: U64) -> U64:
        """Return the addresses that descriptors hold."""
        total: U64 = np.zeros(words.shape, dtype=np.uint64)
        for field in self.fields:
            if field.kind is Kind.ADDRESS:
                if field.low == field.lsb:
                    total |= words & u64(field.place)
                else:
                    total |= (words >> u64(field.lsb) & u64(field.mask)) << u64(field.low)
        return total
