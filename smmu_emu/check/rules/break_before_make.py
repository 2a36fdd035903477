# SPDX-License-Identifier: GPL-2.0-or-later
"""break-before-make: a valid descriptor became another valid one with nothing in between."""

from __future__ import annotations

from smmu_emu.check.due import Due, Why
from smmu_emu.check.findings import ERROR, Found, Kind
from smmu_emu.check.rules.stories import state_of, told

KIND = Kind(
    "break-before-make",
    ERROR,
    "a live descriptor was replaced while the old one could still be cached",
    "DDI 0487 D8.17.1 (break-before-make): a change of output address, size or memory type goes "
    "through an invalid descriptor, TLBI and its completion; IHI 0070 3.21.1.1, 3.21.1.3 (BBML)",
    "write an invalid descriptor, TLBI, CMD_SYNC, and only then the new one; with IDR3.BBML 2 a "
    "change of size alone may be done at once",
)


def judge(due: Due) -> Found | None:
    """Replaced descriptors."""
    held, stale = due.held, due.held.stale
    if due.why is not Why.REPLACED or stale is None:
        return None
    text = (
        f"{held} {state_of(due)}: its descriptor was replaced, and nothing had invalidated "
        "the old one before"
    )
    return told(KIND, due, text)
