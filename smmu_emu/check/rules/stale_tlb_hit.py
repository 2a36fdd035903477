# SPDX-License-Identifier: GPL-2.0-or-later
"""stale-tlb-hit: a device used a translation after software had taken it away for good."""

from __future__ import annotations

from smmu_emu.check.due import Due
from smmu_emu.check.findings import ERROR, Found, Kind
from smmu_emu.check.rules.stories import state_of, told, use_of

KIND = Kind(
    "stale-tlb-hit",
    ERROR,
    "a cached translation was used that a fresh walk would not give, after it should have gone",
    "IHI 0070 3.21.1, 4.4: a descriptor that was valid may stay cached until a TLBI that covers "
    "it, and a CMD_SYNC, have completed; DDI 0487 D8.17",
    "invalidate every address whose descriptor changes, with the ASID and VMID of its space, and "
    "wait for CMD_SYNC before the memory is used for anything else",
)


def judge(due: Due) -> Found | None:
    """Stale translations that served, or refused, an access."""
    held, stale = due.held, due.held.stale
    if held.pointer or stale is None or stale.hit is None:
        return None
    text = (
        f"stream {held.stream_id:#x} {use_of(stale.hit)}: "
        f"{held} was still cached, and {state_of(due)}"
    )
    return told(KIND, due, text)
