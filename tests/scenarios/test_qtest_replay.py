# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded scenarios through the qtest protocol, and one script for QEMU and for us.

The device driven from another process must do what it does when it is called, step by step; how
that compares with the record is told by tests/golden.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from smmu_emu.memory import PhysicalMemory
from tests.golden.smmuv3.corpus import Scenario, load
from tests.golden.smmuv3.device import Device, recorded_machine
from tests.scenarios.qtest_rig import EDU, QtestRig

SHIPPED = Path(__file__).parents[1] / "golden" / "data" / "smmuv3" / "qemu-11.1.jsonl.gz"
CORPUS = load(SHIPPED)
SHARE = {
    "s1": 4,
    "s2": 4,
    "nested": 4,
    "ste": 3,
    "cd": 3,
    "gbpa": 3,
    "evtq": 4,
    "cmdq": 4,
    "regs": 3,
    "regs-live": 3,
    "tlb-s1": 2,
    "tlb-s2": 2,
    "tlb-nested": 2,
    "cfgcache": 2,
    "fuzz": 3,
    "multi": 3,
    "tlbi-dir": 3,
    "cfgi-dir": 3,
    "strtab": 2,
    "opcode": 4,
}
"""Scenarios of each class: a server each, a third of a second."""


def share(klass: str) -> list[Scenario]:
    """Scenarios from all over a class."""
    group = (klass, "nested")
    step = len(CORPUS.lines[group]) // SHARE[klass]
    return list(islice(CORPUS.scenarios(group), step // 2, None, step))[: SHARE[klass]]


@pytest.fixture(scope="module")
def memory() -> PhysicalMemory:
    return recorded_machine()


@pytest.mark.parametrize("klass", SHARE)
def test_device_behind_qtest_does_what_it_does_when_called(
    klass: str, memory: PhysicalMemory
) -> None:
    for scenario in share(klass):
        rig = QtestRig(scenario)
        with rig.client:
            problems = list(compare(scenario, Device(scenario, memory), rig))
            assert not problems, problems[:4]
        assert scenario.steps


def compare(scenario: Scenario, device: Device, rig: QtestRig) -> Iterator[str]:
    last_read = b""
    for number, step in enumerate(scenario.steps):
        where = f"{scenario.id} step {number} {step}"
        if "mem" in step:
            pa, data = int(step["mem"][0], 16), bytes.fromhex(step["mem"][1])
            device.memory.write(pa, data)
            rig.memory(pa, data)
            continue
        if "dma" in step:
            dma = step["dma"]
            write = dma["dir"] == "write"
            ours = device.transfer(dma["sid"], dma["iova"], dma["len"], write)
            theirs = rig.transfer(dma, ours.runs or [])
            if not write:
                assert dma["sid"] == EDU
                last_read, theirs.data, theirs.runs = ours.data or b"", ours.data, ours.runs
            ours.interrupts.sort()
        else:
            kind = next(kind for kind in ("w32", "w64", "r32", "r64") if kind in step)
            offset, value = step[kind]
            size = int(kind[1:]) // 8
            if kind[0] == "w":
                ours, theirs = device.write(offset, size, value), rig.write(offset, size, value)
            else:
                ours, theirs = device.read(offset, size), rig.read(offset, size)
        for name, pair in theirs.differences(ours).items():
            yield f"{where}: {name} {pair}"
    if last_read and (data := rig.last_data(len(last_read))) != last_read:
        yield f"{scenario.id}: the last read got {data.hex()} instead of {last_read.hex()}"
