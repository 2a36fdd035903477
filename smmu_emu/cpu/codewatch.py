# SPDX-License-Identifier: GPL-2.0-or-later
"""What the core has translated: so that DMA into code is seen, and some instructions are watched.

The engine announces each block of code that it translates, before the block first executes. From
that this room knows

- which memory holds code. A write there by anyone but the core drops what was translated from it,
  before the next instruction executes: no instruction cache, no maintenance needed.
- where system registers are accessed that the engine would answer with host time or would hang on.
  Hooks on exactly those instructions cost nothing elsewhere.
- whether PC is misaligned, which this engine does not check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smmu_emu.cpu import abi
from smmu_emu.cpu.engine import PC, Engine
from smmu_emu.cpu.mmio import InstructionPlans
from smmu_emu.cpu.pace import Pace
from smmu_emu.memory import PAGE, PhysicalMemory

_LINE_LG2 = 6
_MUCH = 64 << 10
"""Writes longer than this, in bytes, are not looked at line by line."""

_SYSTEM = b"\xd5"
"""The last byte of every system instruction."""
_BRANCH_TO_SELF = b"\x00\x00\x00\x14"
_READ = 1 << 21
"""In MRS, not in MSR."""


def _is_watched(word: int) -> bool:
    """MRS and MSR of the system registers that `SystemRegisters` answers."""
    op0, op1, crn, crm = word >> 19 & 3, word >> 16 & 7, word >> 12 & 15, word >> 8 & 15
    if op0 == 2:  # debug
        return True
    if op0 != 3:
        return False
    if op1 == 3:  # performance monitors, timers
        return crn in (9, 14)
    if op1 == 4:  # EL2's timers
        return crn == 14
    return op1 == 0 and ((crn == 0 and crm in (4, 5)) or (crn == 9 and crm == 14))


class CodeWatch:
    """The core's translated code: what it covers and what in it is hooked.

    All of it follows the engine, whose code stays when a machine's state is put back.
    """

    unsaved = ("*",)

    def __init__(
        self,
        engine: Engine,
        memory: PhysicalMemory,
        pace: Pace,
        plans: InstructionPlans,
        on_read: Callable[..., int],
        on_write: Callable[..., int],
    ) -> None:
        from unicorn import arm64_const, unicorn_const

        self._engine = engine
        self._memory = memory
        self._pace = pace
        self._plans = plans
        self._on_read = abi.SystemInstruction(on_read), arm64_const.UC_ARM64_INS_MRS
        self._on_write = abi.SystemInstruction(on_write), arm64_const.UC_ARM64_INS_MSR
        self._hook_kind = unicorn_const.UC_HOOK_INSN
        self._lines: set[int] = set()
        self._pages: dict[int, int] = {}
        self._sites: set[tuple[int, bool]] = set()
        self._new_sites: set[tuple[int, bool]] = set()
        self._written: list[tuple[int, int]] = []
        self._odd_blocks: list[tuple[int, int]] = []
        self._unsettled = False
        self.misaligned_pc = False
        """The slice ended because PC is not a multiple of 4."""
        self._execute_a_first_block()
        engine.hook(unicorn_const.UC_HOOK_EDGE_GENERATED, abi.BlockMade(self._block_made))

    def _execute_a_first_block(self) -> None:
        """The engine announces a block only when another was executed before: let that be ours."""
        if self._memory.rams:
            ram = self._memory.rams[0]
            before = bytes(ram.view[:4])
            ram.view[:4] = _BRANCH_TO_SELF
            self._engine.registers[PC] = ram.base
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
            if self._engine.in_aarch32:
                self._engine.stop_before_block()
                return
            if pc & 3:
                self.misaligned_pc = True
                self._odd_blocks.append((pc, size))
                self._unsettled = True
                self._engine.stop_before_block()
                return
            pa = self._engine.translate(pc, abi.PROT_EXEC)
            if pa is not None:
                self._look(pc, size, pa)
            if self._new_sites:
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
        ram = self._memory.find_ram(pa, size)
        if ram is None:
            return
        self._memory.code_frames.add(pa // PAGE)
        self._lines.update(range(pa >> _LINE_LG2, (pa + size - 1 >> _LINE_LG2) + 1))
        offset = pa - ram.base
        code = bytes(ram.view[offset : offset + size])
        at = code.find(_SYSTEM)
        while at >= 0:
            if at & 3 == 3:
                self._look_at_system(va + at - 3, int.from_bytes(code[at - 3 : at + 1], "little"))
            at = code.find(_SYSTEM, at + 1)

    def _look_at_system(self, va: int, word: int) -> None:
        site = va, bool(word & _READ)
        if _is_watched(word) and site not in self._sites:
            self._new_sites.add(site)
            self._unsettled = True

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
        for site, is_read in sorted(self._new_sites):
            callback, instruction = self._on_read if is_read else self._on_write
            self._engine.hook(self._hook_kind, callback, site, site, instruction)
            self._engine.drop_code(site, 4)
        self._sites |= self._new_sites
        self._new_sites.clear()
        for pc, size in self._odd_blocks:
            self._engine.drop_code(pc, size)
        self._odd_blocks.clear()
        for pa, size in self._written:
            self._engine.drop_physical_code(pa, size)
        if self._written:
            self._plans.forget()
            self._written.clear()
