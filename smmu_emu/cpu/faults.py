# SPDX-License-Identifier: GPL-2.0-or-later
"""Data accesses to physical addresses where nobody answers.

The engine ends the slice before the instruction has any effect, and tells the physical address. The
instruction tells the virtual one: the byte of its access with the same offset into a page.
"""

from __future__ import annotations

from smmu_emu.cpu import abi
from smmu_emu.cpu.engine import PC, Engine
from smmu_emu.cpu.mmio import InstructionPlans
from smmu_emu.memory import PhysicalMemory

_WRITE_UNMAPPED = 20


class MemoryFaults:
    """Remembers the access that nobody answered, until the slice has ended."""

    def __init__(self, engine: Engine, memory: PhysicalMemory, plans: InstructionPlans) -> None:
        from unicorn import unicorn_const

        self._engine = engine
        self._memory = memory
        self._plans = plans
        self._is_write = False
        self._pa = 0
        kinds = unicorn_const.UC_HOOK_MEM_READ_UNMAPPED | unicorn_const.UC_HOOK_MEM_WRITE_UNMAPPED
        engine.hook(kinds, abi.InvalidMemory(self._nobody))

    def _nobody(
        self, _engine: object, kind: int, pa: int, _size: int, _value: int, _user: object
    ) -> bool:
        self._is_write = kind == _WRITE_UNMAPPED
        self._pa = pa
        return False

    def take(self) -> tuple[bool, int | None]:
        """Whether it was a write, and its virtual address, None where that cannot be told."""
        self._memory.unanswered(self._pa, "write" if self._is_write else "read")
        access = self._plans.at(self._engine.registers[PC])[3]
        return self._is_write, self._plans.virtual(access, self._pa)
