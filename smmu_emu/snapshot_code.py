# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine's parts hold, as plain data, and back: for snapshots in files.

Plain data are numbers, text, bytes, and lists and tuples of such: reading them runs no code. A part
that the machine was built with is told by a *name*, the way that leads to it over what is wired;
parts are found again by their names in a machine that was built in the same way. All other parts
are made anew. Classes and functions are told by module and name, from this package alone.

What was made on the spot has no name: functions inside functions, and lambdas. An appointment of
the clock that calls one can be kept in memory (`smmu_emu.state`), but not told; so bound methods,
and `functools.partial` of those, are what appointments and answers should be. A function that has
``__wrapped__``, as `functools.wraps` gives it, is told as what it stands before.
"""

from __future__ import annotations

import enum
import functools
import importlib
import types
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import PurePath
from random import Random
from typing import Any, NamedTuple

from smmu_emu.state import Kept, StateError, assigned_cells, cell_contents, shape_of

_PLAIN = (type(None), bool, int, float, str, bytes)
_PACKAGES = ("smmu_emu", "pgtable")
_MODULES = ("collections", "builtins", "random")
_MISSING: Any = object()


class Node(NamedTuple):
    """One part: what it is, its name or None, and its contents."""

    kind: str
    cls: str
    name: str | None
    wired: bool
    contents: Any
    wiring: Any
    """Of an object that has to be made anew: what was set when it was made."""


# -- names


class Names:
    """The names of the parts that a root leads to: over what is wired first, then over what is not.

    Those that are wired (`wired`) are there in every machine that was built in the same way. The
    others may be: if one of the same class has the same name it is taken for the same part, and as
    whoever refers to it is told as well, nothing is lost if it is not.
    """

    def __init__(self, root: object, kept: Kept) -> None:
        self.of: dict[int, str] = {}
        self.parts: dict[str, Any] = {}
        self.wired: set[int] = set()
        self._contents: dict[int, Any] = {}
        for part, values in (*kept.dicts, *kept.others):
            self._contents[id(part)] = values
        for part, _, saved, _ in kept.objects:
            self._contents[id(part)] = saved
        for part, slots in kept.slotted:
            self._contents[id(part)] = self._contents.get(id(part), {}) | dict(slots)
        self._seen: set[int] = set()
        self._follow(deque([(root, "machine")]), self._wired_to)
        self.wired = set(self.of)
        self._follow(deque((part, name) for name, part in self.parts.items()), self._held_by)

    def _follow(
        self,
        ahead: deque[tuple[Any, str]],
        steps: Callable[[Any], Iterator[tuple[str, Any]]],
    ) -> None:
        for value, _ in ahead:
            self._seen.discard(id(value))
        while ahead:
            value, name = ahead.popleft()
            if isinstance(value, _PLAIN) or id(value) in self._seen:
                continue
            self._seen.add(id(value))
            if getattr(type(value), "passing", False):
                continue
            if not isinstance(value, _NO_PARTS) and id(value) not in self.of:
                self.of[id(value)] = name
                self.parts[name] = value
            ahead.extend((item, f"{name}{step}") for step, item in steps(value))

    def _wired_to(self, value: Any) -> Iterator[tuple[str, Any]]:
        """What is wired to a value, and the steps to it."""
        if isinstance(value, types.FunctionType):
            assigned = assigned_cells(value.__code__)
            for free, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
                yield f"({free})", cell if free in assigned else cell_contents(cell)
        elif isinstance(value, types.MethodType | types.BuiltinMethodType):
            yield ".__self__", value.__self__
        elif isinstance(value, functools.partial):
            for number, item in enumerate((value.func, *value.args, *value.keywords.values())):
                yield f"({number})", item
        elif isinstance(value, dict | list | tuple):
            yield from self._items(value)
        elif not isinstance(value, _NO_PARTS):
            shape = shape_of(type(value))
            for attribute in sorted(shape.wiring) if shape is not None else ():
                place = getattr(value, "interposed", {}).get(attribute)
                item = getattr(value, attribute, None) if place is None else place.original
                yield f".{attribute}", item

    def _held_by(self, value: Any) -> Iterator[tuple[str, Any]]:
        """What a part holds beside: objects and containers, but nothing behind functions, and
        nothing that comes and goes."""
        if isinstance(value, dict | list):
            yield from self._items(value)
            return
        if isinstance(value, _NO_PARTS):
            return
        contents = self._contents.get(id(value))
        for name, item in contents.items() if isinstance(contents, dict) else ():
            if isinstance(item, tuple):
                yield from _flat(f".{name}", item)
            else:
                yield f".{name}", item
        for step, item in self._wired_to(value):
            if not isinstance(item, _NO_PARTS):
                yield step, item

    def _items(self, value: Any) -> Iterator[tuple[str, Any]]:
        contents = self._contents.get(id(value), value)
        if isinstance(value, dict):
            for number, (key, item) in enumerate(contents.items()):
                yield f"[{key!r}]" if isinstance(key, _PLAIN) else f"[{number}]", item
        else:
            for number, item in enumerate(contents):
                yield f"[{number}]", item


def _flat(step: str, items: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """What is in a tuple, and in tuples in it."""
    for number, item in enumerate(items):
        if isinstance(item, tuple):
            yield from _flat(f"{step}[{number}]", item)
        else:
            yield f"{step}[{number}]", item


_NO_PARTS = (
    *(*_PLAIN, type, enum.Enum, types.ModuleType, types.FunctionType, types.MethodType),
    *(types.BuiltinMethodType, functools.partial, tuple, frozenset),
)


# -- to plain data


class _NoNameError(Exception):
    """Something was made on the spot."""


class Encoder:
    """Tells what was kept; ``root`` is what names begin with."""

    def __init__(self, root: object, kept: Kept) -> None:
        self.kept = kept
        self.names = Names(root, kept)
        self._wiring: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._where = ""
        self._parts = list(self._all_parts())
        for number, (_, part, _) in enumerate(self._parts):
            self._numbers.setdefault(id(part), number)

    def nodes(self) -> list[Node]:
        """All parts.

        Raises: StateError for what cannot be told.
        """
        return [self._node(*one) for one in self._parts]

    def _all_parts(self) -> Iterator[tuple[str, Any, Any]]:
        kept = self.kept
        slots = {id(part): (part, dict(pairs)) for part, pairs in kept.slotted}
        for part, _, saved, _ in kept.objects:
            yield "object", part, saved | slots.pop(id(part), (part, {}))[1]
        for part, pairs in slots.values():
            yield "object", part, pairs
        for dictionary, items in kept.dicts:
            yield "dict", dictionary, items
        for container, values in kept.others:
            yield _kind_of(container), container, values
        for cell, value in kept.cells:
            yield "cell", cell, value
        for array, values in kept.arrays:
            yield "array", array, values
        for random, state in kept.dice:
            yield "random", random, state
        for part, packed in kept.special:
            yield "special", part, packed

    def _node(self, kind: str, part: Any, contents: Any) -> Node:
        name = self.names.of.get(id(part))
        self._where = name or f"a {type(part).__qualname__}"
        wiring = None
        data: Any
        if kind == "object":
            data = self._attributes(part, contents)
            if id(part) not in self.names.wired:
                wiring = self._attributes(part, _wiring_of(part))
        elif kind == "dict":
            data = [(self.tell(key), self._tell_in(part, item)) for key, item in contents.items()]
        elif kind in ("list", "deque"):
            data = [self.tell(item) for item in contents]
        elif kind == "set":
            data = sorted((self.tell(item) for item in contents), key=repr)
        elif kind == "array":
            data = (contents.dtype.str, contents.shape, contents.tobytes())
        elif kind == "special":
            data = part.pack_state(contents)
        elif kind == "bytearray":
            data = contents
        else:
            data = self.tell(contents)
        wired = id(part) in self.names.wired
        return Node(kind, _path_of(type(part)), name, wired, data, wiring)

    def _attributes(self, part: Any, values: dict[str, Any]) -> dict[str, Any]:
        where, told = self._where, {}
        for name, value in values.items():
            if value is _MISSING or repr(type(value)) == "<class 'object'>":
                continue
            self._where = f"{where}.{name}"
            told[name] = self._tell_in(part, value)
        self._where = where
        return told

    def _tell_in(self, part: Any, value: Any) -> Any:
        """What a part holds; functions made on the spot are there already, if the part is."""
        try:
            return self.tell(value)
        except _NoNameError as error:
            if id(part) in self.names.of:
                return ("here", str(error))
            raise StateError(
                f"no snapshot in a file: {self._where} holds {error}, which has no name; bound "
                "methods, and functools.partial of them, have "
                "(docs/architecture.md, How state is saved)"
            ) from None

    def tell(self, value: Any) -> Any:
        """A value as plain data.

        Raises: _NoNameError for what was made on the spot.
        """
        if isinstance(value, enum.Enum):
            return ("enum", _path_of(type(value)), value.name)
        if type(value) in _PLAIN:
            return value
        number = self._numbers.get(id(value))
        if number is not None:
            return ("part", number)
        name = self.names.of.get(id(value))
        if name is not None:
            return ("named", name)
        return self._tell_value(value)

    def _tell_value(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return ("tuple", _path_of(type(value)), [self.tell(item) for item in value])
        if isinstance(value, frozenset):
            return ("frozenset", sorted((self.tell(item) for item in value), key=repr))
        if isinstance(value, range):
            return ("range", value.start, value.stop, value.step)
        if isinstance(value, type):
            return ("global", _path_of(value))
        if isinstance(value, PurePath):
            return ("path", str(value))
        if isinstance(value, types.MethodType | types.BuiltinMethodType):
            owner = value.__self__
            if owner is not None and not isinstance(owner, types.ModuleType):
                return ("method", self.tell(owner), value.__name__)
        if isinstance(value, functools.partial):
            arguments = [self.tell(item) for item in value.args]
            more = {name: self.tell(item) for name, item in value.keywords.items()}
            return ("partial", self.tell(value.func), arguments, more)
        behind = getattr(value, "__wrapped__", None)
        if isinstance(value, types.FunctionType) and behind is not None:
            return self.tell(behind)  # who watches or delays is no state
        if isinstance(value, types.FunctionType) and "<" not in value.__qualname__:
            return ("global", f"{value.__module__}:{value.__qualname__}")
        what = getattr(value, "__qualname__", type(value).__qualname__)
        raise _NoNameError(what)


def _kind_of(container: Any) -> str:
    for kind in (list, set, deque, bytearray):
        if isinstance(container, kind):
            return kind.__name__
    raise TypeError(container)


def _wiring_of(part: Any) -> dict[str, Any]:
    shape = shape_of(type(part))
    names = sorted(shape.wiring) if shape is not None else ()
    return {name: getattr(part, name) for name in names if hasattr(part, name)}


def _path_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


# -- and back


class Decoder:
    """Makes what `Kept.put_back` needs for one machine out of nodes."""

    def __init__(self, root: object, kept: Kept, nodes: list[Node]) -> None:
        self._names = Names(root, kept)
        self._nodes = nodes
        self._new: list[tuple[Any, Node]] = []
        self._parts = [self._part(node) for node in nodes]

    def kept(self) -> Kept:
        """What to put back.

        Raises: StateError if this machine lacks a part.
        """
        kept = Kept()
        for part, node in self._new:
            for name, value in (node.wiring or {}).items():
                object.__setattr__(part, name, self.value(value))
        for node, part in zip(self._nodes, self._parts, strict=True):
            _FILL[node.kind](self, kept, part, node.contents)
        for part in {id(one): one for one in self._parts}.values():
            if hasattr(type(part), "after_put_back"):
                kept.told.append(part)
        return kept

    def _part(self, node: Node) -> Any:
        cls = find_global(node.cls)
        part = self._names.parts.get(node.name) if node.name is not None else None
        if part is not None and type(part) is cls:
            return part
        if node.wired:
            raise StateError(f"the snapshot is of another board: it has {node.name}")
        part = _make(cls, node)
        self._new.append((part, node))
        return part

    def _here(self, part: Any, told: Any, current: Any) -> Any:
        """The value that was told, or the one that is there now and is the same."""
        if not isinstance(told, tuple) or told[0] != "here":
            return self.value(told)
        if current is None:
            name = self._names.of.get(id(part), type(part).__qualname__)
            raise StateError(f"the snapshot is of another board: in its {name} is {told[1]}")
        return current

    def value(self, told: Any) -> Any:
        """The value that was told."""
        if not isinstance(told, tuple):
            return told
        tag, *rest = told
        return _VALUES[tag](self, *rest)

    # -- values

    def _numbered(self, number: int) -> Any:
        return self._parts[number]

    def _named(self, name: str) -> Any:
        if name not in self._names.parts:
            raise StateError(f"the snapshot is of another board: it has {name}")
        return self._names.parts[name]

    def _enum(self, path: str, name: str) -> Any:
        return find_global(path)[name]

    def _tuple(self, path: str, items: list[Any]) -> Any:
        return tuple.__new__(find_global(path), [self.value(item) for item in items])

    def _frozenset(self, items: list[Any]) -> Any:
        return frozenset(self.value(item) for item in items)

    def _range(self, start: int, stop: int, step: int) -> Any:
        return range(start, stop, step)

    def _global(self, path: str) -> Any:
        return find_global(path)

    def _path(self, text: str) -> Any:
        from pathlib import Path

        return Path(text)

    def _method(self, owner: Any, name: str) -> Any:
        return getattr(self.value(owner), name)

    def _partial(self, function: Any, arguments: list[Any], more: dict[str, Any]) -> Any:
        keywords = {name: self.value(item) for name, item in more.items()}
        values = [self.value(item) for item in arguments]
        return functools.partial(self.value(function), *values, **keywords)

    # -- parts

    def _fill_object(self, kept: Kept, part: Any, contents: dict[str, Any]) -> None:
        shape = shape_of(type(part))
        assert shape is not None
        values = {
            name: self._here(part, item, getattr(part, name, None))
            for name, item in contents.items()
        }
        if shape.slots:
            slots = [(name, values.pop(name)) for name in shape.slots if name in values]
            kept.slotted.append((part, slots))
        if shape.has_dict:
            kept.objects.append((part, part.__dict__, values, -1))

    def _fill_dict(self, kept: Kept, part: Any, contents: list[Any]) -> None:
        items = {}
        for told, item in contents:
            key = self.value(told)
            items[key] = self._here(part, item, part.get(key))
        kept.dicts.append((part, items))

    def _fill_items(self, kept: Kept, part: Any, contents: list[Any]) -> None:
        kept.others.append((part, tuple(self.value(item) for item in contents)))

    def _fill_bytes(self, kept: Kept, part: Any, contents: bytes) -> None:
        kept.others.append((part, contents))

    def _fill_cell(self, kept: Kept, part: Any, contents: Any) -> None:
        kept.cells.append((part, self.value(contents)))

    def _fill_array(self, kept: Kept, part: Any, contents: Any) -> None:
        import numpy as np

        kind, shape, data = contents
        kept.arrays.append((part, np.frombuffer(data, kind).reshape(shape)))

    def _fill_random(self, kept: Kept, part: Any, contents: Any) -> None:
        kept.dice.append((part, self.value(contents)))

    def _fill_special(self, kept: Kept, part: Any, contents: Any) -> None:
        kept.special.append((part, part.unpack_state(contents)))


_VALUES: dict[str, Callable[..., Any]] = {
    "part": Decoder._numbered,
    "named": Decoder._named,
    "enum": Decoder._enum,
    "tuple": Decoder._tuple,
    "frozenset": Decoder._frozenset,
    "range": Decoder._range,
    "global": Decoder._global,
    "path": Decoder._path,
    "method": Decoder._method,
    "partial": Decoder._partial,
}
_FILL: dict[str, Callable[[Decoder, Kept, Any, Any], None]] = {
    "object": Decoder._fill_object,
    "dict": Decoder._fill_dict,
    "list": Decoder._fill_items,
    "set": Decoder._fill_items,
    "deque": Decoder._fill_items,
    "bytearray": Decoder._fill_bytes,
    "cell": Decoder._fill_cell,
    "array": Decoder._fill_array,
    "random": Decoder._fill_random,
    "special": Decoder._fill_special,
}


def find_global(path: str) -> Any:
    """A class or function of this package, or of the few others whose things machines hold.

    Raises: StateError for anything else: reading a file runs nobody's code.
    """
    module, _, qualname = path.partition(":")
    found: Any = None
    if module.partition(".")[0] in _PACKAGES or (module, qualname) in _ALLOWED:
        try:
            found = importlib.import_module(module)
            for name in qualname.split("."):
                found = getattr(found, name)
        except (ImportError, AttributeError):
            found = None
    if found is None:
        raise StateError(f"the snapshot holds {path}, which there is not in this version")
    return found


_ALLOWED = {
    (cls.__module__, cls.__qualname__)
    for cls in (tuple, dict, list, set, bytearray, deque, Random, types.CellType)
} | {("collections", "Counter"), ("collections", "defaultdict"), ("collections", "OrderedDict")}


def _make(cls: Any, node: Node) -> Any:
    """An empty part."""
    if node.kind == "array":
        import numpy as np

        kind, shape, _ = node.contents
        return np.zeros(shape, kind)
    if node.kind in ("cell", "special"):
        raise StateError(f"the snapshot has a {node.cls} that this machine lacks")
    return cls.__new__(cls) if node.kind == "object" else cls()
