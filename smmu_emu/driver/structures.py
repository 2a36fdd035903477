# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures in memory that the SMMU reads: placed, loaded, stored a doubleword at a time."""

from __future__ import annotations

from pgtable import TableMemory
from smmu_emu.driver.queues import DriverError

_SMALLEST = 64


class Structures:
    """A driver's share of memory: queues, tables of streams and contexts."""

    def __init__(self, memory: TableMemory) -> None:
        self.memory = memory

    def allocate(self, size: int) -> int:
        """Zeroed memory for ``size`` bytes; its address, aligned to as much.

        Raises: DriverError if there is none.
        """
        address = self.memory.alloc(_piece(size))
        if address is None:
            raise DriverError(f"no memory for {size:#x} bytes in {self.memory!r}")
        return address

    def place(self, data: bytes) -> int:
        """Put a structure into memory; its address, aligned to its size.

        Raises: DriverError if there is no memory.
        """
        address = self.allocate(len(data))
        self.store(address, data)
        return address

    def free(self, address: int, size: int) -> None:
        """Give back what `allocate` or `place` made of ``size`` bytes."""
        self.memory.free(address, _piece(size))

    def load(self, address: int, size: int) -> bytes:
        """``size`` bytes at an address."""
        offset = address - self.memory.base
        return bytes(self.memory.bytes[offset : offset + size])

    def store(self, address: int, data: bytes) -> None:
        """Store bytes at an address."""
        offset = address - self.memory.base
        self.memory.bytes[offset : offset + len(data)] = data

    def load_word(self, address: int) -> int:
        """The doubleword at an address."""
        return int.from_bytes(self.load(address, 8), "little")

    def store_words(self, address: int, data: bytes) -> None:
        """Store the doublewords that change, each at once, the one with V last."""
        for start in [*range(8, len(data), 8), 0]:
            if self.load(address + start, 8) != data[start : start + 8]:
                self.store(address + start, data[start : start + 8])


def _piece(size: int) -> int:
    """The power of two that holds ``size`` bytes, a cache line at least."""
    return 1 << max(size - 1, _SMALLEST - 1).bit_length()
