# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces for ui.perfetto.dev: Perfetto's protocol, through its own package.

A track for each stream (accesses, faults), one for commands and invalidations, and one for each
TLB entry's life, which is a slice from its fill to its end; an invalidation is joined by flows to
the entries that it removed. Time is virtual. The whole event is in the annotations of what shows
it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from smmu_emu.trace.codec import TraceError, encode
from smmu_emu.trace.events import (
    Access,
    Command,
    Event,
    Evict,
    Fill,
    Finding,
    Interrupt,
    Invalidation,
    Note,
    Origin,
    Record,
    Sync,
)
from smmu_emu.trace.sinks import FileSink
from smmu_emu.trace.text import Describer, size, tag

_SEQUENCE = 1
_STREAMS, _TLB, _COMMANDS = 1, 2, 3
"""Tracks that hold others, or everything of a kind."""
_FIRST_FREE = 16


def _import() -> Any:
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise TraceError(
            "Perfetto's format needs the package perfetto: pip install perfetto"
        ) from error
    return perfetto_trace_pb2


class PerfettoSink(FileSink):
    """Writes packets as they come; slices that are open at the end are ended there."""

    mode = "wb"

    def __init__(self, path: Path) -> None:
        self._proto = _import()
        super().__init__(path)

    def _begin(self) -> None:
        types = self._proto.TrackEvent
        self._begins, self._ends = types.TYPE_SLICE_BEGIN, types.TYPE_SLICE_END
        self._instant = types.TYPE_INSTANT
        self._describer = Describer()
        self._streams: dict[tuple[str, int], int] = {}
        self._units: dict[str, int] = {}
        self._lives: dict[tuple[str, int], int] = {}
        self._lanes: list[int] = []
        self._tracks = _FIRST_FREE
        self._packets: list[bytes] = []
        self._now = 0
        self._declare(_STREAMS, 0, "streams")
        self._declare(_TLB, 0, "TLB entries")
        self._declare(_COMMANDS, 0, "commands and invalidations")
        self._put()

    def _write(self, events: list[Event]) -> None:
        shown = self._shown
        for event in events:
            show = shown.get(type(event))
            if show is not None:
                self._now = event.time
                show(event)
        self._put()

    def _end(self) -> None:
        for unit, entry in list(self._lives):
            self._end_life(unit, entry)
        self._put()

    def _put(self) -> None:
        self._file.write(b"".join(self._packets))
        self._packets.clear()

    # -- what goes where

    @cached_property
    def _shown(self) -> dict[type[Event], Callable[[Any], None]]:
        """What is done with each kind of event; others are not shown."""
        return {
            Origin: self._describer.meet,
            Access: self._access,
            Fill: self._fill,
            Evict: lambda event: self._end_life(event.unit, event.entry),
            Invalidation: self._invalidate,
            Command: lambda event: self._mark(event, _COMMANDS, event.name),
            Sync: lambda event: self._mark(event, _COMMANDS, "SYNC completed"),
            Record: self._record,
            Finding: self._finding,
            Interrupt: lambda event: self._mark(event, _COMMANDS, self._describer.what(event)),
            Note: lambda event: self._mark(event, _COMMANDS, self._describer.what(event)),
        }

    def _access(self, event: Access) -> None:
        name = f"{event.outcome} {event.iova:#x}"
        self._mark(event, self._stream(event.unit, event.stream_id), name)

    def _record(self, event: Record) -> None:
        self._mark(event, self._stream(event.unit, event.stream_id), f"record {event.name}")

    def _finding(self, event: Finding) -> None:
        track = _COMMANDS
        if event.stream_id is not None:
            track = self._stream(event.unit, event.stream_id)
        self._mark(event, track, f"{event.severity}: {event.name}")

    def _fill(self, event: Fill) -> None:
        key = event.unit, event.entry
        lane = self._lanes.pop() if self._lanes else self._new_lane()
        self._lives[key] = lane
        whose = tag(event.world, event.vmid, event.asid)
        name = f"#{event.entry} {event.base:#x}+{size(event.size_lg2)} -> {event.page:#x} {whose}"
        self._event(self._begins, event.time, lane, name, event, self._flows(event, (event.entry,)))

    def _invalidate(self, event: Invalidation) -> None:
        flows = self._flows(event, event.removed)
        self._mark(event, _COMMANDS, event.name or "invalidation", flows)
        for entry in event.removed:
            self._end_life(event.unit, entry)

    def _flows(self, event: Event, entries: tuple[int, ...]) -> tuple[int, ...]:
        """Numbers for entries that those of no other unit have."""
        unit = self._units.setdefault(event.unit, len(self._units))
        return tuple(unit << 48 | entry for entry in entries)

    def _end_life(self, unit: str, entry: int) -> None:
        lane = self._lives.pop((unit, entry), None)
        if lane is not None:
            self._event(self._ends, self._now, lane)
            self._lanes.append(lane)

    def _mark(self, event: Event, track: int, name: str, flows: tuple[int, ...] = ()) -> None:
        self._event(self._instant, event.time, track, name, event, flows)

    # -- tracks

    def _stream(self, unit: str, stream_id: int) -> int:
        track = self._streams.get((unit, stream_id))
        if track is None:
            track = self._streams[unit, stream_id] = self._new_track(
                _STREAMS, f"{unit} stream {stream_id:#x}"
            )
        return track

    def _new_lane(self) -> int:
        """A track on which one entry lives at a time."""
        return self._new_track(_TLB, f"TLB {len(self._lives) + 1}")

    def _new_track(self, parent: int, name: str) -> int:
        self._tracks += 1
        self._declare(self._tracks, parent, name)
        return self._tracks

    # -- packets

    def _declare(self, track: int, parent: int, name: str) -> None:
        packet = self._proto.TracePacket()
        descriptor = packet.track_descriptor
        descriptor.uuid, descriptor.name = track, name
        if parent:
            descriptor.parent_uuid = parent
        packet.trusted_packet_sequence_id = _SEQUENCE
        self._append(packet)

    def _event(
        self,
        kind: int,
        time: int,
        track: int,
        name: str = "",
        event: Event | None = None,
        flows: tuple[int, ...] = (),
    ) -> None:
        packet = self._proto.TracePacket(timestamp=time, trusted_packet_sequence_id=_SEQUENCE)
        shown = packet.track_event
        shown.type, shown.track_uuid = kind, track
        if event is not None:
            shown.name = name
            annotate = shown.debug_annotations.add
            annotate(name="event", string_value=encode(event))
            cause = self._describer.by(event)
            if cause:
                annotate(name="cause", string_value=cause[2:])
        if flows:
            shown.flow_ids.extend(flows)
        self._append(packet)

    def _append(self, packet: Any) -> None:
        data = packet.SerializeToString()
        self._packets.append(b"\x0a" + _varint(len(data)) + data)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
