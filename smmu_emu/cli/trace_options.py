# SPDX-License-Identifier: GPL-2.0-or-later
"""``--trace FILE``: what an SMMU does, into a file, in whatever runs an image."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from smmu_emu.cli.parameters import FILE, NUMBER

if TYPE_CHECKING:
    from smmu_emu.machine import Machine
    from smmu_emu.trace.tracer import Tracer

TERMINATED = 143
"""Status of a run that SIGTERM ended, as of any process that does not heed it."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


class TraceOptions(NamedTuple):
    """What was asked for."""

    path: Path | None = None
    filters: tuple[str, ...] = ()
    last: int | None = None


NO_TRACE = TraceOptions()


def trace_options(command: _Command) -> _Command:
    """The options of this topic."""
    for option in (
        click.option(
            "--trace-last",
            type=NUMBER,
            metavar="N",
            help="Keep the last N events in memory, and write those at the end.",
        ),
        click.option(
            "--trace-filter",
            "trace_filters",
            multiple=True,
            metavar="KEY=VALUE",
            help="Trace only kind=, stream=, iova=, time=, pc= or unit=. Repeatable.",
        ),
        click.option(
            "--trace",
            "trace_path",
            type=FILE,
            metavar="FILE",
            help="Write a trace: .jsonl, .parquet, .pftrace (Perfetto) or .txt; docs/tracing.md.",
        ),
    ):
        command = option(command)
    return command


def take_trace_options(options: dict[str, Any]) -> TraceOptions:
    """Take this topic's options out of a command's."""
    path, filters = options.pop("trace_path"), options.pop("trace_filters")
    last = options.pop("trace_last")
    if path is None and (filters or last is not None):
        raise click.UsageError("--trace-filter and --trace-last need --trace FILE")
    if last == 0:
        raise click.UsageError("--trace-last 0 would keep nothing")
    return TraceOptions(path, filters, last)


def make_tracer(machine: Machine, image: Path | None) -> Tracer:
    """A tracer that names instructions from an image's symbols; nobody listens yet."""
    from smmu_emu.trace.symbols import SymbolTable
    from smmu_emu.trace.tracer import Tracer

    return Tracer(machine, symbols=SymbolTable(image), python_lines=False)


@contextmanager
def traced(machine: Machine, options: TraceOptions, image: Path | None) -> Iterator[Tracer | None]:
    """Write a trace while this lasts, whatever ends it. None where none is asked for.

    Raises: TraceError or OSError in one line, before the run where that can be told by then.
    """
    if options.path is None:
        yield None
        return
    from smmu_emu.errors import ConfigurationError
    from smmu_emu.trace.symbols import SymbolTable
    from smmu_emu.trace.tracer import Tracer

    if image is not None and options.path.exists() and options.path.samefile(image):
        raise ConfigurationError(f"--trace {options.path} would overwrite the image")
    with (
        Tracer.to_file(
            machine,
            options.path,
            *options.filters,
            last=options.last,
            symbols=SymbolTable(image),
            python_lines=False,
        ) as tracer,
        _ended_by_sigterm(machine),
    ):
        yield tracer


@contextmanager
def _ended_by_sigterm(machine: Machine) -> Iterator[None]:
    """Whoever kills a run, as timeout(1) does, gets what was traced so far, and a whole file."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the second one is obeyed at once
        core = machine.running_core
        if core is None:
            sys.exit(TERMINATED)
        core.request_exit("terminated", TERMINATED)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
