# SPDX-License-Identifier: GPL-2.0-or-later
"""One image under many policies: does it come to the same?

A correct driver comes to the same outcome (`outcome`) under every policy. What it comes to without
one is what the others are compared with. A policy that shows a difference is cut down to as few
names as still show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import NamedTuple

from smmu_emu.machine import Machine
from smmu_emu.policy.choice import NAMES, Choice
from smmu_emu.policy.outcome import Observer, Outcome, differences

_FIRST = (
    ("keep", "prefetch", "table-pointers", "split", "bad-config", "late-effects", "late-dma"),
    ("forget", "merge", "late-commands", "late-effects", "late-acks", "late-dma"),
    ("evict", "prefetch", "table-pointers", "merge", "late-commands", "late-effects"),
)
"""What shows most in the fewest runs; then come single policies, then chance."""
_PATIENCE = 10
_SLACK = 2_000_000
"""A run under a policy may take so many times the instructions, and so many more."""


def choices(count: int) -> list[Choice]:
    """The first ``count`` of all policies that a sweep would try; always the same."""
    return list(islice(_choices(), count))


def _choices() -> Iterator[Choice]:
    for together in _FIRST:
        yield Choice.parse([*together, "seed=1"])
    for name in NAMES:
        yield Choice((name,), 1)
    random = Random(0)
    seed = 1
    while True:
        seed += 1
        names = random.sample(NAMES, random.randint(1, 6))
        if "forget" in names:
            names = [name for name in names if name not in ("keep", "prefetch")]
        yield Choice.parse([*names, f"seed={seed}"])


class Difference(NamedTuple):
    """A policy that shows a difference, with as few names as show one, and what it shows."""

    choice: Choice
    least: Choice
    lines: list[str]


class Sweep:
    """Runs of one machine, whose image is loaded; ``usual`` is what it comes to by itself."""

    def __init__(self, machine: Machine, max_instructions: int | None = None) -> None:
        self.machine = machine
        self.limit = max_instructions
        self.usual = self._run(None)
        if self.limit is None:
            self.limit = _PATIENCE * self.usual.instructions + _SLACK

    def try_out(self, choice: Choice) -> Difference | None:
        """Run under a policy; None if it comes to the same."""
        lines = self._differences(choice)
        if not lines:
            return None
        least = choice
        for name in choice.names:
            fewer = Choice(tuple(other for other in least.names if other != name), choice.seed)
            if fewer.names and (found := self._differences(fewer)):
                least, lines = fewer, found
        return Difference(choice, least, lines)

    def _differences(self, choice: Choice) -> list[str]:
        return differences(self.usual, self._run(choice))

    def _run(self, choice: Choice | None) -> Outcome:
        """From power-on, whatever was before."""
        machine = self.machine
        machine.use_policy("" if choice is None else str(choice))
        machine.reset()
        observer = Observer(machine)
        try:
            return observer.outcome(machine.run(self.limit))
        finally:
            observer.remove()
