# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk image: a file of whole sectors, written through, not at all, or beside it.

What the file cannot do while the machine runs (it shrinks, its medium fails) is an I/O error for
the guest, never an exception.
"""

from __future__ import annotations

import fcntl
import os
import stat
from enum import Enum

from smmu_emu.errors import ConfigurationError

SECTOR = 512
BUSES = ("mmio", "pci")


class DiskMode(Enum):
    """What becomes of the guest's writes."""

    READ_WRITE = "rw"
    """They go to the file."""
    READ_ONLY = "ro"
    """The guest is told that it cannot write."""
    SNAPSHOT = "snapshot"
    """They are kept in memory and forgotten with a reset of the machine."""


class Disk:
    """An open image; ``sectors`` of 512 bytes. ``bus`` is where its controller goes: mmio or pci.

    Raises: ConfigurationError if there is no such file, it is no disk image, or somebody writes it.
    """

    unsaved = ("_file",)

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: DiskMode = DiskMode.READ_WRITE,
        bus: str = "mmio",
    ) -> None:
        if bus not in BUSES:
            raise ConfigurationError(f"no bus {bus!r} for a disk: there is {' and '.join(BUSES)}")
        self.path = os.fspath(path)
        self.bus = bus
        self.mode = mode
        self._beside: dict[int, bytes] = {}
        writable = mode is DiskMode.READ_WRITE
        try:
            self._file = open(self.path, "r+b" if writable else "rb", buffering=0)  # noqa: SIM115
            status = os.fstat(self._file.fileno())
            size = os.lseek(self._file.fileno(), 0, os.SEEK_END)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigurationError(f"disk {self.path}: {reason}") from None
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise self._refuse("neither a file nor a block device")
        if not size or size % SECTOR:
            raise self._refuse(f"{size} bytes are no whole number of {SECTOR}-byte sectors")
        try:
            fcntl.flock(self._file, (fcntl.LOCK_EX if writable else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError:
            raise self._refuse("in use by another machine") from None
        self.sectors = size // SECTOR

    def _refuse(self, why: str) -> ConfigurationError:
        self._file.close()
        return ConfigurationError(f"disk {self.path}: {why}")

    @property
    def read_only(self) -> bool:
        """Whether the guest may not write."""
        return self.mode is DiskMode.READ_ONLY

    @property
    def writes_through(self) -> bool:
        """Whether what the guest writes goes to the file."""
        return self.mode is DiskMode.READ_WRITE

    def holds(self, sector: int, size: int) -> bool:
        """Whether ``size`` bytes from a sector are whole sectors of this disk."""
        return not size % SECTOR and sector + size // SECTOR <= self.sectors

    def read(self, sector: int, size: int) -> bytes | None:
        """``size`` bytes from a sector; None if the file did not give them."""
        try:
            data = os.pread(self._file.fileno(), size, sector * SECTOR)
        except (OSError, ValueError):
            return None
        if len(data) != size:
            return None
        return self._with_writes(sector, data) if self._beside else data

    def _with_writes(self, sector: int, data: bytes) -> bytes:
        mixed = bytearray(data)
        for offset in range(0, len(data), SECTOR):
            kept = self._beside.get(sector + offset // SECTOR)
            if kept is not None:
                mixed[offset : offset + SECTOR] = kept
        return bytes(mixed)

    def write(self, sector: int, data: bytes) -> bool:
        """Write whole sectors; False if the file did not take them."""
        if self.mode is DiskMode.SNAPSHOT:
            for offset in range(0, len(data), SECTOR):
                self._beside[sector + offset // SECTOR] = data[offset : offset + SECTOR]
            return True
        try:
            return os.pwrite(self._file.fileno(), data, sector * SECTOR) == len(data)
        except (OSError, ValueError):
            return False

    def flush(self) -> bool:
        """Bring to the medium what was written; False if that failed."""
        try:
            if self.mode is DiskMode.READ_WRITE:
                os.fsync(self._file.fileno())
        except (OSError, ValueError):
            return False
        return True

    def reset(self) -> None:
        """Forget what was written beside the file."""
        self._beside.clear()

    def close(self) -> None:
        """Close the file. Harmless when done already; accesses fail from then on."""
        self._file.close()
