# SPDX-License-Identifier: GPL-2.0-or-later
"""What a counter group counts: exact numbers for scripted traffic, by event and by StreamID.

Spec: IHI 0070 10.3, 10.4. Walks of a 39-bit stage 1 read 3 descriptors; an STE, an L1STD, a CD and
an L1CD are one access each.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from smmu_emu.ats import PageRequest
from smmu_emu.interpose import Layer, interpose
from smmu_emu.port import DmaPort
from smmu_emu.smmuv3 import Smmuv3
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.unit.smmuv3.ats_rig import FULL, SPLIT, ask, ats_ids, send
from tests.unit.smmuv3.pmcg_rig import (
    ATS_REQUEST,
    ATS_TRANSLATED,
    CONFIG_ACCESS,
    CONFIG_MISS,
    CYCLE,
    SPAN,
    TLB_MISS,
    TRANSACTION,
    WALK_ACCESS,
    Group,
)
from tests.unit.smmuv3.rig import (
    AF,
    CD_AT,
    CFGI_ALL,
    GUEST,
    NG,
    NOWHERE,
    PLAIN_CD,
    RAM,
    READ_ONLY,
    RW,
    S1_STE,
    S2_RW,
    SID,
    USER,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
    put,
    stage1_bench,
    stage2_bench,
)
from tests.unit.smmuv3.spec import literals

TRAFFIC = (TRANSACTION, TLB_MISS, CONFIG_MISS, WALK_ACCESS, CONFIG_ACCESS)
"""What counters 0 to 4 count in most tests here, in this order."""
AT = 0x5000
DBM = 1 << 51


def counting(bench: Bench, *events: int, **options: Any) -> Group:
    """A group that counts events, or what `TRAFFIC` has, from now on."""
    events = events or TRAFFIC
    group = Group(bench.smmu, counters=len(events), **options)
    group.use_all(*events)
    return group


def mapped(pages: int = 8, **cd: int) -> tuple[Bench, Tree]:
    """A stage-1 bench with pages from ``AT`` on."""
    bench, tree = stage1_bench(**cd)
    for page in range(pages):
        tree.page(AT + 0x1000 * page, RAM + 0x80_0000 + 0x1000 * page)
    return bench, tree


# -- each event


def test_cold_walk_misses_everything_and_a_hit_nothing() -> None:
    bench, _ = mapped()
    group = counting(bench)
    bench.pa(AT)
    assert group.since() == [1, 1, 1, 3, 2]
    bench.pa(AT + 8)
    assert group.since() == [1, 0, 0, 0, 0]
    bench.pa(AT + 0x1000)
    assert group.since() == [1, 1, 0, 3, 0]


def test_invalidated_translation_is_a_tlb_miss_alone() -> None:
    bench, _ = mapped()
    bench.pa(AT)
    group = counting(bench)
    bench.do(cmd("TLBI_NSNH_ALL"))
    bench.pa(AT)
    assert group.counts == [1, 1, 0, 3, 0]


def test_invalidated_structures_are_configuration_misses_alone() -> None:
    bench, _ = mapped()
    bench.pa(AT)
    group = counting(bench)
    bench.do(cmd("CFGI_CD", StreamID=SID, Leaf=1))
    bench.pa(AT)
    assert group.since() == [1, 0, 1, 0, 1]
    bench.do(CFGI_ALL)
    bench.pa(AT)
    assert group.since() == [1, 0, 1, 0, 2]


def test_descriptors_of_two_level_tables_are_accesses_and_not_more_misses() -> None:
    bench = Bench(make_ids(SSIDSIZE=8, CD2L=1))
    tree = Tree(bench)
    tree.page(AT, RAM)
    level1, level2 = bench.alloc(64), bench.alloc(64 * 64)
    cds, leaf = bench.alloc(64), bench.alloc(64 * 64)
    bench.w("CR0", 0)
    bench.w("STRTAB_BASE", level1)
    bench.w("STRTAB_BASE_CFG", 1 << 16 | 6 << 6 | 8)
    bench.w("CR0", 0xD)
    bench.write64(level1, put(literals.L1STD, Span=7, L2Ptr=level2))
    bench.ste(at=level2 + 64 * SID, **{**S1_STE, "S1ContextPtr": cds, "S1Fmt": 1, "S1CDMax": 7})
    bench.write64(cds, put(literals.L1CD, V=1, L2Ptr=leaf))
    bench.cd(leaf + 64 * 5, **{**PLAIN_CD, "TTB0": tree.root})
    group = counting(bench)
    bench.pa(AT, ssid=5)
    assert group.counts == [1, 1, 1, 3, 4]


def test_nested_walk_counts_the_reads_of_both_stages_and_one_miss() -> None:
    bench, first, second = nested_bench()
    ipa = GUEST + RAM + 0x60_0000  # a block of stage 2 that no table lies in
    first.page(AT, ipa)
    group = counting(bench)
    bench.pa(AT)
    # Stage 2 for the CD: 2. The tables lie in the same block: 3 of stage 1. The page: 2.
    assert group.counts == [1, 1, 1, 7, 2]
    assert second.start_level == 1


def test_stage_2_alone() -> None:
    bench, tree = stage2_bench()
    tree.page(AT, RAM, S2_RW)
    group = counting(bench)
    bench.pa(AT)
    bench.pa(AT + 1)
    assert group.counts == [2, 1, 1, 3, 1]


def test_update_of_a_flag_is_a_walk_access() -> None:
    bench, tree = stage1_bench(make_ids(HTTU=1), HA=1)
    tree.page(AT, RAM, USER)
    group = counting(bench)
    bench.pa(AT)
    assert group.counts == [1, 1, 1, 4, 2]
    assert bench.memory.read_u64(tree.at(AT, 3)) == RAM | USER | AF | 3


def test_transactions_that_are_terminated_count() -> None:
    bench, _ = mapped(1)
    group = counting(bench)
    assert bench.code(AT + 0x1000) == 0x10  # no page: 3 reads
    assert group.since() == [1, 1, 1, 3, 2]
    assert bench.code(AT, sid=300) == 0x02  # no STE, and none to read
    assert group.since() == [1, 0, 1, 0, 0]
    bench.ste(9)
    assert bench.code(AT, sid=9) == 0x04  # C_BAD_STE
    assert group.since() == [1, 0, 1, 0, 1]
    bench.ste(10, **{**S1_STE, "S1ContextPtr": NOWHERE})
    assert bench.code(AT, sid=10) == 0x09  # F_CD_FETCH
    assert group.since() == [1, 0, 1, 0, 2]


def test_fault_in_the_cache_is_a_hit() -> None:
    bench, tree = stage1_bench()
    tree.page(AT, RAM, RW | 1 << 7)
    group = counting(bench)
    for _ in range(3):
        assert bench.code(AT, write=True) == 0x13
    assert group.counts == [3, 1, 1, 3, 2]


def test_stream_that_bypasses_or_aborts_has_no_tlb_misses() -> None:
    bench = Bench()
    bench.ste(V=1, Config=0b100)
    bench.ste(9, V=1, Config=0)
    group = counting(bench)
    for _ in range(2):
        bench.pa(AT)
        assert bench.code(AT, sid=9) is None
    assert group.counts == [4, 0, 2, 0, 2]


def test_traffic_counts_while_the_smmu_is_disabled() -> None:
    bench = Bench()
    bench.w("CR0", 0)
    group = counting(bench)
    bench.pa(AT)
    bench.w("GBPA", 1 << 31 | 1 << 20)
    assert bench.code(AT) is None
    assert group.counts == [2, 0, 0, 0, 0]


def test_retry_of_a_stalled_transaction_counts_as_a_new_one() -> None:
    bench, tree = stage1_bench(make_ids(STALL_MODEL=0), S=1)
    group = counting(bench)
    answers: list[Translation | Fault] = []
    held = bench.smmu.submit(Transaction(SID, AT), answers.append)
    assert isinstance(held, Fault)
    assert held.stag is not None
    assert group.since() == [1, 1, 1, 1, 2]
    tree.page(AT, RAM)
    bench.do(cmd("RESUME", StreamID=SID, STAG=held.stag, Ac=1))
    assert isinstance(answers[0], Translation)
    assert group.since() == [1, 1, 0, 3, 0]


def test_submitted_transaction_that_passes_counts_once() -> None:
    bench, _ = mapped()
    group = counting(bench)
    assert isinstance(bench.smmu.submit(Transaction(SID, AT), pytest.fail), Translation)
    assert group.counts == [1, 1, 1, 3, 2]


def test_aborted_accesses_were_performed() -> None:
    bench, _ = mapped()
    group = counting(bench)
    interpose(bench.smmu.ports["walk"], "read_u64", lambda _: lambda pa: None, Layer.INJECT)
    assert bench.code(AT) == 0x0B
    assert group.since() == [1, 1, 1, 1, 2]
    bench.do(CFGI_ALL)
    interpose(bench.smmu.ports["config"], "read", lambda _: lambda pa, size: None, Layer.INJECT)
    assert bench.code(AT) == 0x03
    assert group.since() == [1, 0, 1, 0, 1]


def test_unknown_events_are_not_counted() -> None:
    bench, _ = mapped()
    group = counting(bench, 8, 0x80, 0xFFFF, ATS_REQUEST)
    bench.pa(AT)
    bench.smmu.clock.advance(1000)
    assert group.counts == [0, 0, 0, 0]
    assert bench.smmu.stages.port is bench.smmu.ports["walk"]


# -- ATS and PRI


def ats_bench(**ste: int) -> tuple[Bench, Group]:
    """A stream with ATS, one page, and a group that counts everything that has a stream."""
    bench, tree = stage1_bench(ats_ids())
    bench.ste(**{**S1_STE, "EATS": FULL, **ste})
    tree.page(AT, RAM + 0x10_0000)
    return bench, counting(bench, *TRAFFIC, ATS_REQUEST, ATS_TRANSLATED)


def test_translation_requests_count() -> None:
    bench, group = ats_bench()
    assert ask(bench, AT).granted
    assert group.since() == [1, 1, 1, 3, 2, 1, 0]
    assert ask(bench, AT).granted
    assert group.since() == [1, 0, 0, 0, 0, 1, 0]
    assert not ask(bench, AT + 0x1000, nw=True).granted
    assert group.since() == [1, 1, 0, 3, 0, 1, 0]
    ask(bench, AT, stream_id=99)
    assert group.since() == [1, 0, 1, 0, 1, 1, 0]


def test_request_that_walks_twice_is_one_miss() -> None:
    """A page becomes dirty once it is known that its write can be granted."""
    bench, tree = stage1_bench(ats_ids(HTTU=2), HA=1, HD=1)
    bench.ste(**{**S1_STE, "EATS": FULL})
    tree.page(AT, RAM, RW | READ_ONLY | DBM)
    group = counting(bench, *TRAFFIC, ATS_REQUEST)
    assert ask(bench, AT).write
    assert group.counts == [1, 1, 1, 3 + 3 + 1, 2, 1]


def test_translated_transactions_count() -> None:
    bench, group = ats_bench()
    send(bench, RAM)
    assert group.since() == [1, 0, 0, 0, 0, 0, 1]
    bench.w("CR0", 0x1D)  # ATSCHK: the STE is looked at
    send(bench, RAM)
    assert group.since() == [1, 0, 1, 0, 1, 0, 1]
    send(bench, RAM, sid=99)
    assert group.since() == [1, 0, 1, 0, 1, 0, 1]


def test_translated_transactions_of_a_split_stage_walk() -> None:
    bench, _, _ = nested_bench(ats_ids(), ste={"EATS": SPLIT})
    bench.w("CR0", 0x1D)
    group = counting(bench, *TRAFFIC, ATS_REQUEST, ATS_TRANSLATED)
    assert isinstance(send(bench, GUEST + RAM), Translation)
    assert group.since() == [1, 1, 1, 2, 1, 0, 1]
    send(bench, GUEST + RAM + 8)
    assert group.since() == [1, 0, 0, 0, 0, 0, 1]


def test_page_request_that_needs_its_ste_is_an_access_and_no_transaction() -> None:
    bench = Bench(ats_ids(minor=1))
    bench.w("PRIQ_BASE", bench.alloc(64))
    bench.w("CR0", 0xF)
    bench.ste(**S1_STE)
    group = counting(bench)
    for _ in range(3):  # of 2^0 places: the second overflows
        bench.smmu.ats.page_request(
            PageRequest(SID, AT, 1, read=True, last=True, substream_id=3, privileged=False)
        )
    assert group.counts == [0, 0, 0, 0, 1]


# -- filters


def filtered(sid: int, *, span: bool, streams: int = 32) -> set[int]:
    """Which of the first streams a counter counts."""
    bench = Bench(setup=False)
    group = Group(bench.smmu, counters=1)
    group.w("EVTYPER", TRANSACTION | (SPAN if span else 0), 0)
    group.w("SMR", sid, 0)
    group.w("CNTENSET0", 1)
    group.w("CR", 1)
    counted = set()
    for stream in range(streams):
        bench.go(AT, sid=stream)
        if group.since() == [1]:
            counted.add(stream)
    return counted


def test_exact_filter_counts_one_stream() -> None:
    assert filtered(0x13, span=False) == {0x13}
    assert filtered(0, span=False) == {0}
    assert filtered(0xFFFF_FFFF, span=False) == set()


@pytest.mark.parametrize(
    ("pattern", "counted"),
    [
        (0b01010, {0b01010, 0b01011}),
        (0b01100, {0b01100, 0b01101}),
        (0b00001, set(range(0b00100))),
        (0b10101, set(range(0b10100, 0b11000))),
        (0b01011, set(range(0b01000, 0b10000))),
        (0b00111, set(range(0b10000))),
        (0b01111, set(range(32))),
        (0x7FFF, set(range(32))),  # all but the highest of 16 bits
        (0xFFFF, set(range(32))),
        (0xFFFF_FFFF, set(range(32))),
        (0xFFFF_FFEF, set()),
    ],
)
def test_span_ignores_the_bits_up_to_its_lowest_zero(pattern: int, counted: set[int]) -> None:
    assert filtered(pattern, span=True) == counted


def test_filter_that_matches_all_matches_streams_beyond_the_size_too() -> None:
    bench = Bench(make_ids(SIDSIZE=16))
    group = Group(bench.smmu, counters=2)
    group.use(0, TRANSACTION)
    group.use(1, TRANSACTION, sid=8)
    assert bench.code(AT, sid=0x2_0008) == 0x02
    assert group.counts == [1, 0]


def test_spans_of_the_specification() -> None:
    """The examples of 10.4."""
    for pattern, first, count in (
        (0b0001_1011_1111_0111_1111_0111, 0b0001_1011_1111_0111_1111_0000, 16),
        (0b0001_1011_1111_0111_1111_0110, 0b0001_1011_1111_0111_1111_0110, 2),
        (0b0001_1011_1111_0101_1111_1111, 0b0001_1011_1111_0100_0000_0000, 1024),
    ):
        bench = Bench(make_ids(SIDSIZE=32), setup=False)
        group = Group(bench.smmu, counters=1)
        group.use(0, TRANSACTION, sid=pattern, more=SPAN)
        for outside in (first - 1, first + count):
            bench.go(AT, sid=outside)
        assert group.counts == [0]
        for inside in (first, first + count - 1):
            bench.go(AT, sid=inside)
        assert group.counts == [2]


def test_filter_applies_to_accesses_as_to_transactions() -> None:
    bench, tree = stage1_bench()
    for page in (AT, AT + 0x1000):
        tree.page(page, RAM, RW | NG)
    bench.ste(9, **{**S1_STE, "S1ContextPtr": CD_AT + 64})
    bench.cd(CD_AT + 64, **{**PLAIN_CD, "TTB0": tree.root, "ASID": 4})
    group = Group(bench.smmu, counters=10)
    for n, event in enumerate(TRAFFIC):
        group.use(n, event, sid=SID)
        group.use(5 + n, event, sid=9)
    bench.pa(AT)
    bench.pa(AT + 0x1000)
    bench.pa(AT, sid=9)
    assert group.counts == [2, 2, 1, 6, 2, 1, 1, 1, 3, 2]


def test_shared_filter_is_that_of_counter_0() -> None:
    bench = Bench()
    group = Group(bench.smmu, shared_filter=True)
    group.use(0, TRANSACTION, sid=3)
    group.use(1, TRANSACTION, sid=9)
    group.use(2, CYCLE)
    for sid in (3, 3, 9):
        bench.go(AT, sid=sid)
    bench.smmu.clock.advance(11)
    assert group.counts == [2, 2, 11, 0]
    group.w("CNTENCLR0", 1)  # its filter stays
    bench.go(AT, sid=3)
    bench.go(AT, sid=9)
    assert group.counts == [2, 3, 11, 0]


def test_filter_that_changes_counts_from_then_on() -> None:
    bench = Bench()
    group = Group(bench.smmu, counters=1)
    group.use(0, TRANSACTION, sid=3)
    bench.go(AT, sid=3)
    group.w("SMR", 4, 0)
    bench.go(AT, sid=3)
    bench.go(AT, sid=4)
    group.w("EVTYPER", CONFIG_MISS, 0)
    bench.go(AT, sid=4)
    assert group.counts == [3]


# -- batches


def test_batch_counts_as_its_loop_does() -> None:
    iovas = [AT + 0x1000 * (n * 7 % 9) + n for n in range(200)]  # page 8 is not mapped
    bench, _ = mapped()
    group = counting(bench)
    result = bench.smmu.batch.translate(SID, np.array(iovas, np.uint64))
    single, _ = mapped()
    other = counting(single)
    answers = [single.go(iova) for iova in iovas]
    missed = sum(isinstance(answer, Fault) for answer in answers)
    assert result.pa.tolist() == [getattr(answer, "pa", 0) for answer in answers]
    assert group.counts == other.counts == [200, 8 + missed, 1, 3 * (8 + missed), 2]
    assert len(result.faults) == missed > 0


def test_translations_that_a_batch_has_deferred_are_hits() -> None:
    bench, _ = mapped(100)
    bench.smmu.batch.translate(SID, np.arange(AT, AT + 100 * 0x1000, 0x1000, dtype=np.uint64))
    assert bench.smmu.tlb.deferred
    group = counting(bench)
    bench.pa(AT + 0x3000)
    assert group.counts == [1, 0, 0, 0, 0]
    assert not bench.smmu.tlb.deferred


def test_transfer_counts_each_of_its_transactions() -> None:
    bench, _ = mapped(200)
    port = DmaPort(bench.memory, bench.smmu, SID)
    data = bytes(range(256)) * 3200
    group = counting(bench)
    assert port.write(AT + 0x80, data[:-0x80])
    assert group.counts == [200, 200, 1, 600, 2]
    assert port.transactions == 200
    assert bench.memory.read(RAM + 0x80_0080, len(data) - 0x80) == data[:-0x80]
    group.w("CR", 0)
    assert port.read(AT, len(data)) is not None
    assert group.counts[0] == 200


# -- the SMMU is as it was


def parts(smmu: Smmuv3) -> list[tuple[str, object]]:
    """Everything that observation may replace, and nothing that traffic changes."""
    owners = (smmu, smmu.path, smmu.stages, smmu.configuration, smmu.ats)
    attributes = [item for owner in owners for item in vars(owner).items()]
    attributes += [(n, getattr(p, n, None)) for p in smmu.ports.values() for n in p.__slots__]
    return [(name, value) for name, value in attributes if not isinstance(value, int)]


def test_observation_leaves_nothing_behind() -> None:
    bench, _ = mapped()
    bench.pa(AT)
    before = parts(bench.smmu)
    group = counting(bench)
    assert parts(bench.smmu) != before
    group.w("CR", 0)
    assert parts(bench.smmu) == before
    assert bench.smmu.stages.port is bench.smmu.ports["walk"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_groups_count_independently_in_any_order(order: tuple[int, int]) -> None:
    bench, _ = mapped()
    before = parts(bench.smmu)
    groups = [counting(bench, TRANSACTION, WALK_ACCESS, name=f"pmcg{n}") for n in range(2)]
    bench.pa(AT)
    groups[order[0]].w("CR", 0)
    bench.pa(AT + 0x1000)
    groups[order[1]].w("CR", 0)
    assert parts(bench.smmu) == before
    bench.pa(AT + 0x2000)
    assert groups[order[0]].counts == [1, 3]
    assert groups[order[1]].counts == [2, 6]
    groups[order[0]].w("CR", 1)
    bench.pa(AT + 0x3000)
    assert groups[order[0]].counts == [2, 6]


def test_functions_of_ports_may_be_replaced_meanwhile() -> None:
    bench, _ = mapped()
    group = counting(bench)
    log = bench.watch("walk")
    bench.pa(AT)
    group.w("CR", 0)
    bench.pa(AT + 0x1000)
    assert len(log) == 6
    group.w("CR", 1)
    bench.pa(AT + 0x2000)
    assert len(log) == 9
    assert group.counts[3] == 6


def test_message_of_an_overflow_may_switch_the_group_off() -> None:
    bench, _ = mapped()
    groups = [counting(bench, TRANSACTION, name=f"pmcg{n}", msi=True) for n in range(2)]
    window = 0x0910_0000
    bench.memory.add_device(window, 0x2_0000, groups[0].device, "pmcg0")
    groups[0].w("IRQ_CFG0", window + 0xE04)  # CR
    groups[0].w("IRQ_CTRL", 1)
    groups[0].w("INTENSET0", 1)
    groups[0].w("EVCNTR", (1 << 64) - 1, 0)
    bench.pa(AT)
    bench.pa(AT)
    assert groups[0].r("CR") == 0
    assert (groups[0].counts, groups[1].counts) == ([0], [2])


def test_transaction_within_a_transaction_counts_for_its_own_stream() -> None:
    """The message of an overflow reaches a device that answers with a transaction of its own."""
    bench, tree = mapped()
    bench.ste(9, **{**S1_STE, "S1ContextPtr": CD_AT + 64})
    bench.cd(CD_AT + 64, **{**PLAIN_CD, "TTB0": tree.root, "ASID": 4})
    group = Group(bench.smmu, counters=11, msi=True)
    for n, event in enumerate(TRAFFIC):
        group.use(n, event, sid=SID)
        group.use(5 + n, event, sid=9)
    group.use(10, TLB_MISS, sid=SID)

    class Doorbell:
        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            bench.pa(AT, sid=9)

    bench.memory.add_device(0x0A00_0000, 0x1000, Doorbell(), "doorbell")
    group.w("IRQ_CFG0", 0x0A00_0000)
    group.w("INTENSET0", 1 << 10)
    group.w("IRQ_CTRL", 1)
    group.w("EVCNTR", (1 << 64) - 1, 10)
    bench.pa(AT)
    assert group.counts[:10] == [1, 1, 1, 3, 2] * 2


def test_random_traffic_is_translated_as_without_counters_and_counted_as_it_is_seen() -> None:
    """Against an SMMU that nobody observes, whose ports keep a log."""
    dice = random.Random(1)
    benches = [mapped(16)[0] for _ in range(2)]
    for bench in benches:
        bench.ste(9, V=1, Config=0b100)
        bench.ste(10, **{**S1_STE, "S1ContextPtr": NOWHERE})
    group = counting(benches[0])
    walks, structures = benches[1].watch("walk"), benches[1].watch("config")
    misses = 0
    for _ in range(600):
        match dice.randrange(12):
            case 0:
                command = dice.choice(
                    [CFGI_ALL, cmd("TLBI_NSNH_ALL"), cmd("CFGI_CD", StreamID=SID)]
                )
                for bench in benches:
                    bench.do(command)
            case _:
                iova = AT + dice.randrange(18 << 12)
                how = {"sid": dice.choice([SID, SID, SID, 9, 10, 11])}
                write = dice.random() < 0.5
                fetched = len(structures)
                answers = [bench.go(iova, write, **how) for bench in benches]
                assert answers[0] == answers[1]
                misses += len(structures) > fetched
    events = [bench.events() for bench in benches]
    smmus = [bench.smmu for bench in benches]
    assert events[0] == events[1]
    assert smmus[0].path.hits == smmus[1].path.hits
    assert len(smmus[0].tlb) == len(smmus[1].tlb)
    _, tlb_misses, config_misses, walk_accesses, config_accesses = group.counts
    assert tlb_misses == smmus[1].path.misses
    assert (walk_accesses, config_accesses) == (len(walks), len(structures))
    assert config_misses == misses
