# SPDX-License-Identifier: GPL-2.0-or-later
"""What `CodeWatch` looks for in A64 code.

- System registers that the engine would answer with host time or would hang on: hooks on exactly
  those instructions cost nothing elsewhere.
- Whether PC is misaligned, which this engine does not check; and whether it left AArch64 state.

Reference: DDI 0487 C4.1 (MRS and MSR).
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.cpu import abi
from smmu_emu.cpu.codewatch import CodeWatch
from smmu_emu.cpu.engine import Engine
from smmu_emu.cpu.mmio import InstructionPlans
from smmu_emu.cpu.pace import Pace
from smmu_emu.memory import PhysicalMemory

_SYSTEM = b"\xd5"
"""The last byte of every system instruction."""
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


class CodeWatch64(CodeWatch):
    """The translated code of an AArch64 core."""

    branch_to_self = b"\x00\x00\x00\x14"

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

        self._on_read = abi.SystemInstruction(on_read), arm64_const.UC_ARM64_INS_MRS
        self._on_write = abi.SystemInstruction(on_write), arm64_const.UC_ARM64_INS_MSR
        self._hook_kind = unicorn_const.UC_HOOK_INSN
        self._sites: set[tuple[int, bool]] = set()
        self._new_sites: set[tuple[int, bool]] = set()
        self._odd_blocks: list[tuple[int, int]] = []
        super().__init__(engine, memory, pace, plans)

    def _is_odd(self, pc: int, size: int) -> bool:
        if self._engine.in_aarch32:
            return True
        if pc & 3:
            self.misaligned_pc = True
            self._odd_blocks.append((pc, size))
            self._unsettled = True
        return bool(pc & 3)

    @property
    def _found_something(self) -> bool:
        return bool(self._new_sites)

    def _look_at_code(self, va: int, code: bytes) -> None:
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

    def _settle_sites(self) -> None:
        for site, is_read in sorted(self._new_sites):
            callback, instruction = self._on_read if is_read else self._on_write
            self._engine.hook(self._hook_kind, callback, site, site, instruction)
            self._engine.drop_code(site, 4)
        self._sites |= self._new_sites
        self._new_sites.clear()
        for pc, size in self._odd_blocks:
            self._engine.drop_code(pc, size)
        self._odd_blocks.clear()
