# SPDX-License-Identifier: GPL-2.0-or-later
"""Sinks and readers: rings, files of every format, what is damaged, what is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from smmu_emu.trace.codec import TraceError, encode, header
from smmu_emu.trace.events import Event, Note, Origin
from smmu_emu.trace.readers import read_trace
from smmu_emu.trace.sinks import BATCH, KeepLast, Ring, copy, open_sink
from tests.unit.trace.events_of_everything import EVERYTHING

READABLE = (".jsonl", ".parquet")
ALL = (*READABLE, ".pftrace", ".perfetto-trace", ".txt")


def _notes(count: int) -> list[Event]:
    return [Note(n, n, "machine", 0, "n", str(n)) for n in range(1, count + 1)]


def _write(path: Path, events: list[Event]) -> None:
    copy(iter(events), open_sink(path))


# -- rings


def test_a_ring_keeps_the_last_and_counts_what_it_dropped() -> None:
    ring = Ring(3)
    for event in _notes(5):
        ring(event)
    dropped, *kept = ring.events()
    assert [event.seq for event in kept] == [3, 4, 5]
    assert (len(ring), ring.dropped) == (3, 2)
    assert dropped == Note(3, 3, "machine", 0, "dropped", "2 earlier events were dropped")


def test_a_ring_that_has_room_dropped_nothing() -> None:
    ring = Ring(5)
    for event in _notes(5):
        ring(event)
    assert ring.events() == _notes(5)
    assert ring.dropped == 0


def test_a_ring_keeps_the_origins_of_what_it_keeps() -> None:
    ring = Ring(1)
    for event in EVERYTHING:
        ring(event)
    assert [type(event) for event in ring.events()] == [Note, Origin, Origin, Note]


def test_the_last_events_go_to_a_file_when_the_run_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    sink = KeepLast(2, open_sink(path))
    for event in _notes(4):
        sink(event)
    sink.close()
    sink.close()
    assert [event.seq for event in read_trace(path)] == [3, 3, 4]


# -- files


@pytest.mark.parametrize("suffix", READABLE)
def test_a_file_gives_back_what_was_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    _write(path, EVERYTHING)
    again = list(read_trace(path))
    assert again == EVERYTHING
    assert list(map(type, again)) == list(map(type, EVERYTHING))


@pytest.mark.parametrize("suffix", READABLE)
def test_a_file_of_many_batches_is_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    events = _notes(20 * BATCH + 7)
    _write(path, events)
    assert list(read_trace(path)) == events


@pytest.mark.parametrize("suffix", READABLE)
def test_an_empty_trace_can_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    _write(path, [])
    assert list(read_trace(path)) == []


@pytest.mark.parametrize("suffix", ALL)
def test_the_same_events_make_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        _write(tmp_path / f"{name}{suffix}", EVERYTHING)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_lines_are_written_while_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    sink = open_sink(path)
    for event in _notes(BATCH):
        sink(event)
    assert len(path.read_text().splitlines()) == BATCH + 1
    sink.close()


def test_memory_stays_bounded(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "t.jsonl")
    for event in _notes(3 * BATCH + 1):
        sink(event)
        assert len(sink._events) < BATCH
    sink.close()
    assert sink.count == 3 * BATCH + 1


def test_text_has_one_line_an_event_and_no_origins(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    _write(path, EVERYTHING)
    lines = path.read_text().splitlines()
    assert len(lines) == len([e for e in EVERYTHING if not isinstance(e, Origin)])
    assert " ".join(lines[0].split()) == (
        "3 10 smmu0 register write CMDQ_PROD 0x7 by 0x40100000 main+0x8 (dma.c:41) "
        '`str w2, [x8]` < unmap (dma.c:7) < quotes " and \\ and ? and ü'
    )


# -- what is wrong with files


def test_a_suffix_that_is_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"t\.json: a trace's name ends in \.jsonl, \.parquet"):
        open_sink(tmp_path / "t.json")


@pytest.mark.parametrize("suffix", ALL)
def test_a_file_that_cannot_be_made_is_an_os_error(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OSError, match="No such file") as told:
        open_sink(tmp_path / "nowhere" / f"t{suffix}")
    assert str(told.value.filename).endswith(suffix)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this host")
@pytest.mark.parametrize("suffix", ALL)
def test_a_full_disk_is_told_with_the_files_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as told:  # noqa: PT012
        sink = open_sink(path)
        for event in _notes(2 * BATCH):
            sink(event)
        sink.close()
    assert told.value.filename == str(path)


def test_a_line_that_was_cut_off_ends_the_trace_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    _write(path, EVERYTHING)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b'"text"')])
    *events, note = read_trace(path)
    assert events == EVERYTHING[:-1]
    assert isinstance(note, Note)
    assert (note.name, note.text) == ("cut-off", "the trace ends inside of line 24")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no trace of smmu-emu"),
        (b"\x7fELF\n", "is no trace of smmu-emu"),
        (b"{}\n", "is no trace of smmu-emu"),
        (b"[1, 2]\n", "is no trace of smmu-emu"),
        (b'{"format":"smmu-emu trace","version":2}\n', "of version 2, this smmu-emu reads 1"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=words):
        list(read_trace(path))


@pytest.mark.parametrize("line", ["[]", "{}", "nonsense", '{"kind":"note"}', "5", "null"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join([header(), encode(EVERYTHING[0]), line, encode(EVERYTHING[1]), ""]))
    with pytest.raises(TraceError, match="line 3 is no event"):
        list(read_trace(path))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"nonsense" * 100])
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(TraceError, match="is no Parquet file, or not a whole one"):
        list(read_trace(path))


def test_somebody_elses_parquet_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(TraceError, match="is no trace of smmu-emu"):
        list(read_trace(path))


@pytest.mark.parametrize("suffix", [".pftrace", ".txt"])
def test_formats_for_people_cannot_be_read(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(TraceError, match=r"is for people; keep a \.jsonl or \.parquet"):
        read_trace(tmp_path / f"t{suffix}")


@pytest.mark.parametrize(
    ("suffix", "package", "words"),
    [
        (".parquet", "pyarrow", r"pip install 'smmu-emu\[parquet\]'"),
        (".pftrace", "perfetto.protos.perfetto.trace", "pip install perfetto"),
    ],
)
def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TraceError, match=words):
        open_sink(tmp_path / f"t{suffix}")
    assert os.listdir(tmp_path) == []


# -- columns


def test_parquet_has_columns_that_tools_can_query(tmp_path: Path) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    _write(path, EVERYTHING)
    table = pq.read_table(path)
    assert table.num_rows == len(EVERYTHING)
    accesses = table.filter(pc.equal(table["kind"], "access")).to_pylist()
    assert [(a["stream_id"], a["iova"], a["outcome"]) for a in accesses] == [(8, 0x203040, "fault")]
    sync = table.filter(pc.equal(table["kind"], "sync")).to_pylist()[0]
    assert (sync["stream_id"], sync["iova"], sync["command"]) == (None, None, 4)
