# SPDX-License-Identifier: GPL-2.0-or-later
"""The event loop: records in words, stalled transactions, page requests."""

from __future__ import annotations

import pytest

from smmu_emu.ats import PageRequest
from smmu_emu.devices.ats_endpoint import AtsEndpoint
from smmu_emu.driver import Answer, Decision, Domain, DriverError, FaultEvent
from smmu_emu.driver.faults import PATIENCE
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.page_request import PageRequestRecord
from tests.unit.driver.rig import SID, TARGET, Rig

FULL = PRESETS["full"]
IOVA = 0x4000


def stalling(rig: Rig) -> Domain:
    """An empty domain whose faults stall, attached as `SID`."""
    domain = rig.driver.domain(stall=True)
    rig.driver.attach(SID, domain)
    return domain


def test_record_in_words() -> None:
    """Spec 7.3.13: F_TRANSLATION of a privileged read in substream 5, stalled under tag 0x1234."""
    words = (
        0x10 | 1 << 11 | 5 << 12 | 0x77 << 32,
        0x1234 | 1 << 31 | 1 << 33 | 1 << 35 | 2 << 40,
        0xFFFF_8000_1234_5678,
        0,
    )
    event = FaultEvent.decode(b"".join(word.to_bytes(8, "little") for word in words))
    assert event == FaultEvent(
        *(0x10, 0x77, 5, 0xFFFF_8000_1234_5678), False, True, True, 0x1234, None
    )
    assert event.name == "F_TRANSLATION"


def test_record_of_stage_2_in_words() -> None:
    words = (0x13 | 0x77 << 32, 1 << 39 | 2 << 40, 0x1234, 0x8000_0000_1000)
    event = FaultEvent.decode(b"".join(word.to_bytes(8, "little") for word in words))
    assert event == FaultEvent(0x13, 0x77, None, 0x1234, True, False, False, 0, 0x8000_0000_1000)


@pytest.mark.parametrize(("number", "name"), [(0x08, "C_BAD_SUBSTREAMID"), (0xE5, "0xe5")])
def test_names_of_records(number: int, name: str) -> None:
    event = FaultEvent.decode((number | 9 << 12).to_bytes(32, "little"))
    assert event.name == name
    assert event.substream_id == (9 if number == 0x08 else None)


# -- stalled transactions


def test_stalled_access_goes_on_when_its_page_is_mapped() -> None:
    rig = Rig(FULL)
    domain = stalling(rig)
    asked: list[FaultEvent] = []

    def decide(event: FaultEvent) -> Decision:
        asked.append(event)
        domain.map(event.iova & ~0xFFF, TARGET, 0x1000)
        return Decision.RETRY

    rig.driver.faults.decide = decide
    transfer = rig.machine.dma(SID).start_write(IOVA + 8, b"abcd")
    assert not transfer.done
    assert rig.driver.faults.run() == asked
    assert [(event.iova, event.write, event.stalled) for event in asked] == [(IOVA + 8, True, True)]
    assert transfer.ok
    assert rig.machine.memory.read(TARGET + 8, 4) == b"abcd"


def test_long_transfer_asks_page_after_page() -> None:
    rig = Rig(FULL)
    domain = stalling(rig)

    def decide(event: FaultEvent) -> Decision:
        page = event.iova & ~0xFFF
        domain.map(page, TARGET + page - IOVA, 0x1000)
        return Decision.RETRY

    rig.driver.faults.decide = decide
    data = bytes(range(256)) * 16 * 20
    transfer = rig.machine.dma(SID).start_write(IOVA, data)
    assert len(rig.driver.faults.run()) == 20
    assert transfer.ok
    assert rig.machine.memory.read(TARGET, len(data)) == data


@pytest.mark.parametrize(("decision", "ok"), [(Decision.ABORT, False), (Decision.IGNORE, True)])
def test_stalled_access_is_ended(decision: Decision, ok: bool) -> None:
    rig = Rig(FULL)
    stalling(rig)
    rig.driver.faults.decide = lambda event: decision
    read = rig.machine.dma(SID).start_read(IOVA, 4)
    assert len(rig.driver.faults.run()) == 1
    assert (read.done, read.ok) == (True, ok)
    assert bytes(read.data) == (bytes(4) if ok else b"")


def test_nobody_asked_means_abort() -> None:
    rig = Rig(FULL)
    stalling(rig)
    transfer = rig.machine.dma(SID).start_write(IOVA, b"x")
    rig.driver.faults.run()
    assert (transfer.done, transfer.ok) == (True, False)


def test_several_stalls_are_answered_each_in_its_way() -> None:
    rig = Rig(FULL)
    domain = stalling(rig)
    domain.map(0x10_0000, TARGET, 0x10_000)

    def decide(event: FaultEvent) -> Decision:
        if event.iova & 0x1000:
            return Decision.ABORT
        domain.map(event.iova & ~0xFFF, TARGET, 0x1000)
        return Decision.RETRY

    rig.driver.faults.decide = decide
    dma = rig.machine.dma(SID)
    transfers = [dma.start_write(IOVA + 0x1000 * i, b"x") for i in range(10)]
    assert dma.write(0x10_0000, b"y")
    assert len(rig.driver.faults.run()) == 10
    assert [transfer.ok for transfer in transfers] == [True, False] * 5


def test_retry_that_helps_nothing_ends_at_last() -> None:
    rig = Rig(FULL)
    stalling(rig)
    asked: list[FaultEvent] = []

    def decide(event: FaultEvent) -> Decision:
        asked.append(event)
        return Decision.RETRY

    rig.driver.faults.decide = decide
    transfer = rig.machine.dma(SID).start_write(IOVA, b"x")
    assert len(rig.driver.faults.run()) == PATIENCE + 1
    assert len(asked) == PATIENCE
    assert (transfer.done, transfer.ok) == (True, False)


def test_faults_that_do_not_wait_are_told_to_the_other_one() -> None:
    rig = Rig(FULL)
    stalling(rig)
    told: list[FaultEvent] = []
    rig.driver.faults.other = told.append
    assert not rig.machine.dma(SID).write(IOVA, b"x")
    assert rig.driver.faults.run() == told
    assert [(event.name, event.stalled) for event in told] == [("F_TRANSLATION", False)]


def test_detaching_ends_what_is_stalled() -> None:
    rig = Rig(FULL)
    stalling(rig)
    transfer = rig.machine.dma(SID).start_write(IOVA, b"x")
    rig.driver.detach(SID)
    assert (transfer.done, transfer.ok) == (True, False)
    assert [event.stalled for event in rig.driver.faults.run()] == [True]


def test_device_without_stalls() -> None:
    with pytest.raises(DriverError, match="stall: the device has no configurable stalls"):
        Rig().driver.domain(stall=True)


# -- dirty state


def test_dirty_pages_are_collected() -> None:
    rig = Rig(FULL)
    domain = rig.driver.domain(dirty=True)
    domain.map(0, TARGET & -(1 << 21), 1 << 21)
    domain.map(1 << 21, TARGET, 0x4000)
    rig.driver.attach(SID, domain)
    dma = rig.machine.dma(SID)
    everything = (0, (1 << 21) + 0x4000)
    page, block = ((1 << 21) + 0x2000, 0x1000), (0, 1 << 21)
    assert (domain.cd.HA, domain.cd.HD) == (1, 1)
    fresh = [block, *((address, 0x1000) for address in range(1 << 21, everything[1], 0x1000))]
    assert domain.collect_dirty(*everything) == fresh  # as they are mapped
    assert dma.read(page[0], 4) == bytes(4)
    assert domain.collect_dirty(*everything) == []
    assert dma.write(page[0], b"x")
    assert domain.collect_dirty(*everything) == [page]
    assert domain.collect_dirty(*everything) == []
    assert dma.write(0x12_3456, b"x")
    assert dma.write(page[0] + 8, b"x")
    assert domain.collect_dirty(*everything) == [block, page]
    assert dma.write(0x12_3456, b"x")
    assert domain.collect_dirty(*everything) == [block]
    with pytest.raises(DriverError, match="0x1000 bytes at 0x300000 are not all mapped"):
        domain.collect_dirty(0x30_0000, 0x1000)


def test_forgotten_invalidation_hides_the_next_write() -> None:
    rig = Rig(FULL)
    domain = rig.driver.domain(dirty=True)
    domain.map(IOVA, TARGET, 0x1000)
    rig.driver.attach(SID, domain)
    assert rig.machine.dma(SID).write(IOVA, b"x")
    domain.invalidate = False
    assert domain.collect_dirty(IOVA, 0x1000) == [(IOVA, 0x1000)]
    assert rig.machine.dma(SID).write(IOVA, b"x")
    assert domain.collect_dirty(IOVA, 0x1000) == []


def test_device_that_does_not_update_dirty_state() -> None:
    with pytest.raises(DriverError, match="dirty: the device does not update dirty state"):
        Rig().driver.domain(dirty=True)


# -- devices that translate for themselves


def endpoint(rig: Rig) -> AtsEndpoint:
    smmu = rig.smmu
    return AtsEndpoint(rig.machine.memory, smmu.ats, SID, rig.machine.clock)


def with_ats(rig: Rig) -> tuple[Domain, AtsEndpoint]:
    device = endpoint(rig)
    domain = rig.driver.domain()
    domain.map(IOVA, TARGET, 0x8000)
    rig.driver.attach(SID, domain, ats=True)
    return domain, device


def test_device_translates_for_itself_and_is_told_of_unmapping() -> None:
    rig = Rig(FULL)
    domain, device = with_ats(rig)
    for page in range(4):
        assert device.write(IOVA + 0x1000 * page, b"x")
    assert len(device.atc) == 4
    rig.mark()
    first = rig.driver.commands.prod
    domain.unmap(IOVA + 0x1000, 0x2000)
    assert rig.counts == {"TLBI_NH_VA": 1, "ATC_INV": 1, "SYNC": 2}
    # A CMD_SYNC is a zero once it has told of its completion.
    names = [_word(rig, index) & 0xFF for index in range(first, first + 4)]
    assert names == [0x12, 0, 0x40, 0]
    # Pages 5 and 6 lie in the 16 KiB from page 4 on: Size 2.
    assert _word(rig, first + 2) == 0x40 | SID << 32 | (0x4000 | 2) << 64
    assert not device.write(IOVA + 0x1000, b"x")
    assert device.write(IOVA + 0x3000, b"x")


def _word(rig: Rig, index: int) -> int:
    data = rig.machine.memory.read(rig.driver.commands.slot(index), 16)
    assert data is not None
    return int.from_bytes(data, "little")


def test_device_that_is_detached_or_taken_over_forgets_all() -> None:
    rig = Rig(FULL)
    domain, device = with_ats(rig)
    assert device.write(IOVA, b"x")
    rig.driver.attach(SID, domain, ats=True)
    assert len(device.atc) == 0
    assert device.write(IOVA, b"x")
    rig.driver.detach(SID)
    assert len(device.atc) == 0
    assert not device.write(IOVA, b"x")
    rig.mark()
    domain.unmap(IOVA, 0x1000)
    assert "ATC_INV" not in rig.counts


def test_device_of_a_substream_is_told_too() -> None:
    rig = Rig(FULL)
    device = endpoint(rig)
    substreams, domain = rig.driver.substreams(4), rig.driver.domain()
    domain.map(IOVA, TARGET, 0x1000)
    substreams[3] = domain
    rig.driver.attach_substreams(SID, substreams, ats=True)
    assert device.write(IOVA, b"x", substream_id=3)
    domain.unmap(IOVA, 0x1000)
    assert len(device.atc) == 0
    assert not device.write(IOVA, b"x", substream_id=3)


def test_ats_that_the_device_lacks() -> None:
    rig = Rig()
    with pytest.raises(DriverError, match="ats: the device has none"):
        rig.driver.attach(SID, rig.driver.domain(), ats=True)


def serve(rig: Rig) -> list[PageRequestRecord]:
    assert rig.driver.pages is not None
    handled = rig.driver.pages.run()
    rig.machine.clock.advance(rig.machine.clock.now + 10_000)
    return handled


def test_page_that_is_asked_for_is_mapped() -> None:
    rig = Rig(FULL)
    domain, device = with_ats(rig)
    assert rig.driver.pages is not None

    def grant(request: PageRequestRecord) -> Answer:
        domain.map(request.Address, TARGET, 0x1000)
        return Answer.SUCCESS

    rig.driver.pages.grant = grant
    transfer = device.start_write(0x40_0000, b"abc")
    assert not transfer.done
    (request,) = serve(rig)
    assert (request.Address, request.W, request.StreamID) == (0x40_0000, 1, SID)
    assert transfer.ok
    assert rig.machine.memory.read(TARGET, 3) == b"abc"


def test_page_that_is_denied() -> None:
    rig = Rig(FULL)
    _, device = with_ats(rig)
    transfer = device.start_write(0x40_0000, b"abc")
    assert len(serve(rig)) == 1
    assert (transfer.done, transfer.ok) == (True, False)
    assert device.pri_enabled


def test_group_is_answered_once_with_its_worst_answer() -> None:
    rig = Rig(FULL)
    _, device = with_ats(rig)
    assert rig.driver.pages is not None
    answers = [Answer.SUCCESS, Answer.FAILURE, Answer.SUCCESS]
    rig.driver.pages.grant = lambda request: answers.pop(0)
    device.start_write(0x40_0000, b"abc")
    for last in (False, False, True):
        device.send_page_request(PageRequest(SID, 0x50_0000, 9, read=True, last=last))
    rig.mark()
    answers.insert(0, Answer.SUCCESS)
    assert len(serve(rig)) == 4
    assert rig.counts["PRI_RESP"] == 2
    assert [(one.prg_index, one.code.name) for one in device.responses] == [
        *((0, "SUCCESS"), (9, "FAILURE"))
    ]


def test_stop_marker_is_not_answered() -> None:
    rig = Rig(FULL)
    _, device = with_ats(rig)
    device.stop_pasid(3)
    rig.mark()
    assert len(serve(rig)) == 1
    assert "PRI_RESP" not in rig.counts
