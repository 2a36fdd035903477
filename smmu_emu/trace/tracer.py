# SPDX-License-Identifier: GPL-2.0-or-later
"""The source of every trace: attaches to a living machine, numbers events, hands them on.

    with Tracer(machine) as tracer:
        tracer.listen(print)
        machine.run()

While nobody listens nothing stands before any function of the machine, and nothing costs anything.
When the first listener comes, observing functions are put before those of the SMMU, of the DMA
ports and of the clock (`smmu_emu.interpose`), as many as the wanted kinds of events need; what is
cached by then is told of first. A machine is made of one unit or several; whoever drives a bare
`Smmuv3` from Python traces that.

Events of one access (walks, fills, records, interrupts) reach listeners together, when the access
has been answered: in the order in which they happened, the access last, so that all of them can
name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from smmu_emu.interpose import Function, Interposition, Layer, Wrap, interpose
from smmu_emu.machine import Machine
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.tracing import UnitTracing
from smmu_emu.trace.causes import Causes
from smmu_emu.trace.events import KIND_OF, KINDS, DmaData, Event, Note, Origin

if TYPE_CHECKING:
    from smmu_emu.port import DmaPort, MemoryPort
    from smmu_emu.trace.symbols import SymbolTable

Listener = Callable[[Event], object]
"""Told of every event, in order."""

Passes = Callable[[Event], bool]
"""Tells whether an event is wanted."""

_MOST_STREAMS = 4096

ALL_KINDS = frozenset(KINDS)


class Tracer:
    """Traces ``subject`` for whoever listens, until `close`.

    ``kinds`` and ``passes`` are for the listeners given here, as in `listen`. ``symbols`` names
    instructions; with ``python_lines`` False, events that Python code caused have no cause.
    ``seq`` is the number of the last event, ``kinds`` what somebody wants.
    """

    unsaved = (
        *("machine", "clock", "kinds", "seq", "held", "landings", "writer_of", "causes"),
        *("units", "_listeners", "_calls", "_passers", "_streams", "_places"),
    )

    def __init__(
        self,
        subject: Machine | Smmuv3,
        *listeners: Listener,
        kinds: Iterable[str] = ALL_KINDS,
        passes: Passes | None = None,
        symbols: SymbolTable | None = None,
        python_lines: bool = True,
    ) -> None:
        self.machine = subject if isinstance(subject, Machine) else None
        self.clock = subject.clock
        self.kinds: frozenset[str] = frozenset()
        self.seq = 0
        self.held: list[Event] | None = None
        """Events of the access under way; None while there is none."""
        self.landings: dict[tuple[int, int], int] = {}
        """The last accesses that were let pass and have not landed, by StreamID and address."""
        self.writer_of: Callable[[int], int] = _nobody
        """Number of the origin of who wrote the word at an address; 0 if that is not known."""
        self.causes = Causes(self, self.machine, symbols, python_lines=python_lines)
        self.units = [UnitTracing(self, smmu) for smmu in _units(subject)]
        self._listeners: list[tuple[Listener, Listener]] = []
        self._calls: tuple[Listener, ...] = ()
        self._passers: list[Passes | None] = []
        self._streams: dict[int, bool] = {}
        self._places: list[Interposition] = []
        for listener in listeners:
            self.listen(listener, kinds=kinds, passes=passes)

    @classmethod
    @contextmanager
    def to_file(
        cls,
        subject: Machine | Smmuv3,
        path: str | Path,
        *conditions: str,
        last: int | None = None,
        symbols: SymbolTable | None = None,
        python_lines: bool = True,
    ) -> Iterator[Tracer]:
        """Trace to a file while this lasts, whatever ends it; the suffix tells the format.

        ``conditions`` are those of `smmu_emu.trace.filters`; with ``last``, only so many events are
        kept and written at the end.

        Raises: TraceError for a condition or suffix that is none; OSError that names the file.
        """
        from smmu_emu.trace.filters import Filter
        from smmu_emu.trace.sinks import KeepLast, Sink, open_sink

        wanted = Filter.parse(conditions)
        sink: Sink = open_sink(Path(path))
        if last is not None:
            sink = KeepLast(last, sink)
        with cls(subject, symbols=symbols, python_lines=python_lines) as tracer:
            try:
                tracer.listen(sink, kinds=wanted.kinds, passes=wanted.passer())
                yield tracer
                tracer.say("end", "the run ended")
            finally:
                sink.close()

    def listen(
        self, listener: Listener, *, kinds: Iterable[str] = ALL_KINDS, passes: Passes | None = None
    ) -> None:
        """Call ``listener`` with every event from now on that is of ``kinds`` and ``passes``.

        ``kinds`` are words of `KINDS`: what nobody wants is not produced, and functions that only
        it needs are left alone; origins come whatever is wanted. ``passes`` (see
        `smmu_emu.trace.filters`) is asked in order.
        """
        kinds = frozenset(kinds)
        first = not self._listeners
        call = listener if kinds == ALL_KINDS and passes is None else _only(listener, kinds, passes)
        self._listeners.append((listener, call))
        self._passers.append(passes)
        self._streams.clear()
        self._calls = tuple(call for _, call in self._listeners)
        if not kinds <= self.kinds or first:
            self._detach()
            self.kinds |= kinds
            self._attach()
            if first:
                self.say("begin", "the trace begins")
            for unit in self.units:
                unit.tell_cached()

    def forget(self, listener: Listener) -> None:
        """Undo `listen`."""
        left = [pair[0] != listener for pair in self._listeners]
        self._listeners = list(compress(self._listeners, left))
        self._passers = list(compress(self._passers, left))
        self._streams.clear()
        self._calls = tuple(call for _, call in self._listeners)
        if not self._listeners:
            self.close()

    def close(self) -> None:
        """Leave the machine as it was without a tracer. Harmless when done already."""
        self._detach()
        self._listeners.clear()
        self._passers.clear()
        self._streams.clear()
        self._calls = ()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- for those that produce events

    def next(self) -> int:
        """The number for an event that is about to be emitted."""
        self.seq += 1
        return self.seq

    def wants(self, *kinds: str) -> bool:
        """Whether any of these kinds of events is wanted."""
        return not self.kinds.isdisjoint(kinds)

    def wants_stream(self, stream_id: int) -> bool:
        """Whether accesses of a stream are wanted by anybody."""
        wanted = self._streams.get(stream_id)
        if wanted is None:
            wanted = any(
                getattr(passes, "wants_stream", _any_stream)(stream_id) for passes in self._passers
            )
            if len(self._streams) >= _MOST_STREAMS:
                self._streams.clear()
            self._streams[stream_id] = wanted
        return wanted

    def emit(self, event: Event) -> None:
        """Hand an event on; one of an access under way when that has ended."""
        if self.held is not None:
            self.held.append(event)
        else:
            for call in self._calls:
                call(event)

    def deliver(self, events: list[Event]) -> None:
        """Hand on what was held back."""
        for call in self._calls:
            for event in events:
                call(event)

    def say(self, name: str, text: str) -> None:
        """Emit a `Note` about the run itself."""
        if "note" in self.kinds:
            self.emit(Note(self.next(), self.clock.now, "machine", 0, name, text))

    def add(self, event: Event) -> int:
        """Emit an event that somebody else made, with ``seq`` and ``time`` filled in; its number.

        0, and it is dropped, if its kind is not wanted.
        """
        if KIND_OF[type(event)] not in self.kinds:
            return 0
        event = event._replace(seq=self.next(), time=self.clock.now)
        self.emit(event)
        return event.seq

    def watch(self, port: DmaPort | MemoryPort) -> None:
        """Tell of what a DMA master's port moves, if the machine does not know of that port."""
        if not self.wants("dma"):
            return
        memory: MemoryPort = getattr(port, "memory")  # noqa: B009  a DmaPort's, or the map itself
        stream_id = getattr(port, "stream_id", 0)
        target = memory if hasattr(port, "stream_id") else port
        for name, wrap in (
            ("read", self._moved(stream_id, write=False)),
            ("write", self._moved(stream_id, write=True)),
        ):
            self._stand_before(target, name, wrap)

    # -- attachment

    def _attach(self) -> None:
        self._stand_before(self.clock, "after", self.causes.after)
        for unit in self.units:
            for place in unit.places():
                self._stand_before(*place)
        if self.machine is not None:
            for port in self.machine.dma_ports:
                self.watch(port)
            self._stand_before(self.machine, "dma", self._new_port)
            self._stand_before(self.machine, "restore", self._restored)

    def _detach(self) -> None:
        for place in self._places:
            place.remove()
        self._places.clear()

    def _stand_before(
        self, owner: object, name: str, wrap: Wrap, layer: Layer = Layer.OBSERVE
    ) -> None:
        self._places.append(interpose(owner, name, wrap, layer))

    def _new_port(self, dma: Callable[[int], DmaPort]) -> Callable[[int], DmaPort]:
        machine = self.machine
        assert machine is not None

        def observed(stream_id: int) -> DmaPort:
            known = {id(port) for port in machine.dma_ports}
            port = dma(stream_id)
            if id(port) not in known:
                self.watch(port)
            return port

        return observed

    def _restored(self, restore: Callable[..., None]) -> Callable[..., None]:
        """What is cached is another state's: it gets new numbers."""

        def observed(*snapshot: object) -> None:
            restore(*snapshot)
            self.say("restore", "the machine is as it was in a snapshot; what is cached follows")
            for unit in self.units:
                unit.forget_cached()
                unit.tell_cached()

        return observed

    def _moved(self, stream_id: int, *, write: bool) -> Wrap:
        """Stands before a port's functions that read or write memory."""

        def wrap(move: Function) -> Function:
            def observed(pa: int, what: int | bytes | memoryview) -> object:
                size = what if isinstance(what, int) else len(what)
                result = move(pa, what)
                ok = bool(result) if write else result is not None
                seq = self.seq = self.seq + 1
                cause, access = self.causes.find(), self.landings.pop((stream_id, pa), 0)
                self.emit(
                    DmaData(
                        seq,
                        self.clock.now,
                        "machine",
                        cause,
                        access,
                        stream_id,
                        pa,
                        size,
                        write,
                        ok,
                    )
                )
                return result

            return observed

        return wrap


def _only(listener: Listener, kinds: frozenset[str], passes: Passes | None) -> Listener:
    """Calls ``listener`` with what it wants, and with origins."""
    classes = frozenset(KINDS[kind] for kind in kinds) | {Origin}

    def call(event: Event) -> None:
        if type(event) in classes and (passes is None or passes(event)):
            listener(event)

    return call


def _any_stream(stream_id: int) -> bool:
    """A listener that does not look at streams wants all."""
    return True


def _nobody(pa: int) -> int:
    """Nobody watches who writes."""
    return 0


def _units(subject: Machine | Smmuv3) -> list[Smmuv3]:
    if isinstance(subject, Smmuv3):
        return [subject]
    return [device for device in subject.devices.values() if isinstance(device, Smmuv3)]
