# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu policies``: what the SMMU can be made to do, a line each."""

from __future__ import annotations

import click

from smmu_emu.cli.policy_options import listed

_EPILOG = """\
\b
Use them with --policy on run and linux, in any combination and with a seed:
    smmu-emu run image.elf --policy evict,prefetch,seed=3
    smmu-emu run image.elf --policy-sweep 20
"""


@click.command("policies", epilog=_EPILOG)
def command() -> None:
    """List what the SMMU may do within the architecture, and does not do by itself."""
    for line in listed():
        click.echo(line)
