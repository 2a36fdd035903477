# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage-2 translation, alone and under a stage 1.

Spec: IHI 0070 3.4, 5.2 (S2 fields), 5.4.1 (what is fetched through stage 2); DDI 0487 D8.2.5
(concatenated tables), D8.3, D8.4.2.
"""

from __future__ import annotations

import pytest

from tests.unit.smmuv3.rig import (
    AF,
    BLOCK,
    CD_AT,
    CONTIGUOUS,
    GUEST,
    NESTED_STE,
    PAGE,
    PLAIN_CD,
    RAM,
    RAM_SIZE,
    RW,
    S2_DEVICE,
    S2_READ,
    S2_RW,
    S2_STE,
    S2_WB,
    S2_WRITE,
    TABLE,
    Bench,
    Tree,
    make_ids,
    nested_bench,
    stage2_bench,
)

OUT = 0x800_0000_0000
S2TG = {12: 0, 16: 1, 14: 2}
SL0 = {12: {0: 2, 1: 1, 2: 0}, 14: {1: 2, 2: 1, 3: 0}, 16: {1: 2, 2: 1, 3: 0}}


def _bench(granule_lg2: int, s2t0sz: int, start_level: int, **ids: int) -> tuple[Bench, Tree]:
    bench = Bench(make_ids(**ids))
    tree = Tree(bench, granule_lg2, 64 - s2t0sz, start_level)
    fields = {"S2TG": S2TG[granule_lg2], "S2SL0": SL0[granule_lg2][start_level]}
    bench.ste(**{**S2_STE, **fields, "S2T0SZ": s2t0sz, "S2PS": 6, "S2TTB": tree.root})
    return bench, tree


# (granule, S2T0SZ, start level, tables in the first level); DDI 0487 D8.2.5
GEOMETRY = [
    (12, 20, 0, 1),
    (12, 24, 0, 1),
    (12, 25, 1, 1),
    (12, 33, 1, 1),
    (12, 24, 1, 2),
    (12, 22, 1, 8),
    (12, 21, 1, 16),
    (12, 34, 2, 1),
    (12, 39, 2, 1),
    (12, 32, 2, 4),
    (12, 30, 2, 16),
    (14, 20, 1, 1),
    (14, 27, 1, 1),
    (14, 28, 2, 1),
    (14, 26, 2, 4),
    (14, 24, 2, 16),
    (14, 39, 3, 1),
    (14, 36, 3, 8),
    (14, 35, 3, 16),
    (16, 20, 1, 1),
    (16, 21, 1, 1),
    (16, 22, 2, 1),
    (16, 34, 2, 1),
    (16, 20, 2, 4),
    (16, 35, 3, 1),
    (16, 39, 3, 1),
    (16, 31, 3, 16),
]


@pytest.mark.parametrize(("granule_lg2", "s2t0sz", "start", "tables"), GEOMETRY)
def test_start_tables_form_one_array(
    granule_lg2: int, s2t0sz: int, start: int, tables: int
) -> None:
    """The first lookup uses every IPA bit up to S2T0SZ: first, middle and last table."""
    bench, tree = _bench(granule_lg2, s2t0sz, start)
    bits = 64 - s2t0sz
    table_bits = tree.shift(start) + granule_lg2 - 3
    assert max(1, 1 << bits - table_bits if bits > table_bits else 1) == tables
    page = 1 << granule_lg2
    spots = {0, (1 << bits) - page, (1 << bits - 1) + page}
    if tables > 1:
        spots |= {(1 << table_bits) - page, 1 << table_bits}
    for number, ipa in enumerate(sorted(spots)):
        tree.page(ipa, OUT + number * page, S2_RW)
    reads = bench.watch("walk")
    for number, ipa in enumerate(sorted(spots)):
        reads.clear()
        assert bench.pa(ipa + 0x10) == OUT + number * page + 0x10
        assert len(reads) == 4 - start
        assert reads[0] == tree.root + 8 * (ipa >> tree.shift(start))


@pytest.mark.parametrize("low", [0x10, 0x1000, 0x8000, 0xFFF0])
def test_base_of_concatenated_tables_is_aligned_to_all_of_them(low: int) -> None:
    """5.2 S2TTB: bits below the alignment of the whole array are taken as zero."""
    bench, tree = _bench(12, 21, 1)  # 16 tables of 4 KiB
    tree.page(0x5000, OUT, S2_RW)
    bench.ste(**{**S2_STE, "S2T0SZ": 21, "S2SL0": 1, "S2TTB": tree.root | low})

    assert bench.pa(0x5000) == OUT


@pytest.mark.parametrize(("granule_lg2", "s2t0sz", "start", "tables"), GEOMETRY)
def test_ipa_outside_the_range_faults(
    granule_lg2: int, s2t0sz: int, start: int, tables: int
) -> None:
    """3.4: against S2T0SZ; beyond IAS (44 bits) the fault is stage 1's."""
    bench, _ = _bench(granule_lg2, s2t0sz, start)
    for bit in range(64 - s2t0sz, 64):
        record = bench.refused(1 << bit)
        assert record is not None
        expected = (0x10, 1) if bit < 44 else (0x11, 0)
        assert (record["Number"], record["S2"]) == expected, bit


@pytest.mark.parametrize("s2sl0", [0, 1])
def test_input_range_has_no_relation_to_the_output_size(s2sl0: int) -> None:
    """5.2 S2T0SZ: an IPA size above S2PS is legal."""
    bench, tree = stage2_bench(S2PS=0)
    tree.page(0x5000, 0xFFFF_F000, S2_RW)
    assert bench.pa(0x5000) == 0xFFFF_F000
    tree.page(0x6000, 0x1_0000_0000, S2_RW)

    assert bench.code(0x6000) == 0x11, s2sl0


@pytest.mark.parametrize(("granule_lg2", "level", "size_lg2"), [(12, 1, 30), (12, 2, 21)])
def test_block_of_stage_2(granule_lg2: int, level: int, size_lg2: int) -> None:
    bench, tree = _bench(granule_lg2, 25, 1)
    tree.set(3 << size_lg2, level, OUT | S2_RW | BLOCK)
    last = (1 << size_lg2) - 1

    assert bench.pa((3 << size_lg2) + last) == OUT + last
    assert bench.code((3 << size_lg2) - 1) == 0x10


@pytest.mark.parametrize(
    ("granule_lg2", "s2t0sz", "start", "level"), [(12, 20, 0, 0), (14, 20, 1, 1), (16, 20, 1, 1)]
)
def test_block_at_another_level_is_invalid(
    granule_lg2: int, s2t0sz: int, start: int, level: int
) -> None:
    bench, tree = _bench(granule_lg2, s2t0sz, start)
    tree.set(0, level, S2_RW | BLOCK)

    assert bench.code(0x1000) == 0x10


def test_hierarchical_bits_mean_nothing_in_stage_2() -> None:
    """DDI 0487 D8.3: bits [63:59] of a stage-2 table descriptor are ignored."""
    bench, tree = stage2_bench()
    tree.at(0x5000, 3, table_bits=0x1F << 59)
    tree.page(0x5000, OUT, S2_RW)

    assert bench.pa(0x5000, True) == OUT


def test_bits_without_meaning_here_are_ignored() -> None:
    """3.3.5: leaf bits [63:60] are RES0 unless PBHA; contiguous, DBM and software bits."""
    bench, tree = stage2_bench()
    tree.page(0x5000, OUT, S2_RW | 0xF << 60 | 0xF << 55 | CONTIGUOUS | 1 << 51 | 1 << 11)

    assert bench.pa(0x5000, True) == OUT


@pytest.mark.parametrize("s2affd", [0, 1])
def test_access_flag_faults_unless_disabled(s2affd: int) -> None:
    """5.2 S2AFFD."""
    bench, tree = stage2_bench(S2AFFD=s2affd)
    tree.page(0x5000, OUT, S2_RW & ~AF)
    if s2affd:
        assert bench.pa(0x5000) == OUT
    else:
        assert bench.code(0x5000) == 0x12


@pytest.mark.parametrize(("s2ps", "bits"), [(0, 32), (1, 36), (2, 40), (3, 42), (4, 44), (7, 44)])
def test_output_is_held_against_s2ps_and_oas(s2ps: int, bits: int) -> None:
    """5.2 S2PS: tables and leaves."""
    bench, tree = stage2_bench(S2PS=s2ps)
    tree.page(0x5000, (1 << bits) - 0x1000, S2_RW)
    assert bench.pa(0x5000) == (1 << bits) - 0x1000
    tree.page(0x6000, 1 << bits, S2_RW)
    assert bench.code(0x6000) == 0x11
    tree.set(1 << 30, 1, (1 << bits) - 0x1000 | TABLE)
    assert bench.code(1 << 30) == 0x0B
    tree.set(1 << 30, 1, 1 << bits | TABLE)

    assert bench.code(1 << 30) == 0x11


def test_64k_granule_takes_and_gives_52_bits() -> None:
    """S2-7: S2T0SZ 12, addresses above 48 bits on both sides."""
    bench, tree = _bench(16, 12, 1, OAS=6)
    ipa, pa = 0xF_1234_5678_0000, 0xE_0000_0001_0000
    tree.set(ipa, 3, pa & 0xFFFF_FFFF_0000 | pa >> 36 & 0xF000 | S2_RW | PAGE)

    assert bench.pa(ipa | 0x123) == pa | 0x123


def test_tagged_address_is_out_of_range_for_stage_2() -> None:
    """3.4.1: TBI is part of the CD and never applies when stage 1 is bypassed."""
    bench, tree = stage2_bench()
    tree.page(0x5000, OUT, S2_RW)

    assert bench.code(0xA5 << 56 | 0x5000) == 0x11


# -- nested


def test_scattered_guest_pages_translate() -> None:
    """5.4.1: tables and CD are IPAs; only stage 2 decides on physical addresses."""
    bench = Bench()
    second = Tree(bench, start_level=1)
    tables = {level: bench.alloc(0x1000) for level in (1, 2, 3)}
    ipas = {1: 0x1_0000_0000, 2: 0x3_4567_8000, 3: 0x2_0000_1000}
    for level, ipa in ipas.items():
        second.page(ipa, tables[level], S2_RW)
    second.page(0x4_0000_0000, CD_AT & ~0xFFF, S2_RW)
    second.page(0x5_0000_0000, OUT, S2_RW)
    bench.ste(**{**NESTED_STE, "S1ContextPtr": 0x4_0000_0000, "S2TTB": second.root})
    bench.cd(**{**PLAIN_CD, "TTB0": ipas[1]})
    address = 0x12_3456_7000
    index = [address >> shift & 0x1FF for shift in (30, 21, 12)]
    bench.write64(tables[1] + 8 * index[0], ipas[2] | TABLE)
    bench.write64(tables[2] + 8 * index[1], ipas[3] | TABLE)
    bench.write64(tables[3] + 8 * index[2], 0x5_0000_0000 | RW | PAGE)

    assert bench.pa(address | 0x890) == OUT | 0x890


@pytest.mark.parametrize("first_lg2", [12, 14, 16])
@pytest.mark.parametrize("second_lg2", [12, 14, 16])
def test_granules_of_the_stages_are_independent(first_lg2: int, second_lg2: int) -> None:
    """13.6.3: right at each side of every boundary of both stages."""
    bench = Bench()
    start = {12: 1, 14: 2, 16: 2}[second_lg2]
    second = Tree(bench, second_lg2, 39, start)
    first = Tree(bench, first_lg2, 39, delta=-GUEST)
    block = 1 << second.shift(2)
    for offset in range(0, max(RAM_SIZE, block), block):
        at = GUEST + RAM + offset
        second.set(at & -block, 2, RAM + offset & -block | S2_RW | BLOCK)
    fields = {"S2TG": S2TG[second_lg2], "S2SL0": SL0[second_lg2][start], "S2TTB": second.root}
    bench.ste(**{**NESTED_STE, **fields, "S1ContextPtr": CD_AT + GUEST})
    bench.cd(**{**PLAIN_CD, "TG0": S2TG[first_lg2], "TTB0": first.root})
    s1, s2 = 1 << first_lg2, 1 << second_lg2
    ipa = 0x6_0000_0000
    for number in range(0x20000 // s1):
        first.page(number * s1, ipa + number * s1)
    for number in range(0x20000 // s2):
        # pages of stage 2 go backwards
        second.page(ipa + number * s2, OUT - (number + 1) * 0x10000, S2_RW)
    for iova in range(0, 0x20000, 0x1000):
        expected = OUT - (iova // s2 + 1) * 0x10000 + iova % s2
        assert bench.pa(iova + 0x18) == expected + 0x18
    for iova in range(0, 0x20000, 0x1000):
        expected = OUT - (iova // s2 + 1) * 0x10000 + iova % s2
        assert bench.pa(iova + 0xFF8) == expected + 0xFF8


def test_table_larger_than_a_stage_2_page_may_be_scattered() -> None:
    """7.3.13, 5.4.1: stage 2 translates the IPA of each descriptor, not of the table."""
    bench, _, second = nested_bench()
    first = Tree(bench, 16, 39, delta=-GUEST)
    bench.cd(**{**PLAIN_CD, "TTB0": first.root, "TG0": 1})
    table = 0x5_0000_0000
    pieces = [bench.alloc(0x1000) for _ in range(16)]
    for number, piece in enumerate(pieces):
        second.page(table + 0x1000 * number, piece, S2_RW)
    first.set(0, 2, table | TABLE)
    for index in (0, 0x1FF, 0x200, 0x1234, 0x1FFF):
        descriptor = RAM + GUEST + (index << 16) % RAM_SIZE | RW | PAGE
        bench.write64(pieces[index >> 9] + 8 * (index & 0x1FF), descriptor)
        assert bench.pa(index << 16) == RAM + (index << 16) % RAM_SIZE


@pytest.mark.parametrize("s2ptw", [0, 1])
def test_s2ptw_decides_on_tables_in_device_memory(s2ptw: int) -> None:
    """5.2 S2PTW: data in Device memory are no concern of it."""
    bench, first, second = nested_bench(ste={"S2PTW": s2ptw})
    first.page(0x5000, 0x6_0000_0000)
    second.page(0x6_0000_0000, OUT, S2_READ | S2_WRITE | S2_DEVICE | AF)
    assert bench.pa(0x5000) == OUT
    table = first.root & ~0x1F_FFFF
    word = second.at(table, 2)
    device = (table - GUEST) | S2_READ | S2_WRITE | S2_DEVICE | AF | BLOCK
    bench.write64(word, device)
    bench.do(0x30)
    if s2ptw:
        assert bench.code(0x5000) == 0x13
    else:
        assert bench.pa(0x5000) == OUT


def test_s2ptw_is_ignored_without_stage_1() -> None:
    """5.2 S2PTW: IGNORED unless both stages translate."""
    bench, tree = stage2_bench(S2PTW=1)
    tree.page(0x5000, OUT, S2_READ | S2_WRITE | S2_DEVICE | AF)

    assert bench.pa(0x5000) == OUT


@pytest.mark.parametrize("access", [S2_WRITE, 0])
def test_tables_need_stage_2_read_permission(access: int) -> None:
    bench, first, second = nested_bench()
    table = 0x5_0000_0000
    first.set(0, 1, table | TABLE)
    second.page(table, RAM, access | S2_WB | AF)
    record = bench.refused(0, True)

    assert record is not None
    assert (record["Number"], record["CLASS"], record["TTRnW"]) == (0x13, 1, 1)


def test_read_only_and_execute_never_tables_will_do() -> None:
    """A walk is a privileged data read."""
    bench, first, second = nested_bench()
    piece = bench.alloc(0x1000)
    second.page(0x5_0000_0000, piece, S2_READ | S2_WB | AF | 2 << 53)
    first.set(0, 1, 0x5_0000_0000 | TABLE)
    bench.write64(piece, RAM + GUEST | RW | BLOCK)

    assert bench.pa(0x1234, True) == RAM + 0x1234


def test_output_of_stage_1_beyond_oas_is_a_stage_1_fault() -> None:
    """5.4 IPS is capped to OAS, which is IAS here."""
    bench, first, _ = nested_bench(cd={"IPS": 7})
    first.page(0x5000, 1 << 44)
    record = bench.refused(0x5000)

    assert record is not None
    assert (record["Number"], record["S2"]) == (0x11, 0)
