# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu resume FILE``: go on where a machine was saved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smmu_emu.cli.check_options import (
    NO_CHECK,
    CheckOptions,
    check_options,
    take_check_options,
)
from smmu_emu.cli.inject_options import inject_options
from smmu_emu.cli.parameters import FILE, NUMBER
from smmu_emu.cli.provenance_options import provenance_options, scouted
from smmu_emu.cli.save_options import save_options
from smmu_emu.cli.trace_options import (
    NO_TRACE,
    TraceOptions,
    take_trace_options,
    trace_options,
)
from smmu_emu.cli.watching import watched

if TYPE_CHECKING:
    from smmu_emu.machine import Machine, RunResult

_EPILOG = """\
The file is one that --save of smmu-emu run, linux or resume wrote, or Snapshot.save. The machine is
built as it was then; its disk images must be where they were, and as they were.

Exit statuses are those of smmu-emu run, and of smmu-emu linux with --command.
"""


@click.command("resume", epilog=_EPILOG)
@click.argument("snapshot", type=FILE)
@click.option("--image", type=FILE, help="The ELF that was run, for names in the report.")
@click.option(
    "--command",
    "commands",
    multiple=True,
    help="Type this at the guest's prompt, and end when it comes again. Repeatable.",
)
@click.option("--prompt", default="# ", show_default=True, help="What --command waits for.")
@click.option("--max-instructions", type=NUMBER, help="End the run after so many; status 124.")
@click.option("--json", "json_path", type=FILE, help="Write the report there.")
@click.option("--report/--no-report", default=True, help="Print the report at the end.")
@save_options
@inject_options
@trace_options
@provenance_options
@check_options
def command(**options: Any) -> None:
    """Go on from SNAPSHOT, a machine that was saved."""
    sys.exit(
        resume(trace=take_trace_options(options), check=take_check_options(options), **options)
    )


def resume(
    snapshot: Path,
    image: Path | None,
    commands: tuple[str, ...],
    prompt: str,
    max_instructions: int | None,
    json_path: Path | None,
    report: bool,
    save_path: Path | None = None,
    plans: tuple[Path, ...] = (),
    trace: TraceOptions = NO_TRACE,
    provenance: bool = False,
    check: CheckOptions = NO_CHECK,
) -> int:
    """Load, run and report; the exit status."""
    from smmu_emu.cli.run import claim, print_bytes, tell
    from smmu_emu.machine import Machine
    from smmu_emu.trace.summary import Recorder

    with Machine.load_snapshot(snapshot, console=print_bytes) as machine:
        if json_path is not None:
            claim(json_path, snapshot)
        if commands:
            machine.feed(b"\n")  # the prompt was there before

        def scouting() -> None:
            if commands:
                from smmu_emu.cli.linux import scout_script

                scout_script(machine, commands, prompt, max_instructions)
            else:
                machine.run(max_instructions)

        where = scouted(machine, provenance, scouting)
        recorder = Recorder(machine)
        with watched(
            machine,
            recorder,
            image,
            trace=trace,
            check=check,
            where=where,
            plans=plans,
            plans_for=image or snapshot,
            save_path=save_path,
        ) as watch:
            result = _run(machine, commands, prompt, max_instructions)
        summary = recorder.summary(result, image)
    tell(machine, summary, json_path, report=report, parts=watch.parts)
    return watch.status(result.status)


def _run(
    machine: Machine, commands: tuple[str, ...], prompt: str, max_instructions: int | None
) -> RunResult:
    """Let a script type, or a person at a kernel's shell, or nobody."""
    from smmu_emu.cli.linux import run_script, run_typed
    from smmu_emu.cli.run import run_machine, stopped_by_ctrl_c
    from smmu_emu.cli.terminal import Keyboard, Script

    if commands:
        return run_script(machine, Script(machine, commands, prompt), max_instructions)
    if machine.image_kind == "linux":
        return run_typed(machine, Keyboard(machine), max_instructions)
    with stopped_by_ctrl_c(machine.core):
        return run_machine(machine, max_instructions)
