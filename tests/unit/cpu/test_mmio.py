# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device sees of the core's loads and stores."""

from __future__ import annotations

import pytest

from smmu_emu.cpu.exit import ExitKind
from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import DEVICE, RAM, STOP, VECTORS, Board

DEVICE_MEMORY, NORMAL_MEMORY = 0, 1
ANSWER = 0x8877_6655_4433_2211


def board_with(word: int, address: int = DEVICE + 0x10, **options: object) -> Board:
    board = Board(word, STOP, **options)
    board.core.set_x(1, address)
    board.core.set_x(2, 0x0102_0304_0506_0708)
    board.core.set_x(3, 0x1112_1314_1516_1718)
    board.core.set_x(4, 8)
    return board


LOADS = [
    ("ldr x2, [x1]", 0xF940_0022, [("read", 0x10, 8)], ANSWER),
    ("ldr w2, [x1]", 0xB940_0022, [("read", 0x10, 4)], 0x4433_2211),
    ("ldr w2, [x1, #4]", 0xB940_0422, [("read", 0x14, 4)], 0x4433_2211),
    ("ldrh w2, [x1, #2]", 0x7940_0422, [("read", 0x12, 2)], 0x2211),
    ("ldrb w2, [x1, #3]", 0x3940_0C22, [("read", 0x13, 1)], 0x11),
    ("ldrsb x2, [x1]", 0x3980_0022, [("read", 0x10, 1)], 0x11),
    ("ldrsw x2, [x1]", 0xB980_0022, [("read", 0x10, 4)], 0x4433_2211),
    ("ldr x2, [x1, x4]", 0xF864_6822, [("read", 0x18, 8)], ANSWER),
    ("ldr x2, [x1, x4, lsl #3]", 0xF864_7822, [("read", 0x50, 8)], ANSWER),
    ("ldr x2, [x1, w4, sxtw]", 0xF864_C822, [("read", 0x18, 8)], ANSWER),
    ("ldr x2, [x1], #8", 0xF840_8422, [("read", 0x10, 8)], ANSWER),
    ("ldr x2, [x1, #8]!", 0xF840_8C22, [("read", 0x18, 8)], ANSWER),
    ("ldur x2, [x1, #-8]", 0xF85F_8022, [("read", 0x08, 8)], ANSWER),
    ("ldar x2, [x1]", 0xC8DF_FC22, [("read", 0x10, 8)], ANSWER),
    ("ldar w2, [x1]", 0x88DF_FC22, [("read", 0x10, 4)], 0x4433_2211),
    ("ldp x2, x3, [x1]", 0xA940_0C22, [("read", 0x10, 8), ("read", 0x18, 8)], ANSWER),
    ("ldp w2, w3, [x1]", 0x2940_0C22, [("read", 0x10, 4), ("read", 0x14, 4)], 0x4433_2211),
    ("ldp x2, x3, [x1, #16]!", 0xA9C1_0C22, [("read", 0x20, 8), ("read", 0x28, 8)], ANSWER),
    ("ldxr x2, [x1]", 0xC85F_7C22, [("read", 0x10, 8)], ANSWER),
]


@pytest.mark.parametrize(("text", "word", "accesses", "result"), LOADS, ids=[x[0] for x in LOADS])
def test_load_reaches_device_whole_and_once(text, word, accesses, result):
    board = board_with(word)
    assert board.run().kind is ExitKind.DEADLOCK
    assert [a[:3] for a in board.device.accesses] == accesses
    assert board.core.x(2) == result
    assert set(board.device.pcs) == {RAM}


STORES = [
    ("str x2, [x1]", 0xF900_0022, [(0x10, 8, 0x0102_0304_0506_0708)]),
    ("str w2, [x1]", 0xB900_0022, [(0x10, 4, 0x0506_0708)]),
    ("str w2, [x1, #4]", 0xB900_0422, [(0x14, 4, 0x0506_0708)]),
    ("strh w2, [x1, #2]", 0x7900_0422, [(0x12, 2, 0x0708)]),
    ("strb w2, [x1, #3]", 0x3900_0C22, [(0x13, 1, 0x08)]),
    ("str x2, [x1, x4]", 0xF824_6822, [(0x18, 8, 0x0102_0304_0506_0708)]),
    ("str x2, [x1], #8", 0xF800_8422, [(0x10, 8, 0x0102_0304_0506_0708)]),
    ("stlr w2, [x1]", 0x889F_FC22, [(0x10, 4, 0x0506_0708)]),
    ("str xzr, [x1]", 0xF900_003F, [(0x10, 8, 0)]),
    (
        "stp x2, x3, [x1]",
        0xA900_0C22,
        [(0x10, 8, 0x0102_0304_0506_0708), (0x18, 8, 0x1112_1314_1516_1718)],
    ),
    ("stp w2, w3, [x1]", 0x2900_0C22, [(0x10, 4, 0x0506_0708), (0x14, 4, 0x1516_1718)]),
    ("stp w2, w3, [x1, #4]", 0x2900_8C22, [(0x14, 4, 0x0506_0708), (0x18, 4, 0x1516_1718)]),
]


@pytest.mark.parametrize(("text", "word", "accesses"), STORES, ids=[x[0] for x in STORES])
def test_store_reaches_device_whole_and_once(text, word, accesses):
    board = board_with(word)
    assert board.run().kind is ExitKind.DEADLOCK
    assert board.device.accesses == [("write", *access) for access in accesses]
    assert set(board.device.pcs) == {RAM}


def test_vector_registers_arrive_as_64_bit_halves():
    board = board_with(0x3D80_0020)  # str q0, [x1]
    board.core.write("CPACR_EL1", 3 << 20)
    board.run()
    assert board.device.accesses == [("write", 0x10, 8, 0), ("write", 0x18, 8, 0)]
    board = board_with(0x3DC0_0020)  # ldr q0, [x1]
    board.core.write("CPACR_EL1", 3 << 20)
    board.run()
    assert [a[:3] for a in board.device.accesses] == [("read", 0x10, 8), ("read", 0x18, 8)]
    assert board.core.read("D0") == ANSWER


def test_writeback_happens_once():
    board = board_with(0xF840_8422)  # ldr x2, [x1], #8
    board.run()
    assert board.core.x(1) == DEVICE + 0x18


# -- PC


def test_pc_is_exact_in_the_middle_of_a_block_and_in_a_loop():
    board = Board(
        a64.NOP,
        a64.str_w(2, 1),
        a64.NOP,
        a64.ldr_w(3, 1),
        a64.sub(5, 5, 1),
        a64.str_(2, 1, 8),
        a64.cbnz(5, -5),
        STOP,
    )
    board.core.set_x(1, DEVICE)
    board.core.set_x(5, 3)
    board.run()
    assert board.device.pcs == [RAM + 4, RAM + 12, RAM + 20] * 3


def test_pc_is_exact_where_virtual_addresses_are_not_physical():
    board = Board()
    board.map(
        {
            0x0020_0000: (RAM, NORMAL_MEMORY),
            0x7_4000_0000: (DEVICE, DEVICE_MEMORY),
        }
    )
    board.put(RAM + 0x100, a64.NOP, a64.str_(2, 1), a64.NOP, a64.ldr_w(3, 1, 4), STOP)
    board.core.write("PC", 0x0020_0100)
    board.core.set_x(1, 0x7_4000_0000)
    assert board.run().kind is ExitKind.DEADLOCK
    assert board.device.pcs == [0x0020_0104, 0x0020_010C]
    assert [a[:3] for a in board.device.accesses] == [("write", 0, 8), ("read", 4, 4)]
    assert board.core.translate(0x0020_0104) == RAM + 0x104
    assert board.core.read_virtual(0x0020_0104, 4) == a64.code(a64.str_(2, 1))


def test_two_frames_at_one_virtual_page_do_not_mix_up_instructions():
    """The same PC is a 64-bit load in one frame and a pair of 32-bit loads in another."""
    page = RAM + 0x20_0000
    board = Board(
        a64.ldr(2, 1),
        a64.br(6),
    )
    board.put(page, 0x2940_0C22, a64.br(6))  # ldp w2, w3, [x1]
    board.map(
        {
            0x0020_0000: (RAM, NORMAL_MEMORY),
            0x0040_0000: (RAM + 0x40_0000, NORMAL_MEMORY),
            0x4000_0000: (DEVICE, DEVICE_MEMORY),
        }
    )
    board.put(RAM + 0x40_0000, STOP)
    core = board.core
    core.set_x(1, 0x4000_0000)
    core.set_x(6, 0x0040_0000)
    entry = (core.read("TTBR0_EL1") + 0x1000 + 8 - RAM) // 8
    for pa, expected in [(RAM, [8]), (page, [4, 4]), (RAM, [8]), (page, [4, 4])]:
        board.ram.words[entry] = pa | 0x705
        core._engine.flush_tlb()
        core.write("PC", 0x0020_0000)
        board.device.accesses.clear()
        board.run(100)
        assert [a[2] for a in board.device.accesses] == expected


# -- misaligned accesses


@pytest.mark.parametrize(
    ("word", "is_write"),
    [(0xF940_0022, 0), (0xF900_0022, 1), (0x7940_0022, 0), (0xB900_0022, 1), (0xA940_0C22, 0)],
)
def test_misaligned_access_with_the_mmu_off_is_an_alignment_fault(word, is_write):
    board = board_with(word, DEVICE + 0x13)
    board.catch()
    board.run()
    core = board.core
    assert board.device.accesses == []
    assert core.pc == VECTORS + 0x200
    assert core.read("ESR_EL1") == 0x9600_0021 | is_write << 6
    assert core.read("FAR_EL1") == DEVICE + 0x13
    assert core.read("ELR_EL1") == RAM
    assert core.x(2) == 0x0102_0304_0506_0708


def test_dc_zva_on_a_device_is_an_alignment_fault():
    board = board_with(0xD50B_7421, DEVICE + 0x40)  # dc zva, x1
    board.catch()
    board.run()
    assert board.device.accesses == []
    assert board.core.read("ESR_EL1") == 0x9600_0061
    assert board.core.read("ELR_EL1") == RAM


def normal_window(word: int, address: int) -> Board:
    board = board_with(word, 0x4000_0000 + address)
    board.map({0x0020_0000: (RAM, NORMAL_MEMORY), 0x4000_0000: (DEVICE, NORMAL_MEMORY)})
    board.catch()
    board.core.write("VBAR_EL1", VECTORS - RAM + 0x0020_0000)
    board.core.write("PC", 0x0020_0000)
    return board


@pytest.mark.parametrize(
    ("word", "size", "result"),
    [(0xF940_0022, 8, ANSWER), (0xB940_0022, 4, 0x4433_2211), (0x7940_0022, 2, 0x2211)],
)
@pytest.mark.parametrize("skew", [1, 3, 5, 7])
def test_misaligned_load_from_normal_memory_is_one_access(word, size, result, skew):
    board = normal_window(word, 0x20 + skew)
    board.run()
    assert [a[:3] for a in board.device.accesses] == [("read", 0x20 + skew, size)]
    assert board.core.x(2) == result


def test_misaligned_pair_from_normal_memory_is_two_accesses():
    board = normal_window(0xA940_0C22, 0x21)  # ldp x2, x3, [x1]
    board.run()
    assert [a[:3] for a in board.device.accesses] == [("read", 0x21, 8), ("read", 0x29, 8)]
    assert board.core.x(3) == ANSWER


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0xF900_0022, [("write", 0x23, 8, 0x0102_0304_0506_0708)]),
        (0xB900_0022, [("write", 0x23, 4, 0x0506_0708)]),
        (0x7900_0022, [("write", 0x23, 2, 0x0708)]),
    ],
)
def test_misaligned_store_to_normal_memory_is_one_access(word, expected):
    board = normal_window(word, 0x23)
    board.run()
    assert board.device.accesses == expected


@pytest.mark.parametrize("word", [0xF940_0022, 0xF900_0022])
def test_misaligned_access_over_the_end_of_a_window_is_an_external_abort(word):
    board = normal_window(word, 0xFFC)
    board.run()
    assert board.device.accesses == []
    assert board.core.read("ESR_EL1") & 0xFC00_003F == 0x9400_0010
    assert board.core.read("ELR_EL1") == 0x0020_0000


# -- devices that refuse or raise


def test_refused_load_is_an_external_abort_and_changes_nothing():
    board = board_with(0xF840_8422)  # ldr x2, [x1], #8
    board.catch()
    board.device.refuse = True
    board.run()
    core = board.core
    assert core.read("ESR_EL1") == 0x9600_0010
    assert core.read("FAR_EL1") == DEVICE + 0x10
    assert core.read("ELR_EL1") == RAM
    assert (core.x(1), core.x(2)) == (DEVICE + 0x10, 0x0102_0304_0506_0708)


def test_refused_second_half_of_a_pair_has_its_own_address():
    board = board_with(0xA900_0C22)  # stp x2, x3, [x1]
    board.catch()
    board.device.effect = lambda offset: setattr(board.device, "refuse", offset == 0x18)
    board.run()
    assert board.core.read("ESR_EL1") == 0x9600_0050
    assert board.core.read("FAR_EL1") == DEVICE + 0x18


class DeviceError(Exception):
    pass


@pytest.mark.parametrize("word", [0xF940_0022, 0xF900_0022, 0xB840_4422])
def test_exception_of_a_device_comes_out_of_run_and_the_core_can_go_on(word):
    board = board_with(word)

    def fail(_offset: int) -> None:
        raise DeviceError("broken")

    board.device.effect = fail
    with pytest.raises(DeviceError, match="broken"):
        board.run()
    core = board.core
    assert core.pc == RAM
    assert (core.x(1), core.x(2)) == (DEVICE + 0x10, 0x0102_0304_0506_0708)
    board.device.effect = lambda offset: None
    board.device.accesses.clear()
    assert board.run().kind is ExitKind.DEADLOCK
    assert len(board.device.accesses) == 1


def test_keyboard_interrupt_in_a_device_comes_out_of_run():
    board = board_with(0xF940_0022)

    def interrupt(_offset: int) -> None:
        raise KeyboardInterrupt

    board.device.effect = interrupt
    with pytest.raises(KeyboardInterrupt):
        board.run()


def test_interrupted_abort_is_taken_again_by_the_next_run(monkeypatch):
    """Ctrl-C right after a refused access: the access is repeated, and refused again."""
    board = board_with(0xF940_0022)
    board.catch()
    board.device.refuse = True
    pace = board.core._pace
    monkeypatch.setattr(pace, "_undo", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        board.run()
    monkeypatch.undo()
    board.run()
    assert board.core.read("ELR_EL1") == RAM
    assert board.core.read("ESR_EL1") == 0x9600_0010
    assert len(board.device.accesses) == 2


def test_wide_answers_are_cut_to_the_size_of_the_access():
    board = board_with(0xB940_0022)
    board.device.answer = 1 << 80 | 0xFFFF_FFFF_FFFF
    board.run()
    assert board.core.x(2) == 0xFFFF_FFFF


# -- the run around an access


def test_exit_asked_for_by_a_device_ends_the_run_after_that_instruction():
    board = Board(a64.str_w(2, 1), a64.add(5, 5, 1), a64.add(5, 5, 1), STOP)
    board.core.set_x(1, DEVICE)
    board.device.effect = lambda offset: board.core.request_exit("enough", 7)
    info = board.run()
    assert (info.kind, info.status, info.reason) == (ExitKind.DEVICE, 7, "enough")
    assert (info.pc, info.instructions) == (RAM + 4, 1)
    board.device.effect = lambda offset: None
    assert board.run().kind is ExitKind.DEADLOCK
    assert board.core.x(5) == 2


def test_interrupt_raised_by_a_store_is_taken_before_the_next_instruction():
    board = Board(a64.DAIF_UNMASK_I, a64.NOP, a64.str_w(2, 1), a64.add(5, 5, 1), STOP)
    board.catch()
    board.put(VECTORS + 0x280, STOP)
    board.core.set_x(1, DEVICE)
    board.device.effect = lambda offset: board.core.irq.set(True)
    board.run()
    assert board.core.pc == VECTORS + 0x280
    assert board.core.read("ELR_EL1") == RAM + 12
    assert board.core.x(5) == 0


def test_clock_shows_the_time_of_the_accessing_instruction():
    times: list[int] = []
    board = Board(a64.NOP, a64.str_w(2, 1), a64.NOP, a64.NOP, a64.ldr_w(2, 1), STOP)
    board.core.set_x(1, DEVICE)
    board.device.effect = lambda offset: times.append(board.clock.now)
    board.run()
    assert times == [1, 4]


def test_action_asked_for_by_a_store_runs_at_its_time():
    seen: list[tuple[int, int]] = []
    board = Board(a64.str_w(2, 1), [a64.add(5, 5, 1)] * 40, STOP)
    board.core.set_x(1, DEVICE)

    def later() -> None:
        seen.append((board.clock.now, board.core.x(5)))

    board.device.effect = lambda offset: board.clock.after(10, later) and None
    board.run()
    assert seen == [(10, 9)]
