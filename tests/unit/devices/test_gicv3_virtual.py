# SPDX-License-Identifier: GPL-2.0-or-later
"""The GICv3's virtual interface against literal words and IHI 0069 chapter 6."""

from __future__ import annotations

import pytest

from smmu_emu.system_registers import Outcome
from tests.unit.devices.gicv3_rig import (
    AP1R0,
    BPR1,
    CTLR,
    DIR,
    EOIR1,
    HPPIR1,
    IAR0,
    IAR1,
    IGRPEN1,
    PMR,
    RPR,
    SGI1R,
    Rig,
)

IMO, FMO = 1 << 4, 1 << 3
ICH_AP1R0 = (3, 4, 12, 9, 0)
ICH_HCR, ICH_VTR, ICH_MISR, ICH_EISR, ICH_ELRSR, ICH_VMCR = (
    (3, 4, 12, 11, n) for n in (0, 1, 2, 3, 5, 7)
)
ICH_LR = [(3, 4, 12, 12, n) for n in range(4)]
EN, UIE, LRENPIE, NPIE = 1, 2, 4, 8
ON = 0xF800_0002
"""ICH_VMCR_EL2: Group 1, every priority passes."""
LR = 0x5080_0000_0000_0028
"""Pending, Group 1, priority 0x80, virtual interrupt 40."""
PENDING, ACTIVE, EOI, HW = 1 << 62, 1 << 63, 1 << 41, 1 << 61
SPURIOUS = 1023


class Hypervisor(Rig):
    """``h`` accesses registers as EL2, ``g`` as a guest at EL1 whose interrupts are virtual."""

    def __init__(self) -> None:
        super().__init__()
        self.h(ICH_VMCR, ON)
        self.h(ICH_HCR, EN)

    def h(self, register: tuple[int, int, int, int, int], value: int | None = None) -> int:
        return self._access(register, 2, IMO | FMO, value)

    def g(self, register: tuple[int, int, int, int, int], value: int | None = None) -> int:
        return self._access(register, 1, IMO | FMO, value)

    def _access(
        self, register: tuple[int, int, int, int, int], level: int, hcr: int, value: int | None
    ) -> int:
        cpu = self.gic.cpu
        if value is None:
            got = cpu.read_system(register, level, hcr)
            assert isinstance(got, int), (register, got)
            return got
        assert cpu.write_system(register, level, hcr, value) is Outcome.DONE, register
        return 0

    @property
    def virq(self) -> bool:
        return self.gic.cpu.virtual.virq.level

    @property
    def maintained(self) -> bool:
        return bool(self.r(0x1_0200) >> 25 & 1)


@pytest.fixture
def rig() -> Hypervisor:
    return Hypervisor()


def test_reset_values():
    rig = Rig(on=False)
    read = rig.gic.cpu.read_system
    assert read(ICH_HCR, 2, 0) == 0
    assert read(ICH_VTR, 2, 0) == 0x9038_0003
    assert read(ICH_VMCR, 2, 0) == 0x004C_0008
    assert read(ICH_ELRSR, 2, 0) == 0xF
    assert [read(lr, 2, 0) for lr in ICH_LR] == [0, 0, 0, 0]


def test_guest_takes_and_ends_what_a_list_register_holds(rig):
    rig.h(ICH_LR[2], LR)
    assert rig.virq
    assert not rig.irq
    assert rig.h(ICH_ELRSR) == 0xB
    assert rig.g(HPPIR1) == 40
    assert rig.g(IAR1) == 40
    assert not rig.virq
    assert rig.h(ICH_LR[2]) == LR & ~PENDING | ACTIVE
    assert (rig.g(RPR), rig.h(ICH_AP1R0), rig.g(AP1R0)) == (0x80, 1 << 16, 1 << 16)
    rig.g(EOIR1, 40)
    assert rig.h(ICH_LR[2]) == LR & ~PENDING
    assert (rig.g(RPR), rig.h(ICH_AP1R0)) == (0xFF, 0)


def test_interrupt_that_became_pending_again_comes_again(rig):
    rig.h(ICH_LR[0], LR)
    rig.g(IAR1)
    rig.h(ICH_LR[0], LR | ACTIVE)
    assert not rig.virq
    rig.g(EOIR1, 40)
    assert rig.virq


@pytest.mark.parametrize(
    ("register", "value"), [(ICH_HCR, 0), (ICH_VMCR, ON & ~2), (ICH_VMCR, ON & 0x80FF_FFFF)]
)
def test_each_gate_holds_a_virtual_interrupt_back(rig, register, value):
    rig.h(ICH_LR[0], LR)
    rig.h(register, value)
    assert not rig.virq
    assert rig.g(IAR1) == SPURIOUS


def test_group_0_is_a_virtual_fiq(rig):
    rig.h(ICH_VMCR, ON | 1)
    rig.h(ICH_LR[0], LR & ~(1 << 60))
    assert not rig.virq
    assert rig.gic.cpu.virtual.vfiq.level
    assert rig.g(IAR1) == SPURIOUS
    assert rig.g(IAR0) == 40
    assert rig.h((3, 4, 12, 8, 0)) == 1 << 16


def test_higher_priority_preempts(rig):
    rig.h(ICH_LR[0], LR)
    rig.g(IAR1)
    rig.h(ICH_LR[1], LR + 1)
    assert not rig.virq
    rig.h(ICH_LR[1], LR + 1 & ~(0xFF << 48) | 0x40 << 48)
    assert rig.virq
    assert rig.g(IAR1) == 41
    assert rig.g(RPR) == 0x40
    rig.g(EOIR1, 41)
    assert rig.g(RPR) == 0x80


def test_guest_writes_its_interface_through_to_vmcr(rig):
    rig.g(PMR, 0x87)
    rig.g(IGRPEN1, 0)
    rig.g(CTLR, 3)
    rig.g(BPR1, 5)
    assert rig.h(ICH_VMCR) == 0x8000_0000 | 5 << 18 | 2 << 21 | 1 << 9 | 1 << 4 | 1 << 3
    assert (rig.g(PMR), rig.g(IGRPEN1), rig.g(BPR1)) == (0x80, 0, 5)
    assert rig.g(CTLR) == 0x8403
    rig.g(BPR1, 0)
    assert rig.g(BPR1) == 3
    assert rig.h(PMR) == 0xFF  # EL2's own is another


def test_split_end_drops_and_then_deactivates(rig):
    rig.h(ICH_LR[0], LR)
    rig.g(CTLR, 2)
    rig.g(IAR1)
    rig.g(EOIR1, 40)
    assert rig.g(RPR) == 0xFF
    assert rig.h(ICH_LR[0]) & ACTIVE
    rig.g(DIR, 40)
    assert not rig.h(ICH_LR[0]) & ACTIVE


def test_end_of_what_is_in_no_list_register_is_counted(rig):
    rig.h(ICH_HCR, EN | LRENPIE)
    rig.h(ICH_LR[0], LR)
    rig.g(IAR1)
    rig.h(ICH_LR[0], 0)
    assert not rig.maintained
    rig.g(EOIR1, 40)
    assert rig.h(ICH_HCR) == 1 << 27 | EN | LRENPIE
    assert rig.h(ICH_MISR) == 4
    assert rig.maintained


def test_hardware_interrupt_is_deactivated_with_the_virtual_one(rig):
    rig.enable(60)
    rig.wire(60, True)
    assert rig.h(IAR1) == 60
    rig.h(EOIR1, 60)
    rig.wire(60, False)
    rig.d(0x304, 1 << 28)  # active again, as a hypervisor with EOImode leaves it
    rig.h(ICH_LR[0], LR | HW | 60 << 32)
    rig.g(IAR1)
    assert rig.d(0x304) == 1 << 28
    rig.g(EOIR1, 40)
    assert rig.d(0x304) == 0


@pytest.mark.parametrize(
    ("control", "lists", "reasons"),
    [
        (EN, [LR & ~PENDING | EOI], 1),
        (EN | UIE, [LR], 2),
        (EN | UIE, [LR, LR + 1], 0),
        (EN | NPIE, [], 8),
        (EN | NPIE, [LR], 0),
        (EN | 1 << 5, [], 0x20),  # Group 0 is off
        (EN | 1 << 6, [], 0x40),  # Group 1 is on
        (UIE, [], 2),  # not while the interface is off
    ],
)
def test_maintenance_interrupt_has_its_reasons(rig, control, lists, reasons):
    for register, value in zip(ICH_LR, lists, strict=False):
        rig.h(register, value)
    rig.h(ICH_HCR, control)
    assert rig.h(ICH_MISR) == reasons
    assert rig.h(ICH_EISR) == (1 if reasons == 1 else 0)
    assert rig.maintained == bool(reasons and control & EN)


def test_virtual_lpi_is_never_active(rig):
    rig.h(ICH_LR[0], LR & ~0xFFFF | 8200)
    assert rig.g(IAR1) == 8200
    assert rig.h(ICH_LR[0]) & (PENDING | ACTIVE) == 0
    rig.g(EOIR1, 8200)
    assert rig.g(RPR) == 0xFF


@pytest.mark.parametrize(
    ("control", "register", "trapped"),
    [
        (0, IAR1, False),
        (1 << 12, IAR1, True),  # TALL1
        (1 << 12, IAR0, False),
        (1 << 11, IAR0, True),  # TALL0
        (1 << 10, PMR, True),  # TC
        (1 << 10, IAR1, False),
    ],
)
def test_hypervisor_may_trap_its_guest(rig, control, register, trapped):
    rig.h(ICH_HCR, EN | control)
    answer = rig.gic.cpu.read_system(register, 1, IMO | FMO)
    assert (answer is Outcome.TRAPPED) == trapped
    assert rig.gic.cpu.read_system(register, 2, IMO | FMO) is not Outcome.TRAPPED


def test_sgis_of_a_guest_are_trapped_and_those_of_others_are_not(rig):
    write = rig.gic.cpu.write_system
    assert write(SGI1R, 1, IMO, 1) is Outcome.TRAPPED
    assert write(SGI1R, 1, 0, 1) is Outcome.DONE
    rig.h(ICH_HCR, EN | 1 << 14)
    assert write(DIR, 1, IMO, 40) is Outcome.TRAPPED


def test_groups_are_virtual_each_by_its_routing(rig):
    rig.h(ICH_LR[0], LR)
    read = rig.gic.cpu.read_system
    assert read(HPPIR1, 1, FMO) == SPURIOUS  # the physical one
    assert read(HPPIR1, 1, IMO) == 40


def test_registers_that_5_bits_of_priority_leave_out_are_undefined(rig):
    assert rig.gic.cpu.read_system((3, 0, 12, 9, 1), 1, IMO) is Outcome.UNDEFINED
    assert rig.gic.cpu.read_system((3, 4, 12, 9, 1), 2, IMO) is Outcome.ABSENT


def test_reset_empties_list_registers(rig):
    rig.h(ICH_LR[0], LR)
    rig.gic.reset()
    assert not rig.virq
    assert rig.h(ICH_LR[0]) == 0
