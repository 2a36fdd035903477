# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables recorded from Linux, read back: translations must be what Linux said they are.

Where they differ, Linux answered for what hardware refuses: a misaligned or too large address
written without a check, or an input address beyond the table's range.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgtable.config import (
    AppleDartRegs,
    ArmLpaeS1Regs,
    ArmLpaeS2Regs,
    ArmMaliLpaeRegs,
    ArmV7sRegs,
    PageTableConfig,
    Quirk,
    Regs,
    Tcr,
    Vtcr,
)
from pgtable.inspect import FORMATS, Image, Space, Tree, read, walk
from pgtable.inspect.live import space_from

CASES = Path(__file__).parents[3] / "golden" / "data" / "pgtable" / "linux-7.2.jsonl.gz"
REFUSED = {"misaligned", "address-size"}


@lru_cache(maxsize=1)
def recorded() -> list[str]:
    with gzip.open(CASES, "rt") as lines:
        return list(lines)


def cases(fmt: str) -> Iterator[dict[str, Any]]:
    for line in recorded():
        if f'"{fmt}"' in line[:200]:
            case = json.loads(line)
            if case["fmt"] == fmt and case["alloc_ok"]:
                yield case


def registers(out: dict[str, Any]) -> Regs:
    def number(name: str) -> int:
        return int(out[name], 16)

    if "mair" in out:
        return ArmLpaeS1Regs(number("ttbr"), Tcr(**out["tcr"]), number("mair"))
    if "vttbr" in out:
        return ArmLpaeS2Regs(number("vttbr"), Vtcr(**out["vtcr"]))
    if "transtab" in out:
        return ArmMaliLpaeRegs(number("transtab"), number("memattr"))
    if "prrr" in out:
        return ArmV7sRegs(number("ttbr"), number("tcr"), number("nmrr"), number("prrr"))
    ttbrs = tuple(int(ttbr, 16) for ttbr in out["ttbr"])
    return AppleDartRegs(ttbrs, out["n_ttbrs"], out["n_levels"])


def space_and_image(case: dict[str, Any]) -> tuple[Space, Image]:
    out = case["cfg_out"]
    quirks = 0
    for name in case["cfg_in"]["quirks"]:
        quirks |= Quirk[name]
    cfg = PageTableConfig(
        pgsize_bitmap=int(out["pgsize_bitmap"], 16), ias=out["ias"], oas=out["oas"], quirks=quirks
    )
    base = int(case["cfg_in"]["phys_base"], 16)
    events = [*case["alloc_events"], *(e for op in case["ops"] for e in op.get("events", []))]
    ends = [int(e[1], 16) + int(e[2], 16) for e in events if e[0] == "alloc"]
    words = np.zeros((max(ends) - base) // 8, dtype="<u8")
    for address, value in case["final_words"]:
        words[(int(address, 16) - base) // 8] = int(value, 16)
    return space_from(case["fmt"], cfg, registers(out)), Image([(base, words)])


def last_questions(case: dict[str, Any]) -> list[tuple[int, int]]:
    """Return (address, answer) of the translations asked for after the last change."""
    changes = [i for i, op in enumerate(case["ops"]) if op["op"] in ("map", "unmap", "poke")]
    after = case["ops"][changes[-1] + 1 if changes else 0 :]
    return [(int(op["iova"], 16), int(op["ret"], 16)) for op in after if op["op"] == "iova_to_phys"]


def check_ranges(tree: Tree) -> int:
    """Walk both ends of every range; return how many were."""
    checked = 0
    for part in tree.ranges():
        for at in (part.start, part.last):
            one = walk(tree.space, tree.image, at)
            if "too large" in one.fault:
                assert "faults(address-size)" in part.meaning.flags
                continue
            assert one.target == part.address + at - part.start
            assert (one.meaning, one.leaf) == (part.meaning, part.leaf)
            checked += 1
    return checked


@pytest.mark.parametrize("fmt", FORMATS)
def test_recorded_tables_translate_as_linux_says(fmt: str) -> None:
    seen: Counter[str] = Counter()
    for case in cases(fmt):
        space, image = space_and_image(case)
        tree = read(space, image)
        seen["ranges"] += check_ranges(tree)
        rules = {finding.rule for finding in tree.findings if finding.severity == "error"}
        assert rules <= {*REFUSED, "reserved-bits"}, (case["id"], rules)
        if "reserved-bits" in rules:
            # VMSAv8-32 has no dirty bit; Linux sets it all the same when asked for ARM_HD.
            assert fmt == "ARM_32_LPAE_S1"
            assert "ARM_HD" in case["cfg_in"]["quirks"]
        for iova, answer in last_questions(case):
            one = walk(space, image, iova)
            problems = {
                rule
                for step in one.steps
                if step.descriptor is not None
                for rule, _ in step.descriptor.problems
            }
            if problems & REFUSED or space.offset(iova) is None:
                seen["refused"] += 1
            else:
                assert (one.target or 0) == answer, f"{case['id']}: {iova:#x}"
                seen["same"] += 1
    assert seen["ranges"] > 900
    assert seen["same"] > 60
    assert seen["refused"] < seen["same"] / 3
