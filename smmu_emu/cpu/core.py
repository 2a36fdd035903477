# SPDX-License-Identifier: GPL-2.0-or-later
"""A core, executed by Unicorn, whose time is virtual and whose runs repeat exactly.

What does not depend on the execution state: the loop of slices, waiting, breakpoints, how runs end.
Virtual time advances by a fixed number of nanoseconds an instruction; a slice of execution ends at
the clock's next deadline, and right after an instruction whose device access raised an interrupt or
asked the run to end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Protocol

from smmu_emu.clock import Clock
from smmu_emu.cpu import abi
from smmu_emu.cpu.breakpoints import Breakpoints
from smmu_emu.cpu.codewatch import CodeWatch
from smmu_emu.cpu.execution import MASK64, Execution
from smmu_emu.cpu.exit import ExitInfo, ExitKind
from smmu_emu.cpu.faults import MemoryFaults
from smmu_emu.cpu.mmio import InstructionPlans, MemoryAccess
from smmu_emu.cpu.pace import Pace
from smmu_emu.cpu.rom import RomPort, port_of
from smmu_emu.cpu.runstate import RunState, Waiting
from smmu_emu.cpu.virtual import VirtualMemory
from smmu_emu.cpu.watchpoints import Watchpoint, Watchpoints
from smmu_emu.cpu.writewatch import Stored, WriteWatch
from smmu_emu.errors import ConfigurationError, EmulatorError
from smmu_emu.interrupt import InterruptLine
from smmu_emu.memory import PAGE, PhysicalMemory

_FETCH_ERRORS = (abi.FETCH_UNMAPPED, abi.FETCH_PROT)
_PATIENCE = 1_000_000
"""Events on the clock that a waiting core lets pass before it is called dead."""


class Inputs(Protocol):
    """The interrupt inputs of a core, as its loop needs them."""

    @property
    def pending(self) -> bool: ...

    @property
    def will_be_taken(self) -> bool: ...

    @property
    def irq_masked(self) -> bool: ...

    def drive(self) -> None: ...


class SliceEnds(Protocol):
    """What becomes of the end of a slice."""

    def after_slice(self, error: int) -> None: ...

    def pc_alignment_fault(self) -> None: ...

    def reset(self) -> None: ...


class Core(ABC):
    """One core on a memory map that is complete: add RAM and windows before making it."""

    irq: InterruptLine
    """The IRQ input, a level: the interrupt controller drives it."""
    fiq: InterruptLine
    """The FIQ input, a level."""
    physical_timer: InterruptLine
    """Physical timer's output, a level (PPI 30 on boards of Arm's kind): set its ``sink``."""
    virtual_timer: InterruptLine
    """Virtual timer's output, a level (PPI 27): set its ``sink``."""
    hypervisor_timer: InterruptLine
    """EL2 physical timer's output, a level (PPI 26): set its ``sink``."""
    idle: Callable[[int | None], int | None] | None
    """What an idle core does instead of skipping to the next thing on the clock, for people who
    watch: it gets that deadline (None: nothing is due), may sleep and feed devices, and answers up
    to when time has passed (None: nothing will ever come). Runs with it do not repeat exactly."""

    unsaved: tuple[str, ...] = ("idle", "_pristine")

    _code: CodeWatch
    _interrupts: Inputs
    _traps: SliceEnds
    control_register = "SCTLR_EL1"
    """Name of the register whose bits 0 and 2 enable the MMU and the data cache."""
    link_register = 30
    frame_register: int | None = 29
    """Of the procedure call standard; None where frames are not chained."""
    smallest_instruction = 4
    """Bytes; instructions are at multiples of it."""
    _last_address = MASK64

    def __init__(
        self,
        engine: Execution,
        memory: PhysicalMemory,
        clock: Clock,
        ns_per_instruction: int,
        unmodelled: Callable[[str, int], None] | None,
    ) -> None:
        if ns_per_instruction < 1:
            raise ConfigurationError(f"{ns_per_instruction} ns an instruction; 1 is the least")
        self._memory = memory
        self._clock = clock
        self._unmodelled = unmodelled
        self._reported: set[tuple[str, int]] = set()
        self._engine = engine
        self._state = RunState()
        self._pace = pace = Pace(engine, clock, ns_per_instruction)
        self._virtual = VirtualMemory(engine, memory)
        self._events_waited_for = 0
        self.idle = None
        self._plans = plans = InstructionPlans(engine, self._access_at)
        self._ports = [port_of(window, engine, pace, plans) for window in memory.windows]
        self._roms = [port for port in self._ports if isinstance(port, RomPort)]
        self._faults = MemoryFaults(engine, memory, pace, plans)
        self._breakpoints = Breakpoints(engine, pace, self._state)
        self._watchpoints = Watchpoints(engine, pace)
        self._write_watch = WriteWatch(engine, pace)
        self.watched: Watchpoint | None = None
        """What ended the last run, if that was a watchpoint."""

    @abstractmethod
    def reset(self, entry: int, *, el: int = 1, x0: int = 0) -> None:
        """Put the core in its reset state, about to execute ``entry``."""

    @abstractmethod
    def read(self, name: str) -> int:
        """A register by its architectural name."""

    @abstractmethod
    def write(self, name: str, value: int) -> None:
        """Write a register by its architectural name."""

    @property
    @abstractmethod
    def isa(self) -> str:
        """What PC's instruction is written in: "a64", "a32" or "t32"."""

    @property
    @abstractmethod
    def highest_level(self) -> int:
        """The exception level that the guest started at."""

    @abstractmethod
    def x(self, n: int) -> int:
        """General register number ``n``."""

    @abstractmethod
    def set_x(self, n: int, value: int) -> None:
        """Write general register number ``n``."""

    @abstractmethod
    def forget_translations(self) -> None:
        """Ask for every translation anew, from the next instruction on. For an SMMU that changed.

        Only a core that is a client of one has something to forget.
        """

    @abstractmethod
    def _access_at(self, pc: int) -> MemoryAccess | None:
        """What the instruction at ``pc`` does with memory."""

    # -- what others look at

    @property
    def pc(self) -> int:
        """Address of the instruction being executed: exact inside device callbacks too."""
        return self._pace.pc

    @property
    def instructions(self) -> int:
        """Instructions begun since reset, those included that ended in an exception."""
        return self._pace.instructions

    def translate(self, va: int) -> int | None:
        """Physical address of ``va`` for the core as it stands now; None where it would fault."""
        return self._virtual.translate(va)

    def read_virtual(self, va: int, size: int) -> bytes | None:
        """``size`` bytes of RAM at virtual address ``va``; None where not all of it is RAM."""
        return self._virtual.read(va, size)

    def physical_address(self, va: int) -> int | None:
        """Where virtual address ``va`` leads now, for loads or else execution; None: it faults."""
        return self._virtual.translate(va)

    def write_virtual(self, va: int, data: bytes) -> bool:
        """Write ``data`` to RAM that the core can read at ``va``, even if it could not write there.

        For debuggers and tests, between runs. False, and nothing written, where not all is RAM.
        """
        self._check_stopped()
        return self._virtual.overwrite(va, data)

    @property
    def breakpoints(self) -> frozenset[int]:
        """Virtual addresses that have a breakpoint."""
        return frozenset(self._breakpoints.addresses)

    def add_breakpoint(self, va: int) -> None:
        """End runs, with `ExitKind.BREAKPOINT`, before the instruction at ``va`` executes.

        Neither memory nor counts change. A run that ended so goes on with the next `run`. Not while
        running; breakpoints survive a reset.

        Raises: ConfigurationError for an address where no instruction can be.
        """
        self._check_stopped()
        if va % self.smallest_instruction or not 0 <= va <= self._last_address:
            raise ConfigurationError(f"no instruction can be at {va:#x}")
        self._breakpoints.add(va)

    def remove_breakpoint(self, va: int) -> None:
        """Take a breakpoint away; harmless if there is none. Not while running."""
        self._check_stopped()
        self._breakpoints.remove(va)

    def add_watchpoint(self, watchpoint: Watchpoint) -> None:
        """End runs, with `ExitKind.WATCHPOINT`, after an instruction that accessed these bytes.

        It watches the memory that the virtual address means now. Not while running.

        Raises: ConfigurationError where that is not RAM of one page.
        """
        self._check_stopped()
        _, va, size = watchpoint
        pa = self._virtual.translate(va)
        if not 0 < size <= PAGE - va % PAGE or pa is None or not self._memory.find_ram(pa, size):
            raise ConfigurationError(f"cannot watch {size} bytes at {va:#x}: no RAM of one page")
        self._watchpoints.add(watchpoint, pa)

    def remove_watchpoint(self, watchpoint: Watchpoint) -> None:
        """Take a watchpoint away; harmless if there is none. Not while running."""
        self._check_stopped()
        self._watchpoints.remove(watchpoint)

    def watch_stores(self, heard: Stored, words: Iterable[int] | None = None) -> None:
        """Call ``heard`` before each of the core's stores, or those into some words of 8 bytes.

        There is one that hears at a time. Not while running.
        """
        self._check_stopped()
        self._write_watch.begin(heard, words)

    def watch_no_stores(self) -> None:
        """Undo `watch_stores`. Harmless when done already; not while running."""
        self._check_stopped()
        self._write_watch.end()

    # -- running

    def _begin_anew(self) -> None:
        """What every reset does."""
        self._state.reset()
        self._pace.reset()
        self._code.reset()
        for rom in self._roms:
            rom.reset()
        self._breakpoints.reset()
        self._reported.clear()
        self._events_waited_for = 0

    def request_exit(self, reason: str, status: int = 0) -> None:
        """End the run right after the current instruction. For devices, timers and tests."""
        self._state.end(ExitKind.DEVICE, reason, status)
        self._pace.interrupt()

    def run(self, max_instructions: int | None = None) -> ExitInfo:
        """Execute until something ends the run.

        Raises: what a device, the console or an action on the clock raised. The instruction that
        called the device has not executed then.
        """
        self._check_stopped()
        clock, pace, state = self._clock, self._pace, self._state
        last = None if max_instructions is None else pace.instructions + max_instructions
        breakpoints = self._breakpoints
        breakpoints.before_run()
        self.watched = None
        while True:
            clock.advance(clock.now)
            if state.ending is not None:
                return self._ended()
            if state.waiting is Waiting.FOR_INTERRUPT:
                self._wait()
                continue
            left = 1 << 62 if last is None else last - pace.instructions
            if state.waiting is Waiting.IN_A_SPIN:
                left = self._spin(left)
            if left <= 0:
                reason = f"{max_instructions} instructions executed"
                state.end(ExitKind.MAX_INSTRUCTIONS, reason)
            if state.waiting is not Waiting.NOT or state.ending is not None:
                continue
            self._interrupts.drive()
            self._engine.settle()
            self._code.settle()
            for rom in self._roms:
                rom.settle()
            error = pace.slice(left)
            if pace.take_again() or (error in _FETCH_ERRORS and self._fetches_from_rom()):
                continue
            self._traps.after_slice(error)
            if breakpoints.reached is not None or self._watchpoints.hit is not None:
                self._end_for_debugger()
            if self._code.misaligned_pc:
                self._code.misaligned_pc = False
                self._traps.pc_alignment_fault()
            elif pace.slice_was_whole and self._spins():
                state.waiting = Waiting.IN_A_SPIN

    def _fetches_from_rom(self) -> bool:
        """Whether flash, which had become registers, can now be executed at PC."""
        pa = self._engine.translate(self._pace.pc, abi.PROT_EXEC)
        return pa is not None and any(rom.execute(pa) for rom in self._roms)

    def _check_stopped(self) -> None:
        if self._pace.running:
            raise EmulatorError("the core is running: a device can only request_exit()")

    def _end_for_debugger(self) -> None:
        reached, self.watched = self._breakpoints.take_reached(), self._watchpoints.take_hit()
        if reached is not None:
            self._state.end(ExitKind.BREAKPOINT, f"breakpoint at {reached:#x}")
        if self.watched is not None:
            kind, va, size = self.watched
            reason = f"{kind.value} of a watched {size} bytes at {va:#x}"
            self._state.end(ExitKind.WATCHPOINT, reason)

    def _ended(self) -> ExitInfo:
        assert self._state.ending is not None
        kind, status, reason = self._state.ending
        self._state.ending = None
        return ExitInfo(kind, status, reason, self.pc, self.instructions)

    # -- waiting

    def _wait(self) -> None:
        """WFI: let time pass up to an interrupt, or to where none can come."""
        if self._interrupts.pending:
            self._state.waiting = Waiting.NOT
            self._events_waited_for = 0
            return
        deadline = self._next_event() if self.idle is None else self._rest(self.idle)
        if deadline is not None:
            self._clock.advance(deadline)

    def _rest(self, idle: Callable[[int | None], int | None]) -> int | None:
        """Let the owner of the machine decide how long the core is idle."""
        time = idle(self._clock.next_deadline())
        if time is None and not self._interrupts.pending:
            self._state.end(ExitKind.DEADLOCK, self._why_dead("none can come"))
        return time

    def _spin(self, left: int) -> int:
        """A branch to itself: as though it were executed up to the next thing that happens.

        Answers what is left of a budget of ``left`` instructions.
        """
        if self._interrupts.will_be_taken or not self._spins():
            self._state.waiting = Waiting.NOT
            self._events_waited_for = 0
            return left
        deadline = self._next_event()
        return left if deadline is None else left - self._pace.skip(deadline, left)

    def _next_event(self) -> int | None:
        """When something happens that may end the wait; ends the run if nothing will."""
        deadline = self._clock.next_deadline()
        self._events_waited_for += 1
        if deadline is None:
            self._state.end(ExitKind.DEADLOCK, self._why_dead("none can come"))
        elif self._events_waited_for > _PATIENCE:
            self._state.end(ExitKind.DEADLOCK, self._why_dead(f"none among {_PATIENCE} events"))
            return None
        return deadline

    @abstractmethod
    def _spins(self) -> bool:
        """Whether the instruction at PC is a branch to itself."""

    def _why_dead(self, why: str) -> str:
        if self._state.waiting is Waiting.FOR_INTERRUPT:
            return f"waits for an interrupt before {self.pc:#x}: {why}"
        if self._interrupts.irq_masked:
            return f"spins for ever at {self.pc:#x}, a branch to itself, with interrupts masked"
        return f"spins at {self.pc:#x}, a branch to itself, until an interrupt: {why}"

    # -- the rest

    def _report(self, what: str, pc: int) -> None:
        if (what, pc) not in self._reported:
            self._reported.add((what, pc))
            if self._unmodelled is not None:
                self._unmodelled(what, pc)

    def close(self) -> None:
        """Give the memory's code watch back and free the engine."""
        self._memory.code_written = None
        self._memory.code_frames.clear()
        self._engine.close()
