# SPDX-License-Identifier: GPL-2.0-or-later
"""Replay of cases recorded from Linux 7.2's io-pgtable code.

Every return value, event, register output, and the contents of all live tables after every
operation are compared. `PGTABLE_GOLDEN` names another file or a folder of them;
`data/pgtable/README.md` says what a case holds.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_pgtable_replay import MismatchError, replay

DATA = Path(__file__).parent / "data" / "pgtable"

DEVIATIONS: dict[str, str] = {}
"""Cases in which we deliberately do otherwise than the kernel: id -> why."""


def golden_files() -> list[Path]:
    """Return the files to replay."""
    where = Path(os.environ.get("PGTABLE_GOLDEN") or DATA)
    files = [where] if where.is_file() else sorted(where.glob("*.jsonl*"))
    if not files:
        raise FileNotFoundError(f"PGTABLE_GOLDEN={where}: no *.jsonl or *.jsonl.gz there")
    return files


def read_cases(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the cases of a file."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def groups() -> list[Any]:
    """Return one test parameter a format and tag, holding the cases as lines yet unparsed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in golden_files():
        for case in read_cases(path):
            found.setdefault(f"{case['fmt']}-{case['tags'][0]}", []).append(case)
    return [pytest.param(cases, id=name) for name, cases in sorted(found.items())]


@pytest.mark.parametrize("cases", groups())
def test_cases_replay_as_linux_recorded_them(cases: list[dict[str, Any]]) -> None:
    failures = []
    for case in cases:
        if case["id"] in DEVIATIONS:
            continue
        try:
            replay(case)
        except MismatchError as mismatch:
            failures.append(f"{case['id']}: {mismatch}")
        except Exception as error:
            failures.append(f"{case['id']}: {type(error).__name__}: {error}")
    if failures:
        shown = "\n".join(failures[:8])
        pytest.fail(f"{len(failures)} of {len(cases)} cases differ:\n{shown}")


def test_every_deviation_is_an_edge_case_with_a_reason() -> None:
    tags = {case["id"]: case["tags"] for path in golden_files() for case in read_cases(path)}
    for name, reason in DEVIATIONS.items():
        assert len(reason) > 20, name
        if name in tags:
            assert "edge" in tags[name], name
