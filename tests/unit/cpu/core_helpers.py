# SPDX-License-Identifier: GPL-2.0-or-later
"""A core with RAM and one device, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smmu_emu.clock import Clock
from smmu_emu.cpu.aarch64 import Aarch64Core
from smmu_emu.cpu.exit import ExitInfo
from smmu_emu.memory import PhysicalMemory
from tests.unit.cpu import a64

RAM = 0x4000_0000
RAM_SIZE = 16 << 20
DEVICE = 0x0900_0000
NOWHERE = 0x2000_0000
VECTORS = RAM + 0x1_0000
TABLES = RAM + 0x10_0000
STOP = a64.SPIN


class RecordingDevice:
    """Remembers accesses, and the core's PC at each; ``answer`` and ``effect`` decide the rest."""

    def __init__(self) -> None:
        self.accesses: list[tuple[str, int, int, int]] = []
        self.pcs: list[int] = []
        self.answer: int | None = 0x8877_6655_4433_2211
        self.refuse = False
        self.effect: Callable[[int], None] = lambda offset: None
        self.core: Aarch64Core | None = None

    def read(self, offset: int, size: int) -> int | None:
        self._note("read", offset, size, 0)
        return None if self.refuse else self.answer

    def write(self, offset: int, size: int, value: int) -> bool | None:
        self._note("write", offset, size, value)
        return not self.refuse

    def _note(self, kind: str, offset: int, size: int, value: int) -> None:
        self.accesses.append((kind, offset, size, value))
        if self.core is not None:
            self.pcs.append(self.core.pc)
        self.effect(offset)


class Board:
    """RAM, a recording device and a core that is about to execute ``words`` at RAM's base."""

    def __init__(self, *words: int | list[int], **options: Any) -> None:
        self.memory = PhysicalMemory()
        self.ram = self.memory.add_ram(RAM, RAM_SIZE)
        self.device = RecordingDevice()
        self.memory.add_device(DEVICE, 0x1000, self.device, "device")
        self.clock = Clock()
        self.console = bytearray()
        self.reports: list[tuple[str, int]] = []
        self.core = Aarch64Core(
            self.memory,
            self.clock,
            console=self.console.extend,
            unmodelled=lambda what, pc: self.reports.append((what, pc)),
            **options,
        )
        self.device.core = self.core
        self.put(RAM, *words)
        self.core.reset(RAM)

    def put(self, address: int, *words: int | list[int]) -> None:
        """Write instructions into RAM before they are executed."""
        data = a64.code(*words)
        self.ram.view[address - RAM : address - RAM + len(data)] = data

    def word64(self, address: int) -> int:
        """A 64-bit word of RAM."""
        return self.ram.words[(address - RAM) // 8]

    def run(self, max_instructions: int | None = 10_000) -> ExitInfo:
        return self.core.run(max_instructions)

    def catch(self, *handler: int | list[int]) -> None:
        """Vectors whose current-level synchronous entry is ``handler``, by default a spin."""
        self.put(VECTORS + 0x200, *(handler or (STOP,)))
        self.core.write("VBAR_EL1", VECTORS)

    def map(self, blocks: dict[int, tuple[int, int]]) -> None:
        """Turn the MMU on with 2 MiB blocks: virtual address to (physical address, attributes).

        Attribute index 0 is Device-nGnRnE, 1 is Normal write-back. 39 bits of address.
        """
        ram = self.ram
        tables: dict[int, int] = {}
        for va, (pa, index) in blocks.items():
            top = va >> 30
            if top not in tables:
                tables[top] = TABLES + 0x1000 * (len(tables) + 1)
                ram.words[(TABLES - RAM) // 8 + top] = tables[top] | 3
            entry = (tables[top] - RAM) // 8 + (va >> 21 & 511)
            ram.words[entry] = pa | 0x701 | index << 2
        core = self.core
        core.write("MAIR_EL1", 0xFF00)
        core.write("TTBR0_EL1", TABLES)
        core.write("TCR_EL1", 25 | 1 << 23 | 2 << 32)
        core.write("SCTLR_EL1", core.read("SCTLR_EL1") | 1)
        core._engine.flush_tlb()
