# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage-1 translation through the device: granules, halves, tags, sizes, flags.

Spec: IHI 0070 3.4 (sizes, tags), 5.4 (CD), 5.4.1.1; DDI 0487 D8.2 (walks), D8.3 (descriptors).
"""

from __future__ import annotations

import pytest

from tests.unit.smmuv3.rig import (
    BLOCK,
    CONTIGUOUS,
    PAGE,
    PLAIN_CD,
    RW,
    S1_STE,
    TABLE,
    USER,
    Bench,
    Tree,
    cmd,
    make_ids,
    stage1_bench,
)

OUT = 0x800_0000_0000
TG0 = {12: 0, 16: 1, 14: 2}
TG1 = {14: 1, 12: 2, 16: 3}
ONES = 0xFFFF_FFFF_FFFF_FFFF


def _bench(granule_lg2: int, txsz: int, half: int = 0, **cd: int) -> tuple[Bench, Tree]:
    """A bench with one half of stage 1 in use."""
    bench = Bench(make_ids())
    tree = Tree(bench, granule_lg2, 64 - txsz)
    fields = {**PLAIN_CD}
    if half:
        fields |= {"EPD0": 1, "EPD1": 0, "T1SZ": txsz, "TG1": TG1[granule_lg2], "TTB1": tree.root}
    else:
        fields |= {"T0SZ": txsz, "TG0": TG0[granule_lg2], "TTB0": tree.root}
    bench.ste(**S1_STE)
    bench.cd(**{**fields, **cd})
    return bench, tree


def _address(half: int, txsz: int, offset: int) -> int:
    return offset if not half else (ONES << 64 - txsz & ONES) | offset


# -- geometry

START_LEVELS = {
    # granule: [(T0SZ, start level)]; DDI 0487 D8.2.5
    12: [(16, 0), (24, 0), (25, 1), (33, 1), (34, 2), (39, 2)],
    14: [(16, 0), (17, 1), (27, 1), (28, 2), (38, 2), (39, 3)],
    16: [(16, 1), (21, 1), (22, 2), (34, 2), (35, 3), (39, 3)],
}


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize(
    ("granule_lg2", "txsz", "start"),
    [(granule, txsz, start) for granule, rows in START_LEVELS.items() for txsz, start in rows],
)
def test_walk_starts_at_the_level_that_txsz_asks_for(
    granule_lg2: int, txsz: int, start: int, half: int
) -> None:
    """A page at the last address of the range takes as many reads as there are levels."""
    bench, tree = _bench(granule_lg2, txsz, half)
    page_mask = (1 << granule_lg2) - 1
    last = _address(half, txsz, (1 << 64 - txsz) - 1)
    tree.page(last & ~page_mask, OUT)
    reads = bench.watch("walk")

    assert bench.pa(last) == OUT | page_mask
    assert len(reads) == 4 - start


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("granule_lg2", [12, 14, 16])
@pytest.mark.parametrize("txsz", [16, 20, 25, 30, 36, 39])
def test_addresses_outside_the_range_fault(granule_lg2: int, txsz: int, half: int) -> None:
    """3.4.1: all bits from TxSZ's range up to bit 63 must equal bit 55."""
    bench, tree = _bench(granule_lg2, txsz, half)
    bits = 64 - txsz
    good = _address(half, txsz, 1 << bits - 1 & -(1 << granule_lg2))
    tree.page(good, OUT)
    assert bench.pa(good) == OUT
    for bit in range(bits, 64):
        assert bench.code(good ^ 1 << bit) == 0x10, bit


BLOCK_LEVELS = [(12, 1, 30), (12, 2, 21), (14, 2, 25), (16, 2, 29)]


@pytest.mark.parametrize(("granule_lg2", "level", "size_lg2"), BLOCK_LEVELS)
def test_block_maps_its_whole_size(granule_lg2: int, level: int, size_lg2: int) -> None:
    """DDI 0487 D8.3.1: blocks at levels 1 and 2 of 4 KiB tables, at level 2 of the others."""
    bench, tree = _bench(granule_lg2, 20)
    start = 3 << size_lg2
    tree.set(start, level, OUT | RW | BLOCK)
    for offset in (0, 1 << granule_lg2, (1 << size_lg2) - 1):
        bench.forget()
        assert bench.pa(start + offset) == OUT + offset
    assert bench.code(start + (1 << size_lg2)) == 0x10

    assert bench.code(start - 1) == 0x10


@pytest.mark.parametrize(("granule_lg2", "level"), [(12, 0), (14, 0), (14, 1), (16, 1)])
def test_block_at_another_level_is_invalid(granule_lg2: int, level: int) -> None:
    """DDI 0487 D8.15 R_KRMJZ: a Translation fault."""
    bench, tree = _bench(granule_lg2, 16)
    tree.set(0, level, RW | BLOCK)

    assert bench.code(0x1000) == 0x10


@pytest.mark.parametrize("granule_lg2", [12, 14, 16])
def test_block_encoding_at_level_3_is_invalid(granule_lg2: int) -> None:
    bench, tree = _bench(granule_lg2, 25)
    tree.set(0, 3, OUT | RW | BLOCK)

    assert bench.code(0) == 0x10


@pytest.mark.parametrize("granule_lg2", [12, 14, 16])
@pytest.mark.parametrize("low", [0b00, 0b10])
@pytest.mark.parametrize("level", [2, 3])
def test_descriptor_without_valid_bit_is_invalid(granule_lg2: int, low: int, level: int) -> None:
    bench, tree = _bench(granule_lg2, 25)
    tree.set(0, level, OUT | RW | low)

    assert bench.code(0) == 0x10


@pytest.mark.parametrize("granule_lg2", [12, 14, 16])
def test_address_bits_below_the_block_are_ignored(granule_lg2: int) -> None:
    """DDI 0487 D8.3.1: they are RES0 or have other uses (nT, contiguous tables)."""
    bench, tree = _bench(granule_lg2, 25)
    shift = granule_lg2 + (granule_lg2 - 3)
    low = 1 << shift - 1 | 1 << granule_lg2 + 1
    tree.set(0, 2, OUT | low | RW | BLOCK)

    assert bench.pa(0x1234) == OUT + 0x1234


@pytest.mark.parametrize("bbml", [1, 2])
def test_block_with_nt_translates(bbml: int) -> None:
    """3.21.1.2: nT, bit 16 of a block, must not make it fault where IDR3.BBML is 1 or 2."""
    bench, tree = stage1_bench(make_ids(BBML=bbml, minor=2))
    tree.set(0, 2, OUT | 1 << 16 | RW | BLOCK)

    assert bench.pa(0x12345) == OUT + 0x12345


@pytest.mark.parametrize("granule_lg2", [14, 16])
def test_address_bits_below_the_granule_are_ignored(granule_lg2: int) -> None:
    bench, tree = _bench(granule_lg2, 25)
    tree.page(0, OUT | 1 << 12, RW)
    upper = tree.at(0, 2)
    word = bench.memory.read_u64(upper)
    assert word is not None
    bench.write64(upper, word | 1 << 12)

    assert bench.pa(0x123) == OUT + 0x123


@pytest.mark.parametrize("granule_lg2", [12, 14, 16])
@pytest.mark.parametrize("level", [2, 3])
def test_contiguous_bit_changes_nothing(granule_lg2: int, level: int) -> None:
    """3.21.1: a hint; this model caches each entry by itself."""
    bench, tree = _bench(granule_lg2, 25)
    size = 1 << granule_lg2 + (3 - level) * (granule_lg2 - 3)
    kind = PAGE if level == 3 else BLOCK
    for number in range(2):
        tree.set(number * size, level, OUT + number * size | CONTIGUOUS | RW | kind)

    assert bench.pa(0x10) == OUT + 0x10
    assert bench.pa(size + 0x10) == OUT + size + 0x10
    assert bench.code(2 * size) == 0x10


@pytest.mark.parametrize("granule_lg2", [12, 14, 16])
def test_bits_without_meaning_here_are_ignored(granule_lg2: int) -> None:
    """NS, DBM, GP, PBHA and software bits of a leaf; NSTable and software bits of a table."""
    bench, tree = _bench(granule_lg2, 25)
    software = 1 << 50 | 1 << 51 | 0xF << 55 | 0xF << 59 | 1 << 63 | 1 << 5
    tree.at(0, 3, table_bits=1 << 63 | 0xF << 51 | 0x3FC | 1 << 11 | 1 << 10)
    tree.set(0, 3, OUT | RW | software | PAGE)

    assert bench.pa(0x123) == OUT + 0x123


@pytest.mark.parametrize("offset", [0, 8, 0xFF8])
def test_base_of_a_short_table_is_aligned_to_its_size(offset: int) -> None:
    """5.4 TTB0: bits below the table's alignment are taken as zero."""
    bench, tree = _bench(12, 25)
    tree.page(0x5000, OUT)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root | offset & 0xFF0})

    assert bench.pa(0x5000) == OUT


def test_small_table_is_aligned_to_its_few_entries() -> None:
    """T0SZ 39 at 4 KiB: 16 entries of level 2, 128 bytes."""
    bench = Bench()
    tree = Tree(bench, 12, 25)
    table = bench.alloc(0x1000) + 0x380
    tree.root = table
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "T0SZ": 39, "TTB0": table | 0x70})
    tree.page((1 << 25) - 0x1000, OUT)

    assert bench.pa((1 << 25) - 1) == OUT + 0xFFF


# -- halves


def test_bit_55_chooses_the_half() -> None:
    """3.4.1."""
    bench = Bench()
    low, high = Tree(bench), Tree(bench, 16, 42)
    bench.ste(**S1_STE)
    halves = {"EPD1": 0, "TTB0": low.root, "TTB1": high.root, "T1SZ": 22, "TG1": 3}
    bench.cd(**{**PLAIN_CD, **halves})
    low.page(0x12_3456_0000, OUT)
    high.page(0xFFFF_FE12_3456_0000, OUT + 0x1_0000)

    assert bench.pa(0x12_3456_0123) == OUT + 0x123
    assert bench.pa(0xFFFF_FE12_3456_F123) == OUT + 0x1_F123
    assert bench.code(0xFF80_0012_3456_0123) == 0x10
    assert bench.code(0x0080_0000_0000_0000) == 0x10
    assert bench.code(0xFF7F_FFFF_FFFF_FFFF) == 0x10


@pytest.mark.parametrize("tbi0", [0, 1])
@pytest.mark.parametrize("tbi1", [0, 1])
@pytest.mark.parametrize("tag", [0x00, 0x01, 0x5A, 0xA5, 0xFE, 0xFF])
def test_top_byte_is_ignored_half_by_half(tag: int, tbi0: int, tbi1: int) -> None:
    """3.4.1, 5.4 TBI0, TBI1: bit 55 chooses the half and its own control."""
    bench = Bench()
    low, high = Tree(bench), Tree(bench)
    bench.ste(**S1_STE)
    halves = {"EPD1": 0, "TTB0": low.root, "TTB1": high.root, "T1SZ": 25, "TG1": 2}
    bench.cd(**{**PLAIN_CD, **halves, "TBI0": tbi0, "TBI1": tbi1})
    low.page(0x5000, OUT)
    high.page(0xFFFF_FFFF_FFFF_5000, OUT + 0x1000)
    in_low, in_high = tag << 56 | 0x5123, tag << 56 | 0x00FF_FFFF_FFFF_5123
    if tbi0 or tag == 0x00:
        assert bench.pa(in_low) == OUT + 0x123
    else:
        assert bench.code(in_low) == 0x10
    if tbi1 or tag == 0xFF:
        assert bench.pa(in_high) == OUT + 0x1123
    else:
        assert bench.code(in_high) == 0x10


def test_ignored_top_byte_leaves_the_other_bits_to_be_checked() -> None:
    """3.4.1: VA[55:N-1] must still be identical."""
    bench, _ = stage1_bench(TBI0=1)

    assert bench.code(0xA5_40_0000_0000_0000) == 0x10


def test_tagged_address_shares_the_entry_of_the_plain_one() -> None:
    """The tag is no part of the TLB's address: invalidating the plain address drops it."""
    bench, tree = stage1_bench(TBI0=1)
    tree.page(0x5000, OUT)
    assert bench.pa(0xA5 << 56 | 0x5000) == OUT
    tree.page(0x5000, OUT + 0x1000)
    assert bench.pa(0x5000) == OUT
    bench.do(cmd("TLBI_NH_VA", VMID=0, ASID=3, Address=0x5000))

    assert bench.pa(0xA5 << 56 | 0x5000) == OUT + 0x1000


# -- output sizes

IPS = [(0, 32), (1, 36), (2, 40), (3, 42), (4, 44), (5, 44), (6, 44), (7, 44)]


@pytest.mark.parametrize(("ips", "bits"), IPS)
@pytest.mark.parametrize("level", [1, 2, 3])
def test_output_is_held_against_ips_and_oas(ips: int, bits: int, level: int) -> None:
    """5.4 IPS: capped to OAS (44 here); leaves of every level."""
    bench, tree = stage1_bench(IPS=ips)
    shift = tree.shift(level)
    kind = PAGE if level == 3 else BLOCK
    tree.set(0, level, (1 << bits) - (1 << shift) | RW | kind)
    assert bench.pa(0) == (1 << bits) - (1 << shift)
    tree.set(0, level, 1 << bits | RW | kind)
    bench.forget()
    assert bench.code(0) == 0x11
    tree.set(0, level, 1 << 47 | RW | kind)

    assert bench.code(0) == 0x11


@pytest.mark.parametrize(("ips", "bits"), IPS)
def test_table_is_held_against_ips_and_oas(ips: int, bits: int) -> None:
    """5.4 IPS: next-level addresses as well."""
    bench, tree = stage1_bench(IPS=ips)
    tree.set(0, 1, (1 << bits) - 0x1000 | TABLE)
    assert bench.code(0) == 0x0B
    tree.set(0, 1, 1 << bits | TABLE)

    assert bench.code(0) == 0x11


@pytest.mark.parametrize(("granule_lg2", "txsz"), [(12, 25), (14, 25)])
def test_high_bits_of_small_granules_are_no_address(granule_lg2: int, txsz: int) -> None:
    """DDI 0487 D8.3: without LPA2 bits [51:48] are RES0 for 4 and 16 KiB; [49:48] are ignored."""
    bench = Bench(make_ids(OAS=6))
    tree = Tree(bench, granule_lg2, 64 - txsz)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "TG0": TG0[granule_lg2], "IPS": 6, "TTB0": tree.root})
    tree.set(0, 3, 0xFFFF_FFFF_0000 & -(1 << granule_lg2) | 0xF << 48 | RW | PAGE)

    assert bench.pa(0x10) == 0xFFFF_FFFF_0010


# -- access flag


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("affd", [0, 1])
def test_access_flag_faults_unless_disabled(level: int, affd: int) -> None:
    """5.4 AFFD."""
    bench, tree = stage1_bench(AFFD=affd)
    tree.set(0, level, OUT | USER | (PAGE if level == 3 else BLOCK))
    if affd:
        assert bench.pa(0x10) == OUT + 0x10
    else:
        assert bench.code(0x10) == 0x12


def test_access_flag_of_a_table_descriptor_does_not_matter() -> None:
    bench, tree = stage1_bench()
    tree.page(0, OUT)  # its tables have bit 10 clear

    assert bench.pa(0) == OUT


# -- 52 bits


def _wide(pa: int) -> int:
    """A 64 KiB descriptor's address field: bits [51:48] lie in [15:12]."""
    return pa & 0xFFFF_FFFF_0000 | pa >> 36 & 0xF000


def _wide_bench(ips: int = 6, txsz: int = 16, **ids: int) -> tuple[Bench, Tree]:
    bench = Bench(make_ids(OAS=6, **ids))
    tree = Tree(bench, 16, 64 - txsz)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "T0SZ": txsz, "TG0": 1, "IPS": ips, "TTB0": tree.root})
    return bench, tree


@pytest.mark.parametrize(("level", "size_lg2"), [(1, 42), (2, 29), (3, 16)])
def test_64k_granule_gives_52_bits(level: int, size_lg2: int) -> None:
    """DDI 0487 D8.3: with 52-bit addresses level 1 has blocks too."""
    bench, tree = _wide_bench()
    pa = 0xF_8000_0000_0000 & -(1 << size_lg2) | 1 << 49
    tree.set(0, level, _wide(pa) | RW | (PAGE if level == 3 else BLOCK))

    assert bench.pa(0x1234) == pa | 0x1234


def test_table_of_a_64k_granule_may_lie_above_48_bits() -> None:
    bench, tree = _wide_bench()
    bench.memory.add_ram(0xF_0000_0000_0000, 0x10000)
    tree.set(0, 2, _wide(0xF_0000_0000_0000) | TABLE)
    bench.write64(0xF_0000_0000_0000, _wide(0x8_0000_0001_0000) | RW | PAGE)

    assert bench.pa(0x1234) == 0x8_0000_0001_1234


@pytest.mark.parametrize("what", ["leaf", "table"])
def test_64k_address_above_a_smaller_ips_faults(what: str) -> None:
    """DDI 0487 AArch64.S1LeafBase, NextTableBase: [15:12] are OA[51:48] wherever PAs have 52 bits,
    so that they are out of range under an IPS of 48."""
    bench, tree = _wide_bench(ips=5)
    if what == "leaf":
        tree.set(0, 3, _wide(1 << 48) | RW | PAGE)
    else:
        tree.set(0, 2, _wide(1 << 48) | TABLE)

    assert bench.code(0) == 0x11


def test_64k_level_1_block_exists_under_a_smaller_ips() -> None:
    """DDI 0487 AArch64.BlockDescSupported: it depends on the physical address size, not on IPS."""
    bench, tree = _wide_bench(ips=5)
    tree.set(0, 1, 1 << 42 | RW | BLOCK)

    assert bench.pa(0x1234) == 1 << 42 | 0x1234


def test_64k_level_1_block_needs_52_bit_addresses() -> None:
    bench = Bench(make_ids(OAS=5))
    tree = Tree(bench, 16, 48)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "T0SZ": 16, "TG0": 1, "IPS": 5, "TTB0": tree.root})
    tree.set(0, 1, RW | BLOCK)

    assert bench.code(0) == 0x10


def test_bits_15_to_12_are_no_address_without_52_bit_addresses() -> None:
    """DDI 0487 D8.3: RES0; ignored."""
    bench = Bench(make_ids(OAS=5))
    tree = Tree(bench, 16, 48)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "T0SZ": 16, "TG0": 1, "IPS": 5, "TTB0": tree.root})
    tree.set(0, 3, OUT | 0xF000 | RW | PAGE)

    assert bench.pa(0x123) == OUT + 0x123


@pytest.mark.parametrize("half", [0, 1])
def test_52_bit_virtual_addresses_with_64k(half: int) -> None:
    """5.4 T0SZ with IDR5.VAX: 12; the start table has 1024 entries of level 1."""
    bench = Bench(make_ids(OAS=6, VAX=1))
    tree = Tree(bench, 16, 52)
    fields = {"T0SZ": 12, "TG0": 1, "TTB0": tree.root}
    if half:
        fields = {"EPD0": 1, "EPD1": 0, "T1SZ": 12, "TG1": 3, "TTB1": tree.root}
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, **fields, "IPS": 6})
    address = 0xF_FFFF_FFFF_0000 | (0xFFF << 52 if half else 0)
    tree.page(address, 0x10_0000, RW)

    assert bench.pa(address | 0xABCD) == 0x10_ABCD


def test_start_table_is_aligned_to_64_bytes_under_52_bit_outputs() -> None:
    """5.4 TTB0: bits [5:0] are taken as zero when the effective IPS is 52 bits."""
    bench = Bench(make_ids(OAS=6))
    tree = Tree(bench, 16, 43)  # two entries of level 1, 16 bytes
    bench.ste(**S1_STE)
    fields = {"T0SZ": 21, "TG0": 1, "IPS": 6}
    bench.cd(**{**PLAIN_CD, **fields, "TTB0": tree.root | 0x30})
    tree.page(1 << 42, OUT)

    assert bench.pa(1 << 42) == OUT


@pytest.mark.parametrize(
    ("granule_lg2", "txsz", "start"), [(12, 48, 3), (12, 43, 3), (14, 48, 3), (16, 47, 3)]
)
def test_small_tables_start_deeper(granule_lg2: int, txsz: int, start: int) -> None:
    """IDR3.STT, 5.4 T0SZ: up to 48 (47 at 64 KiB)."""
    bench = Bench(make_ids(STT=1))
    tree = Tree(bench, granule_lg2, 64 - txsz)
    assert tree.start_level == start
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "T0SZ": txsz, "TG0": TG0[granule_lg2], "TTB0": tree.root})
    last = (1 << 64 - txsz) - 1
    tree.page(last & -(1 << granule_lg2), OUT)

    assert bench.pa(last) == OUT | last & (1 << granule_lg2) - 1
    assert bench.code(last + 1) == 0x10


def test_walk_reads_one_descriptor_a_level_where_the_architecture_says() -> None:
    bench, tree = stage1_bench()
    address = 0x12_3456_7000
    tree.page(address, OUT)
    reads = bench.watch("walk")
    bench.pa(address)

    assert reads == [tree.at(address, level) for level in (1, 2, 3)]
