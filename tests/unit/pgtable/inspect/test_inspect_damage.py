# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and illegal trees: typed findings, no exception, no hang."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable.inspect import FORMATS, RULES, Image, Space, SpaceError, Tree, find, read, walk
from pgtable.inspect import text as text_of
from pgtable.inspect.changes import unsafe_changes
from pgtable.inspect.diff import diff
from pgtable.inspect.reading import MOST_REPEATS

BASE = 0x4000_0000
LEAF = 0xF47
S1 = Space(format="ARM_64_LPAE_S1", root=BASE, output_bits=40)
V7S = Space(format="ARM_V7S", root=BASE)


def image(words: dict[int, int], size: int = 0x8000, width: int = 8) -> Image:
    """Return memory at BASE with some words in it, by offset."""
    data = np.zeros(size // width, dtype=f"<u{width}")
    for at, word in words.items():
        data[at // width] = word
    return Image([(BASE, data)])


def chain(**more: int) -> dict[int, int]:
    """Return four tables, one after the other, that map one page at 0; and more words."""
    words = {0: BASE + 0x1003, 0x1000: BASE + 0x2003, 0x2000: BASE + 0x3003, 0x3000: 0x8000_0F47}
    return words | {int(at, 16): word for at, word in more.items()}


def rules(tree: Tree) -> list[str]:
    return [finding.rule for finding in tree.findings]


def test_a_sound_tree_has_no_findings() -> None:
    tree = read(S1, image(chain()))
    assert tree.findings == ()
    assert [str(part.meaning) for part in tree.ranges()] == ["rw cached"]


def test_a_root_outside_the_memory_is_an_error() -> None:
    for root in (BASE - 0x1000, BASE + 0x8000, 0):
        space = Space(format="ARM_64_LPAE_S1", root=root)
        with pytest.raises(SpaceError, match="is not in the memory given"):
            read(space, image({}))


def test_a_table_outside_the_memory_is_told_and_the_rest_read() -> None:
    tree = read(S1, image(chain(**{"2008": 0x9000_0003, "2010": BASE + 0x7_F003})))
    assert rules(tree) == ["table-outside", "table-outside"]
    assert tree.mapped == 0x1000
    first = tree.findings[0]
    assert (first.address, first.word, first.level) == (BASE + 0x2008, 0x9000_0003, 2)
    assert (first.iova, first.size) == (1 << 21, 1 << 21)
    step = walk(S1, tree.image, 1 << 21).steps[-1]
    assert (step.table, step.descriptor) == (0x9000_0000, None)


def test_a_table_that_is_only_partly_given_is_outside() -> None:
    tree = read(S1, image(chain(**{"2008": BASE + 0x8003}), size=0x8800))
    assert rules(tree) == ["table-outside"]
    assert "not all given" in tree.findings[0].message


def test_a_loop_is_told_and_a_walk_through_it_ends() -> None:
    tree = read(S1, image(chain(**{"2ff8": BASE + 3})))
    assert rules(tree) == ["loop"]
    assert tree.mapped == 0x1000
    # Hardware follows it: the root is read once more, as the last level.
    one = walk(S1, tree.image, 511 << 21)
    assert [step.table for step in one.steps] == [BASE, BASE + 0x1000, BASE + 0x2000, BASE]
    assert one.target == BASE + 0x1000


@pytest.mark.parametrize("target", [0, 0x1000, 0x2000])
def test_a_table_full_of_loops_ends_soon(target: int) -> None:
    words = chain() | {0x2000 + 8 * i: BASE + target + 3 for i in range(1, 512)}
    words |= {0x1000 + 8 * i: BASE + 0x1003 for i in range(1, 512)}
    tree = read(S1, image(words))
    assert "loop" in rules(tree)
    assert len(tree.tables) < 10


def test_shared_tables_are_followed_a_limited_number_of_times() -> None:
    # Every entry of three levels leads to the same next table.
    words: dict[int, int] = {}
    for level in range(3):
        words |= {0x1000 * level + 8 * i: BASE + 0x1000 * (level + 1) + 3 for i in range(512)}
    words[0x3000] = 0x8000_0F47
    tree = read(S1, image(words))
    assert {"shared-table", "too-large"} <= set(rules(tree))
    assert len(tree.tables) < 2 * MOST_REPEATS
    assert find(tree, 0x8000_0000).ranges


def test_a_table_shared_by_two_entries_is_followed_in_both() -> None:
    tree = read(S1, image(chain(**{"2010": BASE + 0x3003})))
    assert rules(tree) == ["shared-table"]
    assert [part.start for part in tree.ranges()] == [0, 2 << 21]


def test_a_table_on_two_levels_is_told() -> None:
    tree = read(S1, image(chain(**{"1008": BASE + 0x3003})))
    assert "two-levels" in rules(tree)


def test_reserved_bits_are_told_once_for_adjacent_entries() -> None:
    words = {f"{0x3008 + 8 * i:x}": 0x8000_1000 + 0x1000 * i + LEAF + (1 << 48) for i in range(8)}
    tree = read(S1, image(chain(**words)))
    assert rules(tree) == ["reserved-bits"]
    assert (tree.findings[0].count, tree.findings[0].size) == (8, 0x8000)


def test_a_reserved_type_is_no_mapping() -> None:
    tree = read(S1, image(chain(**{"3008": 0x8000_1F45, "8": 0x0000_0F45})))
    assert rules(tree) == ["reserved-type", "reserved-type"]
    assert tree.mapped == 0x1000


def test_addresses_over_the_output_size_fault() -> None:
    tree = read(S1, image(chain(**{"3008": 0x100_0000_0F47, "2008": 0x100_0000_0003})))
    assert rules(tree) == ["address-size", "address-size"]
    parts = list(tree.ranges())
    assert "faults(address-size)" in str(parts[1].meaning)
    assert "too large" in walk(S1, tree.image, 0x1000).fault
    assert "too large" in walk(S1, tree.image, 1 << 21).fault


def test_the_same_memory_with_two_types_is_told() -> None:
    tree = read(S1, image(chain(**{"3010": 0x8000_0E43, "3018": 0x8000_1F47})))
    assert rules(tree) == ["mismatched-alias"]
    assert "0x80000000-0x80000fff is cached inner-shareable at 0x0" in tree.findings[0].message


def test_tables_that_can_be_written_through_themselves_are_told() -> None:
    for word, expected in ((LEAF, ["maps-tables"]), (LEAF | 0x80, [])):
        tree = read(S1, image(chain(**{"3008": BASE + 0x2000 + word})))
        assert rules(tree) == expected


def test_empty_tables_are_told_together() -> None:
    tree = read(S1, image(chain(**{"2008": BASE + 0x4003, "2010": BASE + 0x5003})))
    assert rules(tree) == ["empty-table"]
    assert tree.findings[0].count == 2


def test_a_table_inside_a_concatenated_one_is_told() -> None:
    space = Space(format="ARM_64_LPAE_S2", root=BASE, input_bits=40, output_bits=40)
    tree = read(space, image({0: BASE + 0x1003}))
    assert "tables-overlap" in rules(tree)


# --- groups -------------------------------------------------------------------------------

CONT = 1 << 52


def group(**changes: int) -> dict[int, int]:
    """Return 16 pages with the contiguous bit, from 0 to 0x80000000; some entries changed."""
    words = {f"{0x3000 + 8 * i:x}": (0x8000_0000 + 0x1000 * i) | LEAF | CONT for i in range(16)}
    return chain(**(words | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"3018": 0}, None),
        ({"3018": 0x8000_3FC7 | CONT}, None),  # AP[2], which hardware may change
        ({"3018": 0x8000_3B47 | CONT}, None),  # AF, too
        ({"3018": 0x8000_3F47}, "lack the contiguous bit"),
        ({"3018": 0x8000_4F47 | CONT}, "aligned 64K"),
        ({"3018": 0x8000_3E43 | CONT}, "different attributes"),
    ],
)
def test_contiguous_groups_must_agree(changes: dict[str, int], message: str | None) -> None:
    found = [f for f in read(S1, image(group(**changes))).findings if f.rule == "contiguous"]
    assert [message in f.message for f in found] == ([True] if message else [])


def test_a_contiguous_group_must_be_aligned() -> None:
    words = {f"{0x3080 + 8 * i:x}": (0x8000_8000 + 0x1000 * i) | LEAF | CONT for i in range(16)}
    tree = read(S1, image(chain(**words)))
    assert rules(tree) == ["contiguous"]
    assert (tree.findings[0].iova, tree.findings[0].size) == (0x1_0000, 0x1_0000)


def test_a_contiguous_table_among_the_group_is_told() -> None:
    words = {0x2000 + 8 * i: (0x8000_0000 + (i << 21)) | 0xF45 | CONT for i in range(16)}
    words |= {0: BASE + 0x1003, 0x1000: BASE + 0x2003}
    assert rules(read(S1, image(words))) == []
    assert rules(read(S1, image(words | {0x2008: BASE + 0x3003}))) == ["contiguous", "empty-table"]


def test_supersections_and_large_pages_are_written_sixteen_times() -> None:
    sections = {4 * i: 0x4807_1C0E for i in range(16)}
    large = {0x40: BASE + 0x4001} | {0x4000 + 4 * i: 0x4801_1E3D for i in range(16)}
    space = Space(format="ARM_V7S", root=BASE)
    tree = read(space, image(sections | large, width=4))
    assert [f for f in rules(tree) if f != "mismatched-alias"] == []
    assert [(part.start, part.leaf) for part in tree.ranges()] == [(0, 1 << 24), (1 << 24, 1 << 16)]
    for change in ({0x14: 0}, {0x14: 0x4907_1C0E}, {0x14: 0x4813_1C0E}, {0x4008: 0x4802_1E3D}):
        broken = rules(read(space, image(sections | large | change, width=4)))
        assert "repeated-entries" in broken


# --- whatever stands in memory --------------------------------------------------------------


def anything(space: Space, memory: Image, other: Image) -> None:
    """Ask everything; only typed answers may come."""
    tree, again = read(space, memory), read(space, other)
    for finding in tree.findings:
        assert finding.rule in RULES
        assert str(finding)
    for lines in (text_of.flat, text_of.brief, text_of.nested, text_of.summary):
        for _ in lines(tree):
            pass
    parts = list(tree.ranges())
    for part in parts[:40]:
        one = walk(space, memory, part.start)
        assert one.target == part.address or "too large" in one.fault
    for one in parts[:-1]:
        assert one.last >= one.start
    assert [part.start for part in parts] == sorted(part.start for part in parts)
    find(tree, BASE, 0x1000)
    list(text_of.changes(diff(tree, again)))
    list(text_of.unsafe(unsafe_changes(tree, again)))


@settings(max_examples=60)
@given(st.data())
def test_random_words_never_raise(data: st.DataObject) -> None:
    fmt = data.draw(st.sampled_from(FORMATS))
    granule = data.draw(st.sampled_from([0x1000, 0x4000])) if fmt != "ARM_V7S" else 0x1000
    if fmt.startswith(("ARM_32", "ARM_MALI")):
        granule = 0x1000
    options: dict[str, Any] = {"granule": granule, "format": fmt}
    if not fmt.startswith("APPLE"):
        options["input_bits"] = 32
    space = Space(root=BASE, **options)
    size = max(8 * granule, 0x1_0000)
    rng = random.Random(data.draw(st.integers(0, 1 << 32)))
    images = []
    for _ in range(2):
        words = np.zeros(size // 8, dtype="<u8")
        for _ in range(data.draw(st.integers(1, 400))):
            at = rng.randrange(len(words)) & rng.choice([-1, -512, 511, 7])
            kind = rng.random()
            if kind < 0.6:
                shift = 4 if fmt == "APPLE_DART2" else 0
                target = BASE + rng.randrange(size // granule) * granule >> shift
                words[at] = target | rng.choice([1, 3]) | rng.choice([0, LEAF])
            else:
                words[at] = rng.getrandbits(64)
        images.append(Image([(BASE, words)]))
    anything(space, *images)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("pattern", [b"\xff", b"\x55", b"\xaa", b"\x01", b"\x03", b"\x00"])
def test_memory_full_of_one_byte_never_raises(fmt: str, pattern: bytes) -> None:
    space = Space(format=fmt, root=BASE)
    size = max(0x1_0000, space.levels[0].table_size)
    memory = Image([(BASE, pattern * size)])
    anything(space, memory, Image([(BASE, bytes(size))]))


def test_many_findings_of_one_rule_are_counted() -> None:
    words = chain()
    words |= {0x3000 + 16 * i: 0x8000_0000 + 0x1000 * i + LEAF | 1 << 48 for i in range(250)}
    tree = read(S1, image(words))
    assert rules(tree).count("reserved-bits") == 200
    assert tree.findings[-1].rule == "more"
    assert "50 more findings of rule reserved-bits" in tree.findings[-1].message
