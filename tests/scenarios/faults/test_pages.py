# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages about faults: their tables are those of the tests, their examples work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from smmu_emu.inject import SITES, load_plan
from smmu_emu.inject.effects import EFFECTS
from tests.scenarios.faults.catalogue import DOCS, pages, scenarios

ROOT = DOCS.parent
EXAMPLES = sorted((ROOT / "examples" / "faults").glob("*.toml"))
STATUS = {
    "aborted_walk": 1,
    "lost_interrupt": 125,
    "lost_tlbi": 1,
    "unreliable_bus": 1,
    "wrong_page": 121,
}
"""How the commands in the examples end."""
PAGE = (DOCS / "fault_injection.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_tables_are_up_to_date() -> None:
    """If not: python -m tests.scenarios.faults."""
    for path, text in pages().items():
        assert path.read_text() == text, path.name


def test_catalogue_is_complete() -> None:
    rows = scenarios()
    assert len(rows) >= 60
    assert len({row.name for row in rows}) == len(rows)
    assert {row.site for row in rows} == set(SITES)
    effects = {(row.site, row.effect) for row in rows}
    assert {effect for _, effect in effects} == set(EFFECTS)
    assert all(effect in SITES[site].effects for site, effect in effects)
    assert len([row for row in rows if row.name.startswith("firmware")]) >= 20


def test_every_test_in_the_catalogue_makes_a_promise() -> None:
    for path in sorted(Path(__file__).parent.glob("test_*_faults.py")):
        tests = re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
        promised = [row for row in scenarios() if row.module == path.stem]
        assert len(tests) == len(promised), path.name


def test_every_effect_and_key_is_explained() -> None:
    for name in EFFECTS:
        assert f"| `{name}` |" in PAGE
    for key in ("nth", "times", "address", "iova", "stream", "substream", "write", "opcode"):
        assert f"`{key}`" in PAGE
    for key in ("event", "register", "line", "action", "pc", "time", "probability", "after"):
        assert f"`{key}`" in PAGE


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_does_what_it_says(path: Path) -> None:
    text = path.read_text()
    assert load_plan(path).name
    comment = re.search(r"^#   (smmu-emu run (?:.*\\\n#)*.*)", text, re.MULTILINE)
    assert comment is not None
    command = shlex.split(comment.group(1).replace("\\\n#", " "))
    done = subprocess.run(
        [sys.executable, "-m", "smmu_emu", *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == STATUS[path.stem], done.stdout + done.stderr
    assert "\ninjected  " in done.stdout


def test_every_example_has_a_status() -> None:
    assert {path.stem for path in EXAMPLES} == set(STATUS)


def test_python_without_pytest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (text,) = [text for text in PYTHON if "with Machine.virt()" in text]
    exec(compile(text, "fault_injection.md", "exec"), {})


_PATIENT = """
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("patient")
"""
"""Slow hosts are no failure."""


def test_tests_on_the_page_pass(tmp_path: Path) -> None:
    """As a project of its own has them, but for the images, which it finds here."""
    texts = [text for text in PYTHON if "def test_" in text]
    assert len(texts) == 2
    for number, text in enumerate(texts):
        (tmp_path / f"test_{number}.py").write_text(text)
    (tmp_path / "firmware").symlink_to(ROOT / "firmware")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    (tmp_path / "conftest.py").write_text(_PATIENT)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "11 passed" in done.stdout
