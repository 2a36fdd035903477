# SPDX-License-Identifier: GPL-2.0-or-later
"""An AArch64 core at EL1, executed by Unicorn, whose time is virtual and whose runs repeat exactly.

The guest has EL1 and EL0, AArch64, the MMU, IRQ, the generic timer, PSCI and semihosting. What lies
above EL1 is this package: HVC and SMC end here. Virtual time advances by a fixed number of
nanoseconds an instruction; a slice of execution ends at the clock's next deadline, and right after
an instruction whose device access raised an interrupt or asked the run to end.

Left out: EL2 and EL3 for the guest, AArch32, SError, FIQ, hardware breakpoints, performance
monitors, and what the engine does not check: floating point works whatever CPACR_EL1 says, SP may
be misaligned, misaligned accesses to RAM pass with the MMU off, execution goes on after an illegal
exception return, and the core's own table walks read zero outside RAM instead of aborting.

Reference: Arm DDI 0487 (D1 exceptions, D8 address translation, D12 generic timer).
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.clock import Clock
from smmu_emu.cpu import abi, exceptions, psci, semihosting
from smmu_emu.cpu.codewatch import CodeWatch
from smmu_emu.cpu.engine import HCR_EL2, MASK64, PC, SCR_EL3, Engine
from smmu_emu.cpu.exit import ExitInfo, ExitKind
from smmu_emu.cpu.faults import MemoryFaults
from smmu_emu.cpu.mmio import InstructionPlans, WindowPort
from smmu_emu.cpu.names import SYSTEM, system_instruction
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.cpu.sysregs import SystemRegisters
from smmu_emu.cpu.timer import Timer
from smmu_emu.errors import ConfigurationError
from smmu_emu.interrupt import InterruptLine
from smmu_emu.memory import PAGE, PhysicalMemory

_SCR = 0x501  # NS, HCE, RW
_HCR = 1 << 31 | 1 << 13 | 1 << 4  # RW, TWI, IMO
_HCR_VI = 1 << 7
_EL1H_MASKED = 0x3C5
_IRQ_MASKED = 1 << 7
_BRANCH_TO_SELF = 0x1400_0000


class Aarch64Core:
    """One core on a memory map that is complete: add RAM and windows before making it.

    The core starts in EL1h, non-secure, MMU off, as firmware or PSCI would enter an image.

    ``console`` takes what the guest prints through semihosting. ``unmodelled`` is told, once a
    site, of system registers the guest touched that nobody models: ``(what, pc)``.

    Raises: ConfigurationError for a model that does not exist.
    """

    irq: InterruptLine
    """The IRQ input, a level: the interrupt controller drives it."""
    physical_timer: InterruptLine
    """EL1 physical timer's output, a level (PPI 30 on boards of Arm's kind): set its ``sink``."""
    virtual_timer: InterruptLine
    """EL1 virtual timer's output, a level (PPI 27): set its ``sink``."""

    def __init__(
        self,
        memory: PhysicalMemory,
        clock: Clock,
        model: str = "cortex-a57",
        *,
        ns_per_instruction: int = 1,
        console: Callable[[bytes], None] | None = None,
        command_line: str = "",
        unmodelled: Callable[[str, int], None] | None = None,
    ) -> None:
        if ns_per_instruction < 1:
            raise ConfigurationError(f"{ns_per_instruction} ns an instruction; 1 is the least")
        self._memory = memory
        self._clock = clock
        self._unmodelled = unmodelled
        self._reported: set[tuple[str, int]] = set()
        self._engine = engine = Engine(memory, model)
        self._pace = pace = Pace(engine, clock, ns_per_instruction)
        self._plans = InstructionPlans(engine, self._fetch)
        self._ports = [WindowPort(window, engine, pace, self._plans) for window in memory.windows]
        self._faults = MemoryFaults(engine, memory, pace, self._plans)
        physical, virtual = Timer(clock, "physical timer"), Timer(clock, "virtual timer")
        self._system = SystemRegisters(engine, pace, physical, virtual, self._report)
        self._begin_as_firmware_would()
        self._code = CodeWatch(
            engine, memory, pace, self._plans, self._system.read, self._system.write
        )
        self._vectors = exceptions.Vectors(engine, model)
        self._semihosting = semihosting.Semihosting(self, console or (lambda _: None), command_line)
        self.physical_timer, self.virtual_timer = physical.line, virtual.line
        self.irq = InterruptLine("irq", lambda _: pace.interrupt())
        self._irq_taken_over = False
        self._idle = False
        self._ending: tuple[ExitKind, int, str] | None = None
        memory.code_written = self._code.written
        self._pristine = engine.save()

    def _begin_as_firmware_would(self) -> None:
        engine = self._engine
        engine.set_system(SCR_EL3, _SCR)
        engine.set_system(HCR_EL2, _HCR)
        engine.set_system(SYSTEM["CPACR_EL1"], 0)
        engine.set("PSTATE", _EL1H_MASKED)
        engine.set_system(HCR_EL2, _HCR)

    # -- state that others look at

    @property
    def pc(self) -> int:
        """Address of the instruction being executed: exact inside device callbacks too."""
        return self._pace.pc

    @property
    def instructions(self) -> int:
        """Instructions begun since reset, those included that ended in an exception."""
        return self._pace.instructions

    @property
    def time(self) -> int:
        """Virtual time in nanoseconds."""
        return self._clock.now

    def x(self, n: int) -> int:
        """Register Xn (0 to 30)."""
        value: int = self._engine.registers[_general(n)]
        return value

    def set_x(self, n: int, value: int) -> None:
        """Write register Xn (0 to 30)."""
        self._engine.registers[_general(n)] = value & MASK64

    def read(self, name: str) -> int:
        """A register by its architectural name: "PC", "SP", "X3", "PSTATE", "VBAR_EL1" ...

        Raises: ConfigurationError for a name that is not known.
        """
        if name in SYSTEM:
            return self._engine.get_system(SYSTEM[name])
        if name == "PC":
            return self.pc
        if self._engine.has(name):
            return self._engine.get(name)
        raise ConfigurationError(f"no register {name!r}")

    def write(self, name: str, value: int) -> None:
        """Write a register by its architectural name.

        Raises: ConfigurationError for a name that is not known.
        """
        if name == "PC":
            self._engine.registers[PC] = value & MASK64
        elif name in SYSTEM:
            self._engine.set_system(SYSTEM[name], value)
        elif self._engine.has(name):
            self._engine.set(name, value)
            if name == "PSTATE":
                self._drive_irq(self._irq_taken_over)
        else:
            raise ConfigurationError(f"no register {name!r}")

    def translate(self, va: int) -> int | None:
        """Physical address of ``va`` for the core as it stands now; None where it would fault."""
        pa = self._engine.translate(va, abi.PROT_READ)
        return pa if pa is not None else self._engine.translate(va, abi.PROT_EXEC)

    def read_virtual(self, va: int, size: int) -> bytes | None:
        """``size`` bytes of RAM at virtual address ``va``; None where not all of it is RAM."""
        data = bytearray()
        while len(data) < size:
            at = va + len(data)
            length = min(size - len(data), PAGE - at % PAGE)
            pa = self.translate(at)
            if pa is None or self._memory.find_ram(pa, length) is None:
                return None
            data += self._memory.read(pa, length) or b""
        return bytes(data)

    def write_virtual(self, va: int, data: bytes) -> bool:
        """Write to RAM at virtual address ``va``; False where not all of it is writable RAM."""
        pieces = []
        at = 0
        while at < len(data):
            length = min(len(data) - at, PAGE - (va + at) % PAGE)
            pa = self._engine.translate(va + at, abi.PROT_WRITE)
            if pa is None or self._memory.find_ram(pa, length) is None:
                return False
            pieces.append((pa, data[at : at + length]))
            at += length
        return all(self._memory.write(pa, piece) for pa, piece in pieces)

    def _fetch(self, pc: int) -> int | None:
        """The instruction word at virtual address ``pc``."""
        pa = self._engine.translate(pc, abi.PROT_EXEC)
        ram = self._memory.find_ram(pa, 4) if pa is not None else None
        if ram is None or pa is None:
            return None
        return int.from_bytes(ram.view[pa - ram.base : pa - ram.base + 4], "little")

    # -- running

    def reset(self, entry: int, *, el: int = 1, x0: int = 0) -> None:
        """Put the core in its reset state, about to execute ``entry`` with ``x0`` in X0.

        Raises: ConfigurationError for an exception level the guest cannot have.
        """
        if el != 1:
            raise ConfigurationError(f"an image starts at EL1 here, not at EL{el}")
        self._engine.restore(self._pristine)
        self._engine.flush_tlb()
        self._drive_irq(False)
        self._engine.registers[PC] = entry & MASK64
        self._engine.registers[0] = x0 & MASK64
        self._pace.reset()
        self._vectors.reset()
        self._system.reset()
        self._semihosting.reset()
        self._code.reset()
        self._reported.clear()
        self._idle = False
        self._ending = None

    def request_exit(self, reason: str, status: int = 0) -> None:
        """End the run right after the current instruction. For devices, timers and tests."""
        self._end(ExitKind.DEVICE, status, reason)
        self._pace.interrupt()

    def run(self, max_instructions: int | None = None) -> ExitInfo:
        """Execute until something ends the run; an exception raised by a device comes out here."""
        last = None if max_instructions is None else self.instructions + max_instructions
        clock, pace = self._clock, self._pace
        while True:
            clock.advance(clock.now)
            if self._ending is not None:
                return self._ended()
            if self.irq.level != self._irq_taken_over:
                self._drive_irq(self.irq.level)
            if self._idle:
                self._wait()
                continue
            left = 1 << 62 if last is None else last - pace.instructions
            if left <= 0:
                self._end(ExitKind.MAX_INSTRUCTIONS, 0, f"{max_instructions} instructions executed")
                continue
            self._code.settle()
            self._after_slice(pace.slice(left))

    def _after_slice(self, error: int) -> None:
        pending = self._pace.take_pending()
        if self._engine.in_aarch32:
            self._end(ExitKind.LOCKUP, 0, "the guest entered AArch32 state, which is not modelled")
        elif pending is not None:
            self._take_pending(pending)
        elif error == abi.EXCEPTION:
            self._exception()
        elif error in (abi.FETCH_UNMAPPED, abi.FETCH_PROT):
            self._fetch_error()
        elif error:
            abi.check(error, f"executing at {self.pc:#x}")
        elif self._code.misaligned_pc:
            self._code.misaligned_pc = False
            self._enter(exceptions.EC_PC_ALIGNMENT << 26 | exceptions.IL, self.pc, self.pc)
        elif self._pace.slice_was_whole:
            self._look_for_standstill()

    def _drive_irq(self, level: bool) -> None:
        self._irq_taken_over = level
        self._engine.set_system(HCR_EL2, _HCR | (_HCR_VI if level else 0))

    # -- standing still

    def _wait(self) -> None:
        """Wait for an interrupt: let time pass up to the next thing that happens."""
        if self.irq.level:
            self._idle = False
            return
        deadline = self._clock.next_deadline()
        if deadline is None:
            self._end(
                ExitKind.DEADLOCK, 0, f"waits for an interrupt at {self.pc:#x}: none can come"
            )
        else:
            self._clock.advance(deadline)

    def _look_for_standstill(self) -> None:
        """A branch to itself waits for an interrupt too, and without one it waits for ever."""
        pstate = self._engine.get("PSTATE")
        if self._fetch(self.pc) == _BRANCH_TO_SELF:
            masked = pstate & _IRQ_MASKED
            if masked and not self._clock.next_deadline():
                reason = f"spins at {self.pc:#x} (a branch to itself) with interrupts masked"
                self._end(ExitKind.DEADLOCK, 0, reason)
            elif not masked:
                self._idle = True

    # -- exceptions

    def _enter(self, esr: int, far: int | None, return_address: int) -> None:
        stuck = self._vectors.enter(esr, far, return_address, self.instructions)
        if stuck:
            self._end(ExitKind.LOCKUP, 0, stuck)

    def _take_pending(self, pending: PendingException) -> None:
        if not pending.data_abort:
            self._enter(exceptions.IL, None, self.pc)
            return
        self._abort(exceptions.EC_DATA_ABORT, pending.iss, pending.far)

    def _abort(self, exception_class: int, iss: int, far: int | None) -> None:
        if self._engine.level == 0:
            exception_class -= 1
        if far is None:
            iss |= exceptions.FAR_NOT_VALID
        self._enter(exception_class << 26 | exceptions.IL | iss, far, self.pc)

    def _fetch_error(self) -> None:
        """Nobody answers at PC's physical address, or a device does."""
        pa = self._engine.translate(self.pc, abi.PROT_EXEC)
        self._memory.unanswered(self.pc if pa is None else pa, "fetch")
        status = exceptions.SYNCHRONOUS_EXTERNAL_ABORT
        self._abort(exceptions.EC_INSTRUCTION_ABORT, status, self.pc)

    def _exception(self) -> None:
        syndrome = self._engine.syndrome
        exception_class = syndrome.esr >> 26
        if exception_class in (exceptions.EC_HVC, exceptions.EC_SMC):
            self._psci()
        elif exception_class == exceptions.EC_WFX and syndrome.target_el != 1:
            self._engine.skip_instruction()
            self._idle = True
        elif exception_class == exceptions.EC_UNKNOWN or syndrome.target_el != 1:
            self._undefined()
        else:
            has_far = exception_class in _CLASSES_WITH_FAR
            self._enter(syndrome.esr, syndrome.far if has_far else None, self.pc)

    def _undefined(self) -> None:
        word = self._fetch(self.pc)
        if word == semihosting.HLT_SEMIHOSTING and self._engine.level:
            self._call_host()
            return
        name = system_instruction(word) if word is not None else None
        if name is not None:
            self._report(name, self.pc)
        self._enter(exceptions.IL, None, self.pc)

    def _report(self, what: str, pc: int) -> None:
        if (what, pc) not in self._reported:
            self._reported.add((what, pc))
            if self._unmodelled is not None:
                self._unmodelled(what, pc)

    # -- calls of the guest to what is above and outside

    def _psci(self) -> None:
        registers = self._engine.registers
        answer = psci.call(registers[0], registers[1], self.read("MPIDR_EL1"))
        registers[0] = answer.value & MASK64
        if answer.effect is psci.Effect.POWER_OFF:
            self._end(ExitKind.POWER_OFF, 0, "powered off through PSCI")
        elif answer.effect is psci.Effect.RESET:
            self._end(ExitKind.RESET, 0, "asked for a reset through PSCI")
        elif answer.effect is psci.Effect.IDLE:
            self._idle = True

    def _call_host(self) -> None:
        registers = self._engine.registers
        answer = self._semihosting.call(registers[0], registers[1])
        self._engine.skip_instruction()
        if isinstance(answer, semihosting.Exit):
            self._end(ExitKind.EXIT, answer.status, answer.reason)
        else:
            registers[0] = answer & MASK64

    # -- the end

    def _end(self, kind: ExitKind, status: int, reason: str) -> None:
        if self._ending is None:
            self._ending = kind, status, reason

    def _ended(self) -> ExitInfo:
        assert self._ending is not None
        kind, status, reason = self._ending
        self._ending = None
        return ExitInfo(kind, status, reason, self.pc, self.instructions)

    def close(self) -> None:
        """Give the memory's code watch back and free the engine."""
        self._memory.code_written = None
        self._memory.code_frames.clear()
        self._engine.close()


_CLASSES_WITH_FAR = frozenset((0x20, 0x21, 0x22, 0x24, 0x25, 0x34, 0x35))


def _general(n: int) -> int:
    if not 0 <= n <= 30:
        raise ConfigurationError(f"no register X{n}")
    return n
