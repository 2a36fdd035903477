# SPDX-License-Identifier: GPL-2.0-or-later
"""How a run of a core ended: a value, whatever the guest did."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class ExitKind(Enum):
    """The reasons for which `Aarch64Core.run` comes back."""

    EXIT = "exit"
    """The guest called semihosting's SYS_EXIT or SYS_EXIT_EXTENDED; `ExitInfo.status` is its."""
    POWER_OFF = "power off"
    """PSCI SYSTEM_OFF, or CPU_OFF of the last core."""
    RESET = "reset"
    """PSCI SYSTEM_RESET; nothing was reset, that is the machine's business."""
    MAX_INSTRUCTIONS = "max instructions"
    """The budget given to `run` is used up; `run` again goes on where it stopped."""
    DEADLOCK = "deadlock"
    """The core waits for an interrupt, and nothing is left that could raise one."""
    LOCKUP = "lockup"
    """The core can make no progress, for example faults again and again in its own vectors."""
    BREAKPOINT = "breakpoint"
    """The next instruction has a breakpoint of `Aarch64Core.add_breakpoint`; `run` goes on."""
    WATCHPOINT = "watchpoint"
    """The last instruction accessed what `Aarch64Core.add_watchpoint` watches; `run` goes on."""
    DEVICE = "device"
    """A device or a test called `Aarch64Core.request_exit`."""


class ExitInfo(NamedTuple):
    """Why, where and when a run ended.

    ``status`` is the guest's exit status, 0 where there is none. ``reason`` is one line for people.
    ``pc`` is the instruction the core would execute next. ``instructions`` counts from reset.
    """

    kind: ExitKind
    status: int
    reason: str
    pc: int
    instructions: int
