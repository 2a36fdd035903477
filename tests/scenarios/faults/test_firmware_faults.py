# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver in C under faults: what the firmware images, unchanged, find out by themselves.

Each image checks what it does, line by line; a fault has to show in the lines that are about it,
and in no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.inject import (
    EVER,
    Abort,
    Delay,
    Drop,
    Duplicate,
    Effect,
    Flip,
    Injector,
    Replace,
    Rewrite,
    SetField,
    Stuck,
)
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.testing import Events, MachineUnderTest
from tests.scenarios.faults.catalogue import promises

IMAGES = Path(__file__).resolve().parents[3] / "firmware" / "images"
LIMIT = 1_000_000
"""Instructions: no image that is used here takes half as many."""

_TESTDEV, _ENGINE = ("iommu-testdev@00:01.0",), ("dma-engine@00:01.0",)
_WANTS_MORE = {"ats": _ENGINE, "httu": _ENGINE, "msi": _TESTDEV, "substreams": _ENGINE}


class Outcome(NamedTuple):
    """How an image ended, the lines in which it says that something failed, and the events."""

    kind: ExitKind
    status: int
    failed: list[str]
    events: Events
    errors: set[str]
    injector: Injector


Run = Callable[..., Outcome]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs an image under one fault; that fault has to have fired."""
    machines: list[MachineUnderTest] = []

    def run_image(
        image: str, site: str, effect: Effect, *, limit: int = LIMIT, **aim: object
    ) -> Outcome:
        ids = PRESETS["full" if image in _WANTS_MORE else "qemu"]
        machine = MachineUnderTest.build(devices=_WANTS_MORE.get(image, _TESTDEV), smmu_ids=ids)
        machines.append(machine)
        machine.load(IMAGES / f"{image}.elf")
        injector = machine.inject(site, effect, **aim)
        result = machine.run(limit)
        machine.assert_valid()
        lines = bytes(machine.output).decode().splitlines()
        failed = [line.strip()[8:] for line in lines if line.strip().startswith("FAILED: ")]
        errors = machine.global_errors
        return Outcome(result.kind, result.status, failed, machine.events, errors, injector)

    yield run_image
    for machine in machines:
        machine.close()


@promises(
    "the access that walked is aborted with F_WALK_EABT, all others land",
    "7.3.12",
    site="walk-read",
    effect="abort",
)
def test_firmware_sees_one_access_fail_after_an_aborted_walk(run: Run) -> None:
    outcome = run("dma_pages", "walk-read", Abort(), pc="testdev_dma", nth=5)
    assert outcome.failed == ["another 4K page: iova 0x204ffc lands at 0x50009ffc"]
    assert outcome.events.names == ["F_WALK_EABT"]


@promises("in a nested stream as well", "7.3.12", site="walk-read", effect="abort")
def test_firmware_sees_one_nested_access_fail(run: Run) -> None:
    outcome = run("nested", "walk-read", Abort(), nth=7)
    assert outcome.failed == ["mapped low: iova 0x1560 lands at 0x50000560"]
    assert len(outcome.events.of("F_WALK_EABT")) == 1


@promises("a leaf that is not valid is F_TRANSLATION", "7.3.13", site="descriptor", effect="flip")
def test_firmware_sees_the_access_behind_a_damaged_leaf_fail(run: Run) -> None:
    outcome = run("dma_pages", "descriptor", Flip((0,)), stream=8, nth=3)
    assert outcome.failed == ["2M block: iova 0x40723458 lands at 0x50323458"]
    assert outcome.events.one("F_TRANSLATION").level == 2


@promises(
    "a cached STE rules until CFGI: what memory says meanwhile is not looked at",
    "3.21.3",
    site="ste",
    effect="set",
)
def test_firmware_does_not_notice_an_ste_that_changes_behind_the_cache(run: Run) -> None:
    outcome = run("dma_pages", "ste", SetField("Config", 0), stream=8, nth=3)
    assert (outcome.status, outcome.failed) == (0, [])


@promises(
    "an aborted fetch of a level-1 descriptor is F_STE_FETCH",
    "7.3.4",
    site="config-fetch",
    effect="abort",
)
def test_firmware_with_two_levels_sees_one_access_fail(run: Run) -> None:
    outcome = run("two_level", "config-fetch", Abort(), nth=1)
    assert outcome.failed == ["page by TTB0: iova 0x203040 lands at 0x50001040"]
    assert outcome.events[0].name == "F_STE_FETCH"


@promises(
    "an aborted CD is F_CD_FETCH and stops its substream for that access",
    "7.3.10",
    site="config-fetch",
    effect="abort",
)
def test_firmware_sees_one_substream_fail_once(run: Run) -> None:
    outcome = run("substreams", "config-fetch", Abort(), nth=4)
    assert outcome.failed == ["substream 5: a write to 0x20300000 lands at 0x50006000"]
    assert outcome.events[0].name == "F_CD_FETCH"


@promises(
    "CERROR_ABT stops the queue: a driver that waits for its first CMD_SYNC does not come up",
    "7.1",
    site="command-fetch",
    effect="abort",
)
def test_firmware_does_not_come_up_when_commands_cannot_be_read(run: Run) -> None:
    outcome = run("dma_pages", "command-fetch", Abort(), opcode="SYNC")
    assert outcome.failed == ["the SMMU comes up"]
    assert outcome.errors == {"CMDQ_ERR"}


@promises(
    "without TLBI the unmapped page is still reachable, after CMD_SYNC, too",
    "16.2, 4.7.3",
    site="command-fetch",
    effect="drop",
)
def test_firmware_reaches_an_unmapped_page_when_its_tlbi_is_lost(run: Run) -> None:
    outcome = run("unmap_tlbi", "command-fetch", Drop(), opcode="TLBI_NH_VA")
    assert outcome.failed == ["after it: iova 0x20300000 is refused"]


@promises(
    "a CMD_SYNC without effect leaves a driver that polls CMDQ_CONS content",
    "4.7.3",
    site="command-fetch",
    effect="drop",
)
def test_firmware_that_polls_the_index_does_not_miss_a_sync(run: Run) -> None:
    outcome = run("unmap_tlbi", "command-fetch", Drop(), opcode="SYNC", nth=5)
    assert (outcome.status, outcome.failed) == (0, [])


@promises(
    "CERROR_ILL stops the queue, and what fills up behind it stays",
    "7.1",
    site="command-fetch",
    effect="replace",
)
def test_firmware_fills_the_queue_behind_an_illegal_command(run: Run) -> None:
    outcome = run("cmdq_wrap", "command-fetch", Replace(0xEE), nth=40)
    assert outcome.failed[:2] == ["each is consumed", "the queue is empty"]
    assert outcome.errors == {"CMDQ_ERR"}
    assert outcome.kind is ExitKind.MAX_INSTRUCTIONS


@promises(
    "a doorbell that is lost leaves its commands waiting: a driver without timeout hangs",
    "4.1.2",
    site="clock",
    effect="drop",
)
def test_firmware_hangs_when_its_doorbell_is_lost(run: Run) -> None:
    outcome = run("cmdq_wrap", "clock", Drop(), action="doorbell", nth=7)
    assert outcome.kind is ExitKind.MAX_INSTRUCTIONS
    assert outcome.errors == set()


@promises(
    "a read index that never moves looks like a full queue: the driver hangs, the SMMU is done",
    "3.5.1",
    site="register-read",
    effect="stuck",
)
def test_firmware_hangs_at_a_read_index_that_never_moves(run: Run) -> None:
    outcome = run("cmdq_wrap", "register-read", Stuck(0), register="CMDQ_CONS")
    assert outcome.kind is ExitKind.MAX_INSTRUCTIONS
    assert outcome.injector.smmu.commands.queue.empty


@promises(
    "a lost update of CR0 never shows in CR0ACK: the driver says so",
    "6.3.9",
    site="register-write",
    effect="drop",
)
def test_firmware_does_not_come_up_when_cr0_is_lost(run: Run) -> None:
    outcome = run("dma_pages", "register-write", Drop(), register="CR0", nth=2, limit=20_000_000)
    assert outcome.failed == ["the SMMU comes up"]


@promises(
    "a register access that aborts is a synchronous external abort of the core",
    "6.2",
    site="register-read",
    effect="abort",
)
def test_firmware_takes_an_exception_when_a_register_aborts(run: Run) -> None:
    outcome = run("dma_pages", "register-read", Abort(), register="IDR0")
    assert (outcome.kind, outcome.status) == (ExitKind.EXIT, 99)


@promises(
    "EVENTQ_ABT_ERR, and no record until it is acknowledged; every access is refused all the same",
    "7.2.2",
    site="event-write",
    effect="abort",
)
def test_firmware_misses_all_records_after_an_aborted_one(run: Run) -> None:
    outcome = run("faults", "event-write", Abort(), nth=2)
    assert outcome.failed[0] == "no table at level 1"
    assert len(outcome.failed) == 23
    assert outcome.errors == {"EVENTQ_ABT_ERR"}
    assert len(outcome.events) == 1


@pytest.mark.parametrize("effect", [Drop(), Flip((2,))])
@promises(
    "one record that is lost or damaged concerns its fault alone",
    "7.3",
    site="event-write",
    effect="drop",
)
def test_firmware_misses_one_record(run: Run, effect: Effect) -> None:
    outcome = run("faults", "event-write", effect, nth=2)
    assert outcome.failed == ["no table at level 1"]


@promises(
    "a record that is there twice takes the slot of another",
    "7.2",
    site="event-write",
    effect="duplicate",
)
def test_firmware_sees_records_shifted_by_one_that_came_twice(run: Run) -> None:
    outcome = run("evtq_overflow", "event-write", Duplicate(), nth=1)
    assert outcome.failed[0] == "and nothing is signalled"
    assert outcome.failed[1:] == [f"the record of fault {n} is the next" for n in (1, 2, 3)]


@promises(
    "an interrupt is not repeated: a core that sleeps until it comes sleeps for ever",
    "3.18",
    site="interrupt",
    effect="drop",
)
@pytest.mark.parametrize("line", ["eventq", "gerror"])
def test_firmware_sleeps_for_ever_when_its_interrupt_is_lost(run: Run, line: str) -> None:
    outcome = run("irq_faults", "interrupt", Drop(), line=line)
    assert outcome.kind is ExitKind.DEADLOCK
    assert outcome.errors == ({"CMDQ_ERR"} if line == "gerror" else set())


@pytest.mark.parametrize("effect", [Duplicate(), Delay(3_000_000)])
@promises(
    "an interrupt that is late, or comes twice, is handled like any other",
    "3.18",
    site="interrupt",
    effect="delay",
)
def test_firmware_copes_with_late_and_repeated_interrupts(run: Run, effect: Effect) -> None:
    outcome = run("irq_faults", "interrupt", effect, line="eventq")
    assert (outcome.status, outcome.failed) == (0, [])


@promises("a message that is lost is not sent again", "3.18", site="msi-write", effect="drop")
def test_firmware_misses_a_message_that_is_lost(run: Run) -> None:
    outcome = run("msi", "msi-write", Drop(), nth=1)
    assert outcome.failed == ["a fault, the queue was empty: 0x00000000"]
    assert outcome.errors == set()


@promises(
    "an aborted message is a global error of its own", "7.5", site="msi-write", effect="abort"
)
def test_firmware_meets_a_second_error_after_an_aborted_message(run: Run) -> None:
    outcome = run("msi", "msi-write", Abort(), nth=1)
    assert outcome.failed[0] == "a fault, the queue was empty: 0x00000000"
    assert "CMDQ_ERR is active" in outcome.failed


@promises(
    "an update that aborts ends the access with F_WALK_EABT and leaves the descriptor",
    "3.13",
    site="walk-write",
    effect="abort",
)
def test_firmware_sees_an_aborted_update_of_a_descriptor(run: Run) -> None:
    outcome = run("httu", "walk-write", Abort(), nth=1)
    assert outcome.failed[0] == "a page: a read of 0x20300000 finds what is at 0x50003000"
    assert outcome.failed[1] == "the page that was read: not accessed, dirty"
    assert outcome.events[0].name == "F_WALK_EABT"


@promises(
    "none: the page was accessed, and its descriptor does not say so",
    "none",
    site="walk-write",
    effect="drop",
)
def test_firmware_sees_an_update_that_never_arrived(run: Run) -> None:
    outcome = run("httu", "walk-write", Drop(), nth=1)
    assert outcome.failed == ["the page that was read: not accessed, dirty"]


@pytest.mark.parametrize("effect", [Flip((0,)), Drop()])
@promises(
    "none: the SMMU does not look at data. The device that reads them back does",
    "none",
    site="dma-write",
    effect="flip",
)
def test_firmware_finds_data_that_changed_or_never_came(run: Run, effect: Effect) -> None:
    outcome = run("dma_pages", "dma-write", effect, stream=8, nth=3)
    assert outcome.failed == ["2M block: iova 0x40723458 lands at 0x50323458"]
    assert outcome.events == []


@promises(
    "a StreamID that leads to no valid STE is aborted",
    "7.3.3, 7.3.5",
    site="transaction",
    effect="rewrite",
)
def test_firmware_sees_a_transaction_with_a_wrong_stream_fail(run: Run) -> None:
    outcome = run("dma_pages", "transaction", Rewrite(stream=0x30), stream=8, nth=3)
    assert outcome.failed == ["2M block: iova 0x40723458 lands at 0x50323458"]


@promises(
    "an SMMU may forget: firmware that relies on stale entries is wrong",
    "16.2",
    site="tlb-entry",
    effect="drop",
)
def test_firmware_that_relies_on_stale_entries_notices_a_lost_one(run: Run) -> None:
    outcome = run("unmap_tlbi", "tlb-entry", Drop(), nth=3)
    assert outcome.failed == ["unmapped, nothing invalidated: iova 0x20300000 lands at 0x50001000"]


@promises("none: a damaged cached address is used", "12.1", site="tlb-entry", effect="flip")
def test_firmware_finds_its_data_elsewhere_after_a_damaged_entry(run: Run) -> None:
    outcome = run("unmap_tlbi", "tlb-entry", Flip((13,)), nth=2)
    assert outcome.failed == ["unmapped, nothing invalidated: iova 0x20300000 lands at 0x50001000"]


@promises(
    "an endpoint that never answers keeps CMD_SYNC waiting for a minute",
    "4.5.1",
    site="ats-invalidate",
    effect="drop",
)
def test_firmware_waits_for_an_endpoint_that_never_answers(run: Run) -> None:
    outcome = run("ats", "ats-invalidate", Drop(), nth=1)
    assert outcome.kind is ExitKind.MAX_INSTRUCTIONS
    assert outcome.injector.smmu.ats.invalidations.waiting


@promises(
    "a page request that cannot be written is answered with a failure; PRIQ_ABT_ERR",
    "8.2",
    site="pri-write",
    effect="abort",
)
def test_firmware_serves_no_page_request_that_could_not_be_written(run: Run) -> None:
    outcome = run("ats", "pri-write", Abort(), nth=1)
    assert "a page request is there" in outcome.failed
    assert outcome.errors == {"PRIQ_ABT_ERR"}


@promises(
    "none: with ATS the SMMU believes Translated addresses",
    "3.9.1",
    site="ats-translated",
    effect="flip",
)
def test_firmware_finds_data_of_a_changed_translated_address_missing(run: Run) -> None:
    outcome = run("ats", "ats-translated", Flip((16,)), nth=1)
    assert outcome.failed == ["the first access: a write to 0x20300000 lands at 0x50000000"]


@promises(
    "repeated invalidations, configuration or TLB, are without effect",
    "4.3, 4.4",
    site="command-fetch",
    effect="duplicate",
)
@pytest.mark.parametrize("image", ["dma_pages", "unmap_tlbi", "hitless", "two_level"])
def test_firmware_does_not_notice_commands_that_come_twice(run: Run, image: str) -> None:
    outcome = run(image, "command-fetch", Duplicate(), times=EVER, opcode="CFGI_STE")
    assert (outcome.status, outcome.failed) == (0, [])
