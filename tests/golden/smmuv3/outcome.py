# SPDX-License-Identifier: GPL-2.0-or-later
"""What software and devices can see of one step: of the recorded SMMU, of the twin, of a device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

Run = tuple[int, int]


class Readable(Protocol):
    """Memory, as far as a transfer's result depends on it."""

    def read(self, address: int, size: int) -> bytes | None: ...


@dataclass
class Outcome:
    """``data`` is what a read got, ``ok`` whether a write was answered, ``runs`` where in RAM.

    A read that is aborted gets zeros: with neither data nor events nothing tells it from zero
    memory, so zeros come from nowhere. ``prod`` is EVENTQ_PROD after a transfer.
    """

    value: int | None = None
    ok: bool | None = None
    runs: list[Run] | None = None
    data: bytes | None = None
    events: list[bytes] = field(default_factory=list)
    prod: int | None = None
    interrupts: list[int] = field(default_factory=list)

    def differences(self, recorded: Outcome) -> dict[str, tuple[Any, Any]]:
        """Return the fields that differ: ours and the record's."""
        if self == recorded:
            return {}
        pairs = ((f.name, getattr(self, f.name), getattr(recorded, f.name)) for f in fields(self))
        return {name: (ours, theirs) for name, ours, theirs in pairs if ours != theirs}


def recorded_outcome(step: dict[str, Any]) -> Outcome:
    """Return what the record says of a step that is not a memory write."""
    interrupts = sorted(step.get("irq", []))
    if "dma" not in step:
        read = next((step[kind] for kind in ("r32", "r64") if kind in step), None)
        return Outcome(value=None if read is None else read[1], interrupts=interrupts)
    outcome = Outcome(
        events=[bytes.fromhex(event) for event in step["ev"]],
        prod=step["evq_prod"],
        interrupts=interrupts,
    )
    if step["dma"]["dir"] == "read":
        outcome.data = bytes.fromhex(step["data"])
    else:
        outcome.ok = step["ok"]
    if "runs" in step:
        outcome.runs = [(address, size) for address, size in step["runs"]]
    else:
        landed = step["landed"]
        outcome.runs = [] if landed is None else [(landed, step["dma"]["len"])]
    return outcome


def transfer_outcome(
    pieces: Iterable[tuple[int, int | None]], write: bool, memory: Readable, ram: range
) -> Outcome:
    """Return what a transfer shows: each piece is (bytes, target), None where it was aborted."""
    answered = True
    data, runs = b"", []
    for size, target in pieces:
        got = None if target is None else memory.read(target, size)
        answered = answered and got is not None
        data += bytes(size) if got is None else got
        if target is not None and target in ram:
            runs.append((target, size))
    if not write:
        return Outcome(data=data, runs=_merged(runs) if any(data) else [])
    return Outcome(ok=answered, runs=_merged(runs))


def _merged(runs: list[Run]) -> list[Run]:
    merged: list[Run] = []
    for address, size in sorted(runs):
        if merged and sum(merged[-1]) == address:
            merged[-1] = (merged[-1][0], merged[-1][1] + size)
        else:
            merged.append((address, size))
    return merged
