# SPDX-License-Identifier: GPL-2.0-or-later
"""Strategies that properties share: registers, structures, descriptors, commands, transactions.

Random words hardly ever get past a validity check, so that most of these start from something legal
and damage a little of it.
"""

from __future__ import annotations

import os

from hypothesis import strategies as st

from smmu_emu.transaction import Transaction
from tests.unit.smmuv3.spec import literals


def examples(number: int) -> int:
    """Examples for a property: ``number`` in CI, fifty times as many in the long profile."""
    return number * 50 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else number


words64 = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 63).map(lambda bit: 1 << bit),
    st.sampled_from([0, (1 << 64) - 1, 1 << 55, (1 << 56) - 1]),
)
words32 = words64.map(lambda word: word & 0xFFFF_FFFF)


# -- registers

_OFFSETS = sorted({offset for offset, _ in literals.REGISTERS.values()})

register_offsets = st.one_of(
    st.sampled_from(_OFFSETS),
    st.sampled_from(_OFFSETS).map(lambda offset: offset + 4),
    st.integers(0, 0x20000),
)
register_sizes = st.sampled_from([4, 4, 4, 8, 8, 1, 2, 3, 16])
register_values = st.one_of(
    words64,
    st.integers(0, 0x3F),
    st.sampled_from([0xD, 0xC, 0x5, 0x1, 0x8000_0000, 0x8010_0000, 0x0001_0208]),
)


# -- transactions

no_substream: st.SearchStrategy[int | None] = st.none()
stream_ids = st.one_of(st.integers(0, 15), st.integers(0, 0x1FF), st.integers(0, (1 << 32) - 1))


def addresses(interesting: list[int]) -> st.SearchStrategy[int]:
    """64-bit addresses, most of them in the 4 KiB from given ones on."""
    inside = st.builds(
        lambda base, offset: (base + offset) & (1 << 64) - 1,
        st.sampled_from(interesting),
        st.sampled_from([0, 0, 8, 0xFFF]),
    )
    near = st.builds(
        lambda base, offset: (base + offset) & (1 << 64) - 1,
        st.sampled_from(interesting),
        st.integers(-0x1800, 0x1800),
    )
    tagged = st.builds(
        lambda base, tag: base & (1 << 56) - 1 | tag << 56, inside, st.integers(0, 0xFF)
    )
    return st.one_of(inside, inside, inside, inside, near, tagged, words64)


def transactions(
    interesting: list[int],
    streams: st.SearchStrategy[int] = stream_ids,
    substreams: st.SearchStrategy[int | None] = no_substream,
) -> st.SearchStrategy[Transaction]:
    """Transactions of every kind."""
    return st.builds(
        Transaction,
        stream_id=streams,
        iova=addresses(interesting),
        write=st.booleans(),
        privileged=st.booleans(),
        instruction=st.booleans(),
        substream_id=substreams,
    )


# -- structures


def damaged(masks: literals.Masks, size: int) -> st.SearchStrategy[list[tuple[int, int, int]]]:
    """Changes to a structure: (doubleword, mask, bits to put there), mostly whole fields."""
    field = st.sampled_from(sorted(masks)).flatmap(
        lambda name: st.tuples(
            st.just(masks[name][0]),
            st.just(masks[name][1]),
            words64.map(lambda word, mask=masks[name][1]: word & mask),
        )
    )
    small = st.sampled_from(sorted(masks)).flatmap(
        lambda name: st.tuples(
            st.just(masks[name][0]),
            st.just(masks[name][1]),
            st.integers(0, 3).map(
                lambda number, mask=masks[name][1]: number << (mask & -mask).bit_length() - 1 & mask
            ),
        )
    )
    flipped = st.tuples(st.integers(0, size // 8 - 1), st.integers(0, 63)).map(
        lambda where: (where[0], 1 << where[1], 1 << where[1])
    )
    return st.lists(st.one_of(field, small, flipped), max_size=4)


descriptor_damage = st.lists(
    st.one_of(
        st.integers(0, 63).map(lambda bit: 1 << bit),
        st.sampled_from([1, 2, 3, 1 << 10, 1 << 6, 1 << 7, 3 << 53, 3 << 61, 0xF << 44, 0xF << 12]),
    ),
    max_size=3,
)
"""Bits of a descriptor to flip."""


# -- commands

_opcodes = st.one_of(
    st.sampled_from(sorted(literals.OPCODES.values())),
    st.sampled_from([0x03, 0x05, 0x10, 0x12, 0x2A, 0x30, 0x46]),
    st.integers(0, 255),
)

commands = st.builds(
    lambda opcode, low, high: opcode | low << 8 & 0xFFFF_FFFF_FFFF_FFFF | high << 64,
    _opcodes,
    st.one_of(st.just(0), st.integers(0, 0xFF).map(lambda sid: sid << 24), words64),
    st.one_of(st.just(0), st.integers(0, 0xFF).map(lambda page: page << 12), words64),
)
"""128-bit commands, many of them legal."""
