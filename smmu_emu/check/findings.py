# SPDX-License-Identifier: GPL-2.0-or-later
"""What a finding is: its kind, which is the same for all of a name, and what happened this time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from smmu_emu.trace.events import Event

ERROR, WARNING, ADVICE = "error", "warning", "advice"
SEVERITIES = (ERROR, WARNING, ADVICE)
"""From the worst to the mildest. Errors break a rule of the architecture; warnings are mistakes
that a rule does not forbid in so many words, or that had no time to do harm; advice is about speed
and about what the checker cannot see."""


class Kind(NamedTuple):
    """A name that findings have: ``rule`` cites the architecture, ``advice`` says what to do."""

    name: str
    severity: str
    summary: str
    rule: str
    advice: str


class Found(NamedTuple):
    """One occurrence of a kind. ``story`` are the events that led to it, in order."""

    kind: Kind
    unit: str
    text: str
    story: tuple[Event, ...]
    stream_id: int | None = None
    iova: int | None = None
    severity: str = ""
    """Another one than the kind's, if this occurrence is milder or worse."""

    @property
    def weight(self) -> str:
        """The severity of this occurrence."""
        return self.severity or self.kind.severity


def story_of(*events: Event | Iterable[Event | None] | None) -> tuple[Event, ...]:
    """Events in the order in which they happened, each once."""
    flat: dict[int, Event] = {}
    for one in events:
        if one is None:
            continue
        # An event is a named tuple, so it has to be told apart from a list of them.
        parts: Iterable[Event | None] = (one,) if hasattr(one, "seq") else one  # type: ignore[assignment]
        for event in parts:
            if event is not None:
                flat[event.seq] = event
    return tuple(flat[seq] for seq in sorted(flat))
