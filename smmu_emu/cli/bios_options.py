# SPDX-License-Identifier: GPL-2.0-or-later
"""``--bios``: a machine that starts in flash, with somebody who types at its prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from smmu_emu.cli.parameters import FILE

if TYPE_CHECKING:
    from smmu_emu.machine import Machine, RunResult

Command = Callable[..., Any]


def bios_options(command: Command) -> Command:
    """Add the options for machines that start in flash."""
    options = (
        click.option(
            "--bios", type=FILE, help="Start in flash, with these bytes at 0, in place of IMAGE."
        ),
        click.option(
            "--command",
            "commands",
            multiple=True,
            help="With --bios: type this at the prompt, and end when it comes again. Repeatable.",
        ),
        click.option(
            "--prompt", default="=> ", show_default=True, help="What --command waits for."
        ),
        click.option(
            "--wake",
            default="stop autoboot:",
            show_default=True,
            help="When a line has this, press Enter. With --command.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def check_bios_options(options: dict[str, Any]) -> None:
    """There is something to run, and one thing alone: the image, or what is in flash.

    Raises: click.UsageError.
    """
    if options["image"] is None and options["bios"] is None:
        raise click.UsageError("Missing argument 'IMAGE', or --bios.")
    if options["bios"] is None and options["commands"]:
        raise click.UsageError("--command needs --bios: smmu-emu linux types at a kernel's prompt")
    if options["bios"] is not None:
        for name in ("image", "load_address", "entry", "blobs", "policy_sweep"):
            if options[name]:
                raise click.UsageError(f"--bios and {name.replace('_', '-')} exclude each other")
        options["image"] = options["bios"]


def run_bios(
    machine: Machine,
    commands: tuple[str, ...],
    prompt: str,
    wake: str,
    max_instructions: int | None,
) -> RunResult:
    """Run, with commands or a keyboard."""
    from smmu_emu.cli.linux import run_script, run_typed
    from smmu_emu.cli.terminal import Keyboard, Script

    if commands:
        script = Script(machine, commands, prompt, wake)
        return run_script(machine, script, max_instructions)
    return run_typed(machine, Keyboard(machine), max_instructions)
