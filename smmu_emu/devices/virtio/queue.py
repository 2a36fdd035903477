# SPDX-License-Identifier: GPL-2.0-or-later
"""Split virtqueues: how a driver hands buffers to a device, all of it in memory behind the SMMU.

Spec: Virtual I/O Device 1.2, 2.7, indirect descriptors (2.7.5.3) included. Left out: packed queues,
event indexes, in-order use. What a driver may not do makes the queue `Broken`, a value: the device
then asks for a reset. No chain is followed further than the queue is long, so none takes for ever.
"""

from __future__ import annotations

from struct import pack, unpack
from typing import NamedTuple

from smmu_emu.port import DmaPort

LARGEST = 256
"""Descriptors in the longest queue."""

_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_NO_INTERRUPT = 1
_DESCRIPTOR = 16


class Broken(NamedTuple):
    """What the driver did that it must not do, or what memory refused."""

    reason: str


class Buffer(NamedTuple):
    """Scattered bytes: (address, length) of each piece, and the length of all."""

    pieces: tuple[tuple[int, int], ...]
    size: int

    def read(self, dma: DmaPort, offset: int, size: int) -> bytes | None:
        """``size`` bytes from ``offset``; None if the DMA was aborted. They must lie inside."""
        parts = []
        for address, length in self._cut(offset, size):
            data = dma.read(address, length)
            if data is None:
                return None
            parts.append(data)
        return b"".join(parts)

    def write(self, dma: DmaPort, offset: int, data: bytes) -> bool:
        """Write ``data`` from ``offset``; False if the DMA was aborted. It must fit."""
        done = 0
        for address, length in self._cut(offset, len(data)):
            if not dma.write(address, data[done : done + length]):
                return False
            done += length
        return True

    def _cut(self, offset: int, size: int) -> list[tuple[int, int]]:
        """The pieces of a part."""
        found = []
        for address, length in self.pieces:
            if size > 0 and offset < length:
                part = min(size, length - offset)
                found.append((address + offset & 0xFFFF_FFFF_FFFF_FFFF, part))
                size -= part
                offset = 0
            else:
                offset -= min(offset, length)
        return found


class Chain(NamedTuple):
    """One request: what the device may read, and then what it may write."""

    head: int
    readable: Buffer
    writable: Buffer


class SplitQueue:
    """The device's side of one queue. Addresses are what the driver put into the registers."""

    def __init__(self, dma: DmaPort) -> None:
        self.dma = dma
        self.indirect = False
        self.reset()

    def reset(self) -> None:
        """As after a reset of the device."""
        self.size = LARGEST
        self.ready = False
        self.descriptors = self.driver = self.device = 0
        self.taken = self.used = 0

    @property
    def usable(self) -> bool:
        """Whether its size is one that a queue can have. Spec: 2.7 (a power of two)."""
        return 0 < self.size <= LARGEST and not self.size & self.size - 1

    def take(self) -> Chain | Broken | None:
        """The next request; None if there is none."""
        index = self._read_u16(self.driver + 2)
        if index is None:
            return Broken("the available ring cannot be read")
        waiting = index - self.taken & 0xFFFF
        if not waiting:
            return None
        if waiting > self.size:
            return Broken(f"{waiting} requests are available in a queue of {self.size}")
        head = self._read_u16(self.driver + 4 + 2 * (self.taken % self.size))
        if head is None:
            return Broken("the available ring cannot be read")
        chain = self._follow(head)
        if isinstance(chain, Chain):
            self.taken = self.taken + 1 & 0xFFFF
        return chain

    def give_back(self, chain: Chain, written: int) -> Broken | None:
        """The request is done, ``written`` bytes of it were written."""
        element = pack("<II", chain.head, written)
        if not self.dma.write(self.device + 4 + 8 * (self.used % self.size), element):
            return Broken("the used ring cannot be written")
        self.used = self.used + 1 & 0xFFFF
        if not self.dma.write(self.device + 2, pack("<H", self.used)):
            return Broken("the used ring cannot be written")
        return None

    @property
    def wants_interrupt(self) -> bool:
        """Whether the driver wants to hear that a request is done."""
        flags = self._read_u16(self.driver)
        return flags is None or not flags & _NO_INTERRUPT

    def _read_u16(self, address: int) -> int | None:
        data = self.dma.read(address, 2)
        return None if data is None else int.from_bytes(data, "little")

    def _follow(self, head: int) -> Chain | Broken:
        """Collect the buffers of a chain."""
        table, entries, index = self.descriptors, self.size, head
        buffers: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for _ in range(self.size + 1):
            if index >= entries:
                return Broken(f"descriptor {index} of a table of {entries}")
            data = self.dma.read(table + _DESCRIPTOR * index, _DESCRIPTOR)
            if data is None:
                return Broken(f"descriptor {index} cannot be read")
            address, length, flags, index = unpack("<QIHH", data)
            if flags & _INDIRECT:
                wrong = self._judge_indirect(table, length, flags)
                if wrong:
                    return Broken(wrong)
                table, entries, index = address, length // _DESCRIPTOR, 0
                continue
            if buffers[1] and not flags & _WRITE:
                return Broken("a buffer to be read follows one to be written")
            buffers[bool(flags & _WRITE)].append((address, length))
            if len(buffers[0]) + len(buffers[1]) > self.size:
                break
            if not flags & _NEXT:
                return Chain(head, *map(_buffer, buffers))
        return Broken(f"a chain of more than {self.size} descriptors")

    def _judge_indirect(self, table: int, length: int, flags: int) -> str:
        """What is wrong with an indirect descriptor. Spec: 2.7.5.3.1, 2.7.5.3.2."""
        if not self.indirect:
            return "an indirect descriptor, which was not negotiated"
        if table != self.descriptors:
            return "an indirect descriptor inside an indirect table"
        if flags & _NEXT:
            return "an indirect descriptor that has a next one"
        if not length or length % _DESCRIPTOR:
            return f"an indirect table of {length} bytes"
        return ""


def _buffer(pieces: list[tuple[int, int]]) -> Buffer:
    return Buffer(tuple(pieces), sum(length for _, length in pieces))
