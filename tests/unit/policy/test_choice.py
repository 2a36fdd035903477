# SPDX-License-Identifier: GPL-2.0-or-later
"""Which policies there are, and how they are named."""

from __future__ import annotations

import pytest

from smmu_emu.errors import ConfigurationError
from smmu_emu.interpose import original
from smmu_emu.machine import Machine
from smmu_emu.policy import POLICIES, Choice
from smmu_emu.policy.choice import NAMES
from tests.unit.policy.rig import ALL, adversary
from tests.unit.smmuv3.rig import RAM, stage1_bench


def test_every_policy_has_a_name_and_one_line() -> None:
    assert tuple(POLICIES) == NAMES
    for name, policy in POLICIES.items():
        assert policy.name == name
        assert "\n" not in policy.summary
        assert len(f"late-commands  {policy.summary}") <= 100


@pytest.mark.parametrize(
    ("texts", "names", "seed"),
    [
        ("evict", ("evict",), 0),
        ("prefetch,evict,seed=3", ("evict", "prefetch"), 3),
        (["evict", "seed=0x10", "split, late-dma"], ("evict", "split", "late-dma"), 16),
        ("evict,evict", ("evict",), 0),
        ("", (), 0),
    ],
)
def test_choice_is_parsed(texts: str, names: tuple[str, ...], seed: int) -> None:
    choice = Choice.parse(texts)
    assert (choice.names, choice.seed) == (names, seed)
    assert Choice.parse(str(choice)) == choice


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("evicted", "no policy 'evicted': there is keep, forget"),
        ("seed=x", "seed=x: a seed is a number"),
        ("keep,forget", "forget and keep contradict each other"),
        ("forget,prefetch", "forget and prefetch contradict each other"),
    ],
)
def test_what_cannot_be_chosen_is_told(text: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        Choice.parse(text)


@pytest.mark.parametrize("name", ALL)
def test_removed_policies_leave_nothing_before_the_smmu(name: str) -> None:
    bench, tree = stage1_bench()
    tree.page(0x5000, RAM + 0x5000)
    smmu = bench.smmu
    owners = (smmu, smmu.tlb, smmu.walk_cache, smmu.stages, smmu.configuration, smmu.commands)
    owners += (smmu.path, smmu.ats)  # type: ignore[assignment]
    removed = adversary(bench, name)
    assert smmu.path.one_by_one
    bench.pa(0x5000)
    removed.remove()
    assert not smmu.path.one_by_one
    for owner in owners:
        assert "interposed" not in vars(owner)
    assert bench.pa(0x5000) == RAM + 0x5000
    assert original(smmu, "translate") == smmu.translate


def test_smmu_takes_one_adversary_at_a_time() -> None:
    bench, _ = stage1_bench()
    adversary(bench, "evict")
    with pytest.raises(ConfigurationError, match="has policies already"):
        adversary(bench, "split")


def test_machine_takes_a_policy_and_another_and_none() -> None:
    with Machine.virt(ram=1 << 20, policy="evict,seed=4") as machine:
        assert machine.adversary is not None
        assert str(machine.adversary.choice) == "evict,seed=4"
        machine.use_policy(["split", "seed=2"])
        assert str(machine.adversary.choice) == "split,seed=2"
        machine.use_policy("")
        assert machine.adversary is None
        assert not machine.smmu.path.one_by_one


def test_machine_without_an_smmu_has_no_policy() -> None:
    with pytest.raises(ConfigurationError, match="without an SMMU"):
        Machine.virt(ram=1 << 20, iommu=None, policy="evict")


@pytest.mark.parametrize("name", ALL)
def test_batches_equal_their_loops_under_every_policy(name: str) -> None:
    import numpy as np

    results = []
    for together in (True, False):
        bench, tree = stage1_bench()
        for number in range(96):
            tree.page(0x1000 * number, RAM + 0x1000 * (number * 7 % 96))
        adversary(bench, f"{name},seed=1")
        iovas = np.arange(0, 96 * 0x1000, 0x800, dtype=np.uint64)
        if together:
            found = bench.smmu.batch.translate(0x08, iovas)
            assert not found.faults
            results.append([int(pa) for pa in found.pa])
        else:
            results.append([bench.pa(int(iova)) for iova in iovas])
        results.append([bench.smmu.path.hits, bench.smmu.path.misses, len(bench.smmu.tlb)])
    assert results[:2] == results[2:]
