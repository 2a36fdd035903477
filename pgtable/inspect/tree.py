# SPDX-License-Identifier: GPL-2.0-or-later
"""What was found in an address space: tables, runs of leaves, their meanings, what is wrong.

A tree is small even where the tables are large: adjacent leaves that continue each other (input
and output addresses, size and meaning) are one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pgtable.inspect.arrays import I64, U8, U64, Mask
from pgtable.inspect.dumps import Image
from pgtable.inspect.findings import Finding, Findings
from pgtable.inspect.meaning import Meaning
from pgtable.inspect.space import Space

FAULTS = "faults(address-size)"
"""The flag of a leaf whose address is too large: hardware faults."""


@dataclass
class Tables:
    """Arrays with one element a table, in the order they were read: level by level."""

    address: U64
    depth: U8
    iova: U64
    used: I64
    parent: U64
    """Physical address of the descriptor that points here; 0 for a root."""

    def __len__(self) -> int:
        return len(self.address)


@dataclass
class Runs:
    """Arrays with one element a run of leaves that continue each other.

    `iova` counts from the lowest input address; `length` is in bytes; `size_lg2` is a leaf's;
    `meaning` indexes the tree's meanings; `table` is the number of the table, -1 if of several.
    """

    iova: U64
    address: U64
    length: U64
    size_lg2: U8
    meaning: npt.NDArray[np.int32]
    table: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.iova)

    def take(self, which: I64 | Mask) -> Runs:
        """Return some of the runs."""
        return Runs(*(column[which] for column in vars(self).values()))


class Range(NamedTuple):
    """One run, in Python's numbers: input addresses as devices use them, both ends included."""

    start: int
    last: int
    address: int
    leaf: int
    meaning: Meaning

    @property
    def size(self) -> int:
        return self.last - self.start + 1


@dataclass
class Tree:
    """All that was found in an address space."""

    space: Space
    image: Image
    tables: Tables
    runs: Runs
    """Runs table by table, sorted by input address."""
    meanings: list[Meaning]
    found: Findings

    @cached_property
    def extents(self) -> Runs:
        """Runs joined across tables."""
        return join(self.runs)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Everything wrong with the tree, the worst first."""
        from pgtable.inspect.check import check_whole

        check_whole(self)
        return self.found.finish()

    @property
    def mapped(self) -> int:
        """Bytes of input addresses that are mapped."""
        return int(self.runs.length.sum())

    @property
    def leaves(self) -> int:
        """How many leaves there are."""
        return int((self.runs.length >> self.runs.size_lg2.astype(np.uint64)).sum())

    @property
    def table_bytes(self) -> int:
        """Bytes of memory that tables take."""
        sizes = np.array([level.table_size for level in self.space.levels], dtype=np.int64)
        return int(sizes[self.tables.depth].sum())

    def sizes(self) -> dict[int, int]:
        """Return how many bytes are mapped by leaves of each size."""
        out = {}
        for size_lg2 in np.unique(self.runs.size_lg2).tolist():
            out[1 << size_lg2] = int(self.runs.length[self.runs.size_lg2 == size_lg2].sum())
        return out

    def ranges(self, runs: Runs | None = None) -> Iterator[Range]:
        """Yield extents (or some runs) as Python's numbers, in ascending order."""
        runs = self.extents if runs is None else runs
        base = self.space.base
        columns = (runs.iova, runs.length, runs.address, runs.size_lg2, runs.meaning)
        for iova, length, address, size_lg2, meaning in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            start = base + iova
            yield Range(start, start + length - 1, address, 1 << size_lg2, self.meanings[meaning])


def join(runs: Runs, *, aimless: bool = False) -> Runs:
    """Join adjacent runs that continue each other, whatever their tables.

    `aimless`: wherever they lead, too; then `table` is how many runs were joined.
    """
    if not len(runs):
        return runs
    ends = runs.iova + runs.length
    targets = runs.address + runs.length
    breaks = np.ones(len(runs), dtype=np.bool_)
    breaks[1:] = (
        (runs.iova[1:] != ends[:-1])
        | (runs.size_lg2[1:] != runs.size_lg2[:-1])
        | (runs.meaning[1:] != runs.meaning[:-1])
    )
    if not aimless:
        breaks[1:] |= runs.address[1:] != targets[:-1]
    starts = np.flatnonzero(breaks)
    lasts = np.append(starts[1:], len(runs)) - 1
    joined = runs.take(starts)
    joined.length = ends[lasts] - runs.iova[starts]
    if aimless:
        joined.table = (lasts - starts + 1).astype(np.int32)
    else:
        joined.table = np.where(starts == lasts, runs.table[starts], np.int32(-1))
    return joined
