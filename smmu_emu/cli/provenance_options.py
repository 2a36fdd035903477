# SPDX-License-Identifier: GPL-2.0-or-later
"""``--provenance``: who wrote the structure behind each fault, in whatever runs an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from smmu_emu.machine import Machine
    from smmu_emu.trace.provenance import Where
    from smmu_emu.trace.summary import Recorder
    from smmu_emu.trace.tracer import Tracer

_Command = TypeVar("_Command", bound=Callable[..., Any])


def provenance_options(command: _Command) -> _Command:
    """The options of this topic."""
    return click.option(
        "--provenance",
        is_flag=True,
        help="Run twice, and tell who wrote the descriptor, STE or CD behind each fault.",
    )(command)


def scouted(machine: Machine, wanted: bool, run: Callable[[], object]) -> Where | None:
    """Run for a first time, silently, to learn what the SMMU will read. None if nobody asked.

    ``run`` is what will be done again: it may set the machine's console, but types the same.

    Raises: ConfigurationError for a machine that cannot go back.
    """
    if not wanted:
        return None
    from smmu_emu.trace.provenance import scout

    return scout(machine, run)


@contextmanager
def who_wrote(
    machine: Machine, where: Where | None, recorder: Recorder, tracer: Tracer | None
) -> Iterator[None]:
    """Watch who writes while this lasts, and let faults and the trace tell."""
    if where is None:
        yield
        return
    from smmu_emu.trace.provenance import Provenance

    with Provenance(machine, where, tracer=tracer) as watched:
        recorder.offence = watched.offence
        yield
