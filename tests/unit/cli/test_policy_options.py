# SPDX-License-Identifier: GPL-2.0-or-later
"""``--policy``, ``--policy-sweep`` and ``smmu-emu policies`` as users meet them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from smmu_emu.cli import cli
from smmu_emu.policy.choice import NAMES

IMAGES = Path(__file__).parents[3] / "firmware" / "images"
HELLO, UNMAP = str(IMAGES / "hello.elf"), str(IMAGES / "unmap_tlbi.elf")


def smmu_emu(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.mark.parametrize("words", [["policies"], ["run", HELLO, "--policy", "list"]])
def test_policies_are_listed_a_line_each(words: list[str]) -> None:
    result = smmu_emu(*words)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == list(NAMES)
    assert all(len(line) <= 100 for line in result.output.splitlines())


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ("evicted", "no policy 'evicted': there is keep, forget"),
        ("seed=many", "seed=many: a seed is a number"),
        ("keep,forget", "policies forget and keep contradict each other"),
    ],
)
@pytest.mark.parametrize("command", [["run", HELLO], ["linux", "--kernel", HELLO]])
def test_bad_policy_is_wrong_usage(command: list[str], policy: str, complaint: str) -> None:
    result = smmu_emu(*command, "--policy", policy)
    assert result.exit_code == 2
    assert complaint in result.output


def test_policies_add_up() -> None:
    result = smmu_emu("run", UNMAP, "--policy", "forget", "--policy", "late-acks,seed=2")
    assert result.exit_code == 1
    assert "FAIL (" in result.output
    assert "policy         forget,late-acks,seed=2" in result.output.splitlines()


def test_sweep_without_difference_is_0() -> None:
    result = smmu_emu("run", HELLO, "--policy-sweep", "2")
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "2 policies: the outcome is the same under all"


def test_sweep_with_a_difference_is_1_and_says_how_to_see_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["run", UNMAP, "--policy-sweep", "2", "--cpu", "cortex-a57"]
    monkeypatch.setattr("sys.argv", ["smmu-emu", *words])
    result = smmu_emu(*words)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[-1] == "2 policies: 1 of them differ"
    told = f"  to see it: smmu-emu run {UNMAP} --cpu cortex-a57 --policy forget,seed=1"
    assert told in lines
    shown = smmu_emu(*told.split()[4:])
    assert shown.exit_code == 1


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_sweep_takes_a_number_of_policies(number: str) -> None:
    assert smmu_emu("run", HELLO, f"--policy-sweep={number}").exit_code == 2


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--policy", "evict"], "--policy"),
        (["--gdb", "1234"], "--gdb"),
        (["--json", "report.json"], "--json"),
        (["--inject", "plan.toml"], "--inject"),
        (["--trace", "trace.jsonl"], "--trace"),
        (["--check"], "--check"),
        (["--provenance"], "--provenance"),
    ],
)
def test_sweep_refuses_what_it_cannot_do_as_well(words: list[str], option: str) -> None:
    result = smmu_emu("run", HELLO, "--policy-sweep", "2", *words)
    assert result.exit_code == 2
    assert f"--policy-sweep goes without {option}" in result.output
