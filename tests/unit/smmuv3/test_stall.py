# SPDX-License-Identifier: GPL-2.0-or-later
"""Fault models: abort, RAZ/WI and stall, with what resumes and what ends a stalled transaction.

Spec: IHI 0070 3.12 (models), 5.5 (A, R, S), 4.7.1 (RESUME), 4.7.2 (STALL_TERM), 7.2.1 (records of
stalled transactions), 7.4 (no overflow from them), 6.3.9.6 (SMMUEN 1 to 0).
"""

from __future__ import annotations

from typing import Any

import pytest

from smmu_emu.port import DmaPort
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.unit.smmuv3.rig import (
    CFGI_ALL,
    NOWHERE,
    PLAIN_CD,
    RAM,
    READ_ONLY,
    RW,
    S1_STE,
    S2_RW,
    SID,
    TABLE,
    USER,
    Bench,
    Tree,
    cmd,
    get,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)
from tests.unit.smmuv3.spec import literals

IOVA = 0x5123
PAGE_AT = RAM + 0x30_0000
STALL_BIT = 1 << 31
STALLS = {"STALL_MODEL": 0, "STALL_MAX": 8}
RETRY, TERMINATE = 1, 0


class Client:
    """A master that can wait: its transactions and their answers, in order of arrival."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.answers: list[tuple[int, Translation | Fault]] = []

    def send(self, iova: int = IOVA, write: bool = False, sid: int = SID, **how: Any) -> bool:
        """Whether the transaction was answered at once."""
        transaction = Transaction(sid, iova, write, **how)
        result = self.bench.smmu.submit(transaction, lambda r: self.answers.append((iova, r)))
        if isinstance(result, Fault) and result.stag is not None:
            return False
        self.answers.append((iova, result))
        return True

    def resume(self, stag: int, action: int, abort: int = 1, sid: int = SID) -> None:
        """Respond to a record."""
        fields = {"StreamID": sid, "STAG": stag, "Ac": action, "Ab": abort}
        self.bench.do(cmd("RESUME", **fields))


def _stalling(ids: dict[str, int] | None = None, **cd: int) -> tuple[Bench, Tree, Client]:
    bench, tree = stage1_bench(make_ids(**{**STALLS, **(ids or {})}), **{"S": 1, **cd})
    return bench, tree, Client(bench)


def _records(bench: Bench) -> list[dict[str, int]]:
    return [get(literals.EVENT, record) for record in bench.events()]


# -- stalling


def test_faulting_transaction_waits_and_is_recorded() -> None:
    """3.12.2, 7.3.13: no answer; Stall is 1 and a tag is given."""
    bench, _, client = _stalling()
    assert not client.send()
    [record] = bench.events()

    assert client.answers == []
    assert record >> 64 & 0xFFFF_FFFF == STALL_BIT | record >> 64 & 0xFFFF
    assert record & 0xFFFF_FFFF_FFFF_FFFF == SID << 32 | 0x10


@pytest.mark.parametrize("r", [0, 1])
def test_stall_is_recorded_whatever_r_says(r: int) -> None:
    """5.5: with S set the effective R is 1."""
    bench, _, client = _stalling(R=r)
    client.send()

    assert len(bench.events()) == 1


def test_stage_2_stalls_by_s2s() -> None:
    """5.5: STE.S2S, whatever R says."""
    bench, _ = stage2_bench(make_ids(**STALLS), S2S=1, S2R=0)
    client = Client(bench)
    assert not client.send()
    [record] = _records(bench)

    assert (record["Number"], record["S2"], record["Stall"]) == (0x10, 1, 1)


@pytest.mark.parametrize(
    ("s", "s2s", "faults_in", "waits"),
    [
        (1, 0, 1, True),
        (0, 1, 1, False),
        (1, 0, 2, False),
        (0, 1, 2, True),
        (1, 1, 1, True),
        (1, 1, 2, True),
    ],
)
def test_faulting_stage_decides(s: int, s2s: int, faults_in: int, waits: bool) -> None:
    """3.12: a mixed configuration does what the stage of the fault says."""
    bench, first, _ = nested_bench(make_ids(**STALLS), ste={"S2S": s2s}, cd={"S": s})
    client = Client(bench)
    if faults_in == 2:
        first.page(IOVA & ~0xFFF, 0x6_0000_0000)

    assert client.send() is not waits
    [record] = _records(bench)
    assert (record["S2"], record["Stall"]) == (faults_in - 1, int(waits))


@pytest.mark.parametrize("what", ["cd", "table"])
def test_stage_2_stall_under_a_fetch_is_retried_without_cfgi(what: str) -> None:
    """3.12, 3.21.3: CD and stage-1 table fetches may stall; after the repair RESUME suffices."""
    hole = 0x5_0000_0000
    ste = {"S2S": 1, **({"S1ContextPtr": hole} if what == "cd" else {})}
    bench, first, second = nested_bench(make_ids(**STALLS), ste=ste)
    client = Client(bench)
    piece = bench.alloc(0x1000)
    if what == "table":
        first.set(0, 1, hole | TABLE)
        bench.write64(piece, RAM + 0x1_0000_0000 | RW | 1)
    else:
        bench.cd(piece, **{**PLAIN_CD, "TTB0": first.root})
        first.page(IOVA & ~0xFFF, RAM + 0x1_0000_0000 + 0x5000)
    assert not client.send()
    [record] = _records(bench)
    assert (record["CLASS"], record["Stall"]) == (0 if what == "cd" else 1, 1)
    second.page(hole, piece, S2_RW)
    client.resume(record["STAG"], RETRY)

    [(_, answer)] = client.answers
    assert isinstance(answer, Translation)
    assert answer.pa == RAM + 0x5123


@pytest.mark.parametrize(
    ("descriptor", "number"),
    [
        (0, 0x10),
        (1 << 46 | RW | 3, 0x11),
        (RAM | USER | 3, 0x12),
        (RAM | RW | READ_ONLY | 3, 0x13),
    ],
)
def test_the_four_faults_of_translation_stall(descriptor: int, number: int) -> None:
    """5.5."""
    bench, tree, client = _stalling()
    tree.set(IOVA, 3, descriptor)
    assert not client.send(write=True)
    [record] = _records(bench)

    assert (record["Number"], record["Stall"]) == (number, 1)


def test_permission_fault_on_a_hit_stalls_too() -> None:
    bench, tree, client = _stalling()
    tree.page(IOVA & ~0xFFF, PAGE_AT, RW | READ_ONLY)
    assert client.send()
    assert not client.send(write=True)

    assert _records(bench)[0]["Stall"] == 1


def test_other_faults_never_stall() -> None:
    """3.12: configuration errors and aborted walks terminate."""
    bench, tree, client = _stalling()
    tree.set(IOVA, 1, NOWHERE | TABLE)
    assert client.send()
    bench.cd(V=0)
    bench.forget()
    assert client.send()
    bench.ste(V=0)
    bench.forget()
    assert client.send()

    assert [record["Number"] for record in _records(bench)] == [0x0B, 0x0A, 0x04]


def test_address_beyond_ias_never_stalls() -> None:
    """3.12: F_ADDR_SIZE of a bypassed stage 1 always terminates."""
    bench, _ = stage2_bench(make_ids(**STALLS), S2S=1)
    client = Client(bench)
    assert client.send(iova=1 << 44)

    assert _records(bench)[0]["Stall"] == 0


def test_good_traffic_passes_stalled_one() -> None:
    """3.12.2: only the faulting transaction is held."""
    _, tree, client = _stalling()
    tree.page(0x9000, PAGE_AT)
    assert not client.send()
    assert client.send(0x9008)

    [(_, answer)] = client.answers
    assert isinstance(answer, Translation)
    assert answer.pa == PAGE_AT + 8


def test_master_that_cannot_wait_is_terminated() -> None:
    """3.12: the system may treat such a device's stalls as terminations; Stall is 0."""
    bench, _, _ = _stalling()
    result = bench.go(IOVA)
    [record] = _records(bench)

    assert isinstance(result, Fault)
    assert result.stag is None
    assert record["Stall"] == 0


# -- RESUME


def test_retry_sees_the_new_tables() -> None:
    """3.12.2: handled as though it had just arrived."""
    bench, tree, client = _stalling()
    client.send()
    [record] = _records(bench)
    tree.page(IOVA & ~0xFFF, PAGE_AT)
    client.resume(record["STAG"], RETRY)

    [(_, answer)] = client.answers
    assert isinstance(answer, Translation)
    assert answer.pa == PAGE_AT + 0x123


def test_retry_that_faults_again_is_a_new_stall_with_a_new_record() -> None:
    bench, tree, client = _stalling()
    client.send(write=True)
    [first] = _records(bench)
    tree.page(IOVA & ~0xFFF, PAGE_AT, RW | READ_ONLY)
    client.resume(first["STAG"], RETRY)
    [second] = _records(bench)

    assert client.answers == []
    assert (second["Number"], second["Stall"]) == (0x13, 1)


def test_retry_under_a_configuration_that_terminates_ends_in_abort() -> None:
    """3.12.2, note: a safe way to clean up a stream."""
    bench, tree, client = _stalling()
    client.send()
    [record] = _records(bench)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root, "S": 0})
    bench.do(CFGI_ALL)
    client.resume(record["STAG"], RETRY)

    [(_, answer)] = client.answers
    assert isinstance(answer, Fault)
    assert answer.abort
    assert _records(bench)[0]["Stall"] == 0


@pytest.mark.parametrize(
    ("term_model", "ab", "aborts"), [(0, 0, False), (0, 1, True), (1, 0, True)]
)
def test_terminate_answers_as_asked(term_model: int, ab: int, aborts: bool) -> None:
    """4.7.1: Ab 0 is RAZ/WI, unless TERM_MODEL says that there is none."""
    bench, _, client = _stalling({"TERM_MODEL": term_model})
    client.send()
    [record] = _records(bench)
    client.resume(record["STAG"], TERMINATE, ab)

    [(_, answer)] = client.answers
    assert isinstance(answer, Fault)
    assert answer.abort is aborts
    assert not bench.events()


def test_tags_tell_transactions_apart() -> None:
    """4.7.1: in any order."""
    bench, tree, client = _stalling()
    for number in range(3):
        client.send(IOVA + (number << 12))
    tags = [record["STAG"] for record in _records(bench)]
    assert len(set(tags)) == 3
    for number in range(3):
        tree.page(IOVA + (number << 12) & ~0xFFF, PAGE_AT + (number << 12))
    for number in (2, 0, 1):
        client.resume(tags[number], RETRY)

    assert [iova - IOVA >> 12 for iova, _ in client.answers] == [2, 0, 1]


@pytest.mark.parametrize(("sid", "tag_offset"), [(SID + 1, 0), (SID, 1), (0xFFFF_FFFF, 0)])
def test_resume_of_nothing_does_nothing(sid: int, tag_offset: int) -> None:
    """4.7.1: StreamID and STAG must both fit; else it is a no-op, and no error."""
    bench, _, client = _stalling()
    client.send()
    [record] = _records(bench)
    client.resume(record["STAG"] + tag_offset, TERMINATE, sid=sid)

    assert client.answers == []


def test_tag_is_free_again_after_the_response() -> None:
    bench, _, client = _stalling({"STALL_MAX": 1})
    for _ in range(3):
        client.send()
        [record] = _records(bench)
        client.resume(record["STAG"], TERMINATE)

    assert len(client.answers) == 3


def test_tag_is_not_reused_before_the_response() -> None:
    """3.12.2; at most STALL_MAX are open at a time."""
    bench, _, client = _stalling({"STALL_MAX": 3})
    for number in range(5):
        client.send(IOVA + (number << 12))
    records = _records(bench)
    assert len({record["STAG"] for record in records}) == len(records) <= 3
    client.resume(records[0]["STAG"], TERMINATE)
    more = _records(bench)

    assert len(more) == 1
    assert more[0]["STAG"] not in {record["STAG"] for record in records[1:]}
    assert len(client.answers) == 1


def test_invalidations_do_not_touch_stalled_transactions() -> None:
    """4.3.8."""
    bench, tree, client = _stalling()
    client.send()
    [record] = _records(bench)
    tree.page(IOVA & ~0xFFF, PAGE_AT)
    bench.do(CFGI_ALL, cmd("TLBI_NSNH_ALL"))
    assert client.answers == []
    client.resume(record["STAG"], RETRY)

    assert len(client.answers) == 1


# -- STALL_TERM, SMMUEN


def test_stall_term_ends_every_stall_of_its_stream() -> None:
    """4.7.2: with an abort; other streams are left alone."""
    bench, _, client = _stalling()
    bench.ste(SID + 1, **S1_STE)
    client.send()
    client.send(IOVA + 0x1000)
    client.send(sid=SID + 1)
    bench.do(cmd("STALL_TERM", StreamID=SID))

    assert [iova for iova, _ in client.answers] == [IOVA, IOVA + 0x1000]
    for _, answer in client.answers:
        assert isinstance(answer, Fault)
        assert answer.abort


def test_stall_term_of_a_stream_without_stalls_does_nothing() -> None:
    bench, _, client = _stalling()
    client.send()
    bench.do(cmd("STALL_TERM", StreamID=SID + 1))

    assert client.answers == []


def test_disabling_translation_ends_every_stall() -> None:
    """6.3.9.6: terminated with an abort, tags free; nothing new stalls."""
    bench, _, client = _stalling({"STALL_MAX": 1})
    client.send()
    bench.w("CR0", 0xC)
    [(_, answer)] = client.answers
    assert isinstance(answer, Fault)
    assert answer.abort
    assert client.send()
    bench.events()
    bench.w("CR0", 0xD)
    assert not client.send()

    assert len(bench.events()) == 1


# -- the event queue


def _full_queue() -> tuple[Bench, Tree, Client]:
    bench, tree, client = _stalling()
    bench.w("CR0", 0x9)
    bench.w("EVENTQ_BASE", 0x4004_0000 | 1)
    bench.w("EVENTQ_PROD", 2)
    bench.w("EVENTQ_CONS", 0)
    bench.w("CR0", 0xD)
    return bench, tree, client


def test_stall_at_a_full_queue_is_neither_lost_nor_an_overflow() -> None:
    """7.4: stall records do not overflow; 7.2.1: it comes when there is room."""
    bench, _, client = _full_queue()
    assert not client.send()
    assert bench.r("EVENTQ_PROD") == 2
    bench.w("EVENTQ_CONS", 2)

    assert bench.r("EVENTQ_PROD") == 3
    assert _records(bench)[0]["Stall"] == 1


def test_stall_that_waits_for_room_is_retried_first() -> None:
    """7.2.1: as though it had just arrived; here the tables were repaired meanwhile."""
    bench, tree, client = _full_queue()
    client.send()
    tree.page(IOVA & ~0xFFF, PAGE_AT)
    bench.w("EVENTQ_CONS", 2)
    [(_, answer)] = client.answers

    assert isinstance(answer, Translation)
    assert bench.r("EVENTQ_PROD") == 2


def test_stall_waits_for_a_disabled_queue() -> None:
    """7.2.1: not writable while EVENTQEN is 0."""
    bench, _, client = _stalling()
    bench.w("CR0", 0x9)
    assert not client.send()
    assert bench.r("EVENTQ_PROD") == 0
    bench.w("CR0", 0xD)

    assert [record["Stall"] for record in _records(bench)] == [1]
    assert client.answers == []


def test_stall_waits_while_the_queue_has_aborted() -> None:
    """7.2.1: not writable while EVENTQ_ABT_ERR is active."""
    bench, _, client = _stalling()
    port = bench.smmu.ports["event-queue"]
    write = port.write
    port.write = lambda pa, data: False
    bench.go(0, sid=0x5000)
    port.write = write
    assert bench.r("GERROR") == 4
    assert not client.send()
    assert bench.r("EVENTQ_PROD") == 0
    bench.w("GERRORN", 4)

    assert [record["Stall"] for record in _records(bench)] == [1]


def test_waiting_stalls_of_a_stream_end_with_stall_term() -> None:
    bench, _, client = _full_queue()
    client.send()
    bench.do(cmd("STALL_TERM", StreamID=SID))
    assert len(client.answers) == 1
    bench.w("EVENTQ_CONS", 2)

    assert bench.r("EVENTQ_PROD") == 2


# -- termination


@pytest.mark.parametrize(
    ("a", "r", "aborts", "records"),
    [(1, 0, True, 0), (1, 1, True, 1), (0, 0, False, 0), (0, 1, False, 1)],
)
def test_stage_1_terminates_by_a_and_r(a: int, r: int, aborts: bool, records: int) -> None:
    """5.5: ARS 100, 110, 000 and 010."""
    bench, _ = stage1_bench(make_ids(TERM_MODEL=0), A=a, R=r)
    result = bench.go(IOVA)

    assert isinstance(result, Fault)
    assert result.abort is aborts
    assert len(bench.events()) == records


def test_stage_2_always_aborts() -> None:
    """5.5: an implied A of 1."""
    bench, first, _ = nested_bench(make_ids(TERM_MODEL=0), cd={"A": 0})
    first.page(IOVA & ~0xFFF, 0x6_0000_0000)
    result = bench.go(IOVA)

    assert isinstance(result, Fault)
    assert result.abort


def test_other_faults_ignore_a_and_r() -> None:
    """5.5: aborted walks and configuration errors abort and are recorded."""
    bench, tree = stage1_bench(make_ids(TERM_MODEL=0), A=0, R=0)
    tree.set(IOVA, 1, NOWHERE | TABLE)
    result = bench.go(IOVA)

    assert isinstance(result, Fault)
    assert result.abort
    assert len(bench.events()) == 1


@pytest.mark.parametrize("a", [0, 1])
def test_client_of_a_razwi_termination_reads_zero(a: int) -> None:
    """5.5: reads return 0, writes are dropped, the response is OK; else it is an abort."""
    bench, _ = stage1_bench(make_ids(TERM_MODEL=0), A=a)
    port = DmaPort(bench.memory, bench.smmu, SID)
    if a:
        assert port.read(IOVA, 8) is None
        assert not port.write(IOVA, b"12345678")
    else:
        assert port.read(IOVA, 8) == bytes(8)
        assert port.write(IOVA, b"12345678")


def test_afterwards_nothing_is_left() -> None:
    """Every transaction of a long story has exactly one answer."""
    bench, tree, client = _stalling({"STALL_MAX": 2})
    for number in range(6):
        client.send(IOVA + (number << 12))
    tree.page(IOVA & ~0xFFF, PAGE_AT)
    for _ in range(10):
        for record in _records(bench):
            client.resume(record["STAG"], RETRY if record["InputAddr"] == IOVA else TERMINATE)

    assert sorted(iova for iova, _ in client.answers) == [IOVA + (n << 12) for n in range(6)]
