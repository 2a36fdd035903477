# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu run --bios``: a prompt that lives in flash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fdt
import pytest

from smmu_emu.cli.terminal import Script
from smmu_emu.machine import Machine
from tests.unit.cli.conftest import IMAGES, Ended
from tests.unit.cli.test_linux import SHELL
from tests.unit.cpu import a64

Cli = Callable[..., Ended]


@pytest.fixture
def bios(tmp_path: Path) -> Path:
    path = tmp_path / "flash.bin"
    path.write_bytes(a64.code(SHELL))
    return path


def test_commands_are_typed_at_its_prompt(cli: Cli, bios: Path) -> None:
    options = ("--prompt", "# ", "--command", "one", "--command", "last")
    ended = cli("run", "--bios", bios, *options)
    assert ended.status == 0
    assert ended.out.startswith("# one\n# last\n# \n\nend            all commands were executed")


def test_firmware_powers_off(cli: Cli, bios: Path) -> None:
    options = ("--prompt", "# ", "--command", "q", "--no-report")
    assert cli("run", "--bios", bios, *options) == (0, "# q", "")


def test_tree_tells_of_flash(cli: Cli, bios: Path, tmp_path: Path) -> None:
    dumped = tmp_path / "out.dtb"
    assert cli("run", "--bios", bios, "--dumpdtb", dumped) == (0, "", "")
    tree = fdt.parse_dtb(dumped.read_bytes())
    assert list(tree.get_property("reg", "/flash@0").data) == [
        *(0, 0, 0, 0x400_0000),
        *(0, 0x400_0000, 0, 0x400_0000),
    ]
    assert list(tree.get_property("reg", "/fw-cfg@9020000").data) == [0, 0x902_0000, 0, 0x18]


def test_bad_input_is_one_line(cli: Cli, bios: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate((64 << 20) + 1)
    for path, words in (
        (tmp_path / "absent", "absent: no such file"),
        (tmp_path, "is a directory, not a file"),
        (huge, "a BIOS of 67108865 bytes: a bank of flash has 67108864"),
    ):
        ended = cli("run", "--bios", path)
        assert ended.status == 123
        assert words in ended.line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "Missing argument 'IMAGE', or --bios."),
        (("--bios", "x", IMAGES / "hello.elf"), "--bios and image exclude each other"),
        (("--bios", "x", "--entry", "0x40"), "--bios and entry exclude each other"),
        ((IMAGES / "hello.elf", "--command", "x"), "--command needs --bios"),
    ],
)
def test_wrong_usage_is_told(cli: Cli, options: tuple[object, ...], words: str) -> None:
    ended = cli("run", *options)
    assert ended.status == 2
    assert words in ended.err


def test_line_that_asks_for_a_key_gets_enter_once() -> None:
    with Machine.virt(devices=()) as machine:
        typed: list[bytes] = []
        machine.board.keyboard = typed.append
        script = Script(machine, ["go"], "=> ", "any key:")
        for piece in (b"Hit any k", b"ey: 2 \b\b 1\n", b"=> "):
            script.hear(piece)
        assert typed == [b"\n", b"go\n"]
