# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that start at EL2: routing, masking, traps, timers, stage 2."""

from __future__ import annotations

import pytest

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.system_registers import Outcome
from tests.unit.cpu import a64
from tests.unit.cpu.core_helpers import NOWHERE, RAM, RAM_SIZE, STOP, VECTORS, Board

VECTORS2 = RAM + 0x2_0000
LOWER, STAGE2 = RAM + 0x4_0000, RAM + 0x8_0000
HCR, SPSR2, ELR2, VBAR2, VBAR1 = (
    (3, 4, 1, 1, 0),
    (3, 4, 4, 0, 0),
    (3, 4, 4, 0, 1),
    (3, 4, 12, 0, 0),
    (3, 0, 12, 0, 0),
)
ESR2, FAR2, HPFAR2, VTTBR, VTCR = (
    (3, 4, 5, 2, 0),
    (3, 4, 6, 0, 0),
    (3, 4, 6, 0, 4),
    (3, 4, 2, 1, 0),
    (3, 4, 2, 1, 2),
)
CNTHCTL, CNTVOFF = (3, 4, 14, 1, 0), (3, 4, 14, 0, 3)
RW, TGE, TSC, TWI, VI, IMO, FMO, VM = (1 << n for n in (31, 27, 19, 13, 7, 4, 3, 0))
EL1H, EL1H_OPEN, EL2H, EL2H_OPEN = 0x3C5, 0x305, 0x3C9, 0x309
SAME, FROM_LOWER = 0x200, 0x400
IRQ, FIQ = 0x80, 0x100


class Hypervisor(Board):
    """A core at EL2 whose vectors, and those of EL1, all spin."""

    def __init__(self, *words: int | list[int], **options: object) -> None:
        super().__init__(*words, **options)
        self.core.reset(RAM, el=2)
        for offset in range(0, 0x800, 0x80):
            self.put(VECTORS + offset, STOP)
            self.put(VECTORS2 + offset, STOP)
        self.core.write("VBAR_EL1", VECTORS)
        self.core.write("VBAR_EL2", VECTORS2)

    def lower(self, *words: int | list[int], hcr: int = RW, pstate: int = EL1H) -> None:
        """Go on at a lower level with ``words``."""
        self.put(LOWER, *words)
        self.core.write("HCR_EL2", hcr)
        self.core.write("PSTATE", pstate)
        self.core.write("PC", LOWER)

    def caught(self) -> tuple[int, int]:
        """(level, vector offset) of the handler in which the core spins."""
        info = self.run()
        assert info.kind is ExitKind.DEADLOCK, info
        level = self.core.read("PSTATE") >> 2 & 3
        return level, self.core.pc - (VECTORS2 if level == 2 else VECTORS)


def test_guest_starts_at_el2h_masked_with_the_mmu_off():
    board = Hypervisor(a64.mrs(1, 3, 0, 4, 2, 2), a64.mrs(2, *HCR), STOP)  # CurrentEL
    board.run()
    assert (board.core.x(1), board.core.x(2)) == (8, 0)
    assert board.core.read("PSTATE") == EL2H
    assert board.core.highest_level == 2


@pytest.mark.parametrize(("el", "field"), [(1, 0x11), (2, 0x111)])
def test_id_register_tells_of_the_levels_that_the_guest_has(el, field):
    board = Board(a64.mrs(1, 3, 0, 0, 4, 0), STOP)
    board.core.reset(RAM, el=el)
    board.run()
    assert board.core.x(1) & 0xFFFF == field


def test_eret_goes_down_and_hvc_comes_back_to_the_guests_own_vectors():
    board = Hypervisor(
        a64.mov(1, RW),
        a64.msr(1, *HCR),
        a64.mov(1, EL1H),
        a64.msr(1, *SPSR2),
        a64.mov(1, LOWER),
        a64.msr(1, *ELR2),
        a64.ERET,
    )
    board.put(LOWER, a64.mov(3, 0x77), a64.hvc(0x42))
    assert board.caught() == (2, FROM_LOWER)
    core = board.core
    assert core.read("ESR_EL2") == 0x5A00_0042
    assert core.read("ELR_EL2") == LOWER + 20
    assert core.read("SPSR_EL2") == EL1H
    assert core.x(3) == 0x77


def test_hvc_at_el2_is_taken_from_the_current_level():
    board = Hypervisor(a64.hvc(1))
    assert board.caught() == (2, SAME)


def test_stacks_are_switched_on_the_way_up():
    board = Hypervisor()
    board.core.write("SP", 0x2222_0000)
    board.lower(a64.mov(9, 0x1111_0000), a64.add(31, 9, 0), a64.hvc())
    board.core.write("SP_EL2", 0x2222_0000)
    board.caught()
    assert board.core.read("SP") == 0x2222_0000
    assert board.core.read("SP_EL1") == 0x1111_0000


def test_smc_is_the_firmwares_unless_it_is_trapped():
    board = Hypervisor(a64.mov(0, 0x8400_0000), a64.smc(), STOP)
    board.run()
    assert board.core.x(0) == 0x1_0001  # PSCI 1.1
    board = Hypervisor()
    board.lower(a64.smc(7), hcr=RW | TSC)
    assert board.caught() == (2, FROM_LOWER)
    assert board.core.read("ESR_EL2") == 0x5E00_0007


def test_power_off_through_smc():
    board = Hypervisor(a64.mov(0, 0x8400_0008), a64.smc())
    assert board.run().kind is ExitKind.POWER_OFF


@pytest.mark.parametrize(
    ("hcr", "pstate", "expected"),
    [
        (0, EL2H_OPEN, None),  # not taken at EL2 unless routed there
        (IMO, EL2H_OPEN, (2, SAME + IRQ)),
        (IMO, EL2H, None),
        (TGE, EL2H_OPEN, (2, SAME + IRQ)),
        (RW | IMO, EL1H, (2, FROM_LOWER + IRQ)),
        (RW | IMO, EL1H_OPEN, (2, FROM_LOWER + IRQ)),
        (RW | IMO, 0x3C0, (2, FROM_LOWER + IRQ)),
        (RW, EL1H, None),
        (RW, EL1H_OPEN, (1, SAME + IRQ)),
        (RW, 0x300, (1, FROM_LOWER + IRQ)),
        (RW | FMO, EL1H_OPEN, (1, SAME + IRQ)),
    ],
)
@pytest.mark.parametrize("spins", [False, True])
def test_irq_goes_where_it_is_routed_unless_masked(hcr, pstate, expected, spins):
    board = Hypervisor()
    body = [STOP] if spins else [a64.add(5, 5, 1)] * 100
    board.lower(body, STOP, hcr=hcr, pstate=pstate)
    board.clock.after(20, lambda: board.core.irq.set(True))
    if expected is not None:
        assert board.caught() == expected
        return
    info = board.run()
    assert info.kind is ExitKind.DEADLOCK
    assert info.pc == LOWER + 4 * (len(body) if not spins else 0)
    assert board.core.read("PSTATE") == pstate


@pytest.mark.parametrize(
    ("hcr", "pstate", "expected"),
    [
        (FMO, EL2H_OPEN, (2, SAME + FIQ)),
        (RW | FMO, EL1H, (2, FROM_LOWER + FIQ)),
        (RW, EL1H_OPEN, (1, SAME + FIQ)),
        (RW | IMO, EL1H_OPEN, (1, SAME + FIQ)),
    ],
)
def test_fiq_goes_where_it_is_routed(hcr, pstate, expected):
    board = Hypervisor()
    board.lower(STOP, hcr=hcr, pstate=pstate)
    board.clock.after(20, lambda: board.core.fiq.set(True))
    assert board.caught() == expected


def test_unmasking_lets_a_pending_irq_in():
    board = Hypervisor()
    board.lower(a64.NOP, a64.DAIF_UNMASK_I, a64.NOP, STOP, hcr=IMO, pstate=EL2H)
    board.core.irq.set(True)
    assert board.caught() == (2, SAME + IRQ)
    assert board.core.read("ELR_EL2") == LOWER + 8


def test_virtual_irq_of_the_hypervisor_is_taken_at_el1():
    board = Hypervisor()
    board.lower(STOP, hcr=RW | IMO | VI, pstate=EL1H_OPEN)
    assert board.caught() == (1, SAME + IRQ)


def test_virtual_irq_waits_while_masked_and_does_not_reach_el2():
    board = Hypervisor()
    board.lower(STOP, hcr=RW | IMO | VI, pstate=EL1H)
    assert board.run().pc == LOWER
    board.lower(STOP, hcr=IMO | VI, pstate=EL2H_OPEN)
    assert board.run().pc == LOWER


def test_wfi_waits_at_el2_and_wakes_by_a_masked_interrupt():
    board = Hypervisor(a64.WFI, a64.mrs(1, 3, 3, 14, 0, 1), STOP)
    board.clock.after(1600, lambda: board.core.irq.set(True))
    board.core.write("HCR_EL2", IMO)
    board.run()
    assert board.core.x(1) == 100


def test_wfi_of_el1_is_trapped_where_the_hypervisor_wants():
    board = Hypervisor()
    board.lower(a64.WFI, hcr=RW | TWI)
    assert board.caught() == (2, FROM_LOWER)
    assert board.core.read("ESR_EL2") == 0x07E0_0000
    assert board.core.read("ELR_EL2") == LOWER


def test_undefined_instruction_goes_to_the_level_itself():
    board = Hypervisor(a64.UDF)
    assert board.caught() == (2, SAME)
    board.lower(a64.UDF)
    assert board.caught() == (1, SAME)
    board.lower(a64.UDF, hcr=RW, pstate=0x3C0)
    assert board.caught() == (1, FROM_LOWER)
    board.lower(a64.UDF, hcr=RW | TGE, pstate=0x3C0)
    assert board.caught() == (2, FROM_LOWER)


def test_external_abort_goes_to_the_level_that_caused_it():
    board = Hypervisor(a64.mov(1, NOWHERE + 8), a64.ldr(2, 1))
    assert board.caught() == (2, SAME)
    assert board.core.read("ESR_EL2") == 0x9600_0010
    assert board.core.read("FAR_EL2") == NOWHERE + 8
    board.lower(a64.ldr(2, 1))
    board.core.set_x(1, NOWHERE + 16)
    assert board.caught() == (1, SAME)
    assert board.core.read("FAR_EL1") == NOWHERE + 16


def test_lockup_at_el2_is_noticed():
    board = Hypervisor(a64.hvc())
    board.core.write("VBAR_EL2", NOWHERE)
    info = board.run()
    assert info.kind is ExitKind.LOCKUP


# -- stage 2: 4 KiB granule, 3 levels from level 1, RAM mapped by 2 MiB blocks


def stage2(board: Hypervisor, *, missing: int) -> None:
    """RAM is mapped identically, but for the block with ``missing``."""
    words, table = board.ram.words, STAGE2 + 0x1000
    words[(STAGE2 - RAM) // 8 + (RAM >> 30)] = table | 3
    for block in range(RAM, RAM + RAM_SIZE, 1 << 21):
        entry = 0 if block == missing & -(1 << 21) else block | 0x7FD  # AF, inner, RW, WB
        words[(table - RAM) // 8 + (block >> 21 & 511)] = entry
    board.core.write("VTTBR_EL2", STAGE2)
    board.core.write("VTCR_EL2", 25 | 1 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 2 << 16 | 1 << 31)


def test_stage_2_fault_of_el1_tells_the_ipa():
    board = Hypervisor()
    missing = RAM + 0x60_0000
    stage2(board, missing=missing)
    board.lower(a64.str_(2, 1), hcr=RW | VM)
    board.core.set_x(1, missing + 0x3458)
    assert board.caught() == (2, FROM_LOWER)
    core = board.core
    assert core.read("ESR_EL2") >> 26 == 0x24
    assert core.read("ESR_EL2") & 0x7F == 0x46  # write, translation fault, level 2
    assert core.read("FAR_EL2") == missing + 0x3458
    assert core.read("HPFAR_EL2") == (missing + 0x3000) >> 8


def test_el1_runs_under_stage_2_and_semihosting_reads_its_memory():
    board = Hypervisor()
    stage2(board, missing=0)
    text = LOWER + 0x100
    board.ram.view[text - RAM : text - RAM + 3] = b"hi\0"
    board.lower(a64.mov(0, 4), a64.mov(1, text), a64.HLT_SEMIHOSTING, STOP, hcr=RW | VM)
    board.run()
    assert bytes(board.console) == b"hi"


# -- timers


def test_hypervisor_timer_raises_its_line():
    board = Hypervisor(
        a64.mov(1, 20),
        a64.msr(1, 3, 4, 14, 2, 2),
        a64.mov(1, 1),
        a64.msr(1, 3, 4, 14, 2, 1),
        [a64.add(5, 5, 1)] * 500,
        a64.mrs(2, 3, 4, 14, 2, 1),
        STOP,
    )
    seen = []
    board.core.hypervisor_timer.sink = lambda level: seen.append((level, board.clock.now))
    board.run()
    assert seen == [(True, 320)]
    assert board.core.x(2) == 5
    assert board.core.read("CNTHP_CVAL_EL2") == 20


def test_hypervisor_timer_is_undefined_at_el1():
    board = Hypervisor()
    board.lower(a64.mrs(1, 3, 4, 14, 2, 1))
    assert board.caught() == (1, SAME)


@pytest.mark.parametrize(
    ("control", "register", "trapped"),
    [
        (0, (3, 3, 14, 0, 1), True),  # CNTPCT_EL0
        (1, (3, 3, 14, 0, 1), False),
        (0, (3, 3, 14, 0, 2), False),  # CNTVCT_EL0
        (1, (3, 3, 14, 2, 1), True),  # CNTP_CTL_EL0
        (2, (3, 3, 14, 2, 1), False),
        (0, (3, 3, 14, 3, 1), False),  # CNTV_CTL_EL0
        (0, (3, 3, 14, 0, 0), False),  # CNTFRQ_EL0
    ],
)
def test_hypervisor_decides_about_el1s_use_of_the_physical_timer(control, register, trapped):
    board = Hypervisor()
    board.core.write("CNTHCTL_EL2", control)
    board.lower(a64.mrs(4, *register), STOP)
    if trapped:
        assert board.caught() == (2, FROM_LOWER)
        op0, op1, crn, crm, op2 = register
        iss = op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | 4 << 5 | crm << 1 | 1
        assert board.core.read("ESR_EL2") == 0x18 << 26 | 1 << 25 | iss
    else:
        assert board.run().pc == LOWER + 4


def test_virtual_counter_is_behind_by_its_offset():
    board = Hypervisor(
        a64.mov(1, (1 << 64) - 100),
        a64.msr(1, *CNTVOFF),
        [a64.NOP] * 300,
        a64.mrs(2, 3, 3, 14, 0, 2),
        a64.mrs(3, 3, 3, 14, 0, 1),
        a64.mrs(4, *CNTVOFF),
        STOP,
    )
    board.run()
    assert board.core.x(2) == 305 // 16 + 100
    assert board.core.x(3) == 306 // 16
    assert board.core.x(4) == (1 << 64) - 100


def test_virtual_timer_compares_with_the_virtual_counter():
    board = Hypervisor()
    core = board.core
    board.clock.advance(1600)
    core.write("CNTVOFF_EL2", 90)
    core.write("CNTV_CVAL_EL0", 20)
    core.write("CNTV_CTL_EL0", 1)
    fired = []
    core.virtual_timer.sink = lambda level: fired.append(board.clock.now)
    board.clock.advance(3000)
    assert fired == [110 * 16]


# -- others that must follow the level


def test_reset_to_el1_forgets_what_a_hypervisor_set():
    board = Hypervisor(a64.NOP)
    board.core.write("HCR_EL2", RW | IMO | VI)
    board.core.reset(RAM, el=1)
    board.put(RAM, a64.DAIF_UNMASK_I, a64.NOP, STOP)
    assert board.run().pc == RAM + 8
    assert board.core.read("HCR_EL2") & (IMO | VI) == 0


def test_dma_over_code_of_el2_is_seen_with_its_mmu_on():
    board = Hypervisor()
    loop = RAM + 0x1000
    tables = RAM + 0x9_0000
    words = board.ram.words
    words[(tables - RAM) // 8 + 1] = RAM | 0x701  # 1 GiB block at 0x40000000
    words[(tables - RAM) // 8 + 2] = RAM | 0x701  # and again at 0x80000000
    core = board.core
    core.write("MAIR_EL2", 0xFF)
    core.write("TTBR0_EL2", tables)
    core.write("TCR_EL2", 25 | 1 << 23 | 1 << 31)
    core.write("SCTLR_EL2", core.read("SCTLR_EL2") | 1)
    board.put(loop, a64.add(1, 1, 1), a64.b(-1))
    core.write("PC", loop + 0x4000_0000)
    board.run(100)
    assert core.x(1) == 50
    board.memory.write(loop, a64.add(1, 1, 2).to_bytes(4, "little"))
    board.run(100)
    assert core.x(1) == 150


def test_debugger_reads_el2s_registers():
    board = Hypervisor()
    board.core.write("TPIDR_EL2", 0x1234)
    assert board.core.read("TPIDR_EL2") == 0x1234


# -- virtual interrupts that a GIC asks for


@pytest.mark.parametrize(("wire", "offset"), [("virq", IRQ), ("vfiq", FIQ)])
def test_virtual_interrupt_of_a_gic_is_taken_at_el1(wire, offset):
    board = Hypervisor()
    board.lower(STOP, hcr=RW | IMO | FMO, pstate=EL1H_OPEN)
    board.clock.after(20, lambda: getattr(board.core, wire).set(True))
    assert board.caught() == (1, SAME + offset)


def test_virtual_interrupt_of_a_gic_outlives_a_write_of_hcr():
    board = Hypervisor(a64.msr(1, *HCR), a64.ERET)
    board.put(LOWER, STOP)
    board.core.set_x(1, RW | IMO)
    board.core.write("SPSR_EL2", EL1H_OPEN)
    board.core.write("ELR_EL2", LOWER)
    board.core.virq.set(True)
    assert board.caught() == (1, SAME + IRQ)


def test_virtual_interrupt_of_a_gic_goes_with_its_wire():
    board = Hypervisor()
    board.lower(a64.NOP, a64.DAIF_UNMASK_I, STOP, hcr=RW | IMO, pstate=EL1H)
    board.core.virq.set(True)
    board.run(1)
    board.core.virq.set(False)
    assert board.run().pc == LOWER + 8


class Registers:
    """One system register, which the hypervisor traps from EL1."""

    def read_system(self, register, level, hcr):
        if register != (3, 0, 12, 12, 0):
            return Outcome.ABSENT
        return 0x123 if level == 2 else Outcome.TRAPPED if hcr & IMO else Outcome.UNDEFINED

    def write_system(self, register, level, hcr, value):
        return Outcome.UNDEFINED


def test_register_of_a_device_is_read_undefined_or_trapped():
    board = Hypervisor(a64.mrs(7, 3, 0, 12, 12, 0), STOP)
    board.core.system_device = Registers()
    board.run()
    assert board.core.x(7) == 0x123
    board.lower(a64.mrs(7, 3, 0, 12, 12, 0), hcr=RW)
    assert board.caught() == (1, SAME)
    board.lower(a64.mrs(7, 3, 0, 12, 12, 0), hcr=RW | IMO)
    assert board.caught() == (2, FROM_LOWER)
    assert board.core.read("ESR_EL2") == 0x6230_30F9
    assert board.core.read("ELR_EL2") == LOWER
    assert board.reports == []


def test_register_that_the_device_lacks_is_told():
    board = Hypervisor(a64.mrs(7, 3, 0, 12, 12, 1))
    board.core.system_device = Registers()
    assert board.caught() == (2, SAME)
    assert board.reports == [("mrs x7, S3_0_C12_C12_1", RAM)]
