# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMSAv8-64 walker by itself: a dictionary of words in, a leaf or a fault out.

Spec: DDI 0487 D8.2 (geometry), D8.3 (descriptors), D8.4 (permissions), D8.15.5 (order of faults).
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from smmu_emu.transaction import INSTRUCTION, PRIVILEGED, WRITE
from smmu_emu.walk.long_descriptor import (
    Leaf,
    Root,
    WalkFault,
    WalkFaultKind,
    make_root,
    stage1_permissions,
    stage2_permissions,
    walk,
)

ROOT = 0x4000_0000
LEAF = 0x443  # page: valid, user read-write, access flag
BLOCK = 0x441
EVERYTHING = stage1_permissions()


class Words(dict[int, int]):
    """Memory that logs what is read; absent words read as 0, ``None`` aborts."""

    def __init__(self, words: dict[int, int | None]) -> None:
        super().__init__()
        self.words = words
        self.reads: list[int] = []

    def __call__(self, address: int) -> int | None:
        self.reads.append(address)
        return self.words.get(address, 0)


def _root(granule_lg2: int = 12, input_bits: int = 48, **options: object) -> Root:
    fields = {"base": ROOT, "output_bits": 48, "permissions": EVERYTHING, **options}
    return make_root(granule_lg2=granule_lg2, input_bits=input_bits, **fields)  # type: ignore[arg-type]


def _chain(*tables: tuple[int, int], leaf: tuple[int, int]) -> Words:
    """Tables at 0x1_0000, 0x2_0000, ...: (address of the descriptor that points to each)."""
    words: dict[int, int | None] = {where: table | 3 for where, table in tables}
    words[leaf[0]] = leaf[1]
    return Words(words)


def test_four_levels_of_4k_by_hand() -> None:
    """Indexes 0xFF, 1, 1, 0x102: bits [47:39], [38:30], [29:21], [20:12]."""
    address = 0xFF << 39 | 1 << 30 | 1 << 21 | 0x102 << 12 | 0xABC
    memory = _chain(
        (ROOT + 8 * 0xFF, 0x1_0000),
        (0x1_0008, 0x2_0000),
        (0x2_0008, 0x3_0000),
        leaf=(0x3_0810, 0xABCD_E000 | LEAF),
    )
    leaf = walk(memory, _root(), address)

    assert isinstance(leaf, Leaf)
    assert (leaf.page, leaf.size_lg2, leaf.level) == (0xABCD_E000, 12, 3)
    assert (leaf.address, leaf.descriptor) == (0x3_0810, 0xABCD_E443)
    assert memory.reads == [ROOT + 0x7F8, 0x1_0008, 0x2_0008, 0x3_0810]


def test_three_levels_of_16k_by_hand() -> None:
    """47 bits: indexes [46:36], [35:25], [24:14]."""
    address = 0x7FF << 36 | 2 << 25 | 0x400 << 14 | 0x3FFF
    memory = _chain(
        (ROOT + 8 * 0x7FF, 0x1_0000),
        (0x1_0010, 0x2_0000),
        leaf=(0x2_0000 + 8 * 0x400, 0xABC0_0000 | LEAF),
    )
    leaf = walk(memory, _root(14, 47), address)

    assert isinstance(leaf, Leaf)
    assert (leaf.page, leaf.size_lg2, leaf.level) == (0xABC0_0000, 14, 3)


def test_four_levels_of_16k_have_a_first_table_of_two() -> None:
    """48 bits: level 0 resolves bit 47 only."""
    memory = Words({ROOT + 8: 0x1_0003})
    walk(memory, _root(14, 48), 1 << 47)

    assert memory.reads == [ROOT + 8, 0x1_0000]


def test_three_levels_of_64k_by_hand() -> None:
    """48 bits: indexes [47:42], [41:29], [28:16]."""
    address = 0x3F << 42 | 0x1FFF << 29 | 1 << 16 | 0xFFFF
    memory = _chain(
        (ROOT + 8 * 0x3F, 0x1_0000),
        (0x1_0000 + 8 * 0x1FFF, 0x2_0000),
        leaf=(0x2_0008, 0xABCD_0000 | LEAF),
    )
    leaf = walk(memory, _root(16, 48), address)

    assert isinstance(leaf, Leaf)
    assert (leaf.page, leaf.size_lg2, leaf.level) == (0xABCD_0000, 16, 3)


@pytest.mark.parametrize(
    ("granule_lg2", "rows"),
    [
        (12, [(48, 0), (40, 0), (39, 1), (31, 1), (30, 2), (22, 2), (21, 3), (16, 3)]),
        (14, [(48, 0), (47, 1), (37, 1), (36, 2), (26, 2), (25, 3), (16, 3)]),
        (16, [(52, 1), (48, 1), (43, 1), (42, 2), (30, 2), (29, 3), (17, 3)]),
    ],
)
def test_start_level_follows_from_the_input_size(
    granule_lg2: int, rows: list[tuple[int, int]]
) -> None:
    for input_bits, level in rows:
        assert _root(granule_lg2, input_bits).start_level == level, input_bits


@pytest.mark.parametrize(
    ("granule_lg2", "input_bits", "start_level", "alignment"),
    [
        (12, 48, None, 0x1000),
        (12, 39, None, 0x1000),
        (12, 32, None, 0x20),
        (12, 25, None, 0x80),
        (12, 43, 1, 0x10000),  # 16 tables
        (12, 40, 1, 0x2000),
        (14, 48, None, 0x10),
        (14, 47, None, 0x4000),
        (16, 48, None, 0x200),
        (16, 46, 2, 0x10_0000),
    ],
)
def test_base_is_aligned_to_the_start_table(
    granule_lg2: int, input_bits: int, start_level: int | None, alignment: int
) -> None:
    """D8.2.5: concatenated tables count as one."""
    base = ROOT + alignment - 1
    root = _root(granule_lg2, input_bits, base=base, start_level=start_level)

    assert root.table == ROOT


def test_concatenated_tables_are_indexed_as_one() -> None:
    memory = Words({})
    walk(memory, _root(12, 43, start_level=1), 0x1FFF << 30)

    assert memory.reads == [ROOT + 8 * 0x1FFF]


def test_bits_above_the_input_size_do_not_count() -> None:
    memory = Words({})
    walk(memory, _root(12, 39), 0xFFFF_FFFF_FFFF_FFFF)

    assert memory.reads == [ROOT + 8 * 0x1FF]


@pytest.mark.parametrize("low", [0, 2])
def test_invalid_descriptor_ends_the_walk_at_its_level(low: int) -> None:
    memory = _chain((ROOT, 0x1_0000), leaf=(0x1_0000, 0xABC0_0440 | low))
    fault = walk(memory, _root(), 0)

    assert fault == WalkFault(WalkFaultKind.TRANSLATION, 1, 0x1_0000)


def test_aborted_fetch_ends_the_walk_at_its_level() -> None:
    memory = Words({ROOT: 0x1_0003, 0x1_0000: None})

    assert walk(memory, _root(), 0) == WalkFault(WalkFaultKind.NO_DESCRIPTOR, 1, 0x1_0000)


@pytest.mark.parametrize(
    ("granule_lg2", "level", "legal"),
    [
        *[(12, 0, False), (12, 1, True), (12, 2, True), (12, 3, False)],
        *[(14, 0, False), (14, 1, False), (14, 2, True), (14, 3, False)],
        *[(16, 1, False), (16, 2, True), (16, 3, False)],
    ],
)
def test_blocks_exist_on_some_levels(granule_lg2: int, level: int, legal: bool) -> None:
    """D8.3.1.2, D8.15 R_KRMJZ."""
    start = 1 if granule_lg2 == 16 else 0
    words: dict[int, int | None] = {}
    where = ROOT
    for upper in range(start, level):
        words[where] = 0x10_0000 * (upper + 1) | 3
        where = 0x10_0000 * (upper + 1)
    words[where] = BLOCK
    result = walk(Words(words), _root(granule_lg2, 48), 0)
    if legal:
        assert isinstance(result, Leaf)
        assert (result.level, result.page) == (level, 0)
    else:
        assert result == WalkFault(WalkFaultKind.TRANSLATION, level, where)


@pytest.mark.parametrize("bits", [32, 36, 40, 42, 44])
def test_addresses_are_held_against_the_output_size(bits: int) -> None:
    """D8.2: of tables before they are fetched, of leaves before the access flag."""
    top = 1 << bits
    root = _root(output_bits=bits)
    table = Words({ROOT: top | 3})
    assert walk(table, root, 0) == WalkFault(WalkFaultKind.ADDRESS_SIZE, 0, ROOT)
    assert table.reads == [ROOT]
    good = Words({ROOT: top - 0x1000 | 3})
    walk(good, root, 0)
    assert good.reads == [ROOT, top - 0x1000]
    leaf = _chain((ROOT, 0x1_0000), leaf=(0x1_0000, top | 1))

    assert walk(leaf, root, 0) == WalkFault(WalkFaultKind.ADDRESS_SIZE, 1, 0x1_0000)


@pytest.mark.parametrize("ignored", [False, True])
def test_access_flag(ignored: bool) -> None:
    memory = _chain((ROOT, 0x1_0000), leaf=(0x1_0000, BLOCK & ~0x400))
    result = walk(memory, _root(ignore_access_flag=ignored), 0)
    if ignored:
        assert isinstance(result, Leaf)
    else:
        assert result == WalkFault(WalkFaultKind.ACCESS_FLAG, 1, 0x1_0000)


def test_descriptor_addresses_use_bits_47_to_granule_only() -> None:
    memory = _chain((ROOT, 0xFFF0_0000_0001_0FFC), leaf=(0x1_0000, 0xFFF0_0000_4000_0000 | BLOCK))
    leaf = walk(memory, _root(hierarchical=False), 0)

    assert isinstance(leaf, Leaf)
    assert (leaf.page, memory.reads) == (0x4000_0000, [ROOT, 0x1_0000])


# -- permissions, written out; bit ``kind`` of a byte is write | privileged << 1 | instruction << 2


def _letters(byte: int) -> str:
    """``rwx rwx``: unprivileged, privileged."""
    halves = []
    for level in (0, PRIVILEGED):
        rights = (("r", 0), ("w", WRITE), ("x", INSTRUCTION))
        halves.append("".join(c if byte >> (level | k) & 1 else "-" for c, k in rights))
    return " ".join(halves)


STAGE_1 = [  # by UXN, PXN, AP[2:1]
    *["--x rwx", "rwx rw-", "--x r-x", "r-x r-x"],
    *["--x rw-", "rwx rw-", "--x r--", "r-x r--"],
    *["--- rwx", "rw- rw-", "--- r-x", "r-- r-x"],
    *["--- rw-", "rw- rw-", "--- r--", "r-- r--"],
]
ONE_LEVEL = [  # by XN, (ignored), AP[2], (ignored)
    *["rwx rwx", "rwx rwx", "r-x r-x", "r-x r-x"] * 2,
    *["rw- rw-", "rw- rw-", "r-- r--", "r-- r--"] * 2,
]
STAGE_2_XNX = [  # by XN[1:0], S2AP[1:0]
    *["--x --x", "r-x r-x", "-wx -wx", "rwx rwx"],
    *["--x ---", "r-x r--", "-wx -w-", "rwx rw-"],
    *["--- ---", "r-- r--", "-w- -w-", "rw- rw-"],
    *["--- --x", "r-- r-x", "-w- -wx", "rw- rwx"],
]


def test_stage_1_permissions_are_those_of_the_table() -> None:
    assert [_letters(byte) for byte in stage1_permissions()] == STAGE_1


def test_permissions_of_a_regime_with_one_privilege() -> None:
    assert [_letters(byte) for byte in stage1_permissions(one_level=True)] == ONE_LEVEL


def test_wxn_takes_x_where_w_is() -> None:
    expected = [
        " ".join(half.replace("x", "-") if "w" in half else half for half in row.split())
        for row in STAGE_1
    ]
    assert [_letters(byte) for byte in stage1_permissions(wxn=True)] == expected


def test_pan_takes_privileged_data_where_unprivileged_data_is() -> None:
    expected = []
    for row in STAGE_1:
        user, privileged = row.split()
        if "r" in user:
            privileged = "--" + privileged[2]
        expected.append(f"{user} {privileged}")
    assert [_letters(byte) for byte in stage1_permissions(pan=True)] == expected


def test_stage_2_permissions_with_xnx() -> None:
    assert [_letters(byte) for byte in stage2_permissions(xnx=True)] == STAGE_2_XNX


def test_stage_2_permissions_without_xnx() -> None:
    rows = [STAGE_2_XNX[n] for n in range(4)] * 2 + [STAGE_2_XNX[8 + n] for n in range(4)] * 2
    assert [_letters(byte) for byte in stage2_permissions()] == rows


def test_instruction_writes_are_judged_as_data_writes() -> None:
    for byte in (*stage1_permissions(), *stage2_permissions(xnx=True)):
        for level in (0, PRIVILEGED):
            assert byte >> (level | WRITE) & 1 == byte >> (level | WRITE | INSTRUCTION) & 1


@pytest.mark.parametrize("hierarchical", [False, True])
def test_restrictions_of_tables_accumulate(hierarchical: bool) -> None:
    """D8.4 R_YTXKB: APTable [62:61], UXNTable 60, PXNTable 59."""
    memory = _chain(
        (ROOT, 0x1_0000 | 1 << 62),
        (0x1_0000, 0x2_0000 | 1 << 60),
        leaf=(0x2_0000, BLOCK),
    )
    leaf = walk(memory, _root(hierarchical=hierarchical), 0)

    assert isinstance(leaf, Leaf)
    assert _letters(leaf.allowed) == ("r-- r-x" if hierarchical else "rwx rw-")


def test_leaf_bits_pick_their_permission() -> None:
    for uxn, pxn, ap in ((u, p, a) for u in (0, 1) for p in (0, 1) for a in range(4)):
        descriptor = 0x401 | ap << 6 | pxn << 53 | uxn << 54
        leaf = walk(_chain((ROOT, 0x1_0000), leaf=(0x1_0000, descriptor)), _root(), 0)
        assert isinstance(leaf, Leaf)
        assert _letters(leaf.allowed) == STAGE_1[uxn * 8 + pxn * 4 + ap]


def test_every_address_of_a_block_gives_the_same_leaf() -> None:
    memory = _chain((ROOT, 0x1_0000), leaf=(0x1_0000, 0x8000_0000 | BLOCK))
    leaves = [walk(memory, _root(), offset) for offset in (0, 1, 0x1FFFFF, (1 << 30) - 1)]
    for one, other in pairwise(leaves):
        assert one == other
