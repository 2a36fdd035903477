# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu`` as a process: its console while it runs, signals, pipes that nobody reads."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import COMMAND, IMAGES, process

UART = 0x0900_0000
HLT, NOP = 0xD45E_0000, 0xD503_201F
LOOP = (NOP, 0x17FF_FFFF)
"""nop; b to it."""


def put_uart(letter: str) -> tuple[int, ...]:
    """movz w2, UART; movz w3, letter; str w3, [x2]."""
    return 0x52A0_0002 | UART >> 16 << 5, 0x5280_0003 | ord(letter) << 5, 0xB900_0043


def put_semihosting(letter: str) -> tuple[int, ...]:
    """SYS_WRITEC: movz w0, 3; adr x1, letter; hlt; b over it; letter."""
    return 0x5280_0060, 0x1000_0061, HLT, 0x1400_0002, ord(letter)


def image(folder: Path, *words: int) -> list[str]:
    """A raw binary and where it goes."""
    path = folder / "code.bin"
    path.write_bytes(b"".join(word.to_bytes(4, "little") for word in words))
    return [str(path), "--load-address", "0x40100000"]


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """The command under way, with Ctrl-C in force whatever the tests were started by."""
    return subprocess.Popen(
        [*COMMAND, "run", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read(running: subprocess.Popen[bytes], size: int) -> bytes:
    """The next bytes of the console, as soon as they are there."""
    assert running.stdout is not None
    data = b""
    while len(data) < size:
        assert select.select([running.stdout], [], [], 60)[0], f"only {data!r} came"
        data += running.stdout.raw.read(size - len(data))  # type: ignore[attr-defined]
    return data


def finish(running: subprocess.Popen[bytes]) -> tuple[str, str]:
    out, err = running.communicate(timeout=60)
    return out.decode(), err.decode()


def test_both_consoles_appear_at_once_and_in_order(tmp_path: Path) -> None:
    letters = (*put_uart("a"), *put_semihosting("b"), *put_uart("c"), *put_semihosting("d"))
    running = start(*image(tmp_path, *letters, *LOOP))
    try:
        assert read(running, 4) == b"abcd"
        assert running.poll() is None
    finally:
        running.kill()
        finish(running)


def test_ctrl_c_ends_the_run_with_a_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    running = start(*image(tmp_path, *put_uart("x"), *LOOP), "--json", report)
    assert read(running, 1) == b"x"
    running.send_signal(signal.SIGINT)
    out, err = finish(running)
    assert running.returncode == 130
    assert out.startswith("\n\nend            interrupted (status 130)\ninstructions   ")
    assert err == ""
    assert json.loads(report.read_text())["exit"]["status"] == 130


def test_ctrl_c_without_a_report_is_one_line(tmp_path: Path) -> None:
    running = start(*image(tmp_path, *put_uart("x"), *LOOP), "--no-report")
    assert read(running, 1) == b"x"
    running.send_signal(signal.SIGINT)
    assert finish(running) == ("", "smmu-emu: interrupted\n")
    assert running.returncode == 130


def test_ctrl_c_in_the_middle_of_device_accesses(tmp_path: Path) -> None:
    """A loop of register reads spends its time in callbacks, which must not swallow it."""
    loop = (0x52A1_2002, 0xB940_1843, 0x17FF_FFFF)  # movz w2, UART; ldr w3, [x2, 0x18]; b
    running = start(*image(tmp_path, *put_uart("x"), *loop))
    assert read(running, 1) == b"x"
    running.send_signal(signal.SIGINT)
    out, err = finish(running)
    assert (running.returncode, err) == (130, "")
    assert "end            interrupted (status 130)\n" in out


def test_ctrl_c_is_ignored_where_the_shell_ignores_it(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [*COMMAND, "run", *image(tmp_path, *put_uart("x"), *LOOP), "--max-instructions", "100M"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert read(running, 1) == b"x"
    running.send_signal(signal.SIGINT)
    finish(running)
    assert running.returncode == 124


def test_closed_pipe_ends_it_quietly() -> None:
    """As `yes | head -1` does: the signal, no words."""
    running = start(IMAGES / "unmap_tlbi.elf")
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    assert running.wait(60) == -signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("options", [[], ["--no-report"]])
def test_full_disk_is_one_line(options: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "run", str(IMAGES / "hello.elf"), *options],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.stderr == b"smmu-emu: output: No space left on device\n"
    assert done.returncode == 123


def test_no_output_at_all_is_no_error() -> None:
    shell = f'"{sys.executable}" -m smmu_emu run "{IMAGES}/hello.elf" >&-'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_terminal_of_another_encoding(tmp_path: Path) -> None:
    """The console's bytes pass as they are; the report's own words must not stop it."""
    folder = tmp_path / "größe"
    folder.mkdir()
    done = subprocess.run(
        [*COMMAND, "run", str(folder / "no.elf")],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"},
        check=False,
        timeout=60,
    )
    assert done.returncode == 123
    assert done.stderr.count(b"\n") == 1
    assert b"no such file" in done.stderr


def test_module_and_command_are_the_same() -> None:
    done = process("run", IMAGES / "hello.elf")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hello from EL1\nPASS\n\nend            the guest exited")
