# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever is wrong with the arguments or the files gives one clear line and a status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.unit.cli.conftest import IMAGES, Ended

Cli = Callable[..., Ended]
HELLO = IMAGES / "hello.elf"


# -- arguments: status 2, as everywhere


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "No such command 'rnu'"),
        (["--frobnicate"], "No such option"),
        (["run"], "Missing argument 'IMAGE'"),
        (["run", HELLO, HELLO], "Got unexpected extra argument"),
        (["run", HELLO, "--frobnicate"], "No such option"),
        (["run", HELLO, "--ram"], "requires an argument"),
        (["run", HELLO, "--ram", "lots"], "'lots' is not a number such as 4096, 0x1000 or 512M"),
        (["run", HELLO, "--ram", "-1"], "'-1' is not between 0 and 2^64 - 1"),
        (["run", HELLO, "--ram", "1.5G"], "'1.5G' is not a number"),
        (["run", HELLO, "--ram", "M"], "'M' is not a number"),
        (["run", HELLO, "--ram", ""], "'' is not a number"),
        (["run", HELLO, "--ram", "0x10000000000000000"], "is not between 0 and 2^64 - 1"),
        (["run", HELLO, "--ram", "17179869184G"], "is not between 0 and 2^64 - 1"),
        (["run", HELLO, "--ram", "9" * 5000], "is not a number"),
        (["run", HELLO, "--gdb-wait"], "--gdb-wait needs --gdb PORT or --gdb PATH"),
        (["run", HELLO, "--load-address", "here"], "'here' is not a number"),
        (["run", HELLO, "--entry", "0xZ"], "'0xZ' is not a number"),
        (["run", HELLO, "--max-instructions", "010"], "'010' is not a number"),
        (["run", HELLO, "--blob", "x.bin"], "'x.bin' is not of the form 0x48000000=FILE"),
        (["run", HELLO, "--blob", "0x48000000="], "is not of the form 0x48000000=FILE"),
        (["run", HELLO, "--blob", "=x.bin"], "'' is not a number"),
        (["demo", "--ram", "1M"], "No such option"),
        (["demo", HELLO], "Got unexpected extra argument"),
    ],
    ids=lambda value: " ".join(map(str, value))[-40:] if isinstance(value, list) else None,
)
def test_wrong_usage_is_2(cli: Cli, arguments: list[object], words: str) -> None:
    ended = cli(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    line = ended.err.splitlines()[-1]
    assert line.startswith("Error: ")
    assert words in line


def test_without_arguments_the_help_is_shown(cli: Cli) -> None:
    ended = cli()
    assert ended.status == 2
    assert "Commands:" in ended.out + ended.err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], ["demo", "-h"]])
def test_help_is_no_error(cli: Cli, arguments: list[str]) -> None:
    ended = cli(*arguments)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("Usage: ")


def test_the_help_of_run_lists_every_status(cli: Cli) -> None:
    lines = cli("run", "--help").out.splitlines()
    listed = {line.split()[0] for line in lines if line.strip()}
    assert {"2", "123", "124", "125", "126", "127", "130"} <= listed


def test_version_is_told(cli: Cli) -> None:
    ended = cli("--version")
    assert ended.status == 0
    assert ended.out.endswith(f" {version('smmu-emu')}\n")


# -- images, files and machines: status 123


def _line(cli: Cli, *arguments: object) -> str:
    ended = cli("run", *arguments)
    assert ended.status == 123
    return ended.line


def _file(folder: Path, data: bytes, name: str = "image") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_missing_image(cli: Cli, tmp_path: Path) -> None:
    assert _line(cli, tmp_path / "no.elf") == f"{tmp_path}/no.elf: no such file"


def test_folder_as_image(cli: Cli, tmp_path: Path) -> None:
    assert _line(cli, tmp_path) == f"{tmp_path} is a directory, not a file"


def test_device_as_image(cli: Cli) -> None:
    assert _line(cli, "/dev/zero") == "/dev/zero is not a regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_image_without_permission(cli: Cli, tmp_path: Path) -> None:
    path = _file(tmp_path, b"data")
    path.chmod(0)
    assert _line(cli, path) == f"{path} cannot be read: Permission denied"


def test_name_that_no_terminal_shows(cli: Cli, tmp_path: Path) -> None:
    line = _line(cli, tmp_path / "a\x1b[2J\nb")
    assert "\x1b" not in line
    assert line.endswith("no such file")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\x7fEL", "is truncated"),
        (HELLO.read_bytes()[:40], "is truncated: 40 bytes, an ELF header has 64"),
        (HELLO.read_bytes()[:100], "is truncated: its program headers lie past its end"),
        (HELLO.read_bytes()[:300], "is truncated"),
        (b"#!/bin/sh\n", "a raw binary needs a load address"),
        (b"\x1f\x8b" + bytes(100), "is packed (gzip) and damaged: "),
    ],
)
def test_file_that_is_no_image(cli: Cli, tmp_path: Path, data: bytes, words: str) -> None:
    path = _file(tmp_path, data)
    line = _line(cli, path)
    assert line.startswith(str(path))
    assert words in line


def test_this_hosts_own_executable(cli: Cli) -> None:
    with open(sys.executable, "rb") as file:
        header = file.read(20)
    if header[:4] != b"\x7fELF" or header[18:20] == b"\xb7\0":
        pytest.skip("the interpreter is no foreign ELF")
    assert "this machine runs 64-bit little-endian AARCH64" in _line(cli, sys.executable)


def test_load_address_for_an_elf(cli: Cli) -> None:
    line = _line(cli, HELLO, "--load-address", "0x40200000")
    assert line == f"{HELLO} is an ELF, which says itself where it is loaded"


@pytest.mark.parametrize("address", ["0", "0x3ffffffc", "0x5ffffffc", "0xfffffffffffffff0"])
def test_raw_binary_outside_ram(cli: Cli, tmp_path: Path, address: str) -> None:
    line = _line(cli, _file(tmp_path, bytes(8)), "--load-address", address)
    assert line.endswith(" is outside RAM, which is 0x40000000-0x5fffffff")


@pytest.mark.parametrize("entry", ["0", "0x40100002", "0x50000000", "0xffffffffffffffff"])
def test_entry_where_nothing_is(cli: Cli, entry: str) -> None:
    assert f"entry {int(entry, 0):#x} is " in _line(cli, HELLO, "--entry", entry)


def test_missing_blob(cli: Cli, tmp_path: Path) -> None:
    line = _line(cli, HELLO, "--blob", f"0x48000000={tmp_path}/no.bin")
    assert line == f"{tmp_path}/no.bin: no such file"


def test_blob_over_the_image(cli: Cli, tmp_path: Path) -> None:
    blob = _file(tmp_path, bytes(16), "blob")
    line = _line(cli, HELLO, "--blob", f"0x40100000={blob}")
    assert line.startswith(f"{blob} (0x40100000-0x4010000f) overlaps {HELLO} segment ")


def test_blobs_over_each_other(cli: Cli, tmp_path: Path) -> None:
    blob = _file(tmp_path, bytes(16), "blob")
    line = _line(cli, HELLO, "--blob", f"0x48000000={blob}", "--blob", f"0x4800000f={blob}")
    assert "overlaps" in line


@pytest.mark.parametrize("size", ["0", "1", "4097", "512K", "256G", "0xffffffffffffffff"])
def test_ram_of_a_size_that_cannot_be(cli: Cli, size: str) -> None:
    assert "whole 4 KiB pages are needed, from 1 MiB to 255 GiB" in _line(cli, HELLO, "--ram", size)


def test_image_larger_than_ram(cli: Cli) -> None:
    assert "is outside RAM, which is 0x40000000-0x400fffff" in _line(cli, HELLO, "--ram", "1M")


def test_core_that_does_not_exist(cli: Cli) -> None:
    line = _line(cli, HELLO, "--cpu", "pentium")
    assert line.startswith("no core model 'pentium'")
    assert "; there are cortex-a57, " in line


def test_preset_that_does_not_exist(cli: Cli) -> None:
    line = _line(cli, HELLO, "--ids", "mmu-9000")
    assert line.startswith("no ID registers 'mmu-9000'; there are qemu")


def test_device_that_does_not_exist(cli: Cli) -> None:
    line = _line(cli, HELLO, "--device", "e1000")
    assert line.startswith("no device 'e1000': there is dma-engine, edu, iommu-testdev")


def test_two_devices_at_one_place(cli: Cli) -> None:
    places = ("--device", "iommu-testdev@00:02.0", "--device", "dma-engine@00:02.0")
    assert _line(cli, HELLO, *places) == "PCI 00:02.0 is taken by iommu-testdev"


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (["toaster"], "no device 'toaster': there is "),
        (["iommu-testdev@nowhere"], "nowhere"),
        (["iommu-testdev@00:00.0"], "00:00.0"),
        (["iommu-testdev@00:20.0"], "00:20.0"),
        (["iommu-testdev@00:03.0", "iommu-testdev@00:03.0"], "00:03.0"),
        (["iommu-testdev@"] * 40, ""),
    ],
)
def test_device_that_cannot_be_placed(cli: Cli, devices: list[str], words: str) -> None:
    options = [f"--device={device}" for device in devices]
    assert words in _line(cli, HELLO, *options)


def test_device_tree_that_is_none(cli: Cli, tmp_path: Path) -> None:
    assert _line(cli, HELLO, "--dtb", tmp_path / "no.dtb") == f"{tmp_path}/no.dtb: no such file"
    bad = _file(tmp_path, b"not a tree", "bad.dtb")
    assert _line(cli, HELLO, "--dtb", bad).startswith(f"{bad} is not a device tree: ")


def test_device_tree_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    line = _line(cli, HELLO, "--dumpdtb", tmp_path / "no" / "virt.dtb")
    assert line == f"{tmp_path}/no/virt.dtb: No such file or directory"


def test_debugger_at_a_place_that_cannot_be(cli: Cli, tmp_path: Path) -> None:
    assert _line(cli, HELLO, "--gdb", "99999") == "--gdb 99999: ports end at 65535"
    line = _line(cli, HELLO, "--gdb", tmp_path / "no" / "socket")
    assert line.startswith(f"--gdb {tmp_path}/no/socket: cannot listen there: ")
    ended = cli("run", HELLO, "--gdb-wait")
    assert ended.status == 2
    assert "--gdb-wait needs --gdb PORT or --gdb PATH" in ended.err


# -- the report's file


def test_report_in_a_folder_that_does_not_exist(cli: Cli, tmp_path: Path) -> None:
    line = _line(cli, HELLO, "--json", tmp_path / "no" / "report.json")
    assert line == f"{tmp_path}/no/report.json: No such file or directory"


def test_report_that_is_a_folder(cli: Cli, tmp_path: Path) -> None:
    assert _line(cli, HELLO, "--json", tmp_path) == f"{tmp_path}: Is a directory"


def test_report_on_a_full_disk(cli: Cli) -> None:
    ended = cli("run", HELLO, "--no-report", "--json", "/dev/full")
    assert ended.status == 123
    assert ended.err.startswith("smmu-emu: /dev/full: No space left on device")


def test_report_over_the_image(cli: Cli, tmp_path: Path) -> None:
    image = _file(tmp_path, HELLO.read_bytes())
    (tmp_path / "link").symlink_to(image)
    for path in (image, tmp_path / "link"):
        assert _line(cli, image, "--json", path) == f"--json {path} would overwrite the image"
    assert image.read_bytes() == HELLO.read_bytes()


def test_report_of_another_run_survives_a_wrong_image(cli: Cli, tmp_path: Path) -> None:
    report = _file(tmp_path, b"{}", "report.json")
    _line(cli, tmp_path / "no.elf", "--json", report)
    assert report.read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("65536", "--gdb 65536: ports end at 65535"),
        ("/no/such/folder/gdb", "--gdb /no/such/folder/gdb: cannot listen there: No such file"),
    ],
)
def test_door_for_gdb_that_cannot_be_opened(cli: Cli, address: str, words: str) -> None:
    assert _line(cli, HELLO, "--gdb", address).startswith(words)
