# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-blk: a disk whose every transfer goes through the translation unit.

Spec: Virtual I/O Device 1.2, 5.2. Requests: read, write, flush, and the identification string; one
queue. Requests are done when the driver notifies, in no virtual time. A data buffer that the DMA
cannot reach ends its request with an I/O error; a header or a status byte that it cannot reach, or
that is not there, makes the device ask for a reset. Left out: discard, write zeroes, topology,
lifetime, zones, and requests of more than `LARGEST_REQUEST` bytes.
"""

from __future__ import annotations

from struct import pack, unpack

from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.devices.virtio.device import VirtioDevice
from smmu_emu.devices.virtio.disk import SECTOR, Disk
from smmu_emu.devices.virtio.queue import LARGEST, Broken, Chain

DEVICE_ID = 2
LARGEST_SEGMENT = 1 << 20
LARGEST_REQUEST = 16 << 20
"""Bytes; the driver is told of segments alone, and of how many of them."""

F_SIZE_MAX, F_SEG_MAX, F_RO, F_BLK_SIZE, F_FLUSH = 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 9

IN, OUT, FLUSH, GET_ID = 0, 1, 4, 8
"""Types of requests. Spec: 5.2.6."""
OK, IO_ERROR, UNSUPPORTED = 0, 1, 2
"""Status bytes. Spec: 5.2.6."""

_HEADER = 16
_ID_SIZE = 20


class VirtioBlock(VirtioDevice):
    """One disk. ``requests`` counts those that were done, by type."""

    def __init__(self, disk: Disk, report: Report = ignore, name: str = "virtio-blk") -> None:
        features = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH | (F_RO if disk.read_only else 0)
        super().__init__(DEVICE_ID, features, 1, report, name)
        self.disk = disk
        self.requests: dict[int, int] = {}
        self._configuration = (
            pack("<QII", disk.sectors, LARGEST_SEGMENT, LARGEST - 2)
            + bytes(4)  # geometry
            + pack("<I", SECTOR)
            + bytes(36)
        )

    def configuration(self) -> bytes:
        """Spec: 5.2.4."""
        return self._configuration

    def serve(self, chain: Chain) -> int | Broken:
        """One request. Spec: 5.2.6."""
        room = chain.writable.size - 1
        if chain.readable.size < _HEADER or room < 0:
            return Broken("a request without header or status byte")
        header = chain.readable.read(self.dma, 0, _HEADER)
        if header is None:
            return Broken("a request's header cannot be read")
        kind, _, sector = unpack("<IIQ", header)
        status, written = self._perform(kind, sector, chain, room)
        if not chain.writable.write(self.dma, room, bytes((status,))):
            return Broken("a request's status byte cannot be written")
        if status == OK:
            self.requests[kind] = self.requests.get(kind, 0) + 1
        return written + 1

    def _perform(self, kind: int, sector: int, chain: Chain, room: int) -> tuple[int, int]:
        """The status byte, and the number of data bytes written."""
        if kind == IN:
            return self._read(sector, chain, room)
        if kind == OUT:
            return self._write(sector, chain), 0
        if kind == FLUSH:
            return (OK if self.disk.flush() else IO_ERROR), 0
        if kind == GET_ID:
            return self._identify(chain, room)
        return UNSUPPORTED, 0

    def _read(self, sector: int, chain: Chain, size: int) -> tuple[int, int]:
        if size > LARGEST_REQUEST or not self.disk.holds(sector, size):
            return IO_ERROR, 0
        data = self.disk.read(sector, size)
        if data is None or not chain.writable.write(self.dma, 0, data):
            return IO_ERROR, 0
        return OK, size

    def _write(self, sector: int, chain: Chain) -> int:
        size = chain.readable.size - _HEADER
        if self.disk.read_only or size > LARGEST_REQUEST or not self.disk.holds(sector, size):
            return IO_ERROR
        data = chain.readable.read(self.dma, _HEADER, size)
        return OK if data is not None and self.disk.write(sector, data) else IO_ERROR

    def _identify(self, chain: Chain, room: int) -> tuple[int, int]:
        """Spec: 5.2.6.1, a string of 20 bytes, not terminated if it is that long."""
        name = self.name.encode()[:_ID_SIZE].ljust(_ID_SIZE, b"\0")
        if room < _ID_SIZE or not chain.writable.write(self.dma, 0, name):
            return IO_ERROR, 0
        return OK, _ID_SIZE

    def power_on(self) -> None:
        """As after power-on: what was written beside the file is forgotten too."""
        super().power_on()
        self.requests.clear()
        self.disk.reset()

    def close(self) -> None:
        """Close the image."""
        self.disk.close()
