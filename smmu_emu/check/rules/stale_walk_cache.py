# SPDX-License-Identifier: GPL-2.0-or-later
"""stale-walk-cache: a walk began at a table that is not linked any more."""

from __future__ import annotations

from smmu_emu.check.due import Due
from smmu_emu.check.findings import ERROR, Found, Kind
from smmu_emu.check.rules.stories import state_of, told

KIND = Kind(
    "stale-walk-cache",
    ERROR,
    "a cached pointer to a table was followed after the table had been taken away",
    "IHI 0070 3.21.1, 16.2; DDI 0487 D8.17: intermediate entries may be cached, and go with a "
    "TLBI that has Leaf=0",
    "invalidate with Leaf=0, and wait for CMD_SYNC, before a table's memory is used again",
)


def judge(due: Due) -> Found | None:
    """Stale pointers that were used; only an SMMU that caches pointers (--policy) does that."""
    held, stale = due.held, due.held.stale
    if not held.pointer or stale is None or stale.hit is None:
        return None
    text = f"stream {held.stream_id:#x} was walked with {held}, which {state_of(due)}"
    return told(KIND, due, text)
