# SPDX-License-Identifier: GPL-2.0-or-later
"""An AArch32 core: devices, exceptions, interrupts, services, as its guest sees them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from smmu_emu.clock import Clock
from smmu_emu.cpu.aarch32 import Aarch32Core
from smmu_emu.cpu.exit import ExitInfo, ExitKind
from smmu_emu.cpu.traps32 import condition_passes
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine
from smmu_emu.memory import PhysicalMemory
from tests.unit.cpu.core_helpers import RecordingDevice

RAM, DEVICE, NOWHERE = 0x4000_0000, 0x0900_0000, 0x2000_0000
VECTORS = RAM + 0x1000
UND, SVC, PABT, DABT, IRQ = (VECTORS + offset for offset in (4, 8, 0xC, 0x10, 0x18))
SPIN, NOP, WFI = 0xEAFF_FFFE, 0xE320_F000, 0xE320_F003
LDR_R0_R1, STR_R0_R1, ADD_R5_R5_1 = 0xE591_0000, 0xE581_0000, 0xE285_5001
CPSIE_I = 0xF108_0080
SEMIHOSTING = 0xEF12_3456
MRRC_CNTPCT, MRRC_CNTVCT = 0xEC51_0F0E, 0xEC51_0F1E


class Board:
    """RAM, a recording device, and a core about to execute ``code`` at RAM's base."""

    def __init__(self, *code: int, thumb: bool = False, **options: Any) -> None:
        self.memory = PhysicalMemory()
        self.ram = self.memory.add_ram(RAM, 1 << 20)
        self.device = RecordingDevice()
        self.memory.add_device(DEVICE, 0x1000, self.device, "device")
        self.clock = Clock()
        self.console = bytearray()
        self.reports: list[tuple[str, int]] = []
        self.core = Aarch32Core(
            self.memory,
            self.clock,
            console=self.console.extend,
            unmodelled=lambda what, pc: self.reports.append((what, pc)),
            **options,
        )
        self.device.core = self.core  # type: ignore[assignment]
        self.put(RAM, *code, thumb=thumb)
        self.core.reset(RAM | thumb)
        self.core.write("VBAR", VECTORS)
        for number in range(8):
            self.put(VECTORS + 4 * number, SPIN)
        self.core.set_x(1, DEVICE)

    def put(self, address: int, *code: int, thumb: bool = False) -> None:
        data = struct.pack(f"<{len(code)}{'H' if thumb else 'I'}", *code)
        self.ram.view[address - RAM : address - RAM + len(data)] = data

    def run(self, limit: int | None = 1000) -> ExitInfo:
        return self.core.run(limit)


def test_core_starts_in_supervisor_mode_with_everything_masked() -> None:
    board = Board(SPIN)
    assert board.core.read("CPSR") & 0x1FF == 0x1D3
    assert board.core.read("MIDR") == 0x412F_C0F1  # a Cortex-A15
    assert board.core.isa == "a32"


# -- devices


@pytest.mark.parametrize(
    ("word", "accesses"),
    [
        (LDR_R0_R1, [("read", 0, 4, 0)]),
        (0xE5D1_0003, [("read", 3, 1, 0)]),  # ldrb r0, [r1, #3]
        (0xE1D1_00B6, [("read", 6, 2, 0)]),  # ldrh r0, [r1, #6]
        (0xE1C1_20D8, [("read", 8, 4, 0), ("read", 12, 4, 0)]),  # ldrd r2, r3, [r1, #8]
        (0xE891_000C, [("read", 0, 4, 0), ("read", 4, 4, 0)]),  # ldm r1, {r2, r3}
        (STR_R0_R1, [("write", 0, 4, 0x1234_5678)]),
        (0xE5C1_0001, [("write", 1, 1, 0x78)]),  # strb r0, [r1, #1]
        (0xE1C1_00B2, [("write", 2, 2, 0x5678)]),  # strh r0, [r1, #2]
        (0xE8A1_0009, [("write", 0, 4, 0x1234_5678), ("write", 4, 4, 3)]),  # stm r1!, {r0, r3}
        (0xE101_0090, [("read", 0, 4, 0), ("write", 0, 4, 0x1234_5678)]),  # swp r0, r0, [r1]
    ],
)
def test_device_sees_each_access_as_the_instruction_makes_it(
    word: int, accesses: list[tuple[str, int, int, int]]
) -> None:
    board = Board(NOP, word, SPIN)
    board.core.set_x(0, 0x1234_5678)
    board.core.set_x(3, 3)
    if word == 0xE101_0090:
        board.core.write("SCTLR", board.core.read("SCTLR") | 1 << 10)  # SW
    board.run(2)
    assert board.device.accesses == accesses
    assert set(board.device.pcs) == {RAM + 4}


def test_loads_get_what_the_device_answers() -> None:
    board = Board(LDR_R0_R1, 0xE1D1_20B0, 0xE1D1_30D0, SPIN)  # ldrh r2; ldrsb r3
    board.device.answer = 0x8877_66F5
    board.run(3)
    assert [board.core.x(n) for n in (0, 2, 3)] == [0x8877_66F5, 0x66F5, 0xFFFF_FFF5]


def test_t32_accesses_are_seen_with_their_address() -> None:
    # ldr r0, [r1, #4]; str.w r0, [r1, #0x10]; push {r0, r1}; b .
    board = Board(0x6848, 0xF8C1, 0x0010, 0xB403, 0xE7FE, thumb=True)
    board.core.write("SP", DEVICE + 0x100)
    board.device.answer = 7
    board.run(3)
    assert board.device.accesses == [
        ("read", 4, 4, 0),
        ("write", 0x10, 4, 7),
        ("write", 0xF8, 4, 7),
        ("write", 0xFC, 4, DEVICE),
    ]
    assert board.device.pcs == [RAM, RAM + 2, RAM + 6, RAM + 6]


def test_misaligned_access_to_a_device_is_an_alignment_fault() -> None:
    board = Board(0xE591_0001, SPIN)
    board.run(2)
    assert (board.core.pc, board.core.read("DFSR"), board.core.read("DFAR")) == (
        DABT,
        0x001,
        DEVICE + 1,
    )
    assert not board.device.accesses


def test_device_that_refuses_gives_an_external_abort() -> None:
    board = Board(STR_R0_R1, SPIN)
    board.device.refuse = True
    board.run(2)
    assert (board.core.pc, board.core.read("DFSR"), board.core.read("DFAR")) == (
        DABT,
        0x808,
        DEVICE,
    )
    assert board.core.read("LR") == RAM + 8


def test_failure_of_a_device_undoes_the_instruction() -> None:
    board = Board(NOP, LDR_R0_R1, SPIN)

    def fail(_: int) -> None:
        raise RuntimeError("broken")

    board.device.effect = fail
    board.core.set_x(0, 5)
    with pytest.raises(RuntimeError, match="broken"):
        board.run()
    assert (board.core.pc, board.core.x(0)) == (RAM + 4, 5)
    board.device.effect = lambda _: None
    board.run(1)
    assert board.core.x(0) == 0x4433_2211


# -- exceptions


def test_svc_leaves_the_return_address_and_the_state_before() -> None:
    board = Board(0xE3B0_0000, 0xEF00_0042, SPIN)  # movs r0, #0: Z and not N
    board.run(3)
    assert board.core.pc == SVC
    assert board.core.read("LR") == RAM + 8
    assert board.core.read("SPSR") == 0x4000_01D3 | board.core.read("SPSR") & 0x2000_0000
    assert board.core.read("CPSR") & 0x1FF == 0x1D3


def test_undefined_t32_instruction_is_entered_in_a32_with_lr_two_ahead() -> None:
    board = Board(0xBF00, 0xDE07, 0xE7FE, thumb=True)  # nop; udf #7
    board.run(3)
    assert board.core.pc == UND
    assert board.core.read("LR") == RAM + 4
    assert board.core.read("SPSR") & 0x3F == 0x33
    assert board.core.read("CPSR") & 0x3F == 0x1B


def test_sctlr_te_takes_exceptions_to_t32() -> None:
    board = Board(0xEF00_0000, SPIN)
    board.core.write("SCTLR", board.core.read("SCTLR") | 1 << 30)
    board.put(SVC, 0xE7FE, thumb=True)
    board.run(5)
    assert (board.core.pc, board.core.isa) == (SVC, "t32")


def test_high_vectors_are_where_sctlr_says() -> None:
    board = Board(0xEF00_0000, SPIN)
    board.core.write("SCTLR", board.core.read("SCTLR") | 1 << 13)
    info = board.run(50)
    assert board.core.read("IFAR") in (0xFFFF_0008, 0xFFFF_000C)
    assert info.kind is ExitKind.LOCKUP


def test_exception_returns_to_user_mode_and_back() -> None:
    # movs pc, lr with SPSR of user mode; there: mrc sctlr is undefined
    board = Board(0xE1B0_F00E, SPIN)
    board.put(RAM + 0x100, 0xEE11_0F10, SPIN)
    board.core.write("SPSR", 0x1D0)
    board.core.write("LR", RAM + 0x100)
    board.run(4)
    assert board.core.pc == UND
    assert board.core.read("SPSR") & 0x1F == 0x10
    assert board.core.read("LR") == RAM + 0x104


def test_fault_in_the_vectors_ends_the_run() -> None:
    board = Board(0xEF00_0000)
    board.core.write("VBAR", NOWHERE)
    info = board.run()
    assert info.kind is ExitKind.LOCKUP
    assert "prefetch abort" in info.reason


# -- interrupts and time


def test_irq_is_taken_when_it_is_not_masked() -> None:
    board = Board(NOP, CPSIE_I, NOP, SPIN)
    board.core.irq.set(True)
    board.run(3)
    assert board.core.pc == IRQ
    assert board.core.read("LR") == RAM + 8 + 4
    assert board.core.read("CPSR") & 0x1F == 0x12


def test_wfi_ends_with_a_masked_interrupt_and_time_passes() -> None:
    board = Board(WFI, ADD_R5_R5_1, SPIN)
    board.clock.after(10_000, lambda: board.core.irq.set(True))
    board.run(3)
    assert board.core.x(5) == 1
    assert board.clock.now >= 10_000


def test_wfi_that_nothing_ends_is_a_deadlock() -> None:
    info = Board(WFI, SPIN).run(None)
    assert info.kind is ExitKind.DEADLOCK
    assert "waits for an interrupt" in info.reason


@pytest.mark.parametrize("thumb", [False, True])
def test_branch_to_itself_is_skipped_to_the_next_event(thumb: bool) -> None:
    board = Board(*((0xE7FE,) if thumb else (SPIN,)), thumb=thumb)
    board.clock.after(10**12, lambda: board.core.request_exit("enough"))
    info = board.run(None)
    assert (info.kind, info.reason) == (ExitKind.DEVICE, "enough")
    assert board.core.instructions >= 10**12


@pytest.mark.parametrize("word", [MRRC_CNTPCT, MRRC_CNTVCT])
def test_counters_are_virtual_time(word: int) -> None:
    board = Board(*[NOP] * 99, word, SPIN)
    board.run(100)
    assert (board.core.x(0), board.core.x(1)) == (100 // 16, 0)
    assert board.core.instructions == 100


def test_conditional_access_to_the_virtual_timer_is_conditional() -> None:
    # movs r0, #1; mrrceq p15, 1, r2, r3, c14; mrrcne p15, 1, r4, r5, c14
    board = Board(0xE3B0_0001, 0x0C53_2F1E, 0x1C55_4F1E, SPIN)
    board.clock.advance(16_000)
    board.core.set_x(2, 77)
    board.run(3)
    assert (board.core.x(2), board.core.x(4)) == (77, 1000)


def test_timer_interrupts_come_at_their_time() -> None:
    # mov r0, #10; mcr CNTV_TVAL; mov r0, #1; mcr CNTV_CTL; 1: add r5; b 1b
    board = Board(0xE3A0_000A, 0xEE0E_0F13, 0xE3A0_0001, 0xEE0E_0F33, ADD_R5_R5_1, 0xEAFF_FFFD)
    fired: list[int] = []
    board.core.virtual_timer.sink = lambda level: fired.append(board.clock.now) if level else None
    board.run(400)
    assert board.core.read("CNTV_CTL") == 5
    assert fired == [160]


def test_user_mode_has_the_counter_if_cntkctl_says_so() -> None:
    for allowed in (False, True):
        board = Board(0xE1B0_F00E)
        board.put(RAM + 0x100, MRRC_CNTVCT, SPIN)
        board.core.write("CNTKCTL", 2 if allowed else 0)
        board.core.write("SPSR", 0x1D0)
        board.core.write("LR", RAM + 0x100)
        board.run(3)
        assert (board.core.pc == UND) is not allowed


def test_runs_in_pieces_are_the_same_run() -> None:
    # cmp r0, #0; ite eq; addeq r5, #1; addne r6, #1; adds r0, #1; b back
    code = (0x2800, 0xBF0C, 0x3501, 0x3601, 0x3001, 0xE7F9)

    def trace(pieces: int) -> tuple[int, ...]:
        board = Board(*code, thumb=True)
        for _ in range(pieces):
            board.run(1 if pieces > 1 else 60)
        while board.core.instructions < 60:
            board.run(1)
        core = board.core
        return core.x(0), core.x(5), core.x(6), core.pc, core.instructions, board.clock.now

    assert trace(1) == trace(30)


# -- services


def test_psci_powers_off() -> None:
    board = Board(0xE59F_0000, 0xE140_0070, 0x8400_0008)  # ldr r0, [pc]; hvc #0
    board.put(RAM + 8, 0x8400_0008)
    assert board.run().kind is ExitKind.POWER_OFF


@pytest.mark.parametrize(
    ("call", "thumb"),
    [
        ((SEMIHOSTING,), False),
        ((0xE10F_0070,), False),
        ((0xDFAB,), True),
        ((0xBABC,), True),
    ],
    ids=["svc", "hlt", "t32 svc", "t32 hlt"],
)
def test_semihosting_prints_and_goes_on(call: tuple[int, ...], thumb: bool) -> None:
    board = Board(*call, 0xE7FE if thumb else SPIN, thumb=thumb)
    board.ram.view[0x2000:0x2006] = b"hello\0"
    board.core.set_x(0, 4)
    board.core.set_x(1, RAM + 0x2000)
    board.run(1)
    assert board.console == b"hello"
    assert board.core.pc == RAM + (2 if thumb else 4)


def test_semihosting_exit_has_a_status_by_its_block() -> None:
    board = Board(SEMIHOSTING)
    board.core.set_x(0, 0x20)
    board.core.set_x(1, RAM + 0x2000)
    board.put(RAM + 0x2000, 0x20026, 42)
    info = board.run()
    assert (info.kind, info.status) == (ExitKind.EXIT, 42)


@pytest.mark.parametrize(("reason", "status"), [(0x20026, 0), (0x20023, 1)])
def test_semihosting_exit_without_block_tells_the_reason(reason: int, status: int) -> None:
    board = Board(SEMIHOSTING)
    board.core.set_x(0, 0x18)
    board.core.set_x(1, reason)
    info = board.run()
    assert (info.kind, info.status) == (ExitKind.EXIT, status)


def test_svc_of_user_mode_is_no_semihosting() -> None:
    board = Board(0xE1B0_F00E)
    board.put(RAM + 0x100, SEMIHOSTING)
    board.core.write("SPSR", 0x1D0)
    board.core.write("LR", RAM + 0x100)
    board.run(5)
    assert board.core.pc == SVC


def test_performance_monitors_are_undefined_and_told_of() -> None:
    board = Board(0xEE19_0F1C, SPIN)  # mrc p15, 0, r0, c9, c12, 0
    board.run(3)
    assert board.core.pc == UND
    assert board.reports == [("mrc p15, 0, r0, c9, c12, 0 (performance monitors)", RAM)]


def test_id_register_does_not_promise_performance_monitors() -> None:
    board = Board(0xEE10_0F51, SPIN)  # mrc p15, 0, r0, c0, c1, 2
    board.run(1)
    assert board.core.x(0) >> 24 & 15 == 0
    assert board.core.x(0) & 0xFFF == 0x555


def test_debug_registers_read_as_zero_and_use_is_told_of() -> None:
    board = Board(0xEE10_0EB0, 0xEE00_5EB0, SPIN)  # mrc and mcr p14, 0, ..., c0, c0, 5
    board.core.set_x(0, 9)
    board.core.set_x(5, 1)
    board.run(2)
    assert board.core.pc == RAM + 8
    assert board.core.x(0) == 0
    assert [what.endswith("(debug)") for what, _ in board.reports] == [True]


# -- the rest


def test_code_that_dma_overwrites_is_executed_anew() -> None:
    board = Board(ADD_R5_R5_1, 0xEAFF_FFFD)
    board.run(10)
    before = board.core.x(5)
    board.memory.write(RAM, struct.pack("<I", 0xE285_5002))
    board.run(10)
    assert board.core.x(5) == before + 10


def test_breakpoints_stop_before_their_instruction() -> None:
    board = Board(ADD_R5_R5_1, ADD_R5_R5_1, ADD_R5_R5_1, SPIN)
    board.core.add_breakpoint(RAM + 8)
    info = board.run()
    assert (info.kind, board.core.pc, board.core.x(5)) == (ExitKind.BREAKPOINT, RAM + 8, 2)
    board.core.remove_breakpoint(RAM + 8)
    board.run(2)
    assert board.core.x(5) == 3


def test_conditions_are_those_of_the_manual() -> None:
    z, c, n, v = 1 << 30, 1 << 29, 1 << 31, 1 << 28
    passing = {
        z: {0, 3, 5, 7, 9, 10, 13, 14},
        c: {1, 2, 5, 7, 8, 10, 12, 14},
        n: {1, 3, 4, 7, 9, 11, 13, 14},
        n | v: {1, 3, 4, 6, 9, 10, 12, 14},
    }
    for flags, conditions in passing.items():
        assert {one for one in range(15) if condition_passes(one, flags)} == conditions


def test_reset_puts_everything_back() -> None:
    board = Board(ADD_R5_R5_1, 0xEF00_0000)
    board.run(20)
    board.core.reset(RAM)
    assert (board.core.pc, board.core.x(5), board.core.instructions) == (RAM, 0, 0)
    assert board.core.read("VBAR") == 0


def test_what_cannot_be_is_refused() -> None:
    board = Board(SPIN)
    with pytest.raises(ConfigurationError, match="PL1"):
        board.core.reset(RAM, el=2)
    with pytest.raises(ConfigurationError, match="no register 'X0'"):
        board.core.read("X0")
    with pytest.raises(ConfigurationError, match="no register R16"):
        board.core.x(16)
    with pytest.raises(ConfigurationError, match="no core model"):
        Aarch32Core(PhysicalMemory(), Clock(), "cortex-a9")


def test_machine_with_a_gicv3_is_refused() -> None:
    with (
        Machine.virt(cpu_model="cortex-a15", gic="v3") as machine,
        pytest.raises(ConfigurationError, match="GICv3"),
    ):
        _ = machine.core
