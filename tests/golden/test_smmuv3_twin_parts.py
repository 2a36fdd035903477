# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of the twin whose logic deserves words of its own."""

from __future__ import annotations

import struct

import pytest
from smmuv3 import registers as reg
from smmuv3.context import Config, Half, Stage2
from smmuv3.events import F_PERMISSION, F_TRANSLATION, Fault, record
from smmuv3.fields import Command
from smmuv3.invalidate import invalidate
from smmuv3.stage2 import architecture_start, qemu_start
from smmuv3.tlb import CAPACITY, READ, WRITE, Entry, Tlb
from smmuv3.translate import select_half
from smmuv3.twin import EVENTQ_ABT_ERR, IRQ_EVENTQ, IRQ_GERROR, Twin

NESTED = (0x0D44101B, 0x02730010, 0, 0x1414, 0, 0x74, 0, 1)
ASID, VMID = 0x21, 0x5
RAM = 0x4000_0000


def entry_at(address: int, level: int = 3, granule: int = 12, **more: object) -> Entry:
    """A leaf of stage 1 that anybody may read and write."""
    mask = (1 << granule + (granule - 3) * (3 - level)) - 1
    fields = {"perm": READ | WRITE, "parent": READ | WRITE, "not_global": True, **more}
    return Entry(address, mask, RAM, granule, level, leaf=(granule, level), **fields)  # type: ignore[arg-type]


def twin_holding(*entries: Entry, asid: int = ASID) -> Twin:
    twin = Twin(NESTED)
    for entry in entries:
        twin.tlb.insert(asid, VMID, entry)
    return twin


def nh_va(address: int, *, asid: int = ASID, **fields: int) -> Command:
    """CMD_TLBI_NH_VA; ``tg``, ``num``, ``scale`` and ``ttl`` make it a range."""
    low = 0x12 | fields.get("num", 0) << 12 | fields.get("scale", 0) << 20 | VMID << 32 | asid << 48
    high = address | fields.get("ttl", 0) << 8 | fields.get("tg", 0) << 10
    return Command(struct.pack("<2Q", low, high))


def held(twin: Twin) -> list[int]:
    return sorted(entry.iova for entry in twin.tlb.entries.values())


# TLB


def test_full_tlb_is_emptied_by_one_more_entry() -> None:
    tlb = Tlb()
    for number in range(CAPACITY + 1):
        tlb.insert(ASID, VMID, entry_at(number << 12))
    assert [entry.iova for entry in tlb.entries.values()] == [CAPACITY << 12]


def test_lookup_finds_blocks_from_the_start_level_down() -> None:
    tlb = Tlb()
    tlb.insert(ASID, VMID, entry_at(0x4000_0000, level=1))
    assert tlb.lookup(ASID, VMID, 0x7FFF_FFFF, 12, 39) is not None
    assert tlb.lookup(ASID, VMID, 0x7FFF_FFFF, 12, 30) is None  # the start level is 2
    assert tlb.lookup(ASID, VMID, 0x7FFF_FFFF, 14, 39) is None


@pytest.mark.parametrize(("granule", "found"), [(12, False), (14, False), (16, True)])
def test_half_without_walks_hits_only_under_a_64k_stage2(granule: int, found: bool) -> None:
    tlb = Tlb()
    tlb.insert(ASID, VMID, entry_at(0, granule=granule))
    assert tlb.lookup(ASID, VMID, 0x123, 0, 64) is None
    assert (tlb.lookup(ASID, VMID, 0x123, granule, 64) is not None) == found


# Invalidation


def test_range_drops_what_it_reaches_and_no_more() -> None:
    twin = twin_holding(*(entry_at(page << 12) for page in range(8)))
    invalidate(twin, nh_va(0x3000, tg=1, num=2))
    assert held(twin) == [0, 0x1000, 0x2000, 0x6000, 0x7000]


def test_range_wraps_at_the_top() -> None:
    top = 0xFFFF_FFFF_FFFF_F000
    twin = twin_holding(entry_at(top), entry_at(0), entry_at(0x1000))
    invalidate(twin, nh_va(top, tg=1, num=1))
    assert held(twin) == [0x1000]


def test_misaligned_range_misses_entries_inside_its_small_pieces() -> None:
    twin = twin_holding(entry_at(0x1_2000), entry_at(0x1_3000), entry_at(0x1_4000))
    invalidate(twin, nh_va(0x1_2000, tg=3, ttl=3))  # pieces of 8, 16, 32 KiB and 8 KiB more
    assert held(twin) == [0x1_3000]


def test_ttl_that_fits_an_entry_drops_it_alone() -> None:
    block, page = entry_at(0x20_0000, level=2), entry_at(0x20_0000)
    twin = twin_holding(block, page)
    invalidate(twin, nh_va(0x20_0000, tg=1, ttl=3))
    assert list(twin.tlb.entries.values()) == [block]


def test_global_entry_of_another_asid_stays_under_a_name() -> None:
    twin = twin_holding(entry_at(0x1000, not_global=False), entry_at(0x2000), asid=ASID + 1)
    invalidate(twin, nh_va(0x1000))
    names = {entry.iova: set(entry.names) for entry in twin.tlb.entries.values()}
    assert names == {0x1000: {"short-invalidation"}, 0x2000: set()}


def test_pieces_of_a_block_have_to_go_with_any_of_its_addresses() -> None:
    pieces = [entry_at(address) for address in (0x20_0000, 0x20_1000, 0x40_0000)]
    for piece in pieces:
        piece.leaf, piece.combined = (12, 2), True
    twin = twin_holding(*pieces)
    invalidate(twin, nh_va(0x20_1000))
    assert {key[2] for key in twin.result.dropped_entries} == {0x20_0000, 0x20_1000}
    assert [sorted(entry.names) for entry in twin.tlb.entries.values()] == [
        ["short-invalidation"],
        [],
    ]


# Walks


def test_concatenated_tables_are_told_apart_by_the_architecture_alone() -> None:
    stage2 = Stage2(12, 1, 40, 44, 0x4800_2000, affd=False, recorded=True, ptw=False)
    ipa = 1 << 39 | 5 << 30
    assert architecture_start(stage2, ipa) == (0x4800_3000, 5)
    assert qemu_start(stage2, ipa) == (0x4800_2000, 5)


def test_start_level_too_high_sends_qemu_to_address_zero() -> None:
    stage2 = Stage2(16, 1, 37, 44, 0x4800_0000, affd=False, recorded=True, ptw=False)
    assert qemu_start(stage2, 0x1234_5678) == (0, 0)
    assert architecture_start(stage2, 0x1234_5678) == (0x4800_0000, 0)


@pytest.mark.parametrize(
    ("iova", "tbi", "half"),
    [
        (0x00FF, (0, 0), 0),
        (0x5A00_0000_0000_00FF, (0, 0), -1),
        (0x5A00_0000_0000_00FF, (1, 0), 0),
        (0xFFFF_FFFF_FFFF_0000, (0, 0), 1),
        (0x5AFF_FFFF_FFFF_0000, (1, 0), -1),
        (0x5AFF_FFFF_FFFF_0000, (0, 1), 1),
    ],
)
def test_half_is_chosen_by_the_bits_above_its_range(
    iova: int, tbi: tuple[int, int], half: int
) -> None:
    ranges = Half(12, 25, RAM, RAM, had=False), Half(16, 25, RAM, RAM, had=False)
    assert select_half(Config(halves=ranges), iova, tbi) == half


def test_half_without_walks_takes_what_the_other_leaves() -> None:
    config = Config(halves=(Half(12, 25, RAM, RAM, had=False), None))
    assert select_half(config, 0x5A00_0000_0000_00FF, (0, 0)) == 1


# Records and the event queue


def test_record_of_a_write_that_finds_no_translation() -> None:
    data = record(Twin(NESTED), Fault(F_TRANSLATION), 0x8, 0x1234, True)
    assert struct.unpack("<4Q", data) == (0x8_0000_0010, 0x0000_0200_0000_0000, 0x1234, 0)


def test_record_of_stage2_keeps_low_bits_that_the_architecture_drops() -> None:
    fault = Fault(F_PERMISSION, stage2=True, address=0x4567_8123)
    twin = Twin(NESTED)
    assert struct.unpack("<4Q", record(twin, fault, 0x8, 0x123, False))[1:] == (
        0x0000_0288_0000_0000,
        0x123,
        0x4567_8123,
    )
    assert twin.result.names == {"address-fields"}
    with twin.as_architecture():
        assert struct.unpack("<4Q", record(twin, fault, 0x8, 0x123, False))[3] == 0x4567_8000


def faulting_twin(queue_lg2: int) -> Twin:
    """A twin whose every transaction is C_BAD_STE, with a small event queue."""
    twin = Twin(NESTED)
    twin.write(reg.STRTAB_BASE, 8, 0x4100_0000)
    twin.write(reg.STRTAB_BASE_CFG, 4, 8)
    twin.write(reg.EVENTQ_BASE, 8, 0x4200_0000 | queue_lg2)
    twin.write(reg.IRQ_CTRL, 4, 5)
    twin.write(reg.CR0, 4, 5)
    return twin


def test_event_queue_interrupts_for_each_record_and_errs_when_full() -> None:
    twin = faulting_twin(queue_lg2=1)
    steps = [twin.transfer(0x8, 0x1000, 4, True) for _ in range(3)]
    assert [step.interrupts for step in steps] == [[IRQ_EVENTQ], [IRQ_EVENTQ], [IRQ_GERROR]]
    assert [len(step.events) for step in steps] == [1, 1, 0]
    assert [sorted(step.names) for step in steps] == [[], ["irq-per-record"], ["queue-full"]]
    assert twin.gerror == EVENTQ_ABT_ERR
    assert twin.memory.read(0x4200_0020, 8) == bytes.fromhex("0400000008000000")


def test_expectation_changes_nothing_and_follows_the_architecture() -> None:
    twin = faulting_twin(queue_lg2=0)
    first = twin.expect(0x8, 0x1000, True)
    assert (len(first.events), first.prod, first.interrupts) == (1, 1, [IRQ_EVENTQ])
    assert twin.event_queue.prod == 0
    twin.transfer(0x8, 0x1000, 4, True)
    full = twin.expect(0x8, 0x1000, True)
    assert (full.events, full.prod, full.interrupts) == ([], 0x8000_0001, [])
    assert twin.gerror == 0


def test_failing_unaligned_transfer_is_split_with_an_event_each() -> None:
    step = faulting_twin(queue_lg2=3).transfer(0x8, 0x1001, 7, False)
    assert [(piece.iova, piece.size) for piece in step.pieces] == [
        (0x1001, 1),
        (0x1002, 2),
        (0x1004, 4),
    ]
    assert len(step.events) == 3
    assert "split-transfers" in step.names


# Registers


def test_registers_keep_reserved_bits_and_acknowledge_absent_features() -> None:
    twin = Twin(NESTED)
    twin.write(reg.CR0, 4, 0xFFFF_FFFF & ~0xD)
    assert twin.read(reg.CR0, 4).value == 0xFFFF_FFF2
    assert twin.read(reg.CR0ACK, 4).value == 0x5D2
    assert twin.result.names == {"cr0ack"}
    assert twin.read(reg.CR0, 8).value == 0


def test_upper_half_of_a_queue_base_leaves_the_size_alone() -> None:
    twin = Twin(NESTED)
    assert (twin.read(reg.CMDQ_BASE, 8).value, twin.command_queue.size_lg2) == (0x13, 0)
    twin.write(reg.CMDQ_BASE + 4, 4, 0x4000_0000)
    assert (twin.read(reg.CMDQ_BASE, 8).value, twin.command_queue.size_lg2) == (1 << 62 | 0x13, 0)
    twin.write(reg.CMDQ_BASE, 4, 0x4300_0005)
    assert twin.command_queue.entry(0x21) == 0x4300_0010
