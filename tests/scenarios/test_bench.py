# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m bench``: the table of speeds. What is measured is checked there; here, that it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import PARTS
from bench.measure import Row

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("value", "aim", "met"),
    [
        (1, "< 1.5", True),
        (2, "< 1.5", False),
        (21, "> 20", True),
        (19, "> 20", False),
        (0, "", None),
    ],
)
def test_aim_is_met_or_not(value: float, aim: str, met: bool | None) -> None:
    assert Row("speed", value, "us", aim).met is met


def test_part_is_a_list_of_rows() -> None:
    done = bench("smmu", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    names = {row["name"] for row in rows}
    assert {"translate, TLB hit", "translate, 4-level walk and fill"} <= names
    for row in rows:
        assert row["part"] == "smmu"
        assert row["value"] > 0
        assert row["met"] in (True, False, None)


def test_table_has_a_line_for_each_row() -> None:
    done = bench("core")
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head == "core"
    assert len(lines) == 8
    assert all(line.startswith("  ") and line[50:62].strip() for line in lines)


def test_part_that_does_not_exist() -> None:
    done = bench("speed")
    assert done.returncode == 2
    assert f"no part 'speed'; there are {', '.join(PARTS)}, linux" in done.stderr


def test_part_that_wants_a_kernel_says_where_to_get_one(tmp_path: Path) -> None:
    done = bench("linux", SMMU_EMU_LINUX=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"python -m tests.linux.build {tmp_path}")
