# SPDX-License-Identifier: GPL-2.0-or-later
"""How long something takes: the best of a few rounds, so that noise only ever adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

ROUNDS = 5


class Row(NamedTuple):
    """One line of the table; ``aim`` is what we want it to be: "< 3", "> 20", or nothing."""

    name: str
    value: float
    unit: str
    aim: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None if there is none."""
        if not self.aim:
            return None
        relation, limit = self.aim.split()
        return self.value < float(limit) if relation == "<" else self.value > float(limit)


def per_call(function: Callable[[], object], calls: int, rounds: int = ROUNDS) -> float:
    """Seconds for one call, the loop's own cost taken off."""
    best = min(_loop(function, calls) for _ in range(rounds))
    empty = min(_loop(_nothing, calls) for _ in range(rounds))
    return max(best - empty, 0.0) / calls


def once(function: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds for one call of something that takes milliseconds or more."""
    return min(_loop(function, 1) for _ in range(rounds))


def _loop(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def _nothing() -> None:
    pass
