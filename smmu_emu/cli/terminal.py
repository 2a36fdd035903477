# SPDX-License-Identifier: GPL-2.0-or-later
"""Who types on the guest's console: the terminal, a pipe, or a list of commands.

At a terminal every key goes to the guest, Ctrl-C too. As in QEMU, Ctrl-A x ends the run and Ctrl-A
Ctrl-A is one Ctrl-A. While the guest is idle its time then passes as people's does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smmu_emu.machine import Machine, RunResult

_ESCAPE = 0x01
_SLICES = 10_000, 5_000_000
"""Instructions between two looks at the keyboard, at least and at most."""
_LOOK = 0.03
"""Seconds between two looks; a guest that polls a device is a hundred times slower than others."""
_NAP = 0.1
"""Seconds that an idle guest sleeps at most before signals are looked at."""
TERMINATED = 143


class Keyboard:
    """Standard input, typed on the console of ``machine`` as it comes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._input = sys.stdin.fileno()
        self._open = True
        self._escaped = False
        self.end: Callable[[str], None] = lambda reason: machine.core.request_exit(reason)
        self.at_terminal = sys.stdin.isatty() and sys.stdout.isatty()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Keys arrive one by one and unchanged; the terminal is itself again afterwards."""
        core = self.machine.core
        core.idle = self._rest
        before = termios.tcgetattr(self._input) if self.at_terminal else None

        def stop(number: int, frame: FrameType | None) -> None:
            core.request_exit("terminated", TERMINATED)

        old = signal.signal(signal.SIGTERM, stop)
        try:
            if before is not None:
                tty.setraw(self._input)
            yield
        finally:
            core.idle = None
            signal.signal(signal.SIGTERM, old)
            if before is not None:
                termios.tcsetattr(self._input, termios.TCSADRAIN, before)

    def run(self, max_instructions: int | None) -> RunResult:
        """Run the machine, looking at the keyboard now and then."""
        from smmu_emu.cpu.exit import ExitKind

        left = max_instructions
        least, most = _SLICES
        pace = least
        while True:
            count = pace if left is None else min(left, pace)
            before, begun = self.machine.core.instructions, time.monotonic()
            result = self.machine.run(count)
            took = max(time.monotonic() - begun, 1e-6)
            pace = min(max(least, int(pace * min(_LOOK / took, 4))), most)
            if result.kind is not ExitKind.MAX_INSTRUCTIONS:
                return result
            if left is not None:
                left -= result.instructions - before
                if left <= 0:
                    return result._replace(reason=f"{max_instructions} instructions executed")
            self._look(0)

    def _rest(self, deadline: int | None) -> int | None:
        """The core is idle: sleep up to its deadline or a key."""
        now = self.machine.clock.now
        if not self._open:
            return deadline
        wait = _NAP if deadline is None else min(_NAP, (deadline - now) / 1e9)
        begun = time.monotonic_ns()
        self._look(max(wait, 0))
        passed = now + time.monotonic_ns() - begun
        if deadline is None:
            return passed if self._open else None
        return deadline if wait < _NAP and passed + 1_000_000 > deadline else min(passed, deadline)

    def look(self) -> None:
        """Type what there is now."""
        self._look(0)

    def _look(self, timeout: float) -> None:
        """Type what there is, waiting for it up to ``timeout`` seconds."""
        if not self._open or not select.select([self._input], [], [], timeout)[0]:
            return
        data = os.read(self._input, 4096)
        if not data:
            self._open = False
        self.machine.feed(self._without_escapes(data) if self.at_terminal else data)

    def _without_escapes(self, data: bytes) -> bytes:
        typed = bytearray()
        for key in data:
            if self._escaped:
                self._escaped = False
                if key in b"xX":
                    self.end("ended at the terminal")
                elif key == _ESCAPE:
                    typed.append(key)
            elif key == _ESCAPE:
                self._escaped = True
            else:
                typed.append(key)
        return bytes(typed)


class Script:
    """Commands typed one by one, each when the prompt has come; then the run ends.

    Give it all output of ``machine``, in `hear`. A line with ``wake`` in it makes it press Enter,
    once in a line.
    """

    def __init__(
        self, machine: Machine, commands: Iterable[str], prompt: str, wake: str = ""
    ) -> None:
        self.machine = machine
        self._commands = deque(commands)
        self._prompt = prompt.encode()
        self._wake = wake.encode()
        self._line = bytearray()
        self._listening = True

    def hear(self, data: bytes) -> None:
        """The guest printed something."""
        for byte in data:
            if byte in b"\r\n":
                self._line.clear()
                self._listening = True  # what was typed has been echoed
            else:
                self._line.append(byte)
                if self._wake and self._line.endswith(self._wake):
                    self.machine.feed(b"\n")
                if self._listening and self._line.endswith(self._prompt):
                    self._type()

    def _type(self) -> None:
        self._listening = False
        if self._commands:
            self.machine.feed(self._commands.popleft().encode() + b"\n")
        else:
            self.machine.core.request_exit("all commands were executed")
