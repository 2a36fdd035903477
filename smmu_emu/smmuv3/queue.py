# SPDX-License-Identifier: GPL-2.0-or-later
"""Circular queues in memory, shared between software and the SMMU.

Spec: IHI 0070 3.5 (queues and their indexes), 6.3.26 to 6.3.31. An index has LOG2SIZE bits and a
wrap bit above them. Registers are the only store of indexes; a queue object computes with them.
"""

from __future__ import annotations

from smmu_emu.port import MemoryPort
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.command import COMMAND_SIZE
from smmu_emu.smmuv3.spec.event import EVENT_SIZE
from smmu_emu.smmuv3.spec.page_request import PAGE_REQUEST_SIZE
from smmu_emu.smmuv3.spec.registers import QUEUE_BASE

OVERFLOW = 1 << 31


class Queue:
    """Geometry common to all queues; ``name`` is the prefix of its registers, as in CMDQ_BASE."""

    def __init__(
        self,
        registers: RegisterFile,
        port: MemoryPort,
        name: str,
        entry_size: int,
        max_lg2: int,
    ) -> None:
        self.registers = registers
        self.port = port
        self.entry_size = entry_size
        self.max_lg2 = max_lg2
        self.base_name = f"{name}_BASE"
        self.prod_name = f"{name}_PROD"
        self.cons_name = f"{name}_CONS"

    @property
    def size_lg2(self) -> int:
        """Log2 of the number of entries, capped to what the ID registers allow."""
        return min(self.registers.values[self.base_name] & 0x1F, self.max_lg2)

    @property
    def index_mask(self) -> int:
        """Mask of an index with its wrap bit."""
        return (2 << self.size_lg2) - 1

    def address(self, index: int) -> int:
        """Physical address of an entry; the base is aligned to the queue's size, 32 bytes at least.

        Spec: 6.3.26, 6.3.29 (alignment).
        """
        size_lg2 = self.size_lg2
        base = QUEUE_BASE(self.registers.values[self.base_name]).ADDR
        base &= -max(self.entry_size << size_lg2, 32)
        return base + self.entry_size * (index & (1 << size_lg2) - 1)

    @property
    def prod(self) -> int:
        """Write index with its wrap bit."""
        return self.registers.values[self.prod_name] & self.index_mask

    @property
    def cons(self) -> int:
        """Read index with its wrap bit."""
        return self.registers.values[self.cons_name] & self.index_mask

    @property
    def empty(self) -> bool:
        """Equal indexes, equal wrap bits."""
        return self.prod == self.cons

    @property
    def full(self) -> bool:
        """Equal indexes, different wrap bits."""
        return self.prod ^ self.cons == 1 << self.size_lg2

    def truncate(self, name: str, _: int = 0) -> None:
        """Drop the bits of an index register that the queue's size leaves no room for.

        Spec: 6.3.28 (RD), 6.3.95 (WR): they read as zero where the SMMU owns the index.
        """
        self.registers.values[name] &= ~_INDEX_FIELD | self.index_mask

    def _advance(self, name: str) -> None:
        value = self.registers.values[name]
        mask = self.index_mask
        self.registers.values[name] = value & ~_INDEX_FIELD | (value & mask) + 1 & mask


_INDEX_FIELD = 0xFFFFF


class CommandQueue(Queue):
    """The queue whose consumer is the SMMU."""

    def __init__(self, registers: RegisterFile, port: MemoryPort) -> None:
        super().__init__(registers, port, "CMDQ", COMMAND_SIZE, registers.ids.sizes.CMDQS)

    def peek(self) -> bytes | None:
        """The command at the read index; None if memory aborted the fetch."""
        return self.port.read(self.address(self.cons), COMMAND_SIZE)

    def consume(self) -> None:
        """Move the read index past the command."""
        self._advance(self.cons_name)


class OutputQueue(Queue):
    """A queue whose producer is the SMMU."""

    @property
    def overflowed(self) -> bool:
        """Whether a loss awaits its acknowledge. Spec: 7.4, 8.1."""
        values = self.registers.values
        return bool((values[self.prod_name] ^ values[self.cons_name]) & OVERFLOW)

    def write(self, record: bytes) -> bool:
        """Put a record into the free slot at the write index; False if memory aborted it.

        The record is visible before the index moves; on an abort the index stays (7.2.2).
        """
        if not self.port.write(self.address(self.prod), record):
            return False
        self._advance(self.prod_name)
        return True

    def overflow(self) -> None:
        """Note that a record was lost, unless an earlier loss awaits its acknowledge. Spec: 7.4."""
        if not self.overflowed:
            self.registers.values[self.prod_name] ^= OVERFLOW


class EventQueue(OutputQueue):
    """Where events are recorded."""

    def __init__(self, registers: RegisterFile, port: MemoryPort) -> None:
        super().__init__(registers, port, "EVENTQ", EVENT_SIZE, registers.ids.sizes.EVENTQS)


class PriQueue(OutputQueue):
    """Where page requests are recorded."""

    def __init__(self, registers: RegisterFile, port: MemoryPort) -> None:
        super().__init__(registers, port, "PRIQ", PAGE_REQUEST_SIZE, registers.ids.sizes.PRIQS)
