# SPDX-License-Identifier: GPL-2.0-or-later
"""Semihosting, called from guest code."""

from __future__ import annotations

import struct

import pytest

from smmu_emu.cpu.exit import ExitKind
from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import NOWHERE, RAM, STOP, Board

BLOCK, TEXT = RAM + 0x1000, RAM + 0x2000
MINUS_ONE = (1 << 64) - 1


def call(operation: int, *block: int, text: bytes = b"", parameter: int = BLOCK, **options):
    """A board after one semihosting call; and X0."""
    board = Board(a64.HLT_SEMIHOSTING, a64.add(5, 5, 1), STOP, **options)
    board.ram.view[0x1000 : 0x1000 + 8 * len(block)] = struct.pack(f"<{len(block)}Q", *block)
    board.ram.view[0x2000 : 0x2000 + len(text)] = text
    board.core.set_x(0, operation)
    board.core.set_x(1, parameter)
    info = board.run()
    if info.kind is ExitKind.DEADLOCK:
        assert board.core.x(5) == 1, "execution goes on behind the HLT"
    return board, info, board.core.x(0)


def test_write_char_and_text_reach_the_console():
    assert bytes(call(0x03, text=b"A", parameter=TEXT)[0].console) == b"A"
    long = b"x" * 5000 + b"\0rest"
    assert bytes(call(0x04, text=long, parameter=TEXT)[0].console) == b"x" * 5000


def test_write_reports_what_was_not_written():
    board, _, left = call(0x05, 2, TEXT, 5, text=b"hello")
    assert (bytes(board.console), left) == (b"hello", 0)
    assert call(0x05, 9, TEXT, 5)[2] == 5
    assert call(0x05, 2, NOWHERE, 5)[2] == 5
    assert call(0x05, 2, TEXT, 1 << 63)[2] == 1 << 63


@pytest.mark.parametrize(("mode", "handle"), [(0, 1), (3, 1), (4, 2), (6, 2), (8, 3), (11, 3)])
def test_console_opens_by_mode_and_is_a_terminal(mode, handle):
    assert call(0x01, TEXT, mode, 3, text=b":tt\0")[2] == handle
    assert call(0x09, handle)[2] == 1
    assert call(0x02, handle)[2] == 0


def test_files_of_the_host_stay_out_of_reach():
    assert call(0x01, TEXT, 0, 11, text=b"/etc/passwd\0")[2] == MINUS_ONE
    for operation in (0x0D, 0x0E, 0x0F, 0x12, 0x77):
        assert call(operation, TEXT, 0, 0)[2] == MINUS_ONE


def test_errno_tells_why():
    board = Board(a64.HLT_SEMIHOSTING, *a64.mov(0, 0x13), a64.HLT_SEMIHOSTING, STOP)
    board.core.set_x(0, 0x12)
    board.run()
    assert board.core.x(0) == 38  # ENOSYS


def test_reading_the_console_is_end_of_file():
    assert call(0x06, 1, TEXT, 10)[2] == 10
    assert call(0x07)[2] == MINUS_ONE


def test_features_file_says_what_is_there():
    open_, read = 0x01, 0x06
    board = Board(
        a64.HLT_SEMIHOSTING,
        a64.str_(0, 2),
        *a64.mov(0, read),
        *a64.mov(1, BLOCK + 0x40),
        a64.HLT_SEMIHOSTING,
        STOP,
    )
    name = b":semihosting-features"
    board.ram.view[0x1000:0x1018] = struct.pack("<3Q", TEXT, 0, len(name))
    board.ram.view[0x2000 : 0x2000 + len(name)] = name
    board.ram.view[0x1040:0x1058] = struct.pack("<3Q", 0, TEXT + 0x100, 16)
    board.core.set_x(0, open_)
    board.core.set_x(1, BLOCK)
    board.core.set_x(2, BLOCK + 0x40)
    board.run()
    assert board.core.x(0) == 11
    assert bytes(board.ram.view[0x2100:0x2105]) == b"SHFB\x03"


@pytest.mark.parametrize("operation", [0x18, 0x20])
@pytest.mark.parametrize(
    ("reason", "subcode", "status"), [(0x2_0026, 0, 0), (0x2_0026, 42, 42), (0x2_0024, 0, 1)]
)
def test_exit_ends_the_run_with_the_status(operation, reason, subcode, status):
    board, info, _ = call(operation, reason, subcode)
    assert (info.kind, info.status) == (ExitKind.EXIT, status)
    assert (info.pc, info.instructions) == (RAM + 4, 1)
    if reason != 0x2_0026:
        assert "0x20024" in info.reason
    assert board.core.x(5) == 0


def test_time_is_virtual():
    assert call(0x31)[2] == 1_000_000_000
    board = call(0x30, 0)[0]
    assert board.word64(BLOCK) == 1
    for operation, divisor in ((0x10, 10_000_000), (0x11, 1_000_000_000)):
        board = Board(a64.HLT_SEMIHOSTING, STOP)
        board.clock.advance(123_456_789_000)
        board.core.set_x(0, operation)
        board.run()
        assert board.core.x(0) == 123_456_789_000 // divisor


def test_command_line_is_given_with_its_length():
    board, _, answer = call(0x15, TEXT, 64, command_line="run --fast")
    assert answer == 0
    assert bytes(board.ram.view[0x2000:0x200B]) == b"run --fast\0"
    assert board.word64(BLOCK + 8) == 10
    assert call(0x15, TEXT, 5, command_line="run --fast")[2] == MINUS_ONE


def test_heap_info_has_no_opinion():
    board, _, _ = call(0x16, TEXT, text=b"\xff" * 40)
    assert bytes(board.ram.view[0x2000:0x2028]) == bytes(32) + b"\xff" * 8


def test_is_error_looks_at_the_sign():
    assert call(0x08, MINUS_ONE)[2] == 1
    assert call(0x08, 5)[2] == 0


@pytest.mark.parametrize("operation", [*range(0x01, 0x0D), 0x10, 0x13, 0x15, 0x16, 0x30, 0x31])
def test_parameter_block_outside_ram_never_raises(operation):
    assert call(operation, parameter=NOWHERE)[1].kind is ExitKind.DEADLOCK


def test_exit_with_a_bad_block_still_ends_nothing_by_accident():
    _, info, answer = call(0x18, parameter=NOWHERE)
    assert (info.kind, answer) == (ExitKind.DEADLOCK, MINUS_ONE)


def test_buffers_are_virtual_addresses():
    board = Board(STOP)
    board.map({0x0020_0000: (RAM, 1), 0x0040_0000: (RAM + 0x20_0000, 1)})
    board.put(RAM, a64.HLT_SEMIHOSTING, STOP)
    board.ram.view[0x20_0FFE:0x20_1002] = b"hey\0"
    board.core.write("PC", 0x0020_0000)
    board.core.set_x(0, 0x04)
    board.core.set_x(1, 0x0040_0FFE)
    board.run()
    assert bytes(board.console) == b"hey"


def test_exception_of_the_console_comes_out_of_run():
    def broken(_text: bytes) -> None:
        raise BrokenPipeError

    board = Board(a64.HLT_SEMIHOSTING, STOP)
    board.core._traps._host._console = broken
    board.ram.view[0x2000:0x2002] = b"x\0"
    board.core.set_x(0, 0x04)
    board.core.set_x(1, TEXT)
    with pytest.raises(BrokenPipeError):
        board.run()


def test_semihosting_from_el0_is_undefined():
    board = Board(a64.ERET)
    board.put(RAM + 0x100, a64.HLT_SEMIHOSTING)
    board.catch()
    board.put(board.core.read("VBAR_EL1") + 0x400, STOP)
    board.core.write("ELR_EL1", RAM + 0x100)
    board.core.write("SPSR_EL1", 0)
    board.run()
    assert board.core.read("ESR_EL1") == 0x0200_0000
