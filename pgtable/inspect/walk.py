# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks one input address, level by level, the way hardware does: steps, then what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pgtable.inspect.dumps import Image
from pgtable.inspect.meaning import Meaning
from pgtable.inspect.reader import Descriptor
from pgtable.inspect.space import Space


class Step(NamedTuple):
    """One level of a walk: the table, where in it, and what stands there (None: not given)."""

    level: int
    table: int
    entry: int
    address: int
    descriptor: Descriptor | None


@dataclass(frozen=True)
class Walk:
    """What a walk met. `target` is the physical address, or None, and then `fault` says why."""

    iova: int
    steps: tuple[Step, ...]
    target: int | None
    leaf: int
    """Bytes of the leaf that maps the address; 0 if none does."""
    meaning: Meaning | None
    fault: str = ""


def walk(space: Space, image: Image, iova: int) -> Walk:
    """Walk an input address. Never raises for what the tables hold.

    Loops need no care here: a walk ends at its last level.
    """
    offset = space.offset(iova)
    if offset is None:
        last = space.base + space.size - 1
        return _fault(iova, [], f"out of range: the space has {space.base:#x}-{last:#x}")
    root = offset >> space.root_span_lg2
    table = space.roots[root] if root < len(space.roots) else None
    if table is None:
        return _fault(iova, [], f"no table for TTBR {root}")
    return _walk_from(space, image, iova, offset, table)


def _walk_from(space: Space, image: Image, iova: int, offset: int, table: int) -> Walk:
    steps: list[Step] = []
    inherited = 0
    for depth, level in enumerate(space.levels):
        index = space.reader.index(depth, offset)
        at = table + index * level.width
        word = image.word(at, level.width)
        if word is None:
            steps.append(Step(level.number, table, index, at, None))
            return _fault(iova, steps, f"the level {level.number} table is not in the memory given")
        found = space.reader.decode(word, level, inherited)
        steps.append(Step(level.number, table, index, at, found))
        if found.address is None:
            return _fault(iova, steps, f"level {level.number}: {found.kind}")
        if found.address >> space.output_bits:
            return _fault(iova, steps, f"level {level.number}: {found.address:#x} is too large")
        if found.meaning is not None:
            within = offset & found.size - 1
            target = found.address & ~(found.size - 1) | within
            return Walk(iova, tuple(steps), target, found.size, found.meaning)
        inherited |= word & space.reader.inherited_mask
        table = found.address
    return _fault(iova, steps, "the last level holds no leaf")


def _fault(iova: int, steps: list[Step], why: str) -> Walk:
    return Walk(iova, tuple(steps), None, 0, None, why)
