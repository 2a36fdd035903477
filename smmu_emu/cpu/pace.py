# SPDX-License-Identifier: GPL-2.0-or-later
"""Time and interruptions of one core: what ends a slice, and what has to be done about it then.

Virtual time is instructions times a fixed number of nanoseconds, counted from where the last slice
began; idling moves it without instructions. Callbacks from the engine must neither raise nor change
the guest's state, so they leave here what is to be done, and end the slice.
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.clock import Clock
from smmu_emu.cpu.execution import Execution

LONGEST_SLICE = 1 << 20
"""Instructions; bounds how long Ctrl-C waits, and costs nothing measurable."""


class PendingException(NamedTuple):
    """A synchronous exception that a callback decided on, for the instruction at its PC.

    ``iss`` are the syndrome's low 25 bits. ``data_abort`` means class 0x24/0x25, ``fetch_abort``
    0x20/0x21; neither is an undefined instruction.
    """

    data_abort: bool
    iss: int = 0
    far: int | None = None
    fetch_abort: bool = False


class Pace:
    """The running slice of one core."""

    wiring = ("engine", "clock", "ns")
    unsaved = ("_before", "_counters", "origin", "_end")

    def __init__(self, engine: Execution, clock: Clock, ns_per_instruction: int) -> None:
        self.engine = engine
        self.clock = clock
        self.ns = ns_per_instruction
        self.running = False
        self._cancelled = self._again = False
        self.failure: BaseException | None = None
        self.pending: PendingException | None = None
        self._before: object = None
        self._instructions = 0
        self.origin = 0
        """Virtual time at which the slice's instruction number 0 would have begun."""
        self._end = 0
        self.slice_was_whole = False
        """The last slice ran to the end it was given, nothing came between."""
        self._counters = engine.counters

    @property
    def instructions(self) -> int:
        """Instructions begun since reset."""
        return self._instructions + (self.engine.begun if self.running else 0)

    def reset(self) -> None:
        """Count from zero again; time goes on."""
        self._instructions = 0
        self._forget()

    def _forget(self) -> None:
        self._cancelled = self._again = self.engine.deaf = False
        self.failure, self.pending, self._before = None, None, None

    def before_kept(self) -> bool:
        """Undo an instruction that a callback failed in, if Ctrl-C came between."""
        cancelled = self._cancelled
        if cancelled:
            self._undo()
            self._forget()
        return cancelled

    def slice(self, most: int) -> int:
        """Execute until something ends the slice; the engine's error code.

        Raises: whatever a callback raised; the instruction has not executed then.
        """
        self.before_kept()  # Ctrl-C may have come between a callback's decision and its execution
        clock, ns = self.clock, self.ns
        begun_at = clock.now
        count = min(most, LONGEST_SLICE)
        deadline = clock.next_deadline()
        if deadline is not None:
            count = max(1, min(count, -((begun_at - deadline) // ns)))
        self.origin = begun_at - ns
        self._end = begun_at + count * ns
        self.running, self.slice_was_whole = True, False
        try:
            error = self.engine.start(count)
        finally:  # Ctrl-C arrives here
            executed = self.engine.begun
            self.running = False
            self._instructions += executed
            clock.now = begun_at + executed * ns
        self.slice_was_whole = executed >= count and not error
        if self._cancelled:
            self._undo()
        return error

    def skip(self, deadline: int, most: int) -> int:
        """Count instructions up to ``deadline``, at most ``most``, that would change nothing."""
        clock, ns = self.clock, self.ns
        count = min(most, -((clock.now - deadline) // ns))
        self._instructions += count
        clock.advance(clock.now + count * ns)
        return count

    def count_one(self) -> None:
        """Count an instruction that was done without the engine."""
        self._instructions += 1
        self.clock.advance(self.clock.now + self.ns)

    def _undo(self) -> None:
        self.engine.restore(self._before)
        failure = self.failure
        if failure is not None:
            self._forget()
            raise failure

    def take_pending(self) -> PendingException | None:
        """The exception a callback decided on, once."""
        pending = self.pending
        if pending is not None:
            self._forget()
        return pending

    def take_again(self) -> bool:
        """Whether a callback wants the instruction executed again, once."""
        again = self._again
        if again:
            self._forget()
        return again

    # -- for callbacks

    def sync(self) -> None:
        """Set the clock to the instruction that is executing."""
        self.clock.now = self.origin + self._counters[0] * self.ns

    @property
    def time(self) -> int:
        """Virtual time of the instruction that is executing."""
        return self.origin + self._counters[0] * self.ns

    def sync_to_fetch(self) -> None:
        """Set the clock to the instruction that is fetched: the one after those that have begun."""
        self.clock.now = self.origin + (self._counters[0] + 1) * self.ns

    def settle(self) -> None:
        """End the slice at the clock's next deadline, if that came nearer."""
        deadline = self.clock.next_deadline()
        if deadline is not None and deadline < self._end:
            self._end = deadline
            first = self.origin + self.ns
            self.engine.end_slice_at(-((first - deadline) // self.ns))

    def interrupt(self) -> None:
        """Something changed that the run must look at: end the slice after this instruction."""
        if self.running:
            self.engine.end_slice()

    def cancel(self, pending: PendingException) -> None:
        """The instruction that is executing takes this exception instead."""
        self.pending = pending
        self._undo_later()

    def repeat(self) -> None:
        """Undo the instruction that is executing; it is executed again in the next slice."""
        self._again = True
        self._undo_later()

    def refuse(self, pending: PendingException) -> None:
        """As `cancel`, where the engine itself undoes the instruction and ends the slice."""
        self.pending = pending

    def fail(self, failure: BaseException) -> None:
        """A callback raised: undo the instruction in progress, and raise this from `slice`."""
        if self.failure is None:
            self.failure = failure
        self._undo_later()

    def _undo_later(self) -> None:
        if not self._cancelled:
            self._cancelled = self.engine.deaf = True
            self._before = self.engine.save()
            self.interrupt()

    @property
    def pc(self) -> int:
        """Address of the instruction that is executing, or that will be next."""
        return self.engine.pc
