# SPDX-License-Identifier: GPL-2.0-or-later
"""missing-sync: something was used again before the CMD_SYNC of its invalidation had completed."""

from __future__ import annotations

from smmu_emu.check.configs import HeldConfig
from smmu_emu.check.due import Early
from smmu_emu.check.findings import ERROR, Found, Kind, story_of

KIND = Kind(
    "missing-sync",
    ERROR,
    "memory, an address or a stream was used again after an invalidation, with no CMD_SYNC waited "
    "for in between",
    "IHI 0070 4.7.3, 3.21.1, 3.21.3: an invalidation is known to have happened when a later "
    "CMD_SYNC of the same queue has completed, not when it is consumed",
    "issue CMD_SYNC after the last TLBI or CFGI, and wait until CMDQ_CONS has passed it, or its "
    "message has come",
)


def judge(early: Early) -> Found:
    """Whatever was used too early."""
    held = early.held
    if early.awaited:
        how = "no CMD_SYNC had completed"
    else:
        how = "software did not look whether its CMD_SYNC had completed"
    name = getattr(early.invalidation, "name", "")
    if isinstance(held, HeldConfig):
        text = f"{held} was fetched after {name}, and {how}"
        story = story_of(early.invalidation, held.fetch, early.event)
        return Found(KIND, held.unit, text, story, held.stream_id, None)
    text = f"{held} was invalidated, and {early.why.value}, but {how}"
    stale = held.stale
    noticed = stale.noticed if stale is not None else None
    story = story_of(held.fill, noticed, early.invalidation, early.event)
    return Found(KIND, held.unit, text, story, held.stream_id, held.base)
