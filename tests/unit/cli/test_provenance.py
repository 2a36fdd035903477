# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu run --provenance`` as a user sees it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

IMAGES = Path(__file__).resolve().parents[3] / "firmware" / "images"


def run(image: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smmu_emu", "run", str(IMAGES / f"{image}.elf"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_each_fault_gains_a_line_and_nothing_else_changes(tmp_path: Path) -> None:
    plain = run("irq_faults")
    told = run("irq_faults", "--provenance", "--json", str(tmp_path / "report.json"))
    assert (told.returncode, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    added = [line for line in lines if line.startswith("      of:  ")]
    assert added
    assert [line for line in lines if line not in added] == plain.stdout.splitlines()
    pattern = (
        r"      of:  descriptor at 0x[0-9a-f]+ = 0x0, written by: 0x[0-9a-f]+ \S+ \(\w+\.c:\d+\) "
        r"`.*` at [\d,]+ ns \(instruction [\d,]+\): 0x0 over 0x[0-9a-f]+"
    )
    assert all(re.fullmatch(pattern, line) for line in added), added
    report = json.loads((tmp_path / "report.json").read_text())
    offence = report["faults"][0]["offence"]
    assert (offence["structure"], offence["value"]) == ("descriptor", "00" * 8)
    assert offence["written"]["agent"] == "core"
    assert offence["written"]["line"].endswith(".c:21")


def test_trace_of_such_a_run_has_the_writes(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    assert run("unmap_tlbi", "--provenance", "--trace", str(path)).returncode == 0
    text = path.read_text()
    assert "core wrote descriptor" in text
    assert "core wrote command" in text


def test_run_that_ends_early_ends_early_both_times() -> None:
    told = run("spin", "--provenance", "--max-instructions", "5000", "--no-report")
    assert (told.returncode, told.stderr) == (124, "smmu-emu: 5000 instructions executed\n")


def test_what_people_type_is_not_the_same_twice() -> None:
    command = [sys.executable, "-m", "smmu_emu", "linux", "--kernel", "none", "--provenance"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--provenance runs twice: let --command type, not you" in done.stderr


def test_what_the_documentation_shows_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = IMAGES.parents[1]
    text = (root / "docs" / "provenance.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(root)
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all("Write(number=" in line for line in lines)
