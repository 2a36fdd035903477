# SPDX-License-Identifier: GPL-2.0-or-later
"""Queues as rings: sizes from one entry to 2^19, wrap bits, alignment, what is empty and full.

Spec: IHI 0070 3.5.1 (indexes), 6.3.26 to 6.3.29, 6.3.95, 6.3.96.
"""

from __future__ import annotations

import pytest

from smmu_emu.transaction import Fault
from tests.unit.smmuv3.rig import RAM, SYNC, Bench, cmd, make_ids

COMMANDS_AT = RAM + (8 << 20)  # aligned to 2^19 commands, 8 MiB
EVENTS_AT = RAM + (16 << 20)  # aligned to 2^19 events, 16 MiB
CMDQEN, EVENTQEN, SMMUEN = 8, 4, 1
NO_STREAM = 0x1000
BAD = 0x00  # a reserved opcode


def _command_bench(size_lg2: int, start: int, base: int = COMMANDS_AT) -> Bench:
    bench = Bench(setup=False)
    bench.w("CMDQ_BASE", base | size_lg2)
    bench.w("CMDQ_PROD", start)
    bench.w("CMDQ_CONS", start)
    bench.w("CR0", CMDQEN)
    return bench


def _event_bench(size_lg2: int, start: int, base: int = EVENTS_AT) -> Bench:
    """Every transaction leaves a C_BAD_STREAMID record with its StreamID."""
    bench = Bench(setup=False)
    bench.w("EVENTQ_BASE", base | size_lg2)
    bench.w("EVENTQ_PROD", start)
    bench.w("EVENTQ_CONS", start)
    bench.w("CR2", 2)
    bench.w("CR0", EVENTQEN | SMMUEN)
    return bench


def _fault(bench: Bench, number: int = 0) -> None:
    assert isinstance(bench.go(0, sid=NO_STREAM + number), Fault)


@pytest.mark.parametrize("size_lg2", range(20))
def test_commands_are_consumed_over_the_end_of_the_queue(size_lg2: int) -> None:
    """6.3.28: the index wraps to the size and toggles the bit above it."""
    size = 1 << size_lg2
    start = size - 1  # the last entry, wrap bit clear
    bench = _command_bench(size_lg2, start)
    bench.store(COMMANDS_AT + 16 * (start % size), SYNC, 16)
    bench.w("CMDQ_PROD", size)  # index 0, wrap bit set
    assert bench.r("CMDQ_CONS") == size
    bench.store(COMMANDS_AT, BAD, 16)
    bench.w("CMDQ_PROD", size + 1 if size_lg2 else 0)

    assert bench.r("CMDQ_CONS") == size | 1 << 24
    assert bench.r("GERROR") == 1


@pytest.mark.parametrize("size_lg2", [0, 1, 4, 8])
def test_full_command_queue_is_consumed_whole(size_lg2: int) -> None:
    """3.5.1: equal indexes with different wrap bits mean full."""
    size = 1 << size_lg2
    bench = _command_bench(size_lg2, 0)
    for entry in range(size):
        bench.store(COMMANDS_AT + 16 * entry, SYNC, 16)
    bench.w("CMDQ_PROD", size)
    assert bench.r("CMDQ_CONS") == size
    bench.w("CMDQ_PROD", 0)

    assert bench.r("CMDQ_CONS") == 0
    assert bench.smmu.commands.consumed[0x46] == 2 * size


def test_command_queue_size_is_capped_but_reads_back() -> None:
    """6.3.26: any use of LOG2SIZE is capped at IDR1.CMDQS, readback is not."""
    bench = Bench(make_ids(CMDQS=3), setup=False)
    bench.w("CMDQ_BASE", COMMANDS_AT | 0x1F)
    assert bench.r("CMDQ_BASE") & 0x1F == 0x1F
    bench.w("CMDQ_PROD", 7)
    bench.w("CMDQ_CONS", 7)
    bench.store(COMMANDS_AT + 16 * 7, SYNC, 16)
    bench.w("CR0", CMDQEN)
    bench.w("CMDQ_PROD", 8)

    assert bench.r("CMDQ_CONS") == 8


def test_event_queue_size_is_capped_but_reads_back() -> None:
    """6.3.29."""
    bench = Bench(make_ids(EVENTQS=2), setup=False)
    bench.w("EVENTQ_BASE", EVENTS_AT | 0x1F)
    bench.w("EVENTQ_PROD", 0)
    bench.w("EVENTQ_CONS", 0)
    bench.w("CR2", 2)
    bench.w("CR0", EVENTQEN | SMMUEN)
    for number in range(5):
        _fault(bench, number)

    assert bench.r("EVENTQ_BASE") & 0x1F == 0x1F
    assert bench.r("EVENTQ_PROD") == 0x8000_0004


def test_bits_above_the_wrap_bit_of_prod_have_no_effect() -> None:
    """6.3.27: they might be stored but have no other effect."""
    bench = _command_bench(3, 0)
    bench.w("CMDQ_PROD", 0xF_FFF0)
    assert bench.r("CMDQ_CONS") == 0
    bench.store(COMMANDS_AT, SYNC, 16)
    bench.w("CMDQ_PROD", 0xF_FFF1)

    assert bench.r("CMDQ_CONS") == 1


def test_bits_above_the_wrap_bit_of_event_cons_have_no_effect() -> None:
    """6.3.96."""
    bench = _event_bench(2, 0)
    for number in range(4):
        _fault(bench, number)
    bench.w("EVENTQ_CONS", 0x7_FFF8 | 1)
    _fault(bench)

    assert bench.r("EVENTQ_PROD") == 5


@pytest.mark.parametrize(
    ("size_lg2", "alignment"), [(0, 32), (1, 32), (2, 64), (5, 512), (8, 4096), (12, 65536)]
)
def test_command_queue_base_is_aligned_to_the_queue(size_lg2: int, alignment: int) -> None:
    """6.3.26: to the larger of the queue's size and 32 bytes; lower bits are ignored."""
    for place in (alignment // 2, alignment - 32, alignment):
        bench = _command_bench(size_lg2, 0, COMMANDS_AT + (place & ~31))
        expected = COMMANDS_AT if place < alignment else COMMANDS_AT + alignment
        bench.store(expected, cmd("SYNC", CS=1), 16)
        bench.w("CMDQ_PROD", 1)
        assert bench.r("CMDQ_CONS") == 1
        assert bench.smmu.interrupts.cmdq_sync.pulses == 1


@pytest.mark.parametrize(
    ("size_lg2", "alignment"), [(0, 32), (1, 64), (2, 128), (5, 1024), (7, 4096), (11, 65536)]
)
def test_event_queue_base_is_aligned_to_the_queue(size_lg2: int, alignment: int) -> None:
    """6.3.29."""
    for place in (alignment // 2, alignment - 32, alignment):
        bench = _event_bench(size_lg2, 0, EVENTS_AT + (place & ~31))
        expected = EVENTS_AT if place < alignment else EVENTS_AT + alignment
        _fault(bench)
        assert bench.memory.read_u64(expected) == NO_STREAM << 32 | 0x02


@pytest.mark.parametrize("size_lg2", range(20))
def test_events_are_written_over_the_end_of_the_queue(size_lg2: int) -> None:
    """6.3.95."""
    size = 1 << size_lg2
    start = 2 * size - 1  # the last entry, wrap bit set
    bench = _event_bench(size_lg2, start)
    _fault(bench, 1)
    assert bench.r("EVENTQ_PROD") == 0
    assert bench.memory.read_u64(EVENTS_AT + 32 * (size - 1)) == NO_STREAM + 1 << 32 | 0x02
    if size_lg2:
        _fault(bench, 2)
        assert bench.r("EVENTQ_PROD") == 1
        assert bench.memory.read_u64(EVENTS_AT) == NO_STREAM + 2 << 32 | 0x02


@pytest.mark.parametrize("size_lg2", [0, 1, 4])
def test_event_queue_takes_as_many_records_as_it_has_entries(size_lg2: int) -> None:
    """7.4: full when the indexes are equal and the wrap bits differ."""
    size = 1 << size_lg2
    bench = _event_bench(size_lg2, 0)
    for number in range(size):
        _fault(bench, number)
    assert bench.r("EVENTQ_PROD") == size
    _fault(bench, size)

    assert bench.r("EVENTQ_PROD") == size | 1 << 31


def test_smaller_queue_uses_the_truncated_index() -> None:
    """6.3.28: when LOG2SIZE decreases, the effective index is the truncation of the old field."""
    bench = _command_bench(8, 0)
    bench.w("CR0", 0)
    bench.w("CMDQ_PROD", 0x13)
    bench.w("CMDQ_CONS", 0x12)
    bench.w("CMDQ_BASE", COMMANDS_AT | 2)
    bench.store(COMMANDS_AT + 16 * 2, SYNC, 16)
    bench.w("CR0", CMDQEN)

    assert bench.r("CMDQ_CONS") & 7 == 3
    assert bench.r("GERROR") == 0
