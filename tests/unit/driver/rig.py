# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine and a driver on it, with a window between them that sees what the driver does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pgtable import Arena
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS, IdRegisters
from smmu_emu.smmuv3.device import Delays, Smmuv3

RAM = 0x4000_0000
TABLES_AT, TABLES_SIZE = 0x4800_0000, 4 << 20
TARGET = 0x5000_0000
SID = 0x8

CMDQ_PROD, GERROR, EVENTQ_PROD = 0x98, 0x60, 0x100A8

QEMU = PRESETS["qemu"]
RIL, ASID16 = 1 << 10, 1 << 12
WITHOUT_RANGES = replace(QEMU, idr3=QEMU.idr3 & ~RIL)
SMALL_ASIDS = replace(QEMU, idr0=QEMU.idr0 & ~ASID16)


class Window:
    """The registers, with a tally of commands and a place for a fault."""

    def __init__(self, smmu: Smmuv3) -> None:
        self.smmu = smmu
        self.answer: Callable[[int, int], int] = smmu.read
        self.on_doorbell: Callable[[], None] | None = None

    def read(self, offset: int, size: int) -> int:
        return self.answer(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self.smmu.write(offset, size, value)
        if offset == CMDQ_PROD and self.on_doorbell is not None:
            self.on_doorbell()


class Rig:
    """``driver`` is what a test is about; ``counts`` the commands consumed since it was set up."""

    def __init__(
        self, ids: IdRegisters = QEMU, delays: Delays | None = None, **options: Any
    ) -> None:
        from smmu_emu.driver import Smmuv3Driver

        self.machine = Machine.virt(ram=512 << 20, smmu_ids=ids)
        self.smmu = self.machine.smmu
        if delays is not None:
            self.smmu.delays = delays
        self.arena = Arena(TABLES_AT, TABLES_SIZE, self.machine.ram.view[TABLES_AT - RAM :])
        self.window = Window(self.smmu)
        self.driver = Smmuv3Driver(self.window, self.arena, **options)
        self._before = Counter(self.smmu.commands.consumed)

    @property
    def counts(self) -> dict[str, int]:
        """Commands by name, those of the set-up left out."""
        from smmu_emu.smmuv3.spec.command import Opcode

        consumed = self.smmu.commands.consumed - self._before
        return {Opcode(opcode).name: count for opcode, count in sorted(consumed.items())}

    def mark(self) -> None:
        """Count from here."""
        self._before = Counter(self.smmu.commands.consumed)
