# SPDX-License-Identifier: GPL-2.0-or-later
"""No false alarms: correct drivers are clean whatever the SMMU does, and who errs is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from smmu_emu.check import Checker
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from tests.bugs.python_driver import Life

IMAGES = Path(__file__).parents[2] / "firmware" / "images"
ENGINE = ("dma-engine@00:02.0",)
NEEDS_ENGINE = ("ats", "core", "stall", "substreams")
LIMIT = 30_000_000

ERRING = {
    "ats": {"stale-atc-hit"},
    "el2_streams": {"stale-tlb-hit", "wrong-scope-invalidate"},
    "faults": {"walk-outside-memory"},
    "msi": {"forbidden-register-write"},
    "nested": {"break-before-make", "stale-tlb-hit", "wrong-scope-invalidate"},
    "range_tlbi": {"stale-tlb-hit"},
    "substreams": {"config-not-hitless", "stale-config-hit"},
    "unmap_tlbi": {"config-not-hitless", "stale-tlb-hit", "wrong-scope-invalidate"},
}
"""Images that err on purpose, to show what the architecture does about it."""
NOT_DRIVERS = {"mmio_odd"}
"""Images that write registers at random."""
ELSEWHERE = {"spin", "crash", "bad_vectors", "jump_nowhere", "dma_code"}
"""Images that never end, or are about the core."""

POLICIES = (
    *("keep", "forget", "evict", "prefetch", "table-pointers", "split", "merge", "bad-config"),
    *("late-effects", "late-acks"),
)


def _names(checker: Checker) -> set[str]:
    return {one.name for one in checker.finish() if one.severity != "advice"}


def _check(name: str, append: str = "", policy: str | None = None) -> set[str]:
    """What is found in a run of an image."""
    devices = ENGINE if name in NEEDS_ENGINE else ("iommu-testdev@00:01.0",)
    path = IMAGES / f"{name}.elf"
    with Machine.virt(
        devices=devices,
        smmu_ids=PRESETS["full"],
        policy=policy,
        command_line=f"{path.name} {append}",
    ) as machine:
        machine.load(path, append=append)
        with Checker(machine) as checker:
            machine.run(LIMIT)
            return _names(checker)


def _images() -> list[str]:
    return sorted({path.stem for path in IMAGES.glob("*.elf")} - ELSEWHERE - NOT_DRIVERS)


@pytest.mark.parametrize("name", _images())
def test_images_are_clean_or_known_to_err(name: str) -> None:
    assert _check(name) == ERRING.get(name, set())


@pytest.mark.parametrize("policy", [*POLICIES, "late-commands", "late-dma"])
def test_correct_c_driver_is_clean_under_every_policy(policy: str) -> None:
    assert _check("bugs", "none", f"{policy},seed=1") == set()


@pytest.mark.parametrize("policy", POLICIES)
def test_correct_python_driver_is_clean_under_every_policy(policy: str) -> None:
    if policy == "late-acks":
        pytest.skip("a Python driver without idle time waits for no acknowledge")
    policy = f"{policy},seed=1"
    with (
        Machine.virt(smmu_ids=PRESETS["full"], devices=(), policy=policy) as machine,
        Checker(machine) as checker,
    ):
        assert Life(machine).run()
        assert _names(checker) == set()
