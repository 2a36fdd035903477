# SPDX-License-Identifier: GPL-2.0-or-later
"""``./x``: what it says and does when the machine is not as it should be. Nothing is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def x(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "x"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("argument", ["help", "-h", "--help"])
def test_help_lists_the_commands_and_installs_nothing(tmp_path: Path, argument: str) -> None:
    done = x(argument, VENV=str(tmp_path / "venv"))
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("demo", "run", "test", "check", "bench"):
        assert f"./x {command}" in done.stdout
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_python_that_does_not_fit_is_one_line(tmp_path: Path, python: str) -> None:
    done = x("demo", VENV=str(tmp_path / "venv"), PYTHON=python)
    assert done.returncode == 1
    assert done.stderr == "x: Python 3.11 or later is needed; set PYTHON to one\n"


def test_environment_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A Python with ensurepip whose venv fails, as on a full disk."""
    python = script(tmp_path / "python", 'case "$1" in -m) exit 1 ;; esac')
    done = x("demo", VENV=str(tmp_path / "venv"), PYTHON=str(python))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"x: no virtual environment could be made in {tmp_path}/venv"
    )


def test_without_pip_and_without_network_it_says_what_to_install(tmp_path: Path) -> None:
    """Debian's Python without python3-venv, and no way to PyPI."""
    made = 'mkdir -p "$4/bin" && printf "exit 1" >"$4/bin/python"'
    python = script(
        tmp_path / "python",
        f'case "$1 $2" in\n"-c import ensurepip") exit 1 ;;\n"-m venv") {made} ;;\nesac',
    )
    venv = tmp_path / "venv"
    done = x("demo", VENV=str(venv), PYTHON=str(python))
    assert done.returncode == 1
    assert "install python3-venv and try again" in done.stderr.splitlines()[-1]


class Fake:
    """An environment whose python writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        log = f'echo "$(basename "$0") $*" >>"{self.calls}"'
        for name in ("python", "smmu-emu"):
            script(folder / "bin" / name, log)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        return x(*arguments, VENV=str(self.folder))

    def log(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.mark.parametrize(
    ("command", "extra"), [("demo", ""), ("test", "[test]"), ("bench", "[test]")]
)
def test_first_use_installs_and_later_ones_do_not(tmp_path: Path, command: str, extra: str) -> None:
    fake = Fake(tmp_path)
    done = fake.run(command, "--one", "two words")
    assert done.returncode == 0
    installs = [call for call in fake.log() if "pip install" in call]
    assert len(installs) == 1
    assert installs[0].endswith(f" --editable {ROOT}{extra}")
    assert done.stderr.startswith("x: installing smmu-emu")
    last = {"demo": "smmu-emu demo", "test": "python -m pytest", "bench": "python -m bench"}
    assert fake.log()[-1] == f"{last[command]} --one two words"
    again = fake.run(command)
    assert (again.returncode, again.stderr) == (0, "")
    on_all_cores = " -n auto --dist worksteal" if command == "test" else ""
    assert fake.log() == [last[command] + on_all_cores]


def test_extra_brings_what_every_command_needs(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.run("test")
    fake.run("run", "image.elf")
    assert fake.log() == ["smmu-emu run image.elf"]


def test_moved_checkout_is_installed_again(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.run("demo")
    (tmp_path / "installed-").write_text("/elsewhere\n")
    fake.run("demo")
    assert any("pip install" in call for call in fake.log())


def test_failed_installation_is_tried_again(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    script(tmp_path / "bin" / "python", 'case "$1" in -m) exit 1 ;; esac')
    done = fake.run("demo")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "x: pip could not install smmu-emu"
    assert fake.run("demo").returncode == 1


def test_status_is_the_commands(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.run("demo")
    script(tmp_path / "bin" / "smmu-emu", "exit 99")
    assert fake.run("demo").returncode == 99
    assert fake.run("run", "x").returncode == 99


def test_script_is_for_any_posix_shell() -> None:
    for path in (ROOT / "x", ROOT / ".ci" / "run"):
        assert path.read_text().startswith("#!/bin/sh\n")
        subprocess.run(["sh", "-n", str(path)], check=True)
        assert os.access(path, os.X_OK)
    assert sys.version_info >= (3, 11)
