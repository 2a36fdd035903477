# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu report TRACE``: a trace, or a campaign's results, as a page for a browser."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

import click

from smmu_emu.cli.parameters import FILE

_EPILOG = """\
The page is one file that works without a network: lifetimes of TLB entries and invalidations over
events or time, what is cached at a moment, walked tables level by level, findings with their
stories, and all events.
"""


@click.command("report", epilog=_EPILOG)
@click.argument("trace", type=FILE)
@click.option("-o", "--output", type=FILE, help="Where the page goes; default: TRACE.html")
@click.option("--title", help="What the page is called; default: the trace's name.")
def command(trace: Path, output: Path | None, title: str | None) -> None:
    """Write the page of TRACE (.jsonl or .parquet)."""
    from smmu_emu.cli.run import collect_garbage
    from smmu_emu.errors import ConfigurationError
    from smmu_emu.report.page import write_page
    from smmu_emu.trace.readers import read_trace
    from smmu_emu.trace.text import Describer

    output = output or trace.with_suffix(".html")
    if output.exists() and trace.exists() and output.samefile(trace):
        raise ConfigurationError(f"--output {output} would overwrite the trace")
    collect_garbage()
    events = read_trace(trace)
    first = list(islice(events, 1))  # what is no trace makes no page
    count = write_page(chain(first, events), output, title or trace.name, Describer().what)
    click.echo(f"{output}: {count:,} events")
