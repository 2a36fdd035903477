# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that choose the interrupt controller, and the exception level that an image starts at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def board_options(command: Command) -> Command:
    """Add ``--gic`` and ``--el``, valued as `Machine.virt` and `Machine.load` have them."""
    level = click.option(
        "--el",
        type=click.Choice(["1", "2"]),
        default="1",
        show_default=True,
        callback=lambda context, parameter, value: int(value),
        help="Exception level that the image starts at: 2 for hypervisors.",
    )
    return gic_option(level(command))


def gic_option(command: Command) -> Command:
    """Add ``--gic`` alone."""
    return click.option(
        "--gic",
        type=click.Choice(["2", "3"]),
        default="2",
        show_default=True,
        callback=lambda context, parameter, value: f"v{value}",
        help="Version of the interrupt controller: 2 with a GICv2m, 3 with an ITS.",
    )(command)
