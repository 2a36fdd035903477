# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything the readers find, as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from pgtable.inspect.changes import Unsafe
from pgtable.inspect.diff import Change, What
from pgtable.inspect.fields import Kind
from pgtable.inspect.find import Found
from pgtable.inspect.findings import SEVERITIES, Finding
from pgtable.inspect.reader import Descriptor
from pgtable.inspect.space import Space
from pgtable.inspect.tree import Range, Tree, join
from pgtable.inspect.units import TIMES, about, plural, size_words
from pgtable.inspect.walk import Walk


def leaves_words(sizes: Iterable[tuple[int, int]]) -> str:
    """Write (leaf size, bytes) pairs as people say them: so many of 4K and so many of 2M."""
    sizes = list(sizes)
    if len(sizes) == 1 and not sizes[0][1] % sizes[0][0]:
        return f"{sizes[0][1] // sizes[0][0]} {TIMES} {size_words(sizes[0][0])}"
    total: dict[int, int] = {}
    for leaf, length in sizes:
        total[leaf] = total.get(leaf, 0) + length
    words = []
    for leaf, length in total.items():
        count, rest = divmod(length, leaf)
        # A rest comes from a range cut by a question, or a damaged group of repeated entries.
        if not rest:
            words.append(f"{count} {TIMES} {size_words(leaf)}")
        elif not count:
            part = size_words(length) if not length & 0x3FF else plural(length, "byte")
            words.append(f"{part} of a {size_words(leaf)} leaf")
        else:
            words.append(f"{size_words(length)} of {size_words(leaf)} leaves")
    return " + ".join(words)


def range_line(part: Range, sizes: Iterable[tuple[int, int]] | None = None) -> str:
    """Write one range: 0x200000-0x27ffff → 0x48000000 rw cached, and its leaves."""
    sizes = ((part.leaf, part.size),) if sizes is None else sizes
    return (
        f"{part.start:#x}-{part.last:#x} → {part.address:#x} {part.meaning.words}, "
        f"{leaves_words(sizes)}"
    )


# --- trees --------------------------------------------------------------------------------


def summary(tree: Tree) -> Iterator[str]:
    """Yield the totals of a tree."""
    tables = f"{plural(len(tree.tables), 'table')}, {about(tree.table_bytes)}"
    if tree.mapped:
        sizes = ", ".join(
            f"{length // leaf:,} {TIMES} {size_words(leaf)}"
            for leaf, length in tree.sizes().items()
        )
        yield (
            f"{about(tree.mapped)} mapped by {plural(tree.leaves, 'leaf')} ({sizes}) in "
            f"{plural(len(tree.extents), 'range')}; {tables}"
        )
    else:
        yield f"nothing mapped; {tables}"
    worst = [
        plural(sum(f.severity == severity for f in tree.findings), severity)
        for severity in SEVERITIES[:2]
        if any(f.severity == severity for f in tree.findings)
    ]
    if worst:
        yield f"{' and '.join(worst)} found: see check"


def flat(tree: Tree) -> Iterator[str]:
    """Yield one line a range; leaves of different sizes that continue each other are one range."""
    runs = tree.extents
    continues = np.zeros(len(runs), dtype=np.bool_)
    continues[1:] = (
        (runs.iova[1:] == (runs.iova + runs.length)[:-1])
        & (runs.address[1:] == (runs.address + runs.length)[:-1])
        & (runs.meaning[1:] == runs.meaning[:-1])
    )
    starts = np.flatnonzero(~continues)
    parts = tree.ranges()
    for count in np.diff(starts, append=len(runs)).tolist():
        if count == 1:
            yield range_line(next(parts))
        else:
            yield _joined(list(islice(parts, count)))


def _joined(parts: Sequence[Range]) -> str:
    whole = parts[0]._replace(last=parts[-1].last)
    return range_line(whole, [(part.leaf, part.size) for part in parts])


def brief(tree: Tree) -> Iterator[str]:
    """Yield one line for adjacent leaves of one size and meaning, wherever they lead."""
    joined = join(tree.extents, aimless=True)
    for part, places in zip(tree.ranges(joined), joined.table.tolist(), strict=True):
        if places == 1:
            yield range_line(part)
        else:
            yield (
                f"{part.start:#x}-{part.last:#x} → {places:,} places {part.meaning}, "
                f"{leaves_words([(part.leaf, part.size)])}"
            )


def nested(tree: Tree) -> Iterator[str]:
    """Yield the tables as a tree, each with the ranges it maps itself."""
    below = _children(tree)
    runs = tree.runs
    order = np.argsort(runs.table, kind="stable")
    firsts = np.searchsorted(runs.table[order], np.arange(len(tree.tables) + 1)).tolist()
    parts = tree.ranges(runs.take(order))
    starts = tree.tables.iova.tolist()
    lines: dict[int, list[tuple[int, str]]] = {}
    for table, depth in enumerate(tree.tables.depth.tolist()):
        indent = "  " * (depth + 1)
        count = firsts[table + 1] - firsts[table]
        lines[table] = [
            (part.start - tree.space.base, indent + range_line(part))
            for part in islice(parts, count)
        ]
    stack: list[int | str] = [
        i for i in reversed(range(len(tree.tables))) if not tree.tables.depth[i]
    ]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
            continue
        yield _table_line(tree, item)
        inside: list[tuple[int, int | str]] = [(starts[child], child) for child in below[item]]
        inside += lines.pop(item)
        inside.sort(key=lambda pair: pair[0], reverse=True)
        stack.extend(what for _, what in inside)


def _children(tree: Tree) -> list[list[int]]:
    """Return the numbers of the tables below each table."""
    below: list[list[int]] = [[] for _ in range(len(tree.tables))]
    depths = tree.tables.depth
    for depth in range(1, len(tree.space.levels)):
        above = np.flatnonzero(depths == depth - 1)
        here = np.flatnonzero(depths == depth)
        above = above[np.argsort(tree.tables.iova[above], kind="stable")]
        owners = np.searchsorted(tree.tables.iova[above], tree.tables.iova[here], side="right") - 1
        for owner, child in zip(above[owners].tolist(), here.tolist(), strict=True):
            below[owner].append(child)
    return below


def _table_line(tree: Tree, table: int) -> str:
    depth = int(tree.tables.depth[table])
    level = tree.space.levels[depth]
    offset = int(tree.tables.iova[table])
    start = tree.space.base + offset
    span = level.entries << level.shift
    place = ""
    if depth:
        above = tree.space.levels[depth - 1]
        place = f"[{offset >> above.shift & above.entries - 1:#05x}] "
    return (
        f"{'  ' * depth}{place}level {level.number} table at {int(tree.tables.address[table]):#x} "
        f"for {start:#x}-{start + span - 1:#x}: {int(tree.tables.used[table])} of "
        f"{level.entries} entries"
    )


# --- single descriptors and walks -----------------------------------------------------------


def decode(descriptor: Descriptor, width: int = 8) -> Iterator[str]:
    """Yield a descriptor in words: what it is, then each field that says something."""
    yield f"{descriptor.word:#0{2 * width + 2}x} on level {descriptor.level}: {descriptor}"
    for field, number, words in descriptor.fields:
        quiet = field.kind in (Kind.RESERVED, Kind.IGNORED)
        if quiet and not number:
            continue
        shown = hex(number) if field.kind is not Kind.ADDRESS else hex(number << field.low)
        text = f": {words}" if words and field.kind is not Kind.ADDRESS else ""
        yield f"  {field.bits:>8} {field.name} = {shown}{text}"
    for rule, words in descriptor.problems:
        yield f"  ! {rule}: {words}"


def walk(space: Space, result: Walk) -> Iterator[str]:
    """Yield a walk level by level, then where it leads."""
    yield f"walk of {result.iova:#x} in {space}"
    for step in result.steps:
        found = step.descriptor
        if found is None:
            what = "not in the memory given"
        else:
            digits = 2 * space.reader.level(step.level).width + 2
            what = f"{found.word:#0{digits}x}  {found}"
        yield (
            f"  level {step.level}  table {step.table:#x}  index {step.entry:#05x}  "
            f"at {step.address:#x}  {what}"
        )
        if found is not None:
            for rule, words in found.problems:
                yield f"           ! {rule}: {words}"
    if result.target is None:
        yield f"{result.iova:#x} is not mapped: {result.fault}"
    else:
        yield (
            f"{result.iova:#x} → {result.target:#x} {result.meaning}, "
            f"in a leaf of {size_words(result.leaf)}"
        )


# --- answers ----------------------------------------------------------------------------------


def changes(found: Sequence[Change]) -> Iterator[str]:
    """Yield one line a change: - for what is gone, + for what is new, ~ for what is different."""
    for change in found:
        yield _change_line(change)
    if not found:
        yield "no change in meaning"


def _change_line(change: Change) -> str:
    old, new = change.old, change.new
    where = f"{change.start:#x}-{change.last:#x}"
    if old is None or new is None:
        part = new or old
        assert part is not None
        sign, was = ("-", "was ") if new is None else ("+", "")
        leaves = leaves_words([(part.leaf, part.size)])
        return f"{sign} {where} {change.what}: {was}→ {part.address:#x} {part.meaning}, {leaves}"
    words = []
    if change.what & What.MOVED:
        words.append(f"→ {old.address:#x} now {new.address:#x}")
    if change.what & What.PERMISSIONS:
        words.append(f"{old.meaning.permissions} now {new.meaning.permissions}")
    if change.what & What.ATTRIBUTES:
        words.append(f"{old.meaning.attributes} now {new.meaning.attributes}")
    if change.what & What.FLAGS:
        both = set(old.meaning.flags) & set(new.meaning.flags)
        before = " ".join(f for f in old.meaning.flags if f not in both) or "none"
        after = " ".join(f for f in new.meaning.flags if f not in both) or "none"
        words.append(f"{before} now {after}")
    if change.what & What.SOFTWARE:
        words.append(f"sw={old.meaning.software:#x} now sw={new.meaning.software:#x}")
    if change.what & What.PAGE_SIZE:
        words.append(f"leaves of {size_words(old.leaf)} now of {size_words(new.leaf)}")
    return f"~ {where} {change.what}: {'; '.join(words)}"


def unsafe(found: Sequence[Unsafe]) -> Iterator[str]:
    """Yield one line for each change that needed break-before-make."""
    if not found:
        yield "every change is safe without break-before-make"
    for one in found:
        yield f"break-before-make: {one}"


def finds(address: int, size: int, found: Found) -> Iterator[str]:
    """Yield who maps some physical memory, and which tables lie in it."""
    for part in found.ranges:
        yield range_line(part)
    for table in found.tables:
        yield (
            f"level {table.level} table at {table.address:#x} ({size_words(table.size)}), "
            f"for input addresses from {table.iova:#x}"
        )
    if not found.ranges:
        yield f"nothing maps {address:#x}-{address + size - 1:#x}"


def findings(found: Sequence[Finding]) -> Iterator[str]:
    """Yield one line a finding, the worst first, and a total."""
    for finding in found:
        yield str(finding)
    totals = [
        plural(count, severity)
        for severity in SEVERITIES
        for count in (sum(f.severity == severity for f in found),)
        if count
    ]
    yield ", ".join(totals) if totals else "nothing wrong found"
