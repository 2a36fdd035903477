# SPDX-License-Identifier: GPL-2.0-or-later
"""A GICv3 on 16 MiB of RAM, for tests: registers, tables, commands."""

from __future__ import annotations

import struct

from smmu_emu.devices.gicv3 import Gicv3
from smmu_emu.memory import PhysicalMemory
from smmu_emu.system_registers import Outcome

RAM = 0x4000_0000
CONFIGURATION, PENDING = RAM + 0x10_0000, RAM + 0x20_0000
QUEUE, DEVICES, COLLECTIONS, ITT = (RAM + n * 0x10_0000 for n in (3, 4, 5, 6))
SGI = 0x1_0000
VALID = 1 << 63

PMR = (3, 0, 4, 6, 0)
IAR0, EOIR0, HPPIR0, BPR0 = ((3, 0, 12, 8, n) for n in range(4))
IAR1, EOIR1, HPPIR1, BPR1, CTLR, SRE, IGRPEN0, IGRPEN1 = ((3, 0, 12, 12, n) for n in range(8))
DIR, RPR, SGI1R, SGI0R = ((3, 0, 12, 11, n) for n in (1, 3, 5, 7))
AP0R0, AP1R0 = (3, 0, 12, 8, 4), (3, 0, 12, 9, 0)


class Rig:
    """Group 1 is on and passes every priority, all interrupts are in it; ``d``, ``r``, ``c`` and
    ``its`` access distributor, redistributor, CPU interface and ITS."""

    def __init__(self, *, on: bool = True) -> None:
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, 16 << 20)
        self.reported: list[tuple[str, int, str]] = []
        self.gic = Gicv3(
            self.memory,
            lambda part: lambda offset, kind: self.reported.append((part, offset, kind)),
        )
        self.queued = 0
        if on:
            self.d(0x000, 0x2)
            self.r(0x14, 0)
            self.c(PMR, 0xFF)
            self.c(IGRPEN1, 1)
            self.r(SGI + 0x80, 0xFFFF_FFFF)
            for word in range(1, 9):
                self.d(0x80 + 4 * word, 0xFFFF_FFFF)

    def d(self, offset: int, value: int | None = None, size: int = 4) -> int:
        if value is None:
            return self.gic.distributor.read(offset, size)
        self.gic.distributor.write(offset, size, value)
        return 0

    def r(self, offset: int, value: int | None = None, size: int = 4) -> int:
        if value is None:
            return self.gic.redistributor.read(offset, size)
        self.gic.redistributor.write(offset, size, value)
        return 0

    def its(self, offset: int, value: int | None = None, size: int = 8) -> int:
        if value is None:
            return self.gic.its.read(offset, size)
        self.gic.its.write(offset, size, value)
        return 0

    def c(self, register: tuple[int, int, int, int, int], value: int | None = None) -> int:
        if value is None:
            got = self.gic.cpu.read_system(register, 1, 0)
            assert isinstance(got, int)
            return got
        assert self.gic.cpu.write_system(register, 1, 0, value) is Outcome.DONE
        return 0

    def enable(self, number: int, priority: int = 0x80, *, edge: bool = False) -> None:
        """An SPI."""
        self.d(0x100 + number // 32 * 4, 1 << number % 32)
        self.d(0x400 + number, priority, 1)
        if edge:
            self.d(0xC00 + number // 16 * 4, 2 << number % 16 * 2)

    def wire(self, number: int, level: bool) -> None:
        self.gic.ppi(number)(level)

    @property
    def irq(self) -> bool:
        return self.gic.cpu.irq.level

    @property
    def fiq(self) -> bool:
        return self.gic.cpu.fiq.level

    # -- LPIs and the ITS

    def configure(self, lpi: int, configuration: int) -> None:
        """A byte of the configuration table."""
        self.memory.write(CONFIGURATION + lpi - 8192, bytes([configuration]))

    def enable_lpis(self) -> None:
        self.r(0x70, CONFIGURATION | 15, 8)
        self.r(0x78, PENDING | 1 << 62, 8)
        self.r(0x00, 1)

    def enable_its(self) -> None:
        """A queue of 4 KiB, a flat device table and a flat collection table of 4 KiB."""
        self.its(0x100, VALID | DEVICES)
        self.its(0x108, VALID | COLLECTIONS)
        self.its(0x80, VALID | QUEUE)
        self.its(0x00, 1, 4)

    def command(self, *words: int) -> None:
        """Put a command in the queue, and let it be executed."""
        words += (0,) * (4 - len(words))
        self.memory.write(QUEUE + self.queued, struct.pack("<4Q", *words))
        self.queued = (self.queued + 32) % 0x1000
        self.its(0x88, self.queued)

    def map(self, device: int, event: int, lpi: int, itt: int = ITT) -> None:
        """MAPD with 5 bits of EventID, MAPC of collection 3 to processor 0, MAPTI."""
        self.command(device << 32 | 0x08, 4, VALID | itt)
        self.command(0x09, 0, VALID | 3)
        self.command(device << 32 | 0x0A, lpi << 32 | event, 3)

    def ring(self, device: int, event: int, size: int = 4) -> bool:
        data = event.to_bytes(size, "little")
        return self.gic.its.translation.ring(0x40, data, device)
