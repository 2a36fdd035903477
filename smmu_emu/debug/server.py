# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a machine with a door open for debuggers: one at a time, at any time.

The machine runs in slices, and between two of them the door is looked at. Where slices end changes
nothing for the guest, so a run with a debugger is the run without, as long as the debugger changes
nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.debug.gdb import SIGSEGV, SIGTRAP, Leave, Session
from smmu_emu.debug.listener import Listener
from smmu_emu.debug.monitor import Monitor
from smmu_emu.debug.packets import Connection, ConnectionLostError
from smmu_emu.debug.target import Target
from smmu_emu.machine import RunResult

if TYPE_CHECKING:
    from smmu_emu.machine import Machine

_SLICE = 1 << 20
"""Instructions between two looks at the door and the debugger: some hundredths of a second."""
_NAP = 0.2
"""Seconds between two looks at Ctrl-C while nothing runs."""
KILLED = 130
"""Exit status of a run that the debugger killed."""
_STOPS = frozenset((ExitKind.BREAKPOINT, ExitKind.WATCHPOINT))
_STUCK = frozenset((ExitKind.DEADLOCK, ExitKind.LOCKUP))


class DebugServer:
    """Serves debuggers of ``machine`` through ``listener``; ``tell`` hears who comes and goes.

    ``between`` is called between slices, and now and then while nothing runs.
    """

    def __init__(self, machine: Machine, listener: Listener, tell: Callable[[str], None]) -> None:
        self._machine = machine
        self._core = machine.core  # made now, not by a signal handler
        self._listener = listener
        self._tell = tell
        self._monitor = Monitor(machine)
        self._target = Target(machine)
        self._connection: Connection | None = None
        self._session: Session | None = None
        self.between: Callable[[], None] = lambda: None
        self._asked_to_end: tuple[str, int] | None = None
        self._stuck: tuple[ExitKind, int] | None = None

    def request_exit(self, reason: str, status: int = 0) -> None:
        """End the run soon, whether the core runs or a debugger thinks. For signal handlers."""
        self._asked_to_end = reason, status
        self._core.request_exit(reason, status)

    def run(self, max_instructions: int | None = None, *, wait: bool = False) -> RunResult:
        """Run the machine to its end, at a debugger's command once there is one.

        With ``wait`` nothing is executed before a debugger came.
        """
        self._machine.run(0)  # reset, so that there are registers to look at
        try:
            while wait and self._session is None and self._asked_to_end is None:
                self.between()
                self._look_at_door(_NAP)
            return self._serve(max_instructions)
        finally:
            self._close()

    def attach(self, client: socket.socket) -> None:
        """Let a debugger in; the machine is stopped for it."""
        self._connection = Connection(client)
        self._session = Session(self._connection, self._target, self._monitor)
        self._stuck = None
        self._tell("a debugger attached")

    # -- inside

    def _serve(self, left: int | None) -> RunResult:
        budget = left
        while True:
            self.between()
            if self._asked_to_end is not None:
                return self._over(self._result(*self._asked_to_end))
            result = self._talk()
            if result is not None:
                return result
            if self._session is not None and self._session.stopped:
                continue
            before = self._core.instructions
            result = self._advance(left)
            if left is not None:
                left -= self._core.instructions - before
                if left <= 0 and result is not None and result.kind is ExitKind.MAX_INSTRUCTIONS:
                    result = result._replace(reason=f"{budget} instructions executed")
            if result is not None:
                return self._over(result)

    def _look_at_door(self, timeout: float) -> None:
        client = self._listener.accept(timeout)
        if client is not None:
            self.attach(client)

    def _talk(self) -> RunResult | None:
        """Hear what the debugger wants, if there is one; the result if that ends the run."""
        if self._session is None:
            self._look_at_door(0)
        session = self._session
        if session is None:
            return None
        try:
            session.talk(_NAP if session.stopped else 0)
        except ConnectionLostError as lost:
            self._part(f"{lost}; the run goes on")
            return None
        if session.leave is Leave.DETACH:
            self._part("the debugger detached; the run goes on")
        elif session.leave is Leave.KILL:
            self._part("the debugger ended the run")
            return self._result("killed by the debugger", KILLED)
        return None

    def _result(self, reason: str, status: int) -> RunResult:
        core = self._core
        return RunResult(ExitKind.DEVICE, status, reason, core.pc, core.instructions)

    def _advance(self, left: int | None) -> RunResult | None:
        """Run for a while; the result if that was the end."""
        session = self._session
        stepping = session is not None and session.stepping
        most = 1 if stepping else _SLICE
        result = self._machine.run(most if left is None else min(most, left))
        if result.kind is ExitKind.MAX_INSTRUCTIONS:
            if left is not None and left <= most:
                return result
            if stepping:
                self._stop(SIGTRAP)
            return None
        if result.kind in _STOPS and session is not None:
            self._stop(SIGTRAP)
            return None
        if result.kind in _STUCK and session is not None:
            # The place to look around; who goes on from there all the same has seen enough.
            stuck = result.kind, result.pc
            if self._stuck != stuck:
                self._stuck = stuck
                self._stop(SIGSEGV, f"{result.reason}; going on from here ends the run")
                return None
        return result

    def _stop(self, signal: int, note: str = "") -> None:
        assert self._session is not None
        try:
            self._session.stop(signal, note)
        except ConnectionLostError as lost:
            self._part(f"{lost}; the run goes on")

    def _over(self, result: RunResult) -> RunResult:
        if self._session is not None:
            try:
                self._session.stopped = False  # whatever it does, it hears of the end
                self._session.exited(result.status)
            except ConnectionLostError:
                self._tell("the debugger left before the end")
        return result

    def _part(self, why: str) -> None:
        self._tell(why)
        self._target.release()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._session = None

    def _close(self) -> None:
        if self._connection is not None:
            self._target.release()
            self._connection.close()
        self._listener.close()
