# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of several faults is told: the priorities of IHI 0070 7.3.22, one pair after the other.

Each bench has two or more things wrong; the earlier in the architecture's order must be recorded.
"""

from __future__ import annotations

import pytest

from tests.unit.smmuv3.rig import (
    AF,
    NOWHERE,
    PLAIN_CD,
    RAM,
    READ_ONLY,
    S1_STE,
    S2_RW,
    S2_STE,
    TABLE,
    USER,
    Bench,
    Tree,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

IOVA = 0x4567_8000
TOO_LARGE = 1 << 46


def _told(bench: Bench, write: bool = False, iova: int = IOVA, **how: int) -> tuple[int, int, int]:
    """(number, S2, CLASS) of the record."""
    record = bench.refused(iova, write, **how)
    assert record is not None
    return record["Number"], record["S2"], record["CLASS"]


# -- configuration


def test_stream_out_of_range_comes_before_the_fetch() -> None:
    bench = Bench()
    bench.smmu.ports["config"].read = lambda pa, size: None

    assert _told(bench, sid=0x5000)[0] == 0x02
    assert _told(bench)[0] == 0x03


def test_bad_ste_comes_before_substreams_and_cds() -> None:
    bench = Bench()
    bench.ste(**{**S1_STE, "S1STALLD": 1, "S1ContextPtr": NOWHERE})

    assert _told(bench, ssid=3)[0] == 0x04


def test_bad_stage_2_fields_come_before_the_cd_fetch() -> None:
    """All fields of the STE are judged before any access to a CD."""
    bench, _, _ = nested_bench(ste={"S2TG": 3, "S1ContextPtr": 0x7_0000_0000})

    assert _told(bench)[0] == 0x04


def test_bad_substream_comes_before_the_disabled_stream_and_the_cd() -> None:
    bench, _ = stage1_bench(make_ids(SSIDSIZE=8))
    bench.ste(**{**S1_STE, "S1CDMax": 4, "S1DSS": 0, "S1ContextPtr": NOWHERE})

    assert _told(bench, ssid=16)[0] == 0x08
    assert _told(bench)[0] == 0x06
    assert _told(bench, ssid=3)[0] == 0x09


def test_stage_2_of_the_cd_comes_before_its_fetch_and_its_contents() -> None:
    bench, _, second = nested_bench(ste={"S1ContextPtr": 0x5_0000_0000})
    assert _told(bench) == (0x10, 1, 0)
    second.page(0x5_0000_0000, NOWHERE, S2_RW)
    assert _told(bench)[0] == 0x09
    second.page(0x5_0000_0000, bench.alloc(0x1000), S2_RW)
    bench.forget()

    assert _told(bench)[0] == 0x0A


def test_bad_cd_comes_before_the_range_of_the_address() -> None:
    bench, _ = stage1_bench(TG0=3)

    assert _told(bench, iova=1 << 50)[0] == 0x0A


def test_bad_cd_of_the_other_half_comes_first_as_well() -> None:
    bench, _ = stage1_bench(EPD1=0, TG1=0)

    assert _told(bench)[0] == 0x0A


# -- one stage


def _stage(stage: int) -> tuple[Bench, Tree, int]:
    """A bench with one stage, its tables, and the permission bits of a good leaf."""
    if stage == 1:
        return *stage1_bench(), USER
    return *stage2_bench(), S2_RW & ~AF


@pytest.mark.parametrize("stage", [1, 2])
def test_range_comes_before_any_fetch(stage: int) -> None:
    bench, _, _ = _stage(stage)
    reads = bench.watch("walk")
    number, _, _ = _told(bench, iova=1 << 40)

    assert (number, reads) == (0x10, [])


@pytest.mark.parametrize("stage", [1, 2])
def test_each_level_is_finished_before_the_next(stage: int) -> None:
    """7.3.22 2: an abort, an invalid descriptor and an address at an upper level come first."""
    bench, tree, bits = _stage(stage)
    tree.set(IOVA, 1, TOO_LARGE | TABLE)
    assert _told(bench)[0] == 0x11
    tree.set(IOVA, 1, NOWHERE | TABLE)
    assert _told(bench)[0] == 0x0B
    tree.set(IOVA, 1, 0)
    assert _told(bench)[0] == 0x10
    tree.set(IOVA, 3, TOO_LARGE | bits | 3)

    assert _told(bench)[0] == 0x11


@pytest.mark.parametrize("stage", [1, 2])
def test_table_beyond_the_output_size_is_never_fetched(stage: int) -> None:
    """The next-level address is checked like an output, before the fetch; CLASS is IN."""
    bench, tree, _ = _stage(stage)
    tree.set(IOVA, 1, TOO_LARGE | TABLE)
    reads = bench.watch("walk")
    told = _told(bench)

    assert told == (0x11, stage - 1, 2)
    assert all(pa < TOO_LARGE for pa in reads)


@pytest.mark.parametrize("stage", [1, 2])
def test_leaf_is_judged_by_address_then_access_flag_then_permission(stage: int) -> None:
    """7.3.22 2c, 3, 4."""
    bench, tree, _ = _stage(stage)
    forbidden = READ_ONLY if stage == 1 else 0x3C  # no user access; no S2AP
    tree.set(IOVA, 3, TOO_LARGE | forbidden | 3)
    assert _told(bench, True)[0] == 0x11
    tree.set(IOVA, 3, RAM | forbidden | 3)
    assert _told(bench, True)[0] == 0x12
    tree.set(IOVA, 3, RAM | forbidden | AF | 3)

    assert _told(bench, True)[0] == 0x13


def test_hierarchical_permission_is_judged_last() -> None:
    """7.3.22 4: APTable does not cut a walk short."""
    bench, tree = stage1_bench()
    tree.at(IOVA, 2, table_bits=3 << 61)
    assert _told(bench, True)[0] == 0x10
    tree.set(IOVA, 3, RAM | USER | 3)
    assert _told(bench, True)[0] == 0x12
    tree.set(IOVA, 3, RAM | USER | AF | 3)

    assert _told(bench, True)[0] == 0x13


# -- both stages


def test_stage_1_range_comes_before_stage_2() -> None:
    """7.3.22, nested 1."""
    bench, _, _ = nested_bench(cd={"TTB0": 0x7_0000_0000})

    assert _told(bench, iova=1 << 40) == (0x10, 0, 2)
    assert _told(bench) == (0x10, 1, 1)


def test_disabled_half_comes_before_stage_2() -> None:
    bench, _, _ = nested_bench(cd={"TTB0": 0x7_0000_0000, "EPD0": 1})

    assert _told(bench) == (0x10, 0, 2)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_stage_2_of_each_table_comes_before_its_descriptor(level: int) -> None:
    """7.3.22, nested 2 then 3, level by level."""
    bench, first, second = nested_bench()
    table = 0x5_0000_0000
    if level == 1:
        bench.cd(**{**PLAIN_CD, "TTB0": table})
        bench.forget()
    else:
        first.set(IOVA, level - 1, table | TABLE)
    assert _told(bench) == (0x10, 1, 1)
    second.page(table, RAM, S2_RW & ~AF)
    assert _told(bench) == (0x12, 1, 1)
    second.page(table, RAM, S2_RW & ~0xC0)
    assert _told(bench) == (0x13, 1, 1)
    second.page(table, NOWHERE, S2_RW)
    bench.forget()
    assert _told(bench) == (0x0B, 0, 1)
    second.page(table, bench.alloc(0x1000), S2_RW)
    bench.forget()

    assert _told(bench) == (0x10, 0, 2)


def test_table_beyond_ips_is_a_stage_1_fault_before_any_stage_2() -> None:
    """5.4 IPS: stage-1 F_ADDR_SIZE with CLASS IN, gated by CD.R."""
    bench, first, _ = nested_bench()
    first.set(IOVA, 1, TOO_LARGE | TABLE)

    assert _told(bench) == (0x11, 0, 2)


@pytest.mark.parametrize(
    ("leaf", "number"),
    [
        (TOO_LARGE | USER | AF | 3, 0x11),
        (0x7_0000_0000 | USER | 3, 0x12),
        (0x7_0000_0000 | USER | READ_ONLY | AF | 3, 0x13),
    ],
)
def test_stage_1_is_finished_before_stage_2_of_its_output(leaf: int, number: int) -> None:
    """7.3.22, nested 4 then 5: a stage-1 permission fault never shows a stage-2 fault."""
    bench, first, _ = nested_bench()
    first.set(IOVA, 3, leaf)

    assert _told(bench, True) == (number, 0, 2)


def test_stage_2_of_the_output_in_its_own_order() -> None:
    """7.3.22, nested 5."""
    bench, first, second = nested_bench()
    ipa = 0x5_4567_8000
    first.page(IOVA, 1 << 40)
    assert _told(bench, True) == (0x10, 1, 2)
    first.page(IOVA, ipa)
    second.set(ipa, 1, NOWHERE | TABLE)
    assert _told(bench, True) == (0x0B, 1, 2)
    second.set(ipa, 1, 0)
    assert _told(bench, True) == (0x10, 1, 2)
    second.set(ipa, 1, TOO_LARGE | TABLE)
    assert _told(bench, True) == (0x11, 1, 2)
    second.set(ipa, 1, 0)
    second.set(ipa, 3, TOO_LARGE | 0x3C | 3)
    assert _told(bench, True) == (0x11, 1, 2)
    second.set(ipa, 3, RAM | 0x3C | 3)
    assert _told(bench, True) == (0x12, 1, 2)
    second.set(ipa, 3, RAM | 0x3C | AF | 3)

    assert _told(bench, True) == (0x13, 1, 2)


def test_permission_of_stage_1_is_told_first_on_hits_too() -> None:
    bench, first, second = nested_bench()
    ipa = 0x5_4567_8000
    first.page(IOVA, ipa, USER | READ_ONLY | AF)
    second.page(ipa, RAM, S2_RW & ~0x80)
    assert bench.pa(IOVA) == RAM

    assert _told(bench, True) == (0x13, 0, 2)


def test_only_one_event_arises_from_one_transaction() -> None:
    """7.2."""
    bench, first, _ = nested_bench()
    first.set(IOVA, 3, TOO_LARGE | 3)
    bench.go(IOVA, True)

    assert len(bench.events()) == 1


def test_address_beyond_ias_comes_before_stage_2() -> None:
    """3.4: stage-1 F_ADDR_SIZE of a bypassed stage 1, then S2T0SZ's range."""
    bench = Bench()
    tree = Tree(bench, start_level=1)
    bench.ste(**{**S2_STE, "S2TTB": tree.root})

    assert _told(bench, iova=1 << 44) == (0x11, 0, 2)
    assert _told(bench, iova=1 << 43) == (0x10, 1, 2)
