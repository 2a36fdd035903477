# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions in words."""

from __future__ import annotations

import random

import pytest

from smmu_emu.trace.disassembly import disassemble


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (0xB900_0001, "str w1, [x0]"),
        (0xD503_201F, "nop"),
        (0xD65F_03C0, "ret"),
        (0xD45E_0000, "hlt #0xf000"),
        (0x0000_0000, "udf #0"),
        (0xFFFF_FFFF, ".inst 0xffffffff"),
    ],
)
def test_instruction_is_written_as_arm_writes_it(word: int, text: str) -> None:
    assert disassemble(word.to_bytes(4, "little"), 0x4010_0000) == text


def test_branch_goes_to_an_address() -> None:
    assert disassemble((0x1400_0002).to_bytes(4, "little"), 0x4010_0000) == "b #0x40100008"
    assert disassemble((0x17FF_FFFF).to_bytes(4, "little"), 0) == "b #0xfffffffffffffffc"


def test_any_word_is_one_line() -> None:
    chance = random.Random(1)
    for _ in range(20_000):
        text = disassemble(chance.randbytes(4), chance.getrandbits(64) & -4)
        assert text
        assert text.isprintable()
