# SPDX-License-Identifier: GPL-2.0-or-later
"""Code that changes behind the core's back, and under its own hands."""

from __future__ import annotations

import pytest

from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import DEVICE, RAM, STOP, Board

TARGET = RAM + 0x8_0000


def returning(n: int) -> list[int]:
    """A function that adds n to X5; X30 holds the way back."""
    return [a64.add(5, 5, n), 0xD65F_03C0]


CALL = 0xD63F_00C0  # blr x6


def board_that_calls(*words: int | list[int]) -> Board:
    board = Board(*words)
    board.put(TARGET, *returning(1))
    board.core.set_x(1, DEVICE)
    board.core.set_x(6, TARGET)
    return board


@pytest.mark.parametrize("virtual", [False, True])
def test_dma_into_code_that_has_run_is_seen_by_the_next_instruction(virtual):
    board = board_that_calls(CALL, CALL, a64.str_w(0, 1), CALL, STOP)
    if virtual:
        board.map({0x0020_0000: (RAM, 1), 0x0900_0000: (DEVICE, 0)})
        board.core.write("PC", 0x0020_0000)
        board.core.set_x(6, TARGET - RAM + 0x0020_0000)
    board.device.effect = lambda offset: (
        board.memory.write(TARGET, a64.code(returning(10))) and None
    )
    board.run()
    assert board.core.x(5) == 12


def test_dma_over_the_instruction_behind_the_store_is_seen():
    board = board_that_calls(a64.NOP, a64.str_w(0, 1), a64.add(5, 5, 1), STOP)
    board.device.effect = lambda o: (
        board.memory.write(RAM + 8, a64.code(a64.add(5, 5, 100))) and None
    )
    board.run()
    assert board.core.x(5) == 100


def test_dma_over_code_between_runs_is_seen():
    board = board_that_calls(CALL, a64.b(-1))
    board.run(12)
    assert board.core.x(5) == 3
    board.memory.write(TARGET, a64.code(returning(10)))
    board.run(12)
    assert board.core.x(5) == 33


def test_dma_beside_code_in_the_same_frame_drops_nothing():
    """What is put past the watch stays unseen: nothing dropped the translation for its sake."""
    board = board_that_calls(CALL, a64.str_w(0, 1), CALL, STOP)

    def effect(_offset: int) -> None:
        board.put(TARGET, *returning(10))
        board.memory.write(TARGET + 0x100, bytes(64))

    board.device.effect = effect
    board.run()
    assert board.core.x(5) == 2


@pytest.mark.parametrize("size", [4, 0x2000, 0x2_0000])
def test_dma_of_any_length_over_code_is_seen(size):
    board = board_that_calls(CALL, a64.str_w(0, 1), CALL, STOP)
    data = bytearray(board.memory.read(TARGET - size + 4, size))
    data[-4:] = a64.code(a64.add(5, 5, 10))
    board.device.effect = lambda offset: board.memory.write(TARGET - size + 4, bytes(data)) and None
    board.run()
    assert board.core.x(5) == 11


def test_code_that_the_core_writes_itself_is_seen():
    board = board_that_calls(CALL, a64.str_w(2, 6), 0xD50B_7526, a64.ISB, CALL, STOP)  # ic ivau
    board.core.set_x(2, a64.add(5, 5, 10))
    board.run()
    assert board.core.x(5) == 11


def test_watched_instructions_are_found_after_the_code_changed():
    counter = a64.mrs(9, 3, 3, 14, 0, 2)
    board = board_that_calls(CALL, a64.str_w(0, 1), CALL, STOP)
    replaced = a64.code(counter, 0xD65F_03C0)
    board.device.effect = lambda offset: board.memory.write(TARGET, replaced) and None
    board.clock.advance(16_000)
    board.run()
    assert board.core.x(9) == 1000


def test_closing_the_core_gives_the_watch_back():
    board = board_that_calls(CALL, STOP)
    board.run()
    assert board.memory.code_frames
    board.core.close()
    assert board.memory.code_written is None
    assert board.memory.write(TARGET, bytes(4))
