# SPDX-License-Identifier: GPL-2.0-or-later
"""What the page draws of a trace: lifetimes of cached entries, marks on them, tables, findings.

Addresses are drawn on a compressed axis: of each space (unit, world, VMID, ASID) only those that
something was cached for, or that an access named, in order, each piece as high as the next. A
million events become a few arrays of numbers; nothing of them is kept as objects.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from smmu_emu.trace.events import (
    KIND_OF,
    Access,
    ConfigFetch,
    Event,
    Evict,
    Fill,
    Finding,
    Invalidation,
    Note,
    Record,
    Update,
    Walk,
)

Space = tuple[str, str, int | None, int | None]
"""Unit, world, VMID and ASID: what tells equal addresses apart."""

ALIVE, INVALIDATED, EVICTED = 0, 1, 2
"""How an entry ended."""
HIT, FAULT, INVALIDATION, MISS = 0, 1, 2, 3
"""Kinds of marks."""


class Life(NamedTuple):
    """One cached entry: where it lies, and from which event to which it lived."""

    space: Space
    base: int
    size: int
    page: int
    born: int
    born_at: int
    walk_cache: bool
    stream_id: int


class Picture:
    """Collects what the page needs from events, in order of their numbers."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.lives: dict[int, Life] = {}
        self.ends: dict[int, tuple[int, int, int]] = {}
        self.findings: list[Finding] = []
        self.records: list[int] = []
        self.notes: list[Note] = []
        self.first = self.last = (0, 0)
        self.tables: dict[tuple[Any, ...], dict[int, tuple[int, int, int]]] = {}
        self.granules: dict[tuple[str, int], int] = {}
        """Granule (log2) of what was cached for a stream, by unit and StreamID."""
        self._space_of_stream: dict[tuple[str, int], Space] = {}
        self._marks: list[tuple[Space, int, int, int, int, int]] = []
        """Space, address, last address, event, time, kind."""

    def add_all(self, events: Iterable[Event]) -> None:
        """Take in a whole trace."""
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in one event."""
        self.kinds[KIND_OF[type(event)]] += 1
        if not self.first[0]:
            self.first = event.seq, event.time
        self.last = max(self.last[0], event.seq), max(self.last[1], event.time)
        take = _TAKERS.get(type(event))
        if take is not None:
            take(self, event)

    def _fill(self, event: Fill) -> None:
        space = (event.unit, event.world, event.vmid, event.asid)
        self.lives[event.entry] = Life(
            space,
            event.base,
            1 << event.size_lg2,
            event.page,
            event.seq,
            event.time,
            event.what == "walk-cache",
            event.stream_id,
        )
        self._space_of_stream[event.unit, event.stream_id] = space
        self.granules[event.unit, event.stream_id] = event.granule_lg2

    def _config(self, event: ConfigFetch) -> None:
        """From now on the stream may be of another space."""
        self._space_of_stream.pop((event.unit, event.stream_id), None)

    def _evict(self, event: Evict) -> None:
        self.ends.setdefault(event.entry, (event.seq, event.time, EVICTED))

    def _invalidation(self, event: Invalidation) -> None:
        removed = [self.lives[entry] for entry in event.removed if entry in self.lives]
        for entry in event.removed:
            self.ends[entry] = event.seq, event.time, INVALIDATED
        where = (event.seq, event.time, INVALIDATION)
        if event.first is None or event.last is None:
            for space in {life.space for life in removed}:
                lowest = min(life.base for life in removed if life.space == space)
                highest = max(life.base + life.size for life in removed if life.space == space)
                self._marks.append((space, lowest, highest - 1, *where))
            return
        for space in {life.space for life in self._named(event)}:
            self._marks.append((space, event.first, event.last, *where))

    def _named(self, event: Invalidation) -> list[Life]:
        """Entries that an invalidation dropped, or met and left."""
        numbers = [*event.removed, *(one for one in event.left if isinstance(one, int))]
        return [self.lives[number] for number in numbers if number in self.lives]

    def _access(self, event: Access) -> None:
        life = self.lives.get(event.entry)
        space = life.space if life else self._space_of_stream.get((event.unit, event.stream_id))
        if space is None:
            space = self._space_of_stream[event.unit, event.stream_id] = (
                event.unit,
                f"stream {event.stream_id:#x}",
                None,
                None,
            )
        kind = {"hit": HIT, "fault": FAULT, "stall": FAULT}.get(event.outcome, MISS)
        self._marks.append((space, event.iova, event.iova, event.seq, event.time, kind))

    def _record(self, event: Record) -> None:
        self.records.append(event.seq)

    def _finding(self, event: Finding) -> None:
        self.findings.append(event)

    def _note(self, event: Note) -> None:
        self.notes.append(event)

    def _walk(self, event: Walk) -> None:
        stream = (event.unit, event.stream_id, event.substream_id, event.stage)
        known = self.tables.setdefault(stream, {})
        pairs = list(zip(event.reads[::2], event.reads[1::2], strict=True))
        first = 4 - len(pairs) if event.level is None else event.level + 1 - len(pairs)
        for level, (where, value) in enumerate(pairs, first):
            known[where] = (value, level, event.seq)

    def _update(self, event: Update) -> None:
        for known in self.tables.values():
            if event.pa in known:
                known[event.pa] = (event.new, known[event.pa][1], event.seq)

    # -- what the page gets

    def axis(self) -> Axis:
        """The compressed axis of all addresses."""
        borders: dict[Space, set[int]] = {}
        for life in self.lives.values():
            borders.setdefault(life.space, set()).update((life.base, life.base + life.size))
        for space, first, _, _, _, kind in self._marks:
            if kind != INVALIDATION:
                page = first & ~0xFFF
                borders.setdefault(space, set()).update((page, page + 0x1000))
        return Axis(borders)

    def arrays(self, axis: Axis) -> dict[str, array[Any]]:
        """Columns of entries and marks, as the page reads them."""
        columns = {name: array(code) for name, code in _COLUMNS.items()}
        told = {seq for finding in self.findings for seq in finding.story}
        for number, life in self.lives.items():
            end, end_at, how = self.ends.get(number, (*self.last, ALIVE))
            low, high = axis.rows(life.space, life.base, life.base + life.size - 1)
            kind = how | life.walk_cache << 2 | (life.born in told) << 3
            row = (life.born, end, life.born_at, end_at, low, high, kind)
            for name, value in zip(_ENTRY, (*row, number, life.base, life.page), strict=True):
                columns[name].append(value)
        for space, first, last, seq, time, kind in self._marks:
            low, high = axis.rows(space, first, last)
            for name, value in zip(_MARK, (seq, time, low, high, kind), strict=True):
                columns[name].append(value)
        return columns


_ENTRY = ("eb", "ee", "ebt", "eet", "el", "eh", "ek", "en", "ea", "ep")
_MARK = ("ms", "mt", "ml", "mh", "mk")
_COLUMNS = dict(zip((*_ENTRY, *_MARK), "IIddIIBIQQIdIIB", strict=True))

_TAKERS: dict[type, Any] = {
    Fill: Picture._fill,
    ConfigFetch: Picture._config,
    Evict: Picture._evict,
    Invalidation: Picture._invalidation,
    Access: Picture._access,
    Record: Picture._record,
    Finding: Picture._finding,
    Note: Picture._note,
    Walk: Picture._walk,
    Update: Picture._update,
}


class Axis:
    """Addresses of all spaces, one above the other, without what nothing happened to."""

    def __init__(self, borders: dict[Space, set[int]]) -> None:
        self.spaces: list[tuple[Space, int, list[int]]] = []
        self._by_space: dict[Space, tuple[int, list[int]]] = {}
        row = 0
        for space in sorted(borders, key=str):
            addresses = sorted(borders[space])
            self.spaces.append((space, row, addresses))
            self._by_space[space] = row, addresses
            row += len(addresses) + 1
        self.height = row

    def rows(self, space: Space, first: int, last: int) -> tuple[int, int]:
        """The rows of addresses ``first`` to ``last``; at least one."""
        row, addresses = self._by_space.get(space, (0, [0]))
        low = max(bisect_right(addresses, first) - 1, 0)
        high = max(bisect_left(addresses, last + 1), low + 1)
        return row + low, row + high
