# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors of the DMA engine: one transfer each, and how it is made.

The layout is in docs/dma_engine.md. Transfers are cut at pages, so that an access that is refused
is known by its address. Whoever may have to wait says in attributes where he stands, so that a
machine's state can be kept at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from smmu_emu.bits import Bits, Word
from smmu_emu.port import PAGE

DESCRIPTOR_SIZE = 64
RESULT_OFFSET = 24
"""Where the part of a descriptor begins that the engine writes back, in bytes."""
RESULT_SIZE = 24
MOST_BYTES = 16 << 20


class Operation(IntEnum):
    """What a descriptor asks for."""

    NOTHING = 0
    READ = 1
    COPY = 2
    FILL = 3


class Result(IntEnum):
    """What became of a descriptor."""

    NOT_RUN = 0
    DONE = 1
    READ_REFUSED = 2
    WRITE_REFUSED = 3
    BAD_DESCRIPTOR = 4


class AccessWord(Word, bits=32):
    """The bits that say how accesses are made, in descriptors and in a channel's ACCESS."""

    PRIVILEGED = Bits(4)
    SSV = Bits(5)
    CAN_WAIT = Bits(6)
    ATS = Bits(7)
    SUBSTREAM_ID = Bits(31, 12)


class Descriptor(AccessWord, bits=8 * DESCRIPTOR_SIZE):
    """One transfer. The engine writes back VALUE, RESULT, MOVED and REFUSED."""

    OPERATION = Bits(3, 0)
    LENGTH = Bits(63, 32)
    SOURCE = Bits(127, 64)
    DESTINATION = Bits(191, 128)
    VALUE = Bits(255, 192)
    RESULT = Bits(263, 256)
    MOVED = Bits(319, 288)
    REFUSED = Bits(383, 320)


class Waitable(Protocol):
    """An access that is under way: ``on_done`` is called when it is ``done``."""

    done: bool
    ok: bool
    data: bytearray
    on_done: Callable[[Any], None] | None


class Answer:
    """An access that nobody has to wait for."""

    done = True

    def __init__(self, ok: bool, data: bytes = b"") -> None:
        self.ok = ok
        self.data = bytearray(data)
        self.on_done: Callable[[Any], None] | None = None


class Master(Protocol):
    """A way to memory. What `start_read` and `start_write` give may have to be waited for."""

    def read(
        self, iova: int, size: int, *, privileged: bool, substream_id: int | None
    ) -> bytes | None: ...

    def write(
        self, iova: int, data: bytes, *, privileged: bool, substream_id: int | None
    ) -> bool: ...

    def start_read(
        self, iova: int, size: int, *, privileged: bool, substream_id: int | None
    ) -> Any: ...

    def start_write(
        self, iova: int, data: bytes, *, privileged: bool, substream_id: int | None
    ) -> Any: ...


class Access(NamedTuple):
    """How accesses are made: by which master, and in which way."""

    master: Master
    privileged: bool
    substream_id: int | None
    can_wait: bool

    def read(self, address: int, size: int) -> Waitable:
        """Begin to read within a page."""
        master, privileged, substream_id, can_wait = self
        how: dict[str, Any] = {"privileged": privileged, "substream_id": substream_id}
        if can_wait:
            under_way: Waitable = master.start_read(address, size, **how)
            return under_way
        data = master.read(address, size, **how)
        return Answer(data is not None, data or b"")

    def write(self, address: int, data: bytes) -> Waitable:
        """Begin to write within a page."""
        master, privileged, substream_id, can_wait = self
        how: dict[str, Any] = {"privileged": privileged, "substream_id": substream_id}
        if can_wait:
            under_way: Waitable = master.start_write(address, data, **how)
            return under_way
        return Answer(master.write(address, data, **how))


class Carrying:
    """A descriptor that is being carried out; ``descriptor`` tells what has become of it so far."""

    def __init__(self, asked: Descriptor, access: Access) -> None:
        self.access = access
        bad = asked.OPERATION not in _OPERATIONS or asked.LENGTH > MOST_BYTES
        result = Result.BAD_DESCRIPTOR if bad else Result.DONE
        self.descriptor = asked.replace(RESULT=result, MOVED=0, REFUSED=0)
        self._read: bytes | None = None
        """What was read and is to be written."""

    @property
    def _ended(self) -> bool:
        asked = self.descriptor
        nothing = asked.RESULT != Result.DONE or asked.OPERATION == Operation.NOTHING
        return nothing or asked.MOVED >= asked.LENGTH

    @property
    def _reads_now(self) -> bool:
        return self.descriptor.OPERATION in _READING and self._read is None

    def begin(self) -> Waitable | None:
        """Begin the next access; None if all is done."""
        if self._ended:
            return None
        source, target, size = _next_piece(self.descriptor)
        if self._reads_now:
            return self.access.read(source, size)
        value, moved = self.descriptor.VALUE.to_bytes(8, "little"), self.descriptor.MOVED
        return self.access.write(target, self._read or _repeated(value, moved, size))

    def take(self, ended: Waitable) -> None:
        """The access that `begin` began has ended."""
        asked, reading = self.descriptor, self._reads_now
        source, target, size = _next_piece(asked)
        if not ended.ok:
            result = Result.READ_REFUSED if reading else Result.WRITE_REFUSED
            refused = source if reading else target
            self.descriptor = asked.replace(RESULT=result, REFUSED=refused)
            return
        if reading:
            data = bytes(ended.data)
            if not asked.MOVED:
                self.descriptor = asked.replace(VALUE=int.from_bytes(data[:8], "little"))
            if asked.OPERATION in _WRITING:
                self._read = data
                return
        self._read = None
        self.descriptor = self.descriptor.replace(MOVED=asked.MOVED + size)


_OPERATIONS = frozenset(Operation)
_READING = (Operation.READ, Operation.COPY)
_WRITING = (Operation.COPY, Operation.FILL)


def _next_piece(asked: Descriptor) -> tuple[int, int, int]:
    """Source, destination and size of what follows: it crosses no page on either side."""
    moved = asked.MOVED
    source, target = wrapped(asked.SOURCE + moved), wrapped(asked.DESTINATION + moved)
    size = asked.LENGTH - moved
    if asked.OPERATION in _READING:
        size = min(size, PAGE - source % PAGE)
    if asked.OPERATION in _WRITING:
        size = min(size, PAGE - target % PAGE)
    return source, target, size


def wrapped(address: int) -> int:
    """An address modulo 2^64."""
    return address & 0xFFFF_FFFF_FFFF_FFFF


def _repeated(value: bytes, start: int, size: int) -> bytes:
    """``size`` bytes of an endlessly repeated value, from its byte ``start``."""
    return (value * (size // 8 + 2))[start % 8 : start % 8 + size]
