# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: one file a subcommand, loaded when it is asked for.

Built on click alone: typer would add a tenth of a second to every start.
Errors of the emulator, and of files that cannot be read, become one line and status 123; wrong
usage is 2, as everywhere.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from io import TextIOWrapper
from typing import NoReturn

import click

from smmu_emu.errors import EmulatorError

_COMMANDS = {
    "run": "run",
    "linux": "linux",
    "resume": "resume",
    "demo": "demo",
    "qtest": "qtest",
    "tables": "tables",
    "policies": "policies",
    "trace": "trace",
    "history": "history",
    "report": "report",
    "campaign": "campaign",
}
EMULATOR_ERROR = 123
INTERRUPTED = 130


class _LazyGroup(click.Group):
    """Imports a subcommand's module only when it is used or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = importlib.import_module(f"smmu_emu.cli.{module}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="smmu-emu")
def cli() -> None:
    """A software Arm SMMU: run firmware on an emulated core, DMA through an emulated SMMU."""


def main() -> NoReturn:
    """Entry point of ``smmu-emu``."""
    gc.disable()  # what is made while modules load stays; `run_image` switches it on
    # Whoever read our output went away, or the report has a name that the terminal cannot show.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        status = _complain("interrupted", INTERRUPTED)
    except EmulatorError as error:
        status = _complain(str(error))
    except OSError as error:
        status = _complain(f"{error.filename or 'output'}: {error.strerror or error}")
    _let_go_of_output()
    gc.freeze()  # the process ends: nothing is worth a search for garbage
    sys.exit(status if isinstance(status, int) else 0)


def _let_go_of_output() -> None:
    """Drop what nobody takes: Python would try once more at exit, and complain in its own words."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(what: str, status: int = EMULATOR_ERROR) -> int:
    click.echo(f"smmu-emu: {what}", err=True)
    return status
