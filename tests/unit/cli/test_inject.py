# SPDX-License-Identifier: GPL-2.0-or-later
"""``--inject``: what a run under faults says, and how it ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import IMAGES, Ended

Cli = Callable[..., Ended]

PAGES = IMAGES / "dma_pages.elf"
ABORT = '[[fault]]\nsite = "walk-read"\neffect = "abort"\nnth = 5\n'
NEVER = '[[fault]]\nname = "never"\nsite = "walk-read"\neffect = "abort"\naddress = [4096, 8192]\n'
ALLOW = "[[allow]]\nstream = 8\niova = [0, 4096]\n"


@pytest.fixture
def plan(tmp_path: Path) -> Callable[[str], Path]:
    """A plan file with a text."""

    def write(text: str) -> Path:
        path = tmp_path / f"plan{len(list(tmp_path.iterdir()))}.toml"
        path.write_text(text)
        return path

    return write


Write = Callable[[str], Path]


def test_report_tells_what_was_injected(cli: Cli, plan: Write) -> None:
    ended = cli("run", PAGES, "--inject", plan(ABORT))
    assert ended.status == 1
    lines = ended.out.splitlines()
    assert lines[-2] == "injected       walk-read abort 1"
    assert " walk-read abort: walk-read stream 0x8 iova 0x204ffc at 0x" in lines[-1]
    assert lines[-1].endswith(" -> abort")


def test_fault_that_never_fired_makes_the_run_invalid(cli: Cli, plan: Write) -> None:
    ended = cli("run", PAGES, "--inject", plan(NEVER))
    assert ended.status == 122
    assert re.search(r"never never fired: \d+ walk-read seen, address 0x4", ended.out)
    assert "; none in 0x1000-0x2000, nearest 0x4" in ended.out
    assert ended.out.rstrip().endswith("INVALID: it does not show what the plan wanted to see")


def test_invalid_run_is_told_without_a_report_too(cli: Cli, plan: Write) -> None:
    ended = cli("run", IMAGES / "hello.elf", "--no-report", "--inject", plan(NEVER))
    assert ended.status == 122
    assert ended.err == "smmu-emu: never never fired: no walk-read was seen\n"


def test_plans_are_joined(cli: Cli, plan: Write) -> None:
    ended = cli("run", PAGES, "--inject", plan(ABORT), "--inject", plan(NEVER))
    assert ended.status == 122
    assert "injected       walk-read abort 1" in ended.out


def test_breach_of_what_a_plan_allows_is_a_status(cli: Cli, plan: Write) -> None:
    ended = cli("run", PAGES, "--inject", plan(ALLOW), "--no-report")
    assert ended.status == 121
    assert ended.err.startswith("smmu-emu: breach: stream 0x8 wrote 4 bytes at pa 0x50001040 ")
    assert ended.err.count("\n") == 1


def test_json_report_has_what_was_injected(cli: Cli, plan: Write, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    cli("run", PAGES, "--inject", plan(ABORT + ALLOW), "--json", report)
    injection = json.loads(report.read_text())["injection"]
    assert (injection["valid"], injection["fired"]) == (True, {"walk-read abort": 1})
    (firing,) = injection["firings"]
    assert (firing["site"], firing["effect"], firing["after"]) == ("walk-read", "abort", None)
    assert len(bytes.fromhex(firing["before"])) == 8
    assert injection["landings"] > 0
    assert injection["breaches"][0]["stream"] == 8


def test_run_without_plans_says_nothing_of_them(cli: Cli, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert "inject" not in cli("run", IMAGES / "hello.elf", "--json", report).out
    assert "injection" not in json.loads(report.read_text())


def test_trace_has_an_event_for_each_firing(cli: Cli, plan: Write, tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    cli("run", PAGES, "--inject", plan(ABORT), "--trace", trace)
    (line,) = [line for line in trace.read_text().splitlines() if " injected " in line]
    assert "walk-read abort at walk-read" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ", "Invalid value"),
        ('[[fault]]\nsite = "walk"\neffect = "abort"', "fault 1: no site 'walk'; near are"),
        (ABORT + "pc = [5, 5]", "fault 1: pc = [0x5, 0x5]: the first one, and the one after all"),
    ],
)
def test_bad_plan_is_one_line(cli: Cli, plan: Write, text: str, words: str) -> None:
    path = plan(text)
    ended = cli("run", IMAGES / "hello.elf", "--inject", path)
    assert ended.status == 123
    assert ended.line.startswith(f"{path}: {words}")


def test_plan_that_is_not_there_is_one_line(cli: Cli, tmp_path: Path) -> None:
    ended = cli("run", IMAGES / "hello.elf", "--inject", tmp_path / "none.toml")
    assert ended.status == 123
    assert ended.line == f"{tmp_path / 'none.toml'}: No such file or directory"
