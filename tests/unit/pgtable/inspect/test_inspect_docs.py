# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/tables.md, its picture and the example do what they say."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgtable import inspect
from pgtable.inspect import RULES
from smmu_emu.cli import cli

ROOT = Path(__file__).parents[4]
DOC = ROOT / "docs" / "tables.md"
TEXT = DOC.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example has been run."""
    where = tmp_path_factory.mktemp("example")
    runpy.run_path(str(ROOT / "examples" / "inspect_tables.py"))["main"](where)
    return where


def consoles() -> list[tuple[str, str]]:
    """Return (command, output) of each console block."""
    blocks = re.findall(r"```console\n\$ (.*?)\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) >= 4
    return blocks


@pytest.mark.parametrize(("command", "output"), consoles())
def test_commands_print_what_the_document_shows(
    command: str, output: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    name, *words = shlex.split(command)
    assert name == "smmu-emu"
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.stdout == output


def test_the_examples_of_the_document_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) >= 2
    exec("\n".join(blocks), {})


def test_every_rule_is_explained() -> None:
    for rule, (severity, _) in RULES.items():
        rows = [line for line in TEXT.splitlines() if re.match(rf"\| .*\b{rule}\b", line)]
        assert rows, rule
        assert f"| {severity} |" in rows[0], rule


def test_the_picture_is_the_one_that_is_drawn(folder: Path) -> None:
    drawn = (folder / "space.svg").read_text(encoding="utf-8")
    kept = (DOC.parent / "tables.svg").read_text(encoding="utf-8")
    assert kept == drawn, "run examples/inspect_tables.py and copy space.svg to docs/tables.svg"


def test_every_public_name_exists_and_the_docstring_is_true() -> None:
    for name in inspect.__all__:
        assert getattr(inspect, name) is not None
    assert "pgtable.formats" in (inspect.__doc__ or "")
