# SPDX-License-Identifier: GPL-2.0-or-later
"""A twin of QEMU 11.1's SMMUv3: the same state, the same answers.

The twin is told every step of a scenario and yields what QEMU did. Wherever QEMU leaves the
architecture the code asks ``acts(name, QEMU's value, the architecture's value)``, which goes on
with QEMU's and notes the name when the two differ. Names stick to what is cached under them: a
configuration or a TLB entry that owes its being to a deviation tells its name again when used.

The same code, asked by ``expect``, takes the architecture's value everywhere and changes nothing.

Left out: what the recorded SMMU does not have (substreams, stalls, ATS, PRI, MSIs, HTTU).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from . import registers as reg
from .commands import execute
from .context import Config
from .deviations import DEVIATIONS
from .events import Fault, record
from .fields import COMMAND_BYTES, EVENT_BYTES, Command, low_mask
from .registers import Queue, RegisterFile
from .system import SystemMemory
from .tlb import Entry, Key, Tlb
from .translate import translate

T = TypeVar("T")

IRQ_EVENTQ, IRQ_SYNC, IRQ_GERROR = 74, 76, 77
CMDQ_ERR, EVENTQ_ABT_ERR = 1 << 0, 1 << 2
CERROR_ILL, CERROR_ABT = 1, 2
OVERFLOW = 1 << 31  # EVENTQ_PROD.OVFLG, EVENTQ_CONS.OVACKFLG
_EVENTQEN, _CMDQEN = 4, 8
_GERROR_IRQEN, _EVENTQ_IRQEN = 1, 4


@dataclass
class Piece:
    """The part of a transfer that is one access: where it went, or how it failed."""

    iova: int
    size: int
    target: int | None
    fault: Fault | None = None


@dataclass
class Result:
    """What one step did: pieces of a transfer, a register's value, events and interrupts.

    ``names`` are the deviations that acted. ``dropped_entries`` and ``dropped_streams`` are what
    the architecture wants gone from the caches after the step.
    """

    pieces: list[Piece] = field(default_factory=list)
    value: int | None = None
    events: list[bytes] = field(default_factory=list)
    interrupts: list[int] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    dropped_entries: set[Key] = field(default_factory=set)
    dropped_streams: set[int] = field(default_factory=set)


@dataclass
class Expected:
    """What the architecture gives for one access; ``prod`` is None where no event arises.

    ``free`` says that it might give something else as well.
    """

    target: int | None
    prod: int | None = None
    events: list[bytes] = field(default_factory=list)
    interrupts: list[int] = field(default_factory=list)
    free: bool = False


class Twin:
    """QEMU's SMMUv3 with the given ID registers (IDR0..IDR5, IIDR, AIDR) and PCI functions."""

    def __init__(
        self, identification: tuple[int, ...], functions: frozenset[int] = frozenset()
    ) -> None:
        self.memory = SystemMemory()
        self.registers = RegisterFile(identification)
        self.has_stage1 = bool(identification[0] & 2)
        self.has_stage2 = bool(identification[0] & 1)
        self.functions = functions
        self.command_queue = Queue(COMMAND_BYTES)
        self.event_queue = Queue(EVENT_BYTES)
        self.gerror = self.gerrorn = 0
        self.two_level, self.split = False, 0  # of the last two-level stream table
        self.configs: dict[int, Config] = {}
        self.tlb = Tlb()
        self.result = Result()
        self.architecture = False
        self._free = False

    # Steps

    def read(self, offset: int, size: int) -> Result:
        """Read a register of ``size`` bytes."""
        result = self._begin()
        result.value = reg.read(self, offset, size)
        return result

    def write(self, offset: int, size: int, value: int) -> Result:
        """Write a register of ``size`` bytes."""
        result = self._begin()
        reg.write(self, offset, size, value)
        return result

    def transfer(self, stream_id: int, iova: int, size: int, write: bool) -> Result:
        """Let ``stream_id`` read or write ``size`` bytes at ``iova``."""
        result = self._begin()
        while size:
            piece = self._access(stream_id, iova, size, write)
            result.pieces.append(piece)
            iova, size = iova + piece.size, size - piece.size
        if sum(piece.fault is not None for piece in result.pieces) > 1:
            self.note("split-transfers")
        reg.note_long_index(self, reg.EVENTQ_PROD)
        return result

    def _begin(self) -> Result:
        self.result = Result()
        return self.result

    def _access(self, stream_id: int, iova: int, size: int, write: bool) -> Piece:
        """Do the first part of a transfer, as large as QEMU's memory core makes it."""
        try:
            target, mask = translate(self, stream_id, iova, write)
        except Fault as fault:
            self._report(fault, stream_id, iova, write)
            return Piece(iova, _bus_size(iova, size), None, fault)
        size = min(size, mask + 1 - (target & mask))
        if not self.memory.is_ram(target):
            size = _bus_size(target, size)
        return Piece(iova, size, target)

    # Deviations

    def acts(self, name: str, qemu: T, architecture: T) -> T:
        """Go on with QEMU's value and note ``name`` where the architecture has another one."""
        if self.architecture:
            return architecture
        if qemu != architecture:
            self.result.names.add(name)
        return qemu

    def note(self, *names: str) -> None:
        """Note deviations that acted, or act again through what is cached."""
        if not self.architecture:
            self.result.names.update(names)
        elif any(not DEVIATIONS[name].wrong for name in names):
            self._free = True

    @contextmanager
    def names_apart(self) -> Iterator[set[str]]:
        """Collect what is noted inside, and note it outside too."""
        outer, self.result.names = self.result.names, set()
        try:
            yield self.result.names
        finally:
            outer |= self.result.names
            self.result.names = outer

    # The architecture's way

    @contextmanager
    def as_architecture(self) -> Iterator[None]:
        """Decide as the architecture does inside, and change nothing."""
        before, self.architecture = self.architecture, True
        try:
            yield
        finally:
            self.architecture = before

    def expect(self, stream_id: int, iova: int, write: bool) -> Expected:
        """Return what the architecture makes of one access, from the twin's state on."""
        self._free = False
        with self.as_architecture():
            try:
                expected = Expected(translate(self, stream_id, iova, write)[0])
            except Fault as fault:
                if fault.kind is None or not fault.recorded:
                    expected = Expected(None)
                else:
                    expected = self._expect_event(record(self, fault, stream_id, iova, write))
        expected.free = self._free
        return expected

    def _expect_event(self, data: bytes) -> Expected:
        """Return what becomes of a record. Spec: IHI 0070 3.18, 7.2, 7.4."""
        queue = self.event_queue
        prod = queue.prod & reg.defined(self, reg.EVENTQ_PROD)
        expected = Expected(None, prod=prod)
        if not self.registers[reg.CR0] & _EVENTQEN or self._is_active(EVENTQ_ABT_ERR):
            return expected
        enables = self.registers[reg.IRQ_CTRL]
        if queue.full:
            if not (queue.prod ^ queue.cons) & OVERFLOW:
                expected.prod = prod ^ OVERFLOW
        elif not self.memory.is_ram(queue.entry(queue.prod)):
            expected.interrupts = [IRQ_GERROR] * bool(enables & _GERROR_IRQEN)
        else:
            index = low_mask(queue.size_lg2 + 1)
            expected.prod = prod & OVERFLOW | prod + 1 & index
            expected.events = [data]
            expected.interrupts = [IRQ_EVENTQ] * bool(enables & _EVENTQ_IRQEN and queue.empty)
        return expected

    # Caches, queues, interrupts

    def remember(self, asid: int, vmid: int, entry: Entry) -> None:
        """Put what was walked for into the TLB."""
        if not self.architecture:
            self.tlb.insert(asid, vmid, entry)

    def consume_commands(self) -> None:
        """Carry out commands until the queue is empty, stopped or in error."""
        queue = self.command_queue
        error = 0
        while self.registers[reg.CR0] & _CMDQEN and not queue.empty and not error:
            if self._is_active(CMDQ_ERR):
                break
            raw = self.memory.read(queue.entry(queue.cons), COMMAND_BYTES)
            if raw is None:
                error = CERROR_ABT
            elif not execute(self, Command(raw)):
                error = CERROR_ILL
            else:
                index = low_mask(queue.size_lg2 + 1)
                queue.cons = queue.cons & ~index | queue.cons + 1 & index
        if error:
            queue.cons = queue.cons & ~(0x7F << 24) | error << 24
            self._raise_global_error(CMDQ_ERR)

    def pulse_sync(self) -> None:
        """Pulse the interrupt of CMD_SYNC."""
        self.result.interrupts.append(IRQ_SYNC)

    def _raise_global_error(self, error: int) -> None:
        if self._is_active(error):
            return
        self.gerror ^= error
        if self.registers[reg.IRQ_CTRL] & _GERROR_IRQEN:
            self.result.interrupts.append(IRQ_GERROR)

    def _is_active(self, error: int) -> bool:
        return bool((self.gerror ^ self.gerrorn) & error)

    def _report(self, fault: Fault, stream_id: int, iova: int, write: bool) -> None:
        if fault.kind is None or not fault.recorded or not self.registers[reg.CR0] & _EVENTQEN:
            return
        if self._is_active(EVENTQ_ABT_ERR):
            self.note("events-after-abort")
        data = record(self, fault, stream_id, iova, write)
        queue = self.event_queue
        if queue.full:
            self.note("queue-full")
            self._raise_global_error(EVENTQ_ABT_ERR)
            return
        was_empty = queue.empty
        if not self.memory.write(queue.entry(queue.prod), data):
            self._raise_global_error(EVENTQ_ABT_ERR)
            return
        queue.prod = queue.prod + 1 & low_mask(queue.size_lg2 + 1)
        self.result.events.append(data)
        enabled = bool(self.registers[reg.IRQ_CTRL] & _EVENTQ_IRQEN)
        if self.acts("irq-per-record", enabled and not queue.empty, enabled and was_empty):
            self.result.interrupts.append(IRQ_EVENTQ)


def _bus_size(address: int, size: int) -> int:
    """Return how much of an access outside RAM QEMU's bus does at once, at most 4 bytes."""
    size = min(size, 4, address & -address or 4)
    return 1 << size.bit_length() - 1
