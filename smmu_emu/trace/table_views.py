# SPDX-License-Identifier: GPL-2.0-or-later
"""Views of RAM that tell of what is written through them.

Writers of tables in Python put words straight into views of a machine's RAM: bytes, words of 32 and
64 bits, and numpy arrays of those. `watch` gives such a writer (a `pgtable.TableMemory`, or what
has the same attributes) views in their place that call a function around each write. Views cost
what they watch: who took one keeps it, and it goes quiet when the watching ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

Around = Callable[[int, int, Callable[[], Any]], Any]
"""Told of an address, a size in bytes and the write itself, which it makes."""

_VIEWS = ("bytes", "halves", "words")
_ARRAYS = ("half_array", "array")


class Memory(Protocol):
    """Who writes tables: as `pgtable.TableMemory`, whose views these are."""

    @property
    def array(self) -> Any: ...


class _Watch:
    """One writer's memory under watch."""

    def __init__(self, memory: Any, around: Around) -> None:
        self.memory = memory
        self.around: Around | None = around
        self.before = {name: getattr(memory, name) for name in (*_VIEWS, *_ARRAYS)}

    def end(self) -> None:
        """Give the writer its own views back."""
        self.around = None
        for name, view in self.before.items():
            setattr(self.memory, name, view)

    def write(self, pa: int, size: int, write: Callable[[], Any]) -> Any:
        return write() if self.around is None else self.around(pa, size, write)


def address_of(memory: Memory) -> int:
    """Where the first byte of these views lies in this process."""
    address: int = memory.array.__array_interface__["data"][0]
    return address


def watch(memory: Memory, base: int, around: Around) -> Callable[[], None]:
    """Call ``around`` for each write that ``memory`` makes in views that it hands out from now on.

    ``base`` is the physical address of their first byte.

    What it answers ends that. Tables that hold views already are not seen.
    """
    watched = _Watch(memory, around)
    for name in _VIEWS:
        setattr(memory, name, _View(watched.before[name], base, watched))
    for name in _ARRAYS:
        setattr(memory, name, _array(watched.before[name], base, watched))
    return watched.end


class _View:
    """A memoryview whose items are assigned under watch; it can be read as one."""

    def __init__(self, view: memoryview, base: int, watched: _Watch) -> None:
        self._view = view
        self._base = base
        self._watched = watched

    def __getitem__(self, index: Any) -> Any:
        return self._view[index]

    def __setitem__(self, index: int | slice, value: Any) -> None:
        view = self._view
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(view))
        else:
            start, stop = index, index + 1
        size = view.itemsize
        write = partial(view.__setitem__, index, value)
        self._watched.write(self._base + start * size, (stop - start) * size, write)

    def __len__(self) -> int:
        return len(self._view)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)


def _array(plain: Any, base: int, watched: _Watch) -> Any:
    """A numpy array over the same bytes whose assignments and results are under watch."""
    import numpy as np

    origin = plain.__array_interface__["data"][0]

    class Array(np.ndarray[Any, Any]):
        """Slices of it are such arrays, too."""

        def __setitem__(self, index: Any, value: Any) -> None:
            plain = self.view(np.ndarray)
            target = plain[index]
            inside = target if np.shares_memory(plain, target) else plain
            _around(inside, partial(plain.__setitem__, index, value))

        def __array_ufunc__(self, ufunc: Any, method: Any, *inputs: Any, **kwargs: Any) -> Any:
            plain = [_plain(one) for one in inputs]
            results = tuple(kwargs.get("out") or ())
            if results:
                kwargs["out"] = tuple(_plain(one) for one in results)
            call = partial(getattr(ufunc, method), *plain, **kwargs)
            if any(isinstance(one, Array) for one in results):
                return _around(_plain(results[0]), call)
            return call()

    def _plain(value: Any) -> Any:
        return value.view(np.ndarray) if isinstance(value, Array) else value

    def _around(target: Any, write: Callable[[], Any]) -> Any:
        at = base + target.__array_interface__["data"][0] - origin
        return watched.write(at, target.nbytes, write)

    return plain.view(Array)
