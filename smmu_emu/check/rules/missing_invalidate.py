# SPDX-License-Identifier: GPL-2.0-or-later
"""missing-invalidate: a mapping went and nothing told the SMMU, though nobody was seen using it."""

from __future__ import annotations

from smmu_emu.check.due import Due, Why
from smmu_emu.check.findings import ERROR, WARNING, Found, Kind
from smmu_emu.check.rules.stories import state_of, told

KIND = Kind(
    "missing-invalidate",
    ERROR,
    "a translation, or a pointer to a table, stayed cached after its descriptor was taken away",
    "IHI 0070 3.21.1, 4.4; DDI 0487 D8.17.1: what was cached of a valid descriptor stays usable "
    "until it is invalidated",
    "issue a TLBI for the address after the descriptor is cleared, then CMD_SYNC; a driver that "
    "defers this on purpose (Linux's iommu.strict=0) is checked with --check-lazy",
)


def judge(due: Due) -> Found | None:
    """Whatever is due and nothing more precise can be said about."""
    held, stale = due.held, due.held.stale
    if stale is None:
        return None
    # A run that was cut short in the middle of an unmap looks like this, too.
    severity = WARNING if due.why is Why.END and stale.synced is None else ""
    text = f"{held} {state_of(due)}, and was never invalidated: {due.why.value}"
    return told(KIND, due, text, severity=severity)
