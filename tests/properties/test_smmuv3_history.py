# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolation with caches: nothing lands where no valid chain of descriptors leads, then or now.

Software changes STEs, CDs and descriptors, tells the SMMU too late or never, turns it off and on,
stalls and resumes, asks by ATS. Whatever a transaction is given, some chain in memory must give it,
now or at some time since the last command that had to make the SMMU forget it. The SMMU's own
writes go to its queues and message addresses, and change nothing but flags of descriptors.

``SMMU_HISTORY_STEPS`` sets the length of the long run; a million is much.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from smmu_emu.smmuv3 import PRESETS, IdRegisters
from tests.deadline import within
from tests.properties.scene import Operation, Scene, operations
from tests.unit.smmuv3.rig import make_ids

IDS: dict[str, IdRegisters] = {
    **PRESETS,
    "stalls only": make_ids(STALL_MODEL=2, STALL_MAX=2, HTTU=1, SSIDSIZE=3, ATTR_PERMS_OVR=1),
    "nested ATS": make_ids(ATS=1, PRI=1, PRIQS=8, SSIDSIZE=8, HTTU=2, Hyp=1, XNX=0),
}
OPERATIONS = 80
SCENES = 6
POLICIES = (
    *("forget", "evict", "prefetch", "split", "bad-config", "late-effects"),
    *("evict,prefetch,split,late-effects", "keep,prefetch,split,merge,bad-config,late-effects"),
)
"""Those that keep intermediate descriptors are for others to judge: the reader has none."""
STEPS = int(os.environ.get("SMMU_HISTORY_STEPS", "5000"))


def play(ids: IdRegisters, seed: int, story: list[Operation], policy: str = "") -> Scene:
    """A scene, and what happens in it."""
    scene = Scene(ids, seed, policy)
    with within(60):
        for operation in story:
            scene.step(operation)
    return scene


def fails(ids: IdRegisters, seed: int, story: list[Operation], policy: str) -> bool:
    try:
        play(ids, seed, story, policy)
    except Exception:
        return True
    return False


def shortest(ids: IdRegisters, seed: int, story: list[Operation], policy: str) -> list[Operation]:
    """What is left of a story that fails if everything is taken out that it can do without."""
    size = len(story) // 2
    while size:
        start = 0
        while start < len(story):
            shorter = story[:start] + story[start + size :]
            if fails(ids, seed, shorter, policy):
                story = shorter
            else:
                start += size
        size //= 2
    return story


def run(name: str, seed: int, length: int, policy: str = "") -> Scene:
    """One scene of the preset ``name``; a failure is cut down and told."""
    ids, story = IDS[name], operations(seed, length)
    try:
        return play(ids, seed, story, policy)
    except Exception as error:
        story = shortest(ids, seed, story, policy)
        lines = "\n".join(f"    {operation}," for operation in story)
        call = f"play(IDS[{name!r}], {seed}, [\n{lines}\n], {policy!r})"
        pytest.fail(f"{name}, seed {seed}, policy {policy!r}: {error!r}\n{call}")


def tally(counts: Counter[str], scene: Scene, length: int) -> None:
    smmu = scene.smmu
    counts.update(
        {
            "operations": length,
            "landings": scene.landed,
            "refusals": scene.refused,
            "stalls": scene.stalled,
            "TLB hits": smmu.path.hits,
            "stale": scene.reader.stale,
        }
    )


@pytest.mark.parametrize("name", list(IDS))
def test_nothing_lands_where_no_chain_leads(name: str) -> None:
    counts: Counter[str] = Counter()
    first = list(IDS).index(name) * SCENES
    for seed in range(first, first + SCENES):
        tally(counts, run(name, seed, OPERATIONS), OPERATIONS)

    assert counts["landings"] > SCENES
    assert counts["stale"] > 0
    assert counts["refusals"] > SCENES


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_lands_where_no_chain_leads_under_policies(policy: str) -> None:
    counts: Counter[str] = Counter()
    for seed, name in enumerate(IDS, 1000 + 10 * POLICIES.index(policy)):
        tally(counts, run(name, seed, OPERATIONS, f"{policy},seed={seed}"), OPERATIONS)

    assert counts["landings"] > len(IDS)
    assert counts["refusals"] > len(IDS)


@pytest.mark.slow
def test_nothing_lands_where_no_chain_leads_for_long(capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    seed = SCENES * len(IDS)
    while counts["operations"] < STEPS:
        for name in IDS:
            policy = ("", *POLICIES)[seed % (1 + len(POLICIES))]
            tally(counts, run(name, seed, OPERATIONS, policy), OPERATIONS)
            seed += 1
    with capsys.disabled():
        print(f"\n{dict(counts)}")

    assert counts["stale"] > 0
