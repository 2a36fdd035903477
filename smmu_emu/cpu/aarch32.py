# SPDX-License-Identifier: GPL-2.0-or-later
"""An AArch32 core (ARMv7-A with Virtualization and Large Physical Address extensions).

The guest has PL1 and PL0, non-secure; A32 and T32; the MMU with short and long descriptors, IRQ and
FIQ, the generic timer, PSCI and semihosting. What lies above PL1 is this package.

Left out: Hyp mode and the Security Extensions for the guest, performance monitors and debug
registers, asynchronous aborts, and what the engine does not check: misaligned accesses to RAM pass
with the MMU off. A slice does not end inside an IT block, so breakpoints there are late, and the
virtual timer must not be touched there.

Reference: Arm DDI 0406 (ARMv7-A), B1 (modes, exceptions), B3 (VMSA), B8 (generic timer).
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.clock import Clock
from smmu_emu.cpu import loadstore32
from smmu_emu.cpu.client import Client
from smmu_emu.cpu.client32 import ClientEngine32
from smmu_emu.cpu.codewatch32 import CodeWatch32
from smmu_emu.cpu.core import Core
from smmu_emu.cpu.cp15 import Coprocessor
from smmu_emu.cpu.engine32 import (
    CNTHCTL,
    HCR,
    HSTR,
    MASK32,
    MODELS32,
    PC,
    SCR,
    THUMB,
    CoRegister,
    Engine32,
    wide,
)
from smmu_emu.cpu.mmio import MemoryAccess
from smmu_emu.cpu.pace import Pace
from smmu_emu.cpu.semihosting import Semihosting
from smmu_emu.cpu.timer import Timer
from smmu_emu.cpu.traps32 import Traps32
from smmu_emu.errors import ConfigurationError
from smmu_emu.interrupt import InterruptLine
from smmu_emu.memory import PhysicalMemory

_SCR = 1 << 8 | 1 << 0  # HCE, NS
_HCR = 1 << 13  # TWI
_HSTR_CRN9 = 1 << 9
_HDCR, _HDCR_DEBUG = CoRegister(1, 4, 1, 1), 1 << 11 | 1 << 10 | 1 << 9  # TDRA, TDOSA, TDA
_CPSR_AT_RESET = 0x1D3  # Supervisor mode, A, I, F masked
_CPSR_I, _CPSR_F = 1 << 7, 1 << 6
_SPIN_A32, _SPIN_T32 = 0xEAFF_FFFE, 0xE7FE_0000

REGISTERS: dict[str, CoRegister] = {
    "MIDR": CoRegister(0, 0, 0, 0),
    "MPIDR": CoRegister(0, 0, 0, 5),
    "SCTLR": CoRegister(1, 0, 0, 0),
    "CPACR": CoRegister(1, 0, 0, 2),
    "TTBR0": CoRegister(2, 0, 0, 0),
    "TTBR1": CoRegister(2, 0, 0, 1),
    "TTBCR": CoRegister(2, 0, 0, 2),
    "DACR": CoRegister(3, 0, 0, 0),
    "DFSR": CoRegister(5, 0, 0, 0),
    "IFSR": CoRegister(5, 0, 0, 1),
    "DFAR": CoRegister(6, 0, 0, 0),
    "IFAR": CoRegister(6, 0, 0, 2),
    "PAR": CoRegister(7, 0, 4, 0),
    "PRRR": CoRegister(10, 0, 2, 0),
    "NMRR": CoRegister(10, 0, 2, 1),
    "VBAR": CoRegister(12, 0, 0, 0),
    "CONTEXTIDR": CoRegister(13, 0, 0, 1),
    "TPIDRURW": CoRegister(13, 0, 0, 2),
    "TPIDRURO": CoRegister(13, 0, 0, 3),
    "TPIDRPRW": CoRegister(13, 0, 0, 4),
    "CNTFRQ": CoRegister(14, 0, 0, 0),
    "CNTKCTL": CoRegister(14, 0, 1, 0),
    "CNTP_TVAL": CoRegister(14, 0, 2, 0),
    "CNTP_CTL": CoRegister(14, 0, 2, 1),
    "CNTV_TVAL": CoRegister(14, 0, 3, 0),
    "CNTV_CTL": CoRegister(14, 0, 3, 1),
    "TTBR0_64": wide(0, 2),
    "TTBR1_64": wide(1, 2),
    "PAR_64": wide(0, 7),
    "CNTPCT": wide(0, 14),
    "CNTVCT": wide(1, 14),
    "CNTP_CVAL": wide(2, 14),
    "CNTV_CVAL": wide(3, 14),
}
"""Registers of coprocessor 15 by name."""
_ALIASES = {"SP": "R13", "LR": "R14"}


class _Inputs:
    """IRQ and FIQ, which PL1 takes, both levels; changes end the running slice."""

    wiring = ("_engine", "irq", "fiq")

    def __init__(self, engine: Engine32, pace: Pace) -> None:
        self._engine = engine
        self.irq = InterruptLine("irq", lambda _: pace.interrupt())
        self.fiq = InterruptLine("fiq", lambda _: pace.interrupt())
        self._driven = False, False

    def drive(self) -> None:
        """Tell the engine of the inputs, if they have changed. Not while running."""
        levels = self.irq.level, self.fiq.level
        if levels != self._driven:
            self._driven = levels
            self._engine.ask_for_interrupts(*levels)

    def after_put_back(self) -> None:
        """What the engine was told is not in its own state."""
        self._engine.ask_for_interrupts(*self._driven)

    @property
    def pending(self) -> bool:
        """Whether anything ends a WFI, masked or not."""
        return self.irq.level or self.fiq.level

    @property
    def will_be_taken(self) -> bool:
        """Whether the next instruction is an interrupt's vector."""
        cpsr = self._engine.cpsr
        irq, fiq = self.irq.level and not cpsr & _CPSR_I, self.fiq.level and not cpsr & _CPSR_F
        return irq or fiq

    @property
    def irq_masked(self) -> bool:
        """Whether an IRQ would stay pending now."""
        return bool(self._engine.cpsr & _CPSR_I)


class Aarch32Core(Core):
    """One AArch32 core on a memory map that is complete: add RAM and windows before making it.

    The core starts in Supervisor mode, MMU off, as firmware or PSCI would enter an image. Bit 0 of
    an entry says that it is T32 code. The arguments are those of `Aarch64Core`.

    Raises: ConfigurationError for a model that does not exist.
    """

    control_register = "SCTLR"
    link_register = 14
    frame_register = None
    smallest_instruction = 2
    _last_address = MASK32

    def __init__(
        self,
        memory: PhysicalMemory,
        clock: Clock,
        model: str = "cortex-a15",
        *,
        ns_per_instruction: int = 1,
        console: Callable[[bytes], None] | None = None,
        command_line: str = "",
        unmodelled: Callable[[str, int], None] | None = None,
        client: Client | None = None,
    ) -> None:
        if model not in MODELS32:
            raise ConfigurationError(f"no core model {model!r}; there is {', '.join(MODELS32)}")
        self._engine: Engine32 = (
            Engine32(memory, model) if client is None else ClientEngine32(memory, model, client)
        )
        super().__init__(self._engine, memory, clock, ns_per_instruction, unmodelled)
        engine, pace = self._engine, self._pace
        self._begin_as_firmware_would()
        self._interrupts = interrupts = _Inputs(engine, pace)
        self.irq, self.fiq = interrupts.irq, interrupts.fiq
        physical, virtual_timer = Timer(clock, "physical timer"), Timer(clock, "virtual timer")
        self.physical_timer, self.virtual_timer = physical.line, virtual_timer.line
        self.hypervisor_timer = Timer(clock, "hypervisor timer").line  # never fires
        self._coprocessor = Coprocessor(engine, physical, virtual_timer, self._report_at_pc)
        self._watch = code = CodeWatch32(engine, memory, pace, self._plans)
        printed = console or (lambda _: None)
        host = Semihosting(self._virtual, clock, printed, command_line, word=4)
        # fmt: off
        self._traps = Traps32(
            engine, pace, memory, self._state, self._coprocessor, host, code.take_trapped
        )
        # fmt: on
        self._code = code
        memory.code_written = code.written
        self._begin_as_firmware_would()
        self._pristine = engine.save()
        if isinstance(engine, ClientEngine32):
            engine.connect(pace, self._plans, self._report)

    def _begin_as_firmware_would(self) -> None:
        engine = self._engine
        engine.set_coprocessor(SCR, _SCR)
        engine.set_coprocessor(HSTR, _HSTR_CRN9)
        engine.set_coprocessor(_HDCR, _HDCR_DEBUG)
        engine.set_coprocessor(CNTHCTL, 0)  # accesses of PL1 to the physical timer trap
        engine.set_coprocessor(HCR, _HCR)
        engine.set_cpsr(_CPSR_AT_RESET)

    # -- what others look at

    @property
    def isa(self) -> str:
        """What PC's instruction is written in: "a32" or "t32"."""
        return "t32" if self._engine.in_thumb else "a32"

    @property
    def highest_level(self) -> int:
        """The privilege level that the guest started at."""
        return 1

    def x(self, n: int) -> int:
        """Register Rn (0 to 15), of the present mode."""
        value: int = self._engine.registers[_general(n)]
        return value

    def set_x(self, n: int, value: int) -> None:
        """Write register Rn (0 to 15), of the present mode."""
        self._engine.registers[_general(n)] = value & MASK32

    def read(self, name: str) -> int:
        """A register by its architectural name: "PC", "SP", "R3", "CPSR", "SPSR", "VBAR" ...

        Raises: ConfigurationError for a name that is not known.
        """
        register = REGISTERS.get(name)
        if register is not None:
            value = self._coprocessor.read_timer(register)
            return self._engine.get_coprocessor(register) if value is None else value
        if name == "PC":
            return self.pc
        name = _ALIASES.get(name, name)
        if self._engine.has(name):
            return self._engine.get(name) & MASK32
        raise ConfigurationError(f"no register {name!r}")

    def write(self, name: str, value: int) -> None:
        """Write a register by its architectural name.

        Raises: ConfigurationError for a name that is not known.
        """
        register = REGISTERS.get(name)
        name = _ALIASES.get(name, name)
        if register is not None:
            if not self._coprocessor.write_timer(register, value):
                self._engine.set_coprocessor(register, value)
        elif name == "PC":
            self._engine.registers[PC] = value & MASK32
        elif name == "CPSR":
            self._engine.set_cpsr(value)
        elif self._engine.has(name):
            self._engine.set(name, value)
        else:
            raise ConfigurationError(f"no register {name!r}")

    # -- running

    def reset(self, entry: int, *, el: int = 1, x0: int = 0) -> None:
        """Put the core in its reset state, about to execute ``entry`` with ``x0`` in R0.

        Raises: ConfigurationError for another level than PL1.
        """
        if el != 1:
            raise ConfigurationError(f"an AArch32 image starts at PL1 here, not at EL{el}")
        self._check_stopped()
        engine = self._engine
        engine.restore(self._pristine)
        engine.settle_state()
        engine.flush_tlb()
        self._traps.reset()
        engine.set_cpsr(_CPSR_AT_RESET | (THUMB if entry & 1 else 0))
        engine.registers[PC] = entry & ~1 & MASK32
        engine.registers[0] = x0 & MASK32
        self._begin_anew()
        self._coprocessor.reset()
        self._watch.trapped = False

    def forget_translations(self) -> None:
        """Ask for every translation anew, from the next instruction on. For an SMMU that changed.

        Only a core that is a client of one has something to forget.
        """
        if isinstance(self._engine, ClientEngine32):
            self._engine.forget()

    def _access_at(self, pc: int) -> MemoryAccess | None:
        word = self._engine.instruction_word(pc)
        if word is None:
            return None
        if self._engine.in_thumb:
            return loadstore32.decode_t32(word >> 16, word & 0xFFFF)
        return loadstore32.decode_a32(word)

    def _spins(self) -> bool:
        word = self._engine.instruction_word()
        return word == (_SPIN_T32 if self._engine.in_thumb else _SPIN_A32)

    def _report_at_pc(self, what: str) -> None:
        self._report(what, self.pc)


def _general(n: int) -> int:
    if not 0 <= n <= 15:
        raise ConfigurationError(f"no register R{n}")
    return n
