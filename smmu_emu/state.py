# SPDX-License-Identifier: GPL-2.0-or-later
"""What the parts of a machine hold, kept as it is now and put back later, whatever they are.

`keep` walks everything that can be reached from a root: attributes, slots, dictionaries, lists,
sets, queues, what closures and bound methods hold. A device need not do anything for its state to
be kept, and cannot be forgotten. `Kept.put_back` gives every *part* (whatever can change: objects
and containers) the contents that it had, in place, so that whoever holds a part goes on holding it.

What a class can say about itself:

- ``wiring``, a tuple of attribute names: set once, when the machine is built. Walked, not kept.
- ``unsaved``, likewise: of the host, or made anew from the rest. Neither walked nor kept.
- ``before_kept()`` is called before: finish what was put off. True if that changed anything.
- ``keep_state()`` gives what attributes do not tell, ``put_back_state(kept)`` takes it.
- ``after_put_back()`` is called after all is back: make anew what is unsaved.

Functions that stand before others (`smmu_emu.interpose`) are no state: they stay as they are.
Views of RAM, and what pgtable holds for the whole process, are not walked. What cannot be kept
(generators, files, threads, objects of C libraries) is a `StateError` that says where it is.
"""

from __future__ import annotations

import dis
import enum
import functools
import mmap
import re
import struct
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import PurePath
from random import Random
from typing import Any, NamedTuple

from smmu_emu.errors import ConfigurationError


class StateError(ConfigurationError):
    """Something that a machine holds cannot be kept, or not be put into a file."""


_ATOMS = (
    *(type(None), bool, int, float, complex, str, bytes, range, slice, type, enum.Enum),
    *(type(Ellipsis), type(NotImplemented), types.ModuleType, re.Pattern, struct.Struct, PurePath),
    mmap.mmap,  # who has views of a machine's RAM; that is kept as RAM
    *(types.WrapperDescriptorType, types.MethodDescriptorType, types.GetSetDescriptorType),
)
"""What never changes and leads nowhere."""
_COMMON_ATOMS = frozenset((type(None), bool, int, float, str, bytes, range))
_CONTAINERS = (dict, list, set, deque, bytearray)
_MISSING: Any = object()


class Shape(NamedTuple):
    """How the objects of a class are kept."""

    has_dict: bool
    slots: tuple[str, ...]
    """Kept."""
    slot_wiring: tuple[str, ...]
    wiring: frozenset[str]
    unsaved: frozenset[str]
    settles: bool
    keeps: bool
    is_told: bool


def _declared(cls: type, name: str) -> frozenset[str]:
    return frozenset(one for base in cls.__mro__ for one in base.__dict__.get(name, ()))


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                yield f"_{base.__name__.lstrip('_')}{name}" if private else name


_SHAPES: dict[type, Shape | None] = {}


def shape_of(cls: type) -> Shape | None:
    """How objects of a class are kept; None if they hold what attributes do not tell."""
    if cls not in _SHAPES:
        _SHAPES[cls] = _make_shape(cls)
    return _SHAPES[cls]


def _make_shape(cls: type) -> Shape | None:
    slots = tuple(_slots(cls))
    words = len(slots) + (cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0)
    if cls.__basicsize__ > object.__basicsize__ + 8 * words or cls.__itemsize__:
        return None
    wiring, unsaved = _declared(cls, "wiring"), _declared(cls, "unsaved")
    return Shape(
        has_dict=cls.__dictoffset__ != 0,
        slots=tuple(name for name in slots if name not in wiring | unsaved | {"interposed"}),
        slot_wiring=tuple(name for name in slots if name in wiring),
        wiring=wiring,
        unsaved=unsaved | {"interposed"},
        settles=hasattr(cls, "before_kept"),
        keeps=hasattr(cls, "keep_state"),
        is_told=hasattr(cls, "after_put_back"),
    )


class Kept:
    """What all parts that a root leads to held when `keep` was called.

    ``parts`` are those parts and their contents as `contents` describes them, in the order of the
    walk; ``names`` says how each was first reached.
    """

    def __init__(self) -> None:
        self.objects: list[tuple[Any, dict[str, Any], dict[str, Any], int]] = []
        """Objects, their attributes, those that were kept, and how many there were in all."""
        self.slotted: list[tuple[Any, list[tuple[str, Any]]]] = []
        self.dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self.others: list[tuple[Any, Any]] = []
        self.cells: list[tuple[types.CellType, Any]] = []
        self.arrays: list[tuple[Any, Any]] = []
        self.dice: list[tuple[Random, Any]] = []
        self.special: list[tuple[Any, Any]] = []
        self.told: list[Any] = []

    def put_back(self) -> None:
        """Give every part what it held."""
        for part, kept in self.special:
            part.put_back_state(kept)
        for part, attributes, saved, count in self.objects:
            if "interposed" in attributes:
                _put_back_carefully(part, attributes, saved)
                continue
            attributes.update(saved)
            if len(attributes) != count:
                _put_back_carefully(part, attributes, saved)
        for part, slots in self.slotted:
            _put_back_slots(part, slots)
        for dictionary, items in self.dicts:
            dictionary.clear()
            # Counter.update would add.
            update = OrderedDict.update if isinstance(dictionary, OrderedDict) else dict.update
            update(dictionary, items)
        for container, values in self.others:
            if isinstance(container, list | bytearray):
                container[:] = values
            else:
                container.clear()
                if isinstance(container, deque):
                    container.extend(values)
                else:
                    container.update(values)
        for cell, value in self.cells:
            cell.cell_contents = value
        for array, values in self.arrays:
            array[...] = values
        for generator, state in self.dice:
            generator.setstate(state)
        for part in self.told:
            part.after_put_back()


def _put_back_carefully(part: Any, attributes: dict[str, Any], saved: dict[str, Any]) -> None:
    """Where attributes are not all state: some are unsaved or wiring, or others stand there."""
    shape = shape_of(type(part))
    assert shape is not None
    others = shape.unsaved | shape.wiring | attributes.get("interposed", {}).keys()
    for name, value in saved.items():
        if name not in others:
            attributes[name] = value
    for name in attributes.keys() - saved.keys() - others:
        del attributes[name]


def _put_back_slots(part: Any, slots: list[tuple[str, Any]]) -> None:
    others = getattr(part, "interposed", ())
    for name, value in slots:
        if name in others:
            continue
        if value is not _MISSING:
            object.__setattr__(part, name, value)
        elif hasattr(part, name):
            object.__delattr__(part, name)


_ASSIGNED: dict[types.CodeType, frozenset[str]] = {}


def assigned_cells(code: types.CodeType) -> frozenset[str]:
    """Names of outer functions' variables that a function assigns (``nonlocal``): its state."""
    found = _ASSIGNED.get(code)
    if found is None:
        names = {
            str(one.argval)
            for one in dis.get_instructions(code)
            if one.opname in ("STORE_DEREF", "DELETE_DEREF")
        }
        found = _ASSIGNED[code] = frozenset(names).intersection(code.co_freevars)
    return found


def cell_contents(cell: types.CellType) -> Any:
    """What a variable of an outer function holds; None if nothing yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def keep(*roots: object, where: str = "machine") -> Kept:
    """Keep what everything that is reached from ``roots`` holds now.

    Raises: StateError for what cannot be kept.
    """
    for _ in range(3):
        walk = _Walk()
        for root in roots:
            walk.reach(root, (where, ""))
        walk.finish()
        if not walk.settled:
            return walk.kept
    raise StateError("the machine's parts do not settle")


def is_global(value: object) -> bool:
    """Whether an object belongs to the whole process: a module of pgtable holds it by name."""
    name = type(value).__module__
    if not name.startswith("pgtable."):
        return False
    return any(one is value for one in vars(sys.modules[name]).values())


_Trace = tuple[Any, Any]
"""How something was reached: the trace of who holds it, and by which name."""


class _Walk:
    """One walk over everything; ``settled`` tells that a part changed because of it."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.settled = False
        self._seen: set[int] = set()
        self._alive: list[Any] = []
        self._ahead: list[tuple[Any, _Trace]] = []

    def reach(self, value: object, trace: _Trace) -> None:
        """Note something for the walk, unless it cannot lead to state or is known."""
        if type(value) in _COMMON_ATOMS or id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._ahead.append((value, trace))

    def finish(self) -> None:
        """Walk until nothing is left."""
        ahead = self._ahead
        while ahead:
            value, trace = ahead.pop()
            self._alive.append(value)
            self._enter(value, trace)

    def _enter(self, value: Any, trace: _Trace) -> None:
        cls = type(value)
        visit = _VISITS.get(cls)
        if visit is None:
            if isinstance(value, _ATOMS):
                return
            visit = next((v for base, v in _BASES if isinstance(value, base)), _Walk._object)
        visit(self, value, trace)

    # -- immutable, but may lead somewhere

    def _items(self, value: Any, trace: _Trace) -> None:
        for number, item in enumerate(value):
            self.reach(item, (trace, number))

    def _method(self, value: Any, trace: _Trace) -> None:
        self.reach(value.__func__, (trace, "__func__"))
        self.reach(value.__self__, (trace, "__self__"))

    def _builtin(self, value: Any, trace: _Trace) -> None:
        self.reach(value.__self__, (trace, "__self__"))

    def _partial(self, value: Any, trace: _Trace) -> None:
        for name in ("func", "args"):
            self.reach(getattr(value, name), (trace, name))
        self._items(value.keywords.values(), trace)

    def _mapping(self, value: Any, trace: _Trace) -> None:
        for key, item in value.items():
            self.reach(item, (trace, key))

    def _function(self, value: Any, trace: _Trace) -> None:
        behind = getattr(value, "__wrapped__", None)
        if behind is not None:  # who watches or delays is no state
            self.reach(behind, (trace, "__wrapped__"))
            return
        assigned = assigned_cells(value.__code__)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if name in assigned:
                self.reach(cell, (trace, name))
            else:
                self.reach(cell_contents(cell), (trace, name))

    # -- parts

    def _cell(self, cell: Any, trace: _Trace) -> None:
        value = cell_contents(cell)
        self.kept.cells.append((cell, value))
        self.reach(value, trace)

    def _dict(self, value: Any, trace: _Trace) -> None:
        self.kept.dicts.append((value, dict(value)))
        for key, item in value.items():
            self.reach(key, (trace, "key"))
            self.reach(item, (trace, key))

    def _sequence(self, value: Any, trace: _Trace) -> None:
        self.kept.others.append((value, tuple(value)))
        self._items(value, trace)

    def _bytes(self, value: bytearray, trace: _Trace) -> None:
        self.kept.others.append((value, bytes(value)))

    def _view(self, value: memoryview, trace: _Trace) -> None:
        """What it shows is a part if it is bytes of Python's, and somebody's unsaved RAM if not."""
        if isinstance(value.obj, bytearray):
            self.reach(value.obj, (trace, "obj"))

    def _random(self, value: Random, trace: _Trace) -> None:
        self.kept.dice.append((value, value.getstate()))

    def _object(self, value: Any, trace: _Trace) -> None:
        cls = type(value)
        if cls.__module__ == "numpy":
            self._numpy(value, trace)
            return
        if is_global(value):
            return
        shape = shape_of(cls)
        if shape is None:
            raise StateError(f"{spell(trace)} is a {cls.__module__}.{cls.__qualname__}, " + _HINT)
        if shape.settles and value.before_kept():
            self.settled = True
        if "*" not in shape.unsaved:
            self._inside(value, shape, trace)
        if shape.keeps:
            self.kept.special.append((value, value.keep_state()))
        if shape.is_told:
            self.kept.told.append(value)

    def _inside(self, value: Any, shape: Shape, trace: _Trace) -> None:
        if shape.has_dict:
            self._attributes(value, shape, trace)
        if shape.slots:
            slots = [(name, getattr(value, name, _MISSING)) for name in shape.slots]
            self.kept.slotted.append((value, slots))
            for name, item in slots:
                self.reach(item, (trace, name))
        interposed = getattr(value, "interposed", {}) if shape.slot_wiring else {}
        for name in shape.slot_wiring:
            place = interposed.get(name)
            item = getattr(value, name, None) if place is None else place.original
            self.reach(item, (trace, name))

    def _attributes(self, value: Any, shape: Shape, trace: _Trace) -> None:
        attributes = value.__dict__
        saved = {}
        interposed = attributes.get("interposed", {})
        for name, item in attributes.items():
            if name in shape.unsaved:
                continue
            if name in interposed:
                if not interposed[name].was_own:
                    continue
                item = interposed[name].original
            if name not in shape.wiring:
                saved[name] = item
            self.reach(item, (trace, name))
        if saved or not shape.wiring:
            self.kept.objects.append((value, attributes, saved, len(attributes)))

    def _numpy(self, value: Any, trace: _Trace) -> None:
        if type(value).__name__ == "ndarray":
            if value.base is not None:
                self.reach(value.base, (trace, "base"))
            elif value.flags.writeable:
                self.kept.arrays.append((value, value.copy()))
        elif type(value).__name__ == "Generator":
            raise StateError(f"{spell(trace)} is numpy's random generator: use random.Random")


_HINT = (
    "which cannot be kept: declare it unsaved, or hold its state in attributes "
    "(see docs/architecture.md, How state is saved)"
)

_VISITS: dict[type, Callable[[_Walk, Any, _Trace], None]] = {
    tuple: _Walk._items,
    frozenset: _Walk._items,
    types.MethodType: _Walk._method,
    types.BuiltinMethodType: _Walk._builtin,
    types.MethodWrapperType: _Walk._builtin,
    functools.partial: _Walk._partial,
    types.MappingProxyType: _Walk._mapping,
    types.FunctionType: _Walk._function,
    types.CellType: _Walk._cell,
    dict: _Walk._dict,
    list: _Walk._sequence,
    set: _Walk._sequence,
    deque: _Walk._sequence,
    bytearray: _Walk._bytes,
    memoryview: _Walk._view,
    Random: _Walk._random,
}
_BASES = [(base, _VISITS[base]) for base in (tuple, dict, list, set, deque, bytearray, Random)]


def spell(trace: _Trace | str) -> str:
    """How something was reached, as Python would write it: ``machine.clock._heap[0]``."""
    steps = []
    while isinstance(trace, tuple):
        trace, name = trace
        steps.append(name)
    text = str(trace)
    for name in reversed(steps):
        if isinstance(name, str) and name.isidentifier():
            text += f".{name}"
        elif name != "":
            text += f"[{name!r}]"
    return text
