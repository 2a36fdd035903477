# SPDX-License-Identifier: GPL-2.0-or-later
"""The tap: where what happens inside a device comes out as typed events.

A device asks ``if tap.listeners`` before it builds an event, so that nobody pays for a trace that
nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smmu_emu.transaction import Fault


@dataclass(frozen=True)
class FaultEvent:
    """A transaction was refused. ``record`` is what reached the event queue, if anything did."""

    unit: str
    fault: Fault
    record: bytes | None


Listener = Callable[[FaultEvent], None]


class Tap:
    """The event outlet of one device."""

    unsaved = ("listeners",)

    def __init__(self) -> None:
        self.listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with every event from now on."""
        self.listeners.append(listener)

    def fault(self, unit: str, fault: Fault, record: bytes | None) -> None:
        """Emit a `FaultEvent`."""
        event = FaultEvent(unit, fault, record)
        for listener in self.listeners:
            listener(event)
