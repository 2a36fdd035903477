# SPDX-License-Identifier: GPL-2.0-or-later
"""``--save FILE``: keep the machine where a run ended, for ``smmu-emu resume FILE``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from smmu_emu.cli.parameters import FILE

if TYPE_CHECKING:
    from smmu_emu.machine import Machine

_Command = TypeVar("_Command", bound=Callable[..., Any])


def save_options(command: _Command) -> _Command:
    """The options of this topic."""
    return click.option(
        "--save",
        "save_path",
        type=FILE,
        metavar="FILE",
        help="Save the machine at the end of the run; smmu-emu resume FILE goes on from there.",
    )(command)


@contextmanager
def saved(machine: Machine, path: Path | None) -> Iterator[None]:
    """Save the machine when the run in this has ended.

    Raises: ConfigurationError before the run if the machine cannot be saved; OSError before it if
        the file cannot be written.
    """
    if path is None:
        yield
        return
    from smmu_emu.snapshot import check

    check(machine)
    path.open("ab").close()
    yield
    machine.snapshot().save(path)
