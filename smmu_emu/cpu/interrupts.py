# SPDX-License-Identifier: GPL-2.0-or-later
"""The interrupt inputs of one core, and whether it would take what is pending.

Virtual interrupts are what a GIC has for the guest of a hypervisor.

The engine takes interrupts by itself, to the level that HCR_EL2 routes them to; it is told of the
inputs between two slices. What is decided here is only whether a core that waits goes on.

Reference: DDI 0487 D1.3.6 (routing and masking), D1.6 (WFI wake-up events). Left out: SError.
"""

from __future__ import annotations

from smmu_emu.cpu.engine import HCR_EL2, Engine
from smmu_emu.cpu.pace import Pace
from smmu_emu.interrupt import InterruptLine

_PSTATE_I, _PSTATE_F = 1 << 7, 1 << 6
_HCR_FMO, _HCR_IMO, _HCR_VF, _HCR_VI, _HCR_TGE = 1 << 3, 1 << 4, 1 << 6, 1 << 7, 1 << 27


class InterruptInputs:
    """IRQ, FIQ, and the virtual two, all levels; changes end the running slice."""

    wiring = ("_engine", "irq", "fiq", "virq", "vfiq")

    def __init__(self, engine: Engine, pace: Pace) -> None:
        self._engine = engine
        self.irq = InterruptLine("irq", lambda _: pace.interrupt())
        self.fiq = InterruptLine("fiq", lambda _: pace.interrupt())
        self.virq = InterruptLine("virq", lambda _: pace.interrupt())
        self.vfiq = InterruptLine("vfiq", lambda _: pace.interrupt())
        self._driven = self._driven_virtual = False, False

    def drive(self) -> None:
        """Tell the engine of the inputs, if they have changed. Not while running."""
        levels = self.irq.level, self.fiq.level
        if levels != self._driven:
            self._driven = levels
            self._engine.ask_for_interrupts(*levels)
        levels = self.virq.level, self.vfiq.level
        if levels != self._driven_virtual:
            self._driven_virtual = levels
            self._engine.ask_for_virtual_interrupts(*levels)

    def after_put_back(self) -> None:
        """What the engine was told is not in its own state, or was before a reset."""
        self._engine.ask_for_interrupts(*self._driven)
        self._engine.ask_for_virtual_interrupts(*self._driven_virtual)

    @property
    def pending(self) -> bool:
        """Whether anything ends a WFI of the present level, masked or not."""
        return self.irq.level or self.fiq.level or bool(self._virtual)

    @property
    def will_be_taken(self) -> bool:
        """Whether the next instruction is an interrupt's vector."""
        return (
            (self.irq.level and not self._masked(_PSTATE_I, _HCR_IMO))
            or (self.fiq.level and not self._masked(_PSTATE_F, _HCR_FMO))
            or bool(self._virtual & ~self._engine.get("PSTATE"))
        )

    @property
    def irq_masked(self) -> bool:
        """Whether a physical IRQ would stay pending now."""
        return self._masked(_PSTATE_I, _HCR_IMO)

    def _masked(self, mask: int, route: int) -> bool:
        level, masked = self._engine.level, bool(self._engine.get("PSTATE") & mask)
        to_el2 = self._engine.get_system(HCR_EL2) & (route | _HCR_TGE)
        return (not to_el2 or masked) if level == 2 else (not to_el2 and masked)

    @property
    def _virtual(self) -> int:
        """Virtual interrupts that a hypervisor has for its guest below EL2, as bits of PSTATE."""
        hcr = self._engine.get_system(HCR_EL2)
        irq = (hcr & _HCR_VI or self.virq.level) and hcr & _HCR_IMO
        fiq = (hcr & _HCR_VF or self.vfiq.level) and hcr & _HCR_FMO
        if hcr & _HCR_TGE or not (irq or fiq) or self._engine.level >= 2:
            return 0
        return (_PSTATE_I if irq else 0) | (_PSTATE_F if fiq else 0)
