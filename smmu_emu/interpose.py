# SPDX-License-Identifier: GPL-2.0-or-later
"""Standing before a function of a living object, and leaving again, in any order.

Who watches an object (tracing, counting) or breaks it (fault injection) puts a function before one
of its own, for as long as that is wanted; the object knows nothing of it and pays nothing while
nobody does. Several may stand before the same function: those of a lower `Layer` are nearer to it,
so that what observers see is what injected faults made of it. Within a layer, who came first is
nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

Function = Callable[..., Any]
Wrap = Callable[[Function], Function]
"""Makes the function that stands before its argument. It is called again whenever somebody nearer
comes or goes, so state that has to last lives outside of what it makes."""


class Layer(IntEnum):
    """How near to the original a function stands; `ANSWER` sees what it says by itself."""

    ANSWER = -1
    POLICY = 0
    INJECT = 1
    OBSERVE = 2


class Interposition:
    """One function before another; `remove` takes it away. Harmless when done already."""

    __slots__ = ("_place", "layer", "wrap")
    unsaved = ("*",)

    def __init__(self, place: _Place, wrap: Wrap, layer: Layer) -> None:
        self._place: _Place | None = place
        self.wrap = wrap
        self.layer = layer

    def remove(self) -> None:
        """Let calls pass as though this had never been here."""
        place, self._place = self._place, None
        if place is not None:
            place.layers.remove(self)
            place.rebuild()


class _Place:
    """One attribute of one object, and who stands before it."""

    __slots__ = ("layers", "name", "original", "owner", "was_own")
    unsaved = ("*",)

    def __init__(self, owner: Any, name: str) -> None:
        self.owner = owner
        self.name = name
        self.original: Function = getattr(owner, name)
        self.was_own = name in getattr(owner, "__dict__", (name,))
        self.layers: list[Interposition] = []

    def rebuild(self) -> None:
        """Make the chain anew; with nobody left the object is as it was."""
        if not self.layers:
            if self.was_own:
                setattr(self.owner, self.name, self.original)
            else:
                delattr(self.owner, self.name)
            del self.owner.interposed[self.name]
            if not self.owner.interposed:
                del self.owner.interposed
            return
        function = self.original
        for one in sorted(self.layers, key=lambda one: one.layer):
            function = one.wrap(function)
        setattr(self.owner, self.name, function)


def interpose(owner: object, name: str, wrap: Wrap, layer: Layer) -> Interposition:
    """Put ``wrap(function)`` before the function that ``owner`` has as attribute ``name``.

    Whoever holds the function itself, and does not look it up in ``owner`` when calling, is not
    reached. An owner with ``__slots__`` needs one that is called ``interposed``.
    """
    places = _places(owner)
    place = places.get(name)
    if place is None:
        place = places[name] = _Place(owner, name)
    one = Interposition(place, wrap, layer)
    place.layers.append(one)
    place.rebuild()
    return one


def original(owner: object, name: str) -> Function:
    """The function of ``owner`` without anybody standing before it."""
    place = _places(owner).get(name)
    found: Function = getattr(owner, name) if place is None else place.original
    return found


def _places(owner: Any) -> dict[str, _Place]:
    """Attributes of ``owner`` that somebody stands before."""
    places: dict[str, _Place] | None = getattr(owner, "interposed", None)
    if places is None:
        places = owner.interposed = {}
    return places
