# SPDX-License-Identifier: GPL-2.0-or-later
"""What ended a slice of an AArch32 core: an exception of the guest, or a service to it.

Services are PSCI (HVC, SMC), semihosting, WFI, and the coprocessor registers of `cp15`. Everything
else enters PL1's vectors.

Reference: DDI 0406 B1.9 (exceptions), A8.3 (conditions).
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.cpu import abi, cp15, exceptions32, psci, semihosting
from smmu_emu.cpu.engine32 import MASK32, PC, TTBCR, CoRegister, Engine32
from smmu_emu.cpu.exceptions import EXTERNAL_ABORT, WRITE_NOT_READ
from smmu_emu.cpu.exceptions32 import Kind, Vectors32, external_status
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.cpu.runstate import RunState, Waiting
from smmu_emu.cpu.semihosting import Semihosting
from smmu_emu.memory import PhysicalMemory

_WFX, _SVC, _HVC, _SMC = 0x01, 0x11, 0x12, 0x13
_FETCH_ABORTS, _DATA_ABORTS = frozenset((0x20, 0x21)), frozenset((0x24, 0x25))
_MPIDR = CoRegister(0, 0, 0, 5)
_LONG_DESCRIPTORS = 1 << 31
_STATUS = 0x3F
_SEMIHOSTING_SVC_A32, _SEMIHOSTING_SVC_T32 = 0x12_3456, 0xAB
_SEMIHOSTING_HLT = frozenset((0xE10F_0070, 0xBABC_0000))
"""HLT #0xF000 of A32, HLT #0x3C of T32."""
_ALWAYS = 14


def condition_passes(condition: int, cpsr: int) -> bool:
    """Whether an instruction with this condition is executed. DDI 0406 A8.3."""
    n, z, c, v = (bool(cpsr >> bit & 1) for bit in (31, 30, 29, 28))
    results = (z, c, n, v, c and not z, n == v, n == v and not z, True)
    return results[condition >> 1] is not bool(condition & 1) or condition >= _ALWAYS


class Traps32:
    """Acts on the end of each slice of one core."""

    wiring = ("_engine", "_pace", "_memory", "_state", "_coprocessor", "_host")

    def __init__(
        self,
        engine: Engine32,
        pace: Pace,
        memory: PhysicalMemory,
        state: RunState,
        coprocessor: cp15.Coprocessor,
        host: Semihosting,
        trapped: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._pace = pace
        self._memory = memory
        self._state = state
        self._coprocessor = coprocessor
        self._host = host
        self._trapped = trapped
        self._vectors = Vectors32(engine)

    def reset(self) -> None:
        """Forget what was taken before."""
        self._vectors.reset()
        self._host.reset()

    def after_slice(self, error: int) -> None:
        """Act on what `Pace.slice` answered."""
        pending = self._pace.take_pending()
        trapped = self._trapped()
        if pending is not None:
            self._take_pending(pending)
        elif trapped:
            self._execute_trapped()
        elif error in self._engine.exceptions:
            self._take_exception()
        elif error in (abi.FETCH_UNMAPPED, abi.FETCH_PROT):
            self._take_fetch_error()
        elif error:
            abi.check(error, f"executing at {self._pace.pc:#x}")

    def pc_alignment_fault(self) -> None:
        """There is none: branches clear the lowest bits."""

    # -- exceptions of the guest

    def _enter(self, kind: Kind) -> None:
        stuck = self._vectors.enter(kind, self._pace.instructions)
        if stuck:
            self._state.end(ExitKind.LOCKUP, stuck)

    def _abort(self, kind: Kind, status: int, address: int | None) -> None:
        engine, fetch = self._engine, kind is exceptions32.PREFETCH_ABORT
        far, fsr = (
            (exceptions32.IFAR, exceptions32.IFSR)
            if fetch
            else (exceptions32.DFAR, exceptions32.DFSR)
        )
        engine.set_coprocessor(fsr, status)
        if address is not None:
            engine.set_coprocessor(far, address & MASK32)
        self._enter(kind)

    def _external(self, status: int) -> int:
        long = bool(self._engine.get_coprocessor(TTBCR) & _LONG_DESCRIPTORS)
        return external_status(status, long_descriptors=long)

    def _take_pending(self, pending: PendingException) -> None:
        if pending.fetch_abort:
            status = self._external(pending.iss & _STATUS)
            self._abort(exceptions32.PREFETCH_ABORT, status, pending.far)
            return
        if not pending.data_abort:
            self._enter(exceptions32.UNDEFINED_INSTRUCTION)
            return
        status = self._external(pending.iss & _STATUS)
        if pending.iss & WRITE_NOT_READ:
            status |= exceptions32.WRITE_NOT_READ
        self._abort(exceptions32.DATA_ABORT, status, pending.far)

    def _take_fetch_error(self) -> None:
        """Nobody answers at PC's physical address, or a device does."""
        pc = self._pace.pc
        pa = self._engine.translate(pc, abi.PROT_EXEC)
        self._memory.unanswered(pc if pa is None else pa, "fetch")
        self._abort(exceptions32.PREFETCH_ABORT, self._external(EXTERNAL_ABORT), pc)

    def _take_exception(self) -> None:
        esr, far, target = self._engine.syndrome
        kind, status = esr >> 26, self._engine.fault_status
        if kind in (_HVC, _SMC):
            self._call_firmware()
        elif kind == _WFX:
            self._engine.skip_instruction()
            self._state.waiting = Waiting.FOR_INTERRUPT
        elif target == 2 and (transfer := cp15.trapped(esr)) is not None:
            self._transfer(transfer)
        elif kind == _SVC:
            self._supervisor_call()
        elif kind in _FETCH_ABORTS or kind == exceptions32.BREAKPOINT_CLASS:
            self._abort(exceptions32.PREFETCH_ABORT, status, far if kind in _FETCH_ABORTS else None)
        elif kind in _DATA_ABORTS:
            self._abort(exceptions32.DATA_ABORT, status, far)
        else:
            self._take_undefined()

    def _take_undefined(self) -> None:
        word = self._engine.instruction_word()
        if word in _SEMIHOSTING_HLT and self._engine.level:
            self._engine.skip_instruction()
            self._call_host()
            return
        self._enter(exceptions32.UNDEFINED_INSTRUCTION)

    # -- services to the guest

    def _execute_trapped(self) -> None:
        """An instruction that the engine must not execute is at PC."""
        word = self._engine.instruction_word()
        transfer = cp15.decode(word) if word is not None else None
        if word is None or transfer is None:  # the mapping changed meanwhile: fetch it again
            return
        self._pace.count_one()
        condition = _ALWAYS if self._engine.in_thumb else word >> 28
        if condition_passes(condition, self._engine.cpsr):
            self._transfer(transfer)
        else:
            self._engine.skip_instruction()

    def _transfer(self, transfer: cp15.Transfer) -> None:
        if self._coprocessor.execute(transfer):
            self._engine.skip_instruction()
        else:
            self._enter(exceptions32.UNDEFINED_INSTRUCTION)

    def _supervisor_call(self) -> None:
        engine, registers = self._engine, self._engine.registers
        size = 2 if engine.in_thumb else 4
        word = engine.instruction_word(registers[PC] - size & MASK32)
        if word is not None and engine.level and self._is_semihosting(word):
            self._call_host()
        else:
            self._enter(exceptions32.SUPERVISOR_CALL)

    def _is_semihosting(self, word: int) -> bool:
        if self._engine.in_thumb:
            return word >> 16 & 0xFF == _SEMIHOSTING_SVC_T32
        return word & 0xFF_FFFF == _SEMIHOSTING_SVC_A32

    def _call_firmware(self) -> None:
        registers = self._engine.registers
        mpidr = self._engine.get_coprocessor(_MPIDR)
        answer = psci.call(registers[0], registers[1], mpidr)
        registers[0] = answer.value & MASK32
        if answer.effect is psci.Effect.POWER_OFF:
            self._state.end(ExitKind.POWER_OFF, "powered off through PSCI")
        elif answer.effect is psci.Effect.RESET:
            self._state.end(ExitKind.RESET, "asked for a reset through PSCI")
        elif answer.effect is psci.Effect.IDLE:
            self._state.waiting = Waiting.FOR_INTERRUPT

    def _call_host(self) -> None:
        """PC is behind the call already."""
        registers = self._engine.registers
        answer = self._host.call(registers[0], registers[1])
        if isinstance(answer, semihosting.Exit):
            self._state.end(ExitKind.EXIT, answer.reason, answer.status)
        else:
            registers[0] = answer & MASK32
