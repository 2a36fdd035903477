# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a machine's parts hold is kept and put back in place, or refused by name."""

from __future__ import annotations

import mmap
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from pgtable.registry import formats
from smmu_emu.clock import Clock
from smmu_emu.interpose import Layer, interpose
from smmu_emu.interrupt import InterruptLine
from smmu_emu.state import StateError, keep


class Thing:
    """An object with whatever attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def poke(self) -> str:
        return "original"


@pytest.mark.parametrize(
    ("container", "change"),
    [
        ([1, 2], lambda c: c.append(3)),
        ({"a": 1}, lambda c: c.update(b=2)),
        ({1, 2}, lambda c: c.add(3)),
        (deque([1, 2]), lambda c: c.popleft()),
        (bytearray(b"ab"), lambda c: c.extend(b"c")),
        (Counter(a=1), lambda c: c.update(a=1)),
        (OrderedDict(a=1), lambda c: c.update(b=2)),
        (np.zeros(3), lambda c: c.fill(7)),
    ],
    ids=["list", "dict", "set", "deque", "bytearray", "Counter", "OrderedDict", "array"],
)
def test_container_gets_its_contents_back_in_place(
    container: Any, change: Callable[[Any], None]
) -> None:
    thing = Thing(held=container)
    before = list(container.items()) if isinstance(container, dict) else list(container)
    kept = keep(thing)
    change(container)
    thing.held = None
    kept.put_back()
    assert thing.held is container
    after = list(container.items()) if isinstance(container, dict) else list(container)
    assert after == before


def test_order_of_a_dictionary_comes_back() -> None:
    oldest_first = {"a": 1, "b": 2}
    kept = keep(Thing(held=oldest_first))
    oldest_first["a"] = oldest_first.pop("a")
    assert list(oldest_first) == ["b", "a"]
    kept.put_back()
    assert list(oldest_first) == ["a", "b"]


def test_attributes_made_later_go_and_deleted_ones_return() -> None:
    thing = Thing(a=1, b=2)
    kept = keep(thing)
    del thing.a
    thing.c = 3
    kept.put_back()
    assert vars(thing) == {"a": 1, "b": 2}


def test_parts_behind_functions_are_reached() -> None:
    bound, free, applied = Thing(n=1), Thing(n=1), Thing(n=1)
    root = Thing(calls=[bound.poke, lambda: free.n, partial(print, applied)])
    kept = keep(root)
    bound.n = free.n = applied.n = 2
    kept.put_back()
    assert (bound.n, free.n, applied.n) == (1, 1, 1)


def test_what_a_closure_assigns_is_state() -> None:
    count = 0

    def call() -> int:
        nonlocal count
        count += 1
        return count

    kept = keep(Thing(call=call))
    assert (call(), call()) == (1, 2)
    kept.put_back()
    assert call() == 1


def test_slots_come_back_and_wires_stay_connected() -> None:
    line = InterruptLine("x", lambda level: None)
    kept = keep(line)
    line.set(True)
    line.sink = sink = lambda level: None
    kept.put_back()
    assert (line.level, line.pulses) == (False, 0)
    assert line.sink is sink, "wiring is no state"


def test_dice_repeat() -> None:
    dice = Random(1)
    kept = keep(Thing(dice=dice))
    first = [dice.random() for _ in range(3)]
    kept.put_back()
    assert [dice.random() for _ in range(3)] == first


def test_appointments_wait_again_after_they_were_kept_and_only_once() -> None:
    clock, done = Clock(), list[int]()
    clock.after(5, partial(done.append, 5))
    cancelled = clock.after(7, partial(done.append, 7))
    kept = keep(clock)  # the list is reached, too
    cancelled.cancel()
    clock.advance(10)
    assert done == [5]
    for _ in range(2):
        kept.put_back()
        assert (clock.now, done) == (0, [])
        clock.advance(10)
        assert done == [5, 7]


# -- what is no state


class Declared:
    wiring = ("link",)
    unsaved = ("host",)

    def __init__(self) -> None:
        self.link: object = Thing(n=1)
        self.host: object = threading.Lock()
        self.n = 1


class MoreDeclared(Declared):
    unsaved = ("other",)

    def __init__(self) -> None:
        super().__init__()
        self.other: object = threading.Lock()


def test_wiring_is_walked_and_not_put_back_and_the_unsaved_neither() -> None:
    thing = MoreDeclared()
    first, kept = thing.link, keep(thing)
    assert isinstance(first, Thing)
    first.n = thing.n = 2
    thing.link, thing.host = "another", "another"
    kept.put_back()
    assert (thing.link, thing.host, thing.n, first.n) == ("another", "another", 1, 1)


def test_who_stands_before_a_function_stays_there() -> None:
    thing = Thing(n=1, own=lambda: "own")
    before = keep(thing)
    stranger = interpose(thing, "poke", lambda _: lambda: "stranger", Layer.INJECT)
    interpose(thing, "own", lambda _: lambda: "stranger", Layer.INJECT)
    with_stranger = keep(thing)
    thing.n = 2
    for kept in (before, with_stranger):
        kept.put_back()
        assert (thing.n, thing.poke(), thing.own()) == (1, "stranger", "stranger")
    stranger.remove()
    with_stranger.put_back()
    assert (thing.poke(), thing.own()) == ("original", "stranger")


class Cached:
    @cached_property
    def value(self) -> list[int]:
        return [1]


def test_what_was_cached_later_is_made_anew() -> None:
    thing = Cached()
    kept = keep(thing)
    assert thing.value == [1]
    kept.put_back()
    assert vars(thing) == {}


def test_view_of_an_array_leads_to_the_array() -> None:
    owner = np.arange(8)
    kept = keep(Thing(part=owner[2:4]))
    owner[:] = 0
    kept.put_back()
    assert owner.tolist() == list(range(8))


def test_views_of_mapped_memory_and_globals_of_others_are_left_alone() -> None:
    buffer = mmap.mmap(-1, 4096)
    thing = Thing(view=memoryview(buffer), array=np.frombuffer(buffer, "u1"), formats=formats)
    kept = keep(thing)
    buffer[0] = 1
    kept.put_back()
    assert buffer[0] == 1
    assert not any(part is formats for part, *_ in kept.objects)


SOMEBODYS_DEVICE = Thing(n=1)


def test_device_that_a_script_has_as_a_global_is_kept() -> None:
    kept = keep(Thing(device=SOMEBODYS_DEVICE))
    SOMEBODYS_DEVICE.n = 2
    kept.put_back()
    assert SOMEBODYS_DEVICE.n == 1


# -- hooks


class Hooked:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.late = [lambda: self.log.append("done")]
        self.secret = 1
        self.told: list[str] = []

    unsaved = ("secret", "told")

    def before_kept(self) -> bool:
        late, self.late = self.late, []
        for one in late:
            one()
        return bool(late)

    def keep_state(self) -> int:
        return self.secret

    def put_back_state(self, kept: int) -> None:
        self.secret = kept

    def after_put_back(self) -> None:
        self.told.append(f"secret {self.secret}, log {self.log}")


def test_hooks_are_called_in_their_order() -> None:
    thing = Hooked()
    kept = keep(thing)
    assert thing.log == ["done"], "what was put off is done before"
    thing.secret = 2
    thing.log.append("later")
    kept.put_back()
    assert thing.told == ["secret 1, log ['done']"]


# -- what cannot be kept


def _generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(_generator, id="generator"),
        pytest.param(threading.Lock, id="lock"),
        pytest.param(lambda: Path("/dev/null").open("rb"), id="file"),  # noqa: SIM115
        pytest.param(lambda: np.random.default_rng(1), id="numpy-dice"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_place(what: Callable[[], Any]) -> None:
    thing = Thing(inside=[{"key": what()}])
    with pytest.raises(StateError, match=r"^machine\.inside\[0\]\.key is "):
        keep(thing)
