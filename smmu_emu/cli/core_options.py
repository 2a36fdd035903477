# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that put the core behind the SMMU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from smmu_emu.cli.parameters import NUMBER

Command = TypeVar("Command", bound=Callable[..., Any])


def core_options(command: Command) -> Command:
    """Add ``--core-stream`` and ``--core-substream``, named as `Machine.virt` has them."""
    stream = click.option(
        "--core-stream",
        type=NUMBER,
        metavar="STREAMID",
        help="Put the core behind the SMMU: its accesses are transactions of this stream.",
    )
    substream = click.option(
        "--core-substream",
        type=NUMBER,
        metavar="SUBSTREAMID",
        help="With --core-stream: the SubstreamID of the core's accesses.",
    )
    return stream(substream(command))
