# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts, as wires or messages, and global errors.

Spec: IHI 0070 3.18 (sources, MSIs), 7.5 (GERROR and GERRORN), 6.3.16 (enables), 6.3.21 to 6.3.23
(where messages go). A source whose message address is not zero sends a message instead of driving
its wire. Attributes of messages (IRQ_CFG2) are kept and lead nowhere, as all memory is coherent.
"""

from __future__ import annotations

from smmu_emu.interrupt import InterruptLine
from smmu_emu.port import MemoryPort
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.registers import GERROR, IRQ_CFG0, IRQ_CTRL

CMDQ_ERR = GERROR.mask("CMDQ_ERR")
EVENTQ_ABT_ERR = GERROR.mask("EVENTQ_ABT_ERR")
SFM_ERR = GERROR.mask("SFM_ERR")
PRIQ_ABT_ERR = GERROR.mask("PRIQ_ABT_ERR")
_GERROR_IRQEN = IRQ_CTRL.mask("GERROR_IRQEN")
_EVENTQ_IRQEN = IRQ_CTRL.mask("EVENTQ_IRQEN")
_PRIQ_IRQEN = IRQ_CTRL.mask("PRIQ_IRQEN")
_MSI_CMDQ_ABT_ERR = GERROR.mask("MSI_CMDQ_ABT_ERR")
_MSI_EVENTQ_ABT_ERR = GERROR.mask("MSI_EVENTQ_ABT_ERR")
_MSI_PRIQ_ABT_ERR = GERROR.mask("MSI_PRIQ_ABT_ERR")
_MSI_GERROR_ABT_ERR = GERROR.mask("MSI_GERROR_ABT_ERR")


class Interrupts:
    """The four wires of an SMMUv3, all edges, and its messages.

    ``wfe_event`` pulses when CMD_SYNC signals completion by an event.
    """

    def __init__(self, registers: RegisterFile, unit: str, port: MemoryPort) -> None:
        self.registers = registers
        self.port = port
        self.eventq = InterruptLine(f"{unit}.eventq")
        self.priq = InterruptLine(f"{unit}.priq")
        self.cmdq_sync = InterruptLine(f"{unit}.cmdq-sync")
        self.gerror = InterruptLine(f"{unit}.gerror")
        self.wfe_event = InterruptLine(f"{unit}.wfe-event")

    def event_queue_filled(self) -> None:
        """The event queue went from empty to non-empty."""
        if self.registers.values["IRQ_CTRLACK"] & _EVENTQ_IRQEN:
            self._signal(self.eventq, "EVENTQ", _MSI_EVENTQ_ABT_ERR)

    def pages_requested(self) -> None:
        """The PRI queue has what PRIQ_IRQ_CFG2.LO says is worth an interrupt (6.3.36)."""
        if self.registers.values["IRQ_CTRLACK"] & _PRIQ_IRQEN:
            self._signal(self.priq, "PRIQ", _MSI_PRIQ_ABT_ERR)

    def sync_completed(self, address: int, data: int) -> None:
        """A CMD_SYNC asked for an interrupt; there is no enable for it (4.7.3)."""
        if self.registers.ids.features.MSI and address:
            self._send(address, data, _MSI_CMDQ_ABT_ERR)
        else:
            self.cmdq_sync.pulse()

    def raise_error(self, bit: int) -> None:
        """Activate a global error unless it is active already, and tell. Spec: 7.5."""
        values = self.registers.values
        if self.is_active(bit):
            return
        values["GERROR"] ^= bit
        # The failure of GERROR's own message would only repeat itself (7.5.1).
        if values["IRQ_CTRLACK"] & _GERROR_IRQEN and bit != _MSI_GERROR_ABT_ERR:
            self._signal(self.gerror, "GERROR", _MSI_GERROR_ABT_ERR)

    def is_active(self, bit: int) -> bool:
        """Whether software has not yet acknowledged this error."""
        values = self.registers.values
        return bool((values["GERROR"] ^ values["GERRORN"]) & bit)

    def _signal(self, line: InterruptLine, source: str, abort_error: int) -> None:
        values = self.registers.values
        address = IRQ_CFG0(values[f"{source}_IRQ_CFG0"]).ADDR
        if self.registers.ids.features.MSI and address:
            self._send(address, values[f"{source}_IRQ_CFG1"], abort_error)
        else:
            line.pulse()

    def _send(self, address: int, data: int, abort_error: int) -> None:
        address &= (1 << self.registers.ids.output_bits) - 1
        if not self.port.write(address, data.to_bytes(4, "little")):
            self.raise_error(abort_error)
