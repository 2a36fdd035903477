# SPDX-License-Identifier: GPL-2.0-or-later
"""Software's side of an SMMUv3's queues: a command producer and an event consumer.

Spec: IHI 0070 3.5. Queue memory is written as the core would, the indexes through registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pgtable import TableMemory
from smmu_emu.errors import EmulatorError
from smmu_emu.smmuv3.spec.command import (
    COMMAND_SIZE,
    CommandError,
    Opcode,
    Sync,
    SyncSignal,
)
from smmu_emu.smmuv3.spec.event import EVENT_SIZE
from smmu_emu.smmuv3.spec.registers import CMDQ_CONS, REGISTERS

_PATIENCE = 1000
_OVERFLOW = 1 << 31
_ERRORS: dict[int, str] = {error: f"CERROR_{error.name}" for error in CommandError}


class DriverError(EmulatorError):
    """The device did not do what the driver waited for."""


class RegisterWindow(Protocol):
    """The device's registers, as a driver reaches them."""

    def read(self, offset: int, size: int) -> int: ...

    def write(self, offset: int, size: int, value: int) -> None: ...


class Registers:
    """Registers by name; ``idle`` lets virtual time pass while something is waited for."""

    def __init__(self, window: RegisterWindow, idle: Callable[[], None]) -> None:
        self.window = window
        self.idle = idle

    def read(self, name: str) -> int:
        """Value of a register, by its name without the SMMU_ prefix."""
        register = REGISTERS[name]
        return self.window.read(register.offset, register.size)

    def write(self, name: str, value: int) -> None:
        """Write a whole register."""
        register = REGISTERS[name]
        self.window.write(register.offset, register.size, value)

    def wait(self, name: str, done: Callable[[int], bool]) -> int:
        """Poll a register until ``done``; its value.

        Raises: DriverError when it does not happen.
        """
        for _ in range(_PATIENCE):
            value = self.read(name)
            if done(value):
                return value
            self.idle()
        raise DriverError(f"{name} stays at {self.read(name):#x}: the device does not answer")

    def update(self, name: str, acknowledge: str, value: int) -> None:
        """Write a register and wait until its acknowledge register follows."""
        self.write(name, value)
        self.wait(acknowledge, lambda ack: ack == value)


class CommandProducer:
    """Writes commands, rings the doorbell, waits for CMD_SYNC."""

    def __init__(self, registers: Registers, memory: TableMemory, base: int, size_lg2: int) -> None:
        self.registers = registers
        self.memory = memory
        self.base = base
        self.size_lg2 = size_lg2
        self.prod = 0

    def issue(self, command: int) -> None:
        """Put one 128-bit command into the queue and ring; waits for room if it is full.

        Raises: DriverError on a command error, or if the queue stays full.
        """
        self.registers.wait("CMDQ_CONS", self._has_room)
        offset = self.base + COMMAND_SIZE * (self.prod & (1 << self.size_lg2) - 1)
        offset -= self.memory.base
        self.memory.bytes[offset : offset + COMMAND_SIZE] = command.to_bytes(COMMAND_SIZE, "little")
        self.prod = (self.prod + 1) & (2 << self.size_lg2) - 1
        self.registers.write("CMDQ_PROD", self.prod)

    def sync(self) -> None:
        """Issue a CMD_SYNC and wait until everything up to it is consumed.

        Raises: DriverError on a command error, or if it never completes.
        """
        self.issue(Sync.make(Opcode=Opcode.SYNC, CS=SyncSignal.SEV).value)
        self.registers.wait("CMDQ_CONS", lambda cons: self._read_index(cons) == self.prod)

    def _has_room(self, cons: int) -> bool:
        return self.prod ^ self._read_index(cons) != 1 << self.size_lg2

    def _read_index(self, cons: int) -> int:
        if self.registers.read("GERROR") & 1 != self.registers.read("GERRORN") & 1:
            error = CMDQ_CONS(cons).ERR
            name = _ERRORS.get(error, f"error {error:#x}")
            raise DriverError(f"the command at index {cons & 0xFFFFF:#x} met {name}")
        return cons & (2 << self.size_lg2) - 1


class EventConsumer:
    """Reads event records and gives their slots back."""

    def __init__(self, registers: Registers, memory: TableMemory, base: int, size_lg2: int) -> None:
        self.registers = registers
        self.memory = memory
        self.base = base
        self.size_lg2 = size_lg2
        self.overflows = 0

    def drain(self) -> list[bytes]:
        """All records that wait, oldest first; an overflow is counted and acknowledged."""
        mask = (2 << self.size_lg2) - 1
        prod, cons = self.registers.read("EVENTQ_PROD"), self.registers.read("EVENTQ_CONS")
        records, index = [], cons & mask
        while index != prod & mask:
            start = self.base + EVENT_SIZE * (index & mask >> 1) - self.memory.base
            records.append(bytes(self.memory.bytes[start : start + EVENT_SIZE]))
            index = (index + 1) & mask
        self.overflows += bool((prod ^ cons) & _OVERFLOW)
        if records or (prod ^ cons) & _OVERFLOW:
            self.registers.write("EVENTQ_CONS", index | prod & _OVERFLOW)
        return records
