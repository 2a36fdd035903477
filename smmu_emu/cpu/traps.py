# SPDX-License-Identifier: GPL-2.0-or-later
"""What ended a slice, and what becomes of it: an exception of the guest, or a service to it.

Services are PSCI (SMC, and HVC unless the guest has EL2), semihosting (HLT #0xF000), WFI, and the
system registers of devices. Everything else enters the vectors of EL1 or EL2.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.cpu import abi, exceptions, psci, semihosting
from smmu_emu.cpu.engine import HCR_EL2, Engine
from smmu_emu.cpu.exceptions import Vectors
from smmu_emu.cpu.execution import MASK64
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.cpu.names import MPIDR_EL1, system_access, system_transfer
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.cpu.runstate import RunState, Waiting
from smmu_emu.cpu.semihosting import Semihosting
from smmu_emu.cpu.sysregs import SystemRegisters
from smmu_emu.cpu.virtual import VirtualMemory
from smmu_emu.memory import PhysicalMemory
from smmu_emu.system_registers import Outcome

HCR_TDZ, _HCR_TGE = 1 << 28, 1 << 27
_DC_ZVA, _REGISTER = 0xD50B_7420, 0x1F
_XZR = 31
_TO_FIRMWARE = frozenset((exceptions.EC_HVC, exceptions.EC_SMC))
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
        system: SystemRegisters,
        host: Semihosting,
        report: Callable[[str, int], None],
    ) -> None:
        self._engine = engine
        self._pace = pace
        self._memory = memory
        self._virtual = virtual
        self._state = state
        self._system = system
        self._host = host
        self._report = report
        self._vectors = (Vectors(engine), Vectors(engine, 2))
        self.zva_prohibited = True
        """DCZID_EL0.DZP. The engine's DC ZVA is slow, so guests that ask are told to do without;
        the first that does not ask, and uses it, gets it."""

    def reset(self) -> None:
        """Forget what was taken before. A guest that has EL2 decides about DC ZVA itself."""
        for vectors in self._vectors:
            vectors.reset()
        self._host.reset()
        self.zva_prohibited = self._system.highest == 1

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

    def _enter(self, esr: int, far: int | None = None, target: int | None = None) -> None:
        """Take an exception, to EL2 or EL1; by default where the present level takes its own."""
        vectors = self._vectors[(target or self._own_target) - 1]
        stuck = vectors.enter(esr, far, self._pace.pc, self._pace.instructions)
        if stuck:
            self._state.end(ExitKind.LOCKUP, stuck)

    @property
    def _own_target(self) -> int:
        """Where exceptions go that no control sends elsewhere. DDI 0487 D1.3.2."""
        level = self._engine.level
        if level == 0 and self._engine.get_system(HCR_EL2) & _HCR_TGE:
            return 2
        return level or 1

    def _abort(self, exception_class: int, iss: int, far: int | None) -> None:
        """``exception_class`` is that of an abort of the level that takes it; of a lower level it
        is one less."""
        if self._engine.level == 0:
            exception_class -= 1
        if far is None:
            iss |= exceptions.FAR_NOT_VALID
        self._enter(exception_class << 26 | exceptions.IL | iss, far)

    def _take_pending(self, pending: PendingException) -> None:
        if pending.data_abort:
            self._abort(exceptions.EC_DATA_ABORT, pending.iss, pending.far)
        elif pending.fetch_abort:
            self._abort(exceptions.EC_INSTRUCTION_ABORT, pending.iss, pending.far)
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
        if target_el > self._system.highest and exception_class in _TO_FIRMWARE:
            self._call_firmware()
        elif target_el > self._system.highest and exception_class == exceptions.EC_WFX:
            self._engine.skip_instruction()
            self._state.waiting = Waiting.FOR_INTERRUPT
        elif exception_class == exceptions.EC_UNKNOWN or target_el > self._system.highest:
            self._take_undefined()
        else:
            self._enter(esr, far if exception_class in _CLASSES_WITH_FAR else None, target_el)

    def _take_undefined(self) -> None:
        pc, level = self._pace.pc, self._engine.level
        word = self._virtual.instruction(pc)
        if self.zva_prohibited and word is not None and word & ~_REGISTER == _DC_ZVA:
            self._allow_zva()
            return
        if word == semihosting.HLT_SEMIHOSTING and level:
            self._call_host()
            return
        outcome = Outcome.ABSENT
        if word is not None and level:
            outcome = self._access_device(word, level)
        if outcome is Outcome.DONE:
            self._engine.skip_instruction()
            return
        if outcome is Outcome.TRAPPED and word is not None:
            self._enter(exceptions.trapped_transfer(word), None, 2)
            return
        missing = None
        if word is not None and outcome is Outcome.ABSENT:
            missing = system_access(word, level, self._system.highest)
        if missing is not None:
            self._report(missing, pc)
        self._enter(exceptions.IL)

    def _access_device(self, word: int, level: int) -> Outcome:
        """Do an MRS or MSR of a register that a device has."""
        device, transfer = self._system.device, system_transfer(word)
        if device is None or transfer is None:
            return Outcome.ABSENT
        register, rt, read = transfer
        registers = self._engine.registers
        hcr = self._engine.get_system(HCR_EL2) if self._system.highest == 2 else 0
        if not read:
            value = registers[rt] if rt != _XZR else 0
            return device.write_system(register, level, hcr, value)
        answer = device.read_system(register, level, hcr)
        if isinstance(answer, Outcome):
            return answer
        if rt != _XZR:
            registers[rt] = answer & MASK64
        return Outcome.DONE

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
