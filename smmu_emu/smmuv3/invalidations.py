# SPDX-License-Identifier: GPL-2.0-or-later
"""Invalidation requests to endpoints, from their sending to their answer or timeout.

Spec: IHI 0070 3.9.1.4 (timeout), 3.9.1.5 (refusals), 4.7.3 (what CMD_SYNC waits for). Left out: the
Root Complex that would cut off an endpoint which does not answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from smmu_emu.ats import Endpoint, Invalidation
from smmu_emu.clock import Appointment, Clock


class Invalidations:
    """Invalidation requests under way, each until its answer or its timeout (nanoseconds).

    ``settled`` is called when the last one has ended. Spec: 3.9.1.4, 3.9.1.5.
    """

    def __init__(self, clock: Clock, timeout: int, settled: Callable[[], None]) -> None:
        self.clock = clock
        self.timeout = timeout
        self.settled = settled
        self.unsupported = 0
        self._sent = 0
        self._pending: dict[int, Appointment | None] = {}
        self._timed_out = False

    @property
    def waiting(self) -> bool:
        """Whether an answer is still awaited."""
        return bool(self._pending)

    def reset(self) -> None:
        """Forget whatever is under way, and that anything timed out."""
        for appointment in self._pending.values():
            if appointment is not None:
                appointment.cancel()
        self._pending.clear()
        self._timed_out = False
        self.unsupported = 0

    def send(self, endpoint: Endpoint, request: Invalidation) -> None:
        """Ask an endpoint to forget translations, and give it ``timeout`` for the answer."""
        self._sent += 1
        number = self._sent
        self._pending[number] = None
        endpoint.invalidate(request, partial(self._answered, number))
        if number in self._pending:
            appointment = self.clock.after(self.timeout, partial(self._expired, number))
            if number in self._pending:
                self._pending[number] = appointment

    def take_timeout(self) -> bool:
        """Whether a request timed out since this was last asked."""
        timed_out, self._timed_out = self._timed_out, False
        return timed_out

    def _answered(self, number: int, done: bool) -> None:
        """A refusal (UR) ends a request as well as its completion does."""
        if number in self._pending:
            self.unsupported += not done
            self._end(number)

    def _expired(self, number: int) -> None:
        self._timed_out = True
        self._end(number)

    def _end(self, number: int) -> None:
        appointment = self._pending.pop(number)
        if appointment is not None:
            appointment.cancel()
        if not self._pending:
            self.settled()
