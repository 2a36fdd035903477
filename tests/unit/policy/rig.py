# SPDX-License-Identifier: GPL-2.0-or-later
"""Benches with policies, and virtual time for what is late."""

from __future__ import annotations

from typing import TypeVar

from smmu_emu.policy import POLICIES, Adversary, Choice
from smmu_emu.policy.base import LONGEST_DELAY, Policy
from tests.unit.smmuv3.rig import Bench

_Kind = TypeVar("_Kind", bound=Policy)


def adversary(bench: Bench, policy: str) -> Adversary:
    """Give a bench's SMMU policies."""
    return Adversary(bench.smmu, Choice.parse(policy))


def the(adversary: Adversary, kind: type[_Kind]) -> _Kind:
    """One policy of an adversary."""
    found = next(policy for policy in adversary.policies if type(policy) is kind)
    assert isinstance(found, kind)
    return found


def wait(bench: Bench, time: int = 20 * LONGEST_DELAY) -> None:
    """Let everything late come."""
    clock = bench.smmu.clock
    clock.advance(clock.now + time)


def late_do(bench: Bench, *commands: int) -> None:
    """Commands and a SYNC, waited for."""
    from tests.unit.smmuv3.rig import SYNC

    bench.push(*commands, SYNC)
    wait(bench)
    assert bench.r("GERROR") == bench.r("GERRORN")
    assert bench.r("CMDQ_CONS") & 0xFFFFF == bench.prod


ALL = list(POLICIES)
