# SPDX-License-Identifier: GPL-2.0-or-later
"""Parallel flash: query, identification, erasing and programming. Offsets are literals."""

from __future__ import annotations

import pytest

from smmu_emu.devices.pflash import Pflash

SECTOR = 0x4_0000


@pytest.fixture
def flash() -> Pflash:
    return Pflash("flash0", b"\x12\x34\x56\x78image")


def test_it_shows_its_image_and_zeros(flash: Pflash) -> None:
    assert flash.read(0, 4) == 0x7856_3412
    assert flash.read(1, 2) == 0x5634
    assert flash.read(0x3FF_FFF8, 8) == 0
    assert flash.shows_contents


@pytest.mark.parametrize("width", [1, 2, 4])
def test_query_answers_on_both_chips(flash: Pflash, width: int) -> None:
    flash.write(0x154, width, 0x0098_0098 & (1 << 8 * width) - 1)
    letters = [flash.read(at, width) for at in (0x40, 0x44, 0x48)]
    mask = (1 << 8 * width) - 1
    assert letters == [word & mask for word in (0x51_0051, 0x52_0052, 0x59_0059)]
    assert not flash.shows_contents
    flash.write(0, 1, 0xFF)
    assert flash.read(0, 2) == 0x3412


def test_geometry_is_64_mib_in_sectors_of_256_kib(flash: Pflash) -> None:
    flash.write(0x154, 2, 0x98)
    size, blocks = flash.read(4 * 0x27, 1), flash.read(4 * 0x2D, 1) + 1
    sector = (flash.read(4 * 0x2F, 1) | flash.read(4 * 0x30, 1) << 8) * 256
    assert (2 << size, blocks, 2 * sector) == (64 << 20, 256, 256 << 10)
    assert 1 << flash.read(4 * 0x2A, 1) == 2048


def test_identification_is_qemus(flash: Pflash) -> None:
    flash.write(0, 1, 0x90)
    assert [flash.read(at, 4) for at in (0, 4, 8)] == [0x89_0089, 0x18_0018, 0]


def test_other_makers_commands_lead_back_to_the_contents(flash: Pflash) -> None:
    flash.write(0, 1, 0x98)
    flash.write(0, 1, 0xF0)
    assert flash.shows_contents


def test_erased_sector_is_all_ones_and_its_neighbours_stay(flash: Pflash) -> None:
    flash.write(SECTOR + 8, 1, 0x20)
    flash.write(SECTOR + 8, 1, 0xD0)
    assert flash.read(0, 4) == 0x80_0080
    flash.write(0, 1, 0xFF)
    assert flash.contents.view[SECTOR : 2 * SECTOR].tobytes() == b"\xff" * SECTOR
    assert flash.contents.view[SECTOR - 1] == flash.contents.view[2 * SECTOR] == 0


def test_erasing_wants_a_confirmation(flash: Pflash) -> None:
    flash.write(0, 1, 0x20)
    flash.write(0, 1, 0xFF)
    assert flash.read(0, 1) == 0xB0
    flash.write(0, 1, 0x50)
    assert flash.read(0, 4) == 0x7856_3412
    flash.write(0, 1, 0x70)
    assert flash.read(0, 1) == 0x80


@pytest.mark.parametrize("command", [0x10, 0x40])
def test_programming_only_clears_bits(flash: Pflash, command: int) -> None:
    flash.write(0, 1, command)
    flash.write(0, 2, 0xF0FF)
    assert flash.read(0, 1) == 0x80
    flash.write(0, 1, 0xFF)
    assert flash.read(0, 4) == 0x7856_3012


def test_buffer_is_programmed_when_confirmed(flash: Pflash) -> None:
    flash.write(SECTOR, 1, 0x20)
    flash.write(SECTOR, 1, 0xD0)
    for value, commit in ((0xD0, 0x2211), (0x00, 0xFFFF)):
        flash.write(SECTOR, 2, 0xE8)
        assert flash.read(SECTOR, 1) & 0x80
        flash.write(SECTOR, 2, 1)  # two cycles
        flash.write(SECTOR, 2, 0x2211)
        flash.write(SECTOR + 2, 2, 0x4433)
        before = flash.contents.view[SECTOR : SECTOR + 2].tobytes()
        flash.write(SECTOR, 2, value)
        after = int.from_bytes(flash.contents.view[SECTOR : SECTOR + 2], "little")
        assert after == (commit if value == 0xD0 else int.from_bytes(before, "little"))
    assert flash.read(SECTOR, 1) == 0xB0


def test_lock_commands_are_taken(flash: Pflash) -> None:
    flash.write(0, 1, 0x60)
    flash.write(0, 1, 0xD0)
    assert flash.read(0, 1) == 0x80
    flash.write(0, 1, 0xFF)
    assert flash.shows_contents


def test_changes_of_mode_are_told(flash: Pflash) -> None:
    told: list[bool] = []
    flash.mode_changed = lambda: told.append(flash.shows_contents)
    for command in (0xFF, 0x98, 0x90, 0xFF, 0xFF):
        flash.write(0, 1, command)
    assert told == [False, True]


def test_reset_brings_the_image_back(flash: Pflash) -> None:
    flash.write(0, 1, 0x20)
    flash.write(0, 1, 0xD0)
    flash.reset()
    assert flash.read(0, 8) == int.from_bytes(b"\x12\x34\x56\x78imag", "little")
    assert flash.read(0x20, 4) == 0
