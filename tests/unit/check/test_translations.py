# SPDX-License-Identifier: GPL-2.0-or-later
"""Stale translations, as small as they can be made: each mistake, and its correct neighbours."""

from __future__ import annotations

import pytest

from smmu_emu.smmuv3.spec.command import Opcode, TlbInvalidate
from tests.unit.check.bench import (
    ASID,
    FAR_IOVA,
    IOVA,
    OA,
    OTHER_IOVA,
    OTHER_PA,
    PAGE,
    PAGE_PA,
    SID,
    Bench,
)

READ_ONLY, AF = 1 << 7, 1 << 10


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_driver_that_does_everything_right_is_clean(bench: Bench) -> None:
    bench.map_and_use()
    bench.domain.unmap(IOVA, PAGE)
    assert not bench.dma()
    bench.map_and_use(IOVA, OTHER_PA)
    bench.driver.detach(SID)
    bench.domain.close()
    assert bench.found() == {}


# -- stale-tlb-hit


def test_hit_after_unmap_and_a_sync_is_found(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.sync()
    assert bench.dma()
    finding = bench.found()["stale-tlb-hit"]
    assert finding.severity == "error"
    assert finding.found.stream_id == SID
    assert finding.found.iova == IOVA
    assert [type(event).__name__ for event in finding.story] == ["Fill", "Sync", "Access"]


def test_hit_before_the_sync_is_found_when_the_sync_leaves_the_entry(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    assert bench.dma()
    assert bench.checker.findings == []
    bench.sync()
    assert [finding.name for finding in bench.checker.findings] == ["stale-tlb-hit"]


def test_hit_between_the_write_and_its_invalidation_is_legal(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    assert bench.dma()
    bench.tlbi()
    bench.sync()
    assert bench.found() == {}


def test_sync_of_somebody_else_in_the_middle_of_an_unmap_is_legal(bench: Bench) -> None:
    bench.map_and_use()
    bench.map_and_use(OTHER_IOVA, OTHER_PA)
    bench.clear()
    bench.clear(OTHER_IOVA)
    bench.tlbi(OTHER_IOVA)
    bench.sync()
    bench.tlbi()
    bench.sync()
    assert bench.found() == {}


def test_sync_ahead_of_the_invalidation_is_no_sign(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    assert bench.dma()
    commands = bench.driver.commands
    invalidate = TlbInvalidate.make(Opcode=Opcode.TLBI_NH_VA, ASID=ASID, Address=IOVA, Leaf=1)
    for command in (int(Opcode.SYNC), invalidate.value, int(Opcode.SYNC)):
        commands.put(commands.prod, command)
        commands.prod += 1
    bench.write("CMDQ_PROD", commands.prod)
    assert not bench.dma()
    assert bench.found() == {}


def test_write_through_a_page_that_became_read_only_is_found(bench: Bench) -> None:
    bench.map_and_use()
    where = bench.descriptor()
    bench.store(where, bench.word(where) | READ_ONLY)
    bench.sync()
    assert bench.dma()
    assert "stale-tlb-hit" in bench.found()


def test_read_through_a_page_that_became_read_only_is_legal(bench: Bench) -> None:
    bench.map_and_use()
    where = bench.descriptor()
    bench.store(where, bench.word(where) | READ_ONLY)
    bench.sync()
    assert bench.machine.dma(SID).read(IOVA, 4) is not None
    bench.tlbi()
    bench.sync()
    assert bench.found() == {}


def test_wider_permissions_need_no_invalidation_until_somebody_is_refused(bench: Bench) -> None:
    bench.domain.map(IOVA, PAGE_PA, PAGE, 1)
    assert bench.machine.dma(SID).read(IOVA, 4) is not None
    where = bench.descriptor()
    bench.store(where, bench.word(where) & ~READ_ONLY)
    bench.sync()
    assert bench.found() == {}
    assert not bench.dma()
    assert "stale-tlb-hit" in bench.found()


def test_valid_after_invalid_needs_no_invalidation(bench: Bench) -> None:
    assert not bench.dma()
    bench.domain.map(IOVA, PAGE_PA, PAGE)
    assert bench.dma()
    bench.sync()
    assert bench.found() == {}


def test_cleared_access_flag_is_legal(bench: Bench) -> None:
    bench.map_and_use()
    where = bench.descriptor()
    bench.store(where, bench.word(where) & ~AF)
    bench.sync()
    assert bench.dma()
    assert bench.found() == {}


def test_flags_that_hardware_sets_are_no_change() -> None:
    bench = Bench()
    domain = bench.driver.domain(dirty=True)
    bench.driver.attach(SID, domain)
    domain.map(IOVA, PAGE_PA, PAGE)
    assert bench.dma()
    assert domain.collect_dirty(IOVA, PAGE)
    assert bench.dma()
    assert bench.found() == {}


# -- missing-invalidate


def test_unmap_that_tells_nobody_is_found_at_the_end(bench: Bench) -> None:
    bench.map_and_use()
    bench.domain.invalidate = False
    bench.domain.unmap(IOVA, PAGE)
    finding = bench.found()["missing-invalidate"]
    assert finding.severity == "warning"
    assert f"IOVA {IOVA:#x} (ASID 1) is not mapped any more" in finding.text


def test_unmap_that_tells_nobody_is_an_error_once_a_sync_went_by(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.sync()
    assert bench.found()["missing-invalidate"].severity == "error"


def test_page_in_use_elsewhere_is_found_at_once(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.sync()
    bench.map_and_use(OTHER_IOVA, PAGE_PA)
    [finding] = bench.checker.findings
    assert finding.name == "missing-invalidate"
    assert "its page is in use elsewhere" in finding.text


def test_invalidation_of_everything_does_not_hide_that_one_was_missing(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.sync()
    bench.map_and_use(OTHER_IOVA, OTHER_PA)
    bench.sync()
    bench.tlbi(Opcode=Opcode.TLBI_NH_ASID, Address=0, Leaf=0)
    bench.sync()
    assert "missing-invalidate" in bench.found()


def test_deferred_invalidation_is_legal_for_a_lazy_driver() -> None:
    bench = Bench(lazy=True)
    bench.map_and_use()
    bench.clear()
    bench.sync()
    bench.map_and_use(OTHER_IOVA, PAGE_PA)
    bench.sync()
    bench.tlbi(Opcode=Opcode.TLBI_NH_ASID, Address=0, Leaf=0)
    bench.sync()
    bench.map_and_use(FAR_IOVA, PAGE_PA)
    bench.clear(FAR_IOVA)
    bench.sync()
    assert bench.found() == {}


def test_hit_is_an_error_of_a_lazy_driver_too() -> None:
    bench = Bench(lazy=True)
    bench.map_and_use()
    bench.clear()
    bench.sync()
    assert bench.dma()
    assert "stale-tlb-hit" in bench.found()


def test_invalidation_before_the_change_does_not_count(bench: Bench) -> None:
    bench.map_and_use()
    bench.tlbi()
    bench.sync()
    bench.clear()
    bench.sync()
    assert "missing-invalidate" in bench.found()


def test_entries_of_a_space_that_nobody_uses_are_harmless(bench: Bench) -> None:
    bench.map_and_use()
    bench.driver.detach(SID)
    bench.clear()
    bench.sync()
    assert bench.found() == {}


def test_asid_that_is_used_again_brings_old_entries_back(bench: Bench) -> None:
    bench.map_and_use()
    bench.driver.detach(SID)
    bench.driver.asids.clear()
    second = bench.driver.domain()
    assert second.asid == bench.domain.asid
    bench.driver.attach(SID, second)
    second.map(OTHER_IOVA, OTHER_PA, PAGE)
    assert bench.dma(OTHER_IOVA)
    bench.sync()
    bench.sync()
    assert "belongs to other tables" in bench.found()["missing-invalidate"].text


def test_hit_on_an_entry_of_the_asids_last_owner_is_found(bench: Bench) -> None:
    bench.map_and_use()
    bench.driver.detach(SID)
    bench.driver.asids.clear()
    bench.driver.attach(SID, bench.driver.domain())
    assert bench.dma()
    bench.sync()
    assert "belongs to other tables" in bench.found()["stale-tlb-hit"].text


# -- wrong-scope-invalidate


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ASID": 2}, "names another ASID"),
        ({"VMID": 1}, "names another VMID"),
        ({"Opcode": Opcode.TLBI_EL2_VA}, "names another kind of translation"),
        ({"TG": 1, "TTL": 2}, "names another level"),
        ({"TG": 3, "TTL": 3}, "names another granule"),
    ],
)
def test_invalidation_that_misses_is_found_at_its_sync(
    bench: Bench, fields: dict[str, int], says: str
) -> None:
    bench.map_and_use()
    bench.clear()
    bench.tlbi(**fields)
    bench.sync()
    [finding] = bench.checker.findings
    assert finding.name == "wrong-scope-invalidate"
    assert says in finding.text


def test_invalidation_of_another_address_is_named_at_the_end(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.tlbi(IOVA + PAGE)
    bench.sync()
    assert "found nothing" in bench.found()["wrong-scope-invalidate"].text


def test_block_goes_by_any_of_its_addresses(bench: Bench) -> None:
    bench.map_and_use(FAR_IOVA, 0x5020_0000, 0x20_0000)
    bench.clear(FAR_IOVA, 2)
    bench.tlbi(FAR_IOVA + 0x12_3000)
    bench.sync()
    assert bench.found() == {}


# -- tables


def test_leaf_only_invalidation_of_a_table_is_found(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.clear(level=2)
    bench.tlbi(Leaf=1)
    bench.sync()
    assert list(bench.found()) == ["leaf-only-after-table-change"]


def test_table_that_goes_with_leaf_0_is_clean(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.clear(level=2)
    bench.tlbi(Leaf=0)
    bench.sync()
    assert bench.found() == {}


def test_walk_with_a_stale_pointer_is_found() -> None:
    bench = Bench(policy="table-pointers,seed=1")
    bench.map_and_use()
    bench.domain.map(OTHER_IOVA, OTHER_PA, PAGE)
    bench.clear(level=2)
    bench.tlbi()
    bench.sync()
    assert bench.dma(OTHER_IOVA)
    assert "stale-walk-cache" in bench.found()


def test_table_that_is_used_as_another_one_is_found(bench: Bench) -> None:
    bench.map_and_use()
    table = bench.word(bench.descriptor(level=2))
    bench.clear(level=2)
    bench.store(bench.descriptor(FAR_IOVA, 1), 0)
    bench.domain.map(FAR_IOVA, PAGE_PA, PAGE)
    bench.store(bench.descriptor(FAR_IOVA, 2), table)
    bench.dma(FAR_IOVA + IOVA)
    assert "table-use-after-free" in bench.found()


def test_table_that_is_mapped_for_a_device_is_found(bench: Bench) -> None:
    bench.map_and_use()
    table = bench.word(bench.descriptor(level=2)) & 0xFFFF_FFFF_F000
    bench.domain.map(FAR_IOVA, table, PAGE)
    assert bench.machine.dma(SID).read(FAR_IOVA, 8) is not None
    assert "is still linked as a table" in bench.found()["table-use-after-free"].text


def test_device_that_writes_a_table_is_found(bench: Bench) -> None:
    bench.map_and_use()
    table = bench.word(bench.descriptor(level=2)) & 0xFFFF_FFFF_F000
    bench.domain.map(FAR_IOVA, table & -0x20_0000, 0x20_0000)
    assert bench.dma(FAR_IOVA + (table & 0x1F_FFFF) + 0x800)
    assert f"bytes into table {table:#x}" in bench.found()["table-use-after-free"].text


def test_table_with_a_devices_data_in_it_is_found(bench: Bench) -> None:
    bench.map_and_use()
    bench.domain.unmap(IOVA, PAGE)
    bench.domain.map(FAR_IOVA, OTHER_PA, PAGE)
    link = bench.descriptor(FAR_IOVA, 2)
    bench.store(link, 0)
    bench.store(bench.descriptor(FAR_IOVA, 2), PAGE_PA | 3)
    bench.dma(FAR_IOVA + 0x3000)
    assert "was not cleared" in bench.found()["table-use-after-free"].text


def test_walk_where_no_memory_is_is_found(bench: Bench) -> None:
    bench.map_and_use()
    bench.store(bench.descriptor(FAR_IOVA, 1), 0x20_0000_0003)
    assert not bench.dma(FAR_IOVA)
    assert bench.found()["walk-outside-memory"].severity == "warning"


# -- break-before-make


def test_page_that_moves_in_one_write_is_found(bench: Bench) -> None:
    bench.map_and_use()
    where = bench.descriptor()
    bench.store(where, bench.word(where) & 0xFFF | OTHER_PA)
    bench.tlbi()
    bench.sync()
    assert list(bench.found()) == ["break-before-make"]


def test_page_that_moved_is_found_when_it_is_walked_again(bench: Bench) -> None:
    """The TLBI is too early, so that another SMMU may still hold the first page."""
    bench.map_and_use()
    where = bench.descriptor()
    bench.tlbi()
    bench.sync()
    bench.store(where, bench.word(where) & 0xFFF | OTHER_PA)
    assert bench.dma()
    bench.tlbi()
    bench.sync()
    assert "break-before-make" in bench.found()


def test_table_that_moved_is_found_when_it_is_walked_again(bench: Bench) -> None:
    bench.map_and_use()
    bench.domain.map(OTHER_IOVA, OTHER_PA, PAGE)
    link = bench.descriptor(level=2)
    copy = bench.driver.structures.allocate(PAGE)
    bench.memory.write(copy, bench.memory.read(bench.word(link) & OA, PAGE) or b"")
    bench.store(copy + 8, 0)
    bench.store(link, copy | 3)
    assert bench.dma(OTHER_IOVA)
    assert "break-before-make" in bench.found()


def test_table_may_be_exchanged_for_its_copy(bench: Bench) -> None:
    bench.map_and_use()
    link = bench.descriptor(level=2)
    copy = bench.driver.structures.allocate(PAGE)
    bench.memory.write(copy, bench.memory.read(bench.word(link) & OA, PAGE) or b"")
    bench.store(link, copy | 3)
    bench.tlbi(Leaf=0)
    bench.sync()
    assert bench.found() == {}


def test_pages_may_move_while_translation_is_off(bench: Bench) -> None:
    bench.map_and_use()
    enables = bench.read("CR0")
    bench.driver.registers.update("CR0", "CR0ACK", enables & ~1)
    where = bench.descriptor()
    bench.store(where, bench.word(where) & 0xFFF | OTHER_PA)
    bench.tlbi(Opcode=Opcode.TLBI_NSNH_ALL, Address=0, Leaf=0, ASID=0)
    bench.sync()
    bench.driver.registers.update("CR0", "CR0ACK", enables)
    assert bench.dma()
    assert bench.found() == {}


def test_page_that_moves_by_the_book_is_clean(bench: Bench) -> None:
    bench.map_and_use()
    where = bench.descriptor()
    old = bench.word(where)
    bench.store(where, 0)
    bench.tlbi()
    bench.sync()
    bench.store(where, old & 0xFFF | OTHER_PA)
    assert bench.dma()
    assert bench.found() == {}


@pytest.mark.parametrize(("preset", "level"), [("full", 2), ("mmu-600", 0)])
def test_size_may_change_at_once_with_bbml_2(preset: str, level: int) -> None:
    bench = Bench(preset=preset)
    assert (bench.smmu.ids.extras.BBML == 2) == (level == 2)
    bench.map_and_use(FAR_IOVA, 0x5020_0000, 0x20_0000)
    block = bench.descriptor(FAR_IOVA, 2)
    table = bench.driver.structures.allocate(PAGE)
    for page in range(512):
        bench.store(table + 8 * page, bench.word(block) + page * PAGE | 3)
    bench.store(block, table | 3)
    bench.tlbi(FAR_IOVA, Leaf=0)
    bench.sync()
    assert list(bench.found()) == ([] if level == 2 else ["break-before-make"])


# -- missing-sync


def test_address_that_leads_elsewhere_before_the_sync_is_found(bench: Bench) -> None:
    bench.map_and_use()
    where = bench.descriptor()
    old = bench.word(where)
    bench.store(where, 0)
    bench.tlbi()
    bench.store(where, old & 0xFFF | OTHER_PA)
    bench.sync()
    assert list(bench.found()) == ["missing-sync"]


def test_page_in_use_elsewhere_before_the_sync_is_found(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.tlbi()
    bench.map_and_use(OTHER_IOVA, PAGE_PA)
    assert "no CMD_SYNC had completed" in bench.found()["missing-sync"].text


def test_sync_that_nobody_waits_for_is_found() -> None:
    bench = Bench()
    bench.driver.commands.messages = False
    bench.map_and_use()
    bench.clear()
    bench.tlbi()
    bench.driver.commands.issue(int(Opcode.SYNC))
    bench.map_and_use(OTHER_IOVA, PAGE_PA)
    assert "did not look whether" in bench.found()["missing-sync"].text


def test_page_in_use_elsewhere_after_the_sync_is_clean(bench: Bench) -> None:
    bench.map_and_use()
    bench.clear()
    bench.tlbi()
    bench.sync()
    bench.map_and_use(OTHER_IOVA, PAGE_PA)
    assert bench.found() == {}
