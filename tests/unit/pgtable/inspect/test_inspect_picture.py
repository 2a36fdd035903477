# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures: sound documents with nothing outside them, and cells that add up."""

from __future__ import annotations

import random
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from pgtable import Arena, PageTable, PageTableConfig, Prot, Quirk, alloc
from pgtable.inspect import Image, Space, SpaceError, picture, read
from pgtable.inspect.live import read_table
from pgtable.inspect.regions import COLUMNS, MOST_REGIONS, MOST_ROWS, regions_of

SVG = "{http://www.w3.org/2000/svg}"
RW, RO = Prot.READ | Prot.WRITE | Prot.CACHE, Prot.READ | Prot.CACHE


def made(fmt: str, seed: int, **options: Any) -> PageTable[Any]:
    rng = random.Random(seed)
    cfg = PageTableConfig(**{"pgsize_bitmap": 0x1000 | 1 << 21, "ias": 39, "oas": 40} | options)
    table = alloc(fmt, cfg, memory=Arena(0x4000_0000, 8 << 20))
    page = table.cfg.pgsize_bitmap & -table.cfg.pgsize_bitmap
    bottom = (1 << 64) - (1 << cfg.ias) if cfg.quirks & Quirk.ARM_TTBR1 else 0
    for _ in range(rng.choice([1, 30, 200])):
        at = rng.randrange(1 << rng.choice([22, 26, 32]) >> 12) * page % (1 << table.cfg.ias)
        to = rng.randrange(1 << 16) * page
        prot = rng.choice([RW, RO, Prot.READ | Prot.WRITE, Prot.READ | Prot.WRITE | Prot.MMIO])
        if table.leaf_at(bottom + at) is None:
            table.map(bottom + at, to, page, prot)
    return table


TABLES = [
    ("ARM_64_LPAE_S1", {}),
    ("ARM_64_LPAE_S1", {"ias": 48, "oas": 48, "quirks": Quirk.ARM_TTBR1}),
    ("ARM_V7S", {"pgsize_bitmap": 0x111_1000, "ias": 32, "oas": 32}),
    ("APPLE_DART2", {"pgsize_bitmap": 0x4000, "ias": 42, "oas": 42}),
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("fmt", "options"), TABLES)
def test_cells_hold_exactly_what_is_mapped(fmt: str, options: dict[str, Any], seed: int) -> None:
    tree = read_table(made(fmt, seed, **options))
    regions, looks = regions_of(tree)
    assert 1 <= len(regions) <= MOST_REGIONS
    at = 0
    for region in regions:
        assert region.start >= at - region.cell
        assert region.start % region.cell == 0
        assert region.covered.max() <= 1 + 1e-9
        assert np.count_nonzero(region.covered) == np.count_nonzero(region.look >= 0)
        assert region.covered.sum() * region.cell == pytest.approx(region.mapped)
        assert region.cells <= COLUMNS * region.rows
        at = region.end
    assert sum(region.mapped for region in regions) == tree.mapped
    assert sum(region.rows for region in regions) <= 2 * MOST_ROWS
    assert {int(n) for region in regions for n in region.look} <= set(range(-1, len(looks)))


def test_gaps_are_left_out_and_a_long_stretch_stands_apart() -> None:
    table = made("ARM_64_LPAE_S1", 0)
    tree = read_table(table)
    image = Image([(0, np.zeros(512, dtype="<u8"))])
    table.close()
    del tree
    cfg = PageTableConfig(pgsize_bitmap=0x1000 | 1 << 21, ias=39, oas=40)
    table = alloc("ARM_64_LPAE_S1", cfg, memory=Arena(0x4000_0000, 8 << 20))
    table.map(0, 0x8000_0000, 1 << 24, RW)
    for i in range(20):
        table.map((1 << 24) + i * 0x1000, 0x9000_0000 - i * 0x3000, 0x1000, RO)
    table.map(1 << 38, 0x8000_0000, 0x1000, RW)
    regions, _ = regions_of(read_table(table))
    assert [(r.start, r.mapped) for r in regions] == [
        (0, 1 << 24),
        (1 << 24, 20 << 12),
        (1 << 38, 0x1000),
    ]
    assert regions[1].cell == 0x1000
    assert regions[1].breaks.tolist()[:3] == [0, 1, 1]
    assert image.size == 0x1000


def check_document(document: str) -> ET.Element:
    """Parse a picture; nothing may be loaded from outside, nothing may leave the page."""
    root = ET.fromstring(document)
    assert root.tag == f"{SVG}svg"
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for node in root.iter():
        for name, value in node.attrib.items():
            assert "href" not in name
            assert "url(" not in value or value in ("url(#device)", "url(#uncached)")
        if node.tag == f"{SVG}rect" and "x" in node.attrib:
            assert float(node.attrib["x"]) + float(node.attrib["width"]) <= width
            assert float(node.attrib["y"]) + float(node.attrib["height"]) <= height
    assert "@import" not in document
    assert "<script" not in document
    return root


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("fmt", "options"), TABLES)
@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_a_picture_is_one_sound_document(
    fmt: str, options: dict[str, Any], seed: int, theme: str
) -> None:
    tree = read_table(made(fmt, seed, **options))
    document = picture.svg(tree, theme=theme)
    root = check_document(document)
    words = " ".join(node.text or "" for node in root.iter(f"{SVG}text"))
    assert "Address map" in words
    assert hex(next(tree.ranges()).start) in words
    assert ("prefers-color-scheme" in document) == (theme == "auto")
    assert len(document) < 600_000


def test_what_is_drawn_can_be_read_under_the_pointer() -> None:
    cfg = PageTableConfig(pgsize_bitmap=0x1000 | 1 << 21, ias=39, oas=40)
    table = alloc("ARM_64_LPAE_S1", cfg, memory=Arena(0x4000_0000, 1 << 20))
    table.map(0, 0x8000_0000, 0x3000, RW)
    root = check_document(picture.svg(read_table(table)))
    tips = [node.text for node in root.iter(f"{SVG}title")]
    assert "0x0-0x2fff: read/write, cached or other, 4K leaves, 100% mapped" in tips


def test_titles_cannot_break_the_document() -> None:
    tree = read_table(made("ARM_64_LPAE_S1", 1))
    title = '<script>"x" & \x00\x07</script>'
    root = check_document(picture.svg(tree, title=title))
    assert root.find(f"{SVG}title").text == '<script>"x" & </script>'  # type: ignore[union-attr]
    page = picture.html(tree, title=title)
    assert "<script" not in page
    assert page.startswith("<!DOCTYPE html>")


def test_an_empty_space_is_drawn_as_such() -> None:
    space = Space(format="ARM_64_LPAE_S1", root=0)
    tree = read(space, Image([(0, bytes(0x1000))]))
    root = check_document(picture.svg(tree))
    assert "nothing is mapped" in [node.text for node in root.iter(f"{SVG}text")]


def test_a_theme_that_does_not_exist_is_refused() -> None:
    tree = read_table(made("ARM_64_LPAE_S1", 1))
    with pytest.raises(SpaceError, match="theme"):
        picture.svg(tree, theme="pink")
