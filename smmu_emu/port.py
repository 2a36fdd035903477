# SPDX-License-Identifier: GPL-2.0-or-later
"""How a device reaches memory: named ports, and the DMA port that goes through a translation unit.

A port is a record of functions, not a layer: calling ``port.read_u64`` calls memory's own function.
Whoever injects faults stands before a function of one port (`smmu_emu.interpose`); the device knows
nothing of it, and pays nothing while nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from smmu_emu.memory import PhysicalMemory
from smmu_emu.transaction import Fault, Transaction, Translation

if TYPE_CHECKING:
    from smmu_emu.memory import Stretches

PAGE = 0x1000
_LONG = 64 * PAGE
"""Bytes from which on a transfer is worth translating at once."""


class MemoryPort:
    """One named way of one device into physical memory.

    Functions mean what they mean in `PhysicalMemory`: None and False are external aborts. With a
    ``device_id``, messages that it writes to memory's doorbell tell who sent them.
    """

    __slots__ = (
        "device_id",
        "interposed",
        "memory",
        "name",
        "read",
        "read_u64",
        "write",
        "write_u64",
    )
    wiring = ("memory", "name", "read", "read_u64", "write", "write_u64")

    interposed: dict[str, Any]

    def __init__(self, name: str, memory: PhysicalMemory, device_id: int | None = None) -> None:
        self.name = name
        self.memory = memory
        self.device_id = device_id
        self.read: Callable[[int, int], bytes | None] = memory.read
        self.write: Callable[[int, bytes | memoryview], bool] = memory.write
        if device_id is not None and memory.doorbell is not None:
            self.write = self._write_as_device
        self.read_u64: Callable[[int], int | None] = memory.read_u64
        self.write_u64: Callable[[int, int], bool] = memory.write_u64

    @property
    def is_plain(self) -> bool:
        """Whether nobody has replaced a function, so that memory may be moved in one go."""
        writers = self.memory.write, self._write_as_device
        return self.read == self.memory.read and self.write in writers

    def _write_as_device(self, pa: int, data: bytes | memoryview) -> bool:
        """A write, which may be a message."""
        doorbell, device_id = self.memory.doorbell, self.device_id
        if doorbell is None or device_id is None or not doorbell.first <= pa < doorbell.end:
            return self.memory.write(pa, data)
        return doorbell.ring(pa - doorbell.first, data, device_id)


class Translator(Protocol):
    """A translation unit, as its clients see it.

    `submit` is for clients that can wait: a Fault with a ``stag`` is no answer yet, ``answer`` is
    called with it later. `translate_range` may take a short way for a long transfer of ``size``
    bytes: rows of (physical address, length). None means that it does not, and that nothing has
    happened.
    """

    def translate(self, transaction: Transaction) -> Translation | Fault: ...

    def submit(
        self, transaction: Transaction, answer: Callable[[Translation | Fault], None]
    ) -> Translation | Fault: ...

    def translate_range(self, example: Transaction, size: int) -> Stretches | None: ...


class DmaPort:
    """A DMA master's way into memory: each page of a transfer is one transaction.

    ``transactions`` counts them; ``last_fault`` is the fault that ended the last transfer, or None.
    Without a translator (None) addresses are physical. `read` and `write` are those of a master
    that cannot wait, as on PCIe; `start_read` and `start_write` may be stalled. The DeviceID of its
    messages is its StreamID.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        translator: Translator | None,
        stream_id: int,
        name: str = "dma",
    ) -> None:
        self.memory = MemoryPort(name, memory, stream_id)
        self.translator = translator
        self.stream_id = stream_id
        self.transactions = 0
        self.last_fault: Fault | None = None

    def renumber(self, stream_id: int) -> None:
        """Be another master from now on."""
        self.stream_id = self.memory.device_id = stream_id

    def reset(self) -> None:
        """Forget what was counted."""
        self.transactions = 0
        self.last_fault = None

    def read(
        self,
        iova: int,
        size: int,
        *,
        privileged: bool = False,
        substream_id: int | None = None,
        instruction: bool = False,
    ) -> bytes | None:
        """Read ``size`` bytes; None if any part was aborted (see ``last_fault``)."""
        example = Transaction(self.stream_id, iova, False, privileged, instruction, substream_id)
        stretches = self._stretches(example, size)
        if stretches is not None:
            return self.memory.memory.gather(stretches)
        parts = []
        for where, length in self._pages(example, size):
            data = self._read_part(where, length)
            if data is None:
                return None
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(
        self,
        iova: int,
        data: bytes,
        *,
        privileged: bool = False,
        substream_id: int | None = None,
        instruction: bool = False,
    ) -> bool:
        """Write ``data``; False if any part was aborted (earlier pages stay written)."""
        example = Transaction(self.stream_id, iova, True, privileged, instruction, substream_id)
        view = memoryview(data)
        stretches = self._stretches(example, len(data))
        if stretches is not None:
            return self.memory.memory.scatter(stretches, view)
        done = 0
        for where, length in self._pages(example, len(data)):
            if not self._write_part(where, view[done : done + length]):
                return False
            done += length
        return True

    def start_read(
        self,
        iova: int,
        size: int,
        *,
        privileged: bool = False,
        substream_id: int | None = None,
        instruction: bool = False,
    ) -> Transfer:
        """Read ``size`` bytes as a master that can wait; see the result's ``done`` and ``data``."""
        example = Transaction(self.stream_id, iova, False, privileged, instruction, substream_id)
        return Transfer(self, _pages(iova, size), None, example)

    def start_write(
        self,
        iova: int,
        data: bytes,
        *,
        privileged: bool = False,
        substream_id: int | None = None,
        instruction: bool = False,
    ) -> Transfer:
        """Write ``data`` as a master that can wait; see the result's ``done`` and ``ok``."""
        example = Transaction(self.stream_id, iova, True, privileged, instruction, substream_id)
        return Transfer(self, _pages(iova, len(data)), data, example)

    def _stretches(self, example: Transaction, size: int) -> Stretches | None:
        """A long transfer translated at once, where that is possible, nothing faults and all of
        it goes to RAM."""
        if size < _LONG or self.translator is None or not self.memory.is_plain:
            return None
        stretches = self.translator.translate_range(example, size)
        if stretches is None:
            return None
        self.transactions += -(-(size + example.iova % PAGE) // PAGE)
        self.last_fault = None
        return stretches

    def _pages(self, example: Transaction, size: int) -> Iterator[tuple[int | Fault, int]]:
        """Where each page of a transfer goes, translated as it is asked for, and its length."""
        for start, length in _pages(example.iova, size):
            self.transactions += 1
            self.last_fault = None
            where: int | Fault = start
            if self.translator is not None:
                result = self.translator.translate(example._replace(iova=start))
                if isinstance(result, Fault):
                    self.last_fault = where = result
                else:
                    where = result.pa
            yield where, length

    def _read_part(self, where: int | Fault, length: int) -> bytes | None:
        """The bytes of one part; zeros where the SMMU ended the access without an abort."""
        if isinstance(where, Fault):
            return None if where.abort else bytes(length)
        return self.memory.read(where, length)

    def _write_part(self, where: int | Fault, data: bytes | memoryview) -> bool:
        if isinstance(where, Fault):
            return not where.abort
        return self.memory.write(where, data)


class Transfer:
    """A transfer of a master that can wait: ``done`` turns True when it has ended.

    Then ``ok`` tells whether nothing was aborted, and ``data`` holds what a read got. ``on_done``
    may be set while it is not done.
    """

    passing = True

    def __init__(
        self,
        port: DmaPort,
        parts: list[tuple[int, int]],
        data: bytes | None,
        example: Transaction,
    ) -> None:
        self.port = port
        self.done = False
        self.ok = False
        self.data = bytearray()
        self.on_done: Callable[[Transfer], None] | None = None
        self._parts = parts
        self._source = data
        self._next = 0
        self._moved = 0
        self._example = example
        port.last_fault = None
        self._go_on()

    def _go_on(self) -> None:
        """Move page by page until something has to be waited for, or the end."""
        while not self.done:
            if self._next == len(self._parts):
                self._finish(True)
                return
            iova, _ = self._parts[self._next]
            self.port.transactions += 1
            translator = self.port.translator
            if translator is None:
                self._move(iova)
                continue
            result = translator.submit(self._example._replace(iova=iova), self._answered)
            if isinstance(result, Fault) and result.stag is not None:
                return
            self._take(result)

    def _answered(self, result: Translation | Fault) -> None:
        self._take(result)
        self._go_on()

    def _take(self, result: Translation | Fault) -> None:
        if isinstance(result, Fault):
            self.port.last_fault = result
            self._move(result)
        else:
            self._move(result.pa)

    def _move(self, where: int | Fault) -> None:
        _, length = self._parts[self._next]
        if self._source is None:
            data = self.port._read_part(where, length)
            moved = data is not None
            self.data += data or b""
        else:
            moved = self.port._write_part(where, self._source[self._moved : self._moved + length])
        self._next += 1
        self._moved += length
        if not moved:
            self._finish(False)

    def _finish(self, ok: bool) -> None:
        self.done, self.ok = True, ok
        if self.on_done is not None:
            self.on_done(self)


def _pages(iova: int, size: int) -> list[tuple[int, int]]:
    """Split a transfer at 4 KiB borders: (address, length) of each part, addresses modulo 2^64."""
    parts = []
    while size > 0:
        length = min(size, PAGE - iova % PAGE)
        parts.append((iova & 0xFFFF_FFFF_FFFF_FFFF, length))
        iova += length
        size -= length
    return parts
