# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of a run, in one word, by comparison with the same run without the fault.

The first that fits counts: *invalid* (the fault never fired), *isolation-breach* (DMA landed where
it may not), *guest-crash*, *hang*, *detected* (an event, a global error, or the guest's own
report), *silent-corruption* (something else came out, and nobody said so), *masked*.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from smmu_emu.cpu.exit import ExitKind


class Class(StrEnum):
    """What became of a run."""

    MASKED = "masked"
    DETECTED = "detected"
    HANG = "hang"
    CRASH = "guest-crash"
    CORRUPTION = "silent-corruption"
    BREACH = "isolation-breach"
    INVALID = "invalid"


class Facts(NamedTuple):
    """What a run came to: how it ended, what it printed, records and landings, errors."""

    kind: ExitKind
    status: int
    reason: str
    instructions: int
    console: bytes
    events: dict[str, int]
    records: int
    errors: int
    """GERROR's bits that were ever active."""
    commands: dict[str, int]
    reasons: tuple[str, ...]
    """Why transactions were refused, each reason once, without numbers."""
    landings: bytes
    """Digest of where DMA wrote what, and of what is there at the end."""
    breaches: tuple[str, ...] = ()
    breach_count: int = 0
    fired: int = 0
    closest: str = ""


class Verdict(NamedTuple):
    """A class, and what led to it in a line."""

    kind: Class
    detail: str


CRASHES = (ExitKind.LOCKUP, ExitKind.RESET)
HANGS = (ExitKind.MAX_INSTRUCTIONS, ExitKind.DEADLOCK)
EXCEPTION_STATUS = 99
"""What the images of this project exit with after an exception that they did not expect."""


def judge(golden: Facts, run: Facts) -> Verdict:
    """Compare a run with the golden one."""
    if not run.fired:
        return Verdict(Class.INVALID, run.closest or "the fault never fired")
    if run.breach_count:
        return Verdict(Class.BREACH, run.breaches[0])
    if run.kind in CRASHES or (run.status == EXCEPTION_STATUS != golden.status):
        return Verdict(Class.CRASH, run.reason)
    if run.kind in HANGS and run.kind is not golden.kind:
        return Verdict(Class.HANG, run.reason)
    report = _reported(golden, run)
    if report:
        return Verdict(Class.DETECTED, report)
    if run.landings != golden.landings:
        return Verdict(Class.CORRUPTION, "DMA left other data in memory")
    if run.console != golden.console:
        return Verdict(Class.CORRUPTION, "the guest printed something else")
    if run.events != golden.events:
        return Verdict(Class.CORRUPTION, "events are missing")
    return Verdict(Class.MASKED, "")


def _reported(golden: Facts, run: Facts) -> str:
    """Who noticed that something was wrong, and said so."""
    if new := run.errors & ~golden.errors:
        return f"GERROR {new:#x}"
    for name, count in run.events.items():
        if count > golden.events.get(name, 0):
            return name
    if run.status != golden.status:
        return f"the guest ended with status {run.status}"
    return ""
