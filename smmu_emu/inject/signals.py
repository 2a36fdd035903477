# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of interrupt wires and of the clock.

A fault strikes when a wire rises; the fall that belongs to a rise shares its fate. Actions of the
clock have the names of `ACTIONS`, or the name of the function that is to be called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smmu_emu.clock import Appointment
from smmu_emu.inject.armed import Access
from smmu_emu.inject.effects import Delay, Drop, Duplicate, Reorder, Stuck

if TYPE_CHECKING:
    from smmu_emu.inject.injector import Injector
    from smmu_emu.interrupt import InterruptLine

Sink = Callable[[bool], None]
Action = Callable[[], None]

ACTIONS = {
    "Smmuv3._acknowledge_cr0": "cr0-acknowledge",
    "Smmuv3._acknowledge_irq_ctrl": "irq-ctrl-acknowledge",
    "Smmuv3._write_gbpa.<locals>.<lambda>": "gbpa-acknowledge",
    "CommandProcessor.run": "doorbell",
    "Timer._update": "timer",
}
"""Names of what the clock is asked to do, by function."""


def install(injector: Injector) -> None:
    """Stand before the wires' sinks and the clock, if faults aim at them."""
    if injector.wants("interrupt"):
        for line in _lines(injector):
            wire = _Wire(injector, line)
            injector.stand_before(line, "sink", wire.wrap)
    if injector.wants("clock"):
        injector.stand_before(
            injector.machine.clock, "after", lambda function: _after(injector, function)
        )


def _lines(injector: Injector) -> list[InterruptLine]:
    """Every wire of the board, and the SMMU's that lead nowhere."""
    interrupts = injector.smmu.interrupts
    own = [interrupts.eventq, interrupts.priq, interrupts.cmdq_sync, interrupts.gerror]
    found = {id(line): line for line in [*own, interrupts.wfe_event]}
    found |= {id(line): line for line in injector.machine.board.wires().values()}
    return list(found.values())


class _Wire:
    """One wire under faults. ``swallow``: the next fall belongs to a rise that nobody saw."""

    def __init__(self, injector: Injector, line: InterruptLine) -> None:
        self.injector = injector
        self.line = line
        self.swallow = False
        self.stuck = False

    def wrap(self, sink: Sink | None) -> Sink:
        def drive(level: bool) -> None:
            if sink is not None:
                sink(level)

        def pulse() -> None:
            drive(True)
            if not self.line.level:
                drive(False)

        def changed(level: bool) -> None:
            if self.stuck:
                return
            if not level:
                if self.swallow:
                    self.swallow = False
                else:
                    drive(False)
                return
            self._rises(drive, pulse)

        return changed

    def _rises(self, drive: Sink, pulse: Action) -> None:
        access = Access("interrupt", name=self.line.name)
        passes = True
        copies = 0
        for one in self.injector.struck(access):
            match one.fault.effect:
                case Drop():
                    passes = False
                case Delay(ns=ns):
                    passes = False
                    self.injector.later(ns, pulse)
                case Duplicate(copies=more):
                    copies += more
                case Reorder():
                    passes = False
                    self.injector.overtaken.append(pulse)
                case Stuck(value=value):
                    passes, self.stuck = False, True
                    if value:
                        drive(True)
            self.injector.tell(one, access)
        if not passes:
            self.swallow = True
            return
        for _ in range(copies):
            drive(True)
            drive(False)
        drive(True)
        waiting, self.injector.overtaken = self.injector.overtaken, []
        for action in waiting:
            action()


def _after(
    injector: Injector, function: Callable[[int, Action], Appointment]
) -> Callable[[int, Action], Appointment]:
    def after(delay: int, action: Action) -> Appointment:
        qualified = getattr(action, "__qualname__", type(action).__name__)
        access = Access("clock", name=ACTIONS.get(qualified, qualified))
        copies = 0
        lost = False
        for one in injector.struck(access):
            match one.fault.effect:
                case Drop():
                    lost = True
                case Delay(ns=ns):
                    delay += ns
                case Duplicate(copies=more):
                    copies += more
            injector.tell(one, access)
        if lost:
            never = Appointment(injector.machine.clock.now + delay, action)
            never.cancel()
            return never
        made = function(delay, action)
        for _ in range(copies):
            function(delay, action)
        return made

    return after
