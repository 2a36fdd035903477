# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver of one virtio-mmio disk that does what tests tell it, right or wrong.

Offsets and bits are literals from the specification (1.2: 4.2.2, 2.7), not the product's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from struct import pack, unpack

from smmu_emu.devices.virtio.block import VirtioBlock
from smmu_emu.devices.virtio.disk import Disk, DiskMode
from smmu_emu.devices.virtio.mmio import VirtioMmio
from smmu_emu.memory import PhysicalMemory
from smmu_emu.port import DmaPort

RAM, RAM_SIZE = 0x4000_0000, 16 << 20
DESCRIPTORS, AVAILABLE, USED = RAM, RAM + 0x1000, RAM + 0x2000
HEADER, STATUS_BYTE, DATA = RAM + 0x3000, RAM + 0x3100, RAM + 0x10000
NOWHERE = 0x1000
NEXT, WRITE, INDIRECT = 1, 2, 4
VERSION_1, PLATFORM, INDIRECT_FEATURE = 1 << 32, 1 << 33, 1 << 28
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64
SECTORS = 64


def contents() -> bytes:
    return b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(SECTORS * 16))


class Driver:
    """RAM, a disk of `SECTORS` sectors and its transport; ``told`` is what the device reported."""

    def __init__(self, folder: Path, mode: DiskMode = DiskMode.READ_WRITE, size: int = 8) -> None:
        self.path = folder / "disk.img"
        self.path.write_bytes(contents())
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, RAM_SIZE)
        self.told: list[str] = []
        self.dma = DmaPort(self.memory, None, 0)
        self.disk = Disk(self.path, mode)
        self.device = VirtioBlock(self.disk, self._tell)
        self.transport = VirtioMmio(self.device, self.dma, self._tell)
        self.size = size
        self.available = 0

    def _tell(self, offset: int, kind: str) -> None:
        self.told.append(kind)

    def get(self, offset: int, size: int = 4) -> int:
        value = self.transport.read(offset, size)
        assert value is not None
        return value

    def put(self, offset: int, value: int) -> None:
        self.transport.write(offset, 4, value)

    # -- initialisation, 3.1.1

    def features(self) -> int:
        self.put(0x14, 0)
        low = self.get(0x10)
        self.put(0x14, 1)
        return low | self.get(0x10) << 32

    def take_features(self, features: int) -> bool:
        """Negotiate; whether the device agreed."""
        self.put(0x70, 0)
        self.put(0x70, ACKNOWLEDGE)
        self.put(0x70, ACKNOWLEDGE | DRIVER)
        for half in (0, 1):
            self.put(0x24, half)
            self.put(0x20, features >> 32 * half & 0xFFFF_FFFF)
        self.put(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
        return bool(self.get(0x70) & FEATURES_OK)

    def start(self, features: int = VERSION_1 | PLATFORM | INDIRECT_FEATURE) -> Driver:
        assert self.take_features(features)
        self.set_up_queue()
        self.put(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
        self.available = 0
        self.memory.write(AVAILABLE, bytes(0x1000))
        self.memory.write(USED, bytes(0x1000))
        return self

    def set_up_queue(self) -> None:
        self.put(0x30, 0)
        self.put(0x38, self.size)
        for offset, address in ((0x80, DESCRIPTORS), (0x90, AVAILABLE), (0xA0, USED)):
            self.put(offset, address & 0xFFFF_FFFF)
            self.put(offset + 4, address >> 32)
        self.put(0x44, 1)

    # -- requests

    def describe(self, *rows: tuple[int, int, int, int], table: int = DESCRIPTORS) -> None:
        """Write descriptors: address, length, flags, next."""
        self.memory.write(table, b"".join(pack("<QIHH", *row) for row in rows))

    def offer(self, *heads: int) -> None:
        """Make chains available and notify."""
        for head in heads:
            self.memory.write(AVAILABLE + 4 + 2 * (self.available % self.size), pack("<H", head))
            self.available += 1
        self.memory.write(AVAILABLE + 2, pack("<H", self.available & 0xFFFF))
        self.put(0x50, 0)

    def request(self, kind: int, sector: int, length: int, *, write: bool, data: int = DATA) -> int:
        """One request of three descriptors; its status byte, 0xee if it was not written."""
        self.memory.write(HEADER, pack("<IIQ", kind, 0, sector))
        self.memory.write(STATUS_BYTE, b"\xee")
        self.describe(
            (HEADER, 16, NEXT, 1),
            (data, length, NEXT | (WRITE if write else 0), 2),
            (STATUS_BYTE, 1, WRITE, 0),
        )
        self.offer(0)
        return self.read(STATUS_BYTE, 1)[0]

    def read(self, address: int, size: int) -> bytes:
        data = self.memory.read(address, size)
        assert data is not None
        return data

    @property
    def used(self) -> list[tuple[int, int]]:
        """(head, written) of every request that is done."""
        (index,) = unpack("<H", self.read(USED + 2, 2))
        return [unpack("<II", self.read(USED + 4 + 8 * (n % self.size), 8)) for n in range(index)]

    @property
    def broken(self) -> bool:
        return bool(self.get(0x70) & NEEDS_RESET)
