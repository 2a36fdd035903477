# SPDX-License-Identifier: GPL-2.0-or-later
"""What ended a slice, and what becomes of it: an exception of the guest, or a service to it.

Services are PSCI (HVC, SMC), semihosting (HLT #0xF000) and WFI. Everything else enters EL1's
vectors.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.cpu import abi, exceptions, psci, semihosting
from smmu_emu.cpu.engine import HCR_EL2, MASK64, Engine
from smmu_emu.cpu.exceptions import Vectors
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.cpu.names import MPIDR_EL1, system_access
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.cpu.runstate import RunState, Waiting
from smmu_emu.cpu.semihosting import Semihosting
from smmu_emu.cpu.virtual import VirtualMemory
from smmu_emu.memory import PhysicalMemory

HCR_TDZ = 1 << 28
_DC_ZVA, _REGISTER = 0xD50B_7420, 0x1F
_CLASSES_WITH_FAR = frozenset((0x20, 0x21, 0x22, 0x24, 0x25, 0x34, 0x35))


class Traps:
    """Acts on the end of each slice of one core."""

    def __init__(
        self,
        engine: Engine,
        pace: Pace,
        memory: PhysicalMemory,
        virtual: VirtualMemory,
        state: RunState,
        host: Semihosting,
        report: Callable[[str, int], None],
    ) -> None:
        self._engine = engine
        self._pace = pace
        self._memory = memory
        self._virtual = virtual
        self._state = state
        self._host = host
        self._report = report
        self._vectors = Vectors(engine)
        self.zva_prohibited = True
        """DCZID_EL0.DZP. The engine's DC ZVA is slow, so guests that ask are told to do without;
        the first that does not ask, and uses it, gets it."""

    def reset(self) -> None:
        """Forget what was taken before."""
        self._vectors.reset()
        self._host.reset()
        self.zva_prohibited = True

    def after_slice(self, error: int) -> None:
        """Act on what `Pace.slice` answered."""
        pending = self._pace.take_pending()
        if self._engine.in_aarch32:
            self._state.end(ExitKind.LOCKUP, "the guest entered AArch32 state, not modelled here")
        elif pending is not None:
            self._take_pending(pending)
        elif error == abi.EXCEPTION:
            self._take_exception()
        elif error in (abi.FETCH_UNMAPPED, abi.FETCH_PROT):
            self._take_fetch_error()
        elif error:
            abi.check(error, f"executing at {self._pace.pc:#x}")

    def pc_alignment_fault(self) -> None:
        """PC is not a multiple of 4."""
        pc = self._pace.pc
        self._enter(exceptions.EC_PC_ALIGNMENT << 26 | exceptions.IL, pc)

    # -- exceptions of the guest

    def _enter(self, esr: int, far: int | None = None) -> None:
        stuck = self._vectors.enter(esr, far, self._pace.pc, self._pace.instructions)
        if stuck:
            self._state.end(ExitKind.LOCKUP, stuck)

    def _abort(self, exception_class: int, iss: int, far: int | None) -> None:
        """``exception_class`` is that of an abort taken from EL1; from EL0 it is one less."""
        if self._engine.level == 0:
            exception_class -= 1
        if far is None:
            iss |= exceptions.FAR_NOT_VALID
        self._enter(exception_class << 26 | exceptions.IL | iss, far)

    def _take_pending(self, pending: PendingException) -> None:
        if pending.data_abort:
            self._abort(exceptions.EC_DATA_ABORT, pending.iss, pending.far)
        else:
            self._enter(exceptions.IL)

    def _take_fetch_error(self) -> None:
        """Nobody answers at PC's physical address, or a device does."""
        pc = self._pace.pc
        pa = self._engine.translate(pc, abi.PROT_EXEC)
        self._memory.unanswered(pc if pa is None else pa, "fetch")
        self._abort(exceptions.EC_INSTRUCTION_ABORT, exceptions.EXTERNAL_ABORT, pc)

    def _take_exception(self) -> None:
        esr, far, target_el = self._engine.syndrome
        exception_class = esr >> 26
        if exception_class in (exceptions.EC_HVC, exceptions.EC_SMC):
            self._call_firmware()
        elif exception_class == exceptions.EC_WFX and target_el != 1:
            self._engine.skip_instruction()
            self._state.waiting = Waiting.FOR_INTERRUPT
        elif exception_class == exceptions.EC_UNKNOWN or target_el != 1:
            self._take_undefined()
        else:
            self._enter(esr, far if exception_class in _CLASSES_WITH_FAR else None)

    def _take_undefined(self) -> None:
        pc, level = self._pace.pc, self._engine.level
        word = self._virtual.instruction(pc)
        if self.zva_prohibited and word is not None and word & ~_REGISTER == _DC_ZVA:
            self._allow_zva()
            return
        if word == semihosting.HLT_SEMIHOSTING and level:
            self._call_host()
            return
        missing = system_access(word, level) if word is not None else None
        if missing is not None:
            self._report(missing, pc)
        self._enter(exceptions.IL)

    def _allow_zva(self) -> None:
        """From now on; the instruction at PC is executed again."""
        self.zva_prohibited = False
        hcr = self._engine.get_system(HCR_EL2)
        self._engine.set_system(HCR_EL2, hcr & ~HCR_TDZ)

    # -- services to the guest

    def _call_firmware(self) -> None:
        registers = self._engine.registers
        mpidr = self._engine.get_system(MPIDR_EL1)
        answer = psci.call(registers[0], registers[1], mpidr)
        registers[0] = answer.value & MASK64
        if answer.effect is psci.Effect.POWER_OFF:
            self._state.end(ExitKind.POWER_OFF, "powered off through PSCI")
        elif answer.effect is psci.Effect.RESET:
            self._state.end(ExitKind.RESET, "asked for a reset through PSCI")
        elif answer.effect is psci.Effect.IDLE:
            self._state.waiting = Waiting.FOR_INTERRUPT

    def _call_host(self) -> None:
        registers = self._engine.registers
        answer = self._host.call(registers[0], registers[1])
        self._engine.skip_instruction()
        if isinstance(answer, semihosting.Exit):
            self._state.end(ExitKind.EXIT, answer.reason, answer.status)
        else:
            registers[0] = answer & MASK64
