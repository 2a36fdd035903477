# SPDX-License-Identifier: GPL-2.0-or-later
"""Software's side of an SMMUv3's queues: a producer of commands, and consumers of records.

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
from smmu_emu.smmuv3.spec.page_request import PAGE_REQUEST_SIZE
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
    """Writes commands, rings the doorbell, waits for CMD_SYNC.

    With ``messages`` a CMD_SYNC tells of its completion by a message into its own slot, which is
    polled instead of the index. ``recover`` is called when a command error has stopped the queue;
    without it that is a DriverError.
    """

    def __init__(
        self,
        registers: Registers,
        memory: TableMemory,
        base: int,
        size_lg2: int,
        *,
        messages: bool = False,
    ) -> None:
        self.registers = registers
        self.memory = memory
        self.base = base
        self.size_lg2 = size_lg2
        self.messages = messages
        self.recover: Callable[[], None] | None = None
        self.prod = 0

    def slot(self, index: int) -> int:
        """Address of the entry with an index, whatever bits are above it."""
        return self.base + COMMAND_SIZE * (index & (1 << self.size_lg2) - 1)

    def put(self, index: int, command: int) -> None:
        """Store a command; the doorbell is the caller's."""
        offset = self.slot(index) - self.memory.base
        self.memory.bytes[offset : offset + COMMAND_SIZE] = command.to_bytes(COMMAND_SIZE, "little")

    def issue(self, command: int) -> None:
        """Put one 128-bit command into the queue and ring; waits for room if it is full.

        Raises: DriverError on a command error, or if the queue stays full.
        """
        self.registers.wait("CMDQ_CONS", self._has_room)
        self.put(self.prod, command)
        self.prod = (self.prod + 1) & (2 << self.size_lg2) - 1
        self.registers.write("CMDQ_PROD", self.prod)

    def sync(self) -> None:
        """Issue a CMD_SYNC and wait until everything up to it is consumed.

        Raises: DriverError on a command error, or if it never completes.
        """
        if self.messages:
            self._sync_by_message()
            return
        self.issue(Sync.make(Opcode=Opcode.SYNC, CS=SyncSignal.SEV).value)
        self.registers.wait("CMDQ_CONS", lambda cons: self._read_index(cons) == self.prod)

    def _sync_by_message(self) -> None:
        """The message is a zero over the first word of the CMD_SYNC, which is none before."""
        slot = self.slot(self.prod)
        offset = slot - self.memory.base
        sync = Sync.make(Opcode=Opcode.SYNC, CS=SyncSignal.IRQ, MSIAddress=slot)
        self.issue(sync.value)
        for _ in range(_PATIENCE):
            if not any(self.memory.bytes[offset : offset + 4]):
                return
            self._read_index(self.registers.read("CMDQ_CONS"))
            self.registers.idle()
        raise DriverError(f"the message of CMD_SYNC at {slot:#x} has not come")

    def _has_room(self, cons: int) -> bool:
        return self.prod ^ self._read_index(cons) != 1 << self.size_lg2

    def _read_index(self, cons: int) -> int:
        registers = self.registers
        if registers.read("GERROR") & 1 != registers.read("GERRORN") & 1:
            if self.recover is None:
                error = CMDQ_CONS(cons).ERR
                name = _ERRORS.get(error, f"error {error:#x}")
                raise DriverError(f"the command at index {cons & 0xFFFFF:#x} met {name}")
            self.recover()
            cons = registers.read("CMDQ_CONS")
        return cons & (2 << self.size_lg2) - 1


class QueueConsumer:
    """Reads the records of a queue ("EVENTQ", "PRIQ") and gives their slots back."""

    def __init__(
        self, registers: Registers, memory: TableMemory, name: str, base: int, size_lg2: int
    ) -> None:
        self.registers = registers
        self.memory = memory
        self.name = name
        self.record_size = RECORD_SIZES[name]
        self.base = base
        self.size_lg2 = size_lg2
        self.overflows = 0

    def drain(self) -> list[bytes]:
        """All records that wait, oldest first; an overflow is counted and acknowledged."""
        mask = (2 << self.size_lg2) - 1
        prod = self.registers.read(f"{self.name}_PROD")
        cons = self.registers.read(f"{self.name}_CONS")
        records, index = [], cons & mask
        while index != prod & mask:
            start = self.base + self.record_size * (index & mask >> 1) - self.memory.base
            records.append(bytes(self.memory.bytes[start : start + self.record_size]))
            index = (index + 1) & mask
        self.overflows += bool((prod ^ cons) & _OVERFLOW)
        if records or (prod ^ cons) & _OVERFLOW:
            self.registers.write(f"{self.name}_CONS", index | prod & _OVERFLOW)
        return records


RECORD_SIZES = {"EVENTQ": EVENT_SIZE, "PRIQ": PAGE_REQUEST_SIZE}
"""Bytes of a record, by queue."""
