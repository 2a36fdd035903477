# SPDX-License-Identifier: GPL-2.0-or-later
"""Findings for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from smmu_emu.check.findings import SEVERITIES, Found, Kind
from smmu_emu.trace.events import KIND_OF, Event, Origin
from smmu_emu.trace.text import MOST_CALLERS, Describer, place_of

if TYPE_CHECKING:
    from smmu_emu.check.checker import Checker

SHOWN = 3
"""Findings of one kind that are told with their story; the others are counted."""


class Finding:
    """A mistake, or advice: ``count`` times by one instruction, told by the first occurrence."""

    def __init__(self, found: Found, cause: int, origins: dict[int, Origin]) -> None:
        self.found = found
        self.cause = cause
        self.count = 1
        self.seq = 0
        """Its number in the trace; 0 if the trace has no findings."""
        self._origins = origins

    @property
    def kind(self) -> Kind:
        """What all findings of this name share."""
        return self.found.kind

    @property
    def name(self) -> str:
        """The stable name."""
        return self.found.kind.name

    @property
    def severity(self) -> str:
        """ "error", "warning" or "advice"."""
        return self.found.weight

    @property
    def text(self) -> str:
        """What happened, in a sentence."""
        return self.found.text

    @property
    def story(self) -> tuple[Event, ...]:
        """The events that led to it, in order."""
        return self.found.story

    @property
    def origin(self) -> Origin | None:
        """The instruction, or line of Python, behind the last event of the story that has one."""
        return self._origins.get(self.cause)

    def __str__(self) -> str:
        times = f" ({self.count:,} times)" if self.count > 1 else ""
        return f"{self.severity}: {self.name}{times}: {self.text}"

    def __repr__(self) -> str:
        return f"<Finding {self.name}: {self.text}>"

    def lines(self) -> Iterator[str]:
        """All of it, for people."""
        yield str(self)
        describer = Describer()
        for origin in self._origins.values():
            describer.meet(origin)
        for event in self.story:
            what = f"{KIND_OF[type(event)]} {describer.what(event)}"
            yield f"    {event.seq:>7} {event.time:>12,} ns  {what}"
            behind = self._origins.get(event.cause)
            if behind is not None:
                yield f"{'':29}by {place_of(behind, MOST_CALLERS)}"
        yield f"    rule: {self.kind.rule}"
        yield f"    do:   {self.kind.advice}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        describer = Describer()
        for origin in self._origins.values():
            describer.meet(origin)
        return {
            "name": self.name,
            "severity": self.severity,
            "count": self.count,
            "text": self.text,
            "stream_id": self.found.stream_id,
            "iova": self.found.iova,
            "rule": self.kind.rule,
            "advice": self.kind.advice,
            "story": [
                {
                    "seq": event.seq,
                    "time": event.time,
                    "kind": KIND_OF[type(event)],
                    "text": describer.what(event),
                    "by": describer.by(event).removeprefix("  by ") or None,
                }
                for event in self.story
            ],
        }


class Report:
    """The checker's part of the report of a run."""

    def __init__(self, checker: Checker) -> None:
        self._findings: Sequence[Finding] = checker.findings
        self._dropped = checker.dropped

    def lines(self) -> Iterator[str]:
        """For people: the worst first, the first few of each name with their story."""
        counts = [
            f"{number} {severity}{'s' if number > 1 and severity != 'advice' else ''}"
            for severity in SEVERITIES
            if (number := sum(one.severity == severity for one in self._findings))
        ]
        yield f"check          {', '.join(counts) or 'nothing found'}"
        shown: dict[str, int] = {}
        for finding in sorted(self._findings, key=lambda one: SEVERITIES.index(one.severity)):
            number = shown[finding.name] = shown.get(finding.name, 0) + 1
            if number <= SHOWN:
                yield from (f"  {line}" for line in finding.lines())
        for name, number in shown.items():
            if number > SHOWN:
                yield f"  and {number - SHOWN:,} more of {name} (all are in --json)"
        if self._dropped:
            yield f"  and {self._dropped:,} more findings, not kept"

    def complaints(self) -> Iterator[str]:
        """What has to be said even where no report is wanted."""
        for finding in self._findings:
            if finding.severity != SEVERITIES[-1]:
                yield str(finding)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "findings": [finding.as_dict() for finding in self._findings],
            "findings_not_kept": self._dropped,
        }
