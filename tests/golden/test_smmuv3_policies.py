# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded scenarios under policies: where nothing depends on caching, nothing may change.

Taken are the scenarios whose memory no longer changes once there was a transaction, and whose
outcome is the same without any cache at all. Time passes after each step, so that what is late has
come before the next. Random scenarios give one VMID several tables (3.17.6 forbids that), which
only pointers to tables bring to light: those are spared them.

``SMMU_POLICIES_SHARE`` 1 takes all scenarios.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from smmuv3.corpus import Scenario, load
from smmuv3.device import Device, recorded_machine
from smmuv3.outcome import Outcome
from test_smmuv3_replay import SHIPPED

from smmu_emu.memory import PhysicalMemory
from smmu_emu.policy import Adversary, Choice

CORPUS = load(SHIPPED)
POLICIES = (
    *("evict", "prefetch", "table-pointers", "split", "merge", "bad-config"),
    "keep,prefetch,table-pointers,split,merge,bad-config,late-effects,late-acks",
    "evict,prefetch,table-pointers,late-commands,late-effects",
)
SHARE = int(os.environ.get("SMMU_POLICIES_SHARE", "64"))
"""One scenario of so many is taken for each policy."""
WHILE_ASLEEP = 100_000


@pytest.fixture(scope="module")
def memory() -> PhysicalMemory:
    return recorded_machine()


def _is_settled(scenario: Scenario) -> bool:
    """Whether memory stays as it is from the first transaction on."""
    kinds = ["mem" if "mem" in step else "dma" if "dma" in step else "" for step in scenario.steps]
    return "dma" in kinds and "mem" not in kinds[kinds.index("dma") :]


def _outcomes(scenario: Scenario, memory: PhysicalMemory, policy: str) -> list[tuple[Any, ...]]:
    device = Device(scenario, memory)
    if policy:
        Adversary(device.smmu, Choice.parse(policy))
    clock = device.smmu.clock
    found = []
    for step in scenario.steps:
        if "mem" in step:
            memory.write(int(step["mem"][0], 16), bytes.fromhex(step["mem"][1]))
            continue
        outcome = _drive(device, step)
        clock.advance(clock.now + WHILE_ASLEEP)
        if "dma" in step:
            found.append((outcome.ok, outcome.runs, outcome.data, outcome.events))
    return found


def _drive(device: Device, step: dict[str, Any]) -> Outcome:
    if "dma" in step:
        dma = step["dma"]
        return device.transfer(dma["sid"], dma["iova"], dma["len"], dma["dir"] == "write")
    kind = next(kind for kind in ("w32", "w64", "r32", "r64") if kind in step)
    offset, value = step[kind]
    size = int(kind[1:]) // 8
    return device.write(offset, size, value) if kind[0] == "w" else device.read(offset, size)


def _run(memory: PhysicalMemory, policy: str, share: int) -> tuple[int, list[str]]:
    """How many scenarios were comparable, and those that came to something else."""
    compared, different, number = 0, [], POLICIES.index(policy)
    for group in CORPUS.lines:
        for scenario in CORPUS.scenarios(group):
            number += 1
            if number % share or not _is_settled(scenario):
                continue
            if scenario.klass == "fuzz" and "table-pointers" in policy:
                continue
            usual = _outcomes(scenario, memory, "")
            if _outcomes(scenario, memory, "forget") != usual:
                continue
            compared += 1
            if _outcomes(scenario, memory, f"{policy},seed={number}") != usual:
                different.append(scenario.id)
    return compared, different


@pytest.mark.parametrize("policy", POLICIES)
def test_settled_scenario_comes_to_the_same(memory: PhysicalMemory, policy: str) -> None:
    compared, different = _run(memory, policy, SHARE)
    assert compared > 1000 // SHARE
    assert different == []
