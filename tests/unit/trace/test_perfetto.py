# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces for Perfetto, read back with Perfetto's own declarations of its protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smmu_emu.trace.events import Access, Event, Evict, Fill, Finding, Invalidation, Note, Origin
from smmu_emu.trace.sinks import copy, open_sink
from tests.unit.trace.events_of_everything import EVERYTHING

protocol = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
BEGIN, END, INSTANT = 1, 2, 3  # TrackEvent.Type


class Read:
    """The packets of a trace, sorted into tracks."""

    def __init__(self, path: Path) -> None:
        trace = protocol.Trace()
        trace.ParseFromString(path.read_bytes())
        self.packets = list(trace.packet)
        self.tracks = {
            packet.track_descriptor.uuid: packet.track_descriptor
            for packet in self.packets
            if packet.HasField("track_descriptor")
        }
        self.events = [packet for packet in self.packets if packet.HasField("track_event")]

    def track(self, name: str) -> list[Any]:
        """The events of a track."""
        (uuid,) = (uuid for uuid, track in self.tracks.items() if track.name == name)
        return [packet for packet in self.events if packet.track_event.track_uuid == uuid]


def _read(tmp_path: Path, events: list[Event]) -> Read:
    path = tmp_path / "t.pftrace"
    copy(iter(events), open_sink(path))
    return Read(path)


def _fill(seq: int, time: int, entry: int) -> Fill:
    # fmt: off
    return Fill(seq, time, "smmu0", 0, 0, entry, "tlb", "EL1", 0, 5, 8, None, entry << 12, 12,
                0x50000000, 0, 0xBF, 3, 12, ())
    # fmt: on


def _invalidation(seq: int, time: int, *removed: int) -> Invalidation:
    # fmt: off
    return Invalidation(seq, time, "smmu0", 0, 0, "TLBI_NH_ALL", "EL1", 0, None, None, None, None,
                        None, False, removed, ())
    # fmt: on


def _access(seq: int, time: int, stream_id: int, cause: int = 0) -> Access:
    # fmt: off
    return Access(seq, time, "smmu0", cause, stream_id, None, 0x1000, True, False, False, "hit",
                  0x50000000, 1, 1, "", "")
    # fmt: on


def test_every_kind_of_event_makes_a_trace(tmp_path: Path) -> None:
    read = _read(tmp_path, EVERYTHING)
    assert {packet.trusted_packet_sequence_id for packet in read.packets} == {1}
    for packet in read.events:
        assert packet.track_event.track_uuid in read.tracks
    for track in read.tracks.values():
        assert not track.HasField("parent_uuid") or track.parent_uuid in read.tracks


def test_each_stream_has_a_track(tmp_path: Path) -> None:
    read = _read(tmp_path, [_access(1, 10, 8), _access(2, 20, 9), _access(3, 30, 8)])
    first = read.track("smmu0 stream 0x8")
    assert [packet.timestamp for packet in first] == [10, 30]
    assert {packet.track_event.type for packet in first} == {INSTANT}
    assert first[0].track_event.name == "hit 0x1000"
    assert len(read.track("smmu0 stream 0x9")) == 1


def test_an_entry_lives_from_its_fill_to_its_end(tmp_path: Path) -> None:
    read = _read(tmp_path, [_fill(1, 10, 1), Evict(2, 50, "smmu0", 0, 1, "capacity")])
    begin, end = read.track("TLB 1")
    assert (begin.timestamp, begin.track_event.type) == (10, BEGIN)
    assert begin.track_event.name == "#1 0x1000+4K -> 0x50000000 EL1 VMID 0 ASID 5"
    assert (end.timestamp, end.track_event.type) == (50, END)


def test_entries_that_live_at_once_have_lanes_of_their_own(tmp_path: Path) -> None:
    events: list[Event] = [
        _fill(1, 10, 1),
        _fill(2, 20, 2),
        Evict(3, 30, "smmu0", 0, 1, "capacity"),
        _fill(4, 40, 3),
    ]
    read = _read(tmp_path, events)
    lanes = [name for name in (t.name for t in read.tracks.values()) if name.startswith("TLB ")]
    assert lanes == ["TLB entries", "TLB 1", "TLB 2"]
    for lane in lanes[1:]:
        depth = 0
        for packet in read.track(lane):
            depth += 1 if packet.track_event.type == BEGIN else -1
            assert depth in (0, 1)
        assert depth == 0


def test_an_invalidation_flows_from_what_it_removed(tmp_path: Path) -> None:
    read = _read(tmp_path, [_fill(1, 10, 1), _fill(2, 20, 2), _invalidation(3, 30, 1, 2)])
    (invalidation,) = read.track("commands and invalidations")
    flows = list(invalidation.track_event.flow_ids)
    begins = [packet for packet in read.events if packet.track_event.type == BEGIN]
    assert sorted(flows) == sorted(packet.track_event.flow_ids[0] for packet in begins)
    ends = [packet.timestamp for packet in read.events if packet.track_event.type == END]
    assert ends == [30, 30]


def test_what_is_alive_at_the_end_ends_there(tmp_path: Path) -> None:
    read = _read(tmp_path, [_fill(1, 10, 1), Note(2, 99, "machine", 0, "end", "")])
    assert [packet.timestamp for packet in read.track("TLB 1")] == [10, 99]


def test_annotations_have_the_event_and_its_cause(tmp_path: Path) -> None:
    origin = Origin(1, 0, "machine", 0, 0x40100000, b"\1\2\3\4", "dma", 4, "dma.c:7", "ldr w0")
    read = _read(tmp_path, [origin, _access(2, 10, 8, cause=1)])
    (packet,) = read.track("smmu0 stream 0x8")
    notes = {note.name: note.string_value for note in packet.track_event.debug_annotations}
    assert notes["event"].startswith('{"kind":"access","seq":2,')
    assert notes["cause"] == "by 0x40100000 dma+0x4 (dma.c:7) `ldr w0`"


def test_findings_are_on_the_track_of_their_stream(tmp_path: Path) -> None:
    # fmt: off
    finding = Finding(2, 20, "smmu0", 0, "stale-tlb-hit", "error", "text", "rule", "do", 8, 0x1000,
                      (1,))
    # fmt: on
    read = _read(tmp_path, [_access(1, 10, 8), finding])
    assert [p.track_event.name for p in read.track("smmu0 stream 0x8")] == [
        "hit 0x1000",
        "error: stale-tlb-hit",
    ]
