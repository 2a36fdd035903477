# SPDX-License-Identifier: GPL-2.0-or-later
"""Geometry of address spaces, from the architecture's tables; descriptions without sense."""

from __future__ import annotations

from typing import Any

import pytest

from pgtable.inspect import Space, SpaceError

K4, K16, K64 = 0x1000, 0x4000, 0x10000

# (what, first level, log2 of what one of its entries covers, its entries)
SHAPES = [
    # Stage 1: tables D8-18, D8-28, D8-37.
    ({"format": "ARM_64_LPAE_S1"}, 0, 39, 512),
    ({"format": "ARM_64_LPAE_S1", "input_bits": 40}, 0, 39, 2),
    ({"format": "ARM_64_LPAE_S1", "input_bits": 39}, 1, 30, 512),
    ({"format": "ARM_64_LPAE_S1", "input_bits": 36}, 1, 30, 64),
    ({"format": "ARM_64_LPAE_S1", "input_bits": 30}, 2, 21, 512),
    ({"format": "ARM_64_LPAE_S1", "granule": K16}, 0, 47, 2),
    ({"format": "ARM_64_LPAE_S1", "granule": K16, "input_bits": 47}, 1, 36, 2048),
    ({"format": "ARM_64_LPAE_S1", "granule": K64}, 1, 42, 64),
    (
        {"format": "ARM_64_LPAE_S1", "granule": K64, "input_bits": 52, "output_bits": 52},
        1,
        42,
        1024,
    ),
    ({"format": "ARM_64_LPAE_S1", "granule": K64, "input_bits": 42}, 2, 29, 8192),
    # Stage 2: concatenated first tables, tables D8-9 and D8-22 to D8-40.
    ({"format": "ARM_64_LPAE_S2"}, 0, 39, 512),
    ({"format": "ARM_64_LPAE_S2", "input_bits": 40, "output_bits": 40}, 1, 30, 1024),
    ({"format": "ARM_64_LPAE_S2", "input_bits": 43, "output_bits": 42}, 1, 30, 8192),
    ({"format": "ARM_64_LPAE_S2", "input_bits": 40, "start_level": 1}, 1, 30, 1024),
    ({"format": "ARM_64_LPAE_S2", "input_bits": 34, "start_level": 2}, 2, 21, 8192),
    ({"format": "ARM_64_LPAE_S2", "granule": K16}, 1, 36, 4096),
    (
        {"format": "ARM_64_LPAE_S2", "granule": K16, "input_bits": 40, "output_bits": 40},
        2,
        25,
        32768,
    ),
    (
        {"format": "ARM_64_LPAE_S2", "granule": K64, "input_bits": 46, "start_level": 2},
        2,
        29,
        131072,
    ),
    # VMSAv8-32, table G5-3.
    ({"format": "ARM_32_LPAE_S1"}, 1, 30, 4),
    ({"format": "ARM_32_LPAE_S1", "input_bits": 30}, 2, 21, 512),
    ({"format": "ARM_32_LPAE_S2"}, 1, 30, 1024),
    ({"format": "ARM_32_LPAE_S2", "input_bits": 39}, 1, 30, 512),
    # Others.
    ({"format": "ARM_MALI_LPAE"}, 0, 39, 512),
    ({"format": "ARM_MALI_LPAE", "input_bits": 33}, 0, 39, 1),
    ({"format": "ARM_V7S"}, 1, 20, 4096),
    ({"format": "ARM_V7S", "input_bits": 25}, 1, 20, 32),
    ({"format": "ARM_V7S", "input_bits": 34, "mtk": True}, 1, 20, 16384),
    ({"format": "APPLE_DART"}, 2, 25, 2048),
    ({"format": "APPLE_DART", "input_bits": 42}, 1, 36, 2048),
    ({"format": "APPLE_DART", "granule": K4}, 2, 21, 512),
]


@pytest.mark.parametrize(("kind", "level", "shift", "entries"), SHAPES)
def test_the_first_table_is_as_the_architecture_says(
    kind: dict[str, Any], level: int, shift: int, entries: int
) -> None:
    first = Space(root=0, **kind).levels[0]
    assert (first.number, first.shift, first.entries) == (level, shift, entries)


def test_lower_levels_are_full_tables_down_to_the_page() -> None:
    levels = Space(format="ARM_64_LPAE_S1", root=0, granule=K16, input_bits=36).levels
    assert [(level.number, level.shift, level.entries) for level in levels] == [
        (2, 25, 2048),
        (3, 14, 2048),
    ]


def test_darts_have_up_to_four_roots() -> None:
    space = Space(format="APPLE_DART", root=(0x4000, None, 0x8000, 0xC000), granule=K4)
    assert (space.input_bits, space.root_span_lg2) == (32, 30)
    assert Space(format="APPLE_DART", root=0x4000).input_bits == 36


def test_the_upper_half_has_all_high_bits_set() -> None:
    space = Space(format="ARM_64_LPAE_S1", root=0, input_bits=39, upper=True)
    assert space.base == 0xFFFF_FF80_0000_0000
    assert space.offset(0xFFFF_FF80_0000_1000) == 0x1000
    assert space.offset(0x1000) is None
    assert Space(format="ARM_64_LPAE_S1", root=0, input_bits=39).offset(1 << 39) is None


REFUSED = [
    ({"format": "ARM_64"}, "format"),
    ({"granule": 0x2000}, "granule"),
    ({"granule": 0x4000, "format": "ARM_V7S"}, "granule"),
    ({"granule": 1 << 100}, "granule"),
    ({"input_bits": 49}, "input bits"),
    ({"input_bits": 12}, "input bits"),
    ({"input_bits": -3}, "input bits"),
    ({"input_bits": 1 << 70}, "input bits"),
    ({"input_bits": 53, "granule": K64, "output_bits": 52}, "input bits"),
    ({"output_bits": 47}, "output bits"),
    ({"output_bits": 52}, "output bits"),
    ({"output_bits": -1}, "output bits"),
    ({"start_level": 1}, "start level"),
    ({"start_level": 4, "format": "ARM_64_LPAE_S2"}, "start level"),
    ({"start_level": 1, "format": "ARM_64_LPAE_S2"}, "start level"),
    ({"upper": True, "format": "ARM_64_LPAE_S2"}, "upper"),
    ({"fwb": True}, "fwb"),
    ({"mtk": True}, "mtk"),
    ({"permissions": False}, "permissions"),
    ({"format": "ARM_V7S", "input_bits": 33}, "input bits"),
    ({"format": "ARM_32_LPAE_S1", "input_bits": 33}, "input bits"),
    ({"mair": 1 << 64}, "mair"),
    ({"root": 0x800}, "root"),
    ({"root": -0x1000}, "root"),
    ({"root": 1 << 48}, "root"),
    ({"root": 1 << 200}, "root"),
    ({"root": (0, 0)}, "root"),
    ({"root": (None,)}, "root"),
    ({"root": 0x1000, "format": "ARM_64_LPAE_S2", "input_bits": 40, "output_bits": 40}, "root"),
    ({"root": 0x2000, "format": "ARM_V7S"}, "root"),
    ({"root": (0, 0, 0, 0, 0), "format": "APPLE_DART"}, "root"),
    ({"input_bits": 60, "format": "APPLE_DART"}, "input bits"),
    ({"input_bits": 3, "format": "APPLE_DART"}, "input bits"),
    ({"start_level": 3, "format": "APPLE_DART"}, "input bits"),
]


@pytest.mark.parametrize(("kind", "field"), REFUSED)
def test_a_description_without_sense_names_its_field(kind: dict[str, Any], field: str) -> None:
    with pytest.raises(SpaceError) as caught:
        Space(**{"format": "ARM_64_LPAE_S1", "root": 0, **kind})
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_small_first_table_needs_little_alignment() -> None:
    # D8.2.5.2: a table is aligned to its size.
    assert Space(format="ARM_64_LPAE_S1", root=0x200, input_bits=36).root_alignment == 0x200
    with pytest.raises(SpaceError, match="0x200"):
        Space(format="ARM_64_LPAE_S1", root=0x100, input_bits=36)


def test_a_space_says_what_it_is() -> None:
    space = Space(format="ARM_64_LPAE_S1", root=0x4800_0000, input_bits=39, upper=True)
    assert str(space) == (
        "ARM_64_LPAE_S1, 4K granule, 39-bit input, 48-bit output, TTBR1, root 0x48000000"
    )
