# SPDX-License-Identifier: GPL-2.0-or-later
"""Declare a field once: from that one line come reading, building, range checks and printing.

A word class lists its fields with the bit positions that the specification gives:

>>> class CR0(Word, bits=32):
...     SMMUEN = Bits(0)
...     VMW = Bits(8, 6)
>>> CR0(0x1C1).VMW
7
>>> CR0.make(SMMUEN=1, VMW=2)
CR0(0x81: SMMUEN=1 VMW=0x2)

Words are immutable. A value that does not fit its field, a field that leaves the word and two
fields that overlap are errors, never masked away.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, overload


class Bits:
    """Bits ``[msb:lsb]`` of a word, as a number."""

    def __init__(self, msb: int, lsb: int | None = None) -> None:
        self.msb = msb
        self.lsb = msb if lsb is None else lsb
        self.width = self.msb - self.lsb + 1
        self.mask = (1 << max(self.width, 0)) - 1
        self.name = "?"
        if self.lsb < 0 or self.width < 1:
            raise TypeError(f"no such bits: [{msb}:{lsb}]")
        self.in_place = self.mask << self.lsb
        """Mask of the field's bits in the word."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, word: None, owner: type) -> Self: ...
    @overload
    def __get__(self, word: Word, owner: type) -> int: ...
    def __get__(self, word: Word | None, owner: type) -> Self | int:
        return self if word is None else self.get(word.value)

    def get(self, value: int) -> int:
        """The field of a whole word's value."""
        return value >> self.lsb & self.mask

    def put(self, number: int) -> int:
        """The word's bits for ``number``.

        Raises: ValueError if it does not fit the field.
        """
        if not 0 <= number <= self.mask:
            raise ValueError(f"{number:#x} does not fit {self.name}, bits [{self.msb}:{self.lsb}]")
        return number << self.lsb


class Address(Bits):
    """Bits that hold the upper part of an address: read and written as the whole address.

    ``low`` is the position of the lowest stored bit in the address; by default it is the bit
    position itself modulo 64, as in pointers that lie in place in a doubleword.
    """

    def __init__(self, msb: int, lsb: int, low: int | None = None) -> None:
        super().__init__(msb, lsb)
        self.low = lsb % 64 if low is None else low

    def get(self, value: int) -> int:
        """The address; its bits below ``low`` are zero."""
        return (value >> self.lsb & self.mask) << self.low

    def put(self, number: int) -> int:
        """The word's bits for an address.

        Raises: ValueError if it is not aligned or too large.
        """
        if number & (1 << self.low) - 1:
            raise ValueError(f"{number:#x} is not aligned to {1 << self.low:#x} for {self.name}")
        return super().put(number >> self.low)


class Word:
    """A register, structure or record of a fixed number of bits, made of named fields."""

    __slots__ = ("value",)
    BITS: ClassVar[int] = 0
    FIELDS: ClassVar[dict[str, Bits]] = {}

    def __init_subclass__(cls, bits: int = 0, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.BITS = bits or cls.BITS
        own = {name: field for name, field in vars(cls).items() if isinstance(field, Bits)}
        cls.FIELDS = {**cls.FIELDS, **own}
        taken = 0
        for name, field in cls.FIELDS.items():
            if field.msb >= cls.BITS:
                raise TypeError(f"{cls.__name__}.{name}: bit {field.msb} is outside {cls.BITS}")
            if taken & field.in_place:
                raise TypeError(f"{cls.__name__}.{name} overlaps another field")
            taken |= field.in_place

    def __init__(self, value: int = 0) -> None:
        if value < 0 or value >> self.BITS:
            raise ValueError(f"{value:#x} is not a {self.BITS}-bit word")
        self.value = value

    @classmethod
    def make(cls, **fields: int) -> Self:
        """A word with the given fields and zeros elsewhere.

        Raises: ValueError if a number does not fit its field; TypeError for an unknown field.
        """
        return cls().replace(**fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The word of little-endian memory."""
        return cls(int.from_bytes(data, "little"))

    def to_bytes(self) -> bytes:
        """The word as little-endian memory."""
        return self.value.to_bytes(self.BITS // 8, "little")

    def replace(self, **fields: int) -> Self:
        """The same word with some fields changed.

        Raises: ValueError if a number does not fit its field; TypeError for an unknown field.
        """
        value = self.value
        for name, number in fields.items():
            field = self.FIELDS.get(name)
            if field is None:
                raise TypeError(f"{type(self).__name__} has no field {name}")
            value = value & ~field.in_place | field.put(number)
        return type(self)(value)

    @classmethod
    def mask(cls, *names: str) -> int:
        """Mask of the bits of the named fields, or of all fields."""
        mask = 0
        for name in names or cls.FIELDS:
            mask |= cls.FIELDS[name].in_place
        return mask

    def fields(self) -> dict[str, int]:
        """Every field's number, by name, in the order of declaration."""
        return {name: field.get(self.value) for name, field in self.FIELDS.items()}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        parts = [
            f"{name}={number:#x}" if number > 9 or field.width > 1 else f"{name}={number}"
            for name, field in self.FIELDS.items()
            if (number := field.get(self.value))
        ]
        return f"{type(self).__name__}({self.value:#x}: {' '.join(parts) or 'all zero'})"
