# SPDX-License-Identifier: GPL-2.0-or-later
"""``--gic`` and ``--el`` of every subcommand that has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fdt
import pytest

from tests.unit.cli.conftest import IMAGES, Ended

Cli = Callable[..., Ended]


def test_image_starts_at_el2_where_asked_to(cli: Cli) -> None:
    asked = cli("run", IMAGES / "el2.elf", "--el", 2, "--no-report")
    assert (asked.status, asked.out.splitlines()[-1]) == (0, "PASS (22 checks)")
    plain = cli("run", IMAGES / "el2.elf", "--no-report")
    assert (plain.status, plain.out.splitlines()[-1]) == (
        77,
        "ABSENT: this image needs a start at EL2",
    )


def test_machine_has_a_gicv3_where_asked_to(cli: Cli) -> None:
    devices = ["--device", "iommu-testdev", "--device", "edu"]
    done = cli("run", IMAGES / "its.elf", "--gic", 3, "--ids", "full", *devices, "--no-report")
    assert (done.status, done.out.splitlines()[-1]) == (0, "PASS (24 checks)")


@pytest.mark.parametrize(
    ("options", "compatible", "method"),
    [
        ([], "arm,cortex-a15-gic", "hvc"),
        (["--gic", "3"], "arm,gic-v3", "hvc"),
        (["--gic", "3", "--el", "2"], "arm,gic-v3", "smc"),
    ],
)
def test_device_tree_says_so(
    cli: Cli, tmp_path: Path, options: list[str], compatible: str, method: str
) -> None:
    blob = tmp_path / "tree.dtb"
    assert cli("run", IMAGES / "hello.elf", "--dumpdtb", blob, *options).status == 0
    tree = fdt.parse_dtb(blob.read_bytes())
    assert tree.get_property("compatible", "/intc@8000000").data == [compatible]
    assert tree.get_property("method", "/psci").data == [method]


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [("--gic", "4", "'2', '3'"), ("--gic", "v3", "'2', '3'"), ("--el", "3", "'1', '2'")],
)
@pytest.mark.parametrize("command", ["run", "linux"])
def test_what_there_is_not_is_wrong_usage(
    cli: Cli, command: str, option: str, value: str, choices: str
) -> None:
    image = [IMAGES / "hello.elf"] if command == "run" else ["--kernel", IMAGES / "hello.elf"]
    done = cli(command, *image, option, value)
    assert done.status == 2
    assert f"Invalid value for '{option}': '{value}' is not one of {choices}." in done.err
