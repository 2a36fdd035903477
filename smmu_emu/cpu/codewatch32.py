# SPDX-License-Identifier: GPL-2.0-or-later
"""What `CodeWatch` looks for in A32 and T32 code: transfers that must not be executed.

Hooks on exactly those instructions end the slice before them (`trapped`). Inside an IT block the
engine does not end slices; there they are executed by the engine after all.
"""

from __future__ import annotations

from smmu_emu.cpu import abi
from smmu_emu.cpu.codewatch import CodeWatch
from smmu_emu.cpu.cp15 import must_be_watched
from smmu_emu.cpu.engine32 import Engine32
from smmu_emu.cpu.mmio import InstructionPlans
from smmu_emu.cpu.pace import Pace
from smmu_emu.memory import PhysicalMemory


class CodeWatch32(CodeWatch):
    """The translated code of an AArch32 core."""

    branch_to_self = b"\xfe\xff\xff\xea"

    def __init__(
        self, engine: Engine32, memory: PhysicalMemory, pace: Pace, plans: InstructionPlans
    ) -> None:
        from unicorn import unicorn_const

        self._hook_kind = unicorn_const.UC_HOOK_CODE
        self._callback = abi.InstructionBegins(self._begins)
        self._engine32 = engine
        self._sites: set[int] = set()
        self._new_sites: set[int] = set()
        self.trapped = False
        """The slice ended before an instruction that is not to be executed."""
        super().__init__(engine, memory, pace, plans)

    def take_trapped(self) -> bool:
        """Whether the slice ended so, once."""
        was, self.trapped = self.trapped, False
        return was

    def after_put_back(self) -> None:
        """The machine's state is another, and PC with it."""
        super().after_put_back()
        self.trapped = False

    @property
    def _found_something(self) -> bool:
        return bool(self._new_sites)

    def _look_at_code(self, va: int, code: bytes) -> None:
        thumb = self._engine32.in_thumb
        for at in range(0, len(code) - 3, 2 if thumb else 4):
            if thumb:
                first = int.from_bytes(code[at : at + 2], "little")
                word = first << 16 | int.from_bytes(code[at + 2 : at + 4], "little")
                watched = first >> 12 == 0b1110 and must_be_watched(word)
            else:
                watched = must_be_watched(int.from_bytes(code[at : at + 4], "little"))
            if watched and va + at not in self._sites:
                self._new_sites.add(va + at)
                self._unsettled = True

    def _settle_sites(self) -> None:
        for site in sorted(self._new_sites):
            self._engine.hook(self._hook_kind, self._callback, site, site)
        if self._new_sites:
            self._engine.drop_all_code()
        self._sites |= self._new_sites
        self._new_sites.clear()

    def _begins(self, _engine: object, va: int, _size: int, _user: object) -> None:
        """The engine is about to execute what is at ``va``; code there may be another by now."""
        try:
            word = self._engine32.instruction_word()
            if word is not None and must_be_watched(word):
                self.trapped = True
                self._engine.stop_before_instruction()
        except BaseException as error:
            self._pace.fail(error)
