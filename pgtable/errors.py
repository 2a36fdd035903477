# SPDX-License-Identifier: GPL-2.0-or-later
"""Every error of this package: one rooted tree, each carrying the addresses and limits it is about.

`map_pages` and `unmap_pages` answer with numbers, as Linux does. The errors here come from the
Python side: creating and freeing tables, `map`, `unmap`, the registry, and damaged tables.
"""

from __future__ import annotations

import enum


class PgtableError(Exception):
    """Root of everything this package raises on purpose."""


# --- formats and the registry ---------------------------------------------------------------


class FormatError(PgtableError):
    """Something about a format's registration; `name` is the format."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class UnknownFormatError(FormatError):
    """Nothing here or installed provides this format; loading more will not help."""

    def __init__(self, name: str, known: tuple[str, ...], similar: tuple[str, ...] = ()) -> None:
        hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
        super().__init__(
            name, f"unknown page table format {name!r}{hint} (known: {', '.join(known)})"
        )
        self.known = known


class FormatNotLoadableError(FormatError):
    """The format is known, yet its code cannot be had now; `reason` is the kept cause."""

    def __init__(self, name: str, origin: str, reason: BaseException | str) -> None:
        why = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else reason
        super().__init__(
            name,
            f"page table format {name!r} is provided by {origin} but cannot be used now: {why}",
        )
        self.origin = origin
        self.reason = reason


class FormatAlreadyRegisteredError(FormatError):
    """The name is taken, by this very format or by another one."""


class FormatInUseError(FormatError):
    """The format cannot be unregistered: `tables` live tables still use its code."""

    def __init__(self, name: str, tables: int) -> None:
        noun = "table" if tables == 1 else "tables"
        super().__init__(
            name, f"page table format {name!r} is in use by {tables} {noun}; free them first"
        )
        self.tables = tables


class ConfigRefusedError(PgtableError):
    """A format cannot work with this configuration: which field, its value, and the limit."""

    def __init__(self, field: str, value: object, limit: str, fmt: str = "") -> None:
        shown = hex(value) if type(value) is int and value > 0xFF else repr(value)
        if isinstance(value, enum.IntFlag):
            shown = "|".join(flag.name or "" for flag in type(value) if flag & value)
        where = f"{fmt}: " if fmt else ""
        super().__init__(f"{where}{field} = {shown} refused: {limit}")
        self.field = field
        self.value = value
        self.limit = limit
        self.fmt = fmt


# --- memory ---------------------------------------------------------------------------------


class TableMemoryError(PgtableError):
    """A table memory was built or used wrongly (bad base, foreign or double free)."""


class OutOfTableMemoryError(PgtableError):
    """The memory refused a table of `size` bytes; the tables are as they were before."""

    def __init__(self, size: int, message: str = "") -> None:
        super().__init__(message or f"no memory for a page table of {size:#x} bytes")
        self.size = size


# --- using a table --------------------------------------------------------------------------


class TableFreedError(PgtableError):
    """The table was freed and cannot be used any more."""


class TableDamagedError(PgtableError):
    """A descriptor in memory cannot be what this table wrote there."""

    def __init__(self, message: str, *, address: int, pte: int, level: int) -> None:
        super().__init__(
            f"damaged table: {message} (descriptor {pte:#x} at {address:#x}, level {level})"
        )
        self.address = address
        self.pte = pte
        self.level = level


class MapError(PgtableError):
    """A `map` or `unmap` that was refused; nothing changed unless `done` says otherwise."""

    def __init__(
        self, message: str, *, iova: int, paddr: int | None = None, size: int = 0, done: int = 0
    ) -> None:
        super().__init__(message)
        self.iova = iova
        self.paddr = paddr
        self.size = size
        self.done = done


class BadRangeError(MapError):
    """Negative, empty, misaligned, or beyond the table's input or output size."""


class NoAccessError(MapError):
    """The protection allows neither reading nor writing, so there is nothing to map."""


class AlreadyMappedError(MapError):
    """Something is mapped at `iova` already; unmap it first."""


class NotMappedError(MapError):
    """Nothing is mapped at `iova`."""


class PartialUnmapError(MapError):
    """`iova` lies in a larger leaf; formats do not split leaves. `leaf_size` is in bytes."""

    def __init__(self, message: str, *, iova: int, size: int, leaf: int, leaf_size: int) -> None:
        super().__init__(message, iova=iova, size=size)
        self.leaf = leaf
        self.leaf_size = leaf_size


class NotOfferedError(PgtableError):
    """This format does not offer the operation (dirty tracking, walking)."""
