# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees in the style of Linux's `ptdump` (debugfs, kernel_page_tables).

As there, adjacent entries of one level with the same protection are one line, wherever they lead,
and ranges end where the next begins. Unlike there, a hole is one line named after the largest
level whose entries fit in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pgtable.inspect.meaning import EXECUTE, READ, WRITE, Meaning
from pgtable.inspect.space import Space
from pgtable.inspect.tree import Tree, join

LEVEL_NAMES = ("PGD", "PUD", "PMD", "PTE")
MEMORY_NAMES = {
    "cached": "MEM/NORMAL",
    "cached-tagged": "MEM/NORMAL-TAGGED",
    "uncached": "MEM/NORMAL-NC",
    "write-through": "MEM/NORMAL-WT",
    "device": "DEVICE/nGnRE",
    "normal": "MEM/NORMAL",
}


class _Line(NamedTuple):
    start: int
    end: int
    depth: int
    columns: str


def lines(tree: Tree) -> Iterator[str]:
    """Yield the dump's lines."""
    space = tree.space
    yield f"---[ {space.format} at {', '.join(hex(r) for r in space.roots if r is not None)} ]---"
    held: _Line | None = None
    for line in _all(tree):
        joins = held is not None and held.end == line.start and held[2:] == line[2:]
        if held is not None and not joins:
            yield _text(space, held)
        held = held._replace(end=line.end) if held is not None and joins else line
    if held is not None:
        yield _text(space, held)
    yield "---[ end ]---"


def _all(tree: Tree) -> Iterator[_Line]:
    """Yield leaves and holes in ascending order."""
    space = tree.space
    at = space.base
    for part in tree.ranges(join(tree.extents, aimless=True)):
        if part.start > at:
            yield _Line(at, part.start, _hole_depth(space, part.start - at), "")
        depth = _depth(space, part.leaf)
        yield _Line(part.start, part.last + 1, depth, _columns(space, part.meaning, depth))
        at = part.last + 1
    end = space.base + space.size
    if at < end:
        yield _Line(at, end, _hole_depth(space, end - at), "")


def _depth(space: Space, leaf: int) -> int:
    """Return the depth of the table that holds leaves of a size."""
    for depth, level in enumerate(space.levels):
        if leaf >> level.shift:
            return depth
    return len(space.levels) - 1


def _hole_depth(space: Space, size: int) -> int:
    return _depth(space, max(size, 1 << space.levels[-1].shift))


def _columns(space: Space, meaning: Meaning, depth: int) -> str:
    """Return the protection in columns: stage 1 as Linux prints it, others by their rights."""
    flags = meaning.flags
    block = "   " if depth == len(space.levels) - 1 else "BLK"
    contiguous = "CON" if "contiguous" in flags else "   "
    accessed = "  " if "no-AF" in flags else "AF"
    memory = MEMORY_NAMES.get(meaning.memory.short, meaning.memory.short)
    if not space.format.endswith("S1") and space.format != "ARM_V7S":
        rights = "".join(
            name if meaning.user & bit else "-"
            for name, bit in (("R", READ), ("W", WRITE), ("X", EXECUTE))
        )
        return f"{rights} {accessed} {contiguous} {block} {memory}"
    never = meaning.execute_words
    parts = (
        "USR" if meaning.user & (READ | WRITE) else "   ",
        "RW" if meaning.writable else "ro",
        "NX" if never in ("xn", "pxn") else "x ",
        "SHD"
        if "shareable" in meaning.shareability and "non" not in meaning.shareability
        else "   ",
        accessed,
        "  " if "global" in flags else "NG",
        contiguous,
        block,
        "UXN" if never in ("xn", "uxn") else "   ",
        "GP" if "guarded" in flags else "  ",
        memory,
    )
    return " ".join(parts)


def _text(space: Space, line: _Line) -> str:
    amount, unit = line.end - line.start >> 10, 0
    while amount and not amount & 1023 and unit < 5:
        amount, unit = amount >> 10, unit + 1
    name = _level_name(space, line.depth)
    text = (
        f"0x{line.start:016x}-0x{line.end & (1 << 64) - 1:016x} {amount:>10}{'KMGTPE'[unit]} {name}"
    )
    return f"{text}       {line.columns}".rstrip()


def _level_name(space: Space, depth: int) -> str:
    """Name levels from the last one up; the first one is always the PGD."""
    if not depth:
        return "PGD"
    return LEVEL_NAMES[depth - len(space.levels)]
