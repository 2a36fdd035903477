# SPDX-License-Identifier: GPL-2.0-or-later
"""All that may stand around a run: its trace, the checker, provenance, faults, and saving."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smmu_emu.cli.check_options import Checked, CheckOptions, checked
from smmu_emu.cli.inject_options import Injected, injected
from smmu_emu.cli.provenance_options import who_wrote
from smmu_emu.cli.save_options import saved
from smmu_emu.cli.trace_options import TraceOptions, traced

if TYPE_CHECKING:
    from smmu_emu.cli.run import ReportPart
    from smmu_emu.machine import Machine
    from smmu_emu.trace.provenance import Where
    from smmu_emu.trace.summary import Recorder


class Watched(NamedTuple):
    """What was found while a run was watched."""

    findings: Checked
    injection: Injected

    @property
    def parts(self) -> dict[str, ReportPart]:
        """What the report of the run gains."""
        return {**self.injection.parts, **self.findings.parts}

    def status(self, status: int) -> int:
        """The run's status, or what was found in its place."""
        return self.findings.status(self.injection.status(status))


@contextmanager
def watched(
    machine: Machine,
    recorder: Recorder,
    image: Path | None,
    *,
    trace: TraceOptions,
    check: CheckOptions,
    where: Where | None,
    plans: tuple[Path, ...],
    plans_for: Path,
    save_path: Path | None,
) -> Iterator[Watched]:
    """Do all that was asked for while this lasts. Writes and faults are told to the trace, or to
    the checker where there is none. ``plans_for`` is the file that functions in plans are of."""
    with (
        saved(machine, save_path),
        traced(machine, trace, image) as tracer,
        checked(machine, check, image, tracer) as findings,
        who_wrote(machine, where, recorder, findings.tracer or tracer),
        injected(machine, plans, plans_for, findings.tracer or tracer) as injection,
    ):
        yield Watched(findings, injection)
