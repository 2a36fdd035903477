# SPDX-License-Identifier: GPL-2.0-or-later
"""What a core is about: executing, waiting, or at the end of its run."""

from __future__ import annotations

from enum import Enum, auto

from smmu_emu.cpu.exit import ExitKind


class Waiting(Enum):
    """What the core waits in, and so what ends it."""

    NOT = auto()
    FOR_INTERRUPT = auto()
    """WFI: an interrupt that is pending, masked or not."""
    IN_A_SPIN = auto()
    """A branch to itself: an interrupt that is taken, or a change of the instruction."""


class RunState:
    """Shared by whoever may end a run or let the core wait."""

    def __init__(self) -> None:
        self.waiting = Waiting.NOT
        self.ending: tuple[ExitKind, int, str] | None = None

    def reset(self) -> None:
        """Executing."""
        self.waiting, self.ending = Waiting.NOT, None

    def end(self, kind: ExitKind, reason: str, status: int = 0) -> None:
        """Let the run end; who comes first decides how."""
        if self.ending is None:
            self.ending = kind, status, reason
