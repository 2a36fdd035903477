# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: one file a subcommand, loaded when it is asked for.

Built on click alone: typer would add a tenth of a second to every start.
Errors of the emulator, and of files that cannot be read, become one line and status 123; wrong
usage is 2, as everywhere.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click

from smmu_emu.errors import EmulatorError

_COMMANDS = {"run": "run", "demo": "demo"}
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
    try:
        status = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        print("smmu-emu: interrupted", file=sys.stderr)
        status = INTERRUPTED
    except EmulatorError as error:
        print(f"smmu-emu: {error}", file=sys.stderr)
        status = EMULATOR_ERROR
    except BrokenPipeError:
        # Whoever read our output went away; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EMULATOR_ERROR
    except OSError as error:
        print(f"smmu-emu: {error.filename or 'I/O'}: {error.strerror}", file=sys.stderr)
        status = EMULATOR_ERROR
    sys.exit(status if isinstance(status, int) else 0)
