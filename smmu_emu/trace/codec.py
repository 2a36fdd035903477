# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as JSON and back: for every kind a function that is made once, from its fields.

A line is one object: ``kind``, and the event's fields by name. Bytes are hexadecimal. Functions are
compiled since `json.dumps` of a dictionary takes three times as long.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Any

from smmu_emu.errors import EmulatorError
from smmu_emu.trace.events import KIND_OF, KINDS, Event

FORMAT, VERSION = "smmu-emu trace", 1


class TraceError(EmulatorError):
    """A file is no trace, or one that is damaged; a filter or an address is not to be had."""


Encoder = Callable[[Any], str]

_PLAIN = {
    "int": "{e[%d]}",
    "int | None": "{'null' if e[%d] is None else e[%d]}",
    "bool": "{'true' if e[%d] else 'false'}",
    "str": "{q(e[%d])}",
    "bytes": '"{e[%d].hex()}"',
    "bytes | None": "{'null' if e[%d] is None else q(e[%d].hex())}",
}


def _value(index: int, annotation: str) -> str:
    """The part of a format string that writes field ``index``."""
    if annotation in _PLAIN:
        return _PLAIN[annotation].replace("%d", str(index))
    return "{dumps(e[%d])}" % index  # noqa: UP031  braces are what is wanted here


def fields_of(kind: type[Event]) -> dict[str, str]:
    """The fields of a kind of event with their types, as they are written in the source."""
    annotations = kind.__annotations__
    return {name: _spelled(annotations[name]) for name in kind._fields}


def _spelled(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else annotation.__forward_arg__


def make_encoder(kind: type[Event], names: tuple[str, ...], head: str = "") -> Encoder:
    """A function that writes these fields of an event as a JSON object that begins with ``head``
    (a member, if there is one)."""
    types = fields_of(kind)
    members = [head] if head else []
    for name in names:
        members.append(f'"{name}":{_value(kind._fields.index(name), types[name])}')
    text = ",".join(members)
    namespace: dict[str, Any] = {"q": encode_basestring_ascii, "dumps": _dumps}
    # An f-string cannot hold a backslash, and needs none: names are words.
    exec(f"def encode(e):\n return f'''{{{{{text}}}}}'''", namespace)
    encoder: Encoder = namespace["encode"]
    return encoder


_dumps = json.JSONEncoder(separators=(",", ":")).encode


class _Encoders(dict[type[Event], Encoder]):
    """Made when a kind is first met: few traces have all."""

    def __missing__(self, kind: type[Event]) -> Encoder:
        word = KIND_OF[kind]
        encoder = self[kind] = make_encoder(kind, kind._fields, f'"kind":"{word}"')
        return encoder


ENCODERS: dict[type[Event], Encoder] = _Encoders()
"""For each kind of event what makes its line, without the line's end."""


def header() -> str:
    """The first line of a trace in JSON lines."""
    return _dumps({"format": FORMAT, "version": VERSION})


def encode(event: Event) -> str:
    """An event as one line of JSON."""
    return ENCODERS[type(event)](event)


def decode(values: dict[str, Any]) -> Event:
    """The event of a line's object; `TypeError`, `KeyError` or `ValueError` if it is none.

    Fields that are not there have their default, those that nobody knows are passed over.
    """
    kind = KINDS[values["kind"]]
    made: list[Any] = []
    for name, read in _READERS[kind]:
        if name in values:
            made.append(values[name] if read is None else read(values[name]))
        else:
            made.append(kind._field_defaults[name])
    signature = (kind, *map(type, made))
    if signature not in _known_signatures:
        _check_types(kind, made)
        _known_signatures.add(signature)
    event: Event = tuple.__new__(kind, made)
    return event


_known_signatures: set[tuple[type, ...]] = set()
"""A kind and the types of its fields, for those that were found to be right."""

_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "bool": (bool,),
    "str": (str,),
    "bytes": (bytes,),
    "bytes | None": (bytes, type(None)),
}


def _check_types(kind: type[Event], made: list[Any]) -> None:
    """Raises: TypeError for a field that is not of its type."""
    for (name, spelled), value in zip(fields_of(kind).items(), made, strict=True):
        if type(value) not in _TYPES.get(spelled, (tuple,)):
            raise TypeError(f"{name} is {value!r}, which is not {spelled}")


def _read_bytes(value: str | None) -> bytes | None:
    return None if value is None else bytes.fromhex(value)


def _read_tuple(name: str, spelled: str) -> Callable[[Any], tuple[Any, ...]]:
    """Reads a flat tuple; one of pairs has an even number of elements."""
    allowed = {int, str} if "int | str" in spelled else {int} if "int" in spelled else {str}
    pairs = name in ("reads", "left", "descriptors")

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or not set(map(type, value)) <= allowed:
            raise TypeError(f"{name} is {value!r}, which is not {spelled}")
        if pairs and len(value) & 1:
            raise ValueError(f"{name} has no pairs")
        return tuple(value)

    return read


def _reader(name: str, spelled: str) -> Callable[[Any], Any] | None:
    if spelled.startswith("tuple"):
        return _read_tuple(name, spelled)
    return _read_bytes if "bytes" in spelled else None


class _Readers(dict[type[Event], list[tuple[str, Callable[[Any], Any] | None]]]):
    """For each kind its fields, and what makes them of what JSON has; made like encoders."""

    def __missing__(self, kind: type[Event]) -> list[tuple[str, Callable[[Any], Any] | None]]:
        readers = [(name, _reader(name, spelled)) for name, spelled in fields_of(kind).items()]
        self[kind] = readers
        return readers


_READERS = _Readers()
