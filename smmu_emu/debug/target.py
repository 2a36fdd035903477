# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine as a debugger handles it: memory by virtual address, breakpoints, watchpoints.

Memory is RAM as the core sees it at its present exception level. Device registers are refused:
reading one may acknowledge an interrupt or take a byte from a FIFO, and the guest would notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smmu_emu.cpu.watchpoints import WatchKind, Watchpoint
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PAGE

if TYPE_CHECKING:
    from smmu_emu.cpu.core import Core
    from smmu_emu.machine import Machine

MAX_BREAKPOINTS = 1000
MAX_WATCHPOINTS = 16
"""Each of them makes every access to memory slower."""
WATCH_KINDS = {2: WatchKind.WRITE, 3: WatchKind.READ, 4: WatchKind.ACCESS}
"""By the types of GDB's Z packets."""
_TOP = 1 << 64


class Target:
    """What one debugger does to a stopped machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._breakpoints: set[tuple[int, int]] = set()
        self._watchpoints: set[Watchpoint] = set()

    @property
    def core(self) -> Core:
        return self.machine.core

    def read_memory(self, va: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``va``: as many as are RAM from there on, in one piece."""
        size = min(size, _TOP - va)
        data = self.core.read_virtual(va, size)
        if data is not None:
            return data
        found = bytearray()
        while len(found) < size:
            at = va + len(found)
            piece = self.core.read_virtual(at, min(size - len(found), PAGE - at % PAGE))
            if piece is None:
                break
            found += piece
        return bytes(found)

    def write_memory(self, va: int, data: bytes) -> bool:
        """Write to RAM; False, and nothing written, where not all of it is."""
        return va + len(data) <= _TOP and self.core.write_virtual(va, data)

    def add_breakpoint(self, kind: int, va: int) -> bool:
        """A breakpoint of GDB's type 0 or 1; False where none can be, or if there are too many."""
        if va % self.core.smallest_instruction or len(self._breakpoints) >= MAX_BREAKPOINTS:
            return False
        self._breakpoints.add((kind, va))
        self.core.add_breakpoint(va)
        return True

    def remove_breakpoint(self, kind: int, va: int) -> None:
        """Harmless if there is none."""
        self._breakpoints.discard((kind, va))
        if not any(address == va for _, address in self._breakpoints):
            self.core.remove_breakpoint(va)

    def add_watchpoint(self, kind: int, va: int, size: int) -> bool:
        """A watchpoint of GDB's type 2, 3 or 4; False where none can be, or if there are many."""
        watchpoint = Watchpoint(WATCH_KINDS[kind], va, size)
        if len(self._watchpoints) >= MAX_WATCHPOINTS:
            return False
        try:
            self.core.add_watchpoint(watchpoint)
        except ConfigurationError:
            return False
        self._watchpoints.add(watchpoint)
        return True

    def remove_watchpoint(self, kind: int, va: int, size: int) -> None:
        """Harmless if there is none."""
        watchpoint = Watchpoint(WATCH_KINDS[kind], va, size)
        self._watchpoints.discard(watchpoint)
        self.core.remove_watchpoint(watchpoint)

    def release(self) -> None:
        """Take away all breakpoints and watchpoints: the debugger leaves."""
        for watchpoint in self._watchpoints:
            self.core.remove_watchpoint(watchpoint)
        self._watchpoints.clear()
        for kind, va in list(self._breakpoints):
            self.remove_breakpoint(kind, va)
