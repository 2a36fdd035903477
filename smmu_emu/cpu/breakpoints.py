# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints of a debugger: a slice ends before the instruction at a virtual address executes.

The guest's memory is not touched, and neither are counts: the instruction has not begun when the
slice ends. The engine calls us at exactly those addresses; an address that had a breakpoint once
keeps its hook, since debuggers take breakpoints away and put them back at every stop, but not more
than a few of them: each hook makes code slower that is translated while it is there.

These are no part of the core that is modelled: the guest's own hardware breakpoints (DDI 0487 D2)
are not.
"""

from __future__ import annotations

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.pace import Pace
from smmu_emu.cpu.runstate import RunState, Waiting

_IDLE_HOOKS = 8
"""Hooks kept without a breakpoint."""


class Breakpoints:
    """The breakpoints of one core; ``addresses`` are virtual, whatever the translation regime."""

    wiring = ("_engine", "_pace", "_state")
    unsaved = ("addresses", "_hooks", "_callback", "_kind")

    def __init__(self, engine: Execution, pace: Pace, state: RunState) -> None:
        from unicorn import unicorn_const

        self._engine = engine
        self._pace = pace
        self._state = state
        self._kind = unicorn_const.UC_HOOK_CODE
        self._callback = abi.InstructionBegins(self._begins)
        self._hooks: dict[int, int] = {}
        self.addresses: set[int] = set()
        self.reached: int | None = None
        """Where the slice ended because of a breakpoint."""
        self._passing: tuple[int, int] | None = None
        """Address and instruction count of the breakpoint that the last run ended at."""

    def reset(self) -> None:
        """The core starts anew; breakpoints stay."""
        self.reached = self._passing = None

    def add(self, va: int) -> None:
        """Stop before the instruction at ``va`` from now on."""
        self.addresses.add(va)
        if va not in self._hooks:
            self._hooks[va] = self._engine.hook(self._kind, self._callback, va, va)
            self._engine.drop_all_code()  # translated without the hook, by whatever mapping

    def remove(self, va: int) -> None:
        """Stop there no more."""
        self.addresses.discard(va)
        idle = [address for address in self._hooks if address not in self.addresses]
        if len(idle) > _IDLE_HOOKS:
            for address in idle:
                self._engine.unhook(self._hooks.pop(address))
            self._engine.drop_all_code()

    def before_run(self) -> None:
        """A branch to itself that has a breakpoint is executed, not skipped over."""
        if self._state.waiting is Waiting.IN_A_SPIN and self._pace.pc in self.addresses:
            self._state.waiting = Waiting.NOT

    def take_reached(self) -> int | None:
        """Where a breakpoint ended the last slice, once; the next run goes on from there."""
        reached, self.reached = self.reached, None
        if reached is not None:
            self._passing = reached, self._pace.instructions
        return reached

    def _begins(self, _engine: object, va: int, _size: int, _user: object) -> None:
        """The engine is about to execute the instruction at ``va``, and has counted it."""
        pace = self._pace
        try:
            if va in self.addresses and self._passing != (va, pace.instructions - 1):
                self.reached = va
                self._engine.stop_before_instruction()
        except BaseException as error:
            pace.fail(error)
