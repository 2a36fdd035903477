# SPDX-License-Identifier: GPL-2.0-or-later
"""The ITS's tables in memory: devices, their interrupt translation tables (ITTs), collections.

Spec: Arm IHI 0069 5.2 (what the tables are for), 12.19 (GITS_BASER<n>, two-level tables). What an
entry looks like is the implementation's business; here each has 64 bits, and bit 0 tells that it is
valid. Nothing is cached. Tables lie in RAM; elsewhere accesses count as aborted.
"""

from __future__ import annotations

from smmu_emu.bits import Address, Bits, Word
from smmu_emu.port import MemoryPort

ENTRY = 8
"""Bytes of any entry."""
DEVICES, COLLECTIONS = 1, 4
"""GITS_BASER<n>.Type."""
_PAGE_LG2 = (12, 14, 16, 16)
_VALID_LEVEL1 = 1 << 63
_LEVEL1_ADDRESS = (1 << 52) - (1 << 12)


class GITS_BASER(Word, bits=64):  # noqa: N801 - the architecture's name
    """Where a table is. ``Size`` is in pages, less one."""

    Size = Bits(7, 0)
    Page_Size = Bits(9, 8)
    Shareability = Bits(11, 10)
    Physical_Address = Bits(47, 12)
    Entry_Size = Bits(52, 48)
    OuterCache = Bits(55, 53)
    Type = Bits(58, 56)
    InnerCache = Bits(61, 59)
    Indirect = Bits(62)
    Valid = Bits(63)


class Device(Word, bits=64):
    """An entry of the device table: an ITT for ``Size`` + 1 bits of EventID."""

    Valid = Bits(0)
    Size = Bits(5, 1)
    ITT = Address(51, 8)


class Collection(Word, bits=64):
    """An entry of the collection table: the processor that its interrupts go to."""

    Valid = Bits(0)
    Processor = Bits(31, 16)


class Event(Word, bits=64):
    """An entry of an ITT: an LPI and its collection."""

    Valid = Bits(0)
    INTID = Bits(31, 8)
    ICID = Bits(47, 32)


_CONSTANT = GITS_BASER.mask("Type", "Entry_Size")


class Table:
    """A table that GITS_BASER<n> describes, flat or of two levels."""

    def __init__(self, kind: int, port: MemoryPort) -> None:
        self._port = port
        self._constant = GITS_BASER.make(Type=kind, Entry_Size=ENTRY - 1).value
        self.value = self._constant

    def reset(self) -> None:
        """No table."""
        self.value = self._constant

    def set(self, value: int) -> None:
        """GITS_BASER<n> is written."""
        self.value = value & ~_CONSTANT | self._constant

    def read(self, index: int) -> int | None:
        """An entry; None if the table has no room for it, or memory does not answer."""
        at = self._address(index)
        return None if at is None else read(self._port, at)

    def write(self, index: int, entry: int) -> bool:
        """Store an entry; False where `read` gives None."""
        at = self._address(index)
        return at is not None and write(self._port, at, entry)

    def _address(self, index: int) -> int | None:
        baser = GITS_BASER(self.value)
        page_lg2 = _PAGE_LG2[baser.Page_Size]
        base, size = self._base(baser, page_lg2), baser.Size + 1 << page_lg2
        if not baser.Valid:
            return None
        if not baser.Indirect:
            return base + index * ENTRY if index * ENTRY < size else None
        page, within = divmod(index, (1 << page_lg2) // ENTRY)
        if page * 8 >= size:
            return None
        level1 = read(self._port, base + page * 8)
        if level1 is None or not level1 & _VALID_LEVEL1:
            return None
        return (level1 & _LEVEL1_ADDRESS & -(1 << page_lg2)) + within * ENTRY

    @staticmethod
    def _base(baser: GITS_BASER, page_lg2: int) -> int:
        """With pages of 64 KiB, bits [15:12] are bits [51:48] of the address."""
        address = baser.Physical_Address << 12
        if page_lg2 < 16:
            return address
        return address & ~0xF000 | (address & 0xF000) << 36


def read(port: MemoryPort, at: int) -> int | None:
    """A doubleword of RAM; None where there is none, or the access aborts."""
    return port.read_u64(at) if port.memory.find_ram(at, 8) else None


def write(port: MemoryPort, at: int, value: int) -> bool:
    """Store a doubleword in RAM; False where there is none, or the access aborts."""
    return bool(port.memory.find_ram(at, 8)) and port.write_u64(at, value)
