# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that ever happened to one address of one stream, in order.

The trace is read twice. First what the address depends on is found: the descriptors that walks for
it read, the entries that translated it, the tags (StreamWorld, VMID, ASID) they were under. Then
every event that touched any of that is told, and an access that was served by an entry whose
descriptors have changed since it was filled is marked stale.

Descriptors change where a trace has the writes (`TableWrite`), where software declares it
(`Mapping`), and, for want of both, where a walk reads something else than the walk before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from smmu_emu.trace import text
from smmu_emu.trace.codec import TraceError
from smmu_emu.trace.events import (
    Access,
    AtcInvalidation,
    Command,
    ConfigFetch,
    ConfigInvalidation,
    DmaData,
    Event,
    Evict,
    Fill,
    Finding,
    Invalidation,
    Mapping,
    Note,
    Origin,
    Record,
    Sync,
    TableWrite,
    Update,
    Walk,
)
from smmu_emu.trace.text import Describer

PAGE = 0x1000
_TOLD = frozenset({"cut-off", "dropped", "reset", "begin", "end"})

_PARTS = (Walk, Fill, DmaData, Record, Update, ConfigFetch, Evict)
"""Events that come about by an access, which tells who is behind all of it."""

Tag = tuple[str, int, int | None]
"""StreamWorld, VMID and ASID of an entry."""


class Subject(NamedTuple):
    """Whose address: every byte of its page of 4 KiB counts."""

    stream_id: int
    iova: int
    substream_id: int | None = None
    unit: str | None = None

    @property
    def first(self) -> int:
        """The page's first byte."""
        return self.iova & -PAGE

    @property
    def last(self) -> int:
        """The page's last byte."""
        return self.first + PAGE - 1

    def is_of(self, event: Access | Walk | Fill | Record) -> bool:
        """Whether an event belongs to the stream, and the substream if one is asked for."""
        return (
            event.stream_id == self.stream_id
            and (self.substream_id is None or event.substream_id == self.substream_id)
            and (self.unit is None or event.unit == self.unit)
        )

    def touches(self, first: int, last: int) -> bool:
        """Whether a range has a byte of the page."""
        return first <= self.last and self.first <= last

    def __str__(self) -> str:
        return f"stream {self.stream_id:#x} iova {self.first:#x}"


class _Ground:
    """What the address depends on, as the whole trace tells.

    ``accesses`` are those to it, ``entries`` what translated it (by number, over all stages),
    ``tags`` the tags those were under, ``descriptors`` the addresses of what walks for it read,
    ``structures`` those of the words of the stream's STE and CDs.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.accesses: set[int] = set()
        self.entries: dict[int, Fill] = {}
        self.tags: set[Tag] = set()
        self.descriptors: set[int] = set()
        self.structures: dict[int, str] = {}
        self.streams: set[str] = set()
        self._fills: dict[int, Fill] = {}
        self._walks: list[Walk] = []

    def look(self, event: Event) -> None:
        """Learn from one event."""
        subject = self.subject
        if isinstance(event, Fill):
            self._fills[event.entry] = event
            if subject.is_of(event) and _of_address(event) and subject.touches(*_span(event)):
                self._take(event)
        elif isinstance(event, Walk):
            self._walks.append(event)
        elif isinstance(event, ConfigFetch) and event.stream_id == subject.stream_id:
            for pa in range(event.pa, event.pa + len(event.data), 8):
                self.structures[pa] = event.structure
        elif isinstance(event, Access):
            self.streams.add(f"{event.stream_id:#x}")
            mine = subject.is_of(event)
            if mine and subject.touches(event.iova, event.iova):
                self._learn(event)
            self._walks = [walk for walk in self._walks if walk.transaction > event.seq]
        elif isinstance(event, Record) and subject.is_of(event):
            self.streams.add(f"{event.stream_id:#x}")
        elif isinstance(event, Evict):
            self._fills.pop(event.entry, None)
        elif isinstance(event, Invalidation):
            for entry in event.removed:
                self._fills.pop(entry, None)

    def _learn(self, access: Access) -> None:
        self.accesses.add(access.seq)
        fill = self._fills.get(access.entry)
        if fill is not None:
            self._take(fill)
        for walk in self._walks:
            if walk.transaction == access.seq:
                self.descriptors.update(walk.reads[::2])

    def _take(self, fill: Fill) -> None:
        self.entries[fill.entry] = fill
        self.tags.add((fill.world, fill.vmid, fill.asid))
        self.descriptors.update(fill.descriptors[::2])


def _of_address(fill: Fill) -> bool:
    """Whether an entry is looked up by the stream's own addresses; stage 2 has others."""
    return fill.what == "tlb" and (fill.world != "S2" or not fill.ipa or fill.base == fill.ipa)


def _span(fill: Fill) -> tuple[int, int]:
    return fill.base, fill.base + (1 << fill.size_lg2) - 1


class _Teller:
    """Tells of events in order, and keeps what memory and caches held by then."""

    def __init__(self, ground: _Ground) -> None:
        self._ground = ground
        self._subject = ground.subject
        self._describer = Describer(callers=5)
        self._memory: dict[int, int] = {}
        self._changed: dict[int, int] = {}
        self._alive: set[int] = set()
        self._filled: dict[int, int] = {}
        self._stale: dict[int, int] = {}
        self._unmapped = 0
        self._waiting: list[int] = []
        self._commands: dict[int, Command] = {}
        self._hits: dict[int, int] = {}

    def tell(self, event: Event) -> Iterator[str]:
        """Lines for one event: none if it has nothing to do with the address."""
        if isinstance(event, Origin):
            self._describer.meet(event)
            return
        if isinstance(event, Command):
            self._commands[event.seq] = event
            return
        teller = _TELLERS.get(type(event))
        if teller is not None:
            by = self._by(event)
            for what in teller(self, event):
                yield f"{event.seq:>7} {event.time:>12,}  {what}{by}"

    def _by(self, event: Event) -> str:
        """Who is behind an event; what belongs to an access leaves that to the access."""
        if isinstance(event, _PARTS):
            return ""
        command = self._commands.get(getattr(event, "command", 0))
        if command is None:
            return self._describer.by(event)
        writer = self._describer.by(command._replace(cause=command.writer))
        return writer or self._describer.by(command)

    # -- what changes the address

    def _write(self, event: TableWrite) -> Iterator[str]:
        structure = self._ground.structures.get(event.pa)
        if event.pa not in self._ground.descriptors:
            if structure is not None and event.old != event.new:
                where = f"{event.pa:#x} {event.old:#x} -> {event.new:#x}"
                yield f"{structure} changed by {event.agent}: {where}"
            return
        self._memory[event.pa] = event.new
        if event.old == event.new and not event.new & 1:
            return  # as whoever clears a table does
        what = _change(event.old, event.new)
        yield f"{what} by {event.agent}: {event.pa:#x} {event.old:#x} -> {event.new:#x}"
        if event.old != event.new:
            self._note_change(event.pa, event.seq)

    def _update(self, event: Update) -> Iterator[str]:
        if event.pa in self._ground.descriptors:
            self._memory[event.pa] = event.new
            yield f"updated by hardware: {event.pa:#x} {event.old:#x} -> {event.new:#x}"

    def _note_change(self, pa: int, seq: int) -> None:
        """Entries that came from what was there before are stale from now on."""
        for entry in self._alive:
            flat = self._ground.entries[entry].descriptors
            for where, value in text.pairs(flat):
                if where == pa and self._memory.get(pa) != value:
                    self._stale.setdefault(entry, seq)

    def _mapping(self, event: Mapping) -> Iterator[str]:
        subject = self._subject
        if event.stream_id not in (None, subject.stream_id):
            return
        if event.stream_id is None and event.asid is not None:
            tags = self._ground.tags
            if tags and not any(asid in (event.asid, None) for _, _, asid in tags):
                return
        if subject.touches(event.iova, event.iova + event.size - 1):
            self._unmapped = 0 if event.mapped else event.seq
            yield text.mapping(event)

    # -- what the SMMU does for it

    def _walk(self, event: Walk) -> Iterator[str]:
        if event.transaction not in self._ground.accesses:
            return
        for pa, value in text.pairs(event.reads):
            known = self._memory.get(pa)
            if known is not None and known != value:
                self._memory[pa] = value
                what = _change(known, value)
                yield f"{what} since: {pa:#x} {known:#x} -> {value:#x} (nobody watched who wrote)"
                self._note_change(pa, event.seq)
            self._memory[pa] = value
        yield f"walked: {text.walk(event)}"

    def _fill(self, event: Fill) -> Iterator[str]:
        if event.entry in self._ground.entries or event.transaction in self._ground.accesses:
            self._ground.entries.setdefault(event.entry, event)
            self._alive.add(event.entry)
            self._filled[event.entry] = event.seq
            yield f"filled: {text.fill(event)}"

    def _evict(self, event: Evict) -> Iterator[str]:
        if event.entry in self._alive:
            self._forget(event.entry)
            yield f"evicted: #{event.entry} ({event.reason})"

    def _forget(self, entry: int) -> None:
        self._alive.discard(entry)
        self._stale.pop(entry, None)

    def _access(self, event: Access) -> Iterator[str]:
        if event.seq not in self._ground.accesses:
            return
        word = text.access(event)
        if event.outcome == "hit":
            times = self._hits[event.entry] = self._hits.get(event.entry, 0) + 1
            again = " again" if times > 1 else ""
            yield f"hit{again}: {word}{self._staleness(event)}"
        elif event.outcome == "walk":
            yield f"answered: {word}"
        else:
            yield f"{event.outcome}: {word}"

    def _staleness(self, event: Access) -> str:
        changed = self._stale.get(event.entry, 0)
        if changed:
            return f"  STALE: what #{event.entry} came from changed in {changed}"
        if self._unmapped > self._filled.get(event.entry, 0):
            return f"  STALE: software unmapped it in {self._unmapped}"
        return ""

    def _dma(self, event: DmaData) -> Iterator[str]:
        if event.transaction in self._ground.accesses:
            word = "wrote" if event.write else "read"
            end = "" if event.ok else ", bus error"
            yield f"landed: {word} {event.size} bytes at {event.pa:#x}{end}"

    def _record(self, event: Record) -> Iterator[str]:
        if event.transaction in self._ground.accesses or (
            self._subject.is_of(event) and self._subject.touches(event.iova, event.iova)
        ):
            lost = "" if event.written else ", lost"
            yield f"recorded in the {event.queue} queue{lost}: {event.text}"

    # -- what software asks for

    def _invalidation(self, event: Invalidation) -> Iterator[str]:
        removed = [entry for entry in event.removed if entry in self._alive]
        stayed = [(entry, why) for entry, why in text.pairs(event.left) if entry in self._alive]
        for entry in removed:
            self._forget(entry)
        by_address = event.first is not None and event.last is not None
        covers = not by_address or self._subject.touches(event.first or 0, event.last or 0)
        words = []
        if removed:
            words.append(f"removed {text.numbers(tuple(removed))}")
        if covers:
            words += [f"left #{entry} ({why})" for entry, why in stayed]
        if not words and covers and by_address and self._is_meant(event):
            words.append("found nothing of it cached")
        if words:
            self._waiting.append(event.seq)
            yield f"invalidated by {text.reach(event)}: {', '.join(words)}"

    def _is_meant(self, event: Invalidation) -> bool:
        """Whether an invalidation names a tag that the address was ever cached under."""
        return any(
            event.vmid in (None, vmid) and (event.asid is None or asid in (None, event.asid))
            for _, vmid, asid in self._ground.tags
        )

    def _atc(self, event: AtcInvalidation) -> Iterator[str]:
        subject = self._subject
        if event.stream_id == subject.stream_id and subject.touches(event.first, event.last):
            self._waiting.append(event.seq)
            word = "answered by the endpoint" if event.done else "sent to the endpoint"
            yield f"ATC invalidation {word}: {event.first:#x}-{event.last:#x}"

    def _config_invalidation(self, event: ConfigInvalidation) -> Iterator[str]:
        stream_id = self._subject.stream_id
        if event.stream_id <= stream_id < event.stream_id + event.streams:
            self._waiting.append(event.seq)
            removed = text.numbers(event.removed) or "nothing"
            yield f"configuration invalidated by {event.name}: removed {removed}"

    def _config_fetch(self, event: ConfigFetch) -> Iterator[str]:
        if event.stream_id == self._subject.stream_id:
            kept = f", cached as #{event.entry}" if event.entry else ""
            yield f"{event.structure} fetched from {event.pa:#x}{kept}"

    def _sync(self, event: Sync) -> Iterator[str]:
        if self._waiting:
            which = ", ".join(str(seq) for seq in self._waiting[:8])
            self._waiting.clear()
            yield f"synced: {which} in effect"

    def _finding(self, event: Finding) -> Iterator[str]:
        mine = event.stream_id in (None, self._subject.stream_id)
        at = event.iova is None or self._subject.touches(event.iova, event.iova)
        story = not self._ground.accesses.isdisjoint(event.story)
        if story or (mine and at and event.iova is not None):
            yield f"{event.severity} {event.name}: {event.text}"

    def _note(self, event: Note) -> Iterator[str]:
        if event.name in _TOLD:
            yield f"{event.name}: {event.text}"


def _change(old: int, new: int) -> str:
    """What a change of a descriptor means: bit 0 is its valid bit."""
    if new & 1 and not old & 1:
        return "mapped"
    if old & 1 and not new & 1:
        return "unmapped"
    return "changed" if old != new else "written again"


_TELLERS: dict[type[Event], Callable[..., Iterator[str]]] = {
    TableWrite: _Teller._write,
    Update: _Teller._update,
    Mapping: _Teller._mapping,
    Walk: _Teller._walk,
    Fill: _Teller._fill,
    Evict: _Teller._evict,
    Access: _Teller._access,
    DmaData: _Teller._dma,
    Record: _Teller._record,
    Invalidation: _Teller._invalidation,
    AtcInvalidation: _Teller._atc,
    ConfigInvalidation: _Teller._config_invalidation,
    ConfigFetch: _Teller._config_fetch,
    Sync: _Teller._sync,
    Finding: _Teller._finding,
    Note: _Teller._note,
}


def history(read: Callable[[], Iterable[Event]], subject: Subject) -> Iterator[str]:
    """One line for everything that happened to an address; ``read`` gives the trace, twice.

    Raises: TraceError if the trace has nothing of the stream or of the address.
    """
    ground = _Ground(subject)
    for event in read():
        ground.look(event)
    if f"{subject.stream_id:#x}" not in ground.streams:
        there = ", ".join(sorted(ground.streams)) or "none"
        raise TraceError(
            f"no access of stream {subject.stream_id:#x} in the trace; streams: {there}"
        )
    if not ground.accesses and not ground.entries:
        raise TraceError(f"no access of {subject} in the trace")
    teller = _Teller(ground)
    for event in read():
        yield from teller.tell(event)
