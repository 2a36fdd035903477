# SPDX-License-Identifier: GPL-2.0-or-later
"""``--inject PLAN``: faults from files, in whatever runs an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from smmu_emu.cli.parameters import FILE

if TYPE_CHECKING:
    from smmu_emu.inject import Injector, Plan
    from smmu_emu.inject.isolation import Isolation
    from smmu_emu.inject.report import InjectionReport
    from smmu_emu.machine import Machine
    from smmu_emu.trace.tracer import Tracer

INVALID = 122
"""Status of a run in which a planned fault never fired: it shows nothing."""
BREACHED = 121
"""Status of a run in which DMA landed where the plan's ``[[allow]]`` do not permit."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def inject_options(command: _Command) -> _Command:
    """The options of this topic."""
    return click.option(
        "--inject",
        "plans",
        type=FILE,
        multiple=True,
        metavar="PLAN",
        help="Inject the faults of a TOML file; see docs/fault_injection.md. Repeatable.",
    )(command)


class Injected:
    """What `injected` gives: nothing to tell without plans."""

    def __init__(
        self, injector: Injector | None = None, isolation: Isolation | None = None
    ) -> None:
        self._injector = injector
        self._isolation = isolation

    @property
    def parts(self) -> dict[str, Part]:
        """What the report of the run gains."""
        if self._injector is None:
            return {}
        return {"injection": Part(self._injector.report(), self._isolation)}

    def status(self, status: int) -> int:
        """The run's status, unless it is worth nothing, or showed a breach."""
        part = self.parts.get("injection")
        if part is None:
            return status
        if not part.report.valid:
            return INVALID
        return BREACHED if part.breaches else status


class Part:
    """The injection's part of a report."""

    def __init__(self, report: InjectionReport, isolation: Isolation | None) -> None:
        self.report = report
        self.breaches = [] if isolation is None else isolation.breaches
        self._landings = None if isolation is None else isolation.landings

    def lines(self) -> Iterator[str]:
        """For people."""
        yield from self.report.lines()
        if self._landings is not None:
            yield f"isolation      {self._landings:,} landings, {len(self.breaches):,} breaches"
            yield from (f"  breach: {breach}" for breach in self.breaches[:20])

    def complaints(self) -> Iterator[str]:
        """What has to be said even where no report is wanted."""
        yield from map(str, self.report.unfired)
        yield from (f"breach: {breach}" for breach in self.breaches[:1])

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain = self.report.as_dict()
        if self._landings is not None:
            plain["landings"] = self._landings
            plain["breaches"] = [breach._asdict() for breach in self.breaches]
        return plain


@contextmanager
def injected(
    machine: Machine, plans: tuple[Path, ...], image: Path, tracer: Tracer | None = None
) -> Iterator[Injected]:
    """Inject the plans in files while this lasts; ``tracer`` is told of what fires.

    Raises: PlanError in one line.
    """
    if not plans:
        yield Injected()
        return
    from smmu_emu.inject import Injector

    plan = _joined(plans)
    isolation = None
    if plan.allow:
        from smmu_emu.inject.isolation import Isolation

        isolation = Isolation(machine)
        isolation.mappings.allow(*plan.allow)
        isolation.install()
    with Injector(machine, plan, image) as injector:
        if tracer is not None:
            injector.trace_to(tracer)
        yield Injected(injector, isolation)


def _joined(paths: tuple[Path, ...]) -> Plan:
    from smmu_emu.inject import load_plan

    plan = load_plan(paths[0])
    for path in paths[1:]:
        plan += load_plan(path)
    return plan
