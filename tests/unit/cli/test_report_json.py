# SPDX-License-Identifier: GPL-2.0-or-later
"""``--json``: the whole report, for machines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.cli.conftest import IMAGES, Ended

Cli = Callable[..., Ended]


def _report(cli: Cli, folder: Path, image: str, *options: object) -> tuple[dict[str, Any], Ended]:
    path = folder / "report.json"
    path.write_text("an older one")
    ended = cli("run", IMAGES / f"{image}.elf", "--json", path, *options)
    report = json.loads(path.read_text())
    assert isinstance(report, dict)
    return report, ended


def test_report_of_a_run_without_dma_is_complete(cli: Cli, tmp_path: Path) -> None:
    report, ended = _report(cli, tmp_path, "hello")
    assert f"instructions   {report.pop('instructions'):,}\n" in ended.out
    assert report == {
        "version": 1,
        "image": str(IMAGES / "hello.elf"),
        "exit": {"kind": "exit", "status": 0, "reason": "the guest exited"},
        "dma": {},
        "contexts": [],
        "tlb": {"hits": 0, "misses": 0, "walks": 0},
        "commands": {},
        "events": {"recorded": 0, "not_recorded": 0},
        "faults": [],
        "faults_not_kept": 0,
        "unmodelled": [],
        "unmodelled_not_kept": 0,
    }


def test_a_fault_has_its_record_and_its_instruction(cli: Cli, tmp_path: Path) -> None:
    report, ended = _report(cli, tmp_path, "irq_faults")
    fault = report["faults"][0]
    cause = fault.pop("cause")
    assert re.fullmatch("the descriptor at 0x[0-9a-f]+ is not valid", fault.pop("reason"))
    assert fault == {
        "text": "F_TRANSLATION stream 0x8 iova 0x30000000 write stage 1 level 1",
        "event": "F_TRANSLATION",
        "stream_id": 8,
        "substream_id": None,
        "iova": 0x3000_0000,
        "write": True,
        "stage": 1,
        "level": 1,
        "stall_tag": None,
        "record": "10000000" + "08000000" + "00000000" + "00020000"
        "0000003000000000" + "0000000000000000",
    }
    place = f"{cause['symbol']}+{cause['offset']:#x} ({cause['source']})"
    assert f"      by:  {cause['pc']:#x} {place} `{cause['instruction']}`\n" in ended.out
    assert cause["symbol"] == "testdev_dma"
    assert cause["source"].startswith("testdev.c:")
    assert cause["instruction"].startswith("ldr ")


def test_the_numbers_are_those_of_the_text(cli: Cli, tmp_path: Path) -> None:
    report, ended = _report(cli, tmp_path, "unmap_tlbi")
    tlb, events = report["tlb"], report["events"]
    commands = ", ".join(f"{name} {count:,}" for name, count in report["commands"].items())
    dma = ", ".join(f"stream {stream}: {count:,}" for stream, count in report["dma"].items())
    for line in (
        f"instructions   {report['instructions']:,}",
        f"DMA            {dma}",
        f"TLB            {tlb['hits']:,} hits, {tlb['misses']:,} misses, {tlb['walks']:,} walks",
        f"commands       {commands}",
        f"events         {events['recorded']:,} recorded, {events['not_recorded']:,} not recorded",
    ):
        assert f"\n{line}\n" in ended.out
    assert {"CFGI_STE", "TLBI_NH_VA", "SYNC"} <= report["commands"].keys()
    assert tlb["hits"] > 0
    assert tlb["misses"] >= tlb["walks"] > 0
    for fault in report["faults"]:
        assert f"\n  {fault['text']}" in ended.out
    assert events["recorded"] == sum(fault["record"] is not None for fault in report["faults"])
    assert events["not_recorded"] == sum(fault["record"] is None for fault in report["faults"])


def test_what_is_not_modelled_is_listed(cli: Cli, tmp_path: Path) -> None:
    report, ended = _report(cli, tmp_path, "core")
    assert "touched but not modelled:\n" in ended.out
    assert {site["kind"] for site in report["unmodelled"]} >= {"read"}
    nothing = [site for site in report["unmodelled"] if site["where"] == "nothing"]
    assert [site["pa"] for site in nothing] == [0x0B00_0000]
    assert f"  nothing at 0xb000000: read (pc {nothing[0]['pc']:#x})\n" in ended.out


def test_emulators_own_end_is_named(cli: Cli, tmp_path: Path) -> None:
    report, ended = _report(cli, tmp_path, "spin", "--max-instructions", 4096, "--no-report")
    assert report["exit"] == {
        "kind": "max_instructions",
        "status": 124,
        "reason": "4096 instructions executed",
    }
    assert ended == (124, "", "smmu-emu: 4096 instructions executed\n")


def test_the_same_run_gives_the_same_bytes(cli: Cli, tmp_path: Path) -> None:
    reports = []
    for name in ("first", "second"):
        path = tmp_path / name
        cli("run", IMAGES / "dma_pages.elf", "--json", path)
        reports.append(path.read_bytes())
    assert reports[0] == reports[1]
