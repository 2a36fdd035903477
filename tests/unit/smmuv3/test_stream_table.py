# SPDX-License-Identifier: GPL-2.0-or-later
"""Stream tables: where an STE is looked for, and which StreamIDs have none.

Spec: IHI 0070 3.3.1 (tables), 5.1 (L1STD), 6.3.24 (base), 6.3.25 (format), 7.3.3, 7.3.4.
"""

from __future__ import annotations

import pytest

from smmu_emu.transaction import Fault
from tests.unit.smmuv3.rig import NOWHERE, RAM, Bench, make_ids, put
from tests.unit.smmuv3.spec import literals

TABLE_AT = RAM + (32 << 20)
L2_AT = RAM + (48 << 20)
BYPASS = put(literals.STE, V=1, Config=0b100, SHCFG=1)
C_BAD_STREAMID, F_STE_FETCH, C_BAD_STE = 0x02, 0x03, 0x04
LINEAR, TWO_LEVEL = 0, 1


def _bench(
    log2size: int,
    fmt: int = LINEAR,
    split: int = 0,
    base: int = TABLE_AT,
    recinvsid: int = 1,
    **ids: int,
) -> Bench:
    bench = Bench(make_ids(**ids), setup=False)
    bench.w("STRTAB_BASE", base)
    bench.w("STRTAB_BASE_CFG", fmt << 16 | split << 6 | log2size)
    bench.w("CR2", recinvsid << 1)
    bench.w("EVENTQ_BASE", RAM + 0x4_0000 | 7)
    bench.w("CR0", 0x5)
    return bench


def _l1(bench: Bench, index: int, span: int, l2: int = L2_AT, base: int = TABLE_AT) -> None:
    bench.write64(base + 8 * index, l2 | span)


def _outcome(bench: Bench, sid: int) -> int | None:
    """None if the stream passes, else the number of the event (0: silent)."""
    result = bench.go(0x1000, sid=sid)
    records = bench.events()
    if isinstance(result, Fault):
        return records[0] & 0xFF if records else 0
    assert not records
    return None


# -- linear


@pytest.mark.parametrize("fmt", [0, 2, 3])
@pytest.mark.parametrize("sid", [0, 1, 0x7F, 0xFF])
def test_linear_table_is_indexed_by_stream_id(fmt: int, sid: int) -> None:
    """6.3.25: FMT 2 and 3 are reserved and behave as 0."""
    bench = _bench(8, fmt)
    bench.store(TABLE_AT + 64 * sid, BYPASS, 64)

    assert _outcome(bench, sid) is None
    assert _outcome(bench, sid ^ 1) == C_BAD_STE


@pytest.mark.parametrize("log2size", [0, 1, 5, 8, 12, 16])
def test_stream_beyond_the_table_is_refused(log2size: int) -> None:
    """7.3.3: StreamID >= 2^LOG2SIZE."""
    bench = _bench(log2size)
    last = (1 << log2size) - 1
    bench.store(TABLE_AT + 64 * last, BYPASS, 64)
    assert _outcome(bench, last) is None

    assert _outcome(bench, last + 1) == C_BAD_STREAMID
    assert _outcome(bench, 0xFFFF_FFFF) == C_BAD_STREAMID


@pytest.mark.parametrize("log2size", [17, 32, 63])
def test_range_is_capped_at_sidsize_and_alignment_is_not(log2size: int) -> None:
    """6.3.25: effective LOG2SIZE is min(LOG2SIZE, SIDSIZE); 6.3.24: alignment by the raw value."""
    bench = _bench(log2size, base=TABLE_AT)
    assert _outcome(bench, 0x1_0000) == C_BAD_STREAMID
    aligned = TABLE_AT & -(64 << log2size)
    if aligned >= RAM:
        bench.store(aligned + 64 * 0xFFFF, BYPASS, 64)
        assert _outcome(bench, 0xFFFF) is None
    else:
        assert _outcome(bench, 0) == F_STE_FETCH


@pytest.mark.parametrize("sidsize", [0, 1, 4, 16])
def test_streams_beyond_sidsize_do_not_exist(sidsize: int) -> None:
    bench = _bench(20, SIDSIZE=sidsize, base=RAM)
    assert _outcome(bench, 1 << sidsize) == C_BAD_STREAMID


@pytest.mark.parametrize("log2size", [0, 3, 8, 12])
def test_base_of_a_linear_table_is_aligned_to_its_size(log2size: int) -> None:
    """6.3.24: ADDR[LOG2SIZE+5:0] is taken as zero."""
    size = 64 << log2size
    for offset in {0x40, size // 2, size - 64} - {size}:
        bench = _bench(log2size, base=TABLE_AT + (offset & size - 1))
        bench.store(TABLE_AT, BYPASS, 64)
        assert _outcome(bench, 0) is None


def test_recinvsid_decides_whether_a_bad_stream_is_recorded() -> None:
    """6.3.12, 7.3.3: without it the transaction is aborted silently."""
    assert _outcome(_bench(4, recinvsid=1), 16) == C_BAD_STREAMID
    assert _outcome(_bench(4, recinvsid=0), 16) == 0


def test_recinvsid_does_not_silence_other_configuration_errors() -> None:
    bench = _bench(4, recinvsid=0)

    assert _outcome(bench, 3) == C_BAD_STE


def test_aborted_fetch_of_an_ste_is_recorded_with_its_address() -> None:
    """7.3.4."""
    bench = _bench(4, base=NOWHERE)
    bench.go(0x1000, sid=5)
    [record] = bench.events()

    assert record == 0x05 << 32 | F_STE_FETCH | (NOWHERE + 64 * 5) << 192


def test_aborted_fetch_is_not_cached() -> None:
    """5.2.1: a failed fetch does not cause an STE to be cached."""
    bench = _bench(4)
    port = bench.smmu.ports["config"]
    read = port.read
    port.read = lambda pa, size: None
    assert _outcome(bench, 2) == F_STE_FETCH
    port.read = read
    bench.store(TABLE_AT + 64 * 2, BYPASS, 64)

    assert _outcome(bench, 2) is None


def test_only_the_table_is_read() -> None:
    """3.21.3: one STE for one stream, and nothing else."""
    bench = _bench(8)
    bench.store(TABLE_AT + 64 * 7, BYPASS, 64)
    reads = bench.watch("config")
    assert _outcome(bench, 7) is None
    assert _outcome(bench, 7) is None

    assert reads == [TABLE_AT + 64 * 7]


def test_stream_out_of_range_reads_nothing() -> None:
    bench = _bench(4)
    reads = bench.watch("config")
    assert _outcome(bench, 16) == C_BAD_STREAMID

    assert not reads


# -- two levels

SPLITS = [(6, 6), (8, 8), (10, 10), (0, 6), (5, 6), (7, 6), (9, 6), (11, 6), (31, 6)]


@pytest.mark.parametrize(("split", "effective"), SPLITS)
def test_split_divides_the_stream_id(split: int, effective: int) -> None:
    """6.3.25: 6, 8 and 10; other values behave as 6."""
    bench = _bench(16, TWO_LEVEL, split)
    sid = 0x5 << effective | 0x2A
    _l1(bench, 5, effective + 1)
    bench.store(L2_AT + 64 * 0x2A, BYPASS, 64)

    assert _outcome(bench, sid) is None
    assert _outcome(bench, sid + (1 << effective)) == C_BAD_STREAMID


@pytest.mark.parametrize("split", [6, 8, 10])
@pytest.mark.parametrize("span", range(32))
def test_span_says_how_long_the_second_level_is(split: int, span: int) -> None:
    """5.1, 7.3.3: 1 to 11 and at most SPLIT+1 give 2^(Span-1) entries; the others give none."""
    bench = _bench(12, TWO_LEVEL, split)
    _l1(bench, 0, span)
    entries = 1 << span - 1 if 1 <= span <= min(11, split + 1) else 0
    for index in range(1 << split):
        bench.store(L2_AT + 64 * index, BYPASS, 64)
    last = (1 << split) - 1
    for index in {0, 1, entries // 2, entries - 1, entries, last} & set(range(last + 1)):
        expected = None if index < entries else C_BAD_STREAMID
        assert _outcome(bench, index) == expected, index


@pytest.mark.parametrize("span", [1, 2, 5, 9])
def test_pointer_to_the_second_level_is_aligned_to_its_size(span: int) -> None:
    """5.1: L2Ptr[N:0] is taken as zero, N = 5 + Span - 1."""
    size = 64 << span - 1
    for offset in (0x40, size // 2, size - 64):
        bench = _bench(12, TWO_LEVEL, 8)
        _l1(bench, 0, span, L2_AT + (offset & size - 1 & ~0x3F))
        bench.store(L2_AT, BYPASS, 64)
        assert _outcome(bench, 0) is None


@pytest.mark.parametrize(
    ("log2size", "split", "alignment"),
    [(16, 8, 8 << 8), (16, 10, 8 << 6), (16, 6, 8 << 10), (9, 8, 64), (8, 8, 64), (4, 8, 64)],
)
def test_base_of_the_first_level_is_aligned(log2size: int, split: int, alignment: int) -> None:
    """6.3.24: to the larger of 64 bytes and the first-level table."""
    for offset in (0x40, alignment // 2, alignment - 64):
        if offset >= alignment:
            continue
        bench = _bench(log2size, TWO_LEVEL, split, base=TABLE_AT + (offset & ~0x3F))
        _l1(bench, 0, 1)
        bench.store(L2_AT, BYPASS, 64)
        assert _outcome(bench, 0) is None


def test_alignment_of_the_first_level_uses_the_raw_size() -> None:
    """6.3.24: not limited by SIDSIZE."""
    bench = _bench(20, TWO_LEVEL, 8, base=TABLE_AT + (8 << 11))
    _l1(bench, 0, 1)
    bench.store(L2_AT, BYPASS, 64)

    assert _outcome(bench, 0) is None


def test_one_descriptor_serves_a_table_smaller_than_the_split() -> None:
    """6.3.25: SPLIT >= LOG2SIZE leaves 2^LOG2SIZE usable entries."""
    bench = _bench(4, TWO_LEVEL, 8)
    _l1(bench, 0, 9)
    bench.store(L2_AT + 64 * 15, BYPASS, 64)
    bench.store(L2_AT + 64 * 16, BYPASS, 64)

    assert _outcome(bench, 15) is None
    assert _outcome(bench, 16) == C_BAD_STREAMID


@pytest.mark.parametrize("reserved", [1 << 5, 1 << 56, 1 << 63])
def test_reserved_bits_of_a_descriptor_are_ignored(reserved: int) -> None:
    """5.1: RES0."""
    bench = _bench(12, TWO_LEVEL, 8)
    bench.write64(TABLE_AT, L2_AT | reserved | 1)
    bench.store(L2_AT, BYPASS, 64)

    assert _outcome(bench, 0) is None


def test_aborted_fetch_of_a_descriptor_is_f_ste_fetch_with_its_address() -> None:
    """7.3.4: FetchAddr is that of the L1STD."""
    bench = _bench(16, TWO_LEVEL, 8, base=NOWHERE)
    bench.go(0, sid=0x309)
    [record] = bench.events()

    assert record == 0x309 << 32 | F_STE_FETCH | (NOWHERE + 8 * 3) << 192


def test_aborted_fetch_of_a_second_level_ste_reports_the_ste() -> None:
    bench = _bench(16, TWO_LEVEL, 8)
    _l1(bench, 3, 9, NOWHERE)
    bench.go(0, sid=0x309)
    [record] = bench.events()

    assert record == 0x309 << 32 | F_STE_FETCH | (NOWHERE + 64 * 9) << 192


def test_pointer_beyond_oas_is_truncated_or_aborts() -> None:
    """3.4.3 (5)."""
    bench = _bench(16, TWO_LEVEL, 8)
    _l1(bench, 0, 1, L2_AT | 1 << 50)
    bench.store(L2_AT, BYPASS, 64)

    assert _outcome(bench, 0) in (None, F_STE_FETCH)


def test_address_of_an_aborted_fetch_is_recorded_up_to_oas() -> None:
    """7.3: bits of FetchAddr above OAS are 0."""
    bench = _bench(16, TWO_LEVEL, 8)
    _l1(bench, 0, 1, NOWHERE | 1 << 50)
    bench.go(0, sid=0)
    [record] = bench.events()

    assert record == F_STE_FETCH | NOWHERE << 192


@pytest.mark.parametrize("recinvsid", [0, 1])
def test_missing_second_level_obeys_recinvsid(recinvsid: int) -> None:
    bench = _bench(16, TWO_LEVEL, 8, recinvsid=recinvsid)

    assert _outcome(bench, 0x800) == (C_BAD_STREAMID if recinvsid else 0)


def test_format_acts_as_last_written() -> None:
    """6.3.25: a linear table after a two-level one is linear."""
    bench = _bench(8, TWO_LEVEL, 8)
    _l1(bench, 0, 9)
    bench.store(L2_AT + 64 * 3, BYPASS, 64)
    assert _outcome(bench, 3) is None
    bench.w("CR0", 0x4)
    bench.w("STRTAB_BASE_CFG", 8)
    bench.w("CR0", 0x5)
    bench.store(TABLE_AT + 64 * 4, BYPASS, 64)

    assert _outcome(bench, 4) is None


def test_two_level_table_needs_the_feature() -> None:
    """6.3.25: without IDR0.ST_LEVEL FMT is RES0 and the table linear."""
    bench = _bench(6, TWO_LEVEL, 6, ST_LEVEL=0, SIDSIZE=6)
    bench.store(TABLE_AT + 64 * 5, BYPASS, 64)

    assert _outcome(bench, 5) is None


def test_two_streams_may_share_a_second_level_entry_number() -> None:
    bench = _bench(16, TWO_LEVEL, 6)
    _l1(bench, 1, 7, L2_AT)
    _l1(bench, 2, 7, L2_AT + 0x1000)
    bench.store(L2_AT, BYPASS, 64)

    assert _outcome(bench, 0x40) is None
    assert _outcome(bench, 0x80) == C_BAD_STE
