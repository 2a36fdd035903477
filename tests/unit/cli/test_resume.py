# SPDX-License-Identifier: GPL-2.0-or-later
"""``--save`` and ``smmu-emu resume``: what a user sees of machines in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import IMAGES, Ended

HELLO = IMAGES / "unmap_tlbi.elf"
Cli = Callable[..., Ended]


def test_two_parts_of_a_run_print_what_the_whole_prints(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "machine"
    whole = cli("run", HELLO)
    first = cli("run", HELLO, "--max-instructions", 20000, "--save", path, "--no-report")
    assert (first.status, path.exists()) == (124, True)
    second = cli("resume", path, "--image", HELLO)
    assert second.status == 0
    printed = whole.out.partition("\nend   ")[0]
    assert first.out + second.out.partition("\nend   ")[0] == printed
    again = cli("resume", path, "--max-instructions", 10, "--save", path, "--no-report")
    assert again.status == 124
    assert cli("resume", path, "--image", HELLO).status == 0


def test_machine_that_has_no_snapshots_says_so_before_it_runs(cli: Cli, tmp_path: Path) -> None:
    kernel, disk = tmp_path / "kernel", tmp_path / "disk"
    kernel.write_bytes(bytes(56) + b"ARM\x64" + bytes(4096))
    disk.write_bytes(bytes(512))
    ended = cli("linux", "--kernel", kernel, "--disk", disk, "--save", tmp_path / "machine")
    assert ended.status == 123
    assert "writes go to the file, where no snapshot takes them back" in ended.line


@pytest.mark.parametrize("where", ["missing/machine", "."])
def test_file_that_cannot_be_written_is_told_before_the_run(
    cli: Cli, tmp_path: Path, where: str
) -> None:
    ended = cli("run", HELLO, "--save", tmp_path / where)
    assert ended.status in (2, 123)
    assert ended.out == ""


def test_what_is_no_snapshot_is_told_in_one_line(cli: Cli, tmp_path: Path) -> None:
    assert cli("resume", HELLO).line.endswith("unmap_tlbi.elf: no snapshot of a machine")
    missing = cli("resume", tmp_path / "missing")
    assert missing.status == 123
    assert "missing: No such file" in missing.line
