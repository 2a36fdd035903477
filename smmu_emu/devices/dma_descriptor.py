# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors of the DMA engine: one transfer each, and how it is made.

The layout is in docs/dma_engine.md. Transfers are cut at pages, so that an access that is refused
is known by its address. Whoever waits is written as a generator that yields what it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, TypeVar

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


Got = TypeVar("Got")
Work = Generator[Waitable, None, Got]
"""Something that may have to wait, and in the end returns what it got."""


class Access(NamedTuple):
    """How accesses are made: by which master, and in which way."""

    master: Master
    privileged: bool
    substream_id: int | None
    can_wait: bool

    def read(self, address: int, size: int) -> Work[bytes | None]:
        """Read within a page; None if that was refused."""
        master, privileged, substream_id, can_wait = self
        if not can_wait:
            return master.read(address, size, privileged=privileged, substream_id=substream_id)
        under_way: Waitable = master.start_read(
            address, size, privileged=privileged, substream_id=substream_id
        )
        if not under_way.done:
            yield under_way
        return bytes(under_way.data) if under_way.ok else None

    def write(self, address: int, data: bytes) -> Work[bool]:
        """Write within a page; False if that was refused."""
        master, privileged, substream_id, can_wait = self
        if not can_wait:
            return master.write(address, data, privileged=privileged, substream_id=substream_id)
        under_way: Waitable = master.start_write(
            address, data, privileged=privileged, substream_id=substream_id
        )
        if not under_way.done:
            yield under_way
        return under_way.ok


def carry_out(asked: Descriptor, access: Access) -> Work[Descriptor]:
    """Do what a descriptor says; the descriptor with what became of it."""
    operation = asked.OPERATION
    asked = asked.replace(RESULT=Result.DONE, MOVED=0, REFUSED=0)
    if operation not in _OPERATIONS or asked.LENGTH > MOST_BYTES:
        return asked.replace(RESULT=Result.BAD_DESCRIPTOR)
    value = asked.VALUE.to_bytes(8, "little")
    total = asked.LENGTH if operation != Operation.NOTHING else 0
    while (moved := asked.MOVED) < total:
        source, target, size = _next_piece(asked)
        data = _repeated(value, moved, size)
        if operation in _READING:
            found = yield from access.read(source, size)
            if found is None:
                return asked.replace(RESULT=Result.READ_REFUSED, REFUSED=source)
            data = found
            if not moved:
                asked = asked.replace(VALUE=int.from_bytes(data[:8], "little"))
        if operation in _WRITING and not (yield from access.write(target, data)):
            return asked.replace(RESULT=Result.WRITE_REFUSED, REFUSED=target)
        asked = asked.replace(MOVED=moved + size)
    return asked


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
