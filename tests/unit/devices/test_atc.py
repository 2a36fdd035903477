# SPDX-License-Identifier: GPL-2.0-or-later
"""An endpoint with an ATC on an SMMUv3: well behaved, slow, deaf, lying and greedy.

Spec: IHI 0070 3.9.1, 4.5, 8, 13.7.
"""

from __future__ import annotations

from typing import Any

import pytest

from smmu_emu.ats import Completion, Invalidation, PageRequest, PageResponse, ResponseCode, Status
from smmu_emu.devices.atc import Access, Atc, Cached
from smmu_emu.devices.ats_endpoint import AtsEndpoint, Reply
from smmu_emu.smmuv3 import Delays
from tests.unit.smmuv3.ats_rig import (
    ATSCHK,
    CR0_ON,
    FULL,
    IOVA,
    PASID,
    PRI_QUEUE,
    PRIQEN,
    SPLIT,
    ats_ids,
    page_requests,
    pasid_bench,
    pri_bench,
    request_page,
)
from tests.unit.smmuv3.rig import (
    AF,
    NG,
    PLAIN_CD,
    RAM,
    READ_ONLY,
    RW,
    S1_STE,
    S2_READ,
    S2_RW,
    S2_WB,
    SID,
    SYNC,
    Bench,
    Tree,
    cmd,
    nested_bench,
)

PAGE_PA = RAM + 0x80_0000
OTHER_PA = RAM + 0x90_0000
TIMEOUT = 1_000_000
RETRY = 1000
SUCCESS, INVALID, FAILURE = ResponseCode.SUCCESS, ResponseCode.INVALID_REQUEST, ResponseCode.FAILURE


def _endpoint(bench: Bench, **how: Any) -> AtsEndpoint:
    smmu = bench.smmu
    return AtsEndpoint(bench.memory, smmu.ats, SID, smmu.clock, translator=smmu, **how)


def _bench(**how: Any) -> tuple[Bench, Tree, AtsEndpoint]:
    """Stage 1, ATSCHK, a PRI queue of 256, and an endpoint."""
    bench = Bench(ats_ids(), delays=Delays(invalidation_timeout=TIMEOUT))
    tree = Tree(bench)
    bench.ste(**S1_STE, EATS=FULL)
    bench.cd(**PLAIN_CD, TTB0=tree.root)
    bench.w("PRIQ_BASE", PRI_QUEUE | 8)
    bench.w("CR0", CR0_ON | ATSCHK | PRIQEN)
    return bench, tree, _endpoint(bench, **how)


def _fill(bench: Bench, pa: int, data: bytes) -> None:
    assert bench.memory.write(pa, data)


def _later(bench: Bench) -> None:
    bench.smmu.clock.advance(bench.smmu.clock.now + RETRY)


# -- the cache alone


def _cached(base: int, size_lg2: int = 12, **granted: bool) -> Cached:
    completion = Completion(Status.SUCCESS, 0x1000, size_lg2, **(granted or {"read": True}))
    return Cached(base, size_lg2, 0x1000, completion)


@pytest.mark.parametrize(
    ("completion", "access", "permitted"),
    [
        ({"read": True}, Access(), True),
        ({"read": True}, Access(write=True), False),
        ({"write": True}, Access(write=True), True),
        ({"write": True}, Access(), False),
        ({"read": True}, Access(execute=True), False),
        ({"read": True, "execute": True}, Access(execute=True), True),
    ],
)
def test_rights_bind_the_endpoint(
    completion: dict[str, bool], access: Access, permitted: bool
) -> None:
    assert _cached(0, **completion).permits(access) == permitted


def test_translations_belong_to_a_pasid_and_a_privilege() -> None:
    """13.7: privileged and unprivileged rights say nothing about each other."""
    atc = Atc(8)
    atc.insert(Access(substream_id=1), _cached(0x5000))

    assert atc.find(Access(substream_id=1), 0x5FFF) is not None
    assert atc.find(Access(substream_id=1, write=True), 0x5FFF) is not None
    for other in (Access(), Access(substream_id=2), Access(substream_id=1, privileged=True)):
        assert atc.find(other, 0x5000) is None
    assert atc.find(Access(substream_id=1), 0x6000) is None


def test_oldest_translation_makes_room() -> None:
    atc = Atc(2)
    for base in (0x1000, 0x2000, 0x1000, 0x3000):
        atc.insert(Access(), _cached(base))

    assert [atc.find(Access(), base) is None for base in (0x1000, 0x2000, 0x3000)] == [
        *(False, True, False)
    ]
    assert len(atc) == 2


@pytest.mark.parametrize(
    ("request_", "left"),
    [
        (Invalidation(0, 64), []),
        (Invalidation(0x5000, 12), ["none", "large"]),
        (Invalidation(0x5000, 12, 1), ["2", "none", "large"]),
        (Invalidation(0x5000, 12, 1, every_pasid=True), ["none", "large"]),
        (Invalidation(0x40_0000, 12), ["1", "2", "none"]),
        (Invalidation(0x40_0000, 12, 1), ["1", "2", "none"]),
        (Invalidation(0x8000, 15), ["1", "2", "large"]),
        (Invalidation(0x8000, 15, 1), ["1", "2", "none", "large"]),
        (Invalidation(0, 63, 2), ["1", "none", "large"]),
    ],
)
def test_invalidation_reaches_what_it_names(request_: Invalidation, left: list[str]) -> None:
    """4.5.1: a translation with one byte in the span goes; without PASID every PASID's."""
    atc = Atc(8)
    entries = {
        "1": (Access(substream_id=1), _cached(0x5000)),
        "2": (Access(substream_id=2, privileged=True), _cached(0x5000)),
        "none": (Access(), _cached(0x9000)),
        "large": (Access(substream_id=1), _cached(0x40_0000, 21)),
    }
    for access, entry in entries.values():
        atc.insert(access, entry)
    dropped = atc.drop(request_)

    found = [name for name, (access, entry) in entries.items() if atc.find(access, entry.base)]
    assert found == left
    assert dropped == len(entries) - len(left) == 4 - len(atc)


# -- transfers


def test_transfer_asks_once_for_each_page_and_then_uses_its_cache() -> None:
    bench, tree, endpoint = _bench()
    tree.page(IOVA, PAGE_PA)
    tree.page(IOVA + 0x1000, OTHER_PA)
    data = bytes(range(256)) * 16
    assert endpoint.write(IOVA + 0x800, data)
    assert endpoint.read(IOVA + 0x800, 0x1000) == data

    assert bench.memory.read(PAGE_PA + 0x800, 0x800) == data[:0x800]
    assert bench.memory.read(OTHER_PA, 0x800) == data[0x800:]
    assert (endpoint.requests, endpoint.hits, endpoint.transactions) == (2, 2, 4)
    assert bench.smmu.path.hits == bench.smmu.path.misses == 0


def test_block_is_asked_for_once() -> None:
    bench, tree, endpoint = _bench()
    tree.set(0x20_0000, 2, RAM + 0x200_0000 | RW | 1)
    assert endpoint.write(0x20_0000, bytes(8 * 0x1000))

    assert (endpoint.requests, endpoint.transactions) == (1, 8)
    assert not bench.events()


def test_read_right_is_not_a_write_right() -> None:
    """A request with NW=1 is followed by one with NW=0 for the first write."""
    _, tree, endpoint = _bench()
    tree.page(IOVA, PAGE_PA, RW | READ_ONLY)
    assert endpoint.read(IOVA, 4) == bytes(4)
    assert not endpoint.write(IOVA, b"data")

    assert endpoint.requests == 2
    assert endpoint.last_completion == Completion(Status.SUCCESS, PAGE_PA, 12, read=True)


def test_pasid_selects_the_tables_and_privilege_the_rights() -> None:
    bench, tree = pasid_bench()
    endpoint = _endpoint(bench)
    tree.page(IOVA, PAGE_PA, AF | NG | READ_ONLY)
    _fill(bench, PAGE_PA, b"code")

    assert endpoint.read(IOVA, 4, substream_id=PASID) is None
    how = {"substream_id": PASID, "privileged": True}
    assert endpoint.read(IOVA, 4, **how) == b"code"
    assert endpoint.read(IOVA, 4, execute=True, **how) == b"code"
    assert not endpoint.write(IOVA, b"data", **how)


def test_execute_and_privileged_cannot_be_said_without_pasid() -> None:
    _, tree, endpoint = _bench()
    tree.page(IOVA, PAGE_PA)

    assert endpoint.read(IOVA, 4, privileged=True, execute=True) == bytes(4)
    assert endpoint.read(IOVA, 4) == bytes(4)
    assert endpoint.requests == 1


def test_transfer_ends_where_there_is_no_translation() -> None:
    bench, tree, endpoint = _bench()
    tree.page(IOVA, PAGE_PA)

    assert not endpoint.write(IOVA + 0xF00, bytes(0x200))
    assert endpoint.read(IOVA + 0xF00, 0x200) is None
    assert endpoint.last_completion == Completion(Status.SUCCESS, size_lg2=12)
    assert not page_requests(bench)  # it did not want to wait


def test_refusal_and_abort_end_a_transfer() -> None:
    bench, _, endpoint = _bench()
    bench.ste(**S1_STE, EATS=0)
    assert not endpoint.start_read(IOVA, 4).ok
    assert endpoint.last_completion == Completion(Status.UNSUPPORTED)
    bench.do(cmd("CFGI_STE", StreamID=SID))
    bench.ste(V=0)
    bench.events()
    transfer = endpoint.start_read(IOVA, 4)

    assert (transfer.done, transfer.ok) == (True, False)
    assert not page_requests(bench)


def test_translated_transactions_are_checked_by_the_smmu() -> None:
    """An ATC that outlives STE.EATS is stopped by ATSCHK."""
    bench, tree, endpoint = _bench()
    tree.page(IOVA, PAGE_PA)
    assert endpoint.write(IOVA, b"good")
    bench.ste(**S1_STE, EATS=0)
    bench.do(cmd("CFGI_STE", StreamID=SID))

    assert not endpoint.write(IOVA, b"evil")
    assert endpoint.last_fault is not None
    assert endpoint.last_fault.code == 0x07
    assert bench.memory.read(PAGE_PA, 4) == b"good"


def test_split_stage_endpoint_holds_intermediate_addresses() -> None:
    """13.6.3: stage 2 can withdraw what the ATC still has."""
    bench, first, second = nested_bench(ats_ids(), ste={"EATS": SPLIT})
    bench.w("CR0", CR0_ON | ATSCHK)
    endpoint = _endpoint(bench)
    first.page(IOVA, 0x2_0000_0000)
    second.page(0x2_0000_0000, PAGE_PA, S2_RW)
    assert endpoint.write(IOVA, b"data")
    assert bench.memory.read(PAGE_PA, 4) == b"data"
    second.page(0x2_0000_0000, PAGE_PA, S2_READ | S2_WB | AF)
    bench.do(cmd("TLBI_S12_VMALL", VMID=7))

    assert not endpoint.write(IOVA, b"more")
    assert endpoint.read(IOVA, 4) == b"data"


def test_untranslated_transfers_go_through_the_smmu() -> None:
    bench, tree, endpoint = _bench()
    endpoint.ats_enabled = False
    tree.page(IOVA, PAGE_PA)
    assert endpoint.write(IOVA, b"data")
    assert not endpoint.start_write(IOVA + 0x1000, b"data").ok

    assert bench.memory.read(PAGE_PA, 4) == b"data"
    assert endpoint.requests == 0
    assert [record & 0xFF for record in bench.events()] == [0x10]


def test_memory_that_is_not_there_ends_a_transfer() -> None:
    _, tree, endpoint = _bench()
    tree.page(IOVA, 0x20_0000_0000)

    assert endpoint.read(IOVA, 4) is None
    assert not endpoint.write(IOVA, b"data")


def test_reset_forgets() -> None:
    _, tree, endpoint = _bench()
    tree.page(IOVA, PAGE_PA)
    endpoint.read(IOVA, 4)
    endpoint.reset()

    assert len(endpoint.atc) == endpoint.requests == endpoint.transactions == 0


# -- invalidation


def _remap(bench: Bench, tree: Tree) -> None:
    """What a driver does to move a page: tables, TLB, then the ATC (4.5.1)."""
    tree.page(IOVA, OTHER_PA)
    bench.push(cmd("TLBI_NH_ALL"), SYNC)
    bench.push(cmd("ATC_INV", StreamID=SID, Address=IOVA), SYNC)


def test_invalidated_page_is_not_touched_again() -> None:
    bench, tree, endpoint = _bench()
    tree.page(IOVA, PAGE_PA)
    endpoint.write(IOVA, b"old!")
    _remap(bench, tree)
    assert bench.r("CMDQ_CONS") == 4
    endpoint.write(IOVA, b"new!")

    assert bench.memory.read(PAGE_PA, 4) == b"old!"
    assert bench.memory.read(OTHER_PA, 4) == b"new!"


def test_invalidation_without_tlbi_is_in_vain() -> None:
    """3.9.1: the SMMU's own TLB gives the old translation again."""
    bench, tree, endpoint = _bench()
    tree.page(IOVA, PAGE_PA)
    endpoint.write(IOVA, b"old!")
    tree.page(IOVA, OTHER_PA)
    bench.do(cmd("ATC_INV", StreamID=SID, Address=IOVA))
    endpoint.write(IOVA, b"new!")

    assert endpoint.requests == 2
    assert bench.memory.read(PAGE_PA, 4) == b"new!"


def test_slow_endpoint_holds_the_sync_and_its_translation() -> None:
    bench, tree, endpoint = _bench()
    endpoint.conduct.reply_delay = 500
    tree.page(IOVA, PAGE_PA)
    endpoint.write(IOVA, b"old!")
    _remap(bench, tree)
    assert bench.r("CMDQ_CONS") == 3
    assert endpoint.write(IOVA, b"late")
    bench.smmu.clock.advance(500)

    assert bench.r("CMDQ_CONS") == 4
    assert len(endpoint.atc) == 0
    assert bench.memory.read(PAGE_PA, 4) == b"late"


def test_silent_endpoint_fails_the_sync() -> None:
    bench, tree, endpoint = _bench()
    endpoint.conduct.reply = Reply.SILENCE
    tree.page(IOVA, PAGE_PA)
    endpoint.write(IOVA, b"old!")
    _remap(bench, tree)
    bench.smmu.clock.advance(TIMEOUT)

    assert bench.command_error == 3
    assert len(endpoint.atc) == 1


def test_refusing_endpoint_keeps_its_translations_and_lets_the_sync_pass() -> None:
    """3.9.1.5: UR completes without error."""
    bench, tree, endpoint = _bench()
    endpoint.conduct.reply = Reply.REFUSE
    tree.page(IOVA, PAGE_PA)
    endpoint.write(IOVA, b"old!")
    _remap(bench, tree)

    assert bench.r("CMDQ_CONS") == 4
    assert bench.command_error is None
    assert len(endpoint.atc) == 1


def test_pasid_that_the_endpoint_does_not_know_is_refused() -> None:
    bench, _, endpoint = _bench(pasid_bits=4)
    bench.do(cmd("ATC_INV", StreamID=SID, SSV=1, SubstreamID=0x10, Size=52))
    assert bench.smmu.ats.invalidations.unsupported == 1
    bench.do(cmd("ATC_INV", StreamID=SID, SSV=1, SubstreamID=0xF, Size=52))

    assert bench.smmu.ats.invalidations.unsupported == 1
    assert endpoint.invalidations == 2


def test_lying_endpoint_reaches_memory_that_was_taken_from_it() -> None:
    """What ATSCHK cannot stop with full ATS, and why split-stage ATS exists."""
    bench, tree, endpoint = _bench()
    endpoint.conduct.keeps_invalidated = True
    tree.page(IOVA, PAGE_PA)
    endpoint.write(IOVA, b"old!")
    _remap(bench, tree)
    assert bench.r("CMDQ_CONS") == 4
    endpoint.write(IOVA, b"evil")

    assert bench.memory.read(PAGE_PA, 4) == b"evil"


def test_endpoint_that_ignores_rights_writes_what_it_may_read() -> None:
    bench, tree, endpoint = _bench()
    endpoint.conduct.ignores_rights = True
    tree.page(IOVA, PAGE_PA, RW | READ_ONLY)

    assert endpoint.write(IOVA, b"evil")
    assert bench.memory.read(PAGE_PA, 4) == b"evil"


@pytest.mark.parametrize(("cr0", "eats", "passes"), [(0, 0, True), (ATSCHK, 0, False)])
def test_forged_translated_transaction(cr0: int, eats: int, passes: bool) -> None:
    """3.9.1: without ATSCHK any endpoint reaches any address."""
    bench, _, endpoint = _bench()
    bench.w("CR0", CR0_ON | cr0)
    bench.ste(**S1_STE, EATS=eats)
    _fill(bench, PAGE_PA, b"secret")

    assert endpoint.send_translated(PAGE_PA, size=6) == (b"secret" if passes else None)
    assert endpoint.send_translated(PAGE_PA, b"forged") == (b"forged" if passes else None)
    assert bench.memory.read(PAGE_PA, 6) == (b"forged" if passes else b"secret")


# -- page requests


def _respond(bench: Bench, index: int, resp: int) -> None:
    bench.do(cmd("PRI_RESP", StreamID=SID, PRGIndex=index, Resp=resp))


def test_transfer_waits_for_its_page() -> None:
    """TR, page request, mapping, PRI_RESP, TR again: and the data arrive."""
    bench, tree, endpoint = _bench()
    ended = []
    transfer = endpoint.start_write(IOVA + 0x10, b"data")
    transfer.on_done = ended.append
    assert page_requests(bench) == [0x5000_6000_0000_0000_0008]
    tree.page(IOVA, PAGE_PA)
    _respond(bench, 0, 2)
    assert not transfer.done
    _later(bench)

    assert transfer.ok
    assert ended == [transfer]
    assert bench.memory.read(PAGE_PA + 0x10, 4) == b"data"
    assert not bench.events()


def test_transfer_waits_page_by_page() -> None:
    bench, tree, endpoint = _bench()
    _fill(bench, PAGE_PA, b"x" * 0x1000)
    transfer = endpoint.start_read(IOVA, 0x2000)
    for page in (IOVA, IOVA + 0x1000):
        (record,) = page_requests(bench)
        assert record >> 64 == page
        tree.page(page, PAGE_PA)
        _respond(bench, 0, 2)
        _later(bench)

    assert transfer.ok
    assert transfer.data == b"x" * 0x2000


def test_record_says_what_the_transfer_wants() -> None:
    bench, _ = pasid_bench()
    bench.w("PRIQ_BASE", PRI_QUEUE | 8)
    bench.w("CR0", CR0_ON | PRIQEN)
    endpoint = _endpoint(bench)
    endpoint.start_read(IOVA, 4, substream_id=PASID, privileged=True, execute=True)
    endpoint.start_write(IOVA + 0x1000, b"data", substream_id=PASID)

    assert page_requests(bench) == [
        0x5000_DC00_0005_0000_0008,
        0x6001_E000_0005_0000_0008,
    ]


@pytest.mark.parametrize(("resp", "enabled"), [(0, False), (1, True)])
def test_negative_response_ends_the_transfer(resp: int, enabled: bool) -> None:
    """8.3: InvalidRequest concerns the group, ResponseFailure the whole interface."""
    bench, _, endpoint = _bench()
    transfer = endpoint.start_read(IOVA, 4)
    _respond(bench, 0, resp)
    _later(bench)

    assert (transfer.done, transfer.ok) == (True, False)
    assert endpoint.pri_enabled == enabled
    page_requests(bench)
    again = endpoint.start_read(IOVA, 4)
    assert again.done == (not enabled)
    assert len(page_requests(bench)) == enabled


def test_transfer_gives_up_if_the_page_never_comes() -> None:
    """Success without a mapping: the device asks again, and not for ever."""
    bench, _, endpoint = _bench()
    transfer = endpoint.start_read(IOVA, 4)
    asked = 0
    while not transfer.done:
        asked += len(page_requests(bench))
        _respond(bench, 0, 2)
        _later(bench)

    assert not transfer.ok
    assert asked == transfer.ATTEMPTS


def test_overflow_is_survived_by_trying_again() -> None:
    """8.1: the automatic Success makes the endpoint try ATS, fail, and ask again."""
    bench, tree, endpoint = _bench()
    bench.w("CR0", CR0_ON)
    bench.w("PRIQ_BASE", PRI_QUEUE)  # one entry
    bench.w("CR0", CR0_ON | PRIQEN)
    request_page(bench, 511, stream_id=1)
    transfer = endpoint.start_read(IOVA, 4)
    assert endpoint.responses == [PageResponse(0, SUCCESS)]
    bench.w("PRIQ_CONS", bench.r("PRIQ_PROD"))
    _later(bench)
    assert not transfer.done
    assert len(page_requests(bench)) == 1
    tree.page(IOVA, PAGE_PA)
    _respond(bench, 0, 2)
    _later(bench)

    assert transfer.ok


def test_disabled_queue_switches_page_requests_off() -> None:
    bench, _, endpoint = _bench()
    bench.w("CR0", CR0_ON | ATSCHK)
    transfer = endpoint.start_read(IOVA, 4)
    _later(bench)

    assert (transfer.done, transfer.ok, endpoint.pri_enabled) == (True, False, False)


def test_credits_bound_what_is_outstanding() -> None:
    """The third transfer asks when the first is answered."""
    bench, tree, endpoint = _bench(credits=2)
    transfers = [endpoint.start_read(IOVA + 0x1000 * number, 4) for number in range(3)]
    assert len(page_requests(bench)) == 2
    tree.page(IOVA, PAGE_PA)
    _respond(bench, 0, 2)
    _later(bench)
    (record,) = page_requests(bench)

    assert transfers[0].ok
    assert record >> 64 == IOVA + 0x2000
    assert endpoint.request_page(0x9000, Access()) is None


def test_greedy_endpoint_overflows_the_queue() -> None:
    bench, _, endpoint = _bench(credits=2)
    bench.w("CR0", CR0_ON)
    bench.w("PRIQ_BASE", PRI_QUEUE | 1)
    bench.w("CR0", CR0_ON | PRIQEN)
    endpoint.conduct.ignores_credits = True
    for number in range(4):
        endpoint.request_page(0x1000 * number, Access())

    assert bench.r("PRIQ_PROD") == 1 << 31 | 2
    assert endpoint.responses == [PageResponse(2, SUCCESS), PageResponse(2, SUCCESS)]


def test_group_of_several_pages_is_answered_once() -> None:
    bench, _, endpoint = _bench()
    index = endpoint.request_page(0x5000, Access(), last=False)
    assert index == 0
    endpoint.send_page_request(PageRequest(SID, 0x6000, index, read=True, last=True))
    records = page_requests(bench)
    _respond(bench, index, 1)

    assert [record >> 62 & 1 for record in records] == [0, 1]
    assert endpoint.responses == [PageResponse(0, INVALID)]
    assert endpoint.request_page(0x5000, Access()) == 0


def test_stop_marker_is_queued_without_an_answer() -> None:
    bench, _, endpoint = _bench()
    endpoint.stop_pasid(PASID)

    assert page_requests(bench) == [0xC000_0005_0000_0008]
    assert not endpoint.responses


def test_response_that_nobody_awaits_is_counted() -> None:
    bench, _, endpoint = _bench()
    _respond(bench, 9, 2)

    assert endpoint.unexpected_responses == 1


def test_instant_retries_end() -> None:
    """Without any delay, automatic responses must not go round for ever."""
    bench, _ = pri_bench(0)
    bench.smmu.ats.detach(SID)
    bench.ste(**S1_STE, EATS=FULL)
    bench.cd(**PLAIN_CD, TTB0=bench.alloc(0x1000))
    endpoint = _endpoint(bench)
    endpoint.conduct.retry_delay = 0
    request_page(bench, 511, stream_id=1)
    transfer = endpoint.start_read(IOVA, 4)

    assert (transfer.done, transfer.ok) == (True, False)
    assert len(endpoint.responses) == transfer.ATTEMPTS
