# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded scenarios: reading them, and what each recorded step says. See data/smmuv3/README.md."""

from __future__ import annotations

import gzip
import json
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


def load(path: Path) -> Iterator[Scenario]:
    """Read the scenarios of a file of JSON lines, packed or not."""
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as lines:
        for line in lines:
            yield _scenario(json.loads(line))


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
    """Return the StreamIDs of the machine's PCI functions; the bus behind the port varies."""
    used = {step["dma"]["sid"] for step in raw["steps"] if "dma" in step}
    return _FIXED_FUNCTIONS | used
