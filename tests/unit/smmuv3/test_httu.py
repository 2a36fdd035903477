# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware update of the access flag and of the dirty state, at both stages.

Spec: IHI 0070 3.13, 5.4 HA, HD, AFFD; 5.2 S2HA, S2HD, S2AFFD; 6.3.1 HTTU; DDI 0487 D8.5.
DBM is bit 51; a page is writable-clean with DBM 1 and AP[2] 1 (stage 2: S2AP[1] 0).
"""

from __future__ import annotations

from typing import Any

import pytest

from smmu_emu.transaction import Translation
from tests.unit.smmuv3.rig import (
    AF,
    AP_TABLE_1,
    BLOCK,
    CD_AT,
    GUEST,
    NOWHERE,
    PAGE,
    PXN,
    RAM,
    READ_ONLY,
    S2_READ,
    S2_RW,
    S2_WRITE,
    TABLE,
    USER,
    UXN,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

IOVA = 0x5000
OUT = 0x100_0000_0000
DBM = 1 << 51
CLEAN = USER | READ_ONLY | AF | DBM
S2_CLEAN = S2_RW & ~S2_WRITE | DBM
S2_XN = 1 << 54


def _stage1(ha: int = 1, hd: int = 0, **cd: Any) -> tuple[Bench, Tree]:
    return stage1_bench(make_ids(HTTU=2), HA=ha, HD=hd, **cd)


def _stage2(ha: int = 1, hd: int = 0, **ste: Any) -> tuple[Bench, Tree]:
    return stage2_bench(make_ids(HTTU=2), S2HA=ha, S2HD=hd, **ste)


def _nested(ste: dict[str, int], cd: dict[str, int]) -> tuple[Bench, Tree, Tree]:
    return nested_bench(make_ids(HTTU=2), ste=ste, cd=cd)


def _word(bench: Bench, where: int) -> int:
    word = bench.memory.read_u64(where)
    assert word is not None
    return word


# -- access flag


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_stage_1_sets_the_access_flag(level: int, write: bool) -> None:
    """3.13.2: instead of F_ACCESS; nothing else changes."""
    bench, tree = _stage1()
    before = OUT | USER | (PAGE if level == 3 else BLOCK)
    where = tree.set(0, level, before)
    assert bench.pa(0x10, write) == OUT + 0x10

    assert _word(bench, where) == before | AF


@pytest.mark.parametrize("write", [False, True])
def test_stage_2_sets_the_access_flag(write: bool) -> None:
    bench, tree = _stage2()
    where = tree.page(IOVA, OUT, S2_RW & ~AF)
    assert bench.pa(IOVA, write) == OUT

    assert _word(bench, where) == OUT | S2_RW | PAGE


@pytest.mark.parametrize("httu", [1, 2])
def test_flags_are_left_alone_unless_enabled(httu: int) -> None:
    """3.13.2: HA 0."""
    bench, tree = stage1_bench(make_ids(HTTU=httu))
    where = tree.page(IOVA, OUT, USER)
    assert bench.code(IOVA) == 0x12

    assert _word(bench, where) == OUT | USER | PAGE


def test_affd_is_ignored_when_hardware_updates() -> None:
    """5.4 AFFD: IGNORED with HA 1: the flag is set."""
    bench, tree = _stage1(AFFD=1)
    where = tree.page(IOVA, OUT, USER)
    bench.pa(IOVA)

    assert _word(bench, where) & AF


def test_affd_takes_the_flag_for_set_and_leaves_it() -> None:
    bench, tree = _stage1(ha=0, AFFD=1)
    where = tree.page(IOVA, OUT, USER)
    assert bench.pa(IOVA) == OUT

    assert not _word(bench, where) & AF


def test_dirty_enable_alone_acts_as_off() -> None:
    """5.4 HD, 5.2 S2HD: {HA, HD} 01 behaves as both 0."""
    bench, tree = _stage1(ha=0, hd=1)
    where = tree.page(IOVA, OUT, CLEAN & ~AF)
    assert bench.code(IOVA) == 0x12
    tree.page(IOVA, OUT, CLEAN)
    assert bench.code(IOVA, True) == 0x13
    assert _word(bench, where) == OUT | CLEAN | PAGE
    bench, tree = _stage2(ha=0, hd=1)
    tree.page(IOVA, OUT, S2_CLEAN & ~AF)
    assert bench.code(IOVA) == 0x12
    tree.page(IOVA, OUT, S2_CLEAN)

    assert bench.code(IOVA, True) == 0x13


def test_second_access_writes_no_more() -> None:
    bench, tree = _stage1()
    where = tree.page(IOVA, OUT, USER)
    bench.pa(IOVA)
    bench.write64(where, OUT | USER | PAGE)  # software clears it again
    bench.pa(IOVA)
    assert not _word(bench, where) & AF, "a cached translation needs no update"
    bench.do(cmd("TLBI_NSNH_ALL"))
    bench.pa(IOVA)

    assert _word(bench, where) & AF


def test_faults_before_the_access_flag_update_nothing() -> None:
    """7.3.22: address size comes first; an invalid descriptor is never written."""
    bench, tree = _stage1()
    where = tree.page(IOVA, 1 << 46, USER)
    assert bench.code(IOVA) == 0x11
    assert not _word(bench, where) & AF
    where = tree.set(0x6000, 3, OUT | USER)
    assert bench.code(0x6000) == 0x10

    assert _word(bench, where) == OUT | USER


def test_aborted_update_is_f_walk_eabt() -> None:
    """7.3.12: fetching or updating; S2 0, CLASS TT and the descriptor's address."""
    bench, tree = _stage1()
    where = tree.page(IOVA, OUT, USER)
    bench.smmu.ports["walk"].write_u64 = lambda pa, value: False
    record = bench.refused(IOVA, True)

    assert record is not None
    assert (record["Number"], record["S2"], record["CLASS"]) == (0x0B, 0, 1)
    assert (record["FetchAddr"], record["RnW"]) == (where, 0)


def test_aborted_update_of_stage_2_is_f_walk_eabt() -> None:
    bench, tree = _stage2()
    where = tree.page(IOVA, OUT, S2_RW & ~AF)
    bench.smmu.ports["walk"].write_u64 = lambda pa, value: False
    record = bench.refused(IOVA)

    assert record is not None
    assert (record["Number"], record["S2"], record["CLASS"]) == (0x0B, 1, 2)
    assert record["FetchAddr"] == where


# -- dirty state


def test_write_marks_a_writable_clean_page_dirty() -> None:
    """3.13.3.1: AP[2] becomes 0, DBM stays, and no fault arises."""
    bench, tree = _stage1(hd=1)
    where = tree.page(IOVA, OUT, CLEAN)
    assert bench.pa(IOVA, True) == OUT

    assert _word(bench, where) == OUT | USER | AF | DBM | PAGE


@pytest.mark.parametrize(
    ("execute_never", "privileged"), [(UXN, False), (PXN, True), (UXN | PXN, False)]
)
def test_marking_a_page_dirty_leaves_its_other_permissions(
    execute_never: int, privileged: bool
) -> None:
    """3.13.3: the cached translation that the write leaves forbids execution as before."""
    bench, tree = _stage1(hd=1)
    tree.page(IOVA, OUT, CLEAN & ~USER | execute_never if privileged else CLEAN | execute_never)
    assert bench.pa(IOVA, True, privileged=privileged) == OUT

    assert bench.pa(IOVA, privileged=privileged) == OUT
    assert bench.code(IOVA, privileged=privileged, instruction=True) == 0x13


def test_marking_a_stage_2_page_dirty_leaves_its_other_permissions() -> None:
    bench, tree = _stage2(hd=1)
    tree.page(IOVA, OUT, S2_CLEAN & ~S2_READ | S2_XN)
    assert bench.pa(IOVA, True) == OUT

    assert bench.code(IOVA) == 0x13
    assert bench.code(IOVA, instruction=True) == 0x13


def test_read_leaves_a_clean_page_clean() -> None:
    bench, tree = _stage1(hd=1)
    where = tree.page(IOVA, OUT, CLEAN)
    assert bench.pa(IOVA) == OUT

    assert _word(bench, where) == OUT | CLEAN | PAGE


def test_write_after_a_cached_read_marks_the_page_too() -> None:
    """The clean translation is cached; the first write still has to reach memory."""
    bench, tree = _stage1(hd=1)
    where = tree.page(IOVA, OUT, CLEAN)
    bench.pa(IOVA)
    bench.pa(IOVA, True)

    assert _word(bench, where) == OUT | USER | AF | DBM | PAGE


def test_write_sets_both_flags_at_once() -> None:
    """3.13.2: if the dirty state is updated the access flag is set as well."""
    bench, tree = _stage1(hd=1)
    where = tree.page(IOVA, OUT, CLEAN & ~AF)
    bench.pa(IOVA, True)

    assert _word(bench, where) == OUT | USER | AF | DBM | PAGE


def test_read_only_page_is_never_made_writable() -> None:
    """3.13.3.1: DBM 0."""
    bench, tree = _stage1(hd=1)
    where = tree.page(IOVA, OUT, CLEAN & ~DBM)
    assert bench.code(IOVA, True) == 0x13

    assert _word(bench, where) == OUT | CLEAN & ~DBM | PAGE


def test_page_that_tables_make_read_only_stays_clean() -> None:
    """3.13.3.1: not applicable where APTable removes write access."""
    bench, tree = _stage1(hd=1)
    tree.at(IOVA, 3, table_bits=AP_TABLE_1)
    where = tree.page(IOVA, OUT, CLEAN)
    assert bench.code(IOVA, True) == 0x13

    assert _word(bench, where) & READ_ONLY


def test_page_that_privilege_forbids_stays_clean() -> None:
    """3.13.3.1: only where nothing else forbids the write."""
    bench, tree = _stage1(hd=1)
    where = tree.page(IOVA, OUT, CLEAN & ~USER)
    assert bench.code(IOVA, True) == 0x13
    assert _word(bench, where) & READ_ONLY
    bench.pa(IOVA, True, privileged=True)

    assert not _word(bench, where) & READ_ONLY


def test_pan_keeps_a_page_clean() -> None:
    bench, tree = _stage1(hd=1, PAN=1)
    where = tree.page(IOVA, OUT, CLEAN)
    assert bench.code(IOVA, True, privileged=True) == 0x13

    assert _word(bench, where) & READ_ONLY


def test_clean_user_page_is_not_privileged_executable() -> None:
    """3.13.8, DDI 0487 S1DirectBasePermissions: a clean page counts as writable for execution."""
    bench, tree = _stage1(hd=1)
    tree.page(IOVA, OUT, CLEAN)

    assert bench.code(IOVA, instruction=True, privileged=True) == 0x13


def test_wxn_bites_on_a_clean_page() -> None:
    bench, tree = _stage1(hd=1, WXN=1)
    tree.page(IOVA, OUT, CLEAN)

    assert bench.code(IOVA, instruction=True) == 0x13


def test_clean_page_is_executable_while_dirty_updates_are_off() -> None:
    bench, tree = _stage1(hd=0)
    tree.page(IOVA, OUT, CLEAN)

    assert bench.pa(IOVA, instruction=True, privileged=True) == OUT


def test_stage_2_write_marks_a_page_dirty() -> None:
    """3.13.3.1: S2AP[1] becomes 1."""
    bench, tree = _stage2(hd=1)
    where = tree.page(IOVA, OUT, S2_CLEAN)
    assert bench.pa(IOVA) == OUT
    assert _word(bench, where) == OUT | S2_CLEAN | PAGE
    assert bench.pa(IOVA, True) == OUT

    assert _word(bench, where) == OUT | S2_RW | DBM | PAGE


def test_stage_2_page_without_dbm_is_never_made_writable() -> None:
    bench, tree = _stage2(hd=1)
    where = tree.page(IOVA, OUT, S2_CLEAN & ~DBM)
    assert bench.code(IOVA, True) == 0x13

    assert not _word(bench, where) & S2_WRITE


def test_access_only_hardware_leaves_dirty_state_to_software() -> None:
    """6.3.1 HTTU 1."""
    bench, tree = stage1_bench(make_ids(HTTU=1), HA=1)
    where = tree.page(IOVA, OUT, CLEAN & ~AF)
    assert bench.code(IOVA, True) == 0x13

    assert _word(bench, where) & READ_ONLY


# -- both stages


def _guest_page(first: Tree, second: Tree, bits: int, s2_bits: int) -> tuple[int, int]:
    """A page of the guest; where its two descriptors lie physically."""
    ipa = 0x6_0000_0000
    one = first.page(IOVA, ipa, bits) - GUEST
    return one, second.page(ipa, OUT, s2_bits)


def test_nested_write_marks_both_stages() -> None:
    """3.13.5."""
    bench, first, second = _nested({"S2HA": 1, "S2HD": 1}, {"HA": 1, "HD": 1})
    one, two = _guest_page(first, second, CLEAN & ~AF, S2_CLEAN & ~AF)
    assert bench.pa(IOVA, True) == OUT

    assert _word(bench, one) & (AF | READ_ONLY) == AF
    assert _word(bench, two) & (AF | S2_WRITE) == AF | S2_WRITE


def test_nested_read_marks_access_only() -> None:
    bench, first, second = _nested({"S2HA": 1, "S2HD": 1}, {"HA": 1, "HD": 1})
    one, two = _guest_page(first, second, CLEAN & ~AF, S2_CLEAN & ~AF)
    assert bench.pa(IOVA) == OUT
    assert _word(bench, one) & (AF | READ_ONLY) == AF | READ_ONLY
    assert _word(bench, two) & (AF | S2_WRITE) == AF
    assert bench.pa(IOVA, True) == OUT

    assert not _word(bench, one) & READ_ONLY
    assert _word(bench, two) & S2_WRITE


def test_write_that_stage_1_forbids_marks_nothing_dirty_in_stage_2() -> None:
    bench, first, second = _nested({"S2HA": 1, "S2HD": 1}, {"HA": 1, "HD": 1})
    _, two = _guest_page(first, second, CLEAN & ~DBM, S2_CLEAN)
    assert bench.code(IOVA, True) == 0x13

    assert not _word(bench, two) & S2_WRITE


def test_update_of_stage_1_needs_stage_2_write_permission() -> None:
    """3.13.5, 7.3.16: S2 F_PERMISSION, CLASS TT, TTRnW 0, IPA the descriptor's."""
    bench, first, second = _nested({}, {"HA": 1})
    table = 0x5_0000_0000
    piece = bench.alloc(0x1000)
    first.set(IOVA, 2, table | TABLE)
    second.page(table, piece, S2_RW & ~S2_WRITE)
    where = piece + 8 * (IOVA >> 12 & 0x1FF)
    bench.write64(where, RAM + GUEST | USER | PAGE)
    record = bench.refused(IOVA)

    assert record is not None
    assert (record["Number"], record["S2"], record["CLASS"]) == (0x13, 1, 1)
    assert (record["TTRnW"], record["RnW"], record["IPA"]) == (0, 1, table)
    assert not _word(bench, where) & AF


def test_update_of_stage_1_marks_the_stage_2_page_of_its_table_dirty() -> None:
    """3.13.5: the update is a write through stage 2."""
    bench, first, second = _nested({"S2HA": 1, "S2HD": 1}, {"HA": 1})
    table = 0x5_0000_0000
    piece = bench.alloc(0x1000)
    first.set(IOVA, 2, table | TABLE)
    s2_leaf = second.page(table, piece, S2_CLEAN & ~AF)
    where = piece + 8 * (IOVA >> 12 & 0x1FF)
    bench.write64(where, RAM + GUEST | USER | PAGE)
    assert bench.pa(IOVA) == RAM

    assert _word(bench, where) & AF
    assert _word(bench, s2_leaf) & (AF | S2_WRITE) == AF | S2_WRITE


def test_walk_without_update_leaves_the_table_page_clean() -> None:
    bench, first, second = _nested({"S2HA": 1, "S2HD": 1}, {"HA": 1})
    table = 0x5_0000_0000
    piece = bench.alloc(0x1000)
    first.set(IOVA, 2, table | TABLE)
    s2_leaf = second.page(table, piece, S2_CLEAN & ~AF)
    bench.write64(piece + 8 * (IOVA >> 12 & 0x1FF), RAM + GUEST | USER | AF | PAGE)
    assert bench.pa(IOVA) == RAM

    assert _word(bench, s2_leaf) & (AF | S2_WRITE) == AF


def test_fetch_of_a_cd_sets_the_access_flag_and_never_dirties() -> None:
    """3.13.2, 3.13.3.1."""
    cd_ipa = 0x5_0000_0000
    bench, first, second = _nested({"S2HA": 1, "S2HD": 1, "S1ContextPtr": cd_ipa}, {})
    s2_leaf = second.page(cd_ipa, CD_AT & ~0xFFF, S2_CLEAN & ~AF)
    first.page(IOVA, RAM + GUEST, USER | AF)
    assert bench.pa(IOVA, True) == RAM

    assert _word(bench, s2_leaf) & (AF | S2_WRITE) == AF


def test_two_clients_of_a_clean_page() -> None:
    """A read-only view cached by one stream does not stop another's write from dirtying it."""
    bench, tree = _stage1(hd=1)
    bench.ste(9, V=1, Config=0b101, S1ContextPtr=CD_AT, SHCFG=1)
    where = tree.page(IOVA, OUT, CLEAN)
    assert bench.pa(IOVA) == OUT
    assert bench.pa(IOVA, True, sid=9) == OUT

    assert not _word(bench, where) & READ_ONLY
    assert isinstance(bench.go(IOVA, True), Translation)


def test_update_is_visible_before_the_transaction_goes_on() -> None:
    """3.13.4: at the latest by CMD_SYNC; here at once."""
    bench, tree = _stage1(hd=1)
    where = tree.page(IOVA, OUT, CLEAN & ~AF)
    bench.go(IOVA, True)

    assert _word(bench, where) & (AF | READ_ONLY) == AF


def test_nothing_is_updated_while_translation_is_off() -> None:
    """6.3.9.6."""
    bench, tree = _stage1(hd=1)
    where = tree.page(IOVA, OUT, CLEAN & ~AF)
    bench.w("CR0", 0xC)
    bench.go(IOVA, True)
    bench.do(cmd("PREFETCH_ADDR", StreamID=8, Address=IOVA))

    assert _word(bench, where) == OUT | CLEAN & ~AF | PAGE


def test_descriptor_outside_memory_is_not_written() -> None:
    bench, tree = _stage1()
    tree.set(IOVA, 1, NOWHERE | TABLE)

    assert bench.code(IOVA, True) == 0x0B
