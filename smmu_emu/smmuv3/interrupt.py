# SPDX-License-Identifier: GPL-2.0-or-later
"""Wired interrupts and global errors.

Spec: IHI 0070 3.18 (interrupt sources; edges), 7.5 (GERROR and GERRORN), 6.3.16 (enables). MSIs are
not modelled: IDR0.MSI is 0.
"""

from __future__ import annotations

from smmu_emu.interrupt import InterruptLine
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.registers import GERROR, IRQ_CTRL

_GERROR_IRQEN = IRQ_CTRL.mask("GERROR_IRQEN")
_EVENTQ_IRQEN = IRQ_CTRL.mask("EVENTQ_IRQEN")
CMDQ_ERR = GERROR.mask("CMDQ_ERR")
EVENTQ_ABT_ERR = GERROR.mask("EVENTQ_ABT_ERR")


class Interrupts:
    """The four wires of an SMMUv3; all are edges."""

    def __init__(self, registers: RegisterFile, unit: str) -> None:
        self.registers = registers
        self.eventq = InterruptLine(f"{unit}.eventq")
        self.priq = InterruptLine(f"{unit}.priq")
        self.cmdq_sync = InterruptLine(f"{unit}.cmdq-sync")
        self.gerror = InterruptLine(f"{unit}.gerror")

    def event_queue_filled(self) -> None:
        """The event queue went from empty to non-empty."""
        if self.registers.values["IRQ_CTRLACK"] & _EVENTQ_IRQEN:
            self.eventq.pulse()

    def sync_completed(self) -> None:
        """A CMD_SYNC asked for an interrupt; there is no enable for it (4.7.3)."""
        self.cmdq_sync.pulse()

    def raise_error(self, bit: int) -> None:
        """Activate a global error unless it is active already, and tell. Spec: 7.5."""
        values = self.registers.values
        if self.is_active(bit):
            return
        values["GERROR"] ^= bit
        if values["IRQ_CTRLACK"] & _GERROR_IRQEN:
            self.gerror.pulse()

    def is_active(self, bit: int) -> bool:
        """Whether software has not yet acknowledged this error."""
        values = self.registers.values
        return bool((values["GERROR"] ^ values["GERRORN"]) & bit)
