# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions as the guest meets them."""

from __future__ import annotations

import pytest

from smmu_emu.cpu.exit import ExitKind
from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import DEVICE, NOWHERE, RAM, STOP, VECTORS, Board

USER_CODE, USER_STACK = RAM + 0x8000, RAM + 0x9000


def caught(board: Board) -> tuple[int, int, int]:
    """ESR, ELR and vector offset of the exception in whose handler the core spins."""
    info = board.run()
    assert info.kind is ExitKind.DEADLOCK, info
    core = board.core
    return core.read("ESR_EL1"), core.read("ELR_EL1"), core.pc - VECTORS


def with_vectors(*words: int | list[int]) -> Board:
    board = Board(*words)
    board.catch()
    for offset in range(0, 0x800, 0x80):
        board.put(VECTORS + offset, STOP)
    return board


# literal syndromes: EC << 26 | IL | ISS, DDI 0487 ESR_EL1
@pytest.mark.parametrize(
    ("word", "esr", "return_offset"),
    [
        (a64.svc(0x1234), 0x5600_1234, 4),
        (a64.brk(0x55), 0xF200_0055, 0),
        (a64.UDF, 0x0200_0000, 0),
        (0xD45E_0020, 0x0200_0000, 0),  # hlt #0xf001
        (a64.mrs(0, 3, 4, 1, 1, 0), 0x0200_0000, 0),  # HCR_EL2
    ],
)
def test_instruction_takes_its_exception(word, esr, return_offset):
    assert caught(with_vectors(a64.NOP, word)) == (esr, RAM + 4 + return_offset, 0x200)


@pytest.mark.parametrize("flags", [0x0000_0000, 0x6000_0000, 0xF000_0000])
def test_entry_saves_pstate_masks_everything_and_keeps_the_condition_flags(flags):
    board = with_vectors(a64.svc(0))
    board.core.write("PSTATE", flags | 0x305)
    caught(board)
    assert board.core.read("SPSR_EL1") == flags | 0x305
    assert board.core.read("PSTATE") == flags | 0x3C5


def test_exception_from_el1_with_sp_el0_uses_the_first_vectors_and_switches_stacks():
    board = with_vectors(a64.SPSEL_0, a64.svc(1))
    board.core.write("SP", 0x1111_0000)
    board.core.write("SP_EL0", 0x2222_0000)
    assert caught(board) == (0x5600_0001, RAM + 8, 0x000)
    assert board.core.read("SP") == 0x1111_0000
    assert board.core.read("SP_EL0") == 0x2222_0000
    assert board.core.read("SPSR_EL1") & 0xF == 4


def enter_user(*words: int | list[int], pstate: int = 0) -> Board:
    """EL0 about to execute ``words``, by an ERET at EL1."""
    board = with_vectors(a64.ERET)
    board.put(USER_CODE, *words)
    core = board.core
    core.write("ELR_EL1", USER_CODE)
    core.write("SPSR_EL1", pstate)
    core.write("SP", 0x1111_0000)
    core.write("SP_EL0", USER_STACK)
    return board


def test_svc_from_el0_uses_the_lower_level_vectors_and_the_kernel_stack():
    board = enter_user(a64.sub(31, 31, 16), a64.svc(7))
    assert caught(board) == (0x5600_0007, USER_CODE + 8, 0x400)
    assert board.core.read("SP") == 0x1111_0000
    assert board.core.read("SP_EL0") == USER_STACK - 16
    assert board.core.read("SPSR_EL1") == 0


def test_return_to_el0_after_an_exception_goes_on_there():
    board = enter_user(a64.svc(0), a64.add(5, 5, 3), a64.svc(1))
    handler = [a64.add(6, 6, 1), a64.sub(7, 6, 2), 0xB400_0047, a64.ERET, STOP]  # cbz x7, +8
    board.put(VECTORS + 0x400, handler)
    board.run()
    assert (board.core.x(5), board.core.x(6)) == (3, 2)


def test_external_abort_from_el0_has_the_lower_level_class():
    board = enter_user(a64.ldr(0, 1))
    board.core.set_x(1, NOWHERE + 8)
    assert caught(board) == (0x9200_0010, USER_CODE, 0x400)
    assert board.core.read("FAR_EL1") == NOWHERE + 8


# -- addresses that nobody answers


@pytest.mark.parametrize(
    ("word", "esr", "far"),
    [
        (0xF940_0022, 0x9600_0010, NOWHERE),  # ldr x2, [x1]
        (0xF900_0422, 0x9600_0050, NOWHERE + 8),  # str x2, [x1, #8]
        (0x3840_1422, 0x9600_0010, NOWHERE),  # ldrb w2, [x1], #1
        (0xB864_6822, 0x9600_0010, NOWHERE + 0x20),  # ldr w2, [x1, x4]
        (0xA93F_0C22, 0x9600_0050, NOWHERE - 16),  # stp x2, x3, [x1, #-16]
        (0x0C40_7022, 0x9600_0010, NOWHERE),  # ld1 {v2.8b}, [x1]
        (0xD50B_7421, 0x9600_0050, NOWHERE),  # dc zva, x1
    ],
)
def test_data_access_to_nothing_is_an_external_abort_without_effect(word, esr, far):
    board = with_vectors(a64.NOP, word)
    core = board.core
    core.write("CPACR_EL1", 3 << 20)
    core.set_x(1, NOWHERE)
    core.set_x(2, 77)
    core.set_x(4, 0x20)
    assert caught(board) == (esr, RAM + 4, 0x200)
    assert core.read("FAR_EL1") == far
    assert (core.x(1), core.x(2)) == (NOWHERE, 77)


def test_load_over_the_end_of_ram_reports_the_byte_that_is_missing():
    board = with_vectors(a64.ldr(2, 1))
    end = RAM + (16 << 20)
    board.core.set_x(1, end - 3)
    assert caught(board)[0] == 0x9600_0010
    assert board.core.read("FAR_EL1") == end


def test_external_abort_has_the_virtual_address_under_the_mmu():
    board = Board()
    board.map({0x0020_0000: (RAM, 1), 0x0040_0000: (NOWHERE, 1)})
    board.put(RAM, a64.ldr(2, 1, 0x18))
    board.put(VECTORS + 0x200, STOP)
    core = board.core
    core.write("PC", 0x0020_0000)
    core.write("VBAR_EL1", VECTORS - RAM + 0x0020_0000)
    core.set_x(1, 0x0040_1230)
    board.run()
    assert core.read("ESR_EL1") == 0x9600_0010
    assert core.read("FAR_EL1") == 0x0040_1248
    assert core.read("ELR_EL1") == 0x0020_0000


def test_the_memory_map_hears_of_what_nobody_answers():
    board = with_vectors(a64.str_(2, 1))
    heard: list[tuple[int, str]] = []
    board.memory.unanswered = lambda pa, kind: heard.append((pa, kind))
    board.core.set_x(1, NOWHERE)
    caught(board)
    assert heard == [(NOWHERE, "write")]


@pytest.mark.parametrize("target", [NOWHERE, 0, DEVICE + 0x20])
def test_jump_to_where_nothing_can_be_fetched_is_an_instruction_abort(target):
    board = with_vectors(a64.br(1))
    board.core.set_x(1, target)
    assert caught(board) == (0x8600_0010, target, 0x200)
    assert board.core.read("FAR_EL1") == target
    assert board.device.accesses == []


@pytest.mark.parametrize("times", [1, 2])
def test_jump_to_an_odd_address_is_a_pc_alignment_fault_every_time(times):
    board = with_vectors(a64.br(1))
    for _ in range(times):
        board.core.write("PC", RAM)
        board.core.set_x(1, RAM + 0x102)
        assert caught(board) == (0x8A00_0000, RAM + 0x102, 0x200)
        assert board.core.read("FAR_EL1") == RAM + 0x102


def test_mmu_fault_comes_with_its_level():
    board = Board()
    board.map({0x0020_0000: (RAM, 1)})
    board.put(RAM, a64.ldr(2, 1))
    board.put(VECTORS + 0x200, STOP)
    core = board.core
    core.write("PC", 0x0020_0000)
    core.write("VBAR_EL1", VECTORS - RAM + 0x0020_0000)
    core.set_x(1, 0x0060_0008)
    board.run()
    assert core.read("ESR_EL1") == 0x9600_0006  # translation fault, level 2
    assert core.read("FAR_EL1") == 0x0060_0008


# -- IRQ


def test_irq_waits_until_it_is_unmasked():
    board = with_vectors(a64.NOP, a64.NOP, a64.DAIF_UNMASK_I, a64.NOP, STOP)
    board.core.irq.set(True)
    board.run()
    assert board.core.pc == VECTORS + 0x280
    assert board.core.read("ELR_EL1") == RAM + 12


def test_irq_from_el0_is_taken_at_once_and_not_again_when_it_falls():
    board = enter_user(a64.add(5, 5, 1), STOP)
    board.put(VECTORS + 0x480, a64.add(6, 6, 1), a64.str_w(0, 1), a64.ERET)
    board.core.set_x(1, DEVICE)
    board.core.irq.set(True)
    board.device.effect = lambda offset: board.core.irq.set(False)
    board.run()
    assert (board.core.x(5), board.core.x(6)) == (1, 1)
    assert board.core.pc == USER_CODE + 4


def test_level_that_stays_high_interrupts_again_after_the_return():
    board = with_vectors(a64.DAIF_UNMASK_I, STOP)
    board.put(VECTORS + 0x280, a64.add(6, 6, 1), a64.ERET)
    board.core.irq.set(True)
    board.run(21)
    assert board.core.x(6) == 10


def test_a_pulse_nobody_took_is_gone():
    board = with_vectors(a64.str_w(0, 1), a64.DAIF_UNMASK_I, STOP)
    board.core.set_x(1, DEVICE)
    board.device.effect = lambda offset: board.core.irq.pulse()
    board.run()
    assert board.core.pc == RAM + 8
