# SPDX-License-Identifier: GPL-2.0-or-later
"""How a device reaches memory: named ports, and the DMA port that goes through a translation unit.

A port is a record of functions, not a layer: calling ``port.read_u64`` calls memory's own function.
Whoever injects faults replaces a function of one port; the device knows nothing of it, and pays
nothing while nobody does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from smmu_emu.memory import PhysicalMemory
from smmu_emu.transaction import Fault, Transaction, Translation

DMA_PAGE_LG2 = 12


class MemoryPort:
    """One named way of one device into physical memory.

    Functions mean what they mean in `PhysicalMemory`: None and False are external aborts.
    """

    __slots__ = ("name", "read", "read_u64", "write", "write_u64")

    def __init__(self, name: str, memory: PhysicalMemory) -> None:
        self.name = name
        self.read: Callable[[int, int], bytes | None] = memory.read
        self.write: Callable[[int, bytes], bool] = memory.write
        self.read_u64: Callable[[int], int | None] = memory.read_u64
        self.write_u64: Callable[[int, int], bool] = memory.write_u64


class Translator(Protocol):
    """A translation unit, as its clients see it."""

    def translate(self, transaction: Transaction) -> Translation | Fault: ...


class DmaPort:
    """A DMA master's way into memory: each page of a transfer is one transaction.

    ``transactions`` counts them; ``last_fault`` is the fault that ended the last transfer, or None.
    Without a translator (None) addresses are physical.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        translator: Translator | None,
        stream_id: int,
        name: str = "dma",
    ) -> None:
        self.memory = MemoryPort(name, memory)
        self.translator = translator
        self.stream_id = stream_id
        self.transactions = 0
        self.last_fault: Fault | None = None

    def reset(self) -> None:
        """Forget what was counted."""
        self.transactions = 0
        self.last_fault = None

    def read(
        self, iova: int, size: int, *, privileged: bool = False, substream_id: int | None = None
    ) -> bytes | None:
        """Read ``size`` bytes; None if any part was aborted (see ``last_fault``)."""
        parts = []
        for start, length in _pages(iova, size):
            pa = self._translate(start, False, privileged, substream_id)
            data = None if pa is None else self.memory.read(pa, length)
            if data is None:
                return None
            parts.append(data)
        return b"".join(parts)

    def write(
        self, iova: int, data: bytes, *, privileged: bool = False, substream_id: int | None = None
    ) -> bool:
        """Write ``data``; False if any part was aborted (earlier pages stay written)."""
        done = 0
        for start, length in _pages(iova, len(data)):
            pa = self._translate(start, True, privileged, substream_id)
            if pa is None or not self.memory.write(pa, data[done : done + length]):
                return False
            done += length
        return True

    def _translate(
        self, iova: int, write: bool, privileged: bool, substream_id: int | None
    ) -> int | None:
        self.transactions += 1
        self.last_fault = None
        if self.translator is None:
            return iova
        result = self.translator.translate(
            Transaction(self.stream_id, iova, write, privileged, False, substream_id)
        )
        if isinstance(result, Fault):
            self.last_fault = result
            return None
        return result.pa


def _pages(iova: int, size: int) -> list[tuple[int, int]]:
    """Split a transfer at 4 KiB borders: (address, length) of each part, addresses modulo 2^64."""
    page = 1 << DMA_PAGE_LG2
    parts = []
    while size > 0:
        length = min(size, page - (iova & page - 1))
        parts.append((iova & 0xFFFF_FFFF_FFFF_FFFF, length))
        iova += length
        size -= length
    return parts
