# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulated SMMUv3 against QEMU's recorded one, step by step.

A disagreement is explained by prediction only: `smmuv3.twin` must give exactly what was recorded
and name the deviation (`smmuv3.deviations`) that acted. SMMUV3_GOLDEN names another file, or a
folder of files, to replay instead of the shipped one.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from smmuv3.corpus import Corpus, Group, load
from smmuv3.deviations import DEVIATIONS, EXPLAINED, Deviation
from smmuv3.device import recorded_machine
from smmuv3.replay import Replay

from smmu_emu.memory import PhysicalMemory

SHIPPED = Path(__file__).parent / "data" / "smmuv3" / "qemu-11.1.jsonl.gz"
SHIPPED_PREFIX = "corpus-a-"
CORPUS: Corpus = load(Path(os.environ.get("SMMUV3_GOLDEN") or SHIPPED))
IS_SHIPPED = not os.environ.get("SMMUV3_GOLDEN")

ALL = frozenset(klass for klass, _ in CORPUS.lines)
IN_FORCE: dict[str, frozenset[str]] = {"nested": ALL, "s1only": ALL, "s2only": ALL}
"""Classes of scenarios that are replayed, by the stages that the recorded SMMU had."""

GROUPS = [group for group in CORPUS.lines if group[0] in IN_FORCE.get(group[1], ())]
EXAMPLES = [
    deviation
    for deviation in DEVIATIONS.values()
    if IS_SHIPPED and tuple(deviation.example.rsplit("-", 2)[:2]) in GROUPS
]
SHOWN = 12


@pytest.fixture(scope="module")
def memory() -> PhysicalMemory:
    return recorded_machine()


@pytest.mark.parametrize("group", GROUPS, ids="-".join)
def test_device_agrees_with_the_record_or_the_twin_explains(
    group: Group, memory: PhysicalMemory, record_property: pytest.RecordProperty
) -> None:
    explained: Counter[str] = Counter()
    problems: list[str] = []
    for scenario in CORPUS.scenarios(group):
        replay = Replay(scenario, memory)
        replay.run()
        explained += replay.explained
        problems += replay.problems
    record_property(EXPLAINED, sorted(explained.items()))
    assert not problems, f"{len(problems)} disagreements\n" + "\n".join(problems[:SHOWN])


@pytest.mark.parametrize("deviation", EXAMPLES, ids=lambda deviation: deviation.name)
def test_deviation_explains_a_step_of_its_example(
    deviation: Deviation, memory: PhysicalMemory
) -> None:
    replay = Replay(CORPUS.find(SHIPPED_PREFIX + deviation.example), memory)
    replay.run()
    assert replay.explained[deviation.name]
