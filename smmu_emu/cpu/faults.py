# SPDX-License-Identifier: GPL-2.0-or-later
"""Data accesses to physical addresses where nobody answers: synchronous external aborts.

The engine tells the physical address; the instruction tells the virtual one. Nothing of the
instruction may stay: some of them go on for a while after a store that nobody took.

Reference: DDI 0487 D1.4.2.1 (FAR and FnV of external aborts), D24.2 (ESR_EL1, data aborts).
"""

from __future__ import annotations

from smmu_emu.cpu import abi
from smmu_emu.cpu.exceptions import EXTERNAL_ABORT, WRITE_NOT_READ
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.mmio import InstructionPlans
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.memory import PhysicalMemory

_WRITE_UNMAPPED = 20


class MemoryFaults:
    """Turns the engine's complaints about unmapped memory into aborts of the guest."""

    def __init__(
        self, engine: Execution, memory: PhysicalMemory, pace: Pace, plans: InstructionPlans
    ) -> None:
        from unicorn import unicorn_const

        self._engine = engine
        self._memory = memory
        self._pace = pace
        self._plans = plans
        kinds = unicorn_const.UC_HOOK_MEM_READ_UNMAPPED | unicorn_const.UC_HOOK_MEM_WRITE_UNMAPPED
        engine.hook(kinds, abi.InvalidMemory(self._nobody))

    def _nobody(
        self, _engine: object, kind: int, pa: int, _size: int, _value: int, _user: object
    ) -> bool:
        if self._engine.deaf:
            return False
        try:
            write = kind == _WRITE_UNMAPPED
            self._memory.unanswered(pa, "write" if write else "read")
            access = self._plans.at(self._engine.pc)[3]
            iss = EXTERNAL_ABORT | (WRITE_NOT_READ if write else 0)
            far = self._plans.virtual(access, pa)
            self._pace.cancel(PendingException(data_abort=True, iss=iss, far=far))
        except BaseException as error:
            self._pace.fail(error)
        return False
