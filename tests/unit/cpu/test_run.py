# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs: how they begin, pass time, stand still and end, also with guests that mean no good."""

from __future__ import annotations

import random

import pytest

from smmu_emu.clock import Clock
from smmu_emu.cpu.aarch64 import Aarch64Core
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.cpu.pace import LONGEST_SLICE
from smmu_emu.errors import ConfigurationError, EmulatorError
from smmu_emu.memory import PhysicalMemory
from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import DEVICE, NOWHERE, RAM, RAM_SIZE, STOP, VECTORS, Board

# -- beginning


def test_core_starts_at_el1h_masked_with_the_mmu_off():
    board = Board(a64.mrs(1, 3, 0, 4, 2, 2), STOP)  # CurrentEL
    board.core.reset(RAM, x0=0x1234)
    assert board.core.x(0) == 0x1234
    assert board.core.read("PSTATE") == 0x3C5
    assert board.core.read("SCTLR_EL1") & 1 == 0
    board.run()
    assert board.core.x(1) == 1 << 2


def test_reset_forgets_everything_but_memory_and_time():
    board = Board(a64.add(5, 5, 1), a64.msr(5, 3, 0, 12, 0, 0), STOP)
    board.core.irq.set(True)
    first = board.run()
    board.core.irq.set(False)
    before = board.clock.now
    board.core.reset(RAM)
    assert board.core.x(5) == board.core.read("VBAR_EL1") == 0
    assert board.core.instructions == 0
    assert board.clock.now == before
    assert board.run()[:3] == first[:3]
    assert board.core.x(5) == 1


def test_reset_sees_code_that_was_loaded_meanwhile():
    board = Board(a64.add(5, 5, 1), STOP)
    board.run()
    board.put(RAM, a64.add(5, 5, 7), STOP)
    board.core.reset(RAM)
    board.run()
    assert board.core.x(5) == 7


@pytest.mark.parametrize("el", [0, 3])
def test_reset_to_a_level_the_guest_cannot_have_is_refused(el):
    with pytest.raises(ConfigurationError, match=f"EL{el}"):
        Board(STOP).core.reset(RAM, el=el)


@pytest.mark.parametrize("model", ["cortex-a999", "max"])
def test_unknown_model_is_refused_by_name(model):
    with pytest.raises(ConfigurationError, match=rf"{model}.*cortex-a57"):
        Aarch64Core(PhysicalMemory(), Clock(), model)


@pytest.mark.parametrize("model", ["cortex-a53", "cortex-a57", "cortex-a72"])
def test_every_model_runs(model):
    board = Board(a64.mrs(0, 3, 0, 0, 0, 0), a64.svc(1), model=model)
    board.catch()
    assert board.run().kind is ExitKind.DEADLOCK
    part = {"cortex-a53": 0xD03, "cortex-a57": 0xD07, "cortex-a72": 0xD08}[model]
    assert board.core.x(0) >> 4 & 0xFFF == part


def test_registers_are_read_and_written_by_name():
    core = Board(STOP).core
    for name in ("X3", "X30", "SP", "PC", "VBAR_EL1", "TTBR0_EL1", "SP_EL0", "ELR_EL1"):
        core.write(name, 0x4000_1000)
        assert core.read(name) == 0x4000_1000, name
    core.set_x(7, -1)
    assert core.x(7) == (1 << 64) - 1
    for call in (lambda: core.read("NOPE"), lambda: core.write("R17", 0), lambda: core.x(31)):
        with pytest.raises(ConfigurationError, match="no register"):
            call()


# -- instructions and time


def test_instructions_are_counted_exactly_whatever_the_slices():
    words = [a64.add(5, 5, 1)] * 10 + [a64.b(-10)]
    board = Board(*words)
    for budget in (1, 2, 7, 100, 1):
        assert board.run(budget).kind is ExitKind.MAX_INSTRUCTIONS
    assert board.core.instructions == 111
    assert board.core.pc == RAM + 4 * (111 % 11)
    assert board.core.x(5) == 111 - 111 // 11
    assert board.clock.now == 111


def test_a_run_longer_than_a_slice_goes_on():
    board = Board(a64.add(5, 5, 1), a64.b(-1))
    info = board.run(2 * LONGEST_SLICE + 10)
    assert info.instructions == 2 * LONGEST_SLICE + 10
    assert board.core.x(5) == LONGEST_SLICE + 5


def busy_board() -> tuple[Board, list[tuple[int, int, int]]]:
    """Device accesses, a periodic timer interrupt, WFI and exceptions; and a trace of them."""
    cval, ctl = (3, 3, 14, 2, 2), (3, 3, 14, 2, 1)
    board = Board(
        *[a64.mov(1, DEVICE), a64.mov(2, 3), a64.msr(2, *cval)],
        *[a64.mov(2, 1), a64.msr(2, *ctl), a64.DAIF_UNMASK_I],
        *[a64.str_w(5, 1), a64.svc(3), a64.add(5, 5, 1), a64.ldr_w(6, 1, 4), a64.WFI, a64.b(-5)],
    )
    board.catch(a64.add(7, 7, 1), a64.ERET)
    again = [a64.mrs(9, *cval), a64.add(9, 9, 5), a64.msr(9, *cval), a64.str_w(9, 1, 8), a64.ERET]
    board.put(VECTORS + 0x280, again)
    board.core.physical_timer.sink = board.core.irq.set
    trace: list[tuple[int, int, int]] = []

    def note(offset: int) -> None:
        trace.append((offset, board.core.pc, board.clock.now))

    board.device.effect = note
    return board, trace


@pytest.mark.parametrize("budget", [1, 3, 17, 1000])
def test_a_run_in_pieces_is_the_same_run(budget):
    whole, expected = busy_board()
    whole.run(1000)
    assert len(expected) > 50
    pieces, trace = busy_board()
    while pieces.core.instructions < 1000:
        pieces.run(min(budget, 1000 - pieces.core.instructions))
    assert trace == expected
    assert pieces.clock.now == whole.clock.now
    assert [pieces.core.x(i) for i in range(31)] == [whole.core.x(i) for i in range(31)]


def test_run_without_budget_left_executes_nothing():
    board = Board(a64.add(5, 5, 1), STOP)
    info = board.run(0)
    assert (info.kind, info.instructions) == (ExitKind.MAX_INSTRUCTIONS, 0)


@pytest.mark.parametrize("ns", [1, 3, 16])
def test_time_is_instructions_times_a_constant_and_actions_come_in_time(ns):
    board = Board([a64.add(5, 5, 1)] * 100, STOP, ns_per_instruction=ns)
    seen = []
    for delay in (1, 10, 45, 64):
        board.clock.after(delay, lambda: seen.append((board.clock.now, board.core.x(5))))
    board.run(100)
    done = [-(-delay // ns) for delay in (1, 10, 45, 64)]
    assert [count for _, count in seen] == done
    assert board.clock.now == 100 * ns


def test_action_on_the_clock_can_end_the_run():
    board = Board(a64.add(5, 5, 1), a64.b(-1))
    board.clock.after(51, lambda: board.core.request_exit("alarm"))
    info = board.run(None)
    assert (info.kind, info.reason, info.instructions) == (ExitKind.DEVICE, "alarm", 51)


def test_exception_of_an_action_comes_out_of_run():
    def fail() -> None:
        raise RuntimeError("action")

    board = Board(a64.add(5, 5, 1), a64.b(-1))
    board.clock.after(51, fail)
    with pytest.raises(RuntimeError, match="action"):
        board.run(None)
    assert board.core.instructions == 51
    assert board.run(10).instructions == 61


# -- standing still


def test_wfi_passes_time_without_instructions_until_an_interrupt():
    board = Board(a64.WFI, a64.add(5, 5, 1), STOP)
    board.clock.after(5_000_000_000, lambda: board.core.irq.set(True))
    info = board.run()
    assert info.kind is ExitKind.DEADLOCK
    assert board.core.x(5) == 1
    assert board.clock.now >= 5_000_000_000
    assert info.instructions < 20_000


def test_wfi_with_an_interrupt_pending_goes_on_even_when_masked():
    board = Board(a64.WFI, a64.add(5, 5, 1), STOP)
    board.core.irq.set(True)
    board.run()
    assert board.core.x(5) == 1


def test_wfi_that_nothing_can_end_is_a_deadlock():
    board = Board(a64.NOP, a64.WFI, STOP)
    info = board.run(None)
    assert info.kind is ExitKind.DEADLOCK
    assert info.instructions == 2
    assert "interrupt" in info.reason


def test_wfi_woken_by_a_timer_that_does_nothing_is_a_deadlock_in_the_end():
    board = Board(a64.WFI, STOP)
    board.clock.after(100, lambda: None)
    assert board.run(None).kind is ExitKind.DEADLOCK
    assert board.clock.now == 100


def test_masked_spin_lets_time_pass_and_is_a_deadlock_then():
    board = Board(STOP)
    seen = []
    board.clock.after(10**15, lambda: seen.append(board.clock.now))
    info = board.run(None)
    assert info.kind is ExitKind.DEADLOCK
    assert "masked" in info.reason
    assert seen == [10**15]


def test_spin_that_dma_turns_into_something_else_ends():
    board = Board(STOP, a64.add(5, 5, 1), STOP)
    board.clock.after(10**15, lambda: board.memory.write(RAM, a64.code(a64.NOP)))
    board.run(None)
    assert board.core.x(5) == 1


def test_clock_that_never_rests_does_not_keep_a_dead_core_alive(monkeypatch):
    monkeypatch.setattr("smmu_emu.cpu.core._PATIENCE", 100)
    board = Board(a64.WFI)

    def again() -> None:
        board.clock.after(10, again)

    again()
    info = board.run(None)
    assert info.kind is ExitKind.DEADLOCK
    assert "100 events" in info.reason


def test_run_and_reset_are_refused_while_the_core_runs():
    board = Board(a64.str_w(0, 1), STOP)
    board.core.set_x(1, DEVICE)
    for call in (lambda: board.core.run(1), lambda: board.core.reset(RAM)):
        board.device.effect = lambda offset, call=call: call()
        with pytest.raises(EmulatorError, match="running"):
            board.run()


def test_branch_to_self_with_interrupts_on_waits_as_wfi_does():
    board = Board(a64.DAIF_UNMASK_I, STOP)
    board.catch()
    board.put(VECTORS + 0x280, STOP)
    board.clock.after(10**12, lambda: board.core.irq.set(True))
    info = board.run(None)
    assert board.core.read("ELR_EL1") == RAM + 4
    assert info.instructions == board.clock.now >= 10**12


def test_branch_to_self_uses_up_the_budget_as_if_it_were_executed():
    board = Board(a64.DAIF_UNMASK_I, STOP)
    board.clock.after(10**12, lambda: board.core.irq.set(True))
    for budget in (1000, 10**9, 1, 10**11):
        before = board.core.instructions
        info = board.run(budget)
        assert info.kind is ExitKind.MAX_INSTRUCTIONS
        assert info.instructions == board.clock.now == before + budget


def test_wfe_and_yield_go_on():
    board = Board(a64.WFE, 0xD503_203F, a64.add(5, 5, 1), STOP)
    board.run()
    assert board.core.x(5) == 1


# -- PSCI


@pytest.mark.parametrize("conduit", [a64.hvc(), a64.smc()])
@pytest.mark.parametrize(
    ("function", "argument", "answer"),
    [
        (0x8400_0000, 0, 0x1_0001),  # PSCI_VERSION 1.1
        (0x8400_000A, 0x8400_0008, 0),  # PSCI_FEATURES(SYSTEM_OFF)
        (0x8400_000A, 0xC400_0003, 0),
        (0x8400_000A, 0x8400_0005, -1),  # MIGRATE is not there
        (0xC400_0003, 1, -2),  # CPU_ON of a core that does not exist
        (0xC400_0004, 0, 0),  # AFFINITY_INFO: this one is on
        (0x8400_0006, 0, 2),  # MIGRATE_INFO_TYPE
        (0x8000_0000, 0, 0x1_0001),  # SMCCC_VERSION 1.1
        (0x8000_0001, 0x8000_0002, -1),  # SMCCC_ARCH_FEATURES(ARCH_SOC_ID)
        (0x1234_5678, 0, -1),
    ],
)
def test_psci_answers_over_both_conduits(conduit, function, argument, answer):
    board = Board(conduit, a64.add(5, 5, 1), STOP)
    board.core.set_x(0, function)
    board.core.set_x(1, argument)
    board.run()
    assert board.core.x(0) == answer & (1 << 64) - 1
    assert board.core.x(5) == 1


def test_cpu_on_of_this_core_says_it_is_on():
    board = Board(a64.hvc(), STOP)
    board.core.set_x(0, 0xC400_0003)
    board.core.set_x(1, board.core.read("MPIDR_EL1") & 0xFF_FFFF)
    board.run()
    assert board.core.x(0) == (1 << 64) - 4


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (0x8400_0008, ExitKind.POWER_OFF),
        (0x8400_0002, ExitKind.POWER_OFF),
        (0x8400_0009, ExitKind.RESET),
    ],
)
def test_psci_ends_the_run(function, kind):
    board = Board(a64.hvc(), STOP)
    board.core.set_x(0, function)
    info = board.run()
    assert (info.kind, info.status) == (kind, 0)
    assert info.pc == RAM + 4


def test_psci_standby_waits_for_an_interrupt():
    board = Board(a64.hvc(), a64.add(5, 5, 1), STOP)
    board.core.set_x(0, 0xC400_0001)
    board.clock.after(1000, lambda: board.core.irq.set(True))
    board.run()
    assert (board.core.x(5), board.core.x(0)) == (1, 0)


# -- what is not modelled


def test_unknown_system_register_is_undefined_and_reported_once_a_site():
    icc = a64.mrs(0, 3, 0, 12, 12, 0)
    board = Board(icc, icc, a64.SPIN)
    board.catch()
    elr = (3, 0, 4, 0, 1)
    skip = [a64.mrs(9, *elr), a64.add(9, 9, 4), a64.msr(9, *elr), a64.ERET]
    board.put(VECTORS + 0x200, skip)
    board.run()
    board.core.write("PC", RAM)
    board.run()
    assert board.reports == [
        ("mrs x0, S3_0_C12_C12_0", RAM),
        ("mrs x0, S3_0_C12_C12_0", RAM + 4),
    ]


def test_registers_of_el2_are_missing_here_and_told():
    board = Board(a64.mrs(0, 3, 4, 1, 1, 0))
    board.catch()
    board.run()
    assert board.reports == [("mrs x0, HCR_EL2", RAM)]


def test_registers_of_el1_are_undefined_at_el0_without_a_report():
    board = Board(a64.ERET)
    board.put(RAM + 0x100, a64.mrs(0, 3, 0, 12, 12, 0))
    board.catch()
    board.put(VECTORS + 0x400, STOP)
    board.core.write("ELR_EL1", RAM + 0x100)
    board.core.write("SPSR_EL1", 0)
    board.run()
    assert board.core.read("ESR_EL1") == 0x0200_0000
    assert board.reports == []


def test_hardware_breakpoints_neither_work_nor_hang():
    bvr, bcr, mdscr = (2, 0, 0, 0, 4), (2, 0, 0, 0, 5), (2, 0, 0, 2, 2)
    board = Board(
        a64.mov(1, RAM + 4 * 11),
        a64.mov(2, 0x1E5),
        a64.mov(3, 0xA000),
        a64.msr(1, *bvr),
        a64.msr(2, *bcr),
        a64.msr(3, *mdscr),
        0xD503_48FF,  # msr daifclr, #8
        a64.mrs(4, *mdscr),
        a64.mrs(5, *bcr),
        STOP,
    )
    board.catch()
    info = board.run()
    assert info.pc == RAM + 4 * 18
    assert (board.core.x(4), board.core.x(5)) == (0xA000, 0)
    assert [what for what, _ in board.reports] == [
        "S2_0_C0_C0_4 (breakpoints)",
        "S2_0_C0_C0_5 (breakpoints)",
    ]


def test_id_registers_promise_only_what_is_there():
    board = Board(
        a64.mrs(1, 3, 0, 0, 5, 0),  # ID_AA64DFR0_EL1
        a64.mrs(2, 3, 0, 0, 4, 0),  # ID_AA64PFR0_EL1
        a64.mrs(3, 3, 3, 9, 13, 0),  # PMCCNTR_EL0
    )
    board.catch()
    board.run()
    core = board.core
    assert core.x(1) >> 8 & 0xF == 0
    assert core.x(1) & 0xF == 6
    assert core.x(2) & 0xFF == 0x11
    assert (core.read("ESR_EL1"), core.read("ELR_EL1")) == (0x0200_0000, RAM + 8)
    assert board.reports == [("S3_3_C9_C13_0 (performance monitors)", RAM + 8)]


# -- guests that go wrong


def test_vectors_outside_ram_end_as_a_lockup():
    board = Board(a64.UDF)
    board.core.write("VBAR_EL1", NOWHERE)
    info = board.run(None)
    assert info.kind is ExitKind.LOCKUP
    assert "exception loop" in info.reason
    assert info.instructions < 10


@pytest.mark.parametrize(
    "handler", [a64.UDF, a64.svc(0), a64.brk(1), a64.ldr(0, 31), a64.hvc() & 0]
)
def test_handler_that_faults_at_its_first_instruction_is_a_lockup(handler):
    board = Board(a64.svc(0))
    board.catch(handler)
    board.core.write("SP", NOWHERE)
    info = board.run(None)
    assert info.kind is ExitKind.LOCKUP
    assert info.instructions < 10


def test_handler_whose_stack_is_nowhere_is_a_lockup():
    board = Board(a64.svc(0))
    board.catch(a64.sub(31, 31, 288), 0xA900_07E0, a64.ERET)  # stp x0, x1, [sp]
    board.core.write("SP", 0x70_0000_0000)
    info = board.run(None)
    assert info.kind is ExitKind.LOCKUP
    assert "SP" in info.reason
    assert info.instructions < 5000


def test_many_honest_calls_are_no_lockup():
    board = Board(a64.svc(0), a64.sub(5, 5, 1), a64.cbnz(5, -2), STOP)
    board.catch(a64.ERET)
    board.core.set_x(5, 5000)
    assert board.run(None).kind is ExitKind.DEADLOCK
    assert board.core.x(5) == 0


def test_vectors_at_the_end_of_the_address_space_wrap_around():
    board = Board(a64.ERET)
    board.core.write("VBAR_EL1", (1 << 64) - 0x400)
    board.core.write("ELR_EL1", RAM + 0x100)
    board.core.write("SPSR_EL1", 0)
    assert board.run(None).kind is ExitKind.LOCKUP


def test_endless_loop_ends_with_the_budget():
    board = Board(a64.add(5, 5, 1), a64.b(-1))
    info = board.run(1_000_000)
    assert info.kind is ExitKind.MAX_INSTRUCTIONS
    assert info.instructions == 1_000_000


def test_entering_aarch32_is_a_lockup():
    board = Board(a64.ERET)
    board.core.write("ELR_EL1", RAM + 0x1000)
    board.core.write("SPSR_EL1", 0x10)
    assert board.run(100_000).kind is ExitKind.LOCKUP


def test_big_endian_page_tables_in_a_device_and_other_nonsense_do_not_raise():
    board = Board(
        a64.mov(1, DEVICE),
        a64.msr(1, 3, 0, 2, 0, 0),
        a64.mov(2, 25 | 1 << 23),
        a64.msr(2, 3, 0, 2, 0, 2),
        a64.mov(3, 1 | 1 << 25),
        a64.msr(3, 3, 0, 1, 0, 0),
        a64.ISB,
        a64.ldr(4, 1),
    )
    board.catch()
    assert board.run(10_000).kind in (ExitKind.LOCKUP, ExitKind.MAX_INSTRUCTIONS)


def test_random_images_never_raise_and_repeat_exactly():
    """Random words as code: whatever they do, a run ends as a value, the same each time."""
    generator = random.Random(20)
    for _ in range(60):
        words = [generator.getrandbits(32) for _ in range(256)]
        if generator.random() < 0.7:
            known = [a64.ldr(1, 2), a64.str_(3, 4), a64.svc(1), a64.ERET, a64.NOP, a64.WFE]
            words = [w if generator.random() < 0.4 else generator.choice(known) for w in words]
        results = []
        for budget in (5000, 5000, 137):
            board = Board(*words)
            board.core.write("VBAR_EL1", RAM + 0x200)
            for register in range(31):
                board.core.set_x(register, (DEVICE, RAM + 0x800, NOWHERE)[register % 3])
            info = board.run(budget)
            while info.kind is ExitKind.MAX_INSTRUCTIONS and info.instructions < 5000:
                info = board.run(min(budget, 5000 - info.instructions))
            results.append(([board.core.x(i) for i in range(31)], board.device.accesses, info))
            board.core.close()
        assert results[0] == results[1]
        assert results[0][:2] == results[2][:2]


def test_ram_ends_where_it_ends():
    board = Board()
    board.put(RAM + RAM_SIZE - 8, a64.add(5, 5, 1), a64.add(5, 5, 1))
    board.catch()
    board.core.write("PC", RAM + RAM_SIZE - 8)
    board.run()
    assert board.core.x(5) == 2
    assert board.core.read("ELR_EL1") == RAM + RAM_SIZE
    assert board.core.read("ESR_EL1") == 0x8600_0010


# -- an idle core whose owner decides how time passes


def test_owner_of_an_idle_core_is_told_the_deadline_and_says_how_much_time_passed():
    board = Board(a64.WFI, a64.add(5, 5, 1), STOP)
    board.clock.after(1000, lambda: board.core.irq.set(True))
    asked = []

    def idle(deadline: int | None) -> int | None:
        asked.append((board.clock.now, deadline))
        return board.clock.now + 300

    board.core.idle = idle
    board.run()
    assert board.core.x(5) == 1
    assert [deadline for _, deadline in asked[:4]] == [1000] * 4
    assert [now - asked[0][0] for now, _ in asked[:4]] == [0, 300, 600, 900]


def test_owner_may_wake_an_idle_core_that_nothing_else_would():
    board = Board(a64.WFI, a64.add(5, 5, 1), STOP)

    def idle(deadline: int | None) -> int | None:
        assert deadline is None
        board.core.irq.set(True)
        return None

    board.core.idle = idle
    board.run()
    assert board.core.x(5) == 1


def test_idle_core_is_dead_when_its_owner_says_so():
    board = Board(a64.WFI, STOP)
    board.core.idle = lambda deadline: None
    assert board.run(None).kind is ExitKind.DEADLOCK


def test_owner_may_end_the_run_of_an_idle_core():
    board = Board(a64.WFI, STOP)

    def idle(deadline: int | None) -> int | None:
        board.core.request_exit("enough", 7)
        return board.clock.now

    board.core.idle = idle
    info = board.run(None)
    assert (info.kind, info.status) == (ExitKind.DEVICE, 7)
