# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: everything that happens later than it was asked for waits here.

Time is an integer of nanoseconds and moves only when the machine says so: the core after a slice of
instructions, or a test. Two actions due at the same time run in the order in which they were asked
for, so that a run is the same every time.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

_FEW = 64


class Appointment:
    """An action that waits for its time; `cancel` it if it is no longer wanted."""

    __slots__ = ("action", "time")
    passing = True

    def __init__(self, time: int, action: Callable[[], None]) -> None:
        self.time = time
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Forget the action. Harmless when it has run already."""
        self.action = None


class Clock:
    """Virtual nanoseconds since the machine was built, and what is due when."""

    def __init__(self) -> None:
        self.now = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, Appointment]] = []
        self._room = _FEW

    def reset(self) -> None:
        """Back to time 0, with no action waiting."""
        self.now = 0
        self._sequence = 0
        self._heap.clear()

    def after(self, delay: int, action: Callable[[], None]) -> Appointment:
        """Run ``action`` in ``delay`` nanoseconds; at once, inline, when the delay is 0 or less."""
        appointment = Appointment(self.now + delay, action)
        if delay <= 0:
            appointment.action = None
            action()
        else:
            self._sequence += 1
            heappush(self._heap, (appointment.time, self._sequence, appointment))
            if len(self._heap) > self._room:
                self._drop_cancelled()
        return appointment

    def _drop_cancelled(self) -> None:
        """Cancelled actions far ahead would pile up: a timer leaves one each time it is set."""
        self._heap = [entry for entry in self._heap if entry[2].action is not None]
        heapify(self._heap)
        self._room = max(_FEW, 2 * len(self._heap))

    def next_deadline(self) -> int | None:
        """Time of the earliest action that waits, or None."""
        while self._heap and self._heap[0][2].action is None:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def advance(self, time: int) -> None:
        """Move on to ``time`` and run everything due until then, in order, each at its own time."""
        while (deadline := self.next_deadline()) is not None and deadline <= time:
            appointment = heappop(self._heap)[2]
            self.now = max(self.now, deadline)
            action, appointment.action = appointment.action, None
            if action is not None:
                action()
        self.now = max(self.now, time)
