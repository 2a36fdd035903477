# SPDX-License-Identifier: GPL-2.0-or-later
"""Break-before-make: the rules of DDI 0487 D8.17, one by one, then on descriptors and dumps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pgtable.bbm import INVALID, Entry, Kind, Reason, is_bbm_safe
from pgtable.inspect import Image, Space, SpaceError, read
from pgtable.inspect.changes import entry_of, unsafe_changes

PAGE = Entry(kind=Kind.LEAF, address=0x8000_0000, size=0x1000, memory="cached", writable=True)
READ_ONLY = Entry(kind=Kind.LEAF, address=0x8000_0000, size=0x1000, memory="cached")
TABLE = Entry(kind=Kind.TABLE, address=0x4800_0000)


def changed(entry: Entry, **fields: Any) -> Entry:
    return Entry(**{**vars(entry), **fields})


@pytest.mark.parametrize("entry", [PAGE, TABLE, INVALID])
def test_an_invalid_entry_may_come_and_go(entry: Entry) -> None:
    made, gone = is_bbm_safe(INVALID, entry), is_bbm_safe(entry, INVALID)
    assert made
    assert gone
    assert not made.invalidate
    assert gone.invalidate == (entry is not INVALID)


def test_no_change_needs_nothing() -> None:
    verdict = is_bbm_safe(PAGE, changed(PAGE))
    assert (verdict.safe, verdict.invalidate) == (True, False)
    assert str(verdict) == "safe"


def test_permissions_alone_need_invalidation_only() -> None:
    verdict = is_bbm_safe(PAGE, READ_ONLY)
    assert (verdict.safe, verdict.invalidate) == (True, True)
    assert str(verdict) == "safe, then invalidate the TLB"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (PAGE, changed(PAGE, memory="device"), Reason.MEMORY),
        (PAGE, changed(PAGE, address=0x9000_0000), Reason.ADDRESS_WRITABLE),
        (READ_ONLY, changed(PAGE, address=0x9000_0000), Reason.ADDRESS_WRITABLE),
        (PAGE, changed(READ_ONLY, address=0x9000_0000), Reason.ADDRESS_WRITABLE),
        (READ_ONLY, changed(READ_ONLY, address=0x9000_0000), Reason.ADDRESS_CONTENTS),
        (PAGE, changed(PAGE, space="ns"), Reason.ADDRESS_WRITABLE),
        (PAGE, changed(PAGE, contiguous=True), Reason.CONTIGUOUS),
        (PAGE, changed(PAGE, is_global=True), Reason.GLOBAL),
        (PAGE, TABLE, Reason.SIZE),
        (TABLE, PAGE, Reason.SIZE),
        (TABLE, changed(TABLE, address=0x4900_0000), Reason.TABLE),
        (TABLE, changed(TABLE, controls=1 << 62), Reason.CONTROLS),
    ],
)
def test_what_needs_the_sequence(old: Entry, new: Entry, reason: Reason) -> None:
    verdict = is_bbm_safe(old, new)
    assert not verdict
    assert verdict.reasons == (reason,)
    assert verdict.invalidate
    assert reason.value in str(verdict)


def test_read_only_memory_may_move_to_a_copy_of_itself() -> None:
    moved = changed(READ_ONLY, address=0x9000_0000)
    assert is_bbm_safe(READ_ONLY, moved, same_contents=True)
    assert not is_bbm_safe(PAGE, changed(PAGE, address=0x9000_0000), same_contents=True)


def test_a_global_entry_may_become_one_of_an_asid() -> None:
    assert is_bbm_safe(changed(PAGE, is_global=True), PAGE)


def test_bbml_levels_allow_changes_of_size_only() -> None:
    block = changed(PAGE, size=1 << 21)
    ready = changed(block, nt=True)
    same = {"same_translations": True}
    for old, new in ((TABLE, block), (block, TABLE)):
        assert is_bbm_safe(old, new, level=0, **same).reasons == (Reason.SIZE,)
        assert is_bbm_safe(old, new, level=1, **same).reasons == (Reason.NT,)
        assert is_bbm_safe(old, new, level=2, **same)
        assert is_bbm_safe(old, new, level=2).reasons == (Reason.MORE_THAN_SIZE,)
    for old, new in ((TABLE, ready), (ready, TABLE)):
        assert is_bbm_safe(old, new, level=1, **same)
        assert is_bbm_safe(old, new, level=0, **same).reasons == (Reason.SIZE,)
    assert is_bbm_safe(PAGE, changed(PAGE, contiguous=True), level=1)
    with pytest.raises(ValueError, match="levels 0, 1 and 2"):
        is_bbm_safe(PAGE, PAGE, level=3)


def test_a_table_may_be_replaced_by_one_that_says_the_same() -> None:
    copy = changed(TABLE, address=0x4900_0000)
    assert is_bbm_safe(TABLE, copy, same_translations=True)


def test_several_reasons_are_all_told() -> None:
    other = changed(PAGE, memory="device", address=0x9000_0000, is_global=True)
    assert set(is_bbm_safe(PAGE, other).reasons) == {
        Reason.MEMORY,
        Reason.ADDRESS_WRITABLE,
        Reason.GLOBAL,
    }


# --- descriptors --------------------------------------------------------------------------

S1 = Space(format="ARM_64_LPAE_S1", root=0x4000_0000)
S2 = Space(format="ARM_64_LPAE_S2", root=0x4000_0000)

# (space, level, old, new, reasons), words written by hand as in the words test
WORDS = [
    (S1, 3, 0x4800_1F47, 0x4800_1FC7, ()),
    (S1, 3, 0x4800_1F47, 0x0060_0000_4800_1F47, ()),
    (S1, 3, 0x4800_1F47, 0x0080_0000_4800_1F47, ()),
    (S1, 3, 0x4800_1F47, 0, ()),
    (S1, 3, 0x4800_1B47, 0x4900_1F43, ()),  # without AF nothing was cached
    (S1, 3, 0x4800_1F47, 0x4800_1F4B, (Reason.MEMORY,)),
    (S1, 3, 0x4800_1F47, 0x4800_1E47, (Reason.MEMORY,)),
    (S1, 3, 0x4800_1F47, 0x4800_2F47, (Reason.ADDRESS_WRITABLE,)),
    (S1, 3, 0x4800_1FC7, 0x4800_2FC7, (Reason.ADDRESS_CONTENTS,)),
    (S1, 3, 0x0008_0000_4800_1FC7, 0x0008_0000_4800_2FC7, (Reason.ADDRESS_WRITABLE,)),
    (S1, 3, 0x4800_1F47, 0x4800_1747, (Reason.GLOBAL,)),
    (S1, 3, 0x4800_1F47, 0x4800_1F67, (Reason.ADDRESS_WRITABLE,)),
    (S1, 3, 0x4800_1F47, 0x0010_0000_4800_1F47, (Reason.CONTIGUOUS,)),
    (S1, 2, 0x4820_0F45, 0x4800_3003, (Reason.SIZE,)),
    (S1, 2, 0x4800_3003, 0x4820_0F45, (Reason.SIZE,)),
    (S1, 2, 0x4800_3003, 0x4800_4003, (Reason.TABLE,)),
    (S1, 2, 0x4800_3003, 0x2000_0000_4800_3003, (Reason.CONTROLS,)),
    (S2, 3, 0x4800_17FF, 0x4800_177F, ()),
    (S2, 3, 0x4800_17FF, 0x4800_17D7, (Reason.MEMORY,)),
    (S2, 3, 0x4800_177F, 0x4800_277F, (Reason.ADDRESS_CONTENTS,)),
]


@pytest.mark.parametrize(("space", "level", "old", "new", "reasons"), WORDS)
def test_descriptors_are_judged_by_what_they_mean(
    space: Space, level: int, old: int, new: int, reasons: tuple[Reason, ...]
) -> None:
    verdict = is_bbm_safe(entry_of(space, old, level), entry_of(space, new, level))
    assert verdict.reasons == reasons


# --- dumps --------------------------------------------------------------------------------

BASE = 0x4000_0000


def dump(changes: dict[int, int], size: int = 0x6000) -> Image:
    """Return tables at BASE that map 8 pages at 0 and a block at 2M; some words changed."""
    words = np.zeros(size // 8, dtype="<u8")
    words[0], words[512], words[1024] = BASE + 0x1003, BASE + 0x2003, BASE + 0x3003
    words[1025] = 0x8020_0F45
    for i in range(8):
        words[1536 + i] = 0x8000_0F47 + 0x1000 * i
    for at, word in changes.items():
        words[at // 8] = word
    return Image([(BASE, words)])


def judged(changes: dict[int, int], bbml: int = 0, before: dict[int, int] | None = None) -> Any:
    old, new = read(S1, dump(before or {})), read(S1, dump(changes))
    return unsafe_changes(old, new, bbml)


def test_equal_dumps_and_unmapped_pages_are_safe() -> None:
    assert judged({}) == []
    assert judged({0x3000: 0, 0x3008: 0x8000_1FC7, 0x3100: 0x9000_0F47}) == []


def test_adjacent_changes_of_one_kind_are_told_together() -> None:
    found = judged({0x3000 + 8 * i: 0x9000_0F47 + 0x1000 * i for i in range(2, 6)})
    assert [(u.start, u.last, u.count, u.level) for u in found] == [(0x2000, 0x5FFF, 4, 3)]
    assert found[0].verdict.reasons == (Reason.ADDRESS_WRITABLE,)
    assert (found[0].address, found[0].old, found[0].new) == (
        BASE + 0x3010,
        0x8000_2F47,
        0x9000_0F47 + 0x2000,
    )


def test_a_block_that_became_a_table_is_judged_with_what_the_table_maps() -> None:
    pages = {0x4000 + 8 * i: 0x8020_0F47 + 0x1000 * i for i in range(512)}
    table = {0x2008: BASE + 0x4003}
    assert [u.verdict.reasons for u in judged(pages | table)] == [(Reason.SIZE,)]
    assert judged(pages | table, bbml=2) == []
    assert [u.verdict.reasons for u in judged(pages | table, bbml=1)] == [(Reason.NT,)]
    ready = {0x2008: 0x8021_0F45}
    assert judged(pages | table, bbml=1, before=ready) == []
    assert judged(pages | table | {0x4008: 0x8020_1FC7, 0x4010: 0}, bbml=2) == []
    pages[0x4010] = 0x9000_0F47
    assert [u.verdict.reasons for u in judged(pages | table, bbml=2)] == [(Reason.MORE_THAN_SIZE,)]


def test_a_table_that_moved_is_judged_by_its_translations() -> None:
    copy = {0x4000 + 8 * i: 0x8000_0F47 + 0x1000 * i for i in range(8)}
    assert judged(copy | {0x2000: BASE + 0x4003}) == []
    assert judged(copy | {0x2000: BASE + 0x4003, 0x4000: 0x8000_0FC7, 0x4008: 0}) == []
    copy[0x4000] = 0x9000_0F47
    found = judged(copy | {0x2000: BASE + 0x4003})
    assert [(u.level, u.verdict.reasons) for u in found] == [(2, (Reason.TABLE,))]


def test_a_table_that_moved_and_maps_in_other_sizes_is_told() -> None:
    # The root's entry points to a copy of its table, in which pages have taken a block's place.
    pages = {0x5000 + 8 * i: 0x8020_0F47 + 0x1000 * i for i in range(512)}
    swap = {0x1000: BASE + 0x4003, 0x4000: BASE + 0x3003, 0x4008: BASE + 0x5003}
    found = judged(pages | swap)
    assert [(u.level, u.verdict.reasons) for u in found] == [(1, (Reason.TABLE,))]
    assert judged(pages | swap, bbml=2) == []


def test_read_only_pages_that_moved_are_compared_where_the_dump_holds_them() -> None:
    # Two read-only pages move; only the first one to a copy of what it was.
    read_only = 0xFC7
    before = {0x3000: BASE + 0x4000 + read_only, 0x3008: BASE + 0x4000 + read_only}
    after = {0x3000: BASE + 0x5000 + read_only, 0x3008: BASE + 0x1000 + read_only}
    found = judged(after, before=before)
    assert [(u.start, u.verdict.reasons) for u in found] == [(0x1000, (Reason.ADDRESS_CONTENTS,))]


def test_dumps_of_different_roots_cannot_be_judged() -> None:
    other = Space(format="ARM_64_LPAE_S1", root=BASE + 0x1000)
    with pytest.raises(SpaceError, match="same root"):
        unsafe_changes(read(S1, dump({})), read(other, dump({})))


def test_short_descriptors_are_judged_too() -> None:
    space = Space(format="ARM_V7S", root=BASE)
    images = []
    for word in (0x4813_1C0E, 0x4813_1C06):
        words = np.zeros(0x1000, dtype="<u4")
        words[1] = word
        images.append(Image([(BASE, words)]))
    old, new = (read(space, image) for image in images)
    assert [u.verdict.reasons for u in unsafe_changes(old, new)] == [(Reason.MEMORY,)]
