# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints end a run before their instruction, and the guest never learns of it."""

from __future__ import annotations

import pytest

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.errors import ConfigurationError, EmulatorError
from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import DEVICE, RAM, STOP, Board

LOOP = [a64.add(1, 1, 1), a64.add(2, 2, 1), a64.add(3, 3, 1), 0x17FF_FFFD]
"""Three additions, and a branch (b .-12) back to the first."""


def stopped_at(info) -> int | None:
    return info.pc if info.kind is ExitKind.BREAKPOINT else None


def test_breakpoint_ends_the_run_before_the_instruction():
    board = Board(a64.add(1, 1, 1), a64.add(2, 2, 1), STOP)
    board.core.add_breakpoint(RAM + 4)
    info = board.core.run()
    assert info.kind is ExitKind.BREAKPOINT
    assert (info.pc, info.instructions, info.reason) == (RAM + 4, 1, "breakpoint at 0x40000004")
    assert (board.core.x(1), board.core.x(2)) == (1, 0)
    assert board.clock.now == 1


def test_breakpoint_at_the_first_instruction_is_reached_and_then_passed():
    board = Board(LOOP)
    board.core.add_breakpoint(RAM)
    counts = [board.core.run().instructions for _ in range(4)]
    assert counts == [0, 4, 8, 12]
    assert board.core.x(1) == 3


@pytest.mark.parametrize("offset", [0, 4, 8, 12])
def test_breakpoint_in_code_that_has_executed_is_reached(offset):
    board = Board(LOOP)
    board.core.run(4003)
    board.core.add_breakpoint(RAM + offset)
    assert stopped_at(board.core.run()) == RAM + offset
    assert stopped_at(board.core.run()) == RAM + offset
    board.core.remove_breakpoint(RAM + offset)
    assert board.core.run(5).kind is ExitKind.MAX_INSTRUCTIONS


def test_breakpoint_taken_away_and_put_back_works():
    board = Board(LOOP)
    for _ in range(3):
        board.core.add_breakpoint(RAM + 4)
        assert stopped_at(board.core.run()) == RAM + 4
        board.core.remove_breakpoint(RAM + 4)
        assert board.core.breakpoints == frozenset()
        assert board.core.run(10).kind is ExitKind.MAX_INSTRUCTIONS


def test_many_breakpoints_come_and_go():
    board = Board([a64.NOP] * 200, STOP)
    for turn in range(100):
        board.core.add_breakpoint(RAM + 4 * turn)
        assert stopped_at(board.core.run()) == RAM + 4 * turn
        board.core.remove_breakpoint(RAM + 4 * turn)
    assert board.core.run(1000).kind is not ExitKind.BREAKPOINT


def test_counts_time_and_memory_are_those_of_a_run_without_breakpoints():
    plain, stopped = Board(LOOP), Board(LOOP)
    plain.core.run(1001)
    before = bytes(stopped.ram.view[:16])
    for offset in (0, 8, 12):
        stopped.core.add_breakpoint(RAM + offset)
    hits = 0
    while (left := 1001 - stopped.core.instructions) > 0:
        hits += stopped.core.run(left).kind is ExitKind.BREAKPOINT
        assert bytes(stopped.ram.view[:16]) == before
    assert hits == 751
    assert stopped.core.instructions == plain.core.instructions == 1001
    assert stopped.clock.now == plain.clock.now
    assert [stopped.core.x(n) for n in range(4)] == [plain.core.x(n) for n in range(4)]


def test_budget_that_ends_at_a_breakpoint_is_told_first():
    board = Board(LOOP)
    board.core.add_breakpoint(RAM + 8)
    assert board.core.run(2).kind is ExitKind.MAX_INSTRUCTIONS
    assert board.core.pc == RAM + 8
    assert stopped_at(board.core.run()) == RAM + 8
    assert board.core.instructions == 2


def test_breakpoint_on_a_branch_to_itself_is_reached_each_time():
    board = Board(a64.NOP, STOP)
    board.core.run(100)
    board.core.add_breakpoint(RAM + 4)
    assert [board.core.run().instructions for _ in range(3)] == [100, 101, 102]


def test_device_is_accessed_once_by_an_instruction_with_a_breakpoint():
    board = Board(a64.mov(1, DEVICE), a64.ldr_w(2, 1), STOP)
    board.core.add_breakpoint(RAM + 16)
    board.core.run()
    assert board.device.accesses == []
    board.core.run(1)
    assert board.device.accesses == [("read", 0, 4, 0)]


def test_breakpoint_survives_a_reset():
    board = Board(LOOP)
    board.core.add_breakpoint(RAM)
    board.core.run()
    board.core.reset(RAM)
    assert board.core.run().instructions == 0


def test_exit_asked_for_before_a_breakpoint_comes_first():
    board = Board(a64.mov(1, DEVICE), a64.ldr_w(2, 1), STOP)
    board.device.effect = lambda _: board.core.request_exit("enough", 3)
    board.core.add_breakpoint(RAM + 20)
    assert board.core.run().kind is ExitKind.DEVICE
    assert stopped_at(board.core.run()) == RAM + 20


@pytest.mark.parametrize("va", [RAM + 2, -4, 1 << 64])
def test_breakpoint_where_no_instruction_can_be_is_refused(va):
    with pytest.raises(ConfigurationError, match="no instruction can be"):
        Board(STOP).core.add_breakpoint(va)


def test_breakpoints_cannot_change_while_the_core_runs():
    board = Board(a64.mov(1, DEVICE), a64.ldr_w(2, 1), STOP)
    board.device.effect = lambda _: board.core.add_breakpoint(RAM)
    with pytest.raises(EmulatorError, match="running"):
        board.core.run()


def test_memory_written_by_virtual_address_is_executed():
    board = Board(LOOP)
    board.core.run(400)
    assert board.core.write_virtual(RAM + 4, a64.code(STOP))
    board.core.run(10)
    assert board.core.pc == RAM + 4
    assert not board.core.write_virtual(DEVICE, bytes(4))
    assert not board.core.write_virtual(RAM - 2, bytes(4))
    assert board.device.accesses == []
