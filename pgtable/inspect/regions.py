# SPDX-License-Identifier: GPL-2.0-or-later
"""Cuts an address space into regions and cells that can be drawn.

Address spaces are sparse: wide gaps are left out, what remains are regions, each cut into cells
of one power of two. A cell knows how much of it is mapped, what with, in leaves of which size,
and how often the physical addresses jump in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pgtable.inspect.arrays import I64, U64, u64
from pgtable.inspect.meaning import Meaning
from pgtable.inspect.tree import FAULTS, Runs, Tree

F64 = npt.NDArray[np.float64]

MOST_REGIONS = 16
COLUMNS = 96
MOST_ROWS = 48
ROWS_OF_ONE = 12
GAP_SHARE = 0.2
"""A gap is left out if it would take more than this share of the region around it."""
STRETCH_SHARE = 0.4
MANY = 4
"""A stretch of more than this share gets its own region, if there are more than so many."""


class Look(NamedTuple):
    """How a mapping looks: access decides the colour, memory the texture."""

    access: str
    memory: str


@dataclass
class Region:
    """A stretch of addresses, and arrays with one element for each of its cells.

    `start` counts from the lowest input address. `look` and `size_lg2` are those that most of a
    cell's mapped bytes have, -1 and 0 where nothing is mapped. `breaks`: how often physical
    addresses jump in the cell while input addresses go on. `joined`: the first byte of the cell
    belongs to the same run as the last one of the cell before.
    """

    start: int
    end: int
    cell: int
    runs: Runs
    covered: F64
    look: I64
    size_lg2: I64
    breaks: I64
    joined: npt.NDArray[np.bool_]

    @property
    def mapped(self) -> int:
        return int(self.runs.length.sum())

    @property
    def cells(self) -> int:
        return len(self.covered)

    @property
    def rows(self) -> int:
        return -(-self.cells // COLUMNS)


def look_of(meaning: Meaning) -> Look:
    """Return how a meaning looks."""
    if FAULTS in meaning.flags:
        return Look("fault", "solid")
    access = meaning.access.partition("/")[0]
    short = meaning.memory.short
    if short.startswith("device"):
        return Look(access, "device")
    return Look(access, "uncached" if "uncached" in short else "solid")


def regions_of(tree: Tree) -> tuple[list[Region], list[Look]]:
    """Return the regions in ascending order, and the looks that their cells refer to."""
    runs = tree.extents
    looks = sorted({look_of(meaning) for meaning in tree.meanings})
    if not len(runs):
        return [], looks
    numbers = {look: i for i, look in enumerate(looks)}
    look = np.array([numbers[look_of(m)] for m in tree.meanings], dtype=np.int64)[runs.meaning]
    fresh = stretches(runs)
    pieces = _split(runs, fresh)
    counts = [int(np.count_nonzero(fresh[first:last])) for first, last in pieces]
    smallest = 1 << tree.space.levels[-1].shift
    out = []
    for (first, last), rows in zip(pieces, _rows(counts), strict=True):
        part = runs.take(np.arange(first, last))
        out.append(_region(part, look[first:last], rows, smallest))
    return out, looks


def stretches(runs: Runs) -> npt.NDArray[np.bool_]:
    """Say which runs begin a stretch: the physical addresses do not go on from the run before."""
    fresh = np.ones(len(runs), dtype=np.bool_)
    fresh[1:] = (runs.iova[1:] != (runs.iova + runs.length)[:-1]) | (
        runs.address[1:] != (runs.address + runs.length)[:-1]
    )
    return fresh


def _rows(counts: list[int]) -> list[int]:
    """Share out rows: the more stretches a region has, the more rows it may take."""
    wanted = [
        1 if count == 1 else min(ROWS_OF_ONE, 1 + (count - 1).bit_length()) for count in counts
    ]
    too_many = max(1.0, sum(wanted) / MOST_ROWS)
    return [max(1, round(rows / too_many)) for rows in wanted]


def _split(runs: Runs, fresh: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Cut at the widest gaps and around the longest stretches, widest first.

    A gap is cut out while it takes much of the region it lies in; a stretch that dwarfs many
    others gets a region of its own, so that they can be seen.
    """
    starts = np.flatnonzero(fresh)
    begins = runs.iova[starts].astype(np.float64)
    lasts = np.append(starts[1:], len(runs)) - 1
    ends = (runs.iova + runs.length)[lasts].astype(np.float64)
    gaps, lengths = begins[1:] - ends[:-1], ends - begins
    pieces = [(0, len(starts))]
    while len(pieces) < MOST_REGIONS:
        best: tuple[float, int, list[int]] = (0.0, 0, [])
        for number, (first, last) in enumerate(pieces):
            if last - first < 2:
                continue
            span = ends[last - 1] - begins[first]
            gap = first + int(gaps[first : last - 1].argmax())
            if gaps[gap] > max(GAP_SHARE * span, best[0]):
                best = (float(gaps[gap]), number, [gap + 1])
            long = first + int(lengths[first:last].argmax())
            many = last - first > MANY
            if many and lengths[long] > max(STRETCH_SHARE * span, best[0]):
                cuts = [cut for cut in (long, long + 1) if first < cut < last]
                best = (float(lengths[long]), number, cuts)
        _, number, cuts = best
        if not cuts:
            break
        first, last = pieces[number]
        edges = [first, *cuts, last]
        pieces[number : number + 1] = list(pairwise(edges))
    bounds = [*starts.tolist(), len(runs)]
    return [(bounds[first], bounds[last]) for first, last in pieces]


def _region(runs: Runs, look: I64, rows: int, smallest: int) -> Region:
    start, end = int(runs.iova[0]), int(runs.iova[-1] + runs.length[-1])
    cell = smallest
    while -(-(end - start // cell * cell) // cell) > COLUMNS * rows:
        cell *= 2
    start = start // cell * cell
    count = -(-(end - start) // cell)
    covered = np.zeros(count)
    best_look, most = np.full(count, -1, dtype=np.int64), np.zeros(count)
    for number in np.unique(look).tolist():
        bytes_of = _coverage(runs.take(look == number), start, cell, count)
        covered += bytes_of
        better = bytes_of > most
        best_look[better] = number
        most = np.maximum(most, bytes_of)
    size_lg2, most = np.zeros(count, dtype=np.int64), np.zeros(count)
    for number in np.unique(runs.size_lg2).tolist():
        bytes_of = _coverage(runs.take(runs.size_lg2 == number), start, cell, count)
        size_lg2[bytes_of > most] = number
        most = np.maximum(most, bytes_of)
    return Region(
        start,
        start + count * cell,
        cell,
        runs,
        covered / cell,
        best_look,
        size_lg2,
        _breaks(runs, start, cell, count),
        _joined(runs, start, cell, count),
    )


def _coverage(runs: Runs, start: int, cell: int, count: int) -> F64:
    """Return how many bytes of each cell runs cover."""
    low = (runs.iova - u64(start)).astype(np.int64)
    high = low + runs.length.astype(np.int64)
    first, last = low // cell, (high - 1) // cell
    out = np.zeros(count + 1)
    inside = first == last
    out += np.bincount(first[inside], (high - low)[inside], count + 1)
    across = ~inside
    out += np.bincount(first[across], ((first + 1) * cell - low)[across], count + 1)
    out += np.bincount(last[across], (high - last * cell)[across], count + 1)
    steps = np.bincount(first[across] + 1, minlength=count + 1).astype(np.float64)
    steps -= np.bincount(last[across], minlength=count + 1)[: count + 1]
    out += np.cumsum(steps) * cell
    return out[:count]


def _breaks(runs: Runs, start: int, cell: int, count: int) -> I64:
    """Return how often, in each cell, input addresses go on and physical ones do not."""
    fresh = stretches(runs)
    fresh[:1] = False
    fresh[1:] &= runs.iova[1:] == (runs.iova + runs.length)[:-1]
    cells = ((runs.iova[fresh] - u64(start)) // u64(cell)).astype(np.int64)
    return np.bincount(cells, minlength=count).astype(np.int64)


def _joined(runs: Runs, start: int, cell: int, count: int) -> npt.NDArray[np.bool_]:
    """Say which cells go on with what the cell before ended with."""
    edges: U64 = u64(start) + np.arange(count, dtype=np.uint64) * u64(cell)
    index = np.searchsorted(runs.iova, edges, side="right") - 1
    ends = (runs.iova + runs.length)[np.maximum(index, 0)]
    joined: npt.NDArray[np.bool_] = (
        (index >= 0) & (runs.iova[np.maximum(index, 0)] < edges) & (edges < ends)
    )
    return joined
