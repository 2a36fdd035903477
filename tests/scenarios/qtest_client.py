# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of the qtest protocol: our server, or QEMU, is the process on the other end of pipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Self

OURS = [sys.executable, "-m", "smmu_emu", "qtest"]


class QtestClient:
    """Talks to the server that ``command`` starts. ``interrupts`` holds unread IRQ lines."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.interrupts: list[str] = []

    def batch(self, lines: Iterable[str]) -> list[str]:
        """Ask many things at once; their answers."""
        asked = list(lines)
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in asked).encode())
        self._process.stdin.flush()
        return [self._answer(line) for line in asked]

    def _answer(self, asked: str) -> str:
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline().decode().rstrip("\r\n")
            assert line, f"the server went away at {asked!r}"
            if not line.startswith("IRQ "):
                return line
            self.interrupts.append(line)

    def ask(self, line: str) -> str:
        """Ask, and insist on OK; what follows it."""
        return self.values([line])[0]

    def values(self, lines: Iterable[str]) -> list[str]:
        """Ask many things at once, and insist on OK; what follows it."""
        asked = list(lines)
        answers = self.batch(asked)
        for line, answer in zip(asked, answers, strict=True):
            assert answer.startswith("OK"), f"{line}: {answer}"
        return [answer[3:] for answer in answers]

    def take_interrupts(self) -> list[str]:
        """IRQ lines since the last time."""
        taken, self.interrupts = self.interrupts, []
        return taken

    def hang_up(self) -> int:
        """Close our end; the status with which the server ends then."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # which waits, and closes the pipes
            self._process.kill()
