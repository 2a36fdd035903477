# SPDX-License-Identifier: GPL-2.0-or-later
"""An AArch64 core, executed by Unicorn, whose time is virtual and whose runs repeat exactly.

The guest has EL1 and EL0, or EL2 as well, AArch64, the MMU, IRQ and FIQ, the generic timer, PSCI
and semihosting. What lies above is this package: SMC ends here, and so does HVC where the guest
starts at EL1. Virtual time advances by a fixed number of nanoseconds an instruction; a slice of
execution ends at the clock's next deadline, and right after an instruction whose device access
raised an interrupt or asked the run to end.

DCZID_EL0 calls DC ZVA prohibited, as a hypervisor may, until a guest uses it without asking; a
guest that starts at EL2 decides for itself.

Left out: EL3 for the guest, AArch32, SError, VHE (which no model here has), hardware breakpoints,
performance monitors and EL2's traps of both, and what the engine does not check: floating point
works whatever CPACR_EL1 says, SP may be misaligned, misaligned accesses to RAM pass with the MMU
off, execution goes on after an illegal exception return, and the core's own table walks read zero
outside RAM instead of aborting.

Reference: Arm DDI 0487 (D1 exceptions, D8 address translation, D12 generic timer).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smmu_emu.clock import Clock
from smmu_emu.cpu.codewatch64 import CodeWatch64
from smmu_emu.cpu.core import Core
from smmu_emu.cpu.engine import EL2H_MASKED, HCR_EL2, PC, SCR_EL3, Engine
from smmu_emu.cpu.execution import MASK64
from smmu_emu.cpu.interrupts import InterruptInputs
from smmu_emu.cpu.loadstore import decode
from smmu_emu.cpu.mmio import MemoryAccess
from smmu_emu.cpu.models import AARCH64_MODELS, GUEST_MODELS
from smmu_emu.cpu.names import SYSTEM
from smmu_emu.cpu.semihosting import Semihosting
from smmu_emu.cpu.sysregs import SystemRegisters
from smmu_emu.cpu.timer import Timer
from smmu_emu.cpu.traps import HCR_TDZ, Traps
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PhysicalMemory
from smmu_emu.system_registers import SystemDevice

if TYPE_CHECKING:
    from smmu_emu.cpu.client import Client, ClientEngine

_SCR = 0x1501  # NS, HCE, RW, TWI
_HCR_RW = 1 << 31
_EL1H_MASKED = 0x3C5
_BRANCH_TO_SELF = 0x1400_0000
_PATIENCE = 1_000_000
"""Events on the clock that a waiting core lets pass before it is called dead."""


class Aarch64Core(Core):
    """One core on a memory map that is complete: add RAM and windows before making it.

    The core starts in EL1h or EL2h, non-secure, MMU off, as firmware or PSCI would enter an image.

    ``console`` takes what the guest prints through semihosting. ``unmodelled`` is told, once a
    site, of system registers the guest touched that nobody models: ``(what, pc)``. With ``client``
    the core's accesses are translated by an SMMU in place of its own MMU.

    Raises: ConfigurationError for a model that does not exist.
    """

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
        client: Client | None = None,
    ) -> None:
        if model not in AARCH64_MODELS:
            raise ConfigurationError(
                f"no core model {model!r} for guests; there are {', '.join(GUEST_MODELS)}"
            )
        self._client: ClientEngine | None = None
        if client is not None:
            self._client = _client_engine(memory, model, client)
        self._engine: Engine = self._client or Engine(memory, model)
        self._begin_as_firmware_would()
        super().__init__(self._engine, memory, clock, ns_per_instruction, unmodelled)
        engine, pace, virtual, plans = self._engine, self._pace, self._virtual, self._plans
        self._interrupts = self._inputs = interrupts = InterruptInputs(engine, pace)
        self.irq, self.fiq = interrupts.irq, interrupts.fiq
        self.virq, self.vfiq = interrupts.virq, interrupts.vfiq
        physical, hypervisor = Timer(clock, "physical timer"), Timer(clock, "hypervisor timer")
        virtual_timer = Timer(clock, "virtual timer")
        self.physical_timer, self.virtual_timer = physical.line, virtual_timer.line
        self.hypervisor_timer = hypervisor.line
        timers = physical, virtual_timer, hypervisor
        self._system = SystemRegisters(engine, pace, timers, self._report)

        system = self._system
        self._code = CodeWatch64(engine, memory, pace, plans, system.read, system.write)
        host = Semihosting(virtual, clock, console or (lambda _: None), command_line)
        self._traps = Traps(engine, pace, memory, virtual, self._state, system, host, self._report)
        memory.code_written = self._code.written
        self._pristine = {1: engine.save()}
        self._begin_as_firmware_would(2)
        self._pristine[2] = engine.save()
        engine.restore(self._pristine[1])
        if self._client is not None:
            self._client.connect(pace, plans, self._report)

    def _begin_as_firmware_would(self, level: int = 1) -> None:
        engine = self._engine
        hcr = _HCR_RW | HCR_TDZ if level == 1 else 0
        engine.set_system(SCR_EL3, _SCR)
        engine.set_system(HCR_EL2, hcr)
        engine.set_system(SYSTEM["CPACR_EL1"], 0)
        engine.set("PSTATE", _EL1H_MASKED if level == 1 else EL2H_MASKED)
        engine.settle_state()

    # -- what others look at

    @property
    def system_device(self) -> SystemDevice | None:
        """Who answers for system registers that are no part of the core, as a GIC's are."""
        return self._system.device

    @system_device.setter
    def system_device(self, device: SystemDevice | None) -> None:
        self._system.device = device

    @property
    def isa(self) -> str:
        """What PC's instruction is written in."""
        return "a64"

    @property
    def highest_level(self) -> int:
        """The exception level that the guest started at, 1 or 2."""
        return self._system.highest

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
            value = self._system.read_timer(SYSTEM[name])
            return self._engine.get_system(SYSTEM[name]) if value is None else value
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
            if not self._system.write_timer(SYSTEM[name], value):
                self._engine.set_system(SYSTEM[name], value)
        elif self._engine.has(name):
            self._engine.set(name, value)
            self._engine.settle_state()
        else:
            raise ConfigurationError(f"no register {name!r}")

    # -- running

    def reset(self, entry: int, *, el: int = 1, x0: int = 0) -> None:
        """Put the core in its reset state, about to execute ``entry`` at ``el`` with ``x0`` in X0.

        Memory, virtual time and the interrupt inputs stay as they are.

        Raises: ConfigurationError for an exception level the guest cannot have.
        """
        if el not in self._pristine:
            raise ConfigurationError(f"an image starts at EL1 or EL2 here, not at EL{el}")
        self._check_stopped()
        self._engine.restore(self._pristine[el])
        self._inputs.after_put_back()
        self._engine.flush_tlb()
        self._system.highest = el
        self._traps.reset()
        self._engine.registers[PC] = entry & MASK64
        self._engine.registers[0] = x0 & MASK64
        self._begin_anew()
        self._system.reset()

    def forget_translations(self) -> None:
        """Ask for every translation anew, from the next instruction on. For an SMMU that changed.

        Only a core that is a client of one has something to forget.
        """
        if self._client is not None:
            self._client.forget()

    def _access_at(self, pc: int) -> MemoryAccess | None:
        word = self._virtual.instruction(pc)
        return None if word is None else decode(word)

    def _spins(self) -> bool:
        return self._virtual.instruction(self.pc) == _BRANCH_TO_SELF


def _client_engine(memory: PhysicalMemory, model: str, client: Client) -> ClientEngine:
    """Few cores are behind an SMMU: what that takes is loaded for those."""
    from smmu_emu.cpu.client import ClientEngine

    return ClientEngine(memory, model, client)


def _general(n: int) -> int:
    if not 0 <= n <= 30:
        raise ConfigurationError(f"no register X{n}")
    return n
