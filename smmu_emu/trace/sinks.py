# SPDX-License-Identifier: GPL-2.0-or-later
"""Where traces go: a ring in memory, and files whose format their suffix tells.

A sink is called with every event and closed at the end; with `with` that happens whatever ends the
run. Files are written in batches, so memory stays bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from smmu_emu.trace.codec import ENCODERS, TraceError, header
from smmu_emu.trace.events import Event, Note, Origin
from smmu_emu.trace.text import Describer

BATCH = 4096
"""Events that are written at once."""


class Sink(Protocol):
    """Takes events."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None:
        """Write what is left. Harmless when done already."""


class Ring:
    """The last ``capacity`` events, in memory; ``dropped`` counts those that gave way.

    Origins are kept besides, as later events may name them.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._origins: list[Origin] = []
        self._events: deque[Event] = deque(maxlen=capacity)

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        if type(event) is Origin:
            self._origins.append(event)
            return
        if len(self._events) == self.capacity:
            self.dropped += 1
        self._events.append(event)

    def __len__(self) -> int:
        return len(self._events)

    def events(self) -> list[Event]:
        """What is kept, in order, origins included; a `Note` first if something was dropped."""
        kept: list[Event] = sorted([*self._origins, *self._events], key=lambda event: event.seq)
        if not self.dropped:
            return kept
        first = self._events[0] if self._events else None
        seq, time = (first.seq, first.time) if first is not None else (0, 0)
        text = f"{self.dropped} earlier events were dropped"
        return [Note(seq, time, "machine", 0, "dropped", text), *kept]

    def close(self) -> None:
        """Nothing is to be done."""


class KeepLast:
    """Passes the last ``capacity`` events on to another sink, when it is closed."""

    def __init__(self, capacity: int, sink: Sink) -> None:
        self.ring = Ring(capacity)
        self._sink: Sink | None = sink

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        self.ring(event)

    def close(self) -> None:
        """Write what was kept."""
        sink, self._sink = self._sink, None
        if sink is not None:
            try:
                for event in self.ring.events():
                    sink(event)
            finally:
                sink.close()


class FileSink:
    """What sinks to files have in common: batches, and errors that name the file.

    ``count`` is the number of events so far.
    """

    mode = "w"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._events: list[Event] = []
        self._closed = False
        self._file: IO[Any] = self._open()
        try:
            self._begin()
        except OSError as error:
            raise _named(error, path) from error

    def __call__(self, event: Event) -> None:
        """Take an event; every so often, write."""
        events = self._events
        events.append(event)
        if len(events) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what was taken so far.

        Raises: OSError that names the file.
        """
        events, self._events = self._events, []
        self.count += len(events)
        try:
            if events:
                self._write(events)
            self._file.flush()
        except OSError as error:
            self._closed = True  # what could not be written will not be written later
            self._give_up()
            raise _named(error, self.path) from error

    def close(self) -> None:
        """Write the rest."""
        if self._closed:
            return
        try:
            self.flush()
            self._closed = True
            self._end()
            self._file.close()
        except OSError as error:
            self._give_up()
            raise _named(error, self.path) from error

    def __enter__(self) -> FileSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> IO[Any]:
        if "b" in self.mode:
            return self.path.open(self.mode)
        return self.path.open(self.mode, encoding="utf-8", newline="\n")

    def _give_up(self) -> None:
        """Nothing more can be written."""
        with suppress(OSError):
            self._file.close()

    def _begin(self) -> None:
        """Write what comes first."""

    def _write(self, events: list[Event]) -> None:
        """Write some events."""
        raise NotImplementedError

    def _end(self) -> None:
        """Write what comes last."""


def _named(error: OSError, path: Path) -> OSError:
    """A failed write, unlike a failed open, does not say where."""
    return OSError(error.errno, error.strerror or str(error), str(path))


class JsonLinesSink(FileSink):
    """One event a line, complete and self-contained (`smmu_emu.trace.codec`)."""

    def _begin(self) -> None:
        self._file.write(header() + "\n")

    def _write(self, events: list[Event]) -> None:
        encoders = ENCODERS
        lines = [encoders[type(event)](event) for event in events]
        lines.append("")
        self._file.write("\n".join(lines))


class TextSink(FileSink):
    """One event a line, for people; origins are told with the events that they are behind."""

    def _begin(self) -> None:
        self._describer = Describer()

    def _write(self, events: list[Event]) -> None:
        describer = self._describer
        lines = []
        for event in events:
            if type(event) is Origin:
                describer.meet(event)
            else:
                lines.append(f"{describer.line(event)}\n")
        self._file.write("".join(lines))


def _perfetto(path: Path) -> FileSink:
    from smmu_emu.trace.perfetto import PerfettoSink

    return PerfettoSink(path)


def _parquet(path: Path) -> FileSink:
    from smmu_emu.trace.parquet import ParquetSink

    return ParquetSink(path)


SUFFIXES: dict[str, Callable[[Path], FileSink]] = {
    ".jsonl": JsonLinesSink,
    ".parquet": _parquet,
    ".perfetto-trace": _perfetto,
    ".pftrace": _perfetto,
    ".txt": TextSink,
}
"""Formats of files by the end of their name."""


def open_sink(path: Path) -> FileSink:
    """A sink to a new file, in the format that its suffix names.

    Raises: TraceError for a suffix that names none, or a format whose package is not installed;
    OSError if the file cannot be made.
    """
    make = SUFFIXES.get(path.suffix)
    if make is None:
        raise TraceError(
            f"{path}: a trace's name ends in {', '.join(SUFFIXES)}, which tells its format"
        )
    return make(path)


def copy(events: Iterator[Event], sink: Sink) -> None:
    """Hand events on to a sink, and close it."""
    try:
        for event in events:
            sink(event)
    finally:
        sink.close()
