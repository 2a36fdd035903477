# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes with registers, queues and errors, and the right way next to each."""

from __future__ import annotations

import pytest

from smmu_emu.smmuv3.spec.command import COMMAND_SIZE, Opcode
from smmu_emu.smmuv3.spec.registers import CR0, GBPA, GERROR, IRQ_CTRL
from tests.unit.check.bench import SID, Bench

ILLEGAL = 0xFF
CMDQ_ERR, EVENTQ_ABT_ERR = GERROR.mask("CMDQ_ERR"), GERROR.mask("EVENTQ_ABT_ERR")


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- forbidden-register-write


@pytest.mark.parametrize(
    ("name", "enable"),
    [
        ("STRTAB_BASE", "SMMUEN"),
        ("STRTAB_BASE_CFG", "SMMUEN"),
        ("CR1", "SMMUEN"),
        ("CR2", "SMMUEN"),
        ("CMDQ_BASE", "CMDQEN"),
        ("CMDQ_CONS", "CMDQEN"),
        ("EVENTQ_BASE", "EVENTQEN"),
        ("EVENTQ_PROD", "EVENTQEN"),
    ],
)
def test_change_while_enabled_is_found(bench: Bench, name: str, enable: str) -> None:
    flipped = 1 << 10 if name == "CR1" else 1
    bench.write(name, bench.read(name) ^ flipped)
    finding = bench.found()["forbidden-register-write"]
    assert finding.text == f"{name} was written while CR0.{enable} was 1"


def test_message_that_changes_while_its_interrupt_is_on_is_found(bench: Bench) -> None:
    bench.write("EVENTQ_IRQ_CFG1", 7)
    finding = bench.found()["forbidden-register-write"]
    assert finding.text == "EVENTQ_IRQ_CFG1 was written while IRQ_CTRL.EVENTQ_IRQEN was 1"


def test_rewriting_the_same_value_is_clean(bench: Bench) -> None:
    bench.write("STRTAB_BASE", bench.read("STRTAB_BASE"))
    assert bench.found() == {}


def test_change_before_the_acknowledge_was_looked_at_is_found(bench: Bench) -> None:
    bench.write("CR0", bench.read("CR0") & ~CR0.mask("SMMUEN"))
    bench.write("STRTAB_BASE", bench.read("STRTAB_BASE") ^ 1 << 20)
    finding = bench.found()["forbidden-register-write"]
    assert finding.text == "STRTAB_BASE was written before CR0ACK was looked at"


def test_change_after_the_acknowledge_is_clean(bench: Bench) -> None:
    value = bench.read("CR0") & ~CR0.mask("SMMUEN")
    bench.driver.registers.update("CR0", "CR0ACK", value)
    bench.write("STRTAB_BASE", bench.read("STRTAB_BASE") ^ 1 << 20)
    assert bench.found() == {}


def test_messages_that_change_by_the_book_are_clean(bench: Bench) -> None:
    enables = bench.read("IRQ_CTRL")
    off = enables & ~IRQ_CTRL.mask("EVENTQ_IRQEN")
    bench.driver.registers.update("IRQ_CTRL", "IRQ_CTRLACK", off)
    bench.write("EVENTQ_IRQ_CFG1", 7)
    bench.driver.registers.update("IRQ_CTRL", "IRQ_CTRLACK", enables)
    assert bench.found() == {}


def test_gbpa_without_update_is_found(bench: Bench) -> None:
    bench.write("GBPA", GBPA.mask("ABORT"))
    assert "without Update" in bench.found()["forbidden-register-write"].text


# -- the Command queue


def test_prod_that_runs_over_the_queue_is_found(bench: Bench) -> None:
    queue = bench.smmu.commands.queue
    bench.write("CMDQ_PROD", queue.prod + (1 << queue.size_lg2) + 1)
    assert "command-queue-overrun" in bench.found()


def test_queue_that_wraps_is_clean(bench: Bench) -> None:
    for _ in range(300):
        bench.sync()
    assert bench.found() == {}


def test_command_that_is_written_after_the_doorbell_is_found(bench: Bench) -> None:
    queue = bench.smmu.commands.queue
    slot = queue.address(queue.prod)
    bench.memory.write(slot, int(Opcode.SYNC).to_bytes(COMMAND_SIZE, "little"))
    bench.write("CMDQ_PROD", bench.driver.commands.prod + 1)
    bench.memory.write(slot, int(Opcode.TLBI_NSNH_ALL).to_bytes(COMMAND_SIZE, "little"))
    bench.write("CMDQ_PROD", bench.driver.commands.prod + 1)
    assert "command-after-doorbell" in bench.found()


def _illegal_command(bench: Bench) -> int:
    """Address of the slot with it."""
    queue = bench.smmu.commands.queue
    slot = queue.address(queue.prod)
    bench.memory.write(slot, ILLEGAL.to_bytes(COMMAND_SIZE, "little"))
    bench.write("CMDQ_PROD", queue.prod + 1)
    assert bench.read("GERROR") & CMDQ_ERR
    return slot


def test_error_that_is_repaired_and_acknowledged_is_clean(bench: Bench) -> None:
    slot = _illegal_command(bench)
    bench.memory.write(slot, int(Opcode.SYNC).to_bytes(COMMAND_SIZE, "little"))
    bench.write("GERRORN", bench.read("GERRORN") ^ CMDQ_ERR)
    assert bench.found() == {}


def test_error_that_is_acknowledged_unrepaired_is_found(bench: Bench) -> None:
    _illegal_command(bench)
    bench.write("GERRORN", bench.read("GERRORN") ^ CMDQ_ERR)
    assert "command-error-repeated" in bench.found()


def test_error_that_stays_is_found_at_the_end(bench: Bench) -> None:
    _illegal_command(bench)
    finding = bench.found()["gerror-unacknowledged"]
    assert finding.text == "CMDQ_ERR is still active in GERROR"


def test_acknowledge_of_what_is_not_active_is_found(bench: Bench) -> None:
    bench.write("GERRORN", bench.read("GERRORN") ^ EVENTQ_ABT_ERR)
    assert "EVENTQ_ABT_ERR toggled" in bench.found()["gerror-acknowledge"].text


# -- the Event queue


def _fault(bench: Bench, times: int) -> None:
    for number in range(times):
        assert not bench.dma(0x70_0000 + number)


def test_records_that_are_taken_are_clean(bench: Bench) -> None:
    for _ in range(10):
        _fault(bench, 30)
        assert len(bench.driver.events.drain()) == 30
    assert bench.found() == {}


def test_overflow_that_nobody_acknowledges_is_found(bench: Bench) -> None:
    _fault(bench, 200)
    assert "was never acknowledged" in bench.found()["event-queue-lost"].text


def test_overflow_that_is_handled_is_advice(bench: Bench) -> None:
    _fault(bench, 200)
    bench.driver.events.drain()
    assert bench.found() == {}
    assert "event-queue-lost" in bench.advice()


def test_cons_past_prod_is_found(bench: Bench) -> None:
    _fault(bench, 3)
    bench.write("EVENTQ_CONS", 4)
    assert "event-queue-cons-beyond-prod" in bench.found()


# -- stalls


def test_stall_that_nobody_answers_is_found() -> None:
    bench = Bench()
    bench.driver.attach(SID, bench.driver.domain(stall=True))
    bench.machine.dma(SID).start_write(0x70_0000, b"waits")
    assert "waits at 0x700000" in bench.found()["stall-unresolved"].text
