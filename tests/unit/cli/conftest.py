# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line, called in this process or in one of its own."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from smmu_emu.cli import main

IMAGES = Path(__file__).resolve().parents[3] / "firmware" / "images"
COMMAND = [sys.executable, "-m", "smmu_emu"]


class Ended(NamedTuple):
    """How the command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of a complaint; anything else said fails the test."""
        assert self.out == ""
        assert self.err.count("\n") == 1
        assert self.err.startswith("smmu-emu: ")
        return self.err.removeprefix("smmu-emu: ").removesuffix("\n")


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Calls `main` with these arguments."""
    pipe = signal.getsignal(signal.SIGPIPE)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["smmu-emu", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capfd.readouterr())

    yield run
    signal.signal(signal.SIGPIPE, pipe)
    gc.unfreeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes buffer their output as they do by default, whatever the tests were started with."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


def process(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
