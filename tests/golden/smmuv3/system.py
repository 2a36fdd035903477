# SPDX-License-Identifier: GPL-2.0-or-later
"""The physical memory behind the recorded SMMU: RAM, and the windows that answer without RAM.

RAM is sparse, zero until written. Flash reads as zero; the PCIe windows read as all ones and
swallow writes. Everything else is unassigned: an access there is an external abort.
"""

from __future__ import annotations

RAM_BASE = 0x4000_0000
RAM_END = 0x6000_0000
PAGE = 0x1000

FLASH_END = 0x0800_0000
PCIE_WINDOWS = (
    (0x1000_0000, 0x3F00_0000),  # MMIO below 4 GiB, and the I/O window above it
    (0x40_1000_0000, 0x40_2000_0000),  # ECAM
    (0x80_0000_0000, 0x100_0000_0000),  # MMIO above 512 GiB
)


class SystemMemory:
    """Bytes by physical address."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    @staticmethod
    def is_ram(address: int) -> bool:
        """Say whether ``address`` is in RAM."""
        return RAM_BASE <= address < RAM_END

    @staticmethod
    def is_window(address: int) -> bool:
        """Say whether ``address`` answers without being RAM."""
        return address < FLASH_END or any(low <= address < high for low, high in PCIE_WINDOWS)

    def read(self, address: int, size: int) -> bytes | None:
        """Return ``size`` bytes, or None where the access is an external abort."""
        if not RAM_BASE <= address <= RAM_END - size:
            if not self.is_window(address):
                return None
            return bytes(size) if address < FLASH_END else b"\xff" * size
        offset = address & PAGE - 1
        if offset + size > PAGE:
            first = PAGE - offset
            head, tail = self.read(address, first), self.read(address + first, size - first)
            assert head is not None  # both are in RAM
            assert tail is not None
            return head + tail
        page = self._pages.get(address // PAGE)
        return bytes(size) if page is None else bytes(page[offset : offset + size])

    def read_u64(self, address: int) -> int | None:
        """Return the little-endian doubleword at ``address``, or None for an external abort."""
        raw = self.read(address, 8)
        return None if raw is None else int.from_bytes(raw, "little")

    def write(self, address: int, data: bytes) -> bool:
        """Store ``data``; False where the access is an external abort."""
        if not RAM_BASE <= address <= RAM_END - len(data):
            return self.is_window(address)
        while data:
            offset = address & PAGE - 1
            piece, data = data[: PAGE - offset], data[PAGE - offset :]
            page = self._pages.get(address // PAGE)
            if page is None:
                page = self._pages[address // PAGE] = bytearray(PAGE)
            page[offset : offset + len(piece)] = piece
            address += len(piece)
        return True
