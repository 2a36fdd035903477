# SPDX-License-Identifier: GPL-2.0-or-later
"""``--trace``, ``smmu-emu trace`` and ``history``: what is written, printed and refused."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from smmu_emu.trace.events import Access, Command, Event, Note, Origin, RegisterAccess
from smmu_emu.trace.readers import read_trace
from tests.unit.cli.conftest import COMMAND, IMAGES, Ended, process
from tests.unit.cli.test_process import finish, image, put_uart, read, start

Cli = Callable[..., Ended]
IMAGE = IMAGES / "unmap_tlbi.elf"
FORMATS = (".jsonl", ".parquet", ".pftrace", ".perfetto-trace", ".txt")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of a run, as lines."""
    path = tmp_path_factory.mktemp("trace") / "t.jsonl"
    ended = process("run", IMAGE, "--no-report", "--trace", path)
    assert (ended.returncode, ended.stderr) == (0, "")
    return path


@pytest.fixture(scope="module")
def events(trace: Path) -> list[Event]:
    """What is in it."""
    return list(read_trace(trace))


# -- running


def test_a_run_says_the_same_with_and_without_a_trace(cli: Cli, tmp_path: Path) -> None:
    plain = cli("run", IMAGE)
    assert cli("run", IMAGE, "--trace", tmp_path / "t.jsonl") == plain


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_image_gives_the_same_trace_byte_for_byte(
    cli: Cli, tmp_path: Path, suffix: str
) -> None:
    for name in ("a", "b"):
        cli("run", IMAGE, "--trace", tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_another_process_gives_the_same_trace(cli: Cli, trace: Path, tmp_path: Path) -> None:
    cli("run", IMAGE, "--trace", tmp_path / "t.jsonl")
    assert (tmp_path / "t.jsonl").read_bytes() == trace.read_bytes()


def test_a_trace_begins_and_ends_with_a_note(events: list[Event]) -> None:
    first, last = events[0], events[-1]
    assert isinstance(first, Note)
    assert isinstance(last, Note)
    assert (first.name, last.name) == ("begin", "end")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_a_doorbell_is_the_instruction_that_rang_it(events: list[Event]) -> None:
    origins = {event.seq: event for event in events if isinstance(event, Origin)}
    tlbi = next(e for e in events if isinstance(e, Command) and e.name == "TLBI_NH_VA")
    origin = origins[tlbi.cause]
    assert origin.symbol == "smmu_write"
    assert origin.source.startswith("smmuv3.c:")
    assert origin.instruction.startswith("str w")
    assert origin.word is not None
    names = [caller.split(" ")[0] for caller in origin.callers]
    assert names[0] == "smmu_issue"
    assert names[-2:] == ["main", "at_el1"]
    assert "test_invalidation" in names
    doorbell = max(
        e.seq
        for e in events
        if isinstance(e, RegisterAccess) and e.name == "CMDQ_PROD" and e.seq < tlbi.seq
    )
    assert next(e for e in events if e.seq == doorbell).cause == tlbi.cause


def test_dma_is_caused_by_the_instruction_that_started_it(events: list[Event]) -> None:
    origins = {event.seq: event for event in events if isinstance(event, Origin)}
    symbols = {origins[event.cause].symbol for event in events if isinstance(event, Access)}
    assert symbols == {"testdev_dma"}


def test_a_filter_keeps_what_it_names(cli: Cli, tmp_path: Path, events: list[Event]) -> None:
    path = tmp_path / "t.jsonl"
    cli("run", IMAGE, "--trace", path, "--trace-filter", "kind=access", "--trace-filter", "pc=main")
    kept = [event for event in read_trace(path) if not isinstance(event, Origin)]
    assert kept
    assert {type(event) for event in kept} == {Access}
    assert len(kept) == sum(isinstance(event, Access) for event in events)


def test_filtering_while_running_and_after_give_the_same(
    cli: Cli, tmp_path: Path, trace: Path
) -> None:
    conditions = ("kind=access,fill,invalidation,sync", "iova=0x40000000-0x4fffffff", "time=0-1ms")
    running, after = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    cli("run", IMAGE, "--trace", running, *(w for c in conditions for w in ("--trace-filter", c)))
    cli("trace", trace, "--to", after, *(w for c in conditions for w in ("--filter", c)))

    def facts(path: Path) -> Counter[tuple[object, ...]]:
        """Without numbers, which count what was not produced, and who is behind it."""
        return Counter(
            (type(e).__name__, e.time, getattr(e, "iova", getattr(e, "base", 0)))
            for e in read_trace(path)
            if not isinstance(e, Origin)
        )

    assert facts(running) == facts(after)
    assert facts(after)


def test_the_last_events_alone_can_be_kept(cli: Cli, tmp_path: Path, events: list[Event]) -> None:
    path = tmp_path / "t.jsonl"
    cli("run", IMAGE, "--trace", path, "--trace-last", 10)
    kept = [event for event in read_trace(path) if not isinstance(event, Origin)]
    plain = [event for event in events if not isinstance(event, Origin)]
    assert kept[1:] == plain[-10:]
    assert isinstance(kept[0], Note)
    assert kept[0].text == f"{len(plain) - 10} earlier events were dropped"


@pytest.mark.parametrize(
    ("number", "said", "status"),
    [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)],
)
def test_ctrl_c_and_kill_lose_nothing(tmp_path: Path, number: int, said: str, status: int) -> None:
    path = tmp_path / "t.jsonl"
    loop = (0x52A1_20A2, 0xB940_0043, 0x17FF_FFFF)  # movz w2, SMMU; ldr w3, [x2]; b
    running = start(*image(tmp_path, *put_uart("x"), *loop), "--no-report", "--trace", path)
    assert read(running, 1) == b"x"
    deadline = time.monotonic() + 60
    while path.stat().st_size < 500_000:  # it is written while the run goes on
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(number)
    assert finish(running) == ("", f"smmu-emu: {said}\n")
    assert running.returncode == status
    events = list(read_trace(path))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert sum(isinstance(event, RegisterAccess) for event in events) > 4000
    assert isinstance(events[-1], Note)
    assert events[-1].name == "end"


def test_a_crash_of_the_guest_loses_nothing(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    assert cli("run", IMAGES / "jump_nowhere.elf", "--trace", path).status == 126
    assert [event.name for event in read_trace(path) if isinstance(event, Note)][-1] == "end"


def test_qtest_can_be_traced(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    ended = subprocess.run(
        [*COMMAND, "qtest", "--trace", str(path)],
        input="readl 0x9050000\nwritel 0x9050020 0x0\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0
    accesses = [e for e in read_trace(path) if isinstance(e, RegisterAccess)]
    assert [(e.name, e.write) for e in accesses] == [("IDR0", False), ("CR0", True)]


# -- printing


def test_a_trace_is_printed_one_line_an_event(cli: Cli, trace: Path, events: list[Event]) -> None:
    lines = cli("trace", trace).out.splitlines()
    assert len(lines) == sum(not isinstance(event, Origin) for event in events)
    assert all(line.isprintable() for line in lines)
    assert len(cli("trace", trace, "--origins").out.splitlines()) == len(events)


def test_a_trace_can_be_counted(cli: Cli, trace: Path) -> None:
    out = cli("trace", trace, "--stats").out
    assert "\noutcomes       hit 19, walk 16, F_TRANSLATION 9, fault 1\n" in out
    assert "\naccesses       smmu0 0x8 45\n" in out


@pytest.mark.parametrize("suffix", FORMATS)
def test_converting_gives_what_the_run_would_have_written(
    cli: Cli, tmp_path: Path, trace: Path, suffix: str
) -> None:
    direct, converted = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    cli("run", IMAGE, "--trace", direct)
    assert cli("trace", trace, "--to", converted) == (0, "", "")
    assert converted.read_bytes() == direct.read_bytes()


def test_parquet_goes_back_to_lines(cli: Cli, tmp_path: Path, trace: Path) -> None:
    columns, lines = tmp_path / "t.parquet", tmp_path / "t.jsonl"
    cli("trace", trace, "--to", columns)
    cli("trace", columns, "--to", lines)
    assert lines.read_bytes() == trace.read_bytes()


def test_a_history_is_told_line_by_line(cli: Cli, trace: Path) -> None:
    ended = cli("history", trace, "--stream", 8, "--iova", "0x20300000")
    assert (ended.status, ended.err) == (0, "")
    lines = [line[22:].split("  by ")[0] for line in ended.out.splitlines()]
    assert "filled: #3 tlb EL1 VMID 0 ASID 5 0x20300000+4K -> 0x50001000 for stream 0x8" in lines
    leaf = "invalidated by TLBI_NH_VA EL1 VMID 0 ASID 5 0x20300000-0x20300fff leaf only: removed #3"
    assert leaf in lines
    assert any(line.endswith("left #5 (asid)") for line in lines)
    assert any(line.startswith("hit again: ") for line in lines)
    by = next(line for line in ended.out.splitlines() if leaf in line)
    assert "< test_invalidation (unmap_tlbi.c:" in by


# -- what is refused


def test_a_filter_without_a_trace_is_wrong_usage(cli: Cli) -> None:
    ended = cli("run", IMAGE, "--trace-filter", "kind=access")
    assert ended.status == 2
    assert "--trace-filter and --trace-last need --trace FILE" in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trace", "{tmp}/t.json"], "t.json: a trace's name ends in .jsonl, .parquet, "),
        (["--trace", "{tmp}/nowhere/t.jsonl"], "nowhere/t.jsonl: No such file or directory"),
        (["--trace", "{tmp}/t.jsonl", "--trace-filter", "kind=hits"], "no kind 'hits' in"),
        (["--trace", "{tmp}/t.jsonl", "--trace-filter", "stream"], "no filter 'stream': use kind"),
        (["--trace", "{tmp}/t.jsonl", "--trace-filter", "iova=z"], "is no number or range"),
    ],
)
def test_a_trace_that_cannot_be_is_refused_before_the_run(
    cli: Cli, tmp_path: Path, arguments: list[str], words: str
) -> None:
    ended = cli("run", IMAGE, *(one.format(tmp=tmp_path) for one in arguments))
    assert ended.status == 123
    assert words in ended.line
    assert list(tmp_path.iterdir()) == []


def test_the_image_is_not_overwritten(cli: Cli, tmp_path: Path) -> None:
    both = tmp_path / "image.jsonl"
    both.write_bytes(IMAGE.read_bytes())
    assert "would overwrite the image" in cli("run", both, "--trace", both).line
    assert both.read_bytes() == IMAGE.read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this host")
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_is_told_in_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.symlink_to("/dev/full")
    ended = process("run", IMAGE, "--no-report", "--trace", path)
    assert ended.returncode == 123
    assert ended.stderr == f"smmu-emu: {path}: No space left on device\n"


@pytest.mark.parametrize("command", [["trace"], ["history", "--stream", 8, "--iova", 0]])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.jsonl", None, "t.jsonl: No such file or directory"),
        ("t.jsonl", b"hello\n", "t.jsonl is no trace of smmu-emu"),
        ("t.parquet", b"hello", "t.parquet is no Parquet file, or not a whole one"),
        ("t.pftrace", b"", ".pftrace is for people; keep a .jsonl or .parquet"),
        (
            "t.jsonl",
            b'{"format":"smmu-emu trace","version":1}\n{"kind":"note"}\n',
            "t.jsonl: line 2 is no event: no kind or field 'seq'",
        ),
    ],
)
def test_what_is_no_trace_is_refused(
    cli: Cli, tmp_path: Path, command: list[object], name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    ended = cli(command[0], path, *command[1:])
    assert ended.status == 123
    assert words in ended.line


def test_a_trace_is_not_written_over_itself(cli: Cli, tmp_path: Path, trace: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(trace.read_bytes())
    assert "would overwrite the trace that is read" in cli("trace", path, "--to", path).line
    assert path.read_bytes() == trace.read_bytes()


def test_a_trace_that_was_cut_off_is_read_as_far_as_it_goes(
    cli: Cli, tmp_path: Path, trace: Path
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(trace.read_bytes()[:5000])
    ended = cli("trace", path)
    assert ended.status == 0
    assert ended.out.endswith("cut-off: the trace ends inside of line 25\n")


def test_a_stream_or_address_without_history_is_told(cli: Cli, trace: Path) -> None:
    ended = cli("history", trace, "--stream", 9, "--iova", 0)
    assert ended.line == "no access of stream 0x9 in the trace; streams: 0x8"
    ended = cli("history", trace, "--stream", 8, "--iova", "0x1000")
    assert ended.line == "no access of stream 0x8 iova 0x1000 in the trace"


def test_lines_are_json_that_any_tool_reads(trace: Path) -> None:
    for line in trace.read_text().splitlines()[1:]:
        assert json.loads(line)["kind"]
