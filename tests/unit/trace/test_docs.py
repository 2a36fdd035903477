# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/tracing.md: its commands and its Python work, and it says what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from smmu_emu.trace.events import KINDS
from smmu_emu.trace.filters import _KEYS
from smmu_emu.trace.sinks import SUFFIXES

ROOT = Path(__file__).resolve().parents[3]
DOC = ROOT / "docs" / "tracing.md"
TEXT = DOC.read_text()


def test_its_python_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(block, str(DOC), "exec"), {})
    assert "TLBI_NH_VA (3,)" in capsys.readouterr().out


def test_its_commands_run_and_print_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "firmware").symlink_to(ROOT / "firmware")
    printed = ""
    for line in re.findall(r"^\$ smmu-emu (.*)$", TEXT, re.MULTILINE):
        done = subprocess.run(
            [sys.executable, "-m", "smmu_emu", *line.split()],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        printed += done.stdout
    for line in re.findall(r"^ +\d+  (\w.*)$", TEXT, re.MULTILINE):
        what = line.split("  by ")[0].split(" ... ")[0]
        assert what in printed


def test_every_kind_condition_and_suffix_is_in_it() -> None:
    for word in (*KINDS, *(f"{key}=" for key in _KEYS), *SUFFIXES):
        assert f"`{word}" in TEXT, word
