# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's fw_cfg: what firmware may ask the machine about itself, item by item.

Reference: docs/specs/fw_cfg.rst of QEMU 11. The traditional interface: a selector, big-endian, and
a data register that gives an item's bytes one after another. There is no DMA interface, and the
identification says so; there are no files and no kernel.
"""

from __future__ import annotations

from smmu_emu.devices.reporter import Report, ignore

DATA, DATA_SIZE, SELECTOR = 0x0, 8, 0x8
SIGNATURE, IDENTIFICATION, UUID, NOGRAPHIC, CORES = 0x00, 0x01, 0x02, 0x04, 0x05
KERNEL_SIZE, INITRD_SIZE, BOOT_MENU, MOST_CORES = 0x08, 0x0B, 0x0E, 0x0F
COMMAND_LINE_SIZE, SETUP_SIZE, FILES = 0x14, 0x17, 0x19
TRADITIONAL = 1

ITEMS = {
    SIGNATURE: b"QEMU",
    IDENTIFICATION: TRADITIONAL.to_bytes(4, "little"),
    UUID: bytes(16),
    NOGRAPHIC: bytes(2),
    CORES: b"\x01\x00",
    KERNEL_SIZE: bytes(4),
    INITRD_SIZE: bytes(4),
    BOOT_MENU: bytes(2),
    MOST_CORES: b"\x01\x00",
    COMMAND_LINE_SIZE: bytes(4),
    SETUP_SIZE: bytes(4),
    FILES: bytes(4),
}
"""Items by key; bytes after an item's end are zero, as are items that there are not."""


class FwCfg:
    """One fw_cfg; ``key`` is the item that is being read, ``position`` how far."""

    def __init__(self, report: Report = ignore) -> None:
        self.report = report
        self.key = self.position = 0

    def reset(self) -> None:
        """Power-on state."""
        self.key = self.position = 0

    def read(self, offset: int, size: int) -> int:
        """A read of the data register gives the next bytes, the first one lowest in memory."""
        if not offset >= DATA or offset + size > DATA + DATA_SIZE:
            self.report(offset, f"read of {size} bytes")
            return 0
        item = ITEMS.get(self.key, b"")
        data = item[self.position : self.position + size]
        self.position += size
        return int.from_bytes(data, "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """A write of the selector begins another item."""
        if offset != SELECTOR or size != 2:
            self.report(offset, f"write of {size} bytes")
            return
        self.key, self.position = int.from_bytes(value.to_bytes(2, "little"), "big"), 0
