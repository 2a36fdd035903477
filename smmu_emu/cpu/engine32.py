# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn as an AArch32 core: coprocessor registers, modes, what PL1 sees of memory.

The guest has PL0 and non-secure PL1. Hyp mode's registers are ours: by them accesses of the guest
trap that the engine must not execute.

A slice never ends inside an IT block: it goes on to the end of the block, and is counted so.

Reference: DDI 0406 (ARMv7-A) B1.3 (modes), B3.17 (coprocessor registers), B4.1.112 (PAR).
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.layout32 import find_layout32
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PhysicalMemory

MODELS32 = {"cortex-a15": "UC_CPU_ARM_CORTEX_A15"}
PC, LR, SP = 15, 14, 13
"""Indexes into `Engine32.registers`, after R0 to R12."""
MASK32 = (1 << 32) - 1
USER, FIQ, IRQ, SUPERVISOR, ABORT, HYP, UNDEFINED, SYSTEM = 0x10, 0x11, 0x12, 0x13, 0x17, 26, 27, 31
"""Modes, as CPSR.M has them."""
THUMB = 1 << 5
_MODE, _MONITOR = 0x1F, 0x16


class CoRegister(NamedTuple):
    """A register of coprocessor 15 by its encoding; ``wide`` are those of MRRC and MCRR."""

    crn: int
    opc1: int
    crm: int
    opc2: int
    wide: bool = False


def wide(opc1: int, crm: int) -> CoRegister:
    """A register of 64 bits, as MRRC and MCRR name it."""
    return CoRegister(0, opc1, crm, 0, True)


SCR = CoRegister(1, 0, 1, 0)
HCR = CoRegister(1, 4, 1, 0)
HSTR = CoRegister(1, 4, 1, 3)
CNTHCTL = CoRegister(14, 4, 1, 0)
CONTROL = CoRegister(1, 0, 0, 0)
PAR = CoRegister(7, 0, 4, 0)
PAR_WIDE = wide(0, 7)
TTBCR = CoRegister(2, 0, 0, 2)
ATS1CPR = CoRegister(7, 0, 8, 0)
_LONG_DESCRIPTORS = 1 << 31
_LONG_T32 = frozenset((0b11101, 0b11110, 0b11111))
"""The top five bits of T32 instructions of 32 bits."""


@cache
def _register_numbers() -> dict[str, int]:
    from unicorn import arm_const

    prefix = "UC_ARM_REG_"
    constants = vars(arm_const).items()
    return {name[len(prefix) :]: number for name, number in constants if name.startswith(prefix)}


class Engine32(Execution):
    """An AArch32 core in an engine of its own."""

    pc_index = PC
    address_mask = MASK32
    exceptions = frozenset((abi.EXCEPTION, abi.UNDEFINED))

    def __init__(self, memory: PhysicalMemory, model: str, *, own_mmu: bool = True) -> None:
        if model not in MODELS32:
            raise ConfigurationError(f"no core model {model!r}; there is {', '.join(MODELS32)}")
        from unicorn import arm_const

        numbers = _register_numbers()
        number: int = getattr(arm_const, MODELS32[model])
        super().__init__(memory, abi.open_engine32(), number, numbers, own_mmu=own_mmu)
        self._cp_number = numbers["CP_REG"]
        self._coprocessor: dict[CoRegister, tuple[abi.CoprocessorRegister, Any]] = {}
        self._overshot = 0
        registers = self._find_state(find_layout32())
        self.registers: memoryview = (
            memoryview((ctypes.c_uint32 * 16).from_address(registers)).cast("B").cast("I")
        )

    # -- executing

    def start(self, count: int) -> int:
        """Execute up to ``count`` instructions from PC, and to the end of an IT block."""
        self._overshot = 0
        start = self.registers[PC] | bool(self.cpsr & THUMB)
        error: int = self._lib.uc_emu_start(self._handle, start, 0, 0, count)
        self._overshot = not error and self.counters[0] > self.counters[1]
        return error

    @property
    def begun(self) -> int:
        """Instructions begun in this slice, the one that is executing included."""
        counter: int = self.counters[0]
        return counter - self._overshot

    @property
    def fault_status(self) -> int:
        """What goes into DFSR or IFSR for the last exception."""
        return self._fault_status.value

    # -- registers

    @property
    def cpsr(self) -> int:
        """CPSR."""
        return self.get("CPSR") & MASK32

    @property
    def in_thumb(self) -> bool:
        """Whether the core executes T32."""
        return bool(self.cpsr & THUMB)

    @property
    def mode(self) -> int:
        """CPSR.M."""
        return self.cpsr & _MODE

    @property
    def level(self) -> int:
        """The present privilege level: 0, 1, or 2 for Hyp mode."""
        return {USER: 0, HYP: 2, _MONITOR: 3}.get(self.mode, 1)

    def set_cpsr(self, value: int) -> None:
        """Write CPSR; another mode has another SP, LR and SPSR."""
        self.set("CPSR", value)
        self.settle_state()

    def instruction_word(self, va: int | None = None) -> int | None:
        """The instruction at ``va`` (None: at PC); None where nothing can be fetched.

        Of T32 the first halfword is the upper one, and the lower is 0 where there is no second.
        """
        at: int = self.registers[PC] if va is None else va
        low = self._halfword(at)
        if low is None:
            return None
        if self.in_thumb and low >> 11 not in _LONG_T32:
            return low << 16
        high = self._halfword(at + 2 & MASK32)
        if high is None:
            return None
        return low << 16 | high if self.in_thumb else high << 16 | low

    def _halfword(self, va: int) -> int | None:
        pa = self.translate(va, abi.PROT_EXEC)
        for ram in self._rams:
            if pa is not None and ram.base <= pa < ram.end:
                return int.from_bytes(ram.view[pa - ram.base : pa - ram.base + 2], "little")
        return None

    def skip_instruction(self) -> None:
        """Go on behind the instruction at PC."""
        short = self.in_thumb and (self._halfword(self.registers[PC]) or 0) >> 11 not in _LONG_T32
        self.registers[PC] = self.registers[PC] + (2 if short else 4) & MASK32

    def get_coprocessor(self, register: CoRegister) -> int:
        """A register of coprocessor 15, as it is stored."""
        cell, pointer = self._cell(register)
        error = self._lib.uc_reg_read(self._handle, self._cp_number, pointer)
        if error:
            abi.check(error, f"reading {register}")
        value: int = cell.value
        return value if register.wide else value & MASK32

    def set_coprocessor(self, register: CoRegister, value: int) -> None:
        """Write a register of coprocessor 15."""
        cell, pointer = self._cell(register)
        cell.value = value
        error = self._lib.uc_reg_write(self._handle, self._cp_number, pointer)
        if error:
            abi.check(error, f"writing {register}")

    def _cell(self, register: CoRegister) -> tuple[abi.CoprocessorRegister, Any]:
        known = self._coprocessor.get(register)
        if known is None:
            crn, opc1, crm, opc2, is_wide = register
            cell = abi.CoprocessorRegister(15, is_wide, 0, crn, crm, opc1, opc2, 0)
            known = self._coprocessor[register] = (cell, ctypes.byref(cell))
        return known

    def settle_state(self) -> None:
        """After a change of CPSR or of everything: rebuild what the engine derives from it."""
        self.set_coprocessor(HCR, self.get_coprocessor(HCR))

    # -- memory

    def memory_attributes(self, va: int) -> int:
        """A MAIR byte for a data address that PL1 can read: 0 is Strongly-ordered or Device.

        With short descriptors the engine does not tell, and 0 it is.
        """
        control, ttbcr = self.get_coprocessor(CONTROL), self.get_coprocessor(TTBCR)
        if not control & 1 or not ttbcr & _LONG_DESCRIPTORS:
            return 0
        deaf, self.deaf = self.deaf, True
        result = self.ask_mmu(ATS1CPR, va)
        self.deaf = deaf
        return 0 if result & 1 else result >> 56

    def ask_mmu(self, operation: CoRegister, va: int) -> int:
        """PAR after ATS1CPR or one like it; 64 bits with long descriptors. PAR stays as it was."""
        register = PAR_WIDE if self.get_coprocessor(TTBCR) & _LONG_DESCRIPTORS else PAR
        before = self.get_coprocessor(PAR_WIDE)
        self.set_coprocessor(operation, va)
        result = self.get_coprocessor(register)
        self.set_coprocessor(PAR_WIDE, before)
        return result

    def drop_physical_code(self, pa: int, size: int) -> None:
        """Forget translated code at a physical address, whatever maps it: here all code."""
        self.drop_all_code()
