# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu run IMAGE``: load an image, run it to its end, tell what happened."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import click

from smmu_emu.cli import INTERRUPTED
from smmu_emu.cli.bios_options import bios_options, check_bios_options, run_bios
from smmu_emu.cli.board_options import board_options
from smmu_emu.cli.check_options import (
    NO_CHECK,
    CheckOptions,
    check_options,
    take_check_options,
)
from smmu_emu.cli.core_options import core_options
from smmu_emu.cli.inject_options import inject_options
from smmu_emu.cli.parameters import FILE, FILE_AT, NUMBER
from smmu_emu.cli.policy_options import (
    check_policy_options,
    policy_options,
    policy_parts,
    sweep_image,
)
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
    from smmu_emu.cli.terminal import Keyboard
    from smmu_emu.machine import Machine, RunResult
    from smmu_emu.trace.summary import Summary

_EPILOG = """\
The exit status is the firmware's own (semihosting SYS_EXIT), or 0 for a PSCI power-off.

\b
The emulator's own statuses:
    1  --policy-sweep found a difference
    2  wrong usage
  120  --fail-on: the checker found such a thing
  121  DMA landed where the plans of --inject do not allow it
  122  a fault of --inject never fired, so the run shows nothing
  123  the image, the machine or a file is unusable, one line says why
  124  --max-instructions exceeded
  125  the core waits for ever
  126  the core faults in its own vectors
  127  the guest asked for a reset
  130  interrupted by Ctrl-C, or killed by GDB; the report tells of the run so far

Numbers are decimal or 0x...; K, M and G after them are powers of 1024.
"""


@click.command("run", epilog=_EPILOG)
@click.argument("image", type=FILE, required=False)
@bios_options
@click.option("--load-address", type=NUMBER, help="Where a raw binary goes in RAM.")
@click.option("--entry", type=NUMBER, help="Where to start; default: the image's own entry.")
@click.option(
    "--blob", "blobs", type=FILE_AT, multiple=True, help="Load a file at an address as well."
)
@click.option("--ram", type=NUMBER, default="512M", show_default=True, help="Size of RAM.")
@click.option("--cpu", default="cortex-a57", show_default=True, help="Model of the core.")
@core_options
@board_options
@click.option("--ids", default="qemu", show_default=True, help="Preset of SMMU ID registers.")
@click.option(
    "--device",
    "devices",
    metavar="NAME[@ADDRESS]",
    multiple=True,
    default=("iommu-testdev@00:01.0",),
    show_default=True,
    help="A PCI device, as dma-engine or dma-engine@00:02.0. Repeatable; replaces the default.",
)
@click.option(
    "--append", default="", help="Words for the image: its semihosting or kernel command line."
)
@click.option(
    "--dtb",
    type=FILE,
    help="Hand over this device tree instead of the machine's own.",
)
@click.option(
    "--dumpdtb",
    type=FILE,
    help="Write the machine's device tree there, and do not run.",
)
@click.option("--max-instructions", type=NUMBER, help="End the run after so many; status 124.")
@click.option("--json", "json_path", type=FILE, help="Write the report there.")
@click.option("--report/--no-report", default=True, help="Print the report at the end.")
@click.option("--gdb", metavar="PORT|PATH", help="Let GDB attach at a TCP port or a Unix socket.")
@click.option("--gdb-wait", is_flag=True, help="Execute nothing before GDB has attached.")
@inject_options
@policy_options
@trace_options
@provenance_options
@save_options
@check_options
def command(**options: Any) -> None:
    """Run IMAGE (an ELF or a raw binary) on the emulated board."""
    if options["gdb_wait"] and options["gdb"] is None:
        raise click.UsageError("--gdb-wait needs --gdb PORT or --gdb PATH")
    check_bios_options(options)
    check_policy_options(options)
    sys.exit(
        run_image(trace=take_trace_options(options), check=take_check_options(options), **options)
    )


def run_image(
    image: Path,
    load_address: int | None = None,
    entry: int | None = None,
    blobs: tuple[tuple[int, Path], ...] = (),
    ram: int = 512 << 20,
    cpu: str = "cortex-a57",
    core_stream: int | None = None,
    core_substream: int | None = None,
    gic: str = "v2",
    el: int = 1,
    ids: str = "qemu",
    devices: tuple[str, ...] = ("iommu-testdev@00:01.0",),
    append: str = "",
    max_instructions: int | None = None,
    json_path: Path | None = None,
    report: bool = True,
    dtb: Path | None = None,
    dumpdtb: Path | None = None,
    gdb: str | None = None,
    gdb_wait: bool = False,
    plans: tuple[Path, ...] = (),
    trace: TraceOptions = NO_TRACE,
    provenance: bool = False,
    save_path: Path | None = None,
    check: CheckOptions = NO_CHECK,
    policy: str | None = None,
    policy_sweep: int | None = None,
    bios: Path | None = None,
    commands: tuple[str, ...] = (),
    prompt: str = "",
    wake: str = "",
) -> int:
    """Run an image, or what is in flash, and report; the exit status."""
    from smmu_emu.errors import ConfigurationError
    from smmu_emu.machine import Machine
    from smmu_emu.smmuv3 import PRESETS
    from smmu_emu.trace.summary import Recorder

    if ids not in PRESETS:
        raise ConfigurationError(f"no ID registers {ids!r}; there are {', '.join(PRESETS)}")
    with Machine.virt(
        ram=ram,
        devices=devices,
        cpu_model=cpu,
        core_stream=core_stream,
        core_substream=core_substream,
        gic=gic,
        smmu_ids=PRESETS[ids],
        policy=policy,
        bios=bios,
        command_line=f"{image.name} {append}".rstrip(),
        console=print_bytes,
    ) as machine:
        if bios is not None:
            machine.start_in_flash(bios.name, dtb=dtb, el=el)
        else:
            machine.load(
                image, load_address=load_address, entry=entry, append=append, dtb=dtb, el=el
            )
        if dumpdtb is not None:
            dumpdtb.write_bytes(machine.device_tree(dtb=dtb, el=el))
            return 0
        for address, path in blobs:
            machine.load_blob(address, path)
        if policy_sweep is not None:
            return sweep_image(machine, policy_sweep, max_instructions)
        if json_path is not None:
            claim(json_path, image)
        where = scouted(machine, provenance, lambda: machine.run(max_instructions))
        recorder = Recorder(machine)
        with watched(
            machine,
            recorder,
            image,
            trace=trace,
            check=check,
            where=where,
            plans=plans,
            plans_for=image,
            save_path=save_path,
        ) as watch:
            if gdb is not None:
                result = run_debugged(machine, max_instructions, gdb, wait=gdb_wait)
            elif bios is not None:
                result = run_bios(machine, commands, prompt, wake, max_instructions)
            else:
                with stopped_by_ctrl_c(machine.core):
                    result = run_machine(machine, max_instructions)
        summary = recorder.summary(result, image)
    parts: dict[str, ReportPart] = {**policy_parts(machine), **watch.parts}
    tell(machine, summary, json_path, report=report, parts=parts)
    return watch.status(result.status)


class ReportPart(Protocol):
    """What a topic adds to the report of a run; ``complaints`` are told without one as well."""

    def lines(self) -> Iterator[str]: ...

    def complaints(self) -> Iterator[str]: ...

    def as_dict(self) -> dict[str, Any]: ...


def tell(
    machine: Machine,
    summary: Summary,
    json_path: Path | None,
    *,
    report: bool,
    parts: Mapping[str, ReportPart] | None = None,
) -> None:
    """Say how a run ended: all of it, or one line if it was no good end.

    ``parts`` follow the summary; their keys are those of the JSON report.
    """
    from smmu_emu.cpu.exit import ExitKind

    result, parts = summary.result, parts or {}
    if report:
        print_bytes(b"\n" if machine.output.endswith(b"\n") else b"\n\n" if machine.output else b"")
        for line in chain(summary.lines(), *(part.lines() for part in parts.values())):
            click.echo(line)
    elif result.kind not in (ExitKind.EXIT, ExitKind.POWER_OFF) and result.status:
        click.echo(f"smmu-emu: {result.reason}", err=True)
    for part in () if report else parts.values():
        for line in part.complaints():
            click.echo(f"smmu-emu: {line}", err=True)
    if json_path is not None:
        plain = summary.as_dict() | {key: part.as_dict() for key, part in parts.items()}
        _write(json_path, plain)


def claim(report: Path, image: Path) -> None:
    """Open the report before the run: who waits for hours wants to know now that it fails.

    Raises: ConfigurationError if the image would be overwritten.
    """
    from smmu_emu.errors import ConfigurationError

    if report.exists() and report.samefile(image):
        raise ConfigurationError(f"--json {report} would overwrite the image")
    report.open("w").close()


def _write(path: Path, plain: dict[str, Any]) -> None:
    import json

    try:
        path.write_text(json.dumps(plain, indent=1) + "\n")
    except OSError as error:  # a failed write, unlike a failed open, does not say where
        raise OSError(error.errno, error.strerror, str(path)) from error


def run_machine(machine: Machine, max_instructions: int | None) -> RunResult:
    """Run with the garbage collector at work."""
    collect_garbage()
    return machine.run(max_instructions)


def run_debugged(
    machine: Machine,
    max_instructions: int | None,
    address: str,
    *,
    wait: bool,
    keyboard: Keyboard | None = None,
) -> RunResult:
    """Run with a door open for GDB at ``address``, and perhaps somebody who types."""
    from smmu_emu.debug.listener import Listener
    from smmu_emu.debug.server import DebugServer

    def say(what: str) -> None:
        click.echo(f"smmu-emu: gdb: {what}", err=True)

    listener = Listener(address)
    waits = ", the run waits for it" if wait else ""
    server = DebugServer(machine, listener, say)
    if keyboard is not None:
        server.between, keyboard.end = keyboard.look, server.request_exit
    collect_garbage()
    with stopped_by_ctrl_c(server):
        say(f"target remote {listener.where}{waits}")
        return server.run(max_instructions, wait=wait)


def collect_garbage() -> None:
    """From now on: `main` switched it off, since what was loaded until here stays."""
    gc.freeze()
    gc.enable()


class Stoppable(Protocol):
    """What runs and can be asked to end: a core, or who runs it."""

    def request_exit(self, reason: str, status: int = 0) -> None: ...


@contextmanager
def stopped_by_ctrl_c(runner: Stoppable) -> Iterator[None]:
    """The first Ctrl-C ends the run after the instruction under way, the second at once."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # whoever started us, as a shell in the background, ignores it
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        runner.request_exit("interrupted", INTERRUPTED)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def print_bytes(data: bytes) -> None:
    """The console, live."""
    click.echo(data, nl=False)
