# SPDX-License-Identifier: GPL-2.0-or-later
"""Declaring fields: reading, building, refusing, printing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smmu_emu.bits import Address, Bits, Word


class Sample(Word, bits=64):
    """A word with a flag, a number, a pointer in place and a hole."""

    FLAG = Bits(0)
    NUMBER = Bits(11, 4)
    POINTER = Address(47, 12)
    TOP = Bits(63, 60)


class Far(Word, bits=128):
    """A pointer in the second doubleword."""

    LOW = Bits(7, 0)
    POINTER = Address(119, 68)


def test_fields_are_read_from_their_bits() -> None:
    word = Sample(0xA000_1234_5678_9AB1)

    assert (word.FLAG, word.NUMBER, word.TOP) == (1, 0xAB, 0xA)
    assert word.POINTER == 0x1234_5678_9000


def test_fields_are_put_into_their_bits() -> None:
    word = Sample.make(FLAG=1, NUMBER=0xAB, POINTER=0x1234_5678_9000, TOP=0xA)

    assert word.value == 0xA000_1234_5678_9AB1


def test_address_counts_from_its_doubleword() -> None:
    assert Far(0xABC0 << 64).POINTER == 0xABC0
    assert Far.make(POINTER=0x00FF_FFFF_FFFF_FFF0).value == 0x00FF_FFFF_FFFF_FFF0 << 64


def test_address_may_start_elsewhere() -> None:
    class Shifted(Word, bits=32):
        """A page number in the low bits."""

        PAGE = Address(19, 0, low=12)

    assert Shifted(0x12345).PAGE == 0x1234_5000
    assert Shifted.make(PAGE=0x1234_5000).value == 0x12345


@pytest.mark.parametrize(
    ("name", "number"), [("FLAG", 2), ("NUMBER", 256), ("NUMBER", -1), ("TOP", 16)]
)
def test_number_that_does_not_fit_is_refused(name: str, number: int) -> None:
    with pytest.raises(ValueError, match=name):
        Sample.make(**{name: number})


@pytest.mark.parametrize("address", [1, 0x800, 0x1234_5678_9FFF, 1 << 48, -0x1000])
def test_address_that_does_not_fit_is_refused(address: int) -> None:
    with pytest.raises(ValueError, match="POINTER"):
        Sample.make(POINTER=address)


def test_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="MISSING"):
        Sample.make(MISSING=1)


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_word_that_is_too_large_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="64-bit"):
        Sample(value)


def test_overlapping_fields_are_refused_when_declared() -> None:
    with pytest.raises(TypeError, match=r"Overlap\.B"):

        class Overlap(Word, bits=32):
            """Two fields on bit 4."""

            A = Bits(4, 0)
            B = Bits(7, 4)


def test_field_outside_the_word_is_refused_when_declared() -> None:
    with pytest.raises(TypeError, match="outside"):

        class Outside(Word, bits=32):
            """Bit 32 of 32."""

            A = Bits(32)


@pytest.mark.parametrize(("msb", "lsb"), [(3, 4), (0, -1)])
def test_field_without_bits_is_refused(msb: int, lsb: int) -> None:
    with pytest.raises(TypeError, match="no such bits"):
        Bits(msb, lsb)


def test_words_cannot_be_changed_by_replace() -> None:
    word = Sample(1)
    other = word.replace(NUMBER=7)

    assert (word.value, other.value) == (1, 0x71)


def test_replace_keeps_undeclared_bits() -> None:
    assert Sample(0x000F_0000_0000_0000).replace(FLAG=1).value == 0x000F_0000_0000_0001


def test_words_of_memory_are_little_endian() -> None:
    data = bytes(range(8))

    assert Sample.from_bytes(data).value == 0x0706_0504_0302_0100
    assert Sample(0x0706_0504_0302_0100).to_bytes() == data


def test_masks_of_fields() -> None:
    assert Sample.mask("FLAG") == 1
    assert Sample.mask("FLAG", "NUMBER") == 0xFF1
    assert Sample.mask() == 0xF000_FFFF_FFFF_FFF1
    assert Sample.NUMBER.in_place == 0xFF0


def test_fields_are_listed_in_order() -> None:
    assert list(Sample(0x10).fields().items()) == [
        ("FLAG", 0),
        ("NUMBER", 1),
        ("POINTER", 0),
        ("TOP", 0),
    ]


def test_words_compare_by_class_and_value() -> None:
    class Other(Word, bits=64):
        """Another class."""

        FLAG = Bits(0)

    assert Sample(1) == Sample(1)
    assert Sample(1) != Sample(2)
    assert Sample(1) != Other(1)
    assert len({Sample(1), Sample(1), Other(1)}) == 2


def test_printed_word_names_what_is_set() -> None:
    assert repr(Sample(0x11)) == "Sample(0x11: FLAG=1 NUMBER=0x1)"
    assert repr(Sample(0)) == "Sample(0x0: all zero)"


def test_class_inherits_fields_and_size() -> None:
    class More(Sample):
        """One field more."""

        EXTRA = Bits(1)

    assert (More.BITS, list(More.FIELDS)) == (64, ["FLAG", "NUMBER", "POINTER", "TOP", "EXTRA"])
    assert More(3).EXTRA == 1
    assert "EXTRA" not in Sample.FIELDS


@given(
    flag=st.integers(0, 1),
    number=st.integers(0, 255),
    pointer=st.integers(0, (1 << 36) - 1),
    top=st.integers(0, 15),
)
def test_what_is_put_in_comes_out(flag: int, number: int, pointer: int, top: int) -> None:
    word = Sample.make(FLAG=flag, NUMBER=number, POINTER=pointer << 12, TOP=top)
    fields = {"FLAG": flag, "NUMBER": number, "POINTER": pointer << 12, "TOP": top}

    assert word.fields() == fields
    assert Sample.from_bytes(word.to_bytes()) == word


@given(value=st.integers(0, (1 << 64) - 1))
def test_fields_cover_their_mask_and_nothing_else(value: int) -> None:
    assert Sample.make(**Sample(value).fields()).value == value & Sample.mask()
