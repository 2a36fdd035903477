# SPDX-License-Identifier: GPL-2.0-or-later
"""wrong-scope-invalidate: software invalidated, but not what it had changed."""

from __future__ import annotations

from smmu_emu.check.due import Due, Why
from smmu_emu.check.findings import ERROR, Found, Kind
from smmu_emu.check.fresh import Difference
from smmu_emu.check.rules.stories import state_of, told
from smmu_emu.trace.events import Invalidation

KIND = Kind(
    "wrong-scope-invalidate",
    ERROR,
    "an invalidation missed the stale entry: it names another ASID, VMID, world, level, granule "
    "or address",
    "IHI 0070 3.17 (tags), 4.4.1.1 (range, TTL, TG), 4.4.2, 4.4.3: a TLBI has to reach only what "
    "it names",
    "compare the command's fields with the entry's tag, level and address in the story",
)
_REASONS = {
    "asid": "another ASID",
    "vmid": "another VMID",
    "world": "another kind of translation (stage, EL1 or EL2)",
    "global": "an ASID, and the entry is global",
    "level": "another level (TTL)",
    "granule": "another granule (TG)",
    "combined": "stage 2 alone, and the entry combines both stages",
    "range": "other addresses",
}


def judge(due: Due) -> Found | None:
    """Stale entries that an invalidation went by."""
    held, stale = due.held, due.held.stale
    if stale is None or stale.difference is Difference.ROOT or held.pointer:
        return None
    if due.why is Why.REPLACED:
        return None
    left = [(event, why) for event, why in stale.left if why != "leaf-only"]
    if left:
        event, why = left[-1]
        name = event.name if isinstance(event, Invalidation) else "an invalidation"
        text = f"{name} names {_REASONS.get(why, why)}, so {held}, which {state_of(due)}, stayed"
        return told(KIND, due, text)
    idle = [event for event in stale.idle if isinstance(event, Invalidation)]
    if not idle:
        return None
    event = idle[0]
    where = "" if event.first is None else f" of {event.first:#x}"
    text = f"{event.name}{where} found nothing, while {held}, which {state_of(due)}, stayed"
    return told(KIND, due, text, event)
