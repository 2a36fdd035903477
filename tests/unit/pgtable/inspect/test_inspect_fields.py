# SPDX-License-Identifier: GPL-2.0-or-later
"""Layouts cover every bit once, and say what their fields hold."""

from __future__ import annotations

import numpy as np
import pytest

from pgtable.inspect.fields import Field, Kind, Layout, address, flag, ignored, reserved
from pgtable.inspect.reader import Shape
from pgtable.inspect.space import FORMATS, Space

SPACES = [
    *(Space(format=name, root=0) for name in FORMATS),
    *(Space(format="ARM_64_LPAE_S1", root=0, granule=g) for g in (0x4000, 0x10000)),
    Space(format="ARM_64_LPAE_S1", root=0, granule=0x10000, output_bits=52, input_bits=52),
    Space(format="ARM_64_LPAE_S2", root=0, granule=0x10000, output_bits=52, fwb=True),
    Space(format="ARM_V7S", root=0, mtk=True, mtk_tables=True, input_bits=34),
    Space(format="ARM_V7S", root=0, output_bits=40),
    Space(format="APPLE_DART", root=0, granule=0x1000),
    Space(format="APPLE_DART2", root=0, granule=0x1000),
]


def shapes() -> list[Shape]:
    return [s for space in SPACES for level in space.levels for s in level.shapes.values()]


def test_a_layout_with_a_hole_or_an_overlap_is_an_error() -> None:
    Layout("good", 8, (reserved(7, 4), flag("a", 3), ignored(2, 0)))
    for fields in (
        (reserved(7, 4), ignored(2, 0)),
        (reserved(7, 3), flag("a", 3), ignored(2, 0)),
        (reserved(7, 1),),
        (reserved(8, 0),),
    ):
        with pytest.raises(TypeError):
            Layout("bad", 8, fields)


def test_an_address_field_holds_bits_from_its_low_one() -> None:
    layout = Layout("two parts", 16, (address(15, 12), address(11, 8, 40), reserved(7, 0)))
    assert layout.address(0xA500) == 0x500_0000_A000
    words = np.array([0xA500, 0x0F00], dtype=np.uint64)
    assert layout.addresses(words).tolist() == [0x500_0000_A000, 0xF00_0000_0000]


def test_fields_say_what_their_numbers_mean() -> None:
    field = Field("AP", 7, 6, Kind.ATTRIBUTE, ("a", "b"))
    assert field.bits == "[7:6]"
    assert [field.say(n) for n in range(3)] == ["a", "b", "reserved"]
    assert reserved(3).say(1) == "reserved, must be zero"
    assert reserved(3).say(0) == ""


@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: shape.name)
def test_every_kind_of_descriptor_is_declared_in_full(shape: Shape) -> None:
    layout = shape.layout
    masks = [field.place for field in layout.fields]
    assert sum(masks) == (1 << layout.bits) - 1
    parts = layout.mask(Kind.TYPE) | layout.mask(Kind.ADDRESS) | shape.key | shape.reserved
    assert parts == (1 << layout.bits) - 1
    if shape.size_lg2:
        # A leaf's address has no bits below its size.
        assert layout.address((1 << layout.bits) - 1) & (1 << shape.size_lg2) - 1 == 0
