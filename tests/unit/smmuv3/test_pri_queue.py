# SPDX-License-Identifier: GPL-2.0-or-later
"""The PRI queue when it is full, disabled or aborted; automatic responses; interrupts.

Spec: IHI 0070 8.1, 8.2, 8.3, 6.3.36.
"""

from __future__ import annotations

import pytest

from smmu_emu.ats import PageResponse, ResponseCode
from tests.unit.smmuv3.ats_rig import (
    CR0_ON,
    OVFLG,
    PRIQEN,
    SIZE_LG2,
    Listener,
    acknowledge,
    ats_ids,
    listen,
    page_requests,
    pri_bench,
    request_page,
    stop_pasid,
)
from tests.unit.smmuv3.rig import NOWHERE, RAM, S1_STE, SID, Bench

MESSAGE = RAM + 0x9_0000
SIZE = 1 << SIZE_LG2
SUCCESS, FAILURE = ResponseCode.SUCCESS, ResponseCode.FAILURE


# -- 8.1: overflow


def test_full_queue_overflows_once() -> None:
    """OVFLG toggles with the first loss and stays until it is acknowledged."""
    bench, _ = pri_bench()
    for number in range(SIZE):
        request_page(bench, number, last=False)
    assert bench.r("PRIQ_PROD") == SIZE
    for number in range(3):
        request_page(bench, number, last=False)

    assert bench.r("PRIQ_PROD") == OVFLG | SIZE


def test_overflow_bars_requests_though_there_is_room() -> None:
    """Unlike the event queue, nothing enters until the acknowledge."""
    bench, _ = pri_bench()
    for number in range(SIZE + 1):
        request_page(bench, number)
    assert len(page_requests(bench)) == SIZE
    request_page(bench, 9)
    assert not page_requests(bench)
    acknowledge(bench)
    request_page(bench, 10)

    (record,) = page_requests(bench)
    assert record >> 64 & 0x1FF == 10


def test_next_overflow_toggles_back() -> None:
    bench, _ = pri_bench()
    for number in range(SIZE + 1):
        request_page(bench, number)
    acknowledge(bench)
    for number in range(SIZE):
        request_page(bench, number)
    assert bench.r("PRIQ_PROD") & OVFLG
    request_page(bench)

    assert not bench.r("PRIQ_PROD") & OVFLG


def _overflowing(**ids: int) -> tuple[Bench, Listener]:
    bench, listener = pri_bench(0, **ids)
    request_page(bench, last=False)
    request_page(bench, last=False)
    assert bench.r("PRIQ_PROD") & OVFLG
    assert not listener.responses
    return bench, listener


def test_lost_last_request_is_answered_with_success() -> None:
    """Also the one that causes the overflow; those without Last are dropped silently."""
    bench, listener = pri_bench(0)
    request_page(bench, 1, last=False)
    request_page(bench, 2)
    request_page(bench, 3, last=False)
    request_page(bench, 4)

    assert listener.responses == [PageResponse(2, SUCCESS), PageResponse(4, SUCCESS)]


@pytest.mark.parametrize(
    ("pps", "ppar", "expected"),
    [
        (0, 0, PageResponse(1, SUCCESS, None)),
        (0, 1, PageResponse(1, SUCCESS, 5)),
        (1, 0, PageResponse(1, SUCCESS, 5)),
    ],
)
def test_pasid_of_an_overflow_response(pps: int, ppar: int, expected: PageResponse) -> None:
    """STE.PPAR decides unless PPS does; an STE that aborts is valid as well."""
    bench, listener = _overflowing(PPS=pps)
    bench.ste(V=1, Config=0, PPAR=ppar)
    request_page(bench, 1, substream_id=5)

    assert listener.responses == [expected]


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize(
    ("sid", "ste", "abort", "event"),
    [
        (0x100, {}, False, 0x02),
        (SID, {}, True, 0x03),
        (SID, {"V": 0}, False, 0x04),
        (SID, {**S1_STE, "EATS": 2}, False, 0x04),
    ],
)
def test_overflow_response_without_a_valid_ste_is_a_failure(
    recording: bool, sid: int, ste: dict[str, int], abort: bool, event: int
) -> None:
    """8.1: no PASID; the event is recorded with REC_CFG_ATS only."""
    bench, _ = _overflowing(ATSRECERR=1)
    bench.w("CR0", 0)
    bench.w("CR2", 0xA if recording else 0x2)
    bench.w("CR0", CR0_ON | PRIQEN)
    listener = bench.smmu.ats.endpoints[SID]
    bench.smmu.ats.detach(SID)
    bench.smmu.ats.attach(sid, listener)
    bench.ste(**ste)
    if abort:
        bench.smmu.ports["config"].read = lambda pa, size: None
    request_page(bench, 1, stream_id=sid, substream_id=5)

    assert isinstance(listener, Listener)
    assert listener.responses == [PageResponse(1, FAILURE, None)]
    assert [record & 0xFF for record in bench.events()] == ([event] if recording else [])


def test_bad_streamid_of_an_overflow_needs_both_bits_to_be_recorded() -> None:
    """8.1: RECINVSID and REC_CFG_ATS."""
    bench, _ = _overflowing(ATSRECERR=1)
    bench.w("CR0", 0)
    bench.w("CR2", 0x8)
    bench.w("CR0", CR0_ON | PRIQEN)
    request_page(bench, 1, stream_id=0x100, substream_id=5)

    assert not bench.events()


@pytest.mark.parametrize("how", [{"pps": 1, "substream_id": 5}, {"pps": 0}])
def test_ste_is_not_looked_at_where_ppar_does_not_matter(how: dict[str, int]) -> None:
    """8.1: with PPS, and for requests without PASID."""
    bench, listener = _overflowing(PPS=how.pop("pps"))
    read = bench.watch("config")
    request_page(bench, 1, **how)

    assert listener.responses == [PageResponse(1, SUCCESS, how.get("substream_id"))]
    assert not read


def test_lost_stop_marker_is_not_answered() -> None:
    bench, listener = _overflowing(PPS=1)
    stop_pasid(bench)
    other, other_listener = _overflowing(PPS=0)
    read = other.watch("config")
    stop_pasid(other)

    assert not listener.responses
    assert not other_listener.responses
    assert not read


# -- 8.2: disabled, aborted


@pytest.mark.parametrize("cr0", [CR0_ON, CR0_ON & ~1 | PRIQEN, 0])
def test_disabled_queue_answers_every_request_with_failure(cr0: int) -> None:
    """Last or not, without PASID; SMMUEN=0 makes PRIQEN act as 0. Stop markers: nothing."""
    bench, listener = pri_bench(PPS=1)
    bench.w("CR0", cr0)
    assert bench.r("CR0ACK") == cr0
    request_page(bench, 1, last=False)
    request_page(bench, 2, substream_id=5)
    stop_pasid(bench)

    assert listener.responses == [PageResponse(1, FAILURE), PageResponse(2, FAILURE)]
    assert bench.r("PRIQ_PROD") == 0


def test_requests_do_not_depend_on_eats() -> None:
    """8.2: neither on ATSCHK nor on EATS."""
    bench, listener = pri_bench()
    bench.w("CR0", CR0_ON | PRIQEN | 0x10)
    bench.ste(V=1, Config=0)
    request_page(bench)

    assert len(page_requests(bench)) == 1
    assert not listener.responses


def test_aborted_write_is_a_global_error_and_a_failure() -> None:
    """8.2: PROD stays, there is no interrupt of the queue, later requests fail too."""
    bench, listener = pri_bench()
    port = bench.smmu.ports["pri-queue"]
    good, port.write = port.write, lambda pa, data: False
    request_page(bench, 1, last=False, substream_id=5)
    assert bench.r("GERROR") == 0x08
    assert bench.smmu.interrupts.gerror.pulses == 1
    port.write = good
    request_page(bench, 2)
    stop_pasid(bench)

    assert listener.responses == [PageResponse(1, FAILURE), PageResponse(2, FAILURE)]
    assert bench.r("PRIQ_PROD") == 0
    assert bench.smmu.interrupts.priq.pulses == 0
    bench.w("GERRORN", 0x08)
    request_page(bench, 3)
    assert len(page_requests(bench)) == 1


def test_failed_smmu_stops_using_its_queue() -> None:
    """12.3."""
    bench, listener = pri_bench()
    bench.smmu.fail()
    request_page(bench, 1)

    assert listener.responses == [PageResponse(1, FAILURE)]
    assert bench.r("PRIQ_PROD") == 0


def test_queue_where_there_is_no_memory_aborts() -> None:
    bench, listener = pri_bench()
    bench.w("CR0", CR0_ON)
    bench.w("PRIQ_BASE", NOWHERE | SIZE_LG2)
    bench.w("CR0", CR0_ON | PRIQEN)
    request_page(bench, 1)

    assert bench.r("GERROR") == 0x08
    assert listener.responses == [PageResponse(1, FAILURE)]


def test_without_pri_every_request_fails() -> None:
    bench = Bench(ats_ids(PRI=0))
    listener = listen(bench)
    request_page(bench, 1)

    assert listener.responses == [PageResponse(1, FAILURE)]


def test_response_for_nobody_goes_nowhere() -> None:
    bench, listener = pri_bench()
    bench.w("CR0", CR0_ON)
    request_page(bench, 1, stream_id=0x77)

    assert not listener.responses


# -- 6.3.36: interrupts


def test_interrupt_when_the_queue_is_no_longer_empty() -> None:
    bench, _ = pri_bench()
    line = bench.smmu.interrupts.priq
    seen: list[int] = []
    line.sink = lambda level: seen.append(bench.r("PRIQ_PROD")) if level else None
    request_page(bench, last=False)
    request_page(bench)
    assert line.pulses == 1
    page_requests(bench)
    request_page(bench)

    assert line.pulses == 2
    assert seen == [1, 3]  # the entry was visible before


def _last_only(**ids: int) -> Bench:
    bench, _ = pri_bench(1, irqs=5, **ids)
    bench.w("PRIQ_IRQ_CFG2", 1 << 31)
    bench.w("IRQ_CTRL", 7)
    return bench


def test_interrupt_for_the_last_request_only() -> None:
    """LO, on the wire: whether the queue was empty does not matter."""
    bench = _last_only()
    line = bench.smmu.interrupts.priq
    pulses = []
    for last in (False, True):
        request_page(bench, last=last)
        pulses.append(line.pulses)
    request_page(bench, last=False)  # lost
    pulses.append(line.pulses)
    request_page(bench, last=True)  # lost, and told all the same
    pulses.append(line.pulses)

    assert pulses == [0, 1, 1, 2]


def test_no_interrupt_for_what_is_discarded_otherwise() -> None:
    bench = _last_only()
    bench.w("CR0", CR0_ON)
    request_page(bench)

    assert bench.smmu.interrupts.priq.pulses == 0


def test_stop_marker_counts_as_last_for_the_interrupt() -> None:
    """6.3.36: a message with L set."""
    bench = _last_only()
    stop_pasid(bench)

    assert bench.smmu.interrupts.priq.pulses == 1


def test_no_interrupt_while_disabled() -> None:
    bench, _ = pri_bench(irqs=5)
    request_page(bench)
    bench.w("IRQ_CTRL", 7)

    assert bench.smmu.interrupts.priq.pulses == 0


def test_interrupt_as_a_message() -> None:
    bench, _ = pri_bench(irqs=5)
    bench.w("PRIQ_IRQ_CFG0", MESSAGE)
    bench.w("PRIQ_IRQ_CFG1", 0x1234_5678)
    bench.w("IRQ_CTRL", 7)
    request_page(bench)

    assert bench.memory.read(MESSAGE, 4) == b"\x78\x56\x34\x12"


def test_aborted_message_is_a_global_error() -> None:
    """6.3.19: MSI_PRIQ_ABT_ERR; the queue goes on."""
    bench, _ = pri_bench(irqs=5)
    bench.w("PRIQ_IRQ_CFG0", NOWHERE)
    bench.w("IRQ_CTRL", 7)
    request_page(bench)
    assert bench.r("GERROR") == 0x40
    request_page(bench)

    assert len(page_requests(bench)) == 2
