# SPDX-License-Identifier: GPL-2.0-or-later
"""The twin of QEMU's SMMUv3 alone: it gives what was recorded, and needs no emulator."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import smmuv3
from smmuv3 import registers as reg
from smmuv3.corpus import Group, Scenario
from smmuv3.outcome import recorded_outcome
from smmuv3.replay import make_twin, predict
from test_smmuv3_replay import CORPUS, SHOWN

PACKAGE = Path(smmuv3.__file__).parent
JOINS_BOTH = {"device.py", "replay.py"}

FINAL = {
    "CR0": reg.CR0,
    "CR0ACK": reg.CR0ACK,
    "CR1": reg.CR1,
    "CR2": reg.CR2,
    "STATUSR": reg.STATUSR,
    "GBPA": reg.GBPA,
    "IRQ_CTRL": reg.IRQ_CTRL,
    "IRQ_CTRL_ACK": reg.IRQ_CTRLACK,
    "GERROR": reg.GERROR,
    "GERRORN": reg.GERRORN,
    "STRTAB_BASE_CFG": reg.STRTAB_BASE_CFG,
    "CMDQ_PROD": reg.CMDQ_PROD,
    "CMDQ_CONS": reg.CMDQ_CONS,
    "EVENTQ_PROD": reg.EVENTQ_PROD,
    "EVENTQ_CONS": reg.EVENTQ_CONS,
    "STRTAB_BASE": reg.STRTAB_BASE,
    "CMDQ_BASE": reg.CMDQ_BASE,
    "EVENTQ_BASE": reg.EVENTQ_BASE,
}


@pytest.mark.parametrize("group", CORPUS.lines, ids="-".join)
def test_twin_gives_what_was_recorded(group: Group) -> None:
    problems = [
        problem for scenario in CORPUS.scenarios(group) for problem in _disagreements(scenario)
    ]
    assert not problems, f"{len(problems)} disagreements\n" + "\n".join(problems[:SHOWN])


def _disagreements(scenario: Scenario) -> list[str]:
    twin, problems = make_twin(scenario), []
    events: list[bytes] = []
    for number, step in enumerate(scenario.steps):
        if "mem" in step:
            twin.memory.write(int(step["mem"][0], 16), bytes.fromhex(step["mem"][1]))
            continue
        _, outcome = predict(twin, step)
        events += outcome.events
        for name, pair in outcome.differences(recorded_outcome(step)).items():
            problems.append(f"{scenario.id} step {number} {name}: {pair}")
    if events != scenario.events:
        problems.append(f"{scenario.id}: {len(events)} events, recorded {len(scenario.events)}")
    for name, value in scenario.final_registers.items():
        got = twin.read(FINAL[name], 8 if name.endswith("BASE") else 4).value
        if got != value:
            problems.append(f"{scenario.id} at the end {name}: {got:#x}, recorded {value:#x}")
    return problems


def test_twin_imports_nothing_of_the_emulator() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.name in JOINS_BOTH:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert not [name for name in names if name.split(".")[0] in ("smmu_emu", "pgtable")]
