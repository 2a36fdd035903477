# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded scenarios: reading them, and what each recorded step says. See data/smmuv3/README.md."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_IDS = ("idr0", "idr1", "idr2", "idr3", "idr4", "idr5", "iidr", "aidr")
_FIXED_FUNCTIONS = frozenset({0x00, 0x08, 0x10, 0x18, 0x20, 0x35})
_BUSES = (0x01, 0x05, 0x12, 0x30, 0x7F, 0xFE)


@dataclass(frozen=True)
class Scenario:
    """One recorded run from power-on."""

    id: str
    klass: str
    stage: str
    identification: tuple[int, ...]
    memory: list[tuple[int, bytes]]
    steps: list[dict[str, Any]]
    events: list[bytes]
    final_registers: dict[str, int]
    functions: frozenset[int]


Group = tuple[str, str]
"""A class of scenarios and the stages that the recorded SMMU had."""

_HEAD = re.compile(r'\{"id": ?"([^"]+)", ?"class": ?"([^"]+)", ?"smmu": ?\{"stage": ?"([^"]+)"')


@dataclass(frozen=True)
class Corpus:
    """Recorded scenarios by group, not yet parsed."""

    lines: dict[Group, list[str]]

    def scenarios(self, group: Group) -> Iterator[Scenario]:
        """Return the scenarios of one group, in the order of the record."""
        return (_scenario(json.loads(line)) for line in self.lines[group])

    def find(self, scenario_id: str) -> Scenario:
        """Return one scenario.

        Raises:
            KeyError: if there is none of that name.
        """
        for lines in self.lines.values():
            for line in lines:
                head = _HEAD.match(line)
                if head and head[1] == scenario_id:
                    return _scenario(json.loads(line))
        raise KeyError(scenario_id)


def load(path: Path) -> Corpus:
    """Read a file of JSON lines, packed or not, or all such files of a folder.

    Raises:
        ValueError: for a line that is not a scenario.
    """
    files = sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
    lines: dict[Group, list[str]] = {}
    for file in files:
        raw = file.read_bytes()
        text = gzip.decompress(raw) if file.suffix == ".gz" else raw
        for line in text.decode().splitlines():
            head = _HEAD.match(line)
            if head is None:
                raise ValueError(f"{file}: not a recorded scenario: {line[:60]!r}")
            lines.setdefault((head[2], head[3]), []).append(line)
    return Corpus(lines)


def _scenario(raw: dict[str, Any]) -> Scenario:
    return Scenario(
        id=raw["id"],
        klass=raw["class"],
        stage=raw["smmu"]["stage"],
        identification=tuple(raw["smmu"][name] for name in _IDS),
        memory=[(int(pa, 16), bytes.fromhex(data)) for pa, data in raw["mem"]],
        steps=raw["steps"],
        events=[bytes.fromhex(event) for event in raw["evtq"]],
        final_registers=raw["final_regs"],
        functions=_functions(raw),
    )


def _functions(raw: dict[str, Any]) -> frozenset[int]:
    """Return the StreamIDs of the machine's PCI functions.

    One function sits behind a root port whose bus number varies: the bus is seen in the transfers,
    or in the stream table, which has an entry for each function.
    """
    used = {step["dma"]["sid"] for step in raw["steps"] if "dma" in step}
    filled = {bus << 8 for bus in _BUSES if _has_ste(raw, bus << 8)}
    return _FIXED_FUNCTIONS | used | filled


def _has_ste(raw: dict[str, Any], stream_id: int) -> bool:
    """Say whether the stream table that the scenario starts with has an entry for the StreamID."""
    base = _first_write(raw, "w64", 0x80) & (1 << 52) - 0x40
    settings = _first_write(raw, "w32", 0x88)
    if settings >> 16 & 3 != 1:
        return _initial_word(raw, base + 64 * stream_id) is not None
    split = settings >> 6 & 0x1F
    descriptor = _initial_word(raw, base + 8 * (stream_id >> split)) or 0
    index = stream_id & (1 << split) - 1
    return bool(descriptor) and _initial_word(raw, (descriptor & ~0x1F) + 64 * index) is not None


def _first_write(raw: dict[str, Any], kind: str, offset: int) -> int:
    writes = (step[kind] for step in raw["steps"] if kind in step)
    return next((value for where, value in writes if where == offset), 0)


def _initial_word(raw: dict[str, Any], address: int) -> int | None:
    for pa, data in raw["mem"]:
        at = 2 * (address - int(pa, 16))
        if 0 <= at < len(data):
            return int.from_bytes(bytes.fromhex(data[at : at + 16]), "little")
    return None
