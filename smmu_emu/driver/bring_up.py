# SPDX-License-Identifier: GPL-2.0-or-later
"""From power-on to translation: the order of register writes that Linux's driver has.

Spec: IHI 0070 3.11, 6.3.9 (CR0 and its acknowledge), 6.3.11, 6.3.12, 6.3.24 to 6.3.36.
"""

from __future__ import annotations

from smmu_emu.driver.queues import CommandProducer, QueueConsumer, Registers
from smmu_emu.driver.stream_table import StreamTable
from smmu_emu.smmuv3.spec.command import ConfigInvalidateRange, Opcode, TlbInvalidate
from smmu_emu.smmuv3.spec.registers import CR0, CR1, CR2, GBPA, IRQ_CTRL, QUEUE_BASE

_ALL = 31
_WRITE_BACK, _INNER_SHAREABLE = 1, 3


class BringUp:
    """One passage through it; ``enables`` is what CR0 holds so far."""

    def __init__(self, registers: Registers, *, el2: bool) -> None:
        self.registers = registers
        self.el2 = el2
        self.enables = CR0()

    def enable(self, **fields: int) -> None:
        """Set fields of CR0, and wait for the acknowledge."""
        self.enables = self.enables.replace(**fields)
        self.registers.update("CR0", "CR0ACK", self.enables.value)

    def disable(self) -> None:
        """Everything off; what is under way meets an abort."""
        registers = self.registers
        if CR0(registers.read("CR0")).SMMUEN:
            abort = GBPA(registers.read("GBPA")).replace(ABORT=1, Update=1)
            registers.write("GBPA", abort.value)
            registers.wait("GBPA", lambda value: not GBPA(value).Update)
        registers.update("CR0", "CR0ACK", 0)

    def describe(self, streams: StreamTable) -> None:
        """Attributes of the SMMU's own accesses, and where the stream table is."""
        self.registers.write("CR1", _cacheable().value)
        self.registers.write("CR2", CR2.make(RECINVSID=1).value)
        self.registers.write("STRTAB_BASE", streams.base.value)
        self.registers.write("STRTAB_BASE_CFG", streams.layout.value)

    def start_commands(self, queue: CommandProducer) -> None:
        """The command queue, and its first commands: forget everything."""
        self._place("CMDQ", queue.base, queue.size_lg2)
        self.enable(CMDQEN=1)
        queue.issue(ConfigInvalidateRange.make(Opcode=Opcode.CFGI_STE_RANGE, Range=_ALL).value)
        if self.el2:
            queue.issue(TlbInvalidate.make(Opcode=Opcode.TLBI_EL2_ALL).value)
        queue.issue(TlbInvalidate.make(Opcode=Opcode.TLBI_NSNH_ALL).value)
        queue.sync()

    def start_output(self, name: str, queue: QueueConsumer) -> None:
        """The event queue ("EVENTQ") or the PRI queue ("PRIQ")."""
        self._place(name, queue.base, queue.size_lg2)
        self.enable(**{f"{name}EN": 1})

    def _place(self, name: str, address: int, size_lg2: int) -> None:
        base = QUEUE_BASE.make(ADDR=address, LOG2SIZE=size_lg2, HINT=1)
        self.registers.write(f"{name}_BASE", base.value)
        self.registers.write(f"{name}_PROD", 0)
        self.registers.write(f"{name}_CONS", 0)


def set_interrupts(registers: Registers, *, pri: bool) -> None:
    """Which interrupts are on."""
    enables = IRQ_CTRL.make(EVENTQ_IRQEN=1, GERROR_IRQEN=1, PRIQ_IRQEN=int(pri))
    registers.update("IRQ_CTRL", "IRQ_CTRLACK", enables.value)


def _cacheable() -> CR1:
    return CR1.make(
        TABLE_SH=_INNER_SHAREABLE,
        TABLE_OC=_WRITE_BACK,
        TABLE_IC=_WRITE_BACK,
        QUEUE_SH=_INNER_SHAREABLE,
        QUEUE_OC=_WRITE_BACK,
        QUEUE_IC=_WRITE_BACK,
    )
