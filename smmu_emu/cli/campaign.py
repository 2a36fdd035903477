# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu campaign``: very many runs with a fault each, their outcomes, and each run again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smmu_emu.cli import INTERRUPTED
from smmu_emu.cli.parameters import FILE, NUMBER

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from smmu_emu.campaign.runner import Result
    from smmu_emu.campaign.spec import Run
    from smmu_emu.campaign.store import Store

_EPILOG = """\
\b
  smmu-emu campaign FILE.toml              run it, or go on where it was
  smmu-emu campaign show FILE.sqlite       what has come out so far
  smmu-emu campaign replay FILE.sqlite 17  do one run again, exactly
  smmu-emu campaign report FILE.sqlite     the page: outcomes, coverage, shortest ways to breaches

Results are in a SQLite file (table "runs"), which any tool opens; docs/campaigns.md.
"""


class _Group(click.Group):
    """What is no subcommand is a campaign's file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = any(word in ("-h", "--help") for word in args[:1])
        if args and args[0] not in self.commands and not asks_for_help:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group("campaign", cls=_Group, epilog=_EPILOG)
def command() -> None:
    """Run a campaign of fault injections, and look at its results."""


@command.command("run")
@click.argument("campaign", type=FILE)
@click.option("--results", type=FILE, help="The file of results; default: CAMPAIGN.sqlite")
@click.option("--workers", type=NUMBER, help="Worker processes; default: one a processor.")
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler, as tcp://host:8786.")
@click.option("--progress/--no-progress", default=None, help="Default: at a terminal.")
def run_command(
    campaign: Path,
    results: Path | None,
    workers: int | None,
    scheduler: str | None,
    progress: bool | None,
) -> int:
    """Run CAMPAIGN (TOML); runs that the file of results has are not done again."""
    from smmu_emu.campaign.engine import carry_out
    from smmu_emu.campaign.spec import load_campaign
    from smmu_emu.campaign.store import Store
    from smmu_emu.cli.run import collect_garbage

    wanted = load_campaign(campaign)
    path = results or campaign.with_suffix(".sqlite")
    collect_garbage()
    count = workers or os.cpu_count() or 1
    with Store(path, wanted) as store, _executors(scheduler, count) as (make, count):
        planned, before = len(wanted.numbers()), len(store.done())
        click.echo(f"{wanted.name}: {planned:,} runs of {wanted.total:,}, {before:,} done already")
        try:
            with _bar(planned, before, progress) as tell, _broken_pipes_raised():
                carry_out(wanted, store, make, count, tell)
        except KeyboardInterrupt:
            click.echo(
                f"interrupted with {len(store.done()):,} runs kept; the same command goes on"
            )
            return INTERRUPTED
        _show(store)
        click.echo(f"results in {path}")
    return 0


@contextmanager
def _broken_pipes_raised() -> Iterator[None]:
    """A pipe to a worker that died must not end us, as one to a reader of our output does."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


@contextmanager
def _executors(scheduler: str | None, workers: int) -> Iterator[tuple[Callable[[], Executor], int]]:
    """What makes executors, and how many workers they have."""
    from smmu_emu.campaign.engine import local_workers
    from smmu_emu.campaign.spec import CampaignError

    if scheduler is None:
        yield local_workers(workers), workers
        return
    try:
        import distributed
    except ImportError:
        raise CampaignError("--scheduler needs Dask: pip install 'smmu-emu[distributed]'") from None
    make: Any = distributed.Client
    try:
        client = make(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise CampaignError(f"--scheduler {scheduler}: {error}") from None
    try:
        threads = sum(client.nthreads().values())
        yield client.get_executor, max(1, threads)
    finally:
        client.close()


@contextmanager
def _bar(total: int, before: int, wanted: bool | None) -> Iterator[Callable[[list[Result]], None]]:
    """A progress bar with the rate, the time left, and what has come out."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[outcomes]}"),
    )
    shown = console.is_terminal if wanted is None else wanted
    counts: dict[str, int] = {}
    with Progress(*columns, console=console, disable=not shown) as progress:
        task = progress.add_task("", total=total, completed=before, rate="", outcomes="")

        def tell(results: list[Result]) -> None:
            for result in results:
                kind = result.verdict.kind.value
                counts[kind] = counts.get(kind, 0) + 1
            speed = progress.tasks[0].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            words = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
            progress.update(task, advance=len(results), rate=rate, outcomes=words)

        yield tell


@command.command("show")
@click.argument("results", type=FILE)
@click.option("--outcome", help="List the runs with this outcome, as isolation-breach.")
def show_command(results: Path, outcome: str | None) -> int:
    """Tell what has come out so far."""
    from smmu_emu.campaign.outcome import Class
    from smmu_emu.campaign.store import Store

    known = [one.value for one in Class]
    if outcome is not None and outcome not in known:
        raise click.BadParameter(
            f"{outcome!r}; there is {', '.join(known)}", param_hint="--outcome"
        )
    with Store(results) as store:
        if outcome is None:
            planned, done = len(store.campaign.numbers()), len(store.done())
            click.echo(f"{store.campaign.name}: {done:,} of {planned:,} runs done")
            _show(store)
            return 0
        for number, fault, detail in store.rows("number, fault, detail", "outcome = ?", outcome):
            click.echo(f"{number:>8}  {fault}  {detail}")
    return 0


def _show(store: Store) -> None:
    """The matrix of outcomes."""
    from rich.console import Console
    from rich.table import Table

    from smmu_emu.campaign.outcome import Class

    table = Table("target", "fault")
    for kind in Class:
        table.add_column(kind.value, justify="right")
    for (target, family), counts in store.matrix().items():
        numbers = (f"{counts[kind]:,}" if kind in counts else "" for kind in Class)
        table.add_row(target, family, *numbers)
    Console(width=None if os.isatty(1) else 140).print(table)


@command.command("replay")
@click.argument("results", type=FILE)
@click.argument("number", type=NUMBER)
@click.option("--trace", "trace_path", type=FILE, help="Write a trace of the run.")
@click.option("--plan", "plan_path", type=FILE, help="Write its fault as a plan file.")
def replay_command(
    results: Path, number: int, trace_path: Path | None, plan_path: Path | None
) -> int:
    """Do run NUMBER of RESULTS again, and compare it with what is kept; status 1 if it differs."""
    from smmu_emu.campaign.runner import plan_for, running
    from smmu_emu.campaign.store import Store
    from smmu_emu.inject.files import plan_text

    with Store(results) as store, running(store.campaign) as runner:
        run = store.campaign.run(number)
        plan = plan_for(run)
        if plan_path is not None:
            plan_path.write_text(plan_text(plan))
        result = runner.do(number, _tracing(trace_path, run))
        for line in _about(run, result):
            click.echo(line)
        kept = store.rows("outcome, detail, instructions", "number = ?", number)
    now = (result.verdict.kind.value, result.verdict.detail, result.facts.instructions)
    if not kept:
        click.echo("this run was not done before")
    elif kept[0] != now:
        click.echo(f"it was {kept[0]} before: the program or the machine has changed", err=True)
        return 1
    return 0


def _about(run: Run, result: Result) -> Iterator[str]:
    verdict, facts = result.verdict, result.facts
    yield f"run            {run.number}: {run.target.name}, policy {run.policy or 'none'}"
    yield f"fault          {run.fault}"
    yield f"outcome        {verdict.kind.value}" + (f": {verdict.detail}" if verdict.detail else "")
    yield f"end            {facts.reason} (status {facts.status})"
    events = ", ".join(f"{name} {count}" for name, count in facts.events.items())
    yield f"events         {events or 'none'}"
    for breach in facts.breaches:
        yield f"breach         {breach}"


def _tracing(path: Path | None, run: Run) -> Any:
    """What writes a trace of a run; None without a path."""
    if path is None:
        return None
    from smmu_emu.cli.trace_options import make_tracer
    from smmu_emu.inject import Injector
    from smmu_emu.machine import Machine
    from smmu_emu.trace.sinks import open_sink

    def attach(machine: Machine, injector: Injector) -> Callable[[], None]:
        sink = open_sink(path)
        tracer = make_tracer(machine, Path(run.target.image))
        tracer.listen(sink)
        injector.trace_to(tracer)

        def detach() -> None:
            tracer.say("end", "the run ended")
            tracer.close()
            sink.close()

        return detach

    return attach


@command.command("report")
@click.argument("results", type=FILE)
@click.option("-o", "--output", type=FILE, help="Where the page goes; default: RESULTS.html")
def report_command(results: Path, output: Path | None) -> None:
    """Write the page of RESULTS."""
    from smmu_emu.campaign.page import write_campaign_page
    from smmu_emu.campaign.store import Store

    output = output or results.with_suffix(".html")
    with Store(results) as store:
        write_campaign_page(store, output)
    click.echo(str(output))
