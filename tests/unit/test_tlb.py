# SPDX-License-Identifier: GPL-2.0-or-later
"""The tagged TLB: lookup, replacement, invalidation, against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smmu_emu.tlb import Entry, InvalidateScope, Space, Tlb
from smmu_emu.transaction import ALL_KINDS, Attributes

WB = Attributes(0xFF, 3)


def _entry(
    base: int,
    size_lg2: int = 12,
    page: int = 0,
    *,
    level: int = 3,
    granule_lg2: int = 12,
    span_lg2: int | None = None,
) -> Entry:
    span = size_lg2 if span_lg2 is None else span_lg2
    return Entry(base, size_lg2, page, ALL_KINDS, ALL_KINDS, WB, level, granule_lg2, span)


def test_entry_is_found_by_every_address_of_its_block() -> None:
    tlb = Tlb()
    space = tlb.space("a")
    entry = _entry(0x20_0000, 21)
    tlb.insert(space, entry)

    assert space.find(0x20_0000) is entry
    assert space.find(0x3F_FFFF) is entry
    assert space.find(0x1F_FFFF) is None
    assert space.find(0x40_0000) is None


def test_spaces_do_not_see_each_other() -> None:
    tlb = Tlb()
    tlb.insert(tlb.space("a"), _entry(0x1000))

    assert tlb.space("b").find(0x1000) is None
    assert len(tlb.space("a")) == 1


def test_space_is_one_object_for_its_tag() -> None:
    tlb = Tlb()
    assert tlb.space(("vmid", 3)) is tlb.space(("vmid", 3))


def test_newer_entry_for_the_same_block_replaces_the_older() -> None:
    tlb = Tlb()
    space = tlb.space("a")
    old, new = _entry(0x1000, page=1 << 20), _entry(0x1000, page=2 << 20)
    tlb.insert(space, old)
    tlb.insert(space, new)

    assert space.find(0x1000) is new
    assert len(tlb) == 1
    assert old.space is None


def test_same_block_number_of_another_size_is_another_entry() -> None:
    tlb = Tlb()
    space = tlb.space("a")
    tlb.insert(space, _entry(0x1000, 12))
    tlb.insert(space, _entry(1 << 21, 21))

    assert len(tlb) == 2
    found = space.find(0x1000)
    assert found is not None
    assert found.size_lg2 == 12


def test_full_tlb_drops_the_oldest_of_all_spaces() -> None:
    tlb = Tlb(capacity=2)
    a, b = tlb.space("a"), tlb.space("b")
    first, second, third = _entry(0x1000), _entry(0x2000), _entry(0x3000)
    tlb.insert(a, first)
    tlb.insert(b, second)
    tlb.insert(b, third)

    assert (a.find(0x1000), b.find(0x2000), b.find(0x3000)) == (None, second, third)
    assert first.space is None


def test_replacing_an_entry_needs_no_room() -> None:
    tlb = Tlb(capacity=2)
    space = tlb.space("a")
    for number in (1, 2):
        tlb.insert(space, _entry(number << 12))
    tlb.insert(space, _entry(2 << 12))

    assert space.find(1 << 12) is not None


def test_dropping_twice_is_harmless() -> None:
    tlb = Tlb()
    entry = _entry(0x1000)
    tlb.insert(tlb.space("a"), entry)
    tlb.drop(entry)
    tlb.drop(entry)

    assert len(tlb) == 0


def test_clear_forgets_everything_and_spaces_stay_usable() -> None:
    tlb = Tlb()
    space = tlb.space("a")
    sizes = space.sizes
    tlb.insert(space, _entry(0x1000))
    tlb.clear()
    assert (len(tlb), space.find(0x1000)) == (0, None)
    tlb.insert(space, _entry(0x1000))

    assert space.find(0x1000) is not None
    assert space.sizes is sizes


def test_invalidation_says_what_it_dropped() -> None:
    tlb = Tlb()
    space = tlb.space("a")
    entries = [_entry(number << 12) for number in range(4)]
    for entry in entries:
        tlb.insert(space, entry)
    dropped = tlb.invalidate([space], InvalidateScope(0x1000, 0x2FFF))

    assert dropped == entries[1:3]
    assert [space.find(number << 12) is None for number in range(4)] == [False, True, True, False]


def test_invalidation_reaches_the_named_spaces_only() -> None:
    tlb = Tlb()
    for tag in "ab":
        tlb.insert(tlb.space(tag), _entry(0x1000))
    tlb.invalidate([tlb.space("a")])

    assert (len(tlb.space("a")), len(tlb.space("b"))) == (0, 1)


def test_scope_covers_an_entry_that_it_touches() -> None:
    """Bounds are inclusive; one byte is enough."""
    entry = _entry(0x20_0000, 21)
    assert InvalidateScope(0x3F_FFFF, 0x50_0000).covers(entry)
    assert InvalidateScope(0, 0x20_0000).covers(entry)
    assert InvalidateScope(0x2A_B000, 0x2A_BFFF).covers(entry)
    assert not InvalidateScope(0x40_0000, 0x50_0000).covers(entry)

    assert not InvalidateScope(0, 0x1F_FFFF).covers(entry)


def test_scope_covers_pieces_of_a_block_by_any_address_of_the_block() -> None:
    """DDI 0487 D8.17."""
    piece = _entry(0x20_5000, 12, span_lg2=21)
    assert InvalidateScope(0x20_0000, 0x20_0FFF).covers(piece)
    assert InvalidateScope(0x3F_F000, 0x3F_FFFF).covers(piece)

    assert not InvalidateScope(0x40_0000, 0x40_0FFF).covers(piece)


def test_scope_narrows_by_granule_and_level() -> None:
    entry = _entry(0, 21, level=2, granule_lg2=12)
    assert InvalidateScope(0, 0, 12, 2).covers(entry)
    assert InvalidateScope(0, 0, 12, None).covers(entry)
    assert not InvalidateScope(0, 0, 14, 2).covers(entry)

    assert not InvalidateScope(0, 0, 12, 3).covers(entry)


def test_entry_says_what_it_is() -> None:
    tlb = Tlb()
    entry = _entry(0x1000, page=0x8000_0000)
    assert "dropped" in repr(entry)
    tlb.insert(tlb.space("a"), entry)

    assert repr(entry) == "<Entry 0x1000+0x1000 -> 0x80000000 a>"


_operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("insert"),
            st.sampled_from("ab"),
            st.integers(0, 15),
            st.sampled_from([12, 14]),
        ),
        st.tuples(
            st.just("invalidate"),
            st.sampled_from(["a", "b", "ab"]),
            st.integers(0, 0xFFFF),
            st.integers(0, 0x8000),
        ),
        st.tuples(st.just("find"), st.sampled_from("ab"), st.integers(0, 0xFFFF), st.just(0)),
    ),
    max_size=40,
)


@given(operations=_operations, capacity=st.integers(1, 8))
def test_tlb_agrees_with_a_list_of_entries(
    operations: list[tuple[str, str, int, int]], capacity: int
) -> None:
    tlb = Tlb(capacity)
    model: list[tuple[str, Entry]] = []  # oldest first
    for action, tags, number, extra in operations:
        if action == "insert":
            entry = _entry(number << extra, extra)
            same = [m for m in model if m[0] == tags and m[1].base == entry.base]
            same = [m for m in same if m[1].size_lg2 == extra]
            if same:
                model.remove(same[0])
            elif len(model) == capacity:
                model.pop(0)
            model.append((tags, entry))
            tlb.insert(tlb.space(tags), entry)
        elif action == "invalidate":
            scope = InvalidateScope(number, number + extra)
            tlb.invalidate([tlb.space(tag) for tag in tags], scope)
            model = [m for m in model if m[0] not in tags or not scope.covers(m[1])]
        else:
            found = tlb.space(tags).find(number)
            candidates = [e for t, e in model if t == tags and e.base <= number <= e.base + e.mask]
            assert (found in candidates) if candidates else found is None
    assert len(tlb) == len(model)
    for tag in "ab":
        expected = {e for t, e in model if t == tag}
        assert set(tlb.space(tag).entries()) == expected


def test_empty_space_has_no_entries() -> None:
    space = Space("x")

    assert (len(space), space.entries(), space.find(0)) == (0, [], None)
