# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats by name: registered at run time, loaded on first use, pinned by the tables that use them.

Three sources: the formats of this package, formats that other installed distributions declare
under the entry point group `pgtable.formats`, and whatever `register` is called with. The order of
loading never matters: a format is looked for when it is asked for.

Asking for a format has four answers that cannot be mistaken for one another: `UnknownFormatError`
(nobody provides it), `FormatNotLoadableError` (somebody does, and here is why it cannot be had
now), `ConfigRefusedError` (loaded, but not for this configuration: which field, which limit), or a
table.

Safe under threads. No lock is held while a format's code is imported.
"""

from __future__ import annotations

import enum
import importlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pgtable.config import PageTableConfig
from pgtable.errors import (
    ConfigRefusedError,
    FormatAlreadyRegisteredError,
    FormatError,
    FormatInUseError,
    FormatNotLoadableError,
    UnknownFormatError,
)
from pgtable.memory import Arena, TableMemory
from pgtable.table import PageTable

ENTRY_POINTS = "pgtable.formats"

IN_TREE = {
    "ARM_32_LPAE_S1": "pgtable.formats.arm_32_lpae:S1",
    "ARM_32_LPAE_S2": "pgtable.formats.arm_32_lpae:S2",
    "ARM_64_LPAE_S1": "pgtable.formats.arm_64_lpae:S1",
    "ARM_64_LPAE_S2": "pgtable.formats.arm_64_lpae:S2",
    "ARM_V7S": "pgtable.formats.arm_v7s:V7S",
    "ARM_MALI_LPAE": "pgtable.formats.arm_mali_lpae:MALI",
    "APPLE_DART": "pgtable.formats.apple_dart:DART",
    "APPLE_DART2": "pgtable.formats.apple_dart:DART2",
}

PRIVATE_ARENA = (0x8000_0000, 1 << 30)
"""Base and size of the memory a table gets when the caller gives none; untouched pages are free."""


@dataclass(frozen=True)
class Format:
    """A page table format: its name and the function that makes a table of it.

    `create(name, cfg, memory)` returns a PageTable, or raises ConfigRefusedError or
    OutOfTableMemoryError.
    `custom_allocator`: whether `cfg.alloc` and `cfg.free` are honoured.
    """

    name: str
    create: Callable[[str, PageTableConfig, TableMemory], PageTable[Any]]
    custom_allocator: bool = False


class State(enum.Enum):
    """Where a format stands."""

    UNKNOWN = "unknown"
    KNOWN = "known, not asked for yet"
    NOT_LOADABLE = "known, not loadable now"
    LOADED = "loaded"


@dataclass(frozen=True)
class Status:
    """What the registry knows of a name: `error` is why it is not loadable."""

    name: str
    state: State
    origin: str = ""
    tables: int = 0
    error: BaseException | str | None = None


@dataclass
class _Source:
    """Where a format's code would come from."""

    origin: str
    load: Callable[[], Any]
    error: BaseException | str | None = None


class _Loaded:
    """A registered format and how many live tables were made by it."""

    __slots__ = ("fmt", "origin", "tables")

    def __init__(self, fmt: Format, origin: str) -> None:
        self.fmt = fmt
        self.origin = origin
        self.tables = 0


class Registry:
    """A set of formats; the module's functions work on one that the whole process shares."""

    def __init__(self, in_tree: dict[str, str] | None = None, *, entry_points: bool = True) -> None:
        self._lock = threading.RLock()
        self._loaded: dict[str, _Loaded] = {}
        self._sources: dict[str, _Source] = {}
        self._installed: dict[str, _Source] | None = None if entry_points else {}
        for name, target in (IN_TREE if in_tree is None else in_tree).items():
            self._sources[name] = _Source("this package", _importer(target))

    # --- registration ---------------------------------------------------------------------

    def register(self, fmt: Format) -> None:
        """Make a format available under its name.

        Raises: FormatAlreadyRegisteredError when the name is taken.
        """
        if not isinstance(fmt, Format):
            raise FormatError(repr(fmt), f"register needs a pgtable.Format, not {fmt!r}")
        with self._lock:
            self._register(fmt, "register()")

    def _register(self, fmt: Format, origin: str) -> _Loaded:
        there = self._loaded.get(fmt.name)
        if there is not None:
            what = "this very format" if there.fmt is fmt else "another format"
            raise FormatAlreadyRegisteredError(
                fmt.name,
                f"page table format {fmt.name!r} is registered already ({what}, "
                f"from {there.origin}); unregister it first",
            )
        loaded = self._loaded[fmt.name] = _Loaded(fmt, origin)
        return loaded

    def unregister(self, name: str) -> None:
        """Take a format away; asking for it says so until it is registered or `refresh`ed.

        Raises: FormatInUseError while tables of it are live, FormatError when it is not registered.
        """
        with self._lock:
            there = self._loaded.get(name)
            if there is None:
                raise FormatError(name, f"page table format {name!r} is not registered")
            if there.tables:
                raise FormatInUseError(name, there.tables)
            del self._loaded[name]
            source = self._sources.get(name) or (self._installed or {}).get(name)
            if source is not None:
                source.error = "it was unregistered"

    def refresh(self) -> None:
        """Forget kept errors and look again at what is installed. Loaded formats stay."""
        importlib.invalidate_caches()
        with self._lock:
            if self._installed is not None:
                self._installed = None
            for source in self._sources.values():
                source.error = None

    # --- asking ---------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """Return every name that is loaded or could be tried, sorted."""
        with self._lock:
            return tuple(sorted({*self._loaded, *self._sources, *self._installed_sources()}))

    def status(self, name: str) -> Status:
        """Say where a format stands, without loading it."""
        with self._lock:
            there = self._loaded.get(name)
            if there is not None:
                return Status(name, State.LOADED, there.origin, there.tables)
            source = self._source(name)
            if source is None:
                return Status(name, State.UNKNOWN)
            state = State.KNOWN if source.error is None else State.NOT_LOADABLE
            return Status(name, state, source.origin, error=source.error)

    def load(self, name: str) -> Format:
        """Return a format, importing its code if need be.

        Raises: UnknownFormatError, FormatNotLoadableError.
        """
        return self._load(name).fmt

    def _load(self, name: str) -> _Loaded:
        with self._lock:
            there = self._loaded.get(name)
            if there is not None:
                return there
            source = self._source(name)
            if source is None:
                known = self.names()
                raise UnknownFormatError(name, known, similar(name, known))
            if source.error is not None:
                raise self._not_loadable(name, source)
        try:
            fmt = source.load()
        except Exception as error:
            fmt = error
        with self._lock:
            there = self._loaded.get(name)
            if there is not None:
                return there  # another thread, or the module itself, was faster
            if isinstance(fmt, Format) and fmt.name == name:
                return self._register(fmt, source.origin)
            if isinstance(fmt, Exception):
                source.error = fmt
            else:
                source.error = f"it leads to {fmt!r}, not to a Format named {name!r}"
            raise self._not_loadable(name, source)

    @staticmethod
    def _not_loadable(name: str, source: _Source) -> FormatNotLoadableError:
        error = FormatNotLoadableError(name, source.origin, source.error or "")
        if isinstance(source.error, BaseException):
            error.__cause__ = source.error
        return error

    def _source(self, name: str) -> _Source | None:
        return self._sources.get(name) or self._installed_sources().get(name)

    def _installed_sources(self) -> dict[str, _Source]:
        if self._installed is None:
            self._installed = _entry_points()
        return self._installed

    # --- tables ---------------------------------------------------------------------------

    def alloc(
        self, name: str, cfg: PageTableConfig, memory: TableMemory | None = None
    ) -> PageTable[Any]:
        """Make an empty table of a format in `memory` (default: an arena of its own).

        Raises: UnknownFormatError, FormatNotLoadableError, ConfigRefusedError,
        OutOfTableMemoryError.
        """
        if not isinstance(cfg, PageTableConfig):
            raise TypeError(f"alloc({name!r}, ...) needs a PageTableConfig, not {cfg!r}")
        if memory is not None and not isinstance(memory, TableMemory):
            raise TypeError(f"alloc({name!r}, ...) needs a TableMemory, not {memory!r}")
        loaded = self._pin(name)
        try:
            check_allocator(loaded.fmt, cfg)
            table = loaded.fmt.create(name, cfg, memory or Arena(*PRIVATE_ARENA))
        except BaseException as error:
            self._unpin(loaded)
            if isinstance(error, ConfigRefusedError) and not error.fmt:
                raise ConfigRefusedError(error.field, error.value, error.limit, name) from None
            raise
        table.on_freed = lambda: self._unpin(loaded)
        return table

    def _pin(self, name: str) -> _Loaded:
        while True:
            loaded = self._load(name)
            with self._lock:
                if self._loaded.get(name) is loaded:
                    loaded.tables += 1
                    return loaded

    def _unpin(self, loaded: _Loaded) -> None:
        with self._lock:
            loaded.tables -= 1


def check_allocator(fmt: Format, cfg: PageTableConfig) -> None:
    """Raise ConfigRefusedError unless a custom allocator is whole and the format takes one."""
    if cfg.alloc is None and cfg.free is None:
        return
    if cfg.alloc is None or cfg.free is None:
        missing = "alloc" if cfg.alloc is None else "free"
        raise ConfigRefusedError(missing, None, "a custom allocator needs both alloc and free")
    if not fmt.custom_allocator:
        raise ConfigRefusedError("alloc", cfg.alloc, "this format takes no custom allocator")


def similar(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return names that somebody who wrote `name` may have meant."""
    import difflib

    return tuple(difflib.get_close_matches(str(name).upper(), known, n=2, cutoff=0.75))


def _importer(target: str) -> Callable[[], Any]:
    module, _, attribute = target.partition(":")

    def load() -> Any:
        return getattr(importlib.import_module(module), attribute)

    return load


def _entry_points() -> dict[str, _Source]:
    import importlib.metadata

    found: dict[str, _Source] = {}
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        dist = point.dist
        origin = f"{dist.name} {dist.version}" if dist is not None else point.value
        if point.name in found:
            other = found[point.name]
            other.error = f"{other.origin} and {origin} both provide it; uninstall one"
            continue
        found[point.name] = _Source(origin, point.load)
    return found


formats = Registry()
"""The registry everybody uses unless they make their own."""
