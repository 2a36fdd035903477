# SPDX-License-Identifier: GPL-2.0-or-later
"""The generic timer in virtual time: 16 ns a tick."""

from __future__ import annotations

import pytest

from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import RAM, STOP, VECTORS, Board

CNTKCTL, CNTFRQ = (3, 0, 14, 1, 0), (3, 3, 14, 0, 0)
CNTPCT, CNTVCT = (3, 3, 14, 0, 1), (3, 3, 14, 0, 2)
PHYSICAL, VIRTUAL = 2, 3
TVAL, CTL, CVAL = 0, 1, 2


def timer(which: int, register: int) -> tuple[int, int, int, int, int]:
    return 3, 3, 14, which, register


@pytest.mark.parametrize("counter", [CNTPCT, CNTVCT])
def test_counters_show_virtual_time(counter):
    board = Board([a64.NOP] * 100, a64.mrs(1, *counter), [a64.NOP] * 63, a64.mrs(2, *counter), STOP)
    board.run()
    assert (board.core.x(1), board.core.x(2)) == (100 // 16, 164 // 16)


def test_counters_are_exact_on_every_pass_over_the_same_code():
    board = Board([a64.NOP] * 14, a64.mrs(1, *CNTVCT), a64.b(-15))
    for passes in range(1, 20):
        board.run(16)
        assert board.core.x(1) == (16 * passes - 2) // 16


def test_frequency_is_62_5_mhz():
    board = Board(a64.mrs(1, *CNTFRQ), STOP)
    board.run()
    assert board.core.x(1) == 62_500_000


@pytest.mark.parametrize("which", [PHYSICAL, VIRTUAL])
def test_timer_raises_its_line_when_the_compare_value_is_reached(which):
    board = Board(
        a64.mov(1, 20),
        a64.msr(1, *timer(which, CVAL)),
        a64.mov(1, 1),
        a64.msr(1, *timer(which, CTL)),
        [a64.add(5, 5, 1)] * 500,
        a64.mrs(2, *timer(which, CTL)),
        STOP,
    )
    line = board.core.physical_timer if which == PHYSICAL else board.core.virtual_timer
    seen = []
    line.sink = lambda level: seen.append((level, board.clock.now, board.core.x(5)))
    board.run()
    assert seen == [(True, 320, 310)]
    assert board.core.x(2) == 5  # ENABLE, ISTATUS


@pytest.mark.parametrize("which", [PHYSICAL, VIRTUAL])
def test_masking_or_disabling_lowers_the_line(which):
    board = Board(
        a64.mov(1, 1),
        a64.msr(1, *timer(which, CTL)),
        a64.mov(1, 3),
        a64.msr(1, *timer(which, CTL)),
        a64.mrs(2, *timer(which, CTL)),
        a64.mov(1, 0),
        a64.msr(1, *timer(which, CTL)),
        a64.mrs(3, *timer(which, CTL)),
        STOP,
    )
    line = board.core.physical_timer if which == PHYSICAL else board.core.virtual_timer
    levels = []
    line.sink = levels.append
    board.run()
    assert levels == [True, False]
    assert (board.core.x(2), board.core.x(3)) == (7, 0)


def test_timer_value_is_signed_and_relative():
    board = Board(
        [a64.NOP] * 160,
        a64.mov(1, 100),
        a64.msr(1, *timer(PHYSICAL, TVAL)),
        a64.mrs(2, *timer(PHYSICAL, CVAL)),
        a64.mov(1, 0xFFFF_FFFF),
        a64.msr(1, *timer(PHYSICAL, TVAL)),
        a64.mrs(3, *timer(PHYSICAL, CVAL)),
        a64.mrs(4, *timer(PHYSICAL, TVAL)),
        STOP,
    )
    board.run()
    assert board.core.x(2) == 10 + 100
    assert board.core.x(3) == 10 - 1
    assert board.core.x(4) == 0xFFFF_FFFF


def test_wfi_skips_to_the_timer_and_its_interrupt_is_taken():
    board = Board(
        a64.mov(1, 62_500_000),
        a64.msr(1, *timer(PHYSICAL, TVAL)),
        a64.mov(1, 1),
        a64.msr(1, *timer(PHYSICAL, CTL)),
        a64.DAIF_UNMASK_I,
        a64.WFI,
        STOP,
    )
    board.catch()
    board.put(VECTORS + 0x280, STOP)
    board.core.physical_timer.sink = board.core.irq.set
    info = board.run()
    assert board.core.read("ELR_EL1") == RAM + 12 * 4
    assert 1_000_000_000 <= board.clock.now < 1_000_100_000
    assert info.instructions < 20_000


def test_rewriting_the_compare_value_forgets_the_old_one():
    board = Board(
        a64.mov(1, 1),
        a64.msr(1, *timer(VIRTUAL, CTL)),
        a64.mov(1, 10),
        a64.msr(1, *timer(VIRTUAL, CVAL)),
        a64.mov(1, 1 << 60),
        a64.msr(1, *timer(VIRTUAL, CVAL)),
        [a64.NOP] * 400,
        STOP,
    )
    levels = []
    board.core.virtual_timer.sink = levels.append
    board.run(400)
    assert levels == [True, False]


def test_timer_registers_are_readable_and_writable_by_name():
    board = Board([a64.NOP] * 160, STOP)
    board.run(160)
    core = board.core
    assert core.read("CNTPCT_EL0") == core.read("CNTVCT_EL0") == 10
    assert core.read("CNTFRQ_EL0") == 62_500_000
    core.write("CNTP_CVAL_EL0", 10)
    core.write("CNTP_CTL_EL0", 1)
    assert core.read("CNTP_CTL_EL0") == 5
    assert core.physical_timer.level


def test_reset_disables_the_timers():
    board = Board(a64.mov(1, 1), a64.msr(1, *timer(PHYSICAL, CTL)), STOP)
    board.run()
    assert board.core.physical_timer.level
    board.core.reset(RAM)
    assert not board.core.physical_timer.level


@pytest.mark.parametrize(
    ("register", "bit"),
    [(CNTPCT, 0), (CNTVCT, 1), (timer(VIRTUAL, CTL), 8), (timer(PHYSICAL, CVAL), 9)],
)
def test_el0_reads_what_cntkctl_allows_and_traps_else(register, bit):
    for allowed in (True, False):
        board = Board(a64.ERET)
        board.put(RAM + 0x100, a64.mov(1, 77), a64.mrs(1, *register), a64.svc(1))
        board.catch()
        board.put(VECTORS + 0x400, STOP)
        board.core.write("CNTKCTL_EL1", (1 << bit) if allowed else 0x303 & ~(1 << bit))
        board.core.write("ELR_EL1", RAM + 0x100)
        board.core.write("SPSR_EL1", 0)
        board.run()
        assert board.core.read("ESR_EL1") >> 26 == (0x15 if allowed else 0x18)
        assert (board.core.x(1) == 77) is not allowed
