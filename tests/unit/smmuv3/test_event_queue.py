# SPDX-License-Identifier: GPL-2.0-or-later
"""The event queue and global errors: overflow, aborts, enables, interrupts.

Spec: IHI 0070 7.2 (writable), 7.2.2 (aborts), 7.4 (overflow), 7.5 (GERROR), 3.5.2, 3.18.2, 6.3.16,
6.3.95, 6.3.96.
"""

from __future__ import annotations

import pytest

from tests.unit.smmuv3.rig import EVENT_QUEUE, NOWHERE, Bench

OVFLG = 1 << 31
NO_STREAM = 0x1000
SIZE = 4


def _bench(size_lg2: int = 2, base: int = EVENT_QUEUE) -> Bench:
    bench = Bench(setup=False)
    bench.w("EVENTQ_BASE", base | size_lg2)
    bench.w("CR2", 2)
    bench.w("IRQ_CTRL", 5)
    bench.w("CR0", 5)
    return bench


def _fault(bench: Bench, count: int = 1, first: int = 0) -> None:
    """Transactions that each ask for one C_BAD_STREAMID record."""
    for number in range(count):
        bench.go(0, sid=NO_STREAM + first + number)


def _streams(bench: Bench) -> list[int]:
    return [(record >> 32 & 0xFFFF_FFFF) - NO_STREAM for record in bench.events()]


# -- overflow


def test_record_lost_at_a_full_queue_toggles_ovflg() -> None:
    """7.4: the record is discarded, the queue stays as it is, no global error arises."""
    bench = _bench()
    _fault(bench, SIZE)
    assert bench.r("EVENTQ_PROD") == SIZE
    _fault(bench, first=9)
    assert bench.r("EVENTQ_PROD") == OVFLG | SIZE
    assert bench.r("GERROR") == 0

    assert _streams(bench) == [0, 1, 2, 3]


def test_ovflg_is_toggled_once_until_it_is_acknowledged() -> None:
    bench = _bench()
    _fault(bench, SIZE + 3)
    assert bench.r("EVENTQ_PROD") == OVFLG | SIZE
    bench.w("EVENTQ_CONS", OVFLG | SIZE)
    _fault(bench, SIZE)
    assert bench.r("EVENTQ_PROD") == OVFLG
    _fault(bench)

    assert bench.r("EVENTQ_PROD") == 0


def test_records_arrive_again_before_the_overflow_is_acknowledged() -> None:
    """7.4: an unacknowledged overflow does not keep records out."""
    bench = _bench()
    _fault(bench, SIZE + 1)
    bench.w("EVENTQ_CONS", SIZE - 1)
    _fault(bench, 3)
    assert bench.r("EVENTQ_PROD") == OVFLG | 7
    _fault(bench)
    assert bench.r("EVENTQ_PROD") == OVFLG | 7, "a second overflow cannot be told"

    assert bench.r("GERROR") == 0


@pytest.mark.parametrize("ovackflg", [0, OVFLG])
def test_ovflg_follows_the_acknowledge_flag_it_meets(ovackflg: int) -> None:
    """6.3.95: toggled if OVFLG equals OVACKFLG."""
    bench = Bench(setup=False)
    bench.w("EVENTQ_BASE", EVENT_QUEUE | 2)
    bench.w("EVENTQ_PROD", ovackflg)
    bench.w("EVENTQ_CONS", ovackflg)
    bench.w("CR2", 2)
    bench.w("CR0", 5)
    _fault(bench, SIZE + 1)

    assert bench.r("EVENTQ_PROD") & OVFLG == ovackflg ^ OVFLG


def test_single_entry_queue_overflows_on_the_second_record() -> None:
    bench = _bench(0)
    _fault(bench)
    assert bench.r("EVENTQ_PROD") == 1
    _fault(bench)
    assert bench.r("EVENTQ_PROD") == OVFLG | 1
    bench.w("EVENTQ_CONS", OVFLG | 1)
    _fault(bench)

    assert bench.r("EVENTQ_PROD") == OVFLG


# -- disabled


def test_disabled_queue_loses_records_silently() -> None:
    """7.2.1, 7.4: no record, no overflow, no error, no interrupt."""
    bench = _bench()
    bench.w("CR0", 1)
    _fault(bench, SIZE + 2)
    assert (bench.r("EVENTQ_PROD"), bench.r("GERROR")) == (0, 0)
    assert bench.smmu.interrupts.eventq.pulses == 0
    assert bench.memory.read_u64(EVENT_QUEUE) == 0
    bench.w("CR0", 5)
    _fault(bench, first=5)

    assert _streams(bench) == [5]


def test_full_queue_that_is_disabled_does_not_overflow() -> None:
    bench = _bench()
    _fault(bench, SIZE)
    bench.w("CR0", 1)
    _fault(bench)

    assert bench.r("EVENTQ_PROD") == SIZE


# -- aborts


def test_aborted_write_raises_an_error_and_keeps_prod() -> None:
    """7.2.2: the abort is synchronous here; PROD stays, the queue is still empty: no interrupt."""
    bench = _bench(base=NOWHERE)
    _fault(bench)
    assert bench.r("EVENTQ_PROD") == 0
    assert (bench.r("GERROR"), bench.r("GERRORN")) == (4, 0)

    assert bench.smmu.interrupts.eventq.pulses == 0
    assert bench.smmu.interrupts.gerror.pulses == 1


def test_delivery_stops_until_the_abort_is_acknowledged() -> None:
    """7.2.1: not writable while EVENTQ_ABT_ERR is active; no overflow either."""
    bench = _bench()
    port = bench.smmu.ports["event-queue"]
    write = port.write
    port.write = lambda pa, data: False
    _fault(bench)
    port.write = write
    _fault(bench, SIZE + 2)
    assert (bench.r("EVENTQ_PROD"), bench.r("GERROR")) == (0, 4)
    bench.w("GERRORN", 4)
    _fault(bench, first=3)

    assert _streams(bench) == [3]


def test_each_abort_after_an_acknowledge_is_told_again() -> None:
    """7.5: GERROR toggles on activation only."""
    bench = _bench(base=NOWHERE)
    _fault(bench, 3)
    assert (bench.r("GERROR"), bench.smmu.interrupts.gerror.pulses) == (4, 1)
    bench.w("GERRORN", 4)
    _fault(bench, 3)
    assert (bench.r("GERROR"), bench.smmu.interrupts.gerror.pulses) == (0, 2)
    bench.w("GERRORN", 0)

    assert bench.r("GERROR") == bench.r("GERRORN")


def test_full_queue_outside_memory_overflows_without_an_access() -> None:
    bench = Bench(setup=False)
    bench.w("EVENTQ_BASE", NOWHERE | 2)
    bench.w("EVENTQ_PROD", SIZE)
    bench.w("CR2", 2)
    bench.w("CR0", 5)
    _fault(bench)

    assert (bench.r("EVENTQ_PROD"), bench.r("GERROR")) == (OVFLG | SIZE, 0)


def test_command_errors_do_not_stop_events() -> None:
    bench = Bench()
    bench.push(0)
    _fault(bench)

    assert len(bench.events()) == 1
    assert bench.r("GERROR") == 1


def test_event_errors_do_not_stop_commands() -> None:
    bench = Bench()
    bench.smmu.ports["event-queue"].write = lambda pa, data: False
    _fault(bench)
    assert bench.r("GERROR") == 4
    bench.push(0x46)

    assert bench.r("CMDQ_CONS") == 1


def test_errors_are_acknowledged_one_by_one() -> None:
    """7.5: bits of GERROR and GERRORN are compared one by one."""
    bench = Bench()
    bench.smmu.ports["event-queue"].write = lambda pa, data: False
    _fault(bench)
    bench.push(0)
    assert bench.r("GERROR") == 5
    bench.w("GERRORN", 4)
    assert bench.command_error == 1
    bench.push(0x46)
    assert bench.r("CMDQ_CONS") & 0xFFFFF == 0
    bench.store(0x4002_0000, 0x46, 16)
    bench.w("GERRORN", 5)

    assert bench.r("CMDQ_CONS") & 0xFFFFF == 2


# -- interrupts


def test_interrupt_tells_of_the_first_record_only() -> None:
    """3.18.2: on empty to non-empty; software must empty the queue to hear of more."""
    bench = _bench()
    _fault(bench)
    assert bench.smmu.interrupts.eventq.pulses == 1
    _fault(bench, 2)
    assert bench.smmu.interrupts.eventq.pulses == 1
    bench.w("EVENTQ_CONS", 2)
    _fault(bench)
    assert bench.smmu.interrupts.eventq.pulses == 1, "one record was left over"
    bench.events()
    _fault(bench)

    assert bench.smmu.interrupts.eventq.pulses == 2


def test_record_and_prod_are_visible_when_the_interrupt_comes() -> None:
    """3.5.2, 3.18."""
    bench = _bench()
    seen: list[tuple[int, int | None]] = []
    bench.smmu.interrupts.eventq.sink = lambda level: (
        seen.append((bench.r("EVENTQ_PROD"), bench.memory.read_u64(EVENT_QUEUE))) if level else None
    )
    _fault(bench)

    assert seen == [(1, NO_STREAM << 32 | 2)]


def test_record_is_visible_before_prod_moves() -> None:
    """3.5.2: a reader of PROD never sees a stale record."""
    bench = _bench()
    port = bench.smmu.ports["event-queue"]
    write = port.write
    prods: list[int] = []

    def watched(pa: int, data: bytes) -> bool:
        prods.append(bench.r("EVENTQ_PROD"))
        return write(pa, data)

    port.write = watched
    _fault(bench, 2)

    assert prods == [0, 1]


def test_interrupt_has_an_enable() -> None:
    """6.3.16."""
    bench = _bench()
    bench.w("IRQ_CTRL", 1)
    _fault(bench)

    assert bench.smmu.interrupts.eventq.pulses == 0


def test_enabling_the_interrupt_tells_nothing_of_the_past() -> None:
    """6.3.16: no interrupt for an occurrence from before the source was enabled."""
    bench = _bench()
    bench.w("IRQ_CTRL", 0)
    _fault(bench)
    bench.push(0)
    bench.w("IRQ_CTRL", 5)
    _fault(bench)

    assert bench.smmu.interrupts.eventq.pulses == 0
    assert bench.smmu.interrupts.gerror.pulses == 0


def test_lost_records_interrupt_nobody() -> None:
    bench = _bench()
    _fault(bench, SIZE + 5)

    assert bench.smmu.interrupts.eventq.pulses == 1
    assert bench.smmu.interrupts.gerror.pulses == 0


def test_gerror_interrupt_has_an_enable() -> None:
    bench = _bench(base=NOWHERE)
    bench.w("IRQ_CTRL", 4)
    _fault(bench)

    assert bench.r("GERROR") == 4
    assert bench.smmu.interrupts.gerror.pulses == 0


def test_handler_that_empties_the_queue_hears_of_every_record() -> None:
    bench = _bench()
    heard: list[list[int]] = []
    bench.smmu.interrupts.eventq.sink = lambda level: (
        heard.append(_streams(bench)) if level else None
    )
    _fault(bench, 7)

    assert heard == [[n] for n in range(7)]


def test_event_record_in_hand_survives_the_disabling_of_translation() -> None:
    """3.11, 7.2.1: SMMUEN 0 does not imply EVENTQEN 0; what was recorded stays."""
    bench = _bench()
    _fault(bench, 2)
    bench.w("CR0", 4)
    assert bench.r("EVENTQ_PROD") == 2
    bench.go(1 << 60)

    assert _streams(bench) == [0, 1]
