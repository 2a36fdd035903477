# SPDX-License-Identifier: GPL-2.0-or-later
"""The GICv3's distributor, redistributor and CPU interface against literal values and IHI 0069."""

from __future__ import annotations

import pytest

from smmu_emu.system_registers import Outcome
from tests.unit.devices.gicv3_rig import (
    AP0R0,
    AP1R0,
    BPR0,
    BPR1,
    CTLR,
    DIR,
    EOIR0,
    EOIR1,
    HPPIR0,
    HPPIR1,
    IAR0,
    IAR1,
    IGRPEN0,
    IGRPEN1,
    PMR,
    RPR,
    SGI,
    SGI0R,
    SGI1R,
    SRE,
    Rig,
)

UART, OTHER = 33, 34
SPURIOUS = 1023


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0x0000, 4, 0x50),
        (0x0004, 4, 0x037A_0008),
        (0x0008, 4, 0x43B),
        (0x0084, 4, 0),
        (0x0104, 4, 0),
        (0x0404, 4, 0),
        (0x0C08, 4, 0),
        (0x6108, 8, 0),
        (0xFFE8, 4, 0x3B),
    ],
)
def test_distributor_reset_value(offset, size, value):
    assert Rig(on=False).d(offset, size=size) == value


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0x0000, 4, 0),
        (0x0004, 4, 0x43B),
        (0x0008, 8, 0x11),
        (0x000C, 4, 0),
        (0x0014, 4, 0x6),
        (0x0070, 8, 0),
        (0x0078, 8, 0),
        (0xFFE8, 4, 0x3B),
        (SGI + 0x080, 4, 0),
        (SGI + 0x100, 4, 0),
        (SGI + 0xC00, 4, 0xAAAA_AAAA),
        (SGI + 0xC04, 4, 0),
    ],
)
def test_redistributor_reset_value(offset, size, value):
    assert Rig(on=False).r(offset, size=size) == value


@pytest.mark.parametrize(
    ("register", "value"),
    [(PMR, 0), (BPR0, 0), (BPR1, 1), (CTLR, 0x8700), (SRE, 7), (RPR, 0xFF), (IAR1, 1023)],
)
def test_cpu_interface_reset_value(register, value):
    assert Rig(on=False).c(register) == value


def test_level_interrupt_goes_from_wire_to_core_and_back(rig):
    rig.enable(UART)
    rig.wire(UART, True)
    assert rig.irq
    assert not rig.fiq
    assert rig.c(HPPIR1) == UART
    assert rig.c(IAR1) == UART
    assert not rig.irq
    assert rig.c(RPR) == 0x80
    assert rig.d(0x304) == 2  # active
    rig.wire(UART, False)
    rig.c(EOIR1, UART)
    assert (rig.c(RPR), rig.d(0x304), rig.irq) == (0xFF, 0, False)


def test_level_interrupt_whose_wire_is_still_up_comes_again(rig):
    rig.enable(UART)
    rig.wire(UART, True)
    rig.c(EOIR1, rig.c(IAR1))
    assert rig.irq
    assert rig.c(IAR1) == UART


def test_edge_interrupt_latches_and_is_taken_once(rig):
    rig.enable(UART, edge=True)
    rig.wire(UART, True)
    rig.wire(UART, False)
    assert rig.d(0x204) == 2
    assert rig.c(IAR1) == UART
    rig.c(EOIR1, UART)
    assert rig.c(IAR1) == SPURIOUS


def test_private_interrupts_are_the_redistributors_alone(rig):
    rig.r(SGI + 0x100, 1 << 27)
    rig.r(SGI + 0x400 + 27, 0x40, 1)
    rig.d(0x100, 0xFFFF_FFFF)
    rig.d(0x400 + 30, 0x55, 1)
    assert rig.r(SGI + 0x100) == 1 << 27
    assert rig.d(0x100) == 0
    assert rig.d(0x400 + 27, size=1) == 0
    assert rig.r(SGI + 0x400 + 28) == 0
    rig.wire(27, True)
    assert rig.c(IAR1) == 27
    assert rig.c(RPR) == 0x40


def test_configuration_of_sgis_is_constant_and_of_ppis_is_not(rig):
    rig.r(SGI + 0xC00, 0)
    rig.r(SGI + 0xC04, 0xFFFF_FFFF)
    assert rig.r(SGI + 0xC00) == 0xAAAA_AAAA
    assert rig.r(SGI + 0xC04) == 0xAAAA_AAAA


def test_sleeping_redistributor_forwards_nothing(rig):
    rig.r(0x14, 2)
    assert rig.r(0x14) == 6
    rig.enable(UART)
    rig.wire(UART, True)
    assert not rig.irq
    rig.r(0x14, 0)
    assert rig.irq


def test_group_0_is_a_fiq_and_has_registers_of_its_own(rig):
    rig.d(0x000, 3)
    rig.c(IGRPEN0, 1)
    rig.enable(UART)
    rig.d(0x84, 0)
    rig.wire(UART, True)
    assert rig.fiq
    assert not rig.irq
    assert (rig.c(HPPIR1), rig.c(IAR1)) == (SPURIOUS, SPURIOUS)
    assert rig.c(HPPIR0) == UART
    assert rig.c(IAR0) == UART
    assert [rig.c((*AP0R0[:4], 4 + n)) for n in range(4)] == [0, 0, 1, 0]  # bit 64: 0x80
    rig.c(EOIR1, UART)  # the wrong group's
    assert rig.c(RPR) == 0x80
    rig.c(EOIR0, UART)
    assert rig.c(RPR) == 0xFF


@pytest.mark.parametrize("off", ["distributor", "cpu interface", "mask", "interrupt"])
def test_each_gate_holds_an_interrupt_back(rig, off):
    rig.enable(UART)
    gates = {
        "distributor": lambda: rig.d(0, 0),
        "cpu interface": lambda: rig.c(IGRPEN1, 0),
        "mask": lambda: rig.c(PMR, 0x80),
        "interrupt": lambda: rig.d(0x184, 2),
    }
    gates[off]()
    rig.wire(UART, True)
    assert not rig.irq
    assert rig.c(IAR1) == SPURIOUS


def test_higher_priority_preempts_and_equal_does_not(rig):
    rig.enable(UART, 0x80)
    rig.enable(OTHER, 0x80)
    rig.wire(UART, True)
    assert rig.c(IAR1) == UART
    rig.wire(OTHER, True)
    assert not rig.irq
    rig.d(0x400 + OTHER, 0x40, 1)
    assert rig.irq
    assert rig.c(IAR1) == OTHER
    assert rig.c(RPR) == 0x40
    assert [rig.c((3, 0, 12, 9, n)) for n in range(4)] == [0, 1, 1, 0]
    rig.wire(OTHER, False)
    rig.c(EOIR1, OTHER)
    assert rig.c(RPR) == 0x80


def test_binary_point_decides_about_preemption(rig):
    rig.enable(UART, 0x88)
    rig.enable(OTHER, 0x80)
    rig.c(BPR1, 4)  # bits [7:4]
    rig.wire(UART, True)
    assert rig.c(IAR1) == UART
    rig.wire(OTHER, True)
    assert not rig.irq
    rig.c(BPR1, 0)
    assert rig.c(BPR1) == 1


def test_common_binary_point_is_group_0s(rig):
    rig.enable(UART, 0x88)
    rig.enable(OTHER, 0x80)
    rig.c(CTLR, 1)
    rig.c(BPR0, 3)  # bits [7:4]
    rig.wire(UART, True)
    rig.c(IAR1)
    rig.wire(OTHER, True)
    assert not rig.irq


def test_end_and_deactivation_may_be_split(rig):
    rig.enable(UART)
    rig.c(CTLR, 2)
    rig.wire(UART, True)
    rig.c(EOIR1, rig.c(IAR1))
    assert rig.c(RPR) == 0xFF
    assert rig.d(0x304) == 2
    assert not rig.irq
    rig.c(DIR, UART)
    assert rig.d(0x304) == 0
    assert rig.irq


def test_deactivation_register_does_nothing_unless_split(rig):
    rig.enable(UART)
    rig.wire(UART, True)
    rig.c(IAR1)
    rig.c(DIR, UART)
    assert rig.d(0x304) == 2


@pytest.mark.parametrize(
    ("register", "value", "sent"),
    [
        (SGI1R, 0x0500_0001, True),  # SGI 5 to target 0 of affinity 0.0.0
        (SGI0R, 0x0500_0001, False),  # it is in Group 1
        (SGI1R, 0x0500_0002, False),  # another core
        (SGI1R, 0x0501_0001, False),  # another cluster
        (SGI1R, 0x0100_0500_0001, False),  # all but this one
    ],
)
def test_sgi_goes_to_affinity_0_in_its_group(rig, register, value, sent):
    rig.r(SGI + 0x100, 1 << 5)
    rig.c(register, value)
    assert rig.r(SGI + 0x200) == sent << 5
    assert rig.irq == sent
    if sent:
        assert rig.c(IAR1) == 5


@pytest.mark.parametrize(("route", "here"), [(0, True), (1, False), (1 << 32, False)])
def test_route_decides_who_takes_an_spi(rig, route, here):
    rig.enable(UART)
    rig.d(0x6000 + 8 * UART, route, 8)
    rig.wire(UART, True)
    assert rig.irq == here
    assert rig.d(0x6000 + 8 * UART, size=8) == route
    assert rig.d(0x6000 + 8 * UART + 4) == route >> 32


def test_bits_of_no_affinity_are_no_route(rig):
    rig.d(0x6000 + 8 * UART, (1 << 64) - 1, 8)
    assert rig.d(0x6000 + 8 * UART, size=8) == 0xFF_00FF_FFFF


def test_active_priorities_can_be_saved_and_restored(rig):
    rig.enable(UART)
    rig.wire(UART, True)
    rig.c(IAR1)
    saved = rig.c((3, 0, 12, 9, 2))
    assert saved == 1
    rig.c((3, 0, 12, 9, 2), 0)
    assert rig.c(RPR) == 0xFF
    rig.c(AP1R0, 2)
    assert rig.c(RPR) == 2


@pytest.mark.parametrize(
    ("register", "level", "reads", "writes"),
    [
        (IAR1, 1, True, False),
        (EOIR1, 1, False, True),
        (SRE, 1, True, True),
        ((3, 4, 12, 9, 5), 1, False, False),  # ICC_SRE_EL2
        ((3, 4, 12, 9, 5), 2, True, True),
        ((3, 4, 12, 11, 1), 1, False, False),  # ICH_VTR_EL2
        ((3, 4, 12, 11, 1), 2, True, False),
        ((3, 0, 12, 0, 0), 1, False, False),  # VBAR_EL1, none of ours
    ],
)
def test_registers_are_undefined_where_they_have_no_access(rig, register, level, reads, writes):
    cpu = rig.gic.cpu
    assert isinstance(cpu.read_system(register, level, 0), int) == reads
    assert (cpu.write_system(register, level, 0, 0) is Outcome.DONE) == writes


@pytest.mark.parametrize(
    ("offset", "size"), [(0x100, 1), (0x100, 8), (0x102, 4), (0x40, 4), (0x6000, 8), (0x9000, 4)]
)
def test_access_that_the_distributor_lacks_is_told_and_does_nothing(rig, offset, size):
    assert rig.d(offset, size=size) == 0
    rig.d(offset, (1 << 8 * size) - 1, size)
    assert [(part, at) for part, at, _ in rig.reported] == [("distributor", offset)] * 2


def test_reset_keeps_wires_alone(rig):
    rig.enable(UART)
    rig.d(0x6000 + 8 * UART, 1, 8)
    rig.wire(UART, True)
    rig.gic.reset()
    assert not rig.irq
    assert rig.d(0x204) == 2
    assert rig.d(0x6000 + 8 * UART, size=8) == 0
    assert rig.r(0x14) == 6
