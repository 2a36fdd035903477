# SPDX-License-Identifier: GPL-2.0-or-later
"""Watchpoints end a run after the access, and the guest never learns of it."""

from __future__ import annotations

import pytest

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.cpu.watchpoints import WatchKind, Watchpoint
from smmu_emu.errors import ConfigurationError
from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import DEVICE, RAM, STOP, Board

DATA = RAM + 0x2100
STORE, LOAD = 16, 20
"""Offsets of the instructions that access DATA."""


def board_with() -> Board:
    """x1 = DATA; str x1, [x1]; ldr x2, [x1]; add; spin."""
    return Board(a64.mov(1, DATA), a64.str_(1, 1), a64.ldr(2, 1), a64.add(3, 3, 1), STOP)


@pytest.mark.parametrize(
    ("kind", "offsets"),
    [(WatchKind.WRITE, [STORE]), (WatchKind.READ, [LOAD]), (WatchKind.ACCESS, [STORE, LOAD])],
)
@pytest.mark.parametrize("warm", [False, True])
def test_run_ends_after_the_access(kind, offsets, warm):
    board = board_with()
    if warm:  # translated before anything was watched
        board.core.run(7)
        board.core.reset(RAM)
        board.core.run(2)
    watchpoint = Watchpoint(kind, DATA, 8)
    board.core.add_watchpoint(watchpoint)
    for offset in offsets:
        info = board.core.run(20)
        assert (info.kind, info.pc - RAM) == (ExitKind.WATCHPOINT, offset + 4)
        assert info.instructions == offset // 4 + 1
        assert board.core.watched == watchpoint
    board.core.remove_watchpoint(watchpoint)
    assert board.core.run(20).kind is ExitKind.DEADLOCK
    assert board.core.watched is None
    assert (board.core.x(2), board.core.x(3)) == (DATA, 1)


@pytest.mark.parametrize(
    ("va", "size", "hit"),
    [(DATA + 7, 1, True), (DATA + 8, 8, False), (DATA - 4, 4, False), (DATA - 4, 5, True)],
)
def test_any_common_byte_counts(va, size, hit):
    board = board_with()
    board.core.add_watchpoint(Watchpoint(WatchKind.WRITE, va, size))
    assert (board.core.run(20).kind is ExitKind.WATCHPOINT) == hit


def test_access_made_after_the_watchpoint_went_is_not_told():
    board = board_with()
    watchpoint = Watchpoint(WatchKind.ACCESS, DATA, 8)
    board.core.add_watchpoint(watchpoint)
    board.core.run(2)
    board.core.remove_watchpoint(watchpoint)
    board.core.remove_watchpoint(watchpoint)
    assert board.core.run(20).kind is ExitKind.DEADLOCK


@pytest.mark.parametrize(
    ("va", "size"), [(DEVICE, 4), (0x2000_0000, 4), (DATA, 0), (DATA + 0xEFC, 8), (DATA, 1 << 40)]
)
def test_only_ram_of_one_page_can_be_watched(va, size):
    with pytest.raises(ConfigurationError, match="cannot watch"):
        board_with().core.add_watchpoint(Watchpoint(WatchKind.WRITE, va, size))


def test_watched_run_counts_as_any_other():
    plain, watched = board_with(), board_with()
    plain.core.run(20)
    watched.core.add_watchpoint(Watchpoint(WatchKind.ACCESS, DATA, 8))
    while watched.core.instructions < 20:
        watched.core.run(20 - watched.core.instructions)
    assert watched.clock.now == plain.clock.now
    assert watched.core.x(2) == plain.core.x(2)
