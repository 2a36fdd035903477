# SPDX-License-Identifier: GPL-2.0-or-later
"""Page requests: records in the PRI queue, its registers, responses by software.

Spec: IHI 0070 8, 4.5.2, 6.3.9.5, 6.3.33 to 6.3.36, 6.3.97, 6.3.98. Overflow, automatic responses
and interrupts are in test_pri_queue.
"""

from __future__ import annotations

from typing import Any

import pytest

from smmu_emu.ats import PageRequest, PageResponse, ResponseCode
from tests.unit.smmuv3.ats_rig import (
    CR0_ON,
    OVFLG,
    PRI_QUEUE,
    PRIQEN,
    SIZE_LG2,
    ats_ids,
    page_requests,
    pri_bench,
    request_page,
)
from tests.unit.smmuv3.rig import SID, Bench, cmd, make_ids

SUCCESS, INVALID, FAILURE = ResponseCode.SUCCESS, ResponseCode.INVALID_REQUEST, ResponseCode.FAILURE
ILL = 1


# -- 8: records


def test_records_by_their_literal_words() -> None:
    bench, listener = pri_bench()
    page = {"stream_id": 0x89AB_CDEF, "address": 0x1234_5678_9ABC_DEF0}
    everything = {"write": True, "execute": True, "privileged": True}
    for request in (
        PageRequest(**page, prg_index=0x1A5, read=True, substream_id=0xAB, **everything),
        PageRequest(**page, prg_index=0x000, read=True, last=False, **everything),
        PageRequest(**page, prg_index=0x1FF, last=True),
        PageRequest(**page, prg_index=0x001, last=True, substream_id=0xFF),
    ):
        bench.smmu.ats.page_request(request)

    assert page_requests(bench) == [
        0x1234_5678_9ABC_D1A5_FC00_00AB_89AB_CDEF,
        0x1234_5678_9ABC_D000_3000_0000_89AB_CDEF,  # without PASID neither X nor Priv
        0x1234_5678_9ABC_D1FF_4000_0000_89AB_CDEF,  # a request: it has no PASID
        0x1234_5678_9ABC_D001_C000_00FF_89AB_CDEF,  # a Stop marker
    ]
    assert not listener.responses


def test_each_right_has_its_bit() -> None:
    bench, _ = pri_bench()
    request_page(bench, substream_id=0, last=False)
    request_page(bench, substream_id=0, last=False, read=False, write=True)
    request_page(bench, substream_id=0, last=False, read=False, execute=True)
    request_page(bench, substream_id=0, last=False, read=False, privileged=True)

    assert [record >> 56 & 0xFF for record in page_requests(bench)] == [0x90, 0xA0, 0x88, 0x84]


@pytest.mark.parametrize(("size", "expected"), [(8, 0x23), (20, 0xF_0123), (0, 0)])
def test_pasid_is_cut_to_the_substreams_of_the_smmu(size: int, expected: int) -> None:
    """3.9: a wider PASID may be truncated; without substreams SSV, X and Priv are 0."""
    bench, _ = pri_bench(SSIDSIZE=size)
    request_page(bench, substream_id=0xF_0123, execute=True)
    (record,) = page_requests(bench)

    assert record >> 32 & 0xF_FFFF == expected
    assert record >> 63 & 1 == record >> 59 & 1 == (size > 0)


@pytest.mark.parametrize("size_lg2", [0, 1, 3, 8])
def test_queue_wraps_at_its_size(size_lg2: int) -> None:
    bench, _ = pri_bench(size_lg2)
    for number in range(3 << size_lg2):
        request_page(bench, number % 512)
        (record,) = page_requests(bench)
        assert record >> 64 & 0x1FF == number % 512
        assert bench.r("PRIQ_PROD") == (number + 1) % (2 << size_lg2)


def test_size_is_capped_by_the_id_register() -> None:
    """6.3.33: LOG2SIZE reads as written."""
    bench, listener = pri_bench(5, PRIQS=1)
    for number in range(3):
        request_page(bench, number)

    assert bench.r("PRIQ_BASE") & 0x1F == 5
    assert bench.r("PRIQ_PROD") == OVFLG | 2
    assert len(listener.responses) == 1


def test_base_is_aligned_to_the_queue() -> None:
    """6.3.33: to its size, and to 32 bytes at least."""
    bench, _ = pri_bench()
    bench.w("CR0", CR0_ON)
    bench.w("PRIQ_BASE", PRI_QUEUE + 0x20 | SIZE_LG2)
    bench.w("CR0", CR0_ON | PRIQEN)
    request_page(bench, 7)

    assert page_requests(bench)[0] >> 64 & 0x1FF == 7


# -- registers

PRI_REGISTERS = ["PRIQ_BASE", "PRIQ_PROD", "PRIQ_CONS", "PRIQ_IRQ_CFG0", "PRIQ_IRQ_CFG1"]
PRI_REGISTERS += ["PRIQ_IRQ_CFG2"]
ONES = (1 << 64) - 1


@pytest.mark.parametrize("name", PRI_REGISTERS)
def test_registers_are_reserved_without_pri(name: str) -> None:
    """6.3.33 to 6.3.36, 6.3.97, 6.3.98."""
    bench = Bench(ats_ids(PRI=0, MSI=1), setup=False)
    bench.w(name, ONES)

    assert bench.r(name) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PRIQ_BASE", 0x4000_0FFF_FFFF_FFFF & ~0x1F | 0x1F),
        ("PRIQ_PROD", 0x800F_FFFF),
        ("PRIQ_CONS", 0x800F_FFFF),
        ("PRIQ_IRQ_CFG0", 0x0FFF_FFFF_FFFC),
        ("PRIQ_IRQ_CFG1", 0xFFFF_FFFF),
        ("PRIQ_IRQ_CFG2", 0x8000_003F),
        ("EVENTQ_IRQ_CFG2", 0x0000_003F),
        ("GERROR_IRQ_CFG2", 0x0000_003F),
        ("IRQ_CTRL", 0x7),
        ("GERRORN", 0x1FD),
        ("CR0", 0x1F),
    ],
)
def test_registers_keep_the_bits_that_exist(name: str, expected: int) -> None:
    """OAS is 44 bits; LO is in PRIQ_IRQ_CFG2 alone."""
    bench = Bench(ats_ids(MSI=1), setup=False)
    bench.w(name, ONES)

    assert bench.r(name) == expected


def test_messages_need_msi() -> None:
    """6.3.34 to 6.3.36: present only with MSI and PRI; MSI_PRIQ_ABT_ERR likewise."""
    bench = Bench(ats_ids(MSI=0), setup=False)
    for name in ("PRIQ_IRQ_CFG0", "PRIQ_IRQ_CFG1", "PRIQ_IRQ_CFG2", "GERRORN"):
        bench.w(name, ONES)

    assert [bench.r(f"PRIQ_IRQ_CFG{number}") for number in range(3)] == [0, 0, 0]
    assert bench.r("GERRORN") == 0x10D


def test_without_pri_its_enables_are_reserved() -> None:
    bench = Bench(ats_ids(PRI=0), setup=False)
    bench.w("CR0", PRIQEN)
    bench.w("IRQ_CTRL", 0x2)
    bench.w("GERRORN", 0x48)

    assert (bench.r("CR0"), bench.r("IRQ_CTRL"), bench.r("GERRORN")) == (0, 0, 0)


def test_base_and_prod_are_guarded_by_priqen_and_cons_is_not() -> None:
    """6.3.33, 6.3.97: by the field itself, also while SMMUEN is 0 (6.3.9.5)."""
    bench, _ = pri_bench()
    for cr0 in (CR0_ON | PRIQEN, PRIQEN):
        bench.w("CR0", cr0)
        bench.w("PRIQ_BASE", 0)
        bench.w("PRIQ_PROD", 3)
        bench.w("PRIQ_CONS", 5)
        assert bench.r("PRIQ_BASE") == PRI_QUEUE | SIZE_LG2
        assert (bench.r("PRIQ_PROD"), bench.r("PRIQ_CONS")) == (0, 5)
    bench.w("CR0", CR0_ON)
    bench.w("PRIQ_PROD", 3)

    assert bench.r("PRIQ_PROD") == 3


def test_message_registers_are_guarded_by_their_enable() -> None:
    bench, _ = pri_bench()
    bench.w("PRIQ_IRQ_CFG1", 0x55)
    assert bench.r("PRIQ_IRQ_CFG1") == 0
    bench.w("IRQ_CTRL", 5)
    bench.w("PRIQ_IRQ_CFG1", 0x55)

    assert bench.r("PRIQ_IRQ_CFG1") == 0x55


# -- 4.5.2: PRI_RESP


def test_response_by_its_literal_words() -> None:
    """8.3: Resp 0, 1, 2 are ResponseFailure, InvalidRequest, Success."""
    bench, listener = pri_bench()
    bench.push(0x0000_0000_0000_01A5_0000_0008_0000_0041)
    bench.push(0x0000_0000_0000_1001_0000_0008_0002_A841)
    bench.push(0x0000_0000_0000_21FF_0000_0008_0002_A041)

    assert bench.command_error is None
    assert listener.responses == [
        PageResponse(0x1A5, FAILURE),
        PageResponse(0x001, INVALID, 0x2A),
        PageResponse(0x1FF, SUCCESS),
    ]


@pytest.mark.parametrize(
    ("ids", "resp", "error"),
    [
        (ats_ids(), 2, None),
        (ats_ids(), 3, ILL),
        (ats_ids(PRI=0), 2, ILL),
        (make_ids(), 2, ILL),
    ],
)
def test_response_command_legality(ids: Any, resp: int, error: int | None) -> None:
    bench = Bench(ids)
    bench.push(cmd("PRI_RESP", StreamID=SID, Resp=resp))

    assert bench.command_error == error


def test_response_is_ignored_while_the_smmu_is_disabled() -> None:
    """4.5.2; what is illegal stays so (4.1.3)."""
    bench, listener = pri_bench()
    bench.w("CR0", CR0_ON & ~1)
    bench.do(cmd("PRI_RESP", StreamID=SID, Resp=2))
    bench.push(cmd("PRI_RESP", StreamID=SID, Resp=3))

    assert bench.command_error == ILL
    assert not listener.responses


def test_response_without_substreams_has_no_pasid() -> None:
    bench, listener = pri_bench(SSIDSIZE=0)
    bench.do(cmd("PRI_RESP", StreamID=SID, Resp=2, SSV=1, SubstreamID=7))

    assert listener.responses == [PageResponse(0, SUCCESS)]


def test_response_to_a_stream_without_endpoint_is_ignored() -> None:
    bench, listener = pri_bench()
    bench.do(cmd("PRI_RESP", StreamID=0x77, Resp=2))

    assert not listener.responses
