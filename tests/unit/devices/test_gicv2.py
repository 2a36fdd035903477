# SPDX-License-Identifier: GPL-2.0-or-later
"""The GICv2 against literal values and rules of IHI 0048."""

from __future__ import annotations

import pytest

from smmu_emu.devices.gicv2 import GICC_CTLR, Gicv2

CTLR, TYPER, IIDR, IGROUPR, ISENABLER, ICENABLER = 0x000, 0x004, 0x008, 0x080, 0x100, 0x180
ISPENDR, ICPENDR, ISACTIVER, ICACTIVER, IPRIORITYR = 0x200, 0x280, 0x300, 0x380, 0x400
ITARGETSR, ICFGR, SGIR, CPENDSGIR, SPENDSGIR = 0x800, 0xC00, 0xF00, 0xF10, 0xF20
PMR, BPR, IAR, EOIR, RPR, HPPIR, ABPR, AIAR, AEOIR, AHPPIR = range(0x004, 0x02C, 4)
APR, NSAPR, CPU_IIDR, DIR = 0xD0, 0xE0, 0xFC, 0x1000
UART, OTHER = 33, 34


class Rig:
    """A GIC that is on and lets every priority pass; ``d`` and ``c`` access its registers."""

    def __init__(self, *, on: bool = True) -> None:
        self.reported: list[tuple[str, int, str]] = []
        self.gic = Gicv2(
            lambda offset, kind: self.reported.append(("d", offset, kind)),
            lambda offset, kind: self.reported.append(("c", offset, kind)),
        )
        if on:
            self.d(CTLR, 1)
            self.c(0, 1)
            self.c(PMR, 0xFF)

    def d(self, offset: int, value: int | None = None) -> int:
        if value is None:
            return self.gic.distributor.read(offset, 4)
        self.gic.distributor.write(offset, 4, value)
        return 0

    def c(self, offset: int, value: int | None = None) -> int:
        if value is None:
            return self.gic.cpu.read(offset, 4)
        self.gic.cpu.write(offset, 4, value)
        return 0

    def enable(self, number: int, priority: int = 0x80, *, edge: bool = False) -> None:
        self.d(ISENABLER + number // 32 * 4, 1 << number % 32)
        self.gic.distributor.write(IPRIORITYR + number, 1, priority)
        if edge:
            self.d(ICFGR + number // 16 * 4, 2 << number % 16 * 2)

    def wire(self, number: int, level: bool) -> None:
        self.gic.ppi(number)(level)

    @property
    def irq(self) -> bool:
        return self.gic.cpu.irq.level

    @property
    def fiq(self) -> bool:
        return self.gic.cpu.fiq.level

    def is_set(self, register: int, number: int) -> bool:
        return bool(self.d(register + number // 32 * 4) >> number % 32 & 1)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0x000, 0),
        (0x004, 0x8),
        (0x008, 0x43B),
        (0x080, 0),
        (0x100, 0xFFFF),
        (0x104, 0),
        (0x180, 0xFFFF),
        (0x200, 0),
        (0x300, 0),
        (0x400, 0),
        (0x800, 0),
        (0xC00, 0xAAAA_AAAA),
        (0xC04, 0),
        (0xFD0, 0x04),
        (0xFE0, 0x90),
        (0xFE4, 0xB4),
        (0xFE8, 0x2B),
        (0xFF0, 0x0D),
        (0xFF4, 0xF0),
        (0xFF8, 0x05),
        (0xFFC, 0xB1),
    ],
)
def test_distributor_reset_value(offset: int, value: int) -> None:
    assert Rig(on=False).d(offset) == value


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0x00, 0),
        (0x04, 0),
        (0x08, 0),
        (0x0C, 1023),
        (0x14, 0xFF),
        (0x18, 1023),
        (0x1C, 1),
        (0x20, 1023),
        (0x28, 1023),
        (0xD0, 0),
        (0xE0, 0),
        (0xFC, 0x0002_043B),
    ],
)
def test_cpu_interface_reset_value(offset: int, value: int) -> None:
    assert Rig(on=False).c(offset) == value


def test_writable_bits() -> None:
    rig = Rig(on=False)
    rig.d(CTLR, 0xFFFF_FFFF)
    assert rig.d(CTLR) == 3
    for offset, readback in ((0, 0x21F), (PMR, 0xFF), (BPR, 7), (ABPR, 7), (APR, 0xFFFF_FFFF)):
        rig.c(offset, 0xFFFF_FFFF)
        assert rig.c(offset) == readback
    rig.c(ABPR, 0)
    assert rig.c(ABPR) == 1
    assert GICC_CTLR.make(EnableGrp1=1, AckCtl=1, FIQEn=1, CBPR=1, EOImode=1).value == 0x21E


def test_sgis_stay_enabled_and_edge_triggered(rig: Rig) -> None:
    rig.d(ICENABLER, 0xFFFF_FFFF)
    rig.d(ICFGR, 0)
    assert rig.d(ISENABLER) == 0xFFFF
    assert rig.d(ICFGR) == 0xAAAA_AAAA
    rig.d(ICFGR + 4, 0xFFFF_FFFF)
    assert rig.d(ICFGR + 4) == 0xAAAA_AAAA


def test_interrupts_beyond_287_do_not_exist(rig: Rig) -> None:
    for register in (IGROUPR, ISENABLER, ISPENDR, ISACTIVER):
        rig.d(register + 0x20, 0xFFFF_FFFF)
        rig.d(register + 0x24, 0xFFFF_FFFF)
        assert rig.d(register + 0x20) == 0xFFFF_FFFF
        assert rig.d(register + 0x24) == 0
    rig.d(IPRIORITYR + 284, 0x1122_3344)
    rig.d(IPRIORITYR + 288, 0x1122_3344)
    assert (rig.d(IPRIORITYR + 284), rig.d(IPRIORITYR + 288)) == (0x1122_3344, 0)


def test_registers_are_accessible_bytewise(rig: Rig) -> None:
    distributor = rig.gic.distributor
    distributor.write(ISENABLER + 5, 1, 0x81)
    assert rig.d(ISENABLER + 4) == 0x8100
    distributor.write(IPRIORITYR + 33, 2, 0xBBAA)
    assert rig.d(IPRIORITYR + 32) == 0x00BB_AA00
    distributor.write(ICFGR + 9, 1, 0xFF)
    assert rig.d(ICFGR + 8) == 0xAA00
    assert distributor.read(TYPER, 1) == 8
    assert distributor.read(TYPER, 8) == 0x8


def test_targets_are_raz_wi_with_one_core(rig: Rig) -> None:
    rig.d(ITARGETSR + 32, 0x0101_0101)
    assert rig.d(ITARGETSR + 32) == 0
    assert rig.reported == []


def test_level_interrupt_is_pending_while_its_wire_is_up(rig: Rig) -> None:
    rig.enable(UART)
    rig.wire(UART, True)
    assert rig.irq
    assert rig.is_set(ISPENDR, UART)
    rig.d(ICPENDR + 4, 2)
    assert rig.is_set(ISPENDR, UART)
    rig.wire(UART, False)
    assert not rig.irq
    assert not rig.is_set(ISPENDR, UART)
    assert rig.c(IAR) == 1023


def test_level_interrupt_comes_again_after_eoi_if_its_wire_is_still_up(rig: Rig) -> None:
    rig.enable(UART)
    rig.wire(UART, True)
    assert rig.c(IAR) == 33
    assert rig.is_set(ISACTIVER, UART)
    assert not rig.irq
    rig.c(EOIR, 33)
    assert rig.irq
    assert not rig.is_set(ISACTIVER, UART)
    assert rig.c(IAR) == 33
    rig.wire(UART, False)
    rig.c(EOIR, 33)
    assert not rig.irq


def test_edge_interrupt_is_latched_and_taken_once(rig: Rig) -> None:
    rig.enable(UART, edge=True)
    rig.wire(UART, True)
    rig.wire(UART, False)
    assert rig.irq
    assert rig.c(IAR) == 33
    assert not rig.is_set(ISPENDR, UART)
    rig.c(EOIR, 33)
    assert not rig.irq
    assert rig.c(IAR) == 1023


def test_edge_that_comes_while_active_is_pending_after_eoi(rig: Rig) -> None:
    rig.enable(UART, edge=True)
    rig.wire(UART, True)
    assert rig.c(IAR) == 33
    rig.wire(UART, False)
    rig.wire(UART, True)
    assert rig.is_set(ISPENDR, UART)
    assert rig.is_set(ISACTIVER, UART)
    assert not rig.irq
    rig.c(EOIR, 33)
    assert rig.c(IAR) == 33


def test_pending_set_by_software_is_a_latch(rig: Rig) -> None:
    rig.enable(UART)
    rig.d(ISPENDR + 4, 2)
    assert rig.c(IAR) == 33
    rig.c(EOIR, 33)
    assert rig.c(IAR) == 1023
    rig.d(ISPENDR + 4, 2)
    rig.d(ICPENDR + 4, 2)
    assert not rig.irq


def test_disabled_interrupt_is_pending_but_not_taken(rig: Rig) -> None:
    rig.wire(UART, True)
    assert rig.is_set(ISPENDR, UART)
    assert rig.c(HPPIR) == 1023
    rig.enable(UART)
    assert rig.irq
    rig.d(ICENABLER + 4, 2)
    assert not rig.irq


@pytest.mark.parametrize("off", ["distributor", "cpu"])
def test_nothing_is_signalled_while_off(rig: Rig, off: str) -> None:
    rig.enable(UART)
    rig.wire(UART, True)
    (rig.d if off == "distributor" else rig.c)(0, 0)
    assert not rig.irq
    assert rig.c(IAR) == 1023
    (rig.d if off == "distributor" else rig.c)(0, 1)
    assert rig.irq


def test_lower_number_wins_among_equals_and_higher_priority_among_all(rig: Rig) -> None:
    for number, priority in ((40, 0x80), (35, 0x80), (50, 0x70)):
        rig.enable(number, priority, edge=True)
        rig.wire(number, True)
    assert rig.c(HPPIR) == 50
    assert [rig.c(IAR), rig.c(EOIR, 50), rig.c(IAR)] == [50, 0, 35]
    rig.c(EOIR, 35)
    assert rig.c(IAR) == 40


def test_priority_mask_holds_equal_and_lower_priorities_back(rig: Rig) -> None:
    rig.enable(UART, 0x80)
    rig.wire(UART, True)
    rig.c(PMR, 0x80)
    assert not rig.irq
    assert rig.c(HPPIR) == 1023
    rig.c(PMR, 0x81)
    assert rig.irq


def test_higher_group_priority_preempts_and_running_priority_nests(rig: Rig) -> None:
    rig.enable(UART, 0x80)
    rig.enable(OTHER, 0x40)
    rig.wire(UART, True)
    assert rig.c(IAR) == 33
    assert rig.c(RPR) == 0x80
    rig.wire(OTHER, True)
    assert rig.irq
    assert rig.c(IAR) == 34
    assert rig.c(RPR) == 0x40
    rig.wire(OTHER, False)
    rig.c(EOIR, 34)
    assert rig.c(RPR) == 0x80
    rig.wire(UART, False)
    rig.c(EOIR, 33)
    assert rig.c(RPR) == 0xFF


def test_binary_point_joins_priorities_into_groups(rig: Rig) -> None:
    rig.c(BPR, 4)  # groups are bits [7:5]
    rig.enable(UART, 0x9C)
    rig.enable(OTHER, 0x84)
    rig.enable(35, 0x7C)
    rig.wire(UART, True)
    assert rig.c(IAR) == 33
    assert rig.c(RPR) == 0x80
    assert rig.c(APR + 8) == 1  # bit 64: priority 0x80
    rig.wire(OTHER, True)
    assert not rig.irq
    assert rig.c(IAR) == 1023
    rig.wire(35, True)
    assert rig.irq
    assert rig.c(IAR) == 35


def test_active_priorities_are_the_apr_bits(rig: Rig) -> None:
    rig.enable(UART, 0x42)
    rig.wire(UART, True)
    rig.c(IAR)
    assert [rig.c(APR + 4 * n) for n in range(4)] == [0, 1 << 1, 0, 0]
    rig.c(APR + 4, 0)
    assert rig.c(RPR) == 0xFF


def test_eoi_of_a_spurious_number_changes_nothing(rig: Rig) -> None:
    rig.enable(UART)
    rig.wire(UART, True)
    rig.c(IAR)
    rig.c(EOIR, 1023)
    rig.c(EOIR, 288)
    assert rig.c(RPR) == 0x80
    assert rig.is_set(ISACTIVER, UART)


def test_split_eoi_drops_priority_and_dir_deactivates(rig: Rig) -> None:
    rig.c(0, 1 | 1 << 9)
    rig.enable(UART)
    rig.wire(UART, True)
    assert rig.c(IAR) == 33
    rig.c(EOIR, 33)
    assert rig.c(RPR) == 0xFF
    assert rig.is_set(ISACTIVER, UART)
    assert not rig.irq
    rig.c(DIR, 33)
    assert not rig.is_set(ISACTIVER, UART)
    assert rig.irq


def test_dir_without_split_eoi_is_ignored(rig: Rig) -> None:
    rig.enable(UART)
    rig.wire(UART, True)
    rig.c(IAR)
    rig.c(DIR, 33)
    assert rig.is_set(ISACTIVER, UART)


@pytest.mark.parametrize(
    ("value", "pending"),
    [
        (0x0001_0003, 1 << 3),  # list that names core 0
        (0x0002_0003, 0),  # list that names core 1
        (0x0100_0003, 0),  # all but the sender
        (0x0200_0003, 1 << 3),  # the sender
        (0x0300_0003, 0),  # reserved
    ],
)
def test_sgi_reaches_this_core(rig: Rig, value: int, pending: int) -> None:
    rig.d(SGIR, value)
    assert rig.d(ISPENDR) == pending


def test_sgi_is_taken_like_an_edge(rig: Rig) -> None:
    rig.d(SGIR, 0x0200_000F)
    assert rig.irq
    assert rig.c(IAR) == 15
    rig.c(EOIR, 15)
    assert not rig.irq


def test_pending_sgis_have_registers_of_their_own(rig: Rig) -> None:
    rig.d(ISPENDR, 0xFFFF)
    assert rig.d(ISPENDR) == 0
    rig.gic.distributor.write(SPENDSGIR + 5, 1, 1)
    assert rig.d(ISPENDR) == 1 << 5
    assert rig.d(SPENDSGIR + 4) == rig.d(CPENDSGIR + 4) == 0x0000_0100
    rig.d(ICPENDR, 0xFFFF)
    assert rig.d(ISPENDR) == 1 << 5
    rig.d(CPENDSGIR + 4, 0x0000_0100)
    assert rig.d(ISPENDR) == 0


def test_private_interrupt_of_the_timer(rig: Rig) -> None:
    rig.enable(30)
    rig.wire(30, True)
    assert rig.c(IAR) == 30


def make_group1(rig: Rig, *numbers: int) -> None:
    for number in numbers:
        word = IGROUPR + number // 32 * 4
        rig.d(word, rig.d(word) | 1 << number % 32)


def test_group1_needs_its_own_enables(rig: Rig) -> None:
    make_group1(rig, UART)
    rig.enable(UART)
    rig.wire(UART, True)
    assert not rig.irq
    rig.d(CTLR, 3)
    assert not rig.irq
    rig.c(0, 3)
    assert rig.irq


def test_group1_is_seen_through_the_alias_or_with_ackctl(rig: Rig) -> None:
    make_group1(rig, UART)
    rig.enable(UART)
    rig.d(CTLR, 3)
    rig.c(0, 3)
    rig.wire(UART, True)
    assert rig.c(IAR) == rig.c(HPPIR) == 1022
    assert rig.c(AHPPIR) == 33
    assert rig.c(AIAR) == 33
    assert rig.c(NSAPR + 8) == 1
    rig.c(AEOIR, 33)
    assert rig.c(RPR) == 0xFF
    rig.c(0, 7)
    assert rig.c(IAR) == 33
    rig.c(EOIR, 33)
    assert rig.c(RPR) == 0xFF


def test_group0_is_not_seen_through_the_alias(rig: Rig) -> None:
    rig.enable(UART)
    rig.wire(UART, True)
    assert rig.c(AHPPIR) == rig.c(AIAR) == 1023
    assert rig.c(IAR) == 33
    rig.c(AEOIR, 33)
    assert rig.c(RPR) == 0x80


def test_group1_has_its_own_binary_point_unless_common(rig: Rig) -> None:
    make_group1(rig, UART)
    rig.d(CTLR, 3)
    rig.c(0, 7)
    rig.c(ABPR, 5)  # groups of Group 1 are bits [7:5]
    rig.enable(UART, 0x9C)
    rig.wire(UART, True)
    rig.c(IAR)
    assert rig.c(RPR) == 0x80
    rig.c(EOIR, 33)
    rig.c(0, 7 | 1 << 4)  # CBPR: BPR 0 counts
    rig.c(IAR)
    assert rig.c(RPR) == 0x9C


def test_fiqen_sends_group0_to_fiq_and_group1_to_irq(rig: Rig) -> None:
    rig.enable(UART)
    rig.d(CTLR, 3)
    rig.c(0, 0xB)
    rig.wire(UART, True)
    assert (rig.irq, rig.fiq) == (False, True)
    make_group1(rig, UART)
    assert (rig.irq, rig.fiq) == (True, False)


def test_disabled_group_does_not_hide_the_other(rig: Rig) -> None:
    make_group1(rig, UART)
    rig.enable(UART, 0x10)
    rig.enable(OTHER, 0x20)
    rig.wire(UART, True)
    rig.wire(OTHER, True)
    assert rig.irq
    assert rig.c(IAR) == 34


def test_reset_keeps_the_wires_and_nothing_else(rig: Rig) -> None:
    rig.enable(UART)
    rig.enable(OTHER, edge=True)
    rig.wire(UART, True)
    rig.wire(OTHER, True)
    rig.c(IAR)
    rig.gic.reset()
    assert not rig.irq
    assert rig.d(ISENABLER + 4) == rig.d(ISACTIVER + 4) == rig.d(ICFGR + 8) == 0
    assert rig.d(ISPENDR + 4) == 0b110
    assert rig.c(RPR) == 0xFF


def test_what_is_not_there_is_reported(rig: Rig) -> None:
    rig.d(0x40)
    rig.d(0xD00, 1)
    rig.c(0x44)
    rig.c(0x50, 1)
    assert rig.reported == [
        ("d", 0x40, "read"),
        ("d", 0xD00, "write"),
        ("c", 0x44, "read"),
        ("c", 0x50, "write"),
    ]
