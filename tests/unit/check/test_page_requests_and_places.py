# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers to page requests, and where queues and the stream table lie."""

from __future__ import annotations

import pytest

from smmu_emu.devices.ats_endpoint import AtsEndpoint
from smmu_emu.smmuv3.spec.command import Opcode, PriResponse
from smmu_emu.smmuv3.spec.registers import CR0, GBPA, QUEUE_BASE
from tests.unit.check.bench import IOVA, PAGE, PAGE_PA, SID, Bench

ALL_ON, WITHOUT_EVENTS = 0x1F, 0x1B
SUCCESS, FAILURE = 2, 0


@pytest.fixture
def bench() -> Bench:
    """A device that asked for a page, and whose request was taken out of the queue."""
    bench = Bench()
    bench.driver.attach(SID, bench.domain, ats=True)
    machine = bench.machine
    endpoint = AtsEndpoint(bench.memory, bench.smmu.ats, SID, machine.clock)
    endpoint.start_write(IOVA, b"wanted")
    assert bench.driver.page_requests is not None
    assert len(bench.driver.page_requests.drain()) == 1
    return bench


def _answer(bench: Bench, group: int = 0, code: int = SUCCESS) -> None:
    made = PriResponse.make(Opcode=Opcode.PRI_RESP, StreamID=SID, PRGIndex=group, Resp=code)
    bench.driver.commands.issue(made.value)
    bench.sync()


def test_request_that_nobody_answers_is_found(bench: Bench) -> None:
    assert "for 0x1000, was never answered" in bench.found()["page-request-unanswered"].text
    assert bench.found()["page-request-unanswered"].count == 1


def test_request_that_is_answered_is_clean(bench: Bench) -> None:
    bench.domain.map(IOVA, PAGE_PA, PAGE)
    _answer(bench)
    assert bench.found() == {}


def test_second_answer_is_found(bench: Bench) -> None:
    bench.domain.map(IOVA, PAGE_PA, PAGE)
    _answer(bench)
    _answer(bench)
    assert "was answered before" in bench.found()["page-response-unexpected"].text


def test_answer_to_another_group_is_found(bench: Bench) -> None:
    _answer(bench, 7)
    assert set(bench.found()) == {"page-request-unanswered", "page-response-unexpected"}


def test_failure_answers_all_that_a_device_has_asked_for(bench: Bench) -> None:
    _answer(bench, 0, FAILURE)
    _answer(bench, 0, FAILURE)
    assert bench.found() == {}


def test_request_that_nobody_has_read_yet_is_clean() -> None:
    bench = Bench()
    bench.driver.attach(SID, bench.domain, ats=True)
    endpoint = AtsEndpoint(bench.memory, bench.smmu.ats, SID, bench.machine.clock)
    endpoint.start_write(IOVA, b"wanted")
    assert bench.found() == {}


# -- places


def _move_events(bench: Bench, address: int, size_lg2: int) -> None:
    bench.write("CR0", WITHOUT_EVENTS)
    bench.read("CR0ACK")
    bench.write("EVENTQ_BASE", QUEUE_BASE.make(ADDR=address, LOG2SIZE=size_lg2).value)
    bench.write("CR0", ALL_ON)


def test_usual_enables_are_all_on() -> None:
    assert Bench().read("CR0") == ALL_ON
    assert ALL_ON & ~CR0.mask("EVENTQEN") == WITHOUT_EVENTS


def test_queue_that_is_not_aligned_is_found() -> None:
    bench = Bench()
    place = bench.driver.structures.allocate(PAGE)
    _move_events(bench, place + 0x400, 6)
    assert f"the SMMU takes {place:#x}" in bench.found()["structure-misplaced"].text


@pytest.mark.parametrize("other", ["commands", "streams"])
def test_queue_over_another_structure_is_found(other: str) -> None:
    bench = Bench()
    place = bench.smmu.commands.queue.address(0)
    if other == "streams":
        place = bench.driver.stream_table
    _move_events(bench, place, 5)
    assert "overlaps" in bench.found()["structure-misplaced"].text


def test_queue_that_moves_to_a_good_place_is_clean() -> None:
    bench = Bench()
    _move_events(bench, bench.driver.structures.allocate(PAGE), 6)
    assert bench.found() == {}


def test_second_update_of_gbpa_before_a_look_is_found() -> None:
    bench = Bench()
    update = GBPA.make(ABORT=1, Update=1).value
    bench.write("GBPA", update)
    bench.write("GBPA", update)
    assert "before its last Update was looked at" in bench.found()["forbidden-register-write"].text


def test_second_update_of_gbpa_after_a_look_is_clean() -> None:
    bench = Bench()
    update = GBPA.make(ABORT=1, Update=1).value
    bench.write("GBPA", update)
    bench.read("GBPA")
    bench.write("GBPA", update)
    assert bench.found() == {}
