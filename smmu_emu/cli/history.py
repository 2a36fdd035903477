# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu history TRACE --stream 8 --iova 0x203000``: all that ever happened to an address."""

from __future__ import annotations

from pathlib import Path

import click

from smmu_emu.cli.parameters import FILE, NUMBER

_EPILOG = """\
The address stands for its page of 4 KiB. Lines are events in order: their number in the trace,
virtual time in nanoseconds, what happened, and the instruction behind it with its callers. Writes
of descriptors are seen if they were watched (run with --provenance); else what walks read tells
that they have changed.
"""


@click.command("history", epilog=_EPILOG)
@click.argument("trace", type=FILE)
@click.option("--stream", type=NUMBER, required=True, help="StreamID of the DMA master.")
@click.option("--iova", type=NUMBER, required=True, help="Address that it uses.")
@click.option("--substream", type=NUMBER, help="SubstreamID (PASID), if it uses one.")
@click.option("--unit", default=None, help="Which SMMU, if there are several: smmu0.")
def command(trace: Path, stream: int, iova: int, substream: int | None, unit: str | None) -> None:
    """Tell what happened to one address of one stream, from TRACE (.jsonl or .parquet)."""
    from smmu_emu.cli.run import collect_garbage
    from smmu_emu.trace.history import Subject, history
    from smmu_emu.trace.readers import read_trace

    collect_garbage()
    subject = Subject(stream, iova, substream, unit)
    for line in history(lambda: read_trace(trace), subject):
        click.echo(line)
