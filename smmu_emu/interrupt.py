# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupt lines: what a device raises and what a controller, a test or an injector listens to."""

from __future__ import annotations

from collections.abc import Callable


class InterruptLine:
    """One wire. Edge sources call `pulse`, level sources `set`.

    ``sink`` takes the new level; ``pulses`` counts rising edges, which is what tests look at.
    """

    __slots__ = ("interposed", "level", "name", "pulses", "sink")
    wiring = ("name", "sink")

    def __init__(self, name: str, sink: Callable[[bool], None] | None = None) -> None:
        self.name = name
        self.level = False
        self.pulses = 0
        self.sink = sink

    def set(self, level: bool) -> None:
        """Drive the wire to ``level``; nothing happens when it is there already."""
        if level == self.level:
            return
        self.level = level
        self.pulses += level
        if self.sink is not None:
            self.sink(level)

    def pulse(self) -> None:
        """A rising edge and back."""
        self.set(True)
        self.set(False)
