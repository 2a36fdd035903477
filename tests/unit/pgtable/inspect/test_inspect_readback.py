# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees that pgtable wrote, read back by readers that share no code with it."""

from __future__ import annotations

import ast
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgtable.inspect
from pgtable import Arena, PageTable, PageTableConfig, Prot, Quirk, alloc
from pgtable.inspect import Image, Space, Tree, read, walk
from pgtable.inspect.diff import Comparison
from pgtable.inspect.live import read_table, space_of
from pgtable.inspect.meaning import READ, WRITE

BASE = 0x4000_0000
S1_PAGES = 0x1000 | 1 << 21 | 1 << 30

# (format, configuration, a page of which the model's pages are made)
TABLES: list[tuple[str, dict[str, Any], int]] = [
    ("ARM_64_LPAE_S1", {"pgsize_bitmap": S1_PAGES, "ias": 48, "oas": 48}, 0x1000),
    ("ARM_64_LPAE_S1", {"pgsize_bitmap": S1_PAGES, "ias": 39, "oas": 40}, 0x1000),
    (
        "ARM_64_LPAE_S1",
        {"pgsize_bitmap": S1_PAGES, "ias": 48, "oas": 48, "quirks": Quirk.ARM_TTBR1 | Quirk.ARM_HD},
        0x1000,
    ),
    ("ARM_64_LPAE_S1", {"pgsize_bitmap": 0x4000 | 1 << 25, "ias": 47, "oas": 48}, 0x4000),
    ("ARM_64_LPAE_S1", {"pgsize_bitmap": 0x1_0000 | 1 << 29, "ias": 48, "oas": 48}, 0x1_0000),
    (
        "ARM_64_LPAE_S1",
        {
            "pgsize_bitmap": 0x1_0000 | 1 << 29 | 1 << 42,
            "ias": 52,
            "oas": 52,
            "quirks": Quirk.ARM_NS,
        },
        0x1_0000,
    ),
    ("ARM_64_LPAE_S2", {"pgsize_bitmap": S1_PAGES, "ias": 40, "oas": 40}, 0x1000),
    ("ARM_64_LPAE_S2", {"pgsize_bitmap": S1_PAGES, "ias": 40, "oas": 44}, 0x1000),
    (
        "ARM_64_LPAE_S2",
        {"pgsize_bitmap": 0x4000 | 1 << 25, "ias": 48, "oas": 48, "quirks": Quirk.ARM_S2FWB},
        0x4000,
    ),
    ("ARM_32_LPAE_S1", {"pgsize_bitmap": S1_PAGES, "ias": 32, "oas": 40}, 0x1000),
    ("ARM_32_LPAE_S2", {"pgsize_bitmap": S1_PAGES, "ias": 40, "oas": 40}, 0x1000),
    ("ARM_MALI_LPAE", {"pgsize_bitmap": S1_PAGES, "ias": 48, "oas": 40}, 0x1000),
    ("ARM_MALI_LPAE", {"pgsize_bitmap": S1_PAGES, "ias": 33, "oas": 40}, 0x1000),
    ("ARM_V7S", {"pgsize_bitmap": 0x111_1000, "ias": 32, "oas": 32}, 0x1000),
    (
        "ARM_V7S",
        {"pgsize_bitmap": 0x111_1000, "ias": 31, "oas": 32, "quirks": Quirk.ARM_NS},
        0x1000,
    ),
    (
        "ARM_V7S",
        {
            "pgsize_bitmap": 0x111_1000,
            "ias": 34,
            "oas": 35,
            "quirks": Quirk.NO_PERMS | Quirk.ARM_MTK_EXT | Quirk.ARM_MTK_TTBR_EXT,
        },
        0x1000,
    ),
    ("APPLE_DART", {"pgsize_bitmap": 0x4000, "ias": 36, "oas": 36}, 0x4000),
    ("APPLE_DART", {"pgsize_bitmap": 0x1000, "ias": 32, "oas": 36}, 0x1000),
    ("APPLE_DART", {"pgsize_bitmap": 0x1000, "ias": 36, "oas": 36}, 0x1000),
    ("APPLE_DART2", {"pgsize_bitmap": 0x4000, "ias": 42, "oas": 42}, 0x4000),
]
IDS = [f"{fmt}-{cfg['ias']}-{cfg['pgsize_bitmap']:#x}" for fmt, cfg, _ in TABLES]

PROTS = [
    Prot.READ | Prot.WRITE | Prot.CACHE,
    Prot.READ | Prot.CACHE,
    Prot.READ | Prot.WRITE,
    Prot.READ | Prot.WRITE | Prot.MMIO | Prot.NOEXEC,
    Prot.WRITE,
    Prot.READ | Prot.PRIV | Prot.CACHE,
]


def written(fmt: str, cfg: dict[str, Any], page: int, seed: int) -> tuple[PageTable[Any], Any]:
    """Return a table with random mappings, and what was mapped: page -> (target, protection)."""
    rng = random.Random(seed)
    config = PageTableConfig(**cfg)
    table = alloc(fmt, config, memory=Arena(BASE, 8 << 20))
    model: dict[int, tuple[int, Prot]] = {}
    bottom = (1 << 64) - (1 << config.ias) if config.quirks & Quirk.ARM_TTBR1 else 0
    sizes = [1 << bit for bit in range(60) if table.cfg.pgsize_bitmap >> bit & 1]
    for _ in range(60):
        size = rng.choice([*sizes[:1] * 4, *sizes[:2]])
        count = rng.choice([1, 1, 2, 5, 16]) if size <= 1 << 21 else 1
        iova = rng.randrange((1 << min(table.cfg.ias, 36)) // size - count) * size
        paddr = rng.randrange((1 << min(table.cfg.oas, 36)) // size - count) * size
        if fmt != "ARM_V7S" or not config.quirks:
            paddr |= rng.choice([0, 1 << table.cfg.oas - 1]) & -size
        prot = rng.choice(PROTS)
        pages = range(iova, iova + size * count, page)
        if any(at in model for at in pages):
            continue
        table.map(bottom + iova, paddr, size * count, prot, pgsize=size)
        model.update({at: (paddr + at - iova, prot) for at in pages})
    for at in rng.sample(sorted(model), len(model) // 50):
        leaf = table.leaf_at(bottom + at)
        if leaf is not None and leaf[1] == page:
            table.unmap(bottom + at, page)
            del model[at]
    return table, {bottom + at: found for at, found in model.items()}


def rights(fmt: str, prot: Prot, quirks: int) -> int:
    """Return what a protection lets unprivileged accesses do in a format."""
    if quirks & Quirk.NO_PERMS:
        return READ | WRITE
    first_stage = fmt.endswith("S1") or fmt == "ARM_V7S"
    if first_stage and prot & Prot.PRIV:
        return 0
    if fmt == "ARM_V7S":
        return READ | WRITE if prot & Prot.WRITE else READ
    if first_stage:
        return READ if not prot & Prot.WRITE else READ | WRITE
    return int(prot) & 3


def pages_of(tree: Tree, page: int) -> dict[int, tuple[int, Any]]:
    """Take a tree's ranges apart into pages."""
    out = {}
    for part in tree.ranges():
        assert part.leaf >= page
        for at in range(part.start, part.last + 1, page):
            assert at not in out
            out[at] = (part.address + at - part.start, part.meaning)
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("fmt", "cfg", "page"), TABLES, ids=IDS)
def test_what_was_written_is_what_is_read(
    fmt: str, cfg: dict[str, Any], page: int, seed: int
) -> None:
    table, model = written(fmt, cfg, page, seed)
    tree = read_table(table)
    found = pages_of(tree, page)
    assert {at: target for at, (target, _) in found.items()} == {
        at: target for at, (target, _) in model.items()
    }
    quirks = cfg.get("quirks", 0)
    for at, (_, prot) in model.items():
        meaning = found[at][1]
        assert meaning.user & 3 == rights(fmt, prot, quirks), f"{at:#x} {prot!r} {meaning}"
    assert tree.mapped == len(model) * page
    wrong = [str(f) for f in tree.findings if f.severity == "error"]
    assert wrong == []


@pytest.mark.parametrize(("fmt", "cfg", "page"), TABLES, ids=IDS)
def test_walks_agree_with_the_tree_and_with_the_writer(
    fmt: str, cfg: dict[str, Any], page: int
) -> None:
    table, model = written(fmt, cfg, page, 9)
    tree = read_table(table)
    rng = random.Random(5)
    for at in [*rng.sample(sorted(model), min(100, len(model)))]:
        within = rng.randrange(page)
        one = walk(tree.space, tree.image, at + within)
        assert one.target == model[at][0] + within == table.iova_to_phys(at + within)
        assert one.steps[-1].descriptor is not None
        assert one.leaf == table.leaf_at(at)[1]  # type: ignore[index]
    holes = np.array([rng.randrange(1 << 36) & -page for _ in range(200)], dtype=np.uint64)
    for hole in (int(h) + tree.space.base for h in holes):
        one = walk(tree.space, tree.image, hole)
        if hole not in model and one.steps:
            assert one.target is None


@pytest.mark.parametrize(("fmt", "cfg", "page"), TABLES, ids=IDS)
def test_tables_and_memory_types_are_found(fmt: str, cfg: dict[str, Any], page: int) -> None:
    table, _ = written(fmt, cfg, page, 4)
    tree = read_table(table)
    live = table.memory.live  # type: ignore[attr-defined]
    assert set(tree.tables.address.tolist()) == set(live)
    shorts = {meaning.memory.short for meaning in tree.meanings}
    if fmt == "ARM_MALI_LPAE":
        assert shorts == {"cached", "gpu-policy"}
    elif fmt == "APPLE_DART":
        assert shorts == {"normal"}
    elif fmt == "APPLE_DART2":
        assert shorts == {"cached", "uncached"}
    else:
        assert shorts == {"cached", "uncached", "device"}


def test_quirks_that_hardware_sees_are_read() -> None:
    cfg = {"pgsize_bitmap": S1_PAGES, "ias": 48, "oas": 48, "quirks": Quirk.ARM_NS | Quirk.ARM_HD}
    table = alloc("ARM_64_LPAE_S1", PageTableConfig(**cfg), memory=Arena(BASE, 1 << 20))  # type: ignore[arg-type]
    table.map(0, 0x8000_0000, 0x1000, Prot.READ | Prot.WRITE | Prot.CACHE)
    table.map(0x1000, 0x8000_0000, 0x1000, Prot.READ | Prot.CACHE | Prot.NOEXEC)
    words = [str(part.meaning) for part in read_table(table).ranges()]
    assert words == ["rw cached dirty ns", "ro cached xn ns"]


def test_a_live_table_is_described_by_its_registers() -> None:
    cfg = PageTableConfig(pgsize_bitmap=S1_PAGES, ias=40, oas=40)
    table = alloc("ARM_64_LPAE_S2", cfg, memory=Arena(BASE, 1 << 20))
    space = space_of(table)
    assert (space.start_level, space.levels[0].entries, space.roots) == (1, 1024, (BASE,))


def test_a_million_scattered_leaves_are_read_and_compared_in_seconds() -> None:
    # Processor time, for the machine may be busy: a quarter of a second, and two.
    trees = []
    for seed in range(2):
        count = 1 << 20
        targets = np.arange(count, dtype=np.uint64) << np.uint64(12)
        np.random.default_rng(seed).shuffle(targets)
        words = np.zeros(512 * (1 + 4 + 2048), dtype="<u8")
        words[:4] = BASE + 0x1000 * (1 + np.arange(4)) + 3
        words[512 : 512 * 5] = BASE + 0x5000 + 0x1000 * np.arange(2048) + 3
        words[512 * 5 :] = (targets + np.uint64(1 << 32)) | np.uint64(0xF47)
        space = Space(format="ARM_64_LPAE_S1", root=BASE, input_bits=39, output_bits=40)
        start = time.process_time()
        tree = read(space, Image([(BASE, words)]))
        assert tree.leaves == count
        assert tree.findings == ()
        assert time.process_time() - start < 5
        trees.append(tree)
    start = time.process_time()
    what = Comparison(*trees).what
    assert np.count_nonzero(what) > 1_000_000
    assert time.process_time() - start < 5


def test_readers_share_nothing_with_the_writers() -> None:
    package = Path(pgtable.inspect.__file__).parent
    allowed = {
        "pgtable.bbm",
        "pgtable.config",
        "pgtable.errors",
        "pgtable.table",
        "pgtable.inspect",
    }
    for path in [*package.glob("*.py"), package.parent / "bbm.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                assert not name.startswith(("pgtable.formats", "smmu_emu")), path
                if name.startswith("pgtable"):
                    assert ".".join(name.split(".")[:2]) in allowed, f"{path}: {name}"
