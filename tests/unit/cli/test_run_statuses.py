# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu run``: what is printed, and the exit statuses that its help promises."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import IMAGES, Ended

Cli = Callable[..., Ended]

CONSOLE = "hello from EL1\nPASS\n"
REPORT = r"""end            the guest exited \(status 0\)
instructions   [1-9][0-9,]*
DMA            none
TLB            0 hits, 0 misses, 0 walks
commands       none
events         0 recorded, 0 not recorded
"""


def test_a_run_prints_the_console_an_empty_line_and_the_report(cli: Cli) -> None:
    ended = cli("run", IMAGES / "hello.elf")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"{CONSOLE}\n")
    assert re.fullmatch(REPORT, ended.out.removeprefix(f"{CONSOLE}\n"))


def test_no_report_leaves_the_console_alone(cli: Cli) -> None:
    assert cli("run", IMAGES / "hello.elf", "--no-report") == (0, CONSOLE, "")


def test_demo_needs_nothing(cli: Cli) -> None:
    ended = cli("demo")
    assert ended.status == 0
    assert "DMA through tables loaded from a file" in ended.out
    assert "PASS" in ended.out
    assert "\nDMA            stream 0x8: " in ended.out
    assert ended.err == ""


def test_a_fault_is_told_with_its_reason_and_its_instruction(cli: Cli) -> None:
    ended = cli("run", IMAGES / "irq_faults.elf")
    assert ended.status == 0
    told = (
        "  F_TRANSLATION stream 0x8 iova 0x30002000 write stage 1 level 1\n"
        "  F_TRANSLATION stream 0x8 iova 0x30003000 write stage 1 level 1\n"
    )
    assert told in ended.out
    reason = (
        r"      why: the descriptor at 0x42[0-9a-f]{6} is not valid\n"
        r"      by:  0x4010[0-9a-f]{4} testdev_dma\+0x[0-9a-f]+ \(testdev\.c:[0-9]+\) `ldr w.*`\n"
    )
    assert re.search(reason, ended.out)


@pytest.mark.parametrize(
    ("image", "status"),
    [("hello", 0), ("semihosting", 0), ("dma_blob", 1), ("crash", 99), ("core", 0)],
)
def test_the_status_is_the_firmwares(cli: Cli, image: str, status: int) -> None:
    ended = cli("run", IMAGES / f"{image}.elf")
    assert ended.status == status
    assert f"(status {status})\n" in ended.out
    assert ended.err == ""


def test_a_raw_binary_runs_where_it_is_told_to(cli: Cli, tmp_path: Path) -> None:
    raw = tmp_path / "hello.bin"
    raw.write_bytes(_loaded((IMAGES / "hello.elf").read_bytes()))
    ended = cli("run", raw, "--load-address", "0x40100000")
    assert ended == cli("run", IMAGES / "hello.elf")
    assert cli("run", raw, "--load-address", "0x40100000", "--entry", "0x4010_0000") == ended


def _loaded(elf: bytes) -> bytes:
    """The file's segments as they lie in memory."""
    count, start = int.from_bytes(elf[56:58], "little"), int.from_bytes(elf[32:40], "little")
    memory = bytearray()
    for at in range(start, start + 56 * count, 56):
        kind = int.from_bytes(elf[at : at + 4], "little")
        offset, _, address, in_file, _ = (
            int.from_bytes(elf[at + i : at + i + 8], "little") for i in range(8, 48, 8)
        )
        if kind == 1 and in_file:
            place = address - 0x4010_0000
            memory += bytes(max(0, place + in_file - len(memory)))
            memory[place : place + in_file] = elf[offset : offset + in_file]
    return bytes(memory)


def test_a_blob_lies_at_its_address(cli: Cli) -> None:
    tables = f"0x48000000={IMAGES / 'dma_blob.tables'}"
    ended = cli("run", IMAGES / "dma_blob.elf", "--blob", tables)
    assert ended.status == 0
    assert "\nPASS (" in ended.out
    assert "DMA            stream 0x8: " in ended.out


def test_too_many_instructions_are_124(cli: Cli) -> None:
    ended = cli("run", IMAGES / "spin.elf", "--max-instructions", "1000")
    assert ended.status == 124
    assert "end            1000 instructions executed (status 124)\n" in ended.out
    assert "instructions   1,000\n" in ended.out
    assert ended.err == ""


def test_no_instruction_at_all_is_124(cli: Cli) -> None:
    ended = cli("run", IMAGES / "hello.elf", "--max-instructions", "0")
    assert ended.status == 124
    assert ended.out.startswith("end            0 instructions executed (status 124)\n")


@pytest.mark.parametrize(
    ("image", "status", "reason"),
    [
        ("bad_vectors", 126, "exception loop: undefined instruction (ESR 0x02000000) at "),
        ("jump_nowhere", 126, "exception loop: instruction abort (ESR 0x86000010) at 0x200"),
    ],
)
def test_a_core_that_cannot_go_on_is_126(cli: Cli, image: str, status: int, reason: str) -> None:
    ended = cli("run", IMAGES / f"{image}.elf")
    assert ended.status == status
    assert ended.out.startswith(f"end            {reason}")


WFI, SMC, BRANCH_TO_SELF = 0xD503_207F, 0xD400_0003, 0x1400_0000
SYSTEM_OFF, SYSTEM_RESET = 0x8400_0008, 0x8400_0009


def _code(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def _psci(function: int) -> bytes:
    """mov w0, function; smc #0."""
    return _code(0x5280_0000 | (function & 0xFFFF) << 5, 0x72A0_0000 | function >> 16 << 5, SMC)


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (_code(WFI), 125, "waits for an interrupt"),
        (_code(BRANCH_TO_SELF), 125, "spins"),
        (_psci(SYSTEM_OFF), 0, "powered off through PSCI"),
        (_psci(SYSTEM_RESET), 127, "asked for a reset through PSCI"),
    ],
    ids=["wfi", "branch to itself", "system off", "system reset"],
)
def test_other_ends(cli: Cli, tmp_path: Path, code: bytes, status: int, reason: str) -> None:
    raw = tmp_path / "code.bin"
    raw.write_bytes(code)
    ended = cli("run", raw, "--load-address", "0x40100000", "--max-instructions", "100M")
    assert ended.status == status
    assert ended.out.startswith(f"end            {reason}")
    quiet = cli("run", raw, "--load-address", "0x40100000", "--no-report")
    assert (quiet.status, quiet.out) == (status, "")
    if status:
        assert quiet.line.startswith(reason)
    else:
        assert quiet.err == ""
