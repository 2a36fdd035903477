# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of 32-bit registers: access rights, sizes, side effects, and what is not there."""

from __future__ import annotations

import pytest

from smmu_emu.devices.register_block import RW, R, Register, RegisterBlock, W

TABLE = (
    Register("CONTROL", 0x00, RW, reset=0x1122_3344, writable=0xFF00_FFFF),
    Register("STATUS", 0x04, R, reset=0xAABB_CCDD),
    Register("CLEAR", 0x08, W),
)


def make() -> tuple[RegisterBlock, list[tuple[int, str]]]:
    reported = list[tuple[int, str]]()
    return RegisterBlock(TABLE, lambda offset, kind: reported.append((offset, kind))), reported


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0, 4, 0x1122_3344),
        (0, 1, 0x44),
        (1, 1, 0x33),
        (3, 1, 0x11),
        (2, 2, 0x1122),
        (1, 2, 0x2233),
        (2, 4, 0x1122),
        (0, 8, 0xAABB_CCDD_1122_3344),
        (8, 4, 0),
    ],
)
def test_read_gives_the_bytes_of_the_word(offset: int, size: int, value: int) -> None:
    block, reported = make()
    assert block.read(offset, size) == value
    assert reported == []


def test_write_changes_writable_bits_only() -> None:
    block, _ = make()
    block.write(0, 4, 0xFFFF_FFFF)
    assert block.read(0, 4) == 0xFF00_FFFF
    block.write(4, 4, 0)
    assert block.read(4, 4) == 0xAABB_CCDD


def test_narrow_write_is_extended_by_zeros_at_the_start_and_ignored_elsewhere() -> None:
    block, reported = make()
    block.write(0, 1, 0x5A)
    assert block.values["CONTROL"] == 0x5A
    block.write(1, 1, 0xFF)
    assert block.values["CONTROL"] == 0x5A
    assert reported == [(1, "write")]


def test_eight_bytes_are_two_words_in_order() -> None:
    block, _ = make()
    log = list[tuple[str, int]]()
    block.on_write["CONTROL"] = lambda value: log.append(("CONTROL", value))
    block.on_write["CLEAR"] = lambda value: log.append(("CLEAR", value))
    block.write(0, 8, 0x9999_9999_1111_1111)
    block.write(8, 8, 0x7777_7777_2222_2222)
    assert log == [("CONTROL", 0x1100_1111), ("CLEAR", 0x2222_2222)]


def test_offset_without_a_register_is_zero_and_reported() -> None:
    block, reported = make()
    assert block.read(0x10, 4) == 0
    block.write(0x10, 4, 5)
    assert block.read(0x13, 1) == 0
    assert reported == [(0x10, "read"), (0x10, "write"), (0x10, "read")]


def test_read_action_gives_the_value() -> None:
    block, _ = make()
    block.on_read["STATUS"] = lambda: 0xDEAD_BEEF
    assert block.read(6, 2) == 0xDEAD


def test_reset_is_the_tables() -> None:
    block, _ = make()
    block.write(0, 4, 0)
    block.reset()
    assert block.values == {"CONTROL": 0x1122_3344, "STATUS": 0xAABB_CCDD, "CLEAR": 0}
