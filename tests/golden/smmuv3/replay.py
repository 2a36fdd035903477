# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays a recorded scenario on the device and on the twin, side by side.

The twin must give what was recorded, at every step. The device may differ from the record only
where deviations acted that can show in what differs; and whatever the record says, the device must
give what the architecture gives from QEMU's state on. After each step the device goes on from
QEMU's state: queue indexes, global errors, guarded registers, cached configurations, TLB entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from smmu_emu.memory import PhysicalMemory

from .corpus import Scenario
from .deviations import DEVIATIONS
from .device import Device
from .outcome import Outcome, recorded_outcome, transfer_outcome
from .system import RAM_BASE, RAM_END
from .twin import Expected, Result, Twin

_RAM = range(RAM_BASE, RAM_END)
_FREE = frozenset(name for name, deviation in DEVIATIONS.items() if not deviation.wrong)


class Replay:
    """One scenario; ``problems`` are in words, ``explained`` counts steps by deviation."""

    def __init__(self, scenario: Scenario, memory: PhysicalMemory) -> None:
        self.scenario = scenario
        self.twin = make_twin(scenario)
        self.device = Device(scenario, memory)
        self.device.follow(self.twin)
        self.problems: list[str] = []
        self.explained: Counter[str] = Counter()

    def run(self) -> None:
        """Take all steps."""
        for number, step in enumerate(self.scenario.steps):
            if "mem" in step:
                address, data = int(step["mem"][0], 16), bytes.fromhex(step["mem"][1])
                self.twin.memory.write(address, data)
                self.device.memory.write(address, data)
                continue
            for problem in self._step(step):
                self.problems.append(f"{self.scenario.id} step {number} {_words(step)}: {problem}")

    def _step(self, step: dict[str, Any]) -> Iterator[str]:
        expected = _expectation(self.twin, step)
        result, predicted = predict(self.twin, step)
        recorded = recorded_outcome(step)
        for name, (ours, theirs) in predicted.differences(recorded).items():
            yield f"the twin gives {name} {_show(ours)}, recorded {_show(theirs)}"
        got = self._drive(step)
        differences = got.differences(recorded)
        differences |= self.device.state_differences(self.twin)
        names = result.names
        if differences:
            yield from self._explain(differences, names)
        if expected is not None and not expected.free and not names & _FREE:
            yield from _against_architecture(got, differences, expected)
        if not names:
            yield from (f"the device keeps {key} of its TLB" for key in self._kept_wrongly(result))
        for complaint in self.device.follow(self.twin):
            if not names:
                yield complaint

    def _drive(self, step: dict[str, Any]) -> Outcome:
        if "dma" in step:
            dma = step["dma"]
            write = dma["dir"] == "write"
            return self.device.transfer(dma["sid"], dma["iova"], dma["len"], write)
        kind = next(kind for kind in ("w32", "w64", "r32", "r64") if kind in step)
        offset, value = step[kind]
        size = int(kind[1:]) // 8
        if kind[0] == "w":
            return self.device.write(offset, size, value)
        return self.device.read(offset, size)

    def _explain(self, differences: dict[str, tuple[Any, Any]], names: set[str]) -> Iterator[str]:
        able = {name for name in names if DEVIATIONS[name].only in ("", *differences)}
        unexplained = dict(differences)
        for name in able:
            if DEVIATIONS[name].only:
                unexplained.pop(DEVIATIONS[name].only, None)
        if all(DEVIATIONS[name].only for name in able) and unexplained:
            for field, (ours, theirs) in unexplained.items():
                yield f"the device gives {field} {_show(ours)}, recorded {_show(theirs)}"
        else:
            self.explained.update(able)

    def _kept_wrongly(self, result: Result) -> Iterator[str]:
        yield from map(str, self.device.held(result.dropped_entries))
        for stream_id in result.dropped_streams:
            if self.device.holds_stream(stream_id):
                yield f"the configuration of stream {stream_id:#x}"


def make_twin(scenario: Scenario) -> Twin:
    """Return a twin at power-on with the scenario's memory."""
    twin = Twin(scenario.identification, scenario.functions)
    for address, data in scenario.memory:
        twin.memory.write(address, data)
    return twin


def predict(twin: Twin, step: dict[str, Any]) -> tuple[Result, Outcome]:
    """Let the twin take a step that is not a memory write."""
    if "dma" in step:
        dma = step["dma"]
        write = dma["dir"] == "write"
        result = twin.transfer(dma["sid"], dma["iova"], dma["len"], write)
        pieces = ((piece.size, piece.target) for piece in result.pieces)
        outcome = transfer_outcome(pieces, write, twin.memory, _RAM)
        outcome.events = result.events
        outcome.prod = twin.event_queue.prod
    else:
        kind = next(kind for kind in ("w32", "w64", "r32", "r64") if kind in step)
        offset, value = step[kind]
        size = int(kind[1:]) // 8
        written = kind[0] == "w"
        result = twin.write(offset, size, value) if written else twin.read(offset, size)
        outcome = Outcome(value=result.value)
    outcome.interrupts = sorted(result.interrupts)
    return result, outcome


def _expectation(twin: Twin, step: dict[str, Any]) -> Expected | None:
    """Return what the architecture wants of a step that is one access."""
    if "dma" not in step:
        return None
    dma = step["dma"]
    if dma["iova"] % 0x1000 + dma["len"] > 0x1000:
        return None
    return twin.expect(dma["sid"], dma["iova"], dma["dir"] == "write")


def _against_architecture(
    got: Outcome, differences: dict[str, tuple[Any, Any]], expected: Expected
) -> Iterator[str]:
    """Compare the device with what the architecture gives from the same state."""
    if got.events != expected.events:
        ours, theirs = _show(got.events), _show(expected.events)
        yield f"the device's events {ours}, by the architecture {theirs}"
    if got.interrupts != expected.interrupts:
        yield f"the device's interrupts {got.interrupts}, by the architecture {expected.interrupts}"
    if expected.prod is not None and got.prod != expected.prod:
        yield f"the device's PROD {got.prod:#x}, by the architecture {expected.prod:#x}"
    landed = got.runs[0][0] if got.runs else None
    target = expected.target if expected.target is not None and expected.target in _RAM else None
    seen = got.ok is not None or any(got.data or b"")
    wanted = target if seen else None
    if landed != wanted:
        yield f"the device goes to {_show(landed)}, by the architecture {_show(wanted)}"


def _words(step: dict[str, Any]) -> str:
    if "dma" in step:
        dma = step["dma"]
        return f"{dma['dir']} stream {dma['sid']:#x} iova {dma['iova']:#x}"
    kind = next(kind for kind in ("w32", "w64", "r32", "r64") if kind in step)
    offset, value = step[kind]
    return f"{kind} {offset:#x} {value:#x}"


def _show(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, bytes):
        return value.hex()
    return hex(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
