# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver of one virtio function on a PCIe host, which does what tests tell it, right or wrong.

Offsets and bits are literals from the specification (1.2: 2.7, 4.1.4), not the product's.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack, unpack

from smmu_emu.devices.pcie_host import PcieHost
from smmu_emu.devices.reporter import Report
from smmu_emu.devices.virtio.pci import VirtioPci
from smmu_emu.memory import PhysicalMemory

RAM, RAM_SIZE = 0x4000_0000, 16 << 20
DATA = RAM + 0x10_0000
APERTURE, BAR1, BAR4 = 0x1000_0000, 0x1000_0000, 0x1001_0000
MESSAGES = RAM + 0x20_0000
"""Where the messages of all vectors go, 4 bytes each."""
NEXT, WRITE = 1, 2
VERSION_1, PLATFORM = 1 << 32, 1 << 33
COMMON, ISR, DEVICE, NOTIFY = 0x0000, 0x1000, 0x2000, 0x3000
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64
QUEUE_SIZE = 8


class PciDriver:
    """RAM, a host and a function; ``told`` is what the function reported."""

    def __init__(self, make: Callable[[Report], VirtioPci]) -> None:
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, RAM_SIZE)
        self.told: list[str] = []
        self.host = PcieHost(self.memory, None)
        self.function = make(lambda offset, kind: self.told.append(kind))
        self.host.add(self.function)
        self.aperture = self.host.aperture(APERTURE)
        self.available: dict[int, int] = {}
        self.open()

    def open(self) -> None:
        """Give the BARs addresses, and let the function work."""
        self.config_write(0x14, 4, BAR1)
        self.config_write(0x20, 4, BAR4)
        self.config_write(0x24, 4, 0)
        self.config_write(0x04, 2, 6)

    def config_read(self, offset: int, size: int) -> int:
        return self.host.ecam.read(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        self.host.ecam.write(offset, size, value)

    def get(self, offset: int, size: int) -> int:
        value = self.aperture.read(BAR4 - APERTURE + offset, size)
        assert value is not None
        return value

    def put(self, offset: int, size: int, value: int) -> None:
        self.aperture.write(BAR4 - APERTURE + offset, size, value)

    # -- initialisation

    def features(self) -> int:
        self.put(0x00, 4, 0)
        low = self.get(0x04, 4)
        self.put(0x00, 4, 1)
        return low | self.get(0x04, 4) << 32

    def take_features(self, features: int) -> bool:
        for status in (0, ACKNOWLEDGE, ACKNOWLEDGE | DRIVER):
            self.put(0x14, 1, status)
        for half in (0, 1):
            self.put(0x08, 4, half)
            self.put(0x0C, 4, features >> 32 * half & 0xFFFF_FFFF)
        self.put(0x14, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK)
        return bool(self.get(0x14, 1) & FEATURES_OK)

    def start(self, features: int = VERSION_1 | PLATFORM, *, messages: bool = True) -> PciDriver:
        assert self.take_features(features)
        queues = self.get(0x12, 2)
        if messages:
            self.enable_messages(queues + 1)
        for number in range(queues):
            self.set_up_queue(number, number + 1 if messages else 0xFFFF)
        if messages:
            self.put(0x10, 2, 0)
        self.put(0x14, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
        return self

    def enable_messages(self, vectors: int) -> None:
        for vector in range(vectors):
            entry = pack("<QII", MESSAGES + 4 * vector, 0xC0DE_0000 + vector, 0)
            for at in range(0, 16, 4):
                word = int.from_bytes(entry[at : at + 4], "little")
                self.aperture.write(BAR1 - APERTURE + 16 * vector + at, 4, word)
        self.config_write(0x9A, 2, 0x8000)

    def set_up_queue(self, number: int, vector: int) -> None:
        self.put(0x16, 2, number)
        self.put(0x18, 2, QUEUE_SIZE)
        self.put(0x1A, 2, vector)
        for offset, address in zip((0x20, 0x28, 0x30), self.rings(number), strict=True):
            self.put(offset, 4, address & 0xFFFF_FFFF)
            self.put(offset + 4, 4, address >> 32)
        self.put(0x1C, 2, 1)
        self.available[number] = 0
        for ring in self.rings(number):
            self.memory.write(ring, bytes(0x1000))

    @staticmethod
    def rings(number: int) -> tuple[int, int, int]:
        base = RAM + 0x4000 * number
        return base, base + 0x1000, base + 0x2000

    # -- requests

    def describe(self, number: int, *rows: tuple[int, int, int, int]) -> None:
        """Write descriptors: address, length, flags, next."""
        table = b"".join(pack("<QIHH", *row) for row in rows)
        self.memory.write(self.rings(number)[0], table)

    def offer(self, number: int, *heads: int) -> None:
        """Make chains available and notify."""
        available = self.rings(number)[1]
        for head in heads:
            slot = self.available[number] % QUEUE_SIZE
            self.memory.write(available + 4 + 2 * slot, pack("<H", head))
            self.available[number] += 1
        self.memory.write(available + 2, pack("<H", self.available[number] & 0xFFFF))
        self.put(NOTIFY + 4 * number, 2, number)

    def used(self, number: int) -> list[tuple[int, int]]:
        """(head, written) of every request that is done."""
        ring = self.rings(number)[2]
        (index,) = unpack("<H", self.read(ring + 2, 2))
        return [unpack("<II", self.read(ring + 4 + 8 * (n % QUEUE_SIZE), 8)) for n in range(index)]

    def read(self, address: int, size: int) -> bytes:
        data = self.memory.read(address, size)
        assert data is not None
        return data

    def message(self, vector: int) -> int:
        """What came as a message of this vector, 0 for none; it is taken away."""
        (value,) = unpack("<I", self.read(MESSAGES + 4 * vector, 4))
        self.memory.write(MESSAGES + 4 * vector, bytes(4))
        return value
