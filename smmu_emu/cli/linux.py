# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu linux``: boot an unmodified arm64 kernel to a shell, its disks behind the SMMU."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from smmu_emu.cli.board_options import board_options
from smmu_emu.cli.check_options import (
    NO_CHECK,
    CheckOptions,
    check_options,
    take_check_options,
)
from smmu_emu.cli.inject_options import inject_options
from smmu_emu.cli.parameters import FILE, NUMBER
from smmu_emu.cli.policy_options import policy_option, policy_parts
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
    from smmu_emu.cli.run import ReportPart
    from smmu_emu.cli.terminal import Keyboard, Script
    from smmu_emu.devices.virtio.disk import Disk
    from smmu_emu.machine import Machine, RunResult

_EPILOG = """\
At a terminal all keys go to the guest; Ctrl-A x ends the run. The exit status is 0 when the guest
powers off, the run is ended at the terminal, or all of --command was executed; else as of
smmu-emu run.

\b
A disk is a raw image, with what becomes of the guest's writes:
  --disk root.img            they go to the file
  --disk root.img,ro         there are none
  --disk root.img,snapshot   they are forgotten at the end
With ,bus=pci after that it is a PCI function with MSI-X, else a platform device.
"""


class DiskParameter(click.ParamType["tuple[Path, str, str]"]):
    """``IMAGE[,ro|,snapshot][,bus=mmio|,bus=pci]``: the image, the mode and the bus."""

    name = "image[,ro|,snapshot][,bus=pci]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, str, str]:
        if isinstance(value, tuple):
            return value
        path, mode, bus = str(value), "rw", "mmio"
        while "," in path:
            rest, _, last = path.rpartition(",")
            if last in ("ro", "rw", "snapshot"):
                mode = last
            elif last in ("bus=mmio", "bus=pci"):
                bus = last.removeprefix("bus=")
            else:
                break
            path = rest
        return Path(path), mode, bus


@click.command("linux", epilog=_EPILOG)
@click.option("--kernel", type=FILE, required=True, help="An arm64 kernel image.")
@click.option("--initrd", type=FILE, help="An initial RAM disk.")
@click.option(
    "--disk", "disks", type=DiskParameter(), multiple=True, help="A virtio disk. Repeatable."
)
@click.option("--append", default="earlycon", show_default=True, help="The kernel's command line.")
@click.option("--dtb", type=FILE, help="Hand over this device tree instead of the machine's own.")
@click.option("--dumpdtb", type=FILE, help="Write the device tree there, and do not run.")
@click.option("--ram", type=NUMBER, default="512M", show_default=True, help="Size of RAM.")
@click.option("--cpu", default="cortex-a57", show_default=True, help="Model of the core.")
@board_options
@click.option("--ids", default="qemu", show_default=True, help="Preset of SMMU ID registers.")
@click.option(
    "--device", "devices", metavar="NAME[@ADDRESS]", multiple=True, help="A PCI device. Repeatable."
)
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
@click.option("--gdb", metavar="PORT|PATH", help="Let GDB attach at a TCP port or a Unix socket.")
@click.option("--gdb-wait", is_flag=True, help="Execute nothing before GDB has attached.")
@inject_options
@policy_option
@trace_options
@provenance_options
@save_options
@check_options
def command(**options: Any) -> None:
    """Boot a Linux kernel on the emulated board."""
    if options["gdb_wait"] and options["gdb"] is None:
        raise click.UsageError("--gdb-wait needs --gdb PORT or --gdb PATH")
    if options["provenance"] and not options["commands"]:
        raise click.UsageError("--provenance runs twice: let --command type, not you")
    sys.exit(boot(trace=take_trace_options(options), check=take_check_options(options), **options))


def boot(
    kernel: Path,
    initrd: Path | None,
    disks: tuple[tuple[Path, str, str], ...],
    append: str,
    dtb: Path | None,
    dumpdtb: Path | None,
    ram: int,
    cpu: str,
    gic: str,
    el: int,
    ids: str,
    devices: tuple[str, ...],
    commands: tuple[str, ...],
    prompt: str,
    max_instructions: int | None,
    json_path: Path | None,
    report: bool,
    gdb: str | None = None,
    gdb_wait: bool = False,
    plans: tuple[Path, ...] = (),
    trace: TraceOptions = NO_TRACE,
    provenance: bool = False,
    save_path: Path | None = None,
    check: CheckOptions = NO_CHECK,
    policy: str | None = None,
) -> int:
    """Boot, let somebody type, and report; the exit status."""
    from smmu_emu.cli.run import claim, tell
    from smmu_emu.cli.terminal import Keyboard, Script
    from smmu_emu.errors import ConfigurationError, ImageError
    from smmu_emu.machine import Machine
    from smmu_emu.report.domains import DomainReport
    from smmu_emu.smmuv3 import PRESETS
    from smmu_emu.trace.summary import Recorder

    if ids not in PRESETS:
        raise ConfigurationError(f"no ID registers {ids!r}; there are {', '.join(PRESETS)}")
    with Machine.virt(
        ram=ram,
        devices=devices,
        cpu_model=cpu,
        gic=gic,
        smmu_ids=PRESETS[ids],
        disks=_open(disks),
        policy=policy,
    ) as machine:
        image = machine.load(kernel, initrd=initrd, append=append, dtb=dtb, el=el)
        if image.kind != "linux":
            raise ImageError(f"{kernel} is no Linux kernel: smmu-emu run is for other images")
        if dumpdtb is not None:
            dumpdtb.write_bytes(machine.handover.tree)
            return 0
        if json_path is not None:
            claim(json_path, kernel)
        where = scouted(
            machine, provenance, partial(scout_script, machine, commands, prompt, max_instructions)
        )
        recorder = Recorder(machine)
        with watched(
            machine,
            recorder,
            kernel,
            trace=trace,
            check=check,
            where=where,
            plans=plans,
            plans_for=kernel,
            save_path=save_path,
        ) as watch:
            door = None if gdb is None else Door(gdb, gdb_wait)
            if commands:
                script = Script(machine, commands, prompt)
                result = run_script(machine, script, max_instructions, door)
            else:
                result = run_typed(machine, Keyboard(machine), max_instructions, door)
        summary = recorder.summary(result, kernel)
        domains = DomainReport(machine, recorder.contexts.latest, summary.commands)
    parts: dict[str, ReportPart] = {"domains": domains, **policy_parts(machine), **watch.parts}
    tell(machine, summary, json_path, report=report, parts=parts)
    return watch.status(result.status)


def _open(disks: tuple[tuple[Path, str, str], ...]) -> list[Disk]:
    from smmu_emu.devices.virtio.disk import Disk, DiskMode

    return [Disk(path, DiskMode(mode), bus) for path, mode, bus in disks]


class Door(NamedTuple):
    """Where GDB may attach, and whether the run waits for it."""

    address: str
    wait: bool


def run_script(
    machine: Machine, script: Script, max_instructions: int | None, door: Door | None = None
) -> RunResult:
    """Run a machine whose console a script hears."""
    from smmu_emu.cli.run import print_bytes, run_debugged, run_machine, stopped_by_ctrl_c

    def console(data: bytes) -> None:
        print_bytes(data)
        script.hear(data)

    machine.console = console
    if door is not None:
        return run_debugged(machine, max_instructions, door.address, wait=door.wait)
    with stopped_by_ctrl_c(machine.core):
        return run_machine(machine, max_instructions)


def run_typed(
    machine: Machine, keyboard: Keyboard, max_instructions: int | None, door: Door | None = None
) -> RunResult:
    """Run a machine while somebody types."""
    from smmu_emu.cli.run import collect_garbage, print_bytes, run_debugged, stopped_by_ctrl_c

    machine.console = print_bytes
    core = machine.core
    if door is not None:
        with keyboard.attached():
            return run_debugged(
                machine, max_instructions, door.address, wait=door.wait, keyboard=keyboard
            )
    collect_garbage()
    with stopped_by_ctrl_c(core), keyboard.attached():
        return keyboard.run(max_instructions)


def scout_script(
    machine: Machine, commands: tuple[str, ...], prompt: str, max_instructions: int | None
) -> None:
    """Run what `run_script` will run, and print nothing."""
    from smmu_emu.cli.terminal import Script

    machine.console = Script(machine, commands, prompt).hear
    machine.run(max_instructions)
