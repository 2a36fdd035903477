# SPDX-License-Identifier: GPL-2.0-or-later
"""The core's own MMU, asked without running any code: the AT instructions as a function.

The engine's MMU is no part of this package, which makes it a witness for the walkers here. It is
QEMU's of 2020 and not the architecture; where it differs:

- addresses beyond TCR.IPS and VTCR.PS pass, where an Address size fault is due;
- a walk outside RAM reads zero, and gives a Translation fault in place of an external abort;
- blocks translate on every level but the last, also where the granule has none;
- a stage-2 fault on a table of stage 1 comes with a status and level that are not stage 2's;
- Device memory at one stage and Normal at the other may give another Device type than that one;
- the address bits of a block's descriptor below the block's size are taken for address bits;
- T0SZ and T1SZ outside 16 to 39 are clamped; a reserved TG1 means 4 KiB.

Reference: DDI 0487 C5.4 (AT), D24.2 (PAR_EL1), D8.15 (fault kinds and levels).
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.cpu.engine import EL2H_MASKED, HCR_EL2, SCR_EL3, Engine, SystemRegister
from smmu_emu.cpu.names import SYSTEM
from smmu_emu.memory import PhysicalMemory

_NON_SECURE_EL1_AARCH64 = 0x501
_HCR_RW, _HCR_PTW, _HCR_VM = 1 << 31, 1 << 2, 1 << 0
_PAN = 1 << 22
_OUTPUT_ADDRESS = (1 << 52) - (1 << 12)


class AtResult(NamedTuple):
    """What PAR_EL1 says.

    ``pa`` is None for a fault; then ``status`` is the fault status code (kind in bits 5 to 2, level
    in bits 1 and 0), ``stage`` the stage that faulted, and ``on_walk`` tells that it did on a table
    of stage 1. Otherwise ``memory`` is a MAIR byte and ``shareability`` as PAR_EL1.SH.
    """

    pa: int | None
    memory: int = 0
    shareability: int = 0
    status: int = 0
    stage: int = 1
    on_walk: bool = False

    @property
    def kind(self) -> int:
        """Fault kind: 0 address size, 1 translation, 2 access flag, 3 permission."""
        return self.status >> 2

    @property
    def level(self) -> int:
        """Level of the fault."""
        return self.status & 3


class AddressTranslation:
    """AT S1E0, S1E1, S12E0 and S12E1 over the RAM of a memory map.

    Tables are read anew for every question; nothing is cached.
    """

    def __init__(self, memory: PhysicalMemory, model: str = "max") -> None:
        self._engine = engine = Engine(memory, model)
        engine.set_system(SCR_EL3, _NON_SECURE_EL1_AARCH64)
        engine.set_system(HCR_EL2, _HCR_RW)
        engine.set("PSTATE", EL2H_MASKED)
        self._privileged_crm = 8
        self.set_stage2(None)

    def set_stage1(
        self, *, ttbr0: int, ttbr1: int, tcr: int, mair: int, sctlr: int = 1, pan: bool = False
    ) -> None:
        """Registers of the EL1&0 regime, as TTBR0_EL1 and so on, and PSTATE.PAN for `stage1`."""
        values = {
            "TTBR0_EL1": ttbr0,
            "TTBR1_EL1": ttbr1,
            "TCR_EL1": tcr,
            "MAIR_EL1": mair,
            "SCTLR_EL1": sctlr,
        }
        for name, value in values.items():
            self._engine.set_system(SYSTEM[name], value)
        self._privileged_crm = 9 if pan else 8
        self._engine.set("PSTATE", EL2H_MASKED | (_PAN if pan else 0))

    def set_stage2(self, registers: tuple[int, int] | None, *, protect_walks: bool = False) -> None:
        """VTTBR_EL2, VTCR_EL2, and HCR_EL2.PTW; None turns stage 2 off."""
        vttbr, vtcr = registers or (0, 0)
        enable = (_HCR_VM if registers else 0) | (_HCR_PTW if protect_walks else 0)
        self._engine.set_system(SYSTEM["VTTBR_EL2"], vttbr)
        self._engine.set_system(SYSTEM["VTCR_EL2"], vtcr)
        self._engine.set_system(HCR_EL2, _HCR_RW | enable)

    def stage1(self, va: int, *, write: bool, privileged: bool) -> AtResult:
        """AT S1E1R, S1E1W (with PAN S1E1RP, S1E1WP), S1E0R or S1E0W."""
        if privileged:
            return self._ask((1, 0, 7, self._privileged_crm, write), va)
        return self._ask((1, 0, 7, 8, 2 | write), va)

    def both_stages(self, va: int, *, write: bool, privileged: bool) -> AtResult:
        """AT S12E1R, S12E1W, S12E0R or S12E0W."""
        return self._ask((1, 4, 7, 8, (4 if privileged else 6) | write), va)

    def _ask(self, instruction: SystemRegister, va: int) -> AtResult:
        engine = self._engine
        engine.set_system(instruction, va)
        par = engine.get("PAR_EL1")
        if par & 1:
            stage = 2 if par >> 9 & 1 else 1
            return AtResult(None, 0, 0, par >> 1 & 0x3F, stage, bool(par >> 8 & 1))
        return AtResult(par & _OUTPUT_ADDRESS | va & 0xFFF, par >> 56, par >> 7 & 3)

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()
