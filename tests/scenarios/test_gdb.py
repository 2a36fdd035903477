# SPDX-License-Identifier: GPL-2.0-or-later
"""The real GDB attaches to a run: what its user sees, and that the guest sees nothing of it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

IMAGES = Path(__file__).resolve().parents[2] / "firmware" / "images"


@cache
def _gdb() -> str | None:
    """A GDB that knows AArch64: Debian's gdb-multiarch, or any that was built so."""
    for name in ("gdb-multiarch", "aarch64-linux-gnu-gdb", "gdb"):
        path = shutil.which(name)
        if path is None:
            continue
        asked = subprocess.run(
            [path, "-nx", "-batch", "-ex", "set architecture aarch64"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if "aarch64" in asked.stdout and not asked.returncode:
            return path
    return None


pytestmark = pytest.mark.skipif(
    _gdb() is None, reason="no GDB that knows AArch64 is installed (Debian: gdb-multiarch)"
)


class Debugged:
    """A run that waits for GDB at a socket, and what both said."""

    def __init__(self, folder: Path, image: str, *options: str) -> None:
        self.image = IMAGES / f"{image}.elf"
        self.socket = folder / "gdb.sock"
        self.report = folder / "report.json"
        command = [sys.executable, "-m", "smmu_emu", "run", str(self.image)]
        command += ["--gdb", str(self.socket), "--json", str(self.report), *options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert self.process.stderr is not None
        self.first_line = self.process.stderr.readline()

    def session(self, *commands: str) -> str:
        """What GDB says to these commands."""
        path = _gdb()
        assert path is not None
        words = [path, "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off"]
        for command in (f"target remote {self.socket}", *commands):
            words += ["-ex", command]
        done = subprocess.run(
            [*words, str(self.image)], capture_output=True, text=True, check=False, timeout=120
        )
        return done.stdout + done.stderr

    def end(self) -> tuple[int, str, str]:
        """Status, output and complaints of the run."""
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    @property
    def results(self) -> dict[str, object]:
        """The report, but for the name of the image."""
        report: dict[str, object] = json.loads(self.report.read_text())
        return report


def report_of(folder: Path, image: str) -> dict[str, object]:
    """The report of a run that nobody debugs."""
    path = folder / "plain.json"
    command = [sys.executable, "-m", "smmu_emu", "run", str(IMAGES / f"{image}.elf")]
    subprocess.run(
        [*command, "--no-report", "--json", str(path)], check=True, capture_output=True, timeout=120
    )
    report: dict[str, object] = json.loads(path.read_text())
    return report


def test_session_shows_source_registers_memory_and_the_smmu(tmp_path: Path) -> None:
    run = Debugged(tmp_path, "unmap_tlbi", "--gdb-wait")
    assert run.first_line == (f"smmu-emu: gdb: target remote {run.socket}, the run waits for it\n")
    said = run.session(
        *("info registers pc cpsr", "break main", "continue", "stepi", "next"),
        *("hbreak testdev_dma", "continue", "backtrace", "info registers system"),
        *("set var $x16 = 0x1234", "p/x $x16", "x/2xw 0x50001000", "x/1xw 0x09000000"),
        *("monitor smmu", "finish", "monitor tlb", "monitor time", "detach"),
    )
    status, out, err = run.end()
    for expected in (
        r"pc +0x40100000",
        r"cpsr +0x3c5 +\[ SP EL=1 F I A D \]",
        r"Breakpoint 1, main \(\) at firmware/tests/unmap_tlbi\.c:\d+",
        r"Breakpoint 2, testdev_dma \(\)",
        r"#1 .* in dma_lands \(\)",
        r"VBAR_EL1 +0x40\w+",
        r"= 0x1234",
        r"0x50001000:\t0x\w{8}\t0x\w{8}",
        r"Cannot access memory at address 0x9000000",
        r"CMDQ +prod 0x\w+, cons 0x\w+ of 32, 0 waiting, at 0x\w+",
        r"NS-EL1 vmid 0x0 asid 0x5  0x20300000\+0x1000 -> 0x50001000 rw./rw.",
        r"[\d,]+ instructions, [\d,]+ ns",
        r"detached",
    ):
        assert re.search(expected, said), f"{expected} is not in\n{said}"
    assert status == 0
    assert "PASS" in out
    assert err == (
        "smmu-emu: gdb: a debugger attached\n"
        "smmu-emu: gdb: the debugger detached; the run goes on\n"
    )


def test_debugged_run_is_the_run_that_nobody_debugs(tmp_path: Path) -> None:
    """Breakpoints, steps and looks leave no trace in counts, DMA, TLB or events."""
    run = Debugged(tmp_path, "faults", "--gdb-wait")
    said = run.session(
        *("break testdev_dma", "watch *(unsigned *)0x50000000", "continue", "finish", "stepi 50"),
        *("monitor tlb", "monitor events", "x/64xg $sp", "continue", "nexti 20", "delete"),
        *("break test_end", "continue", "monitor events", "continue"),
    )
    status, _, _ = run.end()
    assert "exited normally" in said
    assert "smmu0: F_TRANSLATION stream 0x8 iova 0x8000001000 write stage 1 level 0" in said
    assert status == 0
    assert run.results == report_of(tmp_path, "faults")


def test_watchpoint_shows_what_dma_did_not_write_but_the_core_did(tmp_path: Path) -> None:
    run = Debugged(tmp_path, "unmap_tlbi", "--gdb-wait")
    said = run.session(
        *("break fill", "continue", "watch *(unsigned *)0x50001000", "delete 1"),
        *("continue", "backtrace 1", "kill"),
    )
    status, _, err = run.end()
    assert "Hardware watchpoint 2: *(unsigned *)0x50001000" in said
    assert re.search(r"Old value = \d+\nNew value = \d+\n.*in fill \(\)", said), said
    assert status == 130
    assert "the debugger ended the run" in err


def test_debugger_comes_late_to_a_run_that_goes_on_for_ever(tmp_path: Path) -> None:
    run = Debugged(tmp_path, "spin", "--max-instructions", "100M")
    said = run.session("p/x $pc", "stepi", "kill")
    status, _, _ = run.end()
    assert re.search(r"\$1 = 0x40\w+", said), said
    assert status in (124, 130)  # 124 if GDB took so long to start


def test_dead_core_can_be_looked_at(tmp_path: Path) -> None:
    run = Debugged(tmp_path, "bad_vectors", "--gdb-wait")
    said = run.session("continue", "p/x $ESR_EL1", "p/x $VBAR_EL1", "continue")
    status, _, _ = run.end()
    assert "going on from here ends the run" in said
    assert "Program received signal SIGSEGV" in said
    assert re.search(r"\$1 = 0x\w+\n\$2 = 0x\w+", said), said
    assert "exited with code 0176" in said
    assert status == 126


def test_ctrl_c_at_the_run_ends_it_while_it_waits_for_gdb(tmp_path: Path) -> None:
    run = Debugged(tmp_path, "hello", "--gdb-wait")
    run.process.send_signal(signal.SIGINT)
    status, out, _ = run.end()
    assert status == 130
    assert "interrupted" in out
    assert not run.socket.exists()


def test_session_on_a_32_bit_core(tmp_path: Path) -> None:
    run = Debugged(tmp_path, "aarch32/dma", "--gdb-wait", "--cpu", "cortex-a15")
    said = run.session(
        *("break dma", "continue", "info registers pc cpsr SCTLR", "backtrace", "x/1i $pc"),
        *("stepi", "delete", "continue"),
    )
    status, out, _ = run.end()
    for expected in (
        r"Breakpoint 1, dma \(\) at firmware/aarch32/tests/dma\.c:\d+",
        r"pc +0x401\w+ +0x401\w+ <dma\+\d+>",
        r"cpsr +0x\w+ +\[ M=19 ",
        r"#1 .* in main \(\)",
        r"=> 0x401\w+ <dma\+\d+>:\t",
    ):
        assert re.search(expected, said), expected
    assert status == 0
    assert "PASS" in out
