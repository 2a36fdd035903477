# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu trace FILE``: print a trace, count it, filter it, turn it into another format."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smmu_emu.cli.parameters import FILE

if TYPE_CHECKING:
    from smmu_emu.trace.events import Event

_EPILOG = """\
\b
Conditions, all of which must hold:
  kind=access,fill     stream=8,0x10-0x1f   iova=0x200000-0x2fffff
  time=1ms-2500us      pc=0x40100000        pc=dma_unmap (or a caller's name)
"""


@click.command("trace", epilog=_EPILOG)
@click.argument("trace", type=FILE)
@click.option("--to", type=FILE, metavar="FILE", help="Write it there; the suffix tells how.")
@click.option("--stats", is_flag=True, help="Count events instead of printing them.")
@click.option(
    "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Only these. Repeatable."
)
@click.option("--origins", is_flag=True, help="Print the instructions behind events as well.")
def command(
    trace: Path, to: Path | None, stats: bool, filters: tuple[str, ...], origins: bool
) -> None:
    """Print TRACE (.jsonl or .parquet), one line an event."""
    from smmu_emu.cli.run import collect_garbage
    from smmu_emu.trace.codec import TraceError
    from smmu_emu.trace.filters import Filter
    from smmu_emu.trace.readers import read_trace
    from smmu_emu.trace.sinks import copy, open_sink

    wanted = Filter.parse(filters)
    events = wanted.apply(read_trace(trace))
    collect_garbage()
    if to is not None:
        if to.exists() and to.samefile(trace):
            raise TraceError(f"--to {to} would overwrite the trace that is read")
        first = next(events, None)  # a trace that cannot be read leaves the other file alone
        copy(_and(first, events), open_sink(to))
    if stats:
        for line in _statistics(events if to is None else wanted.apply(read_trace(trace))):
            click.echo(line)
    elif to is None:
        _print(events, origins=origins)


def _and(first: Event | None, rest: Iterator[Event]) -> Iterator[Event]:
    if first is not None:
        yield first
        yield from rest


def _print(events: Iterator[Event], *, origins: bool) -> None:
    from smmu_emu.trace.events import Origin
    from smmu_emu.trace.text import Describer

    describer = Describer()
    write = sys.stdout.write
    for event in events:
        line = describer.line(event)
        if origins or not isinstance(event, Origin):
            write(f"{line}\n")


def _statistics(events: Iterator[Event]) -> Iterator[str]:
    """How many events of each kind, over which time, of which streams; how accesses ended."""
    from smmu_emu.trace.events import KIND_OF, Access, Evict, Note

    kinds: Counter[str] = Counter()
    streams: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    evictions: Counter[str] = Counter()
    notes = []
    first = last = 0
    for event in events:
        kinds[KIND_OF[type(event)]] += 1
        first = first or event.seq
        last = max(last, event.time)
        if isinstance(event, Access):
            streams[f"{event.unit} {event.stream_id:#x}"] += 1
            outcomes[event.fault or event.outcome] += 1
        elif isinstance(event, Evict):
            evictions[event.reason] += 1
        elif isinstance(event, Note):
            notes.append(f"{event.name}: {event.text}")
    yield f"events         {sum(kinds.values()):,}, up to {last:,} ns of virtual time"
    for title, counts in (
        ("kinds", kinds),
        ("accesses", streams),
        ("outcomes", outcomes),
        ("evictions", evictions),
    ):
        words = ", ".join(f"{word} {count:,}" for word, count in counts.most_common())
        if words:
            yield f"{title:<15}{words}"
    for note in notes[:20]:
        yield f"{'note':<15}{note}"
