# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of a run, in one word."""

from __future__ import annotations

from typing import Any

import pytest

from smmu_emu.campaign.fields import field_of
from smmu_emu.campaign.outcome import Class, Facts, judge
from smmu_emu.cpu.exit import ExitKind

GOLDEN = Facts(ExitKind.EXIT, 0, "", 100, b"ok", {"F_TRANSLATION": 2}, 2, 0, {}, (), b"x", fired=1)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, Class.MASKED),
        ({"fired": 0, "closest": "near"}, Class.INVALID),
        ({"fired": 0, "breach_count": 1, "breaches": ("b",)}, Class.INVALID),
        ({"breach_count": 2, "breaches": ("b",), "errors": 1}, Class.BREACH),
        ({"kind": ExitKind.LOCKUP, "status": 126}, Class.CRASH),
        ({"kind": ExitKind.RESET, "status": 127}, Class.CRASH),
        ({"status": 99, "events": {"F_TRANSLATION": 3}}, Class.CRASH),
        ({"kind": ExitKind.MAX_INSTRUCTIONS, "status": 124}, Class.HANG),
        ({"kind": ExitKind.DEADLOCK, "status": 125, "errors": 1}, Class.HANG),
        ({"events": {"F_TRANSLATION": 3}}, Class.DETECTED),
        ({"events": {"F_TRANSLATION": 2, "C_BAD_STE": 1}}, Class.DETECTED),
        ({"errors": 1, "landings": b"y"}, Class.DETECTED),
        ({"status": 1}, Class.DETECTED),
        ({"landings": b"y"}, Class.CORRUPTION),
        ({"console": b"other"}, Class.CORRUPTION),
        ({"events": {"F_TRANSLATION": 1}}, Class.CORRUPTION),
        ({"instructions": 500}, Class.MASKED),
    ],
)
def test_run_is_judged_by_the_golden_one(changes: dict[str, Any], kind: Class) -> None:
    assert judge(GOLDEN, GOLDEN._replace(**changes)).kind is kind


@pytest.mark.parametrize(
    ("site", "bit", "level", "name"),
    [
        ("ste", 0, None, "STE.V"),
        ("ste", 2, None, "STE.Config"),
        ("ste", 20, None, "STE.S1ContextPtr"),
        ("cd", 50, None, "CD.ASID"),
        ("cd", 64 + 12, None, "CD.TTB0"),
        ("descriptor", 7, 3, "AP"),
        ("descriptor", 12, 3, "output address"),
        ("descriptor", 12, 1, "next-level table address"),
        ("descriptor", 61, 2, "APTable"),
        ("walk-read", 3, None, ""),
    ],
)
def test_flipped_bit_has_a_name(site: str, bit: int, level: int | None, name: str) -> None:
    target = {} if level is None else {"level": level}
    fault = {"site": site, "effect": {"kind": "flip", "bits": [bit]}, "target": target}
    assert field_of(fault) == name
