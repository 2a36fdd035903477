# SPDX-License-Identifier: GPL-2.0-or-later
"""The arena: windows over buffers, a real allocator, and what it refuses."""

from __future__ import annotations

import mmap
import random

import pytest
from pgtable_helpers import BASE, K4, RW, cfg

from pgtable import Arena, TableMemory, TableMemoryError, alloc


def test_tables_are_written_straight_into_somebody_elses_buffer() -> None:
    ram = mmap.mmap(-1, 1 << 20)
    window = memoryview(ram)[0x40000:0x80000]
    memory = Arena(base=0x4804_0000, buffer=window)
    table = alloc("ARM_64_LPAE_S1", cfg(), memory=memory)
    table.map(0, 0x8000_0000, K4, RW)
    assert table.regs.ttbr == 0x4804_0000
    assert ram[0x40000:0x40008] == (0x4804_1003).to_bytes(8, "little")
    assert ram[0x43000:0x43008] == (0x8000_0E43).to_bytes(8, "little")
    assert not any(ram[:0x40000])


def test_a_table_in_a_dirty_buffer_starts_out_empty() -> None:
    memory = Arena(base=BASE, buffer=bytearray(b"\xff" * 0x40000))
    table = alloc("ARM_64_LPAE_S1", cfg(), memory=memory)
    table.map(0, 0x8000_0000, K4, RW)
    assert [run.leaves for run in table.runs(0, 1 << 48)] == [1]


def test_size_limits_the_part_of_a_buffer_that_is_used() -> None:
    memory = Arena(BASE, 0x2000, bytearray(0x4000))
    assert memory.size == 0x2000
    with pytest.raises(TableMemoryError, match="0x8000 is more than the buffer's 0x4000"):
        Arena(BASE, 0x8000, bytearray(0x4000))


@pytest.mark.parametrize(
    ("base", "size", "buffer", "message"),
    [
        (0x800, 0x1000, None, "multiple of 0x1000"),
        (-0x1000, 0x1000, None, "multiple of 0x1000"),
        (BASE, None, None, "needs a size"),
        (BASE, 0, None, "needs a size"),
        (BASE, None, bytes(0x1000), "read-only"),
        (BASE, None, bytearray(0x1001), "0x1001 bytes"),
        ((1 << 64) - 0x1000, 0x2000, None, "64-bit space"),
    ],
)
def test_a_bad_window_is_refused(base: int, size: int | None, buffer: object, message: str) -> None:
    with pytest.raises(TableMemoryError, match=message):
        Arena(base, size, buffer)


def test_pieces_are_aligned_to_their_size_and_zeroed_when_reused() -> None:
    memory = Arena(BASE, 1 << 20)
    small = memory.alloc(0x400)
    large = memory.alloc(0x4000)
    assert (small, large) == (BASE, BASE + 0x4000)
    memory.words[0x4000 >> 3] = 7
    memory.free(BASE + 0x4000, 0x4000)
    assert memory.alloc(0x4000) == BASE + 0x4000
    assert memory.words[0x4000 >> 3] == 0


def test_gaps_and_freed_pieces_are_joined_when_nothing_else_is_left() -> None:
    memory = Arena(BASE, 0x8000)
    pieces = [memory.alloc(0x1000) for _ in range(8)]
    assert memory.alloc(0x1000) is None
    for address in pieces[2:6]:
        assert address is not None
        memory.free(address, 0x1000)
    assert memory.alloc(0x4000) is None  # four free pages, none aligned to four
    assert memory.alloc(0x2000) == BASE + 0x2000
    assert memory.alloc(0x2000) == BASE + 0x4000
    assert memory.alloc(0x1000) is None


def test_never_reuse_moves_on_and_leaves_what_was_freed() -> None:
    memory = Arena(BASE, 0x4000, reuse=False)
    first = memory.alloc(0x1000)
    assert first == BASE
    memory.free(first, 0x1000)
    assert [memory.alloc(0x1000) for _ in range(4)] == [BASE + n * 0x1000 for n in (1, 2, 3)] + [
        None
    ]


def test_wrong_frees_are_told_apart() -> None:
    memory = Arena(BASE, 0x4000)
    address = memory.alloc(0x1000)
    assert address is not None
    with pytest.raises(TableMemoryError, match="0x1000 bytes live there"):
        memory.free(address, 0x2000)
    memory.free(address, 0x1000)
    with pytest.raises(TableMemoryError, match="freed twice"):
        memory.free(address, 0x1000)


@pytest.mark.parametrize("size", [0, -4096, 3, 0x1800])
def test_odd_sizes_are_refused(size: int) -> None:
    with pytest.raises(TableMemoryError, match="power of two"):
        Arena(BASE, 0x4000).alloc(size)


def test_random_use_never_overlaps_never_leaks_and_repeats() -> None:
    def run(seed: int) -> list[int | None]:
        rng = random.Random(seed)
        memory = Arena(BASE, 0x40000)
        live: list[tuple[int, int]] = []
        answers: list[int | None] = []
        for _ in range(2000):
            if live and rng.random() < 0.48:
                address, size = live.pop(rng.randrange(len(live)))
                memory.free(address, size)
                continue
            size = 1 << rng.choice([10, 12, 12, 12, 13, 14, 16])
            answer = memory.alloc(size)
            answers.append(answer)
            if answer is not None:
                assert answer % size == 0
                assert all(answer + size <= a or a + s <= answer for a, s in live)
                start = answer - BASE
                assert not any(memory.bytes[start : start + size])
                memory.bytes[start : start + size] = b"\xa5" * size
                live.append((answer, size))
        for address, size in live:
            memory.free(address, size)
        assert memory.used == 0
        assert memory.alloc(0x40000) == BASE  # all of it again, in one piece
        return answers

    assert run(1) == run(1)
    assert None in run(1)


def test_a_run_gives_what_single_calls_would() -> None:
    one, many = Arena(BASE, 1 << 20), Arena(BASE, 1 << 20)
    single = [one.alloc(0x1000) for _ in range(5)]
    assert many.alloc_run(0x1000, 5) == single[0]
    assert many.live == one.live
    many.free(BASE, 0x1000)
    assert many.alloc_run(0x1000, 2) is None  # a single call would reuse the freed piece


def test_a_memory_must_say_how_it_allocates() -> None:
    memory = TableMemory(BASE, bytearray(0x1000))
    with pytest.raises(NotImplementedError):
        memory.alloc(0x1000)
    with pytest.raises(NotImplementedError):
        memory.free(BASE, 0x1000)
    assert BASE + 0xFFF in memory
    assert BASE + 0x1000 not in memory


def test_repr_tells_the_window_and_its_use() -> None:
    memory = Arena(BASE, 0x4000)
    memory.alloc(0x1000)
    assert repr(memory) == "Arena(0x40000000-0x40003fff, 1 pieces, 0x1000 of 0x4000 bytes used)"
