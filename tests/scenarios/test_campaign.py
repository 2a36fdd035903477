# SPDX-License-Identifier: GPL-2.0-or-later
"""Campaigns with real workers: same results in any order, after deaths and interruptions."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smmu_emu.campaign import engine
from smmu_emu.campaign.engine import carry_out, local_workers
from smmu_emu.campaign.outcome import Class
from smmu_emu.campaign.runner import Result, running
from smmu_emu.campaign.spec import Campaign, CampaignError, load_campaign
from smmu_emu.campaign.store import Store

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "isolation.toml"
SAMPLE = 160
LONGER = 700
"""Runs that last for seconds after the first results are there."""

Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return replace(load_campaign(EXAMPLE), sample=SAMPLE, seed=3)


@pytest.fixture(scope="module")
def expected(campaign: Campaign, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What one runner comes to, in order, without any executor."""
    path = tmp_path_factory.mktemp("campaign") / "one.sqlite"
    with Store(path, campaign) as store, running(campaign) as runner:
        store.add([runner.do(number) for number in campaign.numbers()])
        return store.rows()


def file_of(folder: Path, campaign: Campaign) -> Path:
    """The campaign as a file."""
    text = EXAMPLE.read_text().replace("../firmware", str(ROOT / "firmware"))
    path = folder / "c.toml"
    path.write_text(f"sample = {campaign.sample}\nseed = {campaign.seed}\n{text}")
    return path


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "smmu_emu", "campaign", *map(str, words)]


def test_results_are_of_many_kinds(expected: Rows) -> None:
    """Else the comparisons below would say little."""
    outcomes = {row[8] for row in expected}
    assert {"masked", "detected", "isolation-breach"} <= outcomes
    assert len(expected) == SAMPLE


def test_workers_come_to_the_same_in_any_order(
    campaign: Campaign, expected: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PART", 7)
    told: list[Result] = []
    with Store(tmp_path / "r.sqlite", campaign) as store:
        done = carry_out(campaign, store, local_workers(2), 2, told.extend)
        assert done == len(told) == SAMPLE
        assert store.rows() == expected
        assert carry_out(campaign, store, local_workers(2), 2) == 0


def test_any_executor_will_do(campaign: Campaign, expected: Rows, tmp_path: Path) -> None:
    few = replace(campaign, sample=20)
    with Store(tmp_path / "r.sqlite", few) as store:
        carry_out(few, store, lambda: ThreadPoolExecutor(1), 1)
        assert len(store.done()) == 20


def test_death_of_a_worker_loses_nothing(
    campaign: Campaign, expected: Rows, tmp_path: Path
) -> None:
    results = tmp_path / "r.sqlite"
    path = file_of(tmp_path, campaign)
    running_one = subprocess.Popen(
        command(path, "--results", results, "--workers", 2),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    victim = _busy_worker(running_one.pid, results)
    os.kill(victim, signal.SIGKILL)
    output, _ = running_one.communicate(timeout=120)
    assert running_one.returncode == 0, output
    with sqlite3.connect(results) as base:
        assert base.execute("SELECT * FROM runs ORDER BY number").fetchall() == expected


def _busy_worker(parent: int, results: Path) -> int:
    """A worker process of a campaign that has begun to give results."""
    for _ in range(600):
        time.sleep(0.05)
        if _kept(results):
            break
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    workers = [int(pid) for pid, words in lines if "spawn_main" in words]
    assert workers, listed.stdout
    return workers[0]


def _kept(results: Path) -> int:
    if not results.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{results}?mode=ro", uri=True) as base:
            return int(base.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.Error:
        return 0


def _hear_interrupts() -> None:
    """What a shell runs in the background does not, and passes on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_campaign_goes_on_where_it_was(campaign: Campaign, tmp_path: Path) -> None:
    results = tmp_path / "r.sqlite"
    campaign = replace(campaign, sample=LONGER)
    path = file_of(tmp_path, campaign)
    words = command(path, "--results", results, "--workers", 1)
    first = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_hear_interrupts,
    )
    for _ in range(600):
        time.sleep(0.05)
        if _kept(results):
            break
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=60)
    kept = _kept(results)
    assert first.returncode == 130, output
    assert f"interrupted with {kept:,} runs kept" in output
    assert 0 < kept < LONGER
    second = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert second.returncode == 0
    assert f"{kept} done already" in second.stdout
    with Store(tmp_path / "whole.sqlite", campaign) as store, running(campaign) as runner:
        store.add([runner.do(number) for number in campaign.numbers()])
        expected = store.rows()
    with sqlite3.connect(results) as base:
        assert base.execute("SELECT * FROM runs ORDER BY number").fetchall() == expected


def test_run_that_ends_its_worker_is_kept_as_invalid(
    campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(campaign, sample=6)
    fatal = few.numbers()[2]
    monkeypatch.setattr(engine, "do_runs", _deadly)
    monkeypatch.setenv("DEADLY_RUN", str(fatal))
    with Store(tmp_path / "r.sqlite", few) as store:
        carry_out(few, store, local_workers(1), 1)
        rows = store.rows("number, outcome, detail")
    assert [row[0] for row in rows] == few.numbers()
    assert [row for row in rows if "worker" in row[2]] == [
        (fatal, "invalid", "the worker process died of it, again and again")
    ]


def _deadly(campaign: dict[str, Any], numbers: list[int]) -> list[Result]:
    """In place of `do_runs`: one run ends the process."""
    from smmu_emu.campaign.runner import do_runs

    if int(os.environ["DEADLY_RUN"]) in numbers:
        os._exit(9)
    return do_runs(campaign, numbers)


def test_dask_comes_to_the_same_though_a_worker_dies(
    campaign: Campaign, expected: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed", reason="no Dask")
    monkeypatch.setattr(engine, "PART", 8)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(processes=True, **options) as cluster,
        distributed.Client(cluster) as client,
        Store(tmp_path / "r.sqlite", campaign) as store,
    ):
        victims = [nanny.process.pid for nanny in cluster.workers.values()]

        def kill_one(results: list[Result]) -> None:
            if victims:
                os.kill(victims[0], signal.SIGKILL)
                victims.clear()

        carry_out(campaign, store, client.get_executor, 2, kill_one)
        assert store.rows() == expected


def test_replay_does_a_run_again(campaign: Campaign, expected: Rows, tmp_path: Path) -> None:
    results = tmp_path / "r.sqlite"
    breach = next(row[0] for row in expected if row[8] == Class.BREACH.value)
    with Store(results, campaign) as store, running(campaign) as runner:
        store.add([runner.do(breach)])
    trace, plan = tmp_path / "t.jsonl", tmp_path / "p.toml"
    words = command("replay", results, breach, "--trace", trace, "--plan", plan)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "outcome        isolation-breach: " in done.stdout
    text = trace.read_text()
    assert '"injected"' in text
    assert "[[fault]]" in plan.read_text()
    with sqlite3.connect(results) as base:
        base.execute("UPDATE runs SET outcome = 'masked'")
    done = subprocess.run(words[:-4], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "has changed" in done.stderr


def test_page_tells_outcomes_coverage_and_shortest_ways(campaign: Campaign, tmp_path: Path) -> None:
    results = tmp_path / "r.sqlite"
    with Store(results, campaign) as store, running(campaign) as runner:
        store.add([runner.do(number) for number in campaign.numbers()])
    words = command("report", results)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    for text in ("Shortest ways to isolation-breach", "output address", "F_TRANSLATION", "CD bit"):
        assert text in page
    assert "smmu-emu campaign replay r.sqlite" in page


def test_results_of_another_campaign_are_refused(campaign: Campaign, tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    Store(path, campaign).close()
    with pytest.raises(CampaignError, match="results of another campaign"):
        Store(path, replace(campaign, seed=9))
    (tmp_path / "x.sqlite").write_text("no database, whatever its name is")
    with pytest.raises(CampaignError, match="no file of results"):
        Store(tmp_path / "x.sqlite")


def test_target_that_breaches_by_itself_is_refused(campaign: Campaign) -> None:
    target = replace(campaign.targets[0], allow=campaign.targets[0].allow[:1])
    with (
        running(replace(campaign, targets=(target,))) as runner,
        pytest.raises(CampaignError, match="without any fault there is a breach"),
    ):
        runner.do(0)


def test_start_that_is_none_is_refused(campaign: Campaign) -> None:
    target = replace(campaign.targets[0], start="nowhere")
    with (
        running(replace(campaign, targets=(target,))) as runner,
        pytest.raises(CampaignError, match="there is no function 'nowhere'"),
    ):
        runner.do(0)
