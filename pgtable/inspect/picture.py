# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws an address space: one SVG that explains itself, with nothing outside it.

From top to bottom: what it is, four numbers, how access, page sizes and physical contiguity are
spread over the mapped bytes, then the map itself. In the map, addresses run from left to right
and down; gaps are left out and named. Colour is access, texture is the memory type, pallor is
a cell that is mapped in part, the band below a bar is the page size, the red above it tells how
often physical addresses jump.
"""

from __future__ import annotations

import numpy as np

from pgtable.inspect.errors import SpaceError
from pgtable.inspect.findings import ERROR, WARNING
from pgtable.inspect.regions import COLUMNS, Look, Region, look_of, regions_of, stretches
from pgtable.inspect.svg import Svg
from pgtable.inspect.theme import DARK, LIGHT, THEMES, style
from pgtable.inspect.tree import Tree
from pgtable.inspect.units import TIMES, about, plural, size_words

WIDTH = 1240
EDGE = 40
CELL = 10
CELL_HEIGHT = 24
ROW_STEP = CELL_HEIGHT + 18
MAP_LEFT = WIDTH - EDGE - 20 - COLUMNS * CELL
PALLOR = (0.34, 0.5, 0.66, 0.83, 1.0)

ACCESS_ORDER = ("rw", "ro", "wo", "rw priv", "ro priv", "wo priv", "none", "fault")
ACCESS_WORDS = {
    "rw": "read/write",
    "ro": "read-only",
    "wo": "write-only",
    "rw priv": "read/write, privileged",
    "ro priv": "read-only, privileged",
    "wo priv": "write-only, privileged",
    "none": "no access",
    "fault": "faults: address too large",
}
TEXTURES = {"solid": "cached or other", "uncached": "uncached", "device": "device"}


def svg(tree: Tree, title: str = "", theme: str = "auto") -> str:
    """Return a picture of an address space as one SVG document.

    `theme`: auto (follows the reader's surroundings), light or dark.

    Raises: SpaceError for a theme that does not exist.
    """
    if theme not in THEMES:
        raise SpaceError("theme", f"{theme!r} is none of {', '.join(THEMES)}")
    return _Picture(tree, title, theme).draw()


def html(tree: Tree, title: str = "", theme: str = "auto") -> str:
    """Return a page that holds the picture, with nothing outside it.

    Raises: SpaceError for a theme that does not exist.
    """
    picture = svg(tree, title, theme)
    name = Svg.escape(title or tree.space.format)
    light, dark = LIGHT["page"], DARK["page"]
    ground = dark if theme == "dark" else light
    media = (
        f"@media (prefers-color-scheme: dark){{body{{background:{dark}}}}}"
        if theme == "auto"
        else ""
    )
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{name}</title>"
        f"<style>body{{margin:0;background:{ground}}}"
        f"svg{{display:block;width:100%;max-width:{WIDTH}px;height:auto;margin:0 auto}}{media}"
        f"</style></head>\n<body>\n{picture}</body></html>\n"
    )


def access_class(access: str) -> str:
    """Return the colour's name for an access."""
    name = access.replace(" ", "-")
    return name if name in LIGHT else "none"


class _Picture:
    def __init__(self, tree: Tree, title: str, theme: str) -> None:
        self.tree = tree
        self.space = tree.space
        self.title = title or f"{tree.space.format} address space"
        self.theme = theme
        self.out = Svg()
        self.regions, self.looks = regions_of(tree)
        self.sizes = tree.sizes()
        self.digits = max(4, -(-max(1, (tree.space.base + tree.space.size - 1).bit_length()) // 4))

    def draw(self) -> str:
        y = self._header()
        y = self._numbers(y)
        y = self._shares(y)
        y = self._legend(y)
        y = self._map(y)
        return self.out.document(WIDTH, y + EDGE, style(self.theme), self.title, self._describe())

    def _describe(self) -> str:
        return (
            f"{self.space}: {about(self.tree.mapped)} mapped in "
            f"{plural(len(self.tree.extents), 'range')}"
        )

    # --- above the map --------------------------------------------------------------------

    def _header(self) -> int:
        out, space = self.out, self.space
        out.text(EDGE, 62, self.title, "title f-text")
        half = "TTBR1 half, " if space.upper else ""
        roots = ", ".join(hex(root) for root in space.roots if root is not None)
        line = (
            f"{space.format}  ·  {half}{size_words(space.granule)} granule  ·  "
            f"{space.input_bits}-bit addresses in, {space.output_bits}-bit out  ·  root {roots}"
        )
        out.text(EDGE, 88, line, "body f-soft")
        self._verdict()
        return 112

    def _verdict(self) -> None:
        """Say in the corner whether the tables are sound."""
        counts = {
            severity: sum(finding.severity == severity for finding in self.tree.findings)
            for severity in (ERROR, WARNING)
        }
        words = [plural(count, severity) for severity, count in counts.items() if count]
        kind = "error" if counts[ERROR] else "warning" if words else "ro"
        self.out.circle(WIDTH - EDGE - 6, 57, 5, f"f-{kind}")
        text = ", ".join(words) if words else "tables are sound"
        self.out.text(WIDTH - EDGE - 20, 62, text, f"body end f-{kind if words else 'soft'}")

    def _numbers(self, y: int) -> int:
        tree = self.tree
        share = 100 * tree.mapped / self.space.size
        few = "<0.01" if 0 < share < 0.01 else f"{share:.2f}".rstrip("0").rstrip(".")
        ranges = len(tree.extents)
        mean = tree.mapped // ranges if ranges else 0
        contiguous = int(tree.extents.length.max()) if ranges else 0
        tiles = (
            ("Mapped", about(tree.mapped), f"{few}% of {about(self.space.size)}"),
            ("Leaves", f"{tree.leaves:,}", self._size_line()),
            ("Ranges", f"{ranges:,}", f"mean {about(mean)}, largest {about(contiguous)}"),
            ("Tables", f"{len(tree.tables):,}", f"{about(tree.table_bytes)} of memory"),
        )
        width = (WIDTH - 2 * EDGE - 3 * 16) / 4
        for number, (name, value, note) in enumerate(tiles):
            x = EDGE + number * (width + 16)
            self.out.card(x, y, width, 92)
            self.out.text(x + 18, y + 27, name, "small f-soft")
            self.out.text(x + 18, y + 55, value, "number f-text")
            self.out.text(x + 18, y + 77, note, "small f-soft")
        return y + 92 + 16

    def _size_line(self) -> str:
        words = [f"{n // leaf:,} {TIMES} {size_words(leaf)}" for leaf, n in self.sizes.items()]
        return ", ".join(words[:3]) if words else "nothing mapped"

    def _shares(self, y: int) -> int:
        """Draw three bars: how the mapped bytes are spread."""
        width = (WIDTH - 2 * EDGE - 2 * 16) / 3
        panels = (
            ("Access, by mapped bytes", self._access_shares()),
            ("Page size, by mapped bytes", self._size_shares()),
            ("Physical contiguity, by mapped bytes", self._stretch_shares()),
        )
        height = 72 + 20 * max(len(shares) for _, shares in panels)
        height = max(height, 106)
        for number, (name, shares) in enumerate(panels):
            x = EDGE + number * (width + 16)
            self.out.card(x, y, width, height)
            self.out.text(x + 18, y + 28, name, "head f-text")
            self._share_bar(x + 18, y + 42, width - 36, shares)
        return y + height + 16

    def _share_bar(
        self, x: float, y: float, width: float, shares: list[tuple[str, str, int]]
    ) -> None:
        """Draw one bar of (words, colour, bytes), the words and percentages below it."""
        total = sum(amount for _, _, amount in shares) or 1
        self.out.rect(x, y, width, 12, "f-empty", 3)
        at = x
        for row, (words, colour, amount) in enumerate(shares):
            part = width * amount / total
            self.out.rect(at, y, max(part, 1.5), 12, colour, 0, words)
            at += part
            below = y + 35 + 20 * row
            self.out.rect(x, below - 9, 10, 10, colour, 2)
            self.out.text(x + 18, below, words, "small f-text")
            share = 100 * amount / total
            shown = "<0.1%" if 0 < share < 0.1 else f"{share:.1f}%".replace(".0%", "%")
            self.out.text(x + width, below, f"{about(amount)}   {shown}", "small end f-soft")

    def _access_shares(self) -> list[tuple[str, str, int]]:
        amounts: dict[str, int] = {}
        runs = self.tree.extents
        for number, meaning in enumerate(self.tree.meanings):
            access = look_of(meaning).access
            length = int(runs.length[runs.meaning == number].sum())
            amounts[access] = amounts.get(access, 0) + length
        order = sorted(amounts, key=ACCESS_ORDER.index)
        return [
            (ACCESS_WORDS[name], f"f-{access_class(name)}", amounts[name])
            for name in order
            if amounts[name]
        ]

    def _size_class(self, size: int) -> str:
        """Return the colour of a page size: the darker, the larger among those of this space."""
        every = sorted(
            {shape.size for level in self.space.levels for shape in level.shapes.values()} - {1}
        )
        place = every.index(size) if size in every else 0
        return f"f-size-{min(place, 3)}" if len(every) < 5 else f"f-size-{place * 4 // len(every)}"

    def _size_shares(self) -> list[tuple[str, str, int]]:
        return [
            (f"{size_words(leaf)} leaves", self._size_class(leaf), amount)
            for leaf, amount in sorted(self.sizes.items())
        ]

    def _stretch_shares(self) -> list[tuple[str, str, int]]:
        """Sort mapped bytes by how far their physical addresses go on without a jump."""
        runs = self.tree.extents
        if not len(runs):
            return []
        starts = np.flatnonzero(stretches(runs))
        lengths = np.add.reduceat(runs.length, starts)
        edges = (0, 1 << 16, 1 << 21, 1 << 26, 1 << 63)
        names = ("under 64K", "64K to 2M", "2M to 64M", "64M and more")
        out = []
        for i, name in enumerate(names):
            inside = (lengths >= edges[i]) & (lengths < edges[i + 1])
            amount = int(lengths[inside].sum())
            if amount:
                words = f"{name}: {plural(int(inside.sum()), 'stretch').replace('chs', 'ches')}"
                out.append((words, ("f-jump", "f-run-1", "f-run-2", "f-run-3")[i], amount))
        return out

    # --- the map ----------------------------------------------------------------------------

    def _legend(self, y: int) -> int:
        """Explain what the map shows, with what is in this one only."""
        out, x = self.out, float(EDGE)
        out.text(x, y + 22, "Address map", "head f-text")
        x += 112
        for look in sorted(self.looks, key=lambda one: ACCESS_ORDER.index(one.access)):
            self._bar(x, y + 12, 22, 12, look, 1.0)
            words = ACCESS_WORDS[look.access]
            if look.memory != "solid":
                words += f", {TEXTURES[look.memory]}"
            out.text(x + 29, y + 22, words, "small f-soft")
            x += 29 + 6.3 * len(words) + 20
        x, y = float(EDGE) + 112, y + 24
        notes = [("paler: mapped in part", 6.3)]
        out.rect(x, y + 12, 7, 12, "f-rw", 0, "", 1.0)
        out.rect(x + 7, y + 12, 7, 12, "f-rw", 0, "", 0.6)
        out.rect(x + 14, y + 12, 8, 12, "f-rw", 0, "", 0.34)
        out.text(x + 29, y + 22, notes[0][0], "small f-soft")
        x += 29 + 6.3 * len(notes[0][0]) + 20
        for leaf in sorted(self.sizes):
            out.rect(x, y + 17, 22, 4, self._size_class(leaf), 1)
            words = f"{size_words(leaf)} leaves"
            out.text(x + 29, y + 22, words, "small f-soft")
            x += 29 + 6.3 * len(words) + 20
        out.rect(x, y + 12, 22, 3, "f-jump", 1)
        out.text(x + 29, y + 22, "physical addresses jump", "small f-soft")
        return y + 36

    def _map(self, y: int) -> int:
        if not self.regions:
            self.out.card(EDGE, y, WIDTH - 2 * EDGE, 90)
            self.out.text(WIDTH / 2, y + 50, "nothing is mapped", "body middle f-soft")
            return y + 90
        at = 0
        for region in self.regions:
            y = self._gap(y, region.start - at)
            y = self._region(y, region)
            at = region.end
        return self._gap(y, self.space.size - at)

    def _gap(self, y: int, size: int) -> int:
        """Name a gap that was left out."""
        if size <= 0:
            return y
        words = f"{about(size)} unmapped"
        half = 3.6 * len(words) + 14
        self.out.line(EDGE + 20, y + 15, WIDTH / 2 - half, y + 15)
        self.out.line(WIDTH / 2 + half, y + 15, WIDTH - EDGE - 20, y + 15)
        self.out.text(WIDTH / 2, y + 19, words, "small middle f-soft")
        return y + 30

    def _region(self, y: int, region: Region) -> int:
        out = self.out
        height = 50 + region.rows * ROW_STEP
        out.card(EDGE, y, WIDTH - 2 * EDGE, height)
        runs = region.runs
        first = self.space.base + int(runs.iova[0])
        last = self.space.base + int(runs.iova[-1] + runs.length[-1]) - 1
        span = last - first + 1
        where = f"{first:#x} – {last:#x}"  # noqa: RUF001
        out.text(EDGE + 20, y + 28, where, "head mono f-text")
        if np.count_nonzero(stretches(runs)) == 1:
            target = f"→ {int(runs.address[0]):#x}"
            out.text(EDGE + 32 + 8.2 * len(where), y + 28, target, "body mono f-soft")
        density = 100 * region.mapped / span
        few = "<0.01" if density < 0.01 else f"{density:.3g}"
        dense = "fully mapped" if density == 100 else f"{few}% mapped"
        words = (
            f"{about(span)}, {dense}  ·  {plural(len(runs), 'range')}  ·  "
            f"a cell is {size_words(region.cell)}"
        )
        out.text(WIDTH - EDGE - 20, y + 28, words, "small end f-soft")
        for row in range(region.rows):
            self._row(y + 44 + row * ROW_STEP, region, row)
        return y + height + 10

    def _row(self, y: float, region: Region, row: int) -> None:
        """Draw one row of cells, equal neighbours that go on as one bar."""
        out = self.out
        first = row * COLUMNS
        last = min(first + COLUMNS, region.cells)
        start = self.space.base + region.start + first * region.cell
        out.text(MAP_LEFT - 14, y + 16, f"{start:#0{self.digits + 2}x}", "tiny mono end f-soft")
        out.rect(MAP_LEFT, y, (last - first) * CELL, CELL_HEIGHT, "f-empty", 2)
        pallor = np.ceil(np.clip(region.covered, 0, 1) * len(PALLOR) - 1e-9).astype(np.int64)
        pages = np.maximum(region.covered * region.cell / self.space.granule, 1)
        jumps = np.ceil(3 * region.breaks / pages).clip(0, 3)
        at = first
        while at < last:
            end = at + 1
            while (
                end < last
                and region.joined[end] == (region.look[at] >= 0)
                and region.look[end] == region.look[at]
                and pallor[end] == pallor[at]
                and region.size_lg2[end] == region.size_lg2[at]
                and jumps[end] == jumps[at]
            ):
                end += 1
            if region.look[at] >= 0:
                strength = PALLOR[int(pallor[at]) - 1]
                self._cells(y, region, first, at, end, strength, int(jumps[at]))
            at = end

    def _cells(
        self,
        y: float,
        region: Region,
        row: int,
        at: int,
        end: int,
        strength: float,
        jumps: int,
    ) -> None:
        x = MAP_LEFT + (at - row) * CELL
        goes_on = end < region.cells and bool(region.joined[end]) and end - row < COLUMNS
        width = (end - at) * CELL - (0 if goes_on else 1)
        low = self.space.base + region.start + at * region.cell
        high = low + (end - at) * region.cell - 1
        look = self.looks[int(region.look[at])]
        size = 1 << int(region.size_lg2[at])
        share = 100 * float(region.covered[at:end].mean())
        tip = (
            f"{low:#x}-{high:#x}: {ACCESS_WORDS[look.access]}, {TEXTURES[look.memory]}, "
            f"{size_words(size)} leaves, {share:.3g}% mapped"
        )
        breaks = int(region.breaks[at:end].sum())
        if breaks:
            tip += f", {plural(breaks, 'physical jump')}"
        self._bar(x, y, width, CELL_HEIGHT, look, strength, tip)
        if jumps:
            self.out.rect(x, y - 4, width, 3, "f-jump", 0, "", (0.4, 0.7, 1.0)[jumps - 1])
        self.out.rect(x, y + CELL_HEIGHT + 1, width, 3.5, self._size_class(size), 0)

    def _bar(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        look: Look,
        strength: float,
        tip: str = "",
    ) -> None:
        colour = f"f-{access_class(look.access)}"
        self.out.rect(x, y, width, height, colour, 1.5, tip, strength)
        if look.memory != "solid":
            self.out.texture(x, y, width, height, look.memory)
