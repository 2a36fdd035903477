# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn as an AArch64 core: models, system registers, what EL1 and EL2 see of memory.

Reference: DDI 0487 C5.3 (encodings of system registers), C5.4 (AT), D1.3 (exception levels).
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import MASK64, Execution
from smmu_emu.cpu.layout import find_layout
from smmu_emu.cpu.models import AARCH64_MODELS
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PhysicalMemory

MODELS = (*AARCH64_MODELS, "max")
"""Models in Unicorn's order. "max" runs no guests: some undefined instructions of its FP16 end the
process instead of being undefined.
"""
PC, SP = 32, 31
"""Indexes into `Engine.registers`, after X0 to X30."""
_STATE = 33
EL2H_MASKED, _EL3H_MASKED = 0x3C9, 0x3CD

SystemRegister = tuple[int, int, int, int, int]
"""A system register's encoding: op0, op1, CRn, CRm, op2."""
HCR_EL2: SystemRegister = (3, 4, 1, 1, 0)
SCR_EL3: SystemRegister = (3, 6, 1, 1, 0)
AT_S1E2R: SystemRegister = (1, 4, 7, 8, 0)
AT_S12E1R: SystemRegister = (1, 4, 7, 8, 4)


@cache
def _register_numbers() -> dict[str, int]:
    from unicorn import arm64_const

    prefix = "UC_ARM64_REG_"
    constants = vars(arm64_const).items()
    return {name[len(prefix) :]: number for name, number in constants if name.startswith(prefix)}


class Engine(Execution):
    """An AArch64 core in an engine of its own."""

    pc_index = PC

    def __init__(self, memory: PhysicalMemory, model: str, *, own_mmu: bool = True) -> None:
        if model not in MODELS:
            raise ConfigurationError(f"no core model {model!r}; there are {', '.join(MODELS)}")
        numbers, index = _register_numbers(), MODELS.index(model)
        super().__init__(memory, abi.open_engine(), index, numbers, own_mmu=own_mmu)
        self._cp_number = numbers["CP_REG"]
        self._system: dict[SystemRegister, tuple[abi.CpRegister, Any]] = {}
        registers = self._find_state(find_layout())
        self.registers: memoryview = (
            memoryview((ctypes.c_uint64 * 34).from_address(registers)).cast("B").cast("Q")
        )

    def skip_instruction(self) -> None:
        """Go on behind the instruction at PC."""
        self.registers[PC] = self.registers[PC] + 4 & MASK64

    @property
    def in_aarch32(self) -> bool:
        """Whether the core left AArch64 state, which nothing here can follow."""
        return not self.registers[_STATE] >> 32

    @property
    def level(self) -> int:
        """The present exception level."""
        return self.get("PSTATE") >> 2 & 3

    def get_system(self, register: SystemRegister) -> int:
        """A system register by its encoding, as it is stored."""
        cell, pointer = self._cell(register)
        error = self._lib.uc_reg_read(self._handle, self._cp_number, pointer)
        if error:
            abi.check(error, f"reading system register {register}")
        value: int = cell.value
        return value

    def set_system(self, register: SystemRegister, value: int) -> None:
        """Write a system register by its encoding. Also rebuilds the engine's cached flags."""
        cell, pointer = self._cell(register)
        cell.value = value
        error = self._lib.uc_reg_write(self._handle, self._cp_number, pointer)
        if error:
            abi.check(error, f"writing system register {register}")

    def _cell(self, register: SystemRegister) -> tuple[abi.CpRegister, Any]:
        known = self._system.get(register)
        if known is None:
            op0, op1, crn, crm, op2 = register
            cell = abi.CpRegister(crn, crm, op0, op1, op2, 0)
            known = self._system[register] = (cell, ctypes.byref(cell))
        return known

    def settle_state(self) -> None:
        """After a change of PSTATE or of everything: rebuild what the engine derives from it."""
        self.set_system(HCR_EL2, self.get_system(HCR_EL2))

    def memory_attributes(self, va: int) -> int:
        """The MAIR byte of a data address that EL1, or EL2 if the core is there, can read.

        Stage 2 included; 0 (Device-nGnRnE) with the MMU off.
        """
        deaf, self.deaf = self.deaf, True
        par = self.get("PAR_EL1")
        self.set_system(AT_S1E2R if self.level == 2 else AT_S12E1R, va)
        result = self.get("PAR_EL1")
        self.set("PAR_EL1", par)
        self.deaf = deaf
        return 0 if result & 1 else result >> 56

    def drop_physical_code(self, pa: int, size: int) -> None:
        """Forget translated code at a physical address, whatever maps it. Not while running.

        Unicorn asks for a virtual address. EL3's translation is off and nothing runs there, so
        seen from EL3 the two are the same, and no cached translation of others is in the way.
        """
        pstate = self.get("PSTATE")
        self.set("PSTATE", _EL3H_MASKED)
        self.settle_state()
        self._uc.ctl_remove_cache(pa, pa + size)
        self.set("PSTATE", pstate)
        self.settle_state()
