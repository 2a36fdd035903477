# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run came to, as far as a correct driver decides it, and how two runs differ.

That is: the console, how the run ended, the records of events in any order, where DMA wrote what in
any order, and what is at the end in the pages that it wrote. Time, order, counts of walks and hits,
and tags of stalls are the SMMU's own affair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import zip_longest
from typing import NamedTuple

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.interpose import Interposition, Layer, interpose
from smmu_emu.machine import Machine, RunResult
from smmu_emu.port import PAGE, MemoryPort
from smmu_emu.smmuv3.fault import describe
from smmu_emu.trace.tap import FaultEvent

SHOWN = 3
"""Differences of one kind that are told one by one."""
_STALL = 1 << 7
_STALL_BYTE = 11
_TAG_BYTES = slice(8, 10)

Write = Callable[[int, "bytes | memoryview"], bool]


class Outcome(NamedTuple):
    """What a run came to. ``landings`` counts (page, digest of the write); ``pages`` has digests of
    pages that DMA wrote, as they are at the end."""

    kind: ExitKind
    status: int
    reason: str
    instructions: int
    console: bytes
    records: Counter[bytes]
    words: dict[bytes, str]
    landings: Counter[tuple[int, bytes]]
    pages: dict[int, bytes]


class Observer:
    """Watches one run of a machine; `outcome` when it has ended, `remove` then."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._records: Counter[bytes] = Counter()
        self._words: dict[bytes, str] = {}
        self._landings: Counter[tuple[int, bytes]] = Counter()
        self._listening = True
        machine.smmu.tap.listen(self._refused)
        self._places: list[Interposition] = [
            interpose(port, "write", self._writing, Layer.OBSERVE) for port in _ports(machine)
        ]

    def remove(self) -> None:
        """Watch no longer."""
        self.machine.smmu.tap.listeners.remove(self._refused)
        for place in self._places:
            place.remove()
        self._places.clear()

    def outcome(self, result: RunResult) -> Outcome:
        """What the run came to."""
        touched = {page for page, _ in self._landings}
        return Outcome(
            result.kind,
            result.status,
            result.reason,
            result.instructions,
            bytes(self.machine.output),
            self._records,
            self._words,
            self._landings,
            {page: self._digest(page) for page in sorted(touched)},
        )

    def _digest(self, page: int) -> bytes:
        return _digest(self.machine.memory.read(page, PAGE) or b"")

    def _refused(self, event: FaultEvent) -> None:
        if event.record is None:
            return
        record = bytearray(event.record)
        if record[_STALL_BYTE] & _STALL:
            record[_TAG_BYTES] = bytes(2)
        key = bytes(record)
        self._records[key] += 1
        if key not in self._words:
            self._words[key] = describe(event.fault)

    def _writing(self, write: Write) -> Write:
        ram = self.machine.ram

        def observed(pa: int, data: bytes | memoryview) -> bool:
            done = write(pa, data)
            if done and ram.base <= pa < ram.base + ram.size:
                self._landings[pa & -PAGE, _digest(pa.to_bytes(8, "little"), data)] += 1
            return done

        return observed


def _ports(machine: Machine) -> Iterator[MemoryPort]:
    """Every way of DMA masters into memory."""
    for port in machine.dma_ports:
        yield port.memory
    for function in machine.board.pcie.everything:
        endpoint = getattr(function, "endpoint", None)
        if endpoint is not None:
            yield endpoint.memory


def _digest(*parts: bytes | memoryview) -> bytes:
    state = blake2b(digest_size=8)
    for part in parts:
        state.update(part)
    return state.digest()


def differences(before: Outcome, after: Outcome) -> list[str]:
    """How ``after`` differs from ``before``, a line for each thing; none if it does not."""
    lines = []
    if (before.kind, before.status) != (after.kind, after.status):
        lines.append(f"ended with status {after.status} ({after.reason}), not {before.status}")
    lines += _console(before.console, after.console)
    lines += _records(before, after)
    lines += _landings(before, after)
    return lines


def _console(before: bytes, after: bytes) -> list[str]:
    """The first line that differs."""
    pairs = zip_longest(before.splitlines(), after.splitlines())
    for number, (old, new) in enumerate(pairs, 1):
        if old != new:
            was, now = (
                "nothing" if line is None else repr(line.decode(errors="replace"))
                for line in (old, new)
            )
            return [f"console line {number}: {now}, not {was}"]
    return []


def _records(before: Outcome, after: Outcome) -> list[str]:
    lines = []
    for word, left, words in (
        ("missing", before.records - after.records, before.words),
        ("new", after.records - before.records, after.words),
    ):
        lines += [f"{word} record, {left[key]} times: {words[key]}" for key in list(left)[:SHOWN]]
        if len(left) > SHOWN:
            lines.append(f"{len(left) - SHOWN} more {word} records")
    return lines


def _landings(before: Outcome, after: Outcome) -> list[str]:
    """Pages where DMA wrote something else, or whose contents at the end are others."""
    wrote: dict[int, list[int]] = {}
    for which, left in enumerate(
        (before.landings - after.landings, after.landings - before.landings)
    ):
        for (page, _), count in left.items():
            wrote.setdefault(page, [0, 0])[which] += count
    lines = [
        f"page {page:#x}: of its DMA writes {less} are missing, {more} are new"
        for page, (less, more) in sorted(wrote.items())
    ]
    changed = [page for page, digest in before.pages.items() if after.pages.get(page) != digest]
    lines += [
        f"page {page:#x}, where DMA wrote, ends with other contents"
        for page in changed
        if page not in wrote and page in after.pages
    ]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"{len(lines) - SHOWN} more pages"]
    return lines
