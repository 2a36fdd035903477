# SPDX-License-Identifier: GPL-2.0-or-later
"""The checker as others use it: its interface, its words, its place in a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smmu_emu.check import KINDS, Checker, Report
from smmu_emu.errors import ConfigurationError
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.trace.events import Event, Finding, Mapping
from smmu_emu.trace.tracer import Tracer
from tests.unit.check.bench import IOVA, PAGE, PAGE_PA, SID, Bench

DOCS = Path(__file__).parents[3] / "docs" / "checker.md"


def _unmap_silently(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.cfgi_ste()
    bench.sync()


def test_every_kind_says_what_rule_it_is_and_what_to_do() -> None:
    for name, kind in KINDS.items():
        assert name == kind.name
        assert kind.severity in ("error", "warning", "advice")
        assert "IHI 0070" in kind.rule or "DDI 0487" in kind.rule
        assert not kind.summary.endswith(".")
        assert not kind.advice.endswith(".")


def test_documentation_has_every_kind_with_its_rule() -> None:
    text = DOCS.read_text()
    for name, kind in KINDS.items():
        assert f"### `{name}`" in text, name
        assert kind.advice in text, name
        assert kind.rule in text, name


def test_report_tells_the_story() -> None:
    bench = Bench()
    _unmap_silently(bench)
    bench.checker.finish()
    lines = list(Report(bench.checker).lines())
    assert lines[0] == "check          1 error"
    assert lines[1].startswith("  error: missing-invalidate: the translation to 0x50000000")
    story = [line for line in lines if " ns  " in line]
    assert [line.split(" ns  ")[1].split()[0] for line in story] == ["fill", "sync", "note"]
    assert any(line.strip().startswith("by bench.py:") for line in lines)
    assert lines[-1].startswith("      do:   issue a TLBI")


def test_json_has_it_all() -> None:
    bench = Bench()
    _unmap_silently(bench)
    bench.checker.finish()
    plain = json.loads(json.dumps(Report(bench.checker).as_dict()))
    [finding] = plain["findings"]
    assert finding["name"] == "missing-invalidate"
    assert (finding["stream_id"], finding["iova"], finding["count"]) == (SID, IOVA, 1)
    assert [one["kind"] for one in finding["story"]] == ["fill", "sync", "note"]
    assert plain["findings_not_kept"] == 0


def test_same_mistake_of_the_same_line_is_one_finding() -> None:
    bench = Bench()
    for page in range(5):
        bench.map_and_use(IOVA + page * PAGE, PAGE_PA + page * PAGE)
        bench.clear(IOVA + page * PAGE)
        bench.sync()
        assert bench.dma(IOVA + page * PAGE)
    bench.checker.finish()
    [finding] = [one for one in bench.checker.findings if one.name == "stale-tlb-hit"]
    assert finding.count == 5
    assert str(finding).startswith("error: stale-tlb-hit (5 times): ")


def test_findings_are_in_the_trace() -> None:
    bench = Bench()
    events: list[Event] = []
    bench.checker.tracer.listen(events.append)
    _unmap_silently(bench)
    bench.checker.finish()
    [told] = [event for event in events if isinstance(event, Finding)]
    assert told.name == "missing-invalidate"
    assert told.seq == bench.checker.findings[0].seq
    numbers = {event.seq for event in events}
    assert set(told.story[:-1]) <= numbers


def test_tracer_may_be_somebody_elses() -> None:
    bench = Bench()
    bench.checker.close()
    with Tracer(bench.machine) as tracer, Checker(bench.machine, tracer=tracer) as checker:
        _unmap_silently(bench)
        assert [one.name for one in checker.finish()] == ["missing-invalidate"]
    assert bench.checker.findings == []


def test_closed_checker_leaves_the_machine_as_it_was() -> None:
    bench = Bench()
    bench.checker.close()
    assert "interposed" not in vars(bench.smmu.path)
    _unmap_silently(bench)
    assert bench.found() == {}


def test_what_was_cached_before_is_known() -> None:
    bench = Bench()
    bench.checker.close()
    bench.map_and_use()
    with Checker(bench.machine) as checker:
        bench.clear()
        bench.sync()
        assert bench.dma()
        assert [one.name for one in checker.finish()] == ["stale-tlb-hit"]


def test_reset_forgets() -> None:
    bench = Bench()
    bench.map_and_use()
    bench.clear()
    bench.smmu.reset()
    assert bench.found() == {}


def test_declared_unmap_is_due_at_once() -> None:
    bench = Bench()
    bench.map_and_use()
    bench.clear()
    unmapped = Mapping(
        0, 0, "smmu0", 0, SID, None, None, None, IOVA, None, PAGE, True, True, mapped=False
    )
    bench.checker.tracer.add(unmapped)
    [finding] = bench.checker.findings
    assert finding.name == "missing-invalidate"
    assert "software says" in finding.text


def test_worst_severity_is_told() -> None:
    bench = Bench()
    assert bench.checker.worst() == ""
    bench.sync()
    bench.sync()
    bench.checker.finish()
    assert bench.checker.worst() == "advice"
    _unmap_silently(bench)
    bench.checker.finish()
    assert bench.checker.worst() == "error"


def test_listener_hears_of_findings_when_they_are_made() -> None:
    heard: list[str] = []
    bench = Bench(on_finding=lambda finding: heard.append(finding.name))
    _unmap_silently(bench)
    assert heard == []
    assert bench.dma()
    assert heard == ["stale-tlb-hit"]


def test_isolation_is_of_machines() -> None:
    smmu = Smmuv3(Bench().memory)
    with (
        Checker(smmu) as checker,
        pytest.raises(ConfigurationError, match="isolation is checked of machines"),
    ):
        _ = checker.isolation
