# SPDX-License-Identifier: GPL-2.0-or-later
"""Which events are wanted: ``stream=8``, ``iova=0x200000-0x2fffff``, ``kind=access,fill``.

A filter is a list of conditions, all of which must hold; each names a key and one value or several,
of which one must fit. Values of numbers are single or ranges, both ends included. A condition looks
only at events that have what it asks for: ``stream=8`` leaves SYNC alone, as that has no stream.
Kinds that are not wanted are not produced at all.

    kind=access,fill          words of `smmu_emu.trace.events.KINDS`
    stream=8,0x10-0x1f        StreamIDs
    iova=0x203000             addresses that an event touches, of DMA and of what is cached for it
    time=1ms-2500us           virtual time; ns, us, ms, s
    pc=0x40100000-0x401fffff  who is behind it: an address, or the name of a function, also
    pc=dma_unmap              of one that called it
    unit=smmu0                whose event it is
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from smmu_emu.trace.codec import TraceError
from smmu_emu.trace.events import (
    KINDS,
    Access,
    AtcInvalidation,
    ConfigInvalidation,
    DmaData,
    Event,
    Fill,
    Finding,
    Invalidation,
    Mapping,
    Origin,
    Record,
    Update,
    Walk,
)

Span = tuple[int, int]
"""First and last."""

ALL_KINDS = frozenset(KINDS)
_TIMES = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_EVERYTHING = (0, (1 << 64) - 1)


class Filter(NamedTuple):
    """What is wanted; empty conditions let everything pass.

    ``code`` are addresses of instructions, ``functions`` names.
    """

    kinds: frozenset[str] = ALL_KINDS
    streams: tuple[Span, ...] = ()
    addresses: tuple[Span, ...] = ()
    times: tuple[Span, ...] = ()
    code: tuple[Span, ...] = ()
    functions: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    @classmethod
    def parse(cls, conditions: Iterable[str]) -> Filter:
        """From conditions as they are typed.

        Raises: TraceError that says what is wrong.
        """
        found: dict[str, Any] = {}
        for text in conditions:
            key, equals, values = text.partition("=")
            read = _KEYS.get(key.strip())
            if read is None or not equals or not values:
                raise TraceError(f"no filter {text!r}: use {', '.join(_KEYS)}, as in stream=8")
            for field, value in read([one.strip() for one in values.split(",")], text):
                found[field] = found.get(field, ()) + value
        if "kinds" in found:
            found["kinds"] = frozenset(found["kinds"])
        return cls(**found)

    @property
    def is_open(self) -> bool:
        """Whether every event of the wanted kinds passes."""
        return self == Filter(self.kinds)

    def passer(self) -> Callable[[Event], bool] | None:
        """A function that tells of each event of one trace, in order, whether it passes; None if
        all of the wanted kinds do. It does not look at kinds, and lets origins pass."""
        return None if self.is_open else _Passer(self)

    def apply(self, events: Iterable[Event]) -> Iterator[Event]:
        """Those of a trace's events that are wanted, and the origins."""
        passes = _Passer(self)
        kinds = frozenset(KINDS[kind] for kind in self.kinds) | {Origin}
        return (event for event in events if passes(event) and type(event) in kinds)


class _Passer:
    """A filter at work: it knows the origins so far, and whether the last access passed."""

    def __init__(self, wanted: Filter) -> None:
        self._streams = wanted.streams
        self._addresses = wanted.addresses
        self._times = wanted.times
        self._code = wanted.code
        self._functions = wanted.functions
        self._units = wanted.units
        self._by_cause = bool(wanted.code or wanted.functions)
        self._causes: set[int] = set()
        self._last = True

    def __call__(self, event: Event) -> bool:
        kind = type(event)
        if kind is Origin:
            if self._by_cause and self._is_wanted(event):  # type: ignore[arg-type]
                self._causes.add(event.seq)
            return True
        if self._streams and not _of_stream(event, self._streams):
            return False
        if self._times and not _in(event.time, self._times):
            return False
        if self._units and event.unit not in self._units and event.unit != "machine":
            return False
        if self._by_cause and event.cause not in self._causes:
            return False
        return not self._addresses or self._at_address(event)

    def wants_stream(self, stream_id: int) -> bool:
        """Whether an access of a stream could pass: the tracer asks, before it makes the event."""
        return not self._streams or _in(stream_id, self._streams)

    def _at_address(self, event: Event) -> bool:
        """What follows from an access goes with it."""
        if isinstance(event, DmaData | Update):
            return self._last or not event.transaction
        reached = _ADDRESS_OF.get(type(event))
        if reached is None:
            return True
        first, last = reached(event)
        passes = any(first <= high and low <= last for low, high in self._addresses)
        if isinstance(event, Access | Walk):
            self._last = passes
        return passes

    def _is_wanted(self, origin: Origin) -> bool:
        if origin.pc is not None and _in(origin.pc, self._code):
            return True
        names = [origin.symbol, *(caller.partition(" ")[0] for caller in origin.callers)]
        return not set(names).isdisjoint(self._functions)


def _in(number: int, spans: tuple[Span, ...]) -> bool:
    return any(low <= number <= high for low, high in spans)


def _of_stream(event: Event, spans: tuple[Span, ...]) -> bool:
    stream_id = getattr(event, "stream_id", None)
    if stream_id is None:
        return True
    if isinstance(event, ConfigInvalidation):
        last = stream_id + event.streams - 1
        return any(stream_id <= high and low <= last for low, high in spans)
    return _in(stream_id, spans)


def _of_entry(event: Fill) -> Span:
    return event.base, event.base + (1 << event.size_lg2) - 1


def _of_range(event: Invalidation) -> Span:
    if event.first is None or event.last is None:
        return _EVERYTHING
    return event.first, event.last


_ADDRESS_OF: dict[type[Event], Callable[[Any], Span]] = {
    Access: lambda event: (event.iova, event.iova),
    Walk: lambda event: (event.iova, event.iova),
    Fill: _of_entry,
    Invalidation: _of_range,
    AtcInvalidation: lambda event: (event.first, event.last),
    Record: lambda event: (event.iova, event.iova),
    Mapping: lambda event: (event.iova, event.iova + event.size - 1),
    Finding: lambda event: _EVERYTHING if event.iova is None else (event.iova, event.iova),
}
"""The first and last address that an event touches; kinds without addresses are not here."""


# -- reading conditions

Fields = list[tuple[str, tuple[Any, ...]]]


def _read_kinds(values: list[str], text: str) -> Fields:
    for value in values:
        if value not in KINDS:
            raise TraceError(f"no kind {value!r} in {text!r}: there are {', '.join(KINDS)}")
    return [("kinds", tuple(values))]


def _spans_into(field: str) -> Callable[[list[str], str], Fields]:
    return lambda values, text: [(field, tuple(_span(value, text, _number) for value in values))]


def _read_times(values: list[str], text: str) -> Fields:
    return [("times", tuple(_span(value, text, _time) for value in values))]


def _read_code(values: list[str], text: str) -> Fields:
    spans: list[Span] = []
    names: list[str] = []
    for value in values:
        if value[:1].isdigit():
            spans.append(_span(value, text, _number))
        else:
            names.append(value)
    return [("code", tuple(spans)), ("functions", tuple(names))]


def _span(value: str, text: str, read: Callable[[str], int]) -> Span:
    low, dash, high = value.partition("-")
    try:
        first = read(low)
        last = read(high) if dash else first
    except ValueError:
        raise TraceError(f"{value!r} in {text!r} is no number or range such as 8-15") from None
    if last < first:
        raise TraceError(f"{value!r} in {text!r} ends before it begins")
    return first, last


def _number(text: str) -> int:
    return int(text, 0)


def _time(text: str) -> int:
    for unit, factor in _TIMES.items():
        if text.endswith(unit) and text[: -len(unit)].replace(".", "", 1).isdigit():
            return round(float(text[: -len(unit)]) * factor)
    return int(text)


_KEYS: dict[str, Callable[[list[str], str], Fields]] = {
    "kind": _read_kinds,
    "stream": _spans_into("streams"),
    "iova": _spans_into("addresses"),
    "time": _read_times,
    "pc": _read_code,
    "unit": lambda values, text: [("units", tuple(values))],
}
