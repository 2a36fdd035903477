# SPDX-License-Identifier: GPL-2.0-or-later
"""Watchpoints of a debugger: a slice ends after the instruction that accessed some bytes of RAM.

What is watched is memory, not an address: the bytes that the virtual address means when the
watchpoint is made, through whatever mapping the core reaches them. Counts do not change; code runs
at a fraction of its speed as long as there are any. Accesses of DMA masters, of table walks and of
semihosting are not seen.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.pace import Pace

_WIDEST = 16
"""Bytes that the engine accesses at once, at most."""


class WatchKind(Enum):
    """What kind of access a watchpoint looks for."""

    WRITE = "write"
    READ = "read"
    ACCESS = "access"


class Watchpoint(NamedTuple):
    """``size`` bytes at virtual address ``va``."""

    kind: WatchKind
    va: int
    size: int


class Watchpoints:
    """The watchpoints of one core. ``hit`` is the one that ended the last slice."""

    unsaved = ("*",)

    def __init__(self, engine: Execution, pace: Pace) -> None:
        from unicorn import unicorn_const

        self._engine = engine
        self._pace = pace
        read, write = unicorn_const.UC_HOOK_MEM_READ, unicorn_const.UC_HOOK_MEM_WRITE
        self._hook_kinds = {
            WatchKind.WRITE: write,
            WatchKind.READ: read,
            WatchKind.ACCESS: read | write,
        }
        self._hooks: dict[Watchpoint, int] = {}
        self.hit: Watchpoint | None = None

    def add(self, watchpoint: Watchpoint, pa: int) -> None:
        """Watch the bytes of RAM from ``pa`` on, which do not leave their page."""
        if watchpoint in self._hooks:
            return
        end = pa + watchpoint.size

        def accessed(
            _engine: object, _kind: int, at: int, size: int, _value: int, _user: object
        ) -> None:
            try:
                if at < end and pa < at + size and self.hit is None:
                    self.hit = watchpoint
                    self._pace.interrupt()
            except BaseException as error:
                self._pace.fail(error)

        kind = self._hook_kinds[watchpoint.kind]
        first = max(pa - _WIDEST + 1, 0)
        self._hooks[watchpoint] = self._engine.hook(
            kind, abi.MemoryAccessed(accessed), first, end - 1
        )
        self._engine.drop_all_code()  # it accesses memory without asking for hooks

    def remove(self, watchpoint: Watchpoint) -> None:
        """Watch no longer; harmless if nobody does."""
        hook = self._hooks.pop(watchpoint, None)
        if hook is not None:
            self._engine.unhook(hook)
            self._engine.drop_all_code()

    def take_hit(self) -> Watchpoint | None:
        """The watchpoint that ended the last slice, once."""
        hit, self.hit = self.hit, None
        return hit
