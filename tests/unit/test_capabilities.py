# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/capabilities.csv says what of the SMMUv3 is modelled; code and ID registers must agree.

``python -m tests.unit.test_capabilities`` writes docs/capabilities.md from it.
"""

from __future__ import annotations

import ast
import csv
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from smmu_emu.errors import ConfigurationError
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.ids import ABSENT
from tests.unit.smmuv3.spec.literals import REGISTER_FIELDS

ROOT = Path(__file__).resolve().parents[2]
DATA, DOC = ROOT / "docs" / "capabilities.csv", ROOT / "docs" / "capabilities.md"
STATES = ("modelled", "partly", "absent")


class Capability(NamedTuple):
    """One row; `INTRODUCTION` says what the columns mean."""

    id: str
    group: str
    capability: str
    sections: str
    tier: str
    since: str
    announced_by: str
    state: str
    lives: str
    tests: str
    note: str


with DATA.open(encoding="utf-8", newline="") as file:
    ROWS = [Capability(**row) for row in csv.DictReader(file)]

INTRODUCTION = """\
# What of the SMMUv3 is modelled

One row for each capability that a model of IHI 0070 (issue G.b) can have, whether this one has it
or not. This page is made from `capabilities.csv` by `python -m tests.unit.test_capabilities`; the
csv also names each test. A test holds both against the code, the tests and the ID registers that
are refused.

- **Sections** are those of IHI 0070, **since** is the version: 3.0 to 3.4, RME (granule checks), DA
  (device assignment to realms).
- **Tier**: A is what general drivers rely on, B is seldom used, C is 3.3, 3.4, RME and DA.
- **State**: *modelled*; *partly*, where the note says what is left out; *absent*, where ID
  registers that announce it are refused or nothing announces it. Where the architecture leaves a
  choice, the note says which one was made.
- **Lives in** is under `smmu_emu/`. **Tests** are the files under `tests/` that show it; beyond
  them QEMU's records (`tests/golden`), the core's own MMU (`tests/oracle`) and the same firmware on
  QEMU (`tests/firmware`) judge the whole.
- S1 and S2 are the stages; TRF is F_TRANSLATION, F_ADDR_SIZE, F_ACCESS and F_PERMISSION; TR is a
  translation request of ATS. Positions like [n:m] count from bit 0 of the whole structure.
"""


def render() -> str:
    """The page."""
    parts = [INTRODUCTION, *_summary()]
    for group, rows in groupby(ROWS, key=lambda row: row.group):
        parts += ["", f"## {group}", "", "| id | capability | sections, since, tier | state |"]
        parts[-1] += " lives in | tests | note |"
        parts.append("|---|---|---|---|---|---|---|")
        parts += [_line(row) for row in rows]
    return "\n".join(parts) + "\n"


def _summary() -> list[str]:
    count = Counter((row.tier, row.state) for row in ROWS)
    lines = [f"| tier | {' | '.join(STATES)} |", "|---|---|---|---|"]
    for tier in "ABC":
        lines.append(f"| {tier} | {' | '.join(str(count[tier, state]) for state in STATES)} |")
    return lines


def _line(row: Capability) -> str:
    announced = f" ({row.announced_by.replace(' ', ', ')})" if row.announced_by else ""
    tests = dict.fromkeys(test.partition("::")[0] for test in row.tests.split())
    cells = (
        row.id,
        row.capability.replace("*", r"\*") + announced,
        f"{row.sections}; {row.since}; {row.tier}",
        row.state,
        ", ".join(_link("smmu_emu", path) for path in row.lives.split()),
        ", ".join(_link("tests", path) for path in tests),
        row.note,
    )
    return f"| {' | '.join(cells)} |".replace("  ", " ")


def _link(room: str, path: str) -> str:
    name = Path(path).stem.removeprefix("test_")
    return f"[{name}](../{room}/{path})"


@cache
def _functions(path: Path) -> dict[str, str]:
    """Test functions of a file, with the text of their decorators."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: " ".join(map(ast.unparse, node.decorator_list))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def _problem_with(announcement: str) -> str:
    """What ID registers say that announce a capability, as ``IDR0.HTTU=2``; 1 if no number."""
    field, _, number = announcement.partition("=")
    register, name = field.split(".")
    mask = REGISTER_FIELDS[register][name]
    lowest = mask & -mask
    base = PRESETS["full"]
    value = getattr(base, register.lower()) & ~mask | int(number or 1) * lowest
    changes: dict[str, Any] = {register.lower(): value}
    try:
        replace(base, **changes).check()
    except ConfigurationError as error:
        return str(error)
    return ""


def test_every_capability_has_one_row() -> None:
    assert len(ROWS) == 300
    assert len({row.id for row in ROWS}) == 300
    assert [key for key, _ in groupby(row.group for row in ROWS)] == list(
        dict.fromkeys(row.group for row in ROWS)
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row_says_what_its_state_asks_for(row: Capability) -> None:
    assert row.state in STATES
    assert row.capability
    assert re.fullmatch(r"[\d., -]+", row.sections)
    if row.state == "absent":
        assert row.note
        assert not row.lives
        assert not row.tests
        return
    assert row.lives
    assert row.tests
    if row.state == "modelled":
        assert re.match(r"(choice: |see |$)", row.note), "what is left out makes it partly"
    else:
        assert not row.note.startswith("choice: ")
        assert row.note


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_files_and_tests_that_are_named_exist(row: Capability) -> None:
    for path in row.lives.split():
        assert (ROOT / "smmu_emu" / path).is_file(), path
    for test in row.tests.split():
        path, _, name = test.partition("::")
        functions = _functions(ROOT / "tests" / path)
        assert functions, path
        if name:
            assert name in functions, test
            assert "xfail" not in functions[name] or row.state != "modelled", test


@pytest.mark.parametrize("row", [row for row in ROWS if row.announced_by], ids=lambda row: row.id)
def test_state_agrees_with_the_id_registers(row: Capability) -> None:
    """What is refused as not modelled is absent, and what is accepted is not."""
    for announcement in row.announced_by.split():
        refused = "modelled" in _problem_with(announcement)
        assert refused is (row.state == "absent"), announcement


def test_every_refused_field_is_announced_by_an_absent_capability() -> None:
    announced = {name for row in ROWS if row.state == "absent" for name in row.announced_by.split()}
    refused = {f"{word.__name__}.{name}" for word, names in ABSENT.items() for name in names}
    assert refused <= announced


def test_page_says_what_the_data_says() -> None:
    assert DOC.read_text(encoding="utf-8") == render(), (
        "docs/capabilities.md is stale: run python -m tests.unit.test_capabilities"
    )


if __name__ == "__main__":
    DOC.write_text(render(), encoding="utf-8")
