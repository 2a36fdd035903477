# SPDX-License-Identifier: GPL-2.0-or-later
"""Which field a flipped bit belongs to: STE and CD by their declarations, descriptors by a table.

Spec: IHI 0070 5.2, 5.4; DDI 0487 D8.3.
"""

from __future__ import annotations

from typing import Any

from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.ste import STE

_LEAF = (
    *((0, 0, "valid"), (1, 1, "table"), (2, 4, "AttrIndx"), (5, 5, "NS"), (6, 7, "AP")),
    *((8, 9, "SH"), (10, 10, "AF"), (11, 11, "nG"), (12, 47, "output address")),
    *((48, 49, "reserved"), (50, 50, "GP"), (51, 51, "DBM"), (52, 52, "Contiguous")),
    *(
        (53, 53, "PXN"),
        (54, 54, "UXN"),
        (55, 58, "software"),
        (59, 62, "PBHA"),
        (63, 63, "ignored"),
    ),
)
_TABLE = (
    *((0, 0, "valid"), (1, 1, "table"), (2, 11, "ignored"), (12, 47, "next-level table address")),
    *((48, 58, "ignored"), (59, 59, "PXNTable"), (60, 60, "UXNTable"), (61, 62, "APTable")),
    (63, 63, "NSTable"),
)
_LAST_LEVEL = 3


def field_of(fault: dict[str, Any]) -> str:
    """The field that a fault's first flipped bit belongs to; empty where that says nothing."""
    effect = fault.get("effect")
    bits = effect.get("bits") if isinstance(effect, dict) else None
    if not bits:
        return ""
    bit, site = bits[0], fault.get("site")
    if site in ("ste", "cd"):
        word = STE if site == "ste" else CD
        for name, field in word.FIELDS.items():
            if field.lsb <= bit <= field.msb:
                return f"{word.__name__}.{name}"
        return f"{word.__name__} bit {bit}"
    if site == "descriptor":
        level = fault.get("target", {}).get("level", _LAST_LEVEL)
        rows = _LEAF if level == _LAST_LEVEL else _TABLE
        return next((name for low, high, name in rows if low <= bit <= high), "")
    return ""
