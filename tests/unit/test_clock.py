# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: order, inline actions, cancelling, and a heap that does not grow for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smmu_emu.clock import Clock


def test_action_with_no_delay_runs_inline() -> None:
    clock, log = Clock(), list[str]()
    clock.after(0, lambda: log.append("now"))
    clock.after(-5, lambda: log.append("past"))
    assert log == ["now", "past"]
    assert clock.next_deadline() is None


def test_actions_run_by_time_then_by_order_of_asking() -> None:
    clock, log = Clock(), list[tuple[str, int]]()
    for name, delay in (("b", 20), ("a", 10), ("c", 20)):
        clock.after(delay, lambda name=name: log.append((name, clock.now)))  # type: ignore[misc]
    assert clock.next_deadline() == 10
    clock.advance(19)
    assert log == [("a", 10)]
    assert clock.now == 19
    clock.advance(20)
    assert log == [("a", 10), ("b", 20), ("c", 20)]


def test_action_asked_for_by_an_action_runs_in_the_same_advance() -> None:
    clock, log = Clock(), list[int]()
    clock.after(10, lambda: clock.after(5, lambda: log.append(clock.now)))
    clock.advance(100)
    assert log == [15]
    assert clock.now == 100


def test_cancelled_action_never_runs_and_is_no_deadline() -> None:
    clock, log = Clock(), list[int]()
    appointment = clock.after(10, lambda: log.append(1))
    appointment.cancel()
    assert clock.next_deadline() is None
    clock.advance(50)
    assert log == []


def test_time_never_goes_back() -> None:
    clock = Clock()
    clock.advance(100)
    clock.advance(50)
    assert clock.now == 100


def test_reset_forgets_time_and_actions() -> None:
    clock, log = Clock(), list[int]()
    clock.after(10, lambda: log.append(1))
    clock.advance(5)
    clock.reset()
    assert clock.now == 0
    clock.advance(1000)
    assert log == []


def test_cancelled_actions_do_not_pile_up() -> None:
    clock = Clock()
    kept = clock.after(1 << 60, lambda: None)
    for _ in range(10_000):
        clock.after(1 << 50, lambda: None).cancel()
    assert len(clock._heap) < 200
    assert clock.next_deadline() == kept.time


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=200))
def test_every_uncancelled_action_runs_once_at_its_time(plan: list[tuple[int, bool]]) -> None:
    clock, log = Clock(), list[tuple[int, int]]()
    expected = []
    for number, (delay, cancel) in enumerate(plan):
        appointment = clock.after(
            delay + 1,
            lambda number=number: log.append((clock.now, number)),  # type: ignore[misc]
        )
        if cancel:
            appointment.cancel()
        else:
            expected.append((delay + 1, number))
    clock.advance(100)
    assert log == sorted(expected)
