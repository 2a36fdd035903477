# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu tables``: every subcommand, every bad input in one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pgtable import Arena, PageTableConfig, Prot, alloc
from smmu_emu.cli import cli, tables
from smmu_emu.errors import EmulatorError

ROOT = Path(__file__).parents[4]
RW = Prot.READ | Prot.WRITE | Prot.CACHE
TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of tables at 0x48000000 that map 4 pages at 0x1000 and 2M at 4M; an odd one out."""
    folder = tmp_path_factory.mktemp("dumps")
    memory = Arena(0x4800_0000, 1 << 16)
    cfg = PageTableConfig(pgsize_bitmap=0x1000 | 1 << 21, ias=39, oas=40)
    table = alloc("ARM_64_LPAE_S1", cfg, memory=memory)
    table.map(0x1000, 0x8000_0000, 0x4000, RW)
    table.map(0x40_0000, 0x9000_0000, 1 << 21, RW)
    (folder / "ram.bin").write_bytes(memory.bytes)
    table.unmap(0x1000, 0x1000)
    (folder / "later.bin").write_bytes(memory.bytes)
    memory.words[0x1018 // 8] = 0x7000_0003
    (folder / "broken.bin").write_bytes(memory.bytes)
    return folder


def run(dump: Path, command: str, *words: str, file: str = "ram.bin") -> Result:
    options = ["--root", "0x48000000", "--input-bits", "39"]
    if command == "diff":
        options += ["--before", f"0x48000000={dump / file}"]
    elif command != "decode":
        options += ["--memory", f"0x48000000={dump / file}"]
    return CliRunner().invoke(cli, ["tables", command, *options, *words])


def test_show_prints_ranges_by_default(dump: Path) -> None:
    done = run(dump, "show")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1:3] == [
        f"0x1000-0x4fff → 0x80000000 rw cached, 4 {TIMES} 4K",
        f"0x400000-0x5fffff → 0x90000000 rw cached, 1 {TIMES} 2M",
    ]


@pytest.mark.parametrize(
    ("style", "words"),
    [
        ("brief", "0x1000-0x4fff"),
        ("tables", "level 3 table at 0x48002000 for 0x0-0x1fffff: 4 of 512 entries"),
        ("ptdump", "2M PMD       USR RW x  SHD AF NG     BLK"),
        ("json", '"mapped": 2113536'),
    ],
)
def test_show_has_styles(dump: Path, style: str, words: str) -> None:
    done = run(dump, "show", "--as", style)
    assert done.exit_code == 0
    assert words in done.stdout


def test_json_is_json_everywhere(dump: Path) -> None:
    def read(*words: str) -> Any:
        return json.loads(run(dump, *words).stdout)

    assert read("show", "--as", "json")["leaves"] == 5
    assert read("walk", "0x1234", "--json")[0]["target"] == "0x80000234"
    assert read("find", "0x80000000", "--json")["ranges"][0]["start"] == "0x1000"
    assert read("check", "--json") == []
    changed = read("diff", "--after", f"0x48000000={dump / 'later.bin'}", "--bbm", "--json")
    assert changed["changes"][0]["what"] == ["unmapped"]
    assert changed["break_before_make"] == []
    plain = CliRunner().invoke(cli, ["tables", "decode", "0x48001f47", "--json"])
    assert json.loads(plain.stdout)[0]["kind"] == "page"


def test_walk_tells_by_its_status_whether_all_is_mapped(dump: Path) -> None:
    assert run(dump, "walk", "0x1000", "0x400000").exit_code == 0
    done = run(dump, "walk", "0x1000", "0x9000")
    assert done.exit_code == 1
    assert "0x9000 is not mapped: level 3: invalid" in done.stdout


def test_find_tells_by_its_status_whether_anybody_maps_it(dump: Path) -> None:
    assert run(dump, "find", "0x90001000").exit_code == 0
    assert run(dump, "find", "0x90001000", "--size", "4K").exit_code == 0
    done = run(dump, "find", "0x48000000")
    assert done.exit_code == 1
    assert "level 1 table at 0x48000000" in done.stdout


def test_check_fails_on_errors_only(dump: Path) -> None:
    assert run(dump, "check").exit_code == 0
    done = run(dump, "check", file="broken.bin")
    assert done.exit_code == 1
    assert done.stdout.startswith("error: table-outside:")


def test_diff_tells_by_its_status_whether_anything_changed(dump: Path) -> None:
    same = run(dump, "diff", "--after", f"0x48000000={dump / 'ram.bin'}")
    assert (same.exit_code, same.stdout) == (0, "no change in meaning\n")
    other = run(dump, "diff", "--after", f"0x48000000={dump / 'later.bin'}")
    assert other.exit_code == 1
    assert other.stdout.startswith("- 0x1000-0x1fff unmapped: was → 0x80000000")


@pytest.mark.parametrize(("name", "start"), [("a.svg", "<svg"), ("b.html", "<!DOCTYPE html>")])
def test_draw_writes_a_picture(dump: Path, tmp_path: Path, name: str, start: str) -> None:
    done = run(dump, "draw", "--output", str(tmp_path / name), "--title", "Mine", "--theme", "dark")
    assert done.exit_code == 0
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert text.startswith(start)
    assert "Mine" in text


def test_decode_takes_the_level_and_the_format(dump: Path) -> None:
    words = ["tables", "decode", "0x4800", "0x48002401", "--format", "arm_v7s", "--level", "1"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "0x00004800 on level 1: invalid"
    assert lines[1] == "0x48002401 on level 1: table → 0x48002400"


def test_darts_take_several_roots(tmp_path: Path) -> None:
    memory = Arena(0x8_0000_0000, 1 << 18)
    cfg = PageTableConfig(pgsize_bitmap=0x1000, ias=32, oas=36)
    table = alloc("APPLE_DART", cfg, memory=memory)
    table.map(0xC000_0000, 0x8_8000_0000, 0x2000, Prot.READ)
    path = tmp_path / "dart.bin"
    path.write_bytes(memory.bytes)
    words = ["tables", "show", "--format", "APPLE_DART", "--granule", "4K"]
    for root in ("none", "none", hex(table.regs.ttbr[2]), hex(table.regs.ttbr[3])):
        words += ["--root", root]
    done = CliRunner().invoke(cli, [*words, "--memory", f"0x800000000={path}"])
    assert f"0xc0000000-0xc0001fff → 0x880000000 ro normal, 2 {TIMES} 4K" in done.stdout


BAD: list[tuple[str, list[str], str]] = [
    ("show", ["--granule", "8K"], "granule"),
    ("show", ["--input-bits", "99"], "input bits"),
    ("show", ["--input-bits", "-1"], "negative"),
    ("show", ["--output-bits", "7"], "output bits"),
    ("show", ["--start-level", "2"], "start level"),
    ("show", ["--root", "0x48001000"], "only DARTs have more than one"),
    ("show", ["--fwb"], "fwb"),
    ("show", ["--memory", "0x48000000=/nowhere"], "No such file"),
    ("show", ["--memory", "/"], "directory"),
    ("show", ["--memory", __file__], "its address is needed"),
    ("show", ["--memory", f"0x48000800={__file__}"], "overlap"),
    ("walk", ["0x1000", "--memory", "0x0=/dev/null"], "empty"),
    ("find", ["0x1000", "--size", "0"], "make no sense"),
    ("find", ["0xffffffffffffffff", "--size", "2"], "make no sense"),
    ("draw", ["--output", "picture.png"], "must end in .svg or .html"),
    ("diff", ["--after", "0x48000000=/nowhere"], "No such file"),
]


@pytest.mark.parametrize(("command", "words", "message"), BAD)
def test_bad_input_is_one_clear_error(
    dump: Path, command: str, words: list[str], message: str
) -> None:
    done = run(dump, command, *words)
    assert isinstance(done.exception, EmulatorError), done.exception
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    "words",
    [
        ["show"],
        ["walk", "--root", "0"],
        ["walk", "12z", "--root", "0", "--memory", "x"],
        ["show", "--root", "0x1_0000_0000_0000_0000", "--memory", "x"],
        ["show", "--root", "0", "--memory", "x", "--format", "ARM_128"],
        ["diff", "--root", "0", "--before", "x", "--after", "y", "--bbm-level", "3"],
        ["nothing"],
    ],
)
def test_wrong_usage_has_its_own_status(words: list[str]) -> None:
    assert CliRunner().invoke(cli, ["tables", *words]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0x1_0000_0000", "--format", "ARM_V7S"], "wider than a descriptor of 32 bits"),
        (["0", "--level", "7"], "has levels 0, 1, 2, 3 here"),
    ],
)
def test_descriptors_that_cannot_be_are_refused(words: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["tables", "decode", *words])
    assert message in str(done.exception)


def test_the_process_prints_one_line_and_no_traceback(dump: Path) -> None:
    words = ["show", "--root", "0x40000000", "--memory", f"0x48000000={dump / 'ram.bin'}"]
    done = subprocess.run(
        [sys.executable, "-m", "smmu_emu", "tables", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 123
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("smmu-emu: root: the first table, 0x1000 bytes at 0x40000000")


def test_help_loads_neither_numpy_nor_readers() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from smmu_emu.cli import cli; "
        "assert CliRunner().invoke(cli, ['tables', 'show', '--help']).exit_code == 0; "
        "print([m for m in sys.modules if m == 'numpy' or m.startswith('pgtable.inspect')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"


def test_the_command_line_knows_all_formats() -> None:
    from pgtable.inspect import FORMATS

    assert tables.FORMATS == FORMATS
