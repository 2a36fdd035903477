# SPDX-License-Identifier: GPL-2.0-or-later
"""Flash as the core sees it: memory that it may execute, or registers, as the device says.

The engine has it mapped as memory until somebody writes to it. The instruction that does so is
undone, the flash becomes a window of registers, and the instruction is executed again. It stays a
window, which answers every load rightly but slowly, until the device shows its contents and the
core fetches from it, or has loaded from it for some time.

Code that stores into the bank that it is in cannot be fetched again after that: its store is done
here, and it goes on behind. Left out: such stores of pairs, and with a base that is written back.
"""

from __future__ import annotations

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.mmio import InstructionPlans, WindowPort
from smmu_emu.cpu.pace import Pace
from smmu_emu.memory import Rom, Window

_SLOW_LOADS = 64
"""So many, one after another without a store, and it is worth being memory again."""


class RomPort(WindowPort):
    """One bank of flash."""

    unsaved = ("_as_memory", "_stale", "_loads")

    def __init__(self, rom: Rom, engine: Execution, pace: Pace, plans: InstructionPlans) -> None:
        from unicorn import unicorn_const

        self._rom = rom
        self._as_memory = self._stale = False
        self._loads = 0
        self._own_store: tuple[int, int, int] | None = None
        """What code in this bank stores into it, which cannot be executed twice."""
        super().__init__(rom, engine, pace, plans)
        kind = unicorn_const.UC_HOOK_MEM_WRITE_PROT
        engine.hook(kind, abi.InvalidMemory(self._written), rom.base, rom.end - 1)
        rom.device.mode_changed = self._mode_changed

    def map(self) -> None:
        """Begin as memory, if the device shows its contents."""
        if self._rom.device.shows_contents:
            self._show_memory()
        else:
            super().map()

    def read(self, _engine: object, offset: int, size: int, _user: object) -> int:
        """A piece of a load."""
        self._loads += 1
        if self._loads >= _SLOW_LOADS:
            self._pace.interrupt()
        return super().read(_engine, offset, size, _user)

    def write(self, _engine: object, offset: int, size: int, value: int, _user: object) -> None:
        """A piece of a store."""
        self._loads = 0
        super().write(_engine, offset, size, value, _user)

    def settle(self) -> None:
        """Between slices: become registers or memory, if somebody asked for that."""
        if self._own_store is not None:
            offset, size, value = self._own_store
            self._own_store = None
            self._rom.device.write(offset, size, value)
            self._engine.skip_instruction()
        if self._stale:
            self._stale = False
            if self._as_memory:
                self._as_memory = False
                self._engine.unmap(self._rom.base, self._rom.size)
                super().map()
        elif self._loads >= _SLOW_LOADS:
            self._loads = 0
            self.execute(self._rom.base)

    def execute(self, pa: int) -> bool:
        """The core cannot fetch from there: become memory if that helps; whether it did."""
        rom = self._rom
        if self._as_memory or not rom.base <= pa < rom.end or not rom.device.shows_contents:
            return False
        self._engine.unmap(rom.base, rom.size)
        self._engine.drop_all_code()
        self._show_memory()
        return True

    def reset(self) -> None:
        """The device is as after power-on."""
        self._stale = False
        self.execute(self._rom.base)

    def after_put_back(self) -> None:
        """The device is as it was once, and its contents too."""
        self._stale = True
        self.settle()

    def _show_memory(self) -> None:
        self._as_memory = True
        self._engine.map_rom(self._rom.base, self._rom.size, self._rom.device.contents.host_address)

    def _mode_changed(self) -> None:
        """Somebody, the core or not, gave the device a command."""
        if self._as_memory:
            self._stale = True
            self._pace.interrupt()

    def _written(
        self, _engine: object, _kind: int, pa: int, size: int, value: int, _user: object
    ) -> bool:
        engine, rom = self._engine, self._rom
        if not engine.deaf:
            self._stale = True
            code = engine.translate(self._pace.pc, abi.PROT_EXEC)
            if code is not None and rom.base <= code < rom.end:
                self._own_store = (pa - rom.base, size, value & (1 << 8 * size) - 1)
            self._pace.repeat()
        return False


def port_of(window: Window, engine: Execution, pace: Pace, plans: InstructionPlans) -> WindowPort:
    """The port for a window, of flash or of another device."""
    if isinstance(window, Rom):
        return RomPort(window, engine, pace, plans)
    return WindowPort(window, engine, pace, plans)
