# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and stories that rules about stale things share."""

from __future__ import annotations

from smmu_emu.check.configs import HeldConfig
from smmu_emu.check.due import Due, DueConfig
from smmu_emu.check.findings import Found, Kind, story_of
from smmu_emu.trace.events import Access, Event

_MOST_LEFT = 4


def told(kind: Kind, due: Due, text: str, *more: Event, severity: str = "") -> Found:
    """A finding about something stale, with all that happened to it."""
    held, stale = due.held, due.held.stale
    assert stale is not None
    left = [event for event, _ in stale.left[-_MOST_LEFT:]]
    story = story_of(
        held.fill,
        stale.written,
        stale.noticed,
        left,
        stale.synced,
        stale.hit,
        more,
        due.event,
    )
    return Found(kind, held.unit, text, story, held.stream_id, held.base, severity)


def told_config(kind: Kind, due: DueConfig, text: str) -> Found:
    """A finding about a cached STE or CD."""
    held = due.held
    story = story_of(
        held.fetch,
        held.written,
        held.noticed,
        held.left[-_MOST_LEFT:],
        held.synced,
        held.hit,
        due.event,
    )
    return Found(kind, held.unit, text, story, held.stream_id, None)


def state_of(due: Due) -> str:
    """What has become of the mapping behind something that is held, in words."""
    stale = due.held.stale
    assert stale is not None
    if due.held.pointer and stale.difference.name == "UNMAPPED":
        return "is not linked any more"
    return stale.difference.value


def use_of(event: Event | None) -> str:
    """An access in words: "wrote through 0x1000 to 0x40001000"."""
    if not isinstance(event, Access):
        return "was walked"
    verb = "wrote" if event.write else "read"
    if event.pa is None:
        return f"was refused at {event.iova:#x}"
    return f"{verb} through {event.iova:#x} at {event.pa:#x}"


def config_of(held: HeldConfig) -> str:
    """A structure, and what of it changed."""
    return f"{held}, whose {held.changed} changed in memory" if held.changed else str(held)
