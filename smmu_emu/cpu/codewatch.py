# SPDX-License-Identifier: GPL-2.0-or-later
"""What the core has translated: so that DMA into code is seen, and some instructions are watched.

The engine announces each block of code that it translates, before the block first executes. From
that this room knows

- which memory holds code. A write there by anyone but the core drops what was translated from it,
  before the next instruction executes: no instruction cache, no maintenance needed.
- what its instructions are: `codewatch64` and `codewatch32` look for those that the engine cannot
  be left to execute.
"""

from __future__ import annotations

from typing import Any

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.mmio import InstructionPlans
from smmu_emu.cpu.pace import Pace
from smmu_emu.memory import PAGE, PhysicalMemory

_LINE_LG2 = 6
_MUCH = 64 << 10
"""Writes longer than this, in bytes, are not looked at line by line."""


class CodeWatch:
    """The core's translated code: what it covers and what in it is hooked.

    All of it follows the engine, whose code stays when a machine's state is put back.
    """

    unsaved = ("*",)
    branch_to_self: bytes

    def __init__(
        self,
        engine: Execution,
        memory: PhysicalMemory,
        pace: Pace,
        plans: InstructionPlans,
    ) -> None:
        from unicorn import unicorn_const

        self._engine = engine
        self._memory = memory
        self._pace = pace
        self._plans = plans
        self._lines: set[int] = set()
        self._pages: dict[int, int] = {}
        self._written: list[tuple[int, int]] = []
        self._unsettled = False
        self.misaligned_pc = False
        """The slice ended because PC is not a multiple of 4, where it has to be."""
        self._execute_a_first_block()
        engine.hook(unicorn_const.UC_HOOK_EDGE_GENERATED, abi.BlockMade(self._block_made))

    def _execute_a_first_block(self) -> None:
        """The engine announces a block only when another was executed before: let that be ours."""
        if self._memory.rams:
            ram = self._memory.rams[0]
            before = bytes(ram.view[:4])
            ram.view[:4] = self.branch_to_self
            self._engine.registers[self._engine.pc_index] = ram.base
            self._engine.start(1)
            ram.view[:4] = before
            self._engine.drop_all_code()

    def reset(self) -> None:
        """Forget all code."""
        if self._lines:
            self._engine.drop_all_code()
        self._lines.clear()
        self._pages.clear()
        self._written.clear()
        self._plans.forget()
        self._plans.ambiguous = self.misaligned_pc = False

    def after_put_back(self) -> None:
        """The machine's state is another, and PC with it."""
        self.misaligned_pc = False

    def _block_made(self, _engine: object, block: Any, _previous: object, _user: object) -> None:
        try:
            pc, size = block[0].pc, block[0].size
            if self._is_odd(pc, size):
                self._engine.stop_before_block()
                return
            pa = self._engine.translate(pc, abi.PROT_EXEC)
            if pa is not None:
                self._look(pc, size, pa)
            if self._found_something:
                self._engine.stop_before_block()
        except BaseException as error:
            self._pace.fail(error)
            self._engine.stop_before_block()

    def _look(self, va: int, size: int, pa: int) -> None:
        """Take note of code at ``va``, which is ``pa`` and does not leave its page."""
        self._plans.forget()
        page = va & -PAGE
        if self._pages.setdefault(page, pa & -PAGE) != pa & -PAGE:
            self._plans.ambiguous = True
        ram = self._memory.find_code(pa, size)
        if ram is None:
            return
        self._memory.code_frames.add(pa // PAGE)
        self._lines.update(range(pa >> _LINE_LG2, (pa + size - 1 >> _LINE_LG2) + 1))
        offset = pa - ram.base
        self._look_at_code(va, bytes(ram.view[offset : offset + size]))

    def _is_odd(self, pc: int, size: int) -> bool:
        """Whether a block is none that may execute; it is dropped."""
        return False

    @property
    def _found_something(self) -> bool:
        """Whether a new block must not execute before `settle`."""
        return False

    def _look_at_code(self, va: int, code: bytes) -> None:
        """New code at ``va``."""

    def written(self, pa: int, size: int) -> None:
        """Somebody else wrote into a frame that holds code."""
        lines = range(pa >> _LINE_LG2, (pa + size - 1 >> _LINE_LG2) + 1)
        if size > _MUCH or not self._lines.isdisjoint(lines):
            self._written.append((pa, size))
            self._unsettled = True
            self._pace.interrupt()

    def settle(self) -> None:
        """Between slices: hook what was found, drop translations of what was written."""
        if not self._unsettled:
            return
        self._unsettled = False
        self._settle_sites()
        for pa, size in self._written:
            self._engine.drop_physical_code(pa, size)
        if self._written:
            self._plans.forget()
            self._written.clear()

    def _settle_sites(self) -> None:
        """Between slices: hook what `_look_at_code` found."""
