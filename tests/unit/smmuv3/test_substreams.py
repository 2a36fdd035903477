# SPDX-License-Identifier: GPL-2.0-or-later
"""Substreams: which CD a transaction uses, and when it has none.

Spec: IHI 0070 3.9 (PASID), 5.2 S1Fmt, S1CDMax, S1DSS; 5.3 (L1CD), 7.3.7, 7.3.9, 7.3.10.
"""

from __future__ import annotations

import pytest

from smmu_emu.smmuv3 import IdRegisters
from tests.unit.smmuv3.rig import (
    GUEST,
    NESTED_STE,
    NOWHERE,
    PLAIN_CD,
    RAM,
    S1_STE,
    S2_STE,
    SID,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
)

IOVA = 0x5000
LINEAR, LEAF_4K, LEAF_64K = 0, 1, 2
TERMINATE, BYPASS, SUBSTREAM_0 = 0, 1, 2
F_STREAM_DISABLED, C_BAD_SUBSTREAMID, F_CD_FETCH, C_BAD_CD = 0x06, 0x08, 0x09, 0x0A


def _ids(**changes: int) -> IdRegisters:
    return make_ids(**{"SSIDSIZE": 20, "CD2L": 1, **changes})


class Contexts:
    """A stream with many CDs; each maps ``IOVA`` to a page of its own."""

    def __init__(self, s1fmt: int, s1cdmax: int, s1dss: int = 0, **ids: int) -> None:
        self.bench = Bench(_ids(**ids))
        self.s1fmt = s1fmt
        self.leaf_lg2 = {LEAF_4K: 6, LEAF_64K: 10}.get(s1fmt, 0)
        size = 64 << s1cdmax if s1fmt == LINEAR else max(64, 8 << max(0, s1cdmax - self.leaf_lg2))
        self.table = self.bench.alloc(size)
        self.ste(s1cdmax, s1dss)

    def ste(self, s1cdmax: int, s1dss: int) -> None:
        """Write the STE for the present format and table."""
        fields = {"S1Fmt": self.s1fmt, "S1CDMax": s1cdmax, "S1DSS": s1dss}
        self.bench.ste(**{**S1_STE, **fields, "S1ContextPtr": self.table})

    def where(self, index: int) -> int:
        """Address of a CD; its leaf table is made when it is missing."""
        if self.s1fmt == LINEAR:
            return self.table + 64 * index
        entry = self.table + 8 * (index >> self.leaf_lg2)
        word = self.bench.memory.read_u64(entry)
        assert word is not None
        if not word & 1:
            word = self.bench.alloc(64 << self.leaf_lg2) | 1
            self.bench.write64(entry, word)
        return (word & ~0xFFF) + 64 * (index & (1 << self.leaf_lg2) - 1)

    def add(self, index: int, asid: int | None = None) -> int:
        """A CD of its own for a substream; returns the page that it maps ``IOVA`` to."""
        tree = Tree(self.bench)
        page = self.bench.alloc(0x1000)
        tree.page(IOVA, page, 0xC40)  # RW for all, AF, not global
        number = index % 0xFFFF + 1 if asid is None else asid
        self.bench.cd(self.where(index), **{**PLAIN_CD, "TTB0": tree.root, "ASID": number})
        return page


@pytest.mark.parametrize(
    ("s1fmt", "s1cdmax", "indexes"),
    [
        (LINEAR, 1, (0, 1)),
        (LINEAR, 8, (0, 1, 0x80, 0xFF)),
        (3, 8, (0, 1, 0x80, 0xFF)),
        (LEAF_4K, 8, (0, 63, 64, 65, 0xFF)),
        (LEAF_4K, 4, (0, 15)),
        (LEAF_4K, 20, (0, 0x40, 0x1_2345, 0xF_FFFF)),
        (LEAF_64K, 12, (0, 1023, 1024, 4095)),
        (LEAF_64K, 20, (0, 0x400, 0x1_2345, 0xF_FFFF)),
    ],
)
def test_substream_picks_its_cd(s1fmt: int, s1cdmax: int, indexes: tuple[int, ...]) -> None:
    """5.2 S1Fmt: the index is split at 6 or 10 bits; format 3 behaves as 0."""
    contexts = Contexts(LINEAR if s1fmt == 3 else s1fmt, s1cdmax)
    pages = {index: contexts.add(index) for index in indexes}
    contexts.s1fmt = s1fmt
    contexts.ste(s1cdmax, TERMINATE)
    for _ in range(2):  # cold, then cached and mixed
        for index, page in pages.items():
            assert contexts.bench.pa(IOVA + 0x123, ssid=index) == page + 0x123


@pytest.mark.parametrize("s1fmt", [LINEAR, LEAF_4K, LEAF_64K])
@pytest.mark.parametrize("s1cdmax", [1, 5, 8])
def test_substream_beyond_the_table_is_refused(s1fmt: int, s1cdmax: int) -> None:
    """5.2 S1CDMax, 7.3.9."""
    contexts = Contexts(s1fmt, s1cdmax)
    record = contexts.bench.refused(IOVA, ssid=1 << s1cdmax)

    assert record is not None
    assert (record["Number"], record["SubstreamID"]) == (C_BAD_SUBSTREAMID, 1 << s1cdmax)


@pytest.mark.parametrize("ssid", [0, 1, 0xF_FFFF])
@pytest.mark.parametrize("ids", [{"SSIDSIZE": 0}, {"SSIDSIZE": 20}])
def test_substream_with_a_single_cd_is_refused(ids: dict[str, int], ssid: int) -> None:
    """5.2 S1CDMax 0, and SSIDSIZE 0: any SubstreamID is C_BAD_SUBSTREAMID."""
    bench = Bench(make_ids(**ids))
    tree = Tree(bench)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
    tree.page(IOVA, RAM)
    assert bench.pa(IOVA) == RAM

    assert bench.code(IOVA, ssid=ssid) == C_BAD_SUBSTREAMID


@pytest.mark.parametrize("config", [0b100, 0b110])
def test_substream_with_stage_1_off_is_refused(config: int) -> None:
    """5.2 S1Fmt: full bypass and stage 2 only alike."""
    bench = Bench(_ids())
    tree = Tree(bench, start_level=1)
    bench.ste(**{**S2_STE, "Config": config, "S2TTB": tree.root, "S1CDMax": 8})
    tree.page(IOVA, RAM, 0x4FC)
    assert isinstance(bench.pa(IOVA), int)

    assert bench.code(IOVA, ssid=0) == C_BAD_SUBSTREAMID


@pytest.mark.parametrize("config", [0b000, 0b010])
def test_substream_of_a_stream_that_is_off_is_silent(config: int) -> None:
    """7.3.7: with V 1 and Config 0 traffic is terminated without an event."""
    bench = Bench(_ids())
    bench.ste(V=1, Config=config)

    assert bench.code(IOVA, ssid=3) is None


@pytest.mark.parametrize("s1dss", [TERMINATE, 3])
def test_default_substream_can_be_refused(s1dss: int) -> None:
    """5.2 S1DSS 0, and 3 which behaves as 0."""
    contexts = Contexts(LINEAR, 4, s1dss)
    page = contexts.add(0)
    record = contexts.bench.refused(IOVA)
    assert record is not None
    assert (record["Number"], record["StreamID"]) == (F_STREAM_DISABLED, SID)

    assert contexts.bench.pa(IOVA, ssid=0) == page


def test_default_substream_can_bypass_stage_1() -> None:
    """5.2 S1DSS 1: no CD is fetched; substreams translate as ever."""
    contexts = Contexts(LINEAR, 4, BYPASS)
    page = contexts.add(3)
    reads = contexts.bench.watch("config")
    assert contexts.bench.pa(IOVA) == IOVA
    assert len(reads) == 1

    assert contexts.bench.pa(IOVA, ssid=3) == page


def test_default_substream_that_bypasses_is_held_against_ias() -> None:
    """5.2 S1DSS 1: stage-1 F_ADDR_SIZE."""
    contexts = Contexts(LINEAR, 4, BYPASS)
    record = contexts.bench.refused(1 << 44)

    assert record is not None
    assert (record["Number"], record["S2"], record["CLASS"]) == (0x11, 0, 2)


def test_default_substream_can_bypass_stage_1_and_use_stage_2() -> None:
    """5.2 S1DSS 1 in a nested configuration: the address is an IPA."""
    bench, _, second = nested_bench(_ids(), ste={"S1CDMax": 4, "S1DSS": BYPASS})
    second.page(IOVA, RAM + 0x30_0000, 0x4FC)
    reads = bench.watch("config")

    assert bench.pa(IOVA) == RAM + 0x30_0000
    assert len(reads) == 1


def test_default_substream_can_be_substream_0() -> None:
    """5.2 S1DSS 2: CD 0 serves traffic without a SubstreamID and nobody else."""
    contexts = Contexts(LINEAR, 4, SUBSTREAM_0)
    pages = {index: contexts.add(index) for index in (0, 1)}
    assert contexts.bench.pa(IOVA) == pages[0]
    assert contexts.bench.pa(IOVA, ssid=1) == pages[1]

    assert contexts.bench.code(IOVA, ssid=0) == F_STREAM_DISABLED


def test_s1dss_is_ignored_with_a_single_cd() -> None:
    """5.2 S1DSS: IGNORED when S1CDMax is 0."""
    contexts = Contexts(LINEAR, 0, TERMINATE)
    page = contexts.add(0)

    assert contexts.bench.pa(IOVA) == page


@pytest.mark.parametrize(("s1fmt", "index"), [(LEAF_4K, 0x55), (LEAF_64K, 0x855)])
def test_invalid_level_1_descriptor_is_bad_substream(s1fmt: int, index: int) -> None:
    """7.3.9: L1CD.V is 0."""
    contexts = Contexts(s1fmt, 12)
    record = contexts.bench.refused(IOVA, ssid=index)

    assert record is not None
    assert (record["Number"], record["SubstreamID"]) == (C_BAD_SUBSTREAMID, index)


def test_level_1_pointer_beyond_oas_is_bad_substream() -> None:
    """3.4.3 (3), 7.3.9: from v3.1."""
    contexts = Contexts(LEAF_4K, 12)
    contexts.bench.write64(contexts.table + 8, 1 << 44 | 1)
    record = contexts.bench.refused(IOVA, ssid=0x41)

    assert record is not None
    assert (record["Number"], record["SubstreamID"]) == (C_BAD_SUBSTREAMID, 0x41)


def test_bad_level_1_pointer_for_the_default_substream_reports_0() -> None:
    """7.3.9: S1DSS 2 and an L1CD.L2Ptr out of range report SubstreamID 0."""
    contexts = Contexts(LEAF_4K, 12, SUBSTREAM_0)
    contexts.bench.write64(contexts.table, 1 << 44 | 1)
    record = contexts.bench.refused(IOVA)

    assert record is not None
    assert (record["Number"], record["SubstreamID"]) == (C_BAD_SUBSTREAMID, 0)


@pytest.mark.parametrize("low", [0xFC0, 0xFFE])
def test_low_bits_of_the_level_1_pointer_are_ignored(low: int) -> None:
    """5.2 S1Fmt: L2 tables are aligned to 4 KiB; bits [11:1] of an L1CD are RES0."""
    contexts = Contexts(LEAF_4K, 12)
    page = contexts.add(0x43)
    word = contexts.bench.memory.read_u64(contexts.table + 8)
    assert word is not None
    contexts.bench.write64(contexts.table + 8, word | low)

    assert contexts.bench.pa(IOVA, ssid=0x43) == page


def test_aborted_fetch_of_a_cd_reports_its_address() -> None:
    """7.3.10."""
    contexts = Contexts(LINEAR, 4)
    contexts.table = NOWHERE
    contexts.ste(4, TERMINATE)
    record = contexts.bench.refused(IOVA, ssid=5)

    assert record is not None
    assert (record["Number"], record["FetchAddr"]) == (F_CD_FETCH, NOWHERE + 64 * 5)
    assert (record["SSV"], record["SubstreamID"]) == (1, 5)


def test_aborted_fetch_of_a_level_1_descriptor_reports_its_address() -> None:
    """7.3.10: F_CD_FETCH for the L1CD as well."""
    contexts = Contexts(LEAF_4K, 12)
    contexts.table = NOWHERE
    contexts.ste(12, TERMINATE)
    record = contexts.bench.refused(IOVA, ssid=0x41)

    assert record is not None
    assert (record["Number"], record["FetchAddr"]) == (F_CD_FETCH, NOWHERE + 8)


def test_bad_cd_of_one_substream_leaves_its_neighbours_alone() -> None:
    contexts = Contexts(LINEAR, 4)
    page = contexts.add(2)
    assert contexts.bench.code(IOVA, ssid=1) == C_BAD_CD

    assert contexts.bench.pa(IOVA, ssid=2) == page


def test_records_carry_the_substream() -> None:
    contexts = Contexts(LINEAR, 4, SUBSTREAM_0)
    contexts.add(0)
    contexts.add(9)
    with_substream = contexts.bench.refused(0x9000, ssid=9)
    without = contexts.bench.refused(0x9000)

    assert with_substream is not None
    assert without is not None
    assert (with_substream["SSV"], with_substream["SubstreamID"]) == (1, 9)
    assert without["SSV"] == 0


def test_cd_table_of_a_nested_stream_lies_in_ipa_space() -> None:
    """5.4.1: CDs and L1CDs are fetched through stage 2."""
    bench, first, second = nested_bench(_ids())
    first.page(IOVA, RAM + 0x30_0000 + GUEST)
    level1, leaf = bench.alloc(0x1000), bench.alloc(0x1000)
    elsewhere = 0x5_0000_0000
    second.page(elsewhere, level1, 0x4FC)
    second.page(elsewhere + 0x7000, leaf, 0x4FC)
    bench.write64(level1 + 8, elsewhere + 0x7000 | 1)
    bench.cd(leaf + 64 * 2, **{**PLAIN_CD, "TTB0": first.root})
    pointers = {"S1ContextPtr": elsewhere, "S2TTB": second.root}
    bench.ste(**{**NESTED_STE, **pointers, "S1Fmt": LEAF_4K, "S1CDMax": 10})
    assert bench.pa(IOVA, ssid=0x42) == RAM + 0x30_0000
    record = bench.refused(IOVA, ssid=0x3FF)

    assert record is not None
    assert (record["Number"], record["SubstreamID"]) == (C_BAD_SUBSTREAMID, 0x3FF)


def test_stage_2_fault_on_a_level_1_descriptor_has_class_cd() -> None:
    """7.3.13: CLASS is CD, IPA that of the L1CD's page."""
    bench, _, _ = nested_bench(
        _ids(), ste={"S1ContextPtr": 0x5_0000_0000, "S1Fmt": LEAF_4K, "S1CDMax": 16}
    )
    record = bench.refused(IOVA, ssid=0xFFFF)

    assert record is not None
    assert (record["Number"], record["S2"], record["CLASS"]) == (0x10, 1, 0)
    assert record["IPA"] == 0x5_0000_1000


# -- invalidation


def test_cfgi_cd_drops_the_cd_of_its_index_only() -> None:
    """4.3.3: the SubstreamID is the index in the table."""
    contexts = Contexts(LINEAR, 4)
    bench = contexts.bench
    old = {index: contexts.add(index) for index in (1, 2)}
    for index, page in old.items():
        assert bench.pa(IOVA, ssid=index) == page
    new = {index: contexts.add(index, asid=100 + index) for index in (1, 2)}
    bench.do(cmd("CFGI_CD", StreamID=SID, SubstreamID=1))

    assert bench.pa(IOVA, ssid=1) == new[1]
    assert bench.pa(IOVA, ssid=2) == old[2]


def test_cfgi_cd_0_drops_the_default_cd() -> None:
    """4.3.3: index 0 independent of its role through S1DSS."""
    contexts = Contexts(LINEAR, 4, SUBSTREAM_0)
    old = contexts.add(0)
    assert contexts.bench.pa(IOVA) == old
    new = contexts.add(0, asid=77)
    assert contexts.bench.pa(IOVA) == old
    contexts.bench.do(cmd("CFGI_CD", StreamID=SID, SubstreamID=0))

    assert contexts.bench.pa(IOVA) == new


@pytest.mark.parametrize(
    "command",
    [
        cmd("CFGI_CD_ALL", StreamID=SID),
        cmd("CFGI_STE", StreamID=SID, Leaf=1),
        cmd("CFGI_STE_RANGE", StreamID=SID, Range=0),
        cmd("CFGI_STE_RANGE", Range=31),
    ],
)
def test_wider_invalidations_drop_every_cd_of_the_stream(command: int) -> None:
    """4.3.1, 4.3.2, 4.3.4, 4.3.6."""
    contexts = Contexts(LEAF_4K, 10)
    bench = contexts.bench
    indexes = (1, 2, 0x155)
    old = {index: contexts.add(index) for index in indexes}
    for index, page in old.items():
        assert bench.pa(IOVA, ssid=index) == page
    new = {index: contexts.add(index, asid=200 + index) for index in indexes}
    bench.do(command)
    for index, page in new.items():
        assert bench.pa(IOVA, ssid=index) == page


def test_cds_of_another_stream_stay() -> None:
    """5.4.1: a cached CD is known by StreamID and SubstreamID."""
    contexts = Contexts(LINEAR, 4)
    bench = contexts.bench
    fields = {"S1CDMax": 4, "S1ContextPtr": contexts.table}
    bench.ste(SID + 1, **{**S1_STE, **fields})
    old = contexts.add(1)
    assert bench.pa(IOVA, ssid=1) == old
    assert bench.pa(IOVA, sid=SID + 1, ssid=1) == old
    new = contexts.add(1, asid=99)
    bench.do(cmd("CFGI_CD_ALL", StreamID=SID))

    assert bench.pa(IOVA, ssid=1) == new
    assert bench.pa(IOVA, sid=SID + 1, ssid=1) == old
