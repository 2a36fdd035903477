# SPDX-License-Identifier: GPL-2.0-or-later
"""leaf-only-after-table-change: a table went, and only leaves were invalidated."""

from __future__ import annotations

from smmu_emu.check.due import Due, Why
from smmu_emu.check.findings import ERROR, Found, Kind
from smmu_emu.check.fresh import Difference
from smmu_emu.check.rules.stories import state_of, told
from smmu_emu.trace.events import Invalidation

KIND = Kind(
    "leaf-only-after-table-change",
    ERROR,
    "a pointer to a table was taken away, and the invalidation had Leaf=1",
    "IHI 0070 3.21.1, 4.4.1: with Leaf=1 only leaves have to go, and cached pointers to tables "
    "may stay",
    "issue the TLBI with Leaf=0 whenever a table is unlinked, before its memory is freed",
)


def judge(due: Due) -> Found | None:
    """Pointers that a leaf-only invalidation went by. A second one may have come after it."""
    held, stale = due.held, due.held.stale
    if not held.pointer or stale is None or stale.difference is Difference.ROOT:
        return None
    if due.why is Why.REPLACED:
        return None
    left = [event for event, why in stale.left if why == "leaf-only"]
    if not left:
        return None
    name = left[-1].name if isinstance(left[-1], Invalidation) else "an invalidation"
    text = f"{name} had Leaf=1, so {held}, which {state_of(due)}, may still be cached"
    return told(KIND, due, text, left[-1])
