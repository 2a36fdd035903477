# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu demo``: the bundled image, with nothing to set up."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import click

TABLES_AT = 0x4800_0000


@click.command("demo")
def command() -> None:
    """Run a bundled firmware image whose page tables were written by pgtable."""
    from smmu_emu.cli.run import run_image

    with (
        resources.as_file(resources.files("smmu_emu") / "images" / "dma_blob.elf") as image,
        resources.as_file(resources.files("smmu_emu") / "images" / "dma_blob.tables") as tables,
    ):
        sys.exit(run_image(Path(image), blobs=((TABLES_AT, Path(tables)),)))
