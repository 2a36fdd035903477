# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu run IMAGE``: load an image, run it to its end, tell what happened."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from smmu_emu.cli.parameters import FILE_AT, NUMBER

_EPILOG = """\
The exit status is the firmware's own (semihosting SYS_EXIT), or 0 for a PSCI power-off.

\b
The emulator's own statuses:
    2  wrong usage
  123  the image or the machine is unusable, one line says why
  124  --max-instructions exceeded
  125  the core waits for ever
  126  the core faults in its own vectors
  127  the guest asked for a reset
"""


@click.command("run", epilog=_EPILOG)
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--load-address", type=NUMBER, help="Where a raw binary goes in RAM.")
@click.option("--entry", type=NUMBER, help="Where to start; default: the image's own entry.")
@click.option(
    "--blob", "blobs", type=FILE_AT, multiple=True, help="Load a file at an address as well."
)
@click.option("--ram", type=NUMBER, default="512M", show_default=True, help="Size of RAM.")
@click.option("--cpu", default="cortex-a57", show_default=True, help="Model of the core.")
@click.option("--ids", default="qemu", show_default=True, help="Preset of SMMU ID registers.")
@click.option("--max-instructions", type=NUMBER, help="End the run after so many; status 124.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the report there."
)
@click.option("--report/--no-report", default=True, help="Print the report at the end.")
def command(**options: Any) -> None:
    """Run IMAGE (an AArch64 ELF or a raw binary) on the emulated board."""
    sys.exit(run_image(**options))


def run_image(
    image: Path,
    load_address: int | None = None,
    entry: int | None = None,
    blobs: tuple[tuple[int, Path], ...] = (),
    ram: int = 512 << 20,
    cpu: str = "cortex-a57",
    ids: str = "qemu",
    max_instructions: int | None = None,
    json_path: Path | None = None,
    report: bool = True,
) -> int:
    """Run an image and report; the exit status."""
    from smmu_emu.errors import ConfigurationError
    from smmu_emu.machine import Machine
    from smmu_emu.smmuv3 import PRESETS
    from smmu_emu.trace.summary import Recorder

    if ids not in PRESETS:
        raise ConfigurationError(f"--ids {ids}: no such preset; there are {', '.join(PRESETS)}")
    if json_path is not None:
        json_path.open("w").close()
    with Machine.virt(ram=ram, cpu_model=cpu, smmu_ids=PRESETS[ids], console=_print) as machine:
        machine.load(image, load_address=load_address, entry=entry)
        for address, path in blobs:
            machine.load_blob(address, path.read_bytes(), name=str(path))
        recorder = Recorder(machine)
        result = machine.run(max_instructions)
        summary = recorder.summary(result, image)
    if report:
        _print(b"\n")
        for line in summary.lines():
            click.echo(line)
    if json_path is not None:
        json_path.write_text(json.dumps(summary.as_dict(), indent=1) + "\n")
    return result.status


def _print(data: bytes) -> None:
    """The console, live."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
