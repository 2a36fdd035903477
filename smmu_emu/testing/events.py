# SPDX-License-Identifier: GPL-2.0-or-later
"""Refused transactions as tests want to talk about them."""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.smmuv3.fault import describe
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.trace.tap import FaultEvent


class Event(NamedTuple):
    """One refusal. ``name`` is the event's ("F_TRANSLATION"), empty where the architecture has
    none. ``record`` are the 32 bytes that reached the event queue, or None."""

    name: str
    stream: int
    substream: int | None
    iova: int
    write: bool
    stage: int
    level: int | None
    stalled: bool
    reason: str
    record: bytes | None
    text: str

    @classmethod
    def of(cls, event: FaultEvent) -> Event:
        """From what the tap tells."""
        fault = event.fault
        transaction = fault.transaction
        return cls(
            EventCode(fault.code).name if fault.code else "",
            transaction.stream_id,
            transaction.substream_id,
            transaction.iova,
            transaction.write,
            fault.stage,
            fault.level,
            fault.stag is not None,
            fault.reason,
            event.record,
            describe(fault),
        )


class Events(list[Event]):
    """Events in order, with questions to ask."""

    @property
    def names(self) -> list[str]:
        """The names, in order: ``machine.events.names == ["F_WALK_EABT"]``."""
        return [event.name for event in self]

    def of(self, name: str = "", **fields: object) -> Events:
        """Those with a name (any, if it is empty) and these fields."""
        return Events(
            event
            for event in self
            if name in ("", event.name)
            and all(getattr(event, field) == value for field, value in fields.items())
        )

    def one(self, name: str = "", **fields: object) -> Event:
        """The only one with a name and these fields.

        Raises: AssertionError, with all that happened, if there is none or more than one.
        """
        found = self.of(name, **fields)
        if len(found) != 1:
            wanted = " ".join([name, *(f"{field}={value!r}" for field, value in fields.items())])
            raise AssertionError(f"{len(found)} events {wanted}, not one. There were:\n{self}")
        return found[0]

    def __str__(self) -> str:
        return (
            "\n".join(f"  {event.text}{'' if event.record else '  [no record]'}" for event in self)
            or "  no events"
        )
