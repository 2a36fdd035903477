# SPDX-License-Identifier: GPL-2.0-or-later
"""``--check``: look for mistakes of the driver, in whatever runs an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from smmu_emu.check import Checker, Report
    from smmu_emu.machine import Machine
    from smmu_emu.trace.tracer import Tracer

FOUND = 120
"""Status of a run with findings that ``--fail-on`` names, unless the run itself failed."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


class CheckOptions(NamedTuple):
    """What was asked for."""

    wanted: bool = False
    lazy: bool = False
    fail_on: str = ""


NO_CHECK = CheckOptions()


def check_options(command: _Command) -> _Command:
    """The options of this topic."""
    for option in (
        click.option(
            "--fail-on",
            type=click.Choice(["error", "warning", "advice"]),
            help=f"With --check: status {FOUND} if there is such a finding, or a worse one.",
        ),
        click.option(
            "--check-lazy",
            is_flag=True,
            help="Check a driver that defers invalidations on purpose, as with iommu.strict=0.",
        ),
        click.option(
            "--check", is_flag=True, help="Look for mistakes of the driver; docs/checker.md."
        ),
    ):
        command = option(command)
    return command


def take_check_options(options: dict[str, Any]) -> CheckOptions:
    """Take this topic's options out of a command's."""
    lazy, fail_on = options.pop("check_lazy"), options.pop("fail_on")
    wanted = options.pop("check") or lazy
    if fail_on is not None and not wanted:
        raise click.UsageError("--fail-on needs --check")
    return CheckOptions(wanted, lazy, fail_on or "")


class Checked:
    """What `checked` gives: nothing to tell without ``--check``."""

    def __init__(self, checker: Checker | None = None, options: CheckOptions = NO_CHECK) -> None:
        self._checker = checker
        self._options = options

    @property
    def tracer(self) -> Tracer | None:
        """Where the checker hears of events; writes that are told there make it see more."""
        return None if self._checker is None else self._checker.tracer

    @property
    def parts(self) -> dict[str, Report]:
        """What the report of the run gains."""
        if self._checker is None:
            return {}
        from smmu_emu.check import Report

        return {"check": Report(self._checker)}

    def status(self, status: int) -> int:
        """The run's status, or `FOUND`."""
        if status or self._checker is None or not self._options.fail_on:
            return status
        from smmu_emu.check.findings import SEVERITIES

        worst, limit = self._checker.worst(), self._options.fail_on
        if worst and SEVERITIES.index(worst) <= SEVERITIES.index(limit):
            return FOUND
        return status


@contextmanager
def checked(
    machine: Machine, options: CheckOptions, image: Path | None, tracer: Tracer | None = None
) -> Iterator[Checked]:
    """Check while this lasts; findings go into ``tracer``'s trace as well, if there is one."""
    if not options.wanted:
        yield Checked()
        return
    from smmu_emu.check import Checker
    from smmu_emu.cli.trace_options import make_tracer

    with (
        nullcontext(tracer) if tracer is not None else make_tracer(machine, image) as shared,
        Checker(machine, tracer=shared, lazy=options.lazy) as checker,
    ):
        yield Checked(checker, options)
        checker.finish()
