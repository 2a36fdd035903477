# SPDX-License-Identifier: GPL-2.0-or-later
"""``--check`` on the command line: what it prints, writes and exits with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import IMAGES, Ended

BUGS, HELLO = IMAGES / "bugs.elf", IMAGES / "hello.elf"
Cli = Callable[..., Ended]


def test_findings_are_in_the_report(cli: Cli) -> None:
    status, output, _ = cli("run", BUGS, "--append", "tlbi-first-only", "--check")
    assert status == 0
    report = output[output.index("\ncheck ") :]
    assert "error: missing-invalidate" in report
    assert "testdev_dma+0x50 (testdev.c:52) `ldr w9, [x8]`" in report
    assert "rule: IHI 0070" in report


def test_clean_image_has_nothing_found(cli: Cli) -> None:
    status, output, _ = cli("run", HELLO, "--check", "--fail-on", "advice")
    assert status == 0
    assert output.rstrip().endswith("check          nothing found")


@pytest.mark.parametrize(
    ("bug", "limit", "expected"),
    [
        ("none", "warning", 0),
        ("none", "advice", 120),
        ("tlbi-first-only", "error", 120),
        ("eventq-overflow-kept", "error", 0),
        ("eventq-overflow-kept", "warning", 120),
    ],
)
def test_status_tells_of_the_worst(cli: Cli, bug: str, limit: str, expected: int) -> None:
    ended = cli("run", BUGS, "--append", bug, "--check", "--fail-on", limit)
    assert ended.status == expected


def test_json_and_trace_have_findings(cli: Cli, tmp_path: Path) -> None:
    report, trace = tmp_path / "report.json", tmp_path / "trace.jsonl"
    asked = ("--append", "no-break", "--check")
    cli("run", BUGS, *asked, "--json", report, "--trace", trace)
    [finding] = [
        one
        for one in json.loads(report.read_text())["check"]["findings"]
        if one["severity"] == "error"
    ]
    assert finding["name"] == "break-before-make"
    assert finding["story"][0]["by"].startswith("0x")
    assert '"break-before-make"' in trace.read_text()


def test_without_report_errors_are_told_in_a_line(cli: Cli) -> None:
    ended = cli("run", BUGS, "--append", "no-break", "--check", "--no-report")
    assert ended.err.startswith("smmu-emu: error: break-before-make: the translation to ")
    assert ended.err.count("\n") == 1


def test_writes_make_it_see_more(cli: Cli) -> None:
    asked = ("run", BUGS, "--append", "ste-live-rewrite", "--check")
    assert "config-not-hitless" not in cli(*asked).out
    assert "config-not-hitless" in cli(*asked, "--provenance").out


def test_fail_on_needs_check(cli: Cli) -> None:
    ended = cli("run", HELLO, "--fail-on", "error")
    assert ended.status == 2
    assert "--fail-on needs --check" in ended.err
