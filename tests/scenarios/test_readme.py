# SPDX-License-Identifier: GPL-2.0-or-later
"""What the README shows works as it stands there: its Python, its commands, its output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]


def _commands(text: str) -> list[str]:
    """The lines of a block that are typed, as one command where they work on the same files."""
    lines = [line[2:].partition("  #")[0].strip() for line in text.splitlines() if line[:2] == "$ "]
    return lines if "./x demo" in lines else [" && ".join(lines)]


COMMANDS = [
    command for language, text in BLOCKS if language == "console" for command in _commands(text)
]
OUTPUT = [text for language, text in BLOCKS if language == ""]


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder that looks like a checkout, with one test, and an environment with everything."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text("def test_it():\n    assert True\n")
    for name in (
        *("firmware", "x", "tools", "pyproject.toml", "smmu_emu", "pgtable", "bench", "examples"),
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    commands = tmp_path / "environment" / "bin"
    commands.mkdir(parents=True)
    (commands / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (commands / "smmu-emu").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m smmu_emu "$@"\n')
    for command in commands.iterdir():
        command.chmod(0o755)
    for extra in ("", "test", "dev"):
        (commands.parent / f"installed-{extra}").write_text(f"{tmp_path}\n")
    environment = {
        **os.environ,
        "VENV": str(commands.parent),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    return tmp_path, environment


def without_places(text: str) -> str:
    """The same text whatever an image's addresses and line numbers are: each build moves them."""
    text = re.sub(r"0x4[0-9a-f]{7}\b", "ADDRESS", text)
    return re.sub(r"\+0x[0-9a-f]+ \(testdev\.c:[0-9]+\)", "+OFFSET (testdev.c:LINE)", text)


def test_readme_has_what_these_tests_are_about() -> None:
    assert len(PYTHON) == 1
    assert {"./x demo", "./x test"} <= set(COMMANDS)
    assert any(command.startswith("smmu-emu run ") for command in COMMANDS)
    assert len(OUTPUT) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_command_works(checkout: tuple[Path, dict[str, str]], command: str) -> None:
    folder, environment = checkout
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    if " --json " in command:
        assert without_places(OUTPUT[0]) in without_places(done.stdout)
        assert (folder / "report.json").stat().st_size > 1000
    if "smmu-emu history" in command:
        assert "  STALE: what #3 came from changed in " in done.stdout
    if command == "./x test":
        assert done.stdout.splitlines()[-1].strip("= ").startswith("1 passed in ")
    if command == "./x demo":
        assert "\nPASS" in done.stdout
        assert done.stderr == ""


def test_python_runs_and_says_why_the_second_write_was_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(compile(PYTHON[0], "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert re.fullmatch(r"the descriptor at 0x48[0-9a-f]{6} is not valid\n", said)


def test_second_write_lands_without_invalidation() -> None:
    """The README's remark under its example."""
    changed = PYTHON[0].replace("domain.unmap(", "domain.invalidate = False\ndomain.unmap(")
    changed = changed.replace("assert not dma.write", "assert dma.write")
    changed = changed.replace("print(dma.last_fault.reason)", "assert dma.last_fault is None")
    assert changed.count("assert dma.write") == 2
    exec(compile(changed, "README.md", "exec"), {})


def test_files_that_it_points_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
