# SPDX-License-Identifier: GPL-2.0-or-later
"""Global errors: what they were, and how the driver goes on.

A command that stopped the queue is replaced if it is illegal, and tried again otherwise, as Linux
does it. The other errors tell of something lost, which is counted and acknowledged. Spec: IHI 0070
7.1, 7.5, 6.3.19, 12.3 (service failure mode: the device gives up, and so does the driver).
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from smmu_emu.driver.queues import CommandProducer, DriverError, Registers
from smmu_emu.smmuv3.spec.command import CommandError, Opcode, Sync
from smmu_emu.smmuv3.spec.registers import CMDQ_CONS, GERROR

_PATIENCE = 3
"""How often a command whose fetch aborts is tried again."""


class GlobalError(NamedTuple):
    """One error that was active; ``detail`` says more of a command that stopped the queue."""

    name: str
    detail: str = ""


class Recovery:
    """Handles the global errors of one device; ``seen`` counts them by name."""

    def __init__(self, registers: Registers, commands: CommandProducer) -> None:
        self.registers = registers
        self.commands = commands
        self.seen: Counter[str] = Counter()
        self._aborts = 0

    def handle(self) -> list[GlobalError]:
        """Deal with every error that is active, and acknowledge them.

        Raises: DriverError if the device is in service failure mode, or the command queue cannot be
        read.
        """
        status = self.registers.read("GERROR")
        active = GERROR(status ^ self.registers.read("GERRORN") & GERROR.mask())
        names = [name for name, number in active.fields().items() if number]
        self.seen.update(names)
        if active.SFM_ERR:
            self.registers.update("CR0", "CR0ACK", 0)
            raise DriverError("the device is in service failure mode, and now disabled")
        errors = [GlobalError(name) for name in names if name != "CMDQ_ERR"]
        if active.CMDQ_ERR:
            errors.insert(0, GlobalError("CMDQ_ERR", self._repair_commands()))
        if names:
            self.registers.write("GERRORN", status)
        return errors

    def _repair_commands(self) -> str:
        """Let the queue go on once it is acknowledged; what was wrong."""
        cons = CMDQ_CONS(self.registers.read("CMDQ_CONS"))
        try:
            error = CommandError(cons.ERR)
        except ValueError:
            raise DriverError(f"CMDQ_CONS.ERR is {cons.ERR:#x}, which nobody knows") from None
        where = f"{error.name} at index {cons.RD & (1 << self.commands.size_lg2) - 1:#x}"
        if error is CommandError.ILL:
            command = self._load(cons.RD)
            self.commands.put(cons.RD, Sync.make(Opcode=Opcode.SYNC).value)
            return f"{where}: {command:#034x} was replaced by CMD_SYNC"
        if error is CommandError.ABT:
            self._aborts += 1
            if self._aborts > _PATIENCE:
                raise DriverError(f"the command queue at {self.commands.base:#x} cannot be read")
        return f"{where}: tried again"

    def _load(self, index: int) -> int:
        offset = self.commands.slot(index) - self.commands.memory.base
        return int.from_bytes(self.commands.memory.bytes[offset : offset + 16], "little")
