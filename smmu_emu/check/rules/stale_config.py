# SPDX-License-Identifier: GPL-2.0-or-later
"""stale-config-hit and missing-config-invalidate: a changed STE or CD of which nobody told."""

from __future__ import annotations

from smmu_emu.check.due import DueConfig, Why
from smmu_emu.check.findings import ERROR, WARNING, Found, Kind
from smmu_emu.check.rules.stories import config_of, told_config, use_of

HIT = Kind(
    "stale-config-hit",
    ERROR,
    "a cached STE or CD was used after it had changed in memory, and a CMD_SYNC had completed",
    "IHI 0070 3.21.3, 4.3: STEs and CDs may be cached until a CFGI command for them, and a "
    "CMD_SYNC, have completed",
    "after every change of a live STE issue CFGI_STE, of a CD CFGI_CD with its SubstreamID, for "
    "every stream that uses it, and CMD_SYNC",
)
MISSING = Kind(
    "missing-config-invalidate",
    ERROR,
    "an STE or CD changed in memory, and nothing told the SMMU",
    HIT.rule,
    HIT.advice,
)
KINDS = (HIT, MISSING)


def judge(due: DueConfig) -> Found:
    """Stale structures."""
    held = due.held
    others = ""
    if held.left:
        names = {f"{event.name} of stream {event.stream_id:#x}" for event in held.left}
        others = f" ({', '.join(sorted(names)[:3])} did not reach it)"
    if held.hit is not None:
        text = f"stream {held.stream_id:#x} {use_of(held.hit)} by {config_of(held)}{others}"
        return told_config(HIT, due, text)
    if due.why is Why.CHANGED_AFTER:
        name = held.left[0].name if held.left else "its invalidation"
        text = f"{config_of(held)}, was changed after {name}, and is in use with no other since"
        return told_config(MISSING, due, text)
    severity = "" if held.synced is not None else WARNING
    text = f"{config_of(held)}, was never invalidated{others}"
    return told_config(MISSING, due, text)._replace(severity=severity)
