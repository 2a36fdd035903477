# SPDX-License-Identifier: GPL-2.0-or-later
"""An AArch32 core's own MMU, asked without running any code: ATS1C* as a function.

A witness for tables of short descriptors and of AArch32's long ones, as `at` is for AArch64's. With
short descriptors the engine tells addresses and faults alone: no memory attributes, and no address
bits of a supersection above 31; where their tables are outside of RAM it cannot be asked, and the
answer is made here.

Reference: DDI 0406 B3.5 (short descriptors), B3.6 (long descriptors), B3.13.3 (status codes),
B4.1.112 (PAR).
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.cpu.engine32 import CONTROL, TTBCR, CoRegister, Engine32, wide
from smmu_emu.memory import PhysicalMemory

_TTBR0, _TTBR1 = CoRegister(2, 0, 0, 0), CoRegister(2, 0, 0, 1)
_TTBR0_WIDE, _TTBR1_WIDE = wide(0, 2), wide(1, 2)
_DACR = CoRegister(3, 0, 0, 0)
_PRRR, _NMRR = CoRegister(10, 0, 2, 0), CoRegister(10, 0, 2, 1)
_EAE = 1 << 31
_SUPERSECTION = 1 << 1
_MMU = 1
_ABORT_ON_LEVEL_1, _ABORT_ON_LEVEL_2 = 0b01100, 0b01110
"""DFSR.FS of external aborts on table walks."""
TEX_REMAP, ACCESS_FLAG = 1 << 28, 1 << 29
"""SCTLR.TRE and SCTLR.AFE."""


class At32Result(NamedTuple):
    """What PAR says: ``pa`` is None for a fault, then ``status`` is the fault status code.

    That is DFSR.FS (5 bits) with short descriptors, 6 bits with long ones. ``memory`` is a MAIR
    byte with long descriptors.
    """

    pa: int | None
    status: int = 0
    memory: int = 0


class AddressTranslation32:
    """ATS1CPR, ATS1CPW, ATS1CUR and ATS1CUW over the RAM of a memory map.

    Tables are read anew for every question; nothing is cached.
    """

    def __init__(self, memory: PhysicalMemory, model: str = "cortex-a15") -> None:
        self._engine = Engine32(memory, model)
        self._memory = memory
        self._long = False
        self._roots = 0, 0, 0

    def set_short(
        self,
        *,
        ttbr0: int,
        ttbr1: int = 0,
        ttbcr: int = 0,
        dacr: int = 1,
        prrr: int = 0,
        nmrr: int = 0,
        sctlr: int = TEX_REMAP | ACCESS_FLAG,
    ) -> None:
        """Short descriptors; ``sctlr`` are the bits of SCTLR that matter beside M."""
        self._long = False
        self._roots = ttbr0, ttbr1, ttbcr & 7
        engine = self._engine
        engine.set_coprocessor(TTBCR, ttbcr & ~_EAE)
        for register, value in (
            (_TTBR0, ttbr0),
            (_TTBR1, ttbr1),
            (_DACR, dacr),
            (_PRRR, prrr),
            (_NMRR, nmrr),
        ):
            engine.set_coprocessor(register, value)
        self._enable(sctlr)

    def set_long(
        self, *, ttbr0: int, ttbr1: int = 0, ttbcr: int = 0, mair: int = 0, sctlr: int = 0
    ) -> None:
        """Long descriptors: the registers of 64 bits, and MAIR1:MAIR0."""
        self._long = True
        engine = self._engine
        engine.set_coprocessor(TTBCR, ttbcr | _EAE)
        engine.set_coprocessor(_TTBR0_WIDE, ttbr0)
        engine.set_coprocessor(_TTBR1_WIDE, ttbr1)
        engine.set_coprocessor(_PRRR, mair & 0xFFFF_FFFF)
        engine.set_coprocessor(_NMRR, mair >> 32)
        self._enable(sctlr)

    def _enable(self, sctlr: int) -> None:
        kept = self._engine.get_coprocessor(CONTROL) & ~(TEX_REMAP | ACCESS_FLAG)
        self._engine.set_coprocessor(CONTROL, kept | sctlr | _MMU)

    def stage1(self, va: int, *, write: bool, privileged: bool) -> At32Result:
        """Translate ``va`` (32 bits) for an access."""
        missing = None if self._long else self._missing_table(va)
        if missing is not None:
            return At32Result(None, missing)
        operation = CoRegister(7, 0, 8, (0 if privileged else 2) | write)
        par = self._engine.ask_mmu(operation, va)
        if self._long:
            if par & 1:
                return At32Result(None, par >> 1 & 0x3F)
            return At32Result(par & 0xFF_FFFF_F000 | va & 0xFFF, 0, par >> 56)
        if par & 1:
            return At32Result(None, par >> 1 & 0x1F)
        if par & _SUPERSECTION:
            return At32Result(par & 0xFF00_0000 | va & 0xFF_FFFF)
        return At32Result(par & 0xFFFF_F000 | va & 0xFFF)

    def _missing_table(self, va: int) -> int | None:
        """Status of the external abort if a table of short descriptors for ``va`` is not in RAM."""
        ttbr0, ttbr1, n = self._roots
        upper = bool(n and va >> 32 - n)
        root = ttbr1 & -0x4000 if upper else ttbr0 & -(0x4000 >> n)
        index = va >> 20 if upper else va >> 20 & (0xFFF >> n)
        where = root + 4 * index
        ram = self._memory.find_ram(where, 4)
        if ram is None:
            return _ABORT_ON_LEVEL_1
        descriptor = int.from_bytes(ram.view[where - ram.base : where - ram.base + 4], "little")
        level2 = (descriptor & -0x400) + 4 * (va >> 12 & 0xFF)
        if descriptor & 3 == 1 and self._memory.find_ram(level2, 4) is None:
            return _ABORT_ON_LEVEL_2
        return None

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()
