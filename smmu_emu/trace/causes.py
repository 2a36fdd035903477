# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is behind an event: the instruction that the core executes, or the line of Python that calls.

Each instruction, and each line, becomes one `Origin` event when it is first met; events name it by
its number. What was put off (`Clock.after`) belongs to whoever put it off. Where symbols are known
an origin also says who called, by frame records (Arm's procedure call standard): most accesses to
registers are made by one small function. An address of the core counts as one instruction for as
long as the trace lasts: code that changes under a trace keeps the words that it had first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

from smmu_emu.clock import Appointment
from smmu_emu.trace.callers import CallStacks
from smmu_emu.trace.disassembly import disassemble
from smmu_emu.trace.events import Origin

if TYPE_CHECKING:
    from smmu_emu.cpu.core import Core
    from smmu_emu.machine import Machine
    from smmu_emu.trace.symbols import SymbolTable
    from smmu_emu.trace.tracer import Tracer

_ROOT = Path(__file__).resolve().parents[2]
_INSIDE = (f"{_ROOT / 'smmu_emu'}/", f"{_ROOT / 'pgtable'}/")

After = Callable[[int, Callable[[], None]], Appointment]


class Causes:
    """Finds, numbers and announces the origins of one trace's events.

    ``deferred`` is the cause of what runs late, while it runs. With ``python_lines`` False what no
    instruction caused has no cause: that saves half a microsecond an event.
    """

    unsaved = (
        *("_tracer", "_machine", "_symbols", "_python_lines", "deferred", "_clock", "_pc"),
        *("_now", "_last", "_stacks", "_instructions", "_known", "_lines", "_inside"),
    )

    def __init__(
        self,
        tracer: Tracer,
        machine: Machine | None,
        symbols: SymbolTable | None,
        *,
        python_lines: bool,
    ) -> None:
        self._tracer = tracer
        self._machine = machine
        self._symbols = symbols
        self._python_lines = python_lines
        self.deferred = 0
        self._clock = tracer.clock
        self._pc = self._now = -1
        self._last = 0
        self._stacks: CallStacks | None = None
        if symbols is not None and machine is not None:
            self._stacks = CallStacks(symbols, machine.memory)
        self._instructions: dict[tuple[int, ...], int] = {}
        self._known: dict[tuple[int, tuple[str, ...]], int] = {}
        self._lines: dict[tuple[CodeType, int], int] = {}
        self._inside: dict[CodeType, bool] = {}

    def find(self) -> int:
        """The number of the origin of what happens now; 0 if there is none."""
        if self.deferred:
            return self.deferred
        core = self._machine.running_core if self._machine is not None else None
        if core is None:
            return self._caller() if self._python_lines else 0
        pc, now = core.pc, self._clock.now
        if pc == self._pc and now == self._now:
            return self._last
        stack = (pc,) if self._stacks is None else self._stacks.raw(core)
        self._pc, self._now = pc, now
        self._last = self._instructions.get(stack) or self._meet(core, stack)
        return self._last

    def after(self, after: After) -> After:
        """Stands before `Clock.after`: what runs late keeps its cause."""

        def observed(delay: int, action: Callable[[], None]) -> Appointment:
            cause = self.find() if delay > 0 else 0
            return after(delay, self._caused(cause, action) if cause else action)

        return observed

    def _caused(self, cause: int, action: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            outer, self.deferred = self.deferred, cause
            try:
                action()
            finally:
                self.deferred = outer

        # Snapshots keep, and tell files of, what is behind this function.
        run.__wrapped__ = action  # type: ignore[attr-defined]
        return run

    def _meet(self, core: Core, stack: tuple[int, ...]) -> int:
        """A stack that is new may be one that is known, with other garbage beside it."""
        pc = stack[0]
        callers = () if self._stacks is None else self._stacks.callers(stack)
        number = self._known.get((pc, callers))
        if number is None:
            word = core.read_virtual(pc, 4)
            text = "" if word is None else disassemble(word, pc, core.isa)
            symbol, offset, source = "", 0, ""
            if self._symbols is not None:
                place = self._symbols.find(pc)
                symbol, offset, source = place.symbol or "", place.offset, place.source or ""
            number = self._announce(pc, word, symbol, offset, source, text, callers)
            self._known[pc, callers] = number
        self._instructions[stack] = number
        return number

    def _caller(self) -> int:
        """The innermost line of Python that is not of this project's packages."""
        frame = sys._getframe(2)
        inside = self._inside
        while True:
            code = frame.f_code
            known = inside.get(code)
            if known is None:
                known = inside[code] = code.co_filename.startswith(_INSIDE)
            if not known:
                break
            if frame.f_back is None:
                return 0
            frame = frame.f_back
        line = frame.f_lineno
        number = self._lines.get((code, line))
        if number is None:
            source = f"{Path(code.co_filename).name}:{line}"
            number = self._announce(None, None, code.co_qualname, 0, source, "")
            self._lines[code, line] = number
        return number

    def _announce(
        self,
        pc: int | None,
        word: bytes | None,
        symbol: str,
        offset: int,
        source: str,
        text: str,
        callers: tuple[str, ...] = (),
    ) -> int:
        tracer = self._tracer
        seq = tracer.next()
        now = tracer.clock.now
        tracer.emit(Origin(seq, now, "machine", 0, pc, word, symbol, offset, source, text, callers))
        return seq
