# SPDX-License-Identifier: GPL-2.0-or-later
"""What the writers of all formats share: trees of tables inside one window of memory.

A table that the writer installed is known by its descriptor: `_tables` maps the descriptor's value
to the index of the table's first entry, so that a step down is one dictionary look-up. `_owned`
maps that index back to the descriptor; it holds every table of the tree, so freeing never depends
on what stands in memory. Indices count entries from the start of the memory's window.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from pgtable.config import PageTableConfig
from pgtable.errors import TableDamagedError
from pgtable.memory import TableMemory
from pgtable.table import PageTable, R_co

if TYPE_CHECKING:
    import numpy.typing as npt

    from pgtable.memory import Halves, Words

    Index = npt.NDArray[np.int64]

CHUNK = 1 << 15
"""Addresses translated at a time by `iovas_to_phys`: small enough for the inner caches."""

ZEROS = bytes(1 << 16)


class TreeTable(PageTable[R_co]):
    """A tree of tables with entries of 1 << `entry_lg2` bytes."""

    entry_lg2 = 3

    def __init__(self, fmt: str, cfg: PageTableConfig, memory: TableMemory) -> None:
        super().__init__(fmt, cfg, memory)
        self._bytes = memory.bytes
        self._coherent = cfg.coherent_walk
        self._tables: dict[int, int] = {}
        self._owned: dict[int, int] = {}

    def _index(self, address: int) -> int:
        """Return the index of the entry at a physical address."""
        return (address - self.memory.base) >> self.entry_lg2

    def _at(self, entry: int) -> int:
        """Return the physical address of an entry."""
        return self.memory.base + (entry << self.entry_lg2)

    def _damaged(self, what: str, pte: int, entry: int, level: int) -> NoReturn:
        raise TableDamagedError(what, address=self._at(entry), pte=pte, level=level)

    def _inside(self, address: int, size: int, pte: int, entry: int, level: int) -> int:
        """Return the index of a table that a descriptor points to, if it lies in the memory."""
        offset = address - self.memory.base
        if offset < 0 or offset + size > self.memory.size:
            self._damaged(f"it points to {address:#x}, outside the table memory", pte, entry, level)
        return offset >> self.entry_lg2

    def _note(self, child: int, pte: int, entry: int, level: int, seen: set[int]) -> None:
        """Add a table to those met on a walk over many; no tree reaches one twice."""
        if child in seen:
            at = self._at(child)
            self._damaged(
                f"it leads to the table at {at:#x}, which was reached before", pte, entry, level
            )
        seen.add(child)


@lru_cache(maxsize=32)
def steps(count: int, shift: int) -> Words:
    """Return 0, 1 << shift, 2 << shift, ... as 64-bit words."""
    made: Words = np.arange(count, dtype=np.uint64) << np.uint64(shift)
    made.flags.writeable = False
    return made


@lru_cache(maxsize=32)
def half_steps(count: int, shift: int, each: int) -> Halves:
    """Return 0, 1 << shift, ... as 32-bit words, each `each` times."""
    made: Halves = np.repeat(np.arange(count, dtype=np.uint32) << np.uint32(shift), each)
    made.flags.writeable = False
    return made


def stretches(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, length) of each stretch of true values."""
    if not flags.any():
        return []
    if flags.all():
        return [(0, len(flags))]
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return [(int(a), int(b - a)) for a, b in edges.reshape(-1, 2)]


def signed_32(value: int) -> int:
    """Return what C keeps of an integer in a signed 32-bit one."""
    return ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000
