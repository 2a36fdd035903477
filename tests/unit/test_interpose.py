# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions that stand before others come and go in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from smmu_emu.interpose import Function, Layer, Wrap, interpose, original


class Adder:
    """Something with a method."""

    def add(self, number: int) -> str:
        """A word that tells who was called."""
        return f"add {number}"


class Slotted:
    """Something whose function lies in a slot."""

    __slots__ = ("add", "interposed")

    def __init__(self) -> None:
        self.add: Function = lambda number: f"add {number}"


def _named(name: str) -> Wrap:
    return lambda function: lambda number: f"{name}({function(number)})"


@pytest.mark.parametrize("make", [Adder, Slotted])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_layers_keep_their_order_and_leave_in_any(make: type, order: tuple[int, ...]) -> None:
    one = make()
    before = one.add
    wraps = (("watch", Layer.OBSERVE), ("break", Layer.INJECT), ("late", Layer.POLICY))
    all_of = [interpose(one, "add", _named(name), layer) for name, layer in wraps]
    assert one.add(1) == "watch(break(late(add 1)))"
    left = ["watch", "break", "late"]
    for number in order:
        all_of[number].remove()
        left.remove(wraps[number][0])
        expected = "add 2"
        for name in reversed(left):
            expected = f"{name}({expected})"
        assert one.add(2) == expected
    assert one.add == before
    assert not hasattr(one, "interposed")


def test_within_a_layer_who_came_first_is_nearer() -> None:
    one = Adder()
    interpose(one, "add", _named("first"), Layer.OBSERVE)
    interpose(one, "add", _named("second"), Layer.OBSERVE)
    assert one.add(1) == "second(first(add 1))"


def test_method_of_the_class_shows_through_again() -> None:
    one = Adder()
    interpose(one, "add", _named("x"), Layer.INJECT).remove()
    assert vars(one) == {}


def test_removing_twice_is_harmless() -> None:
    one = Adder()
    place = interpose(one, "add", _named("x"), Layer.INJECT)
    other = interpose(one, "add", _named("y"), Layer.INJECT)
    place.remove()
    place.remove()
    assert one.add(1) == "y(add 1)"
    other.remove()


def test_original_is_found_behind_everybody() -> None:
    one = Adder()
    assert original(one, "add")(1) == "add 1"
    interpose(one, "add", _named("x"), Layer.INJECT)
    assert original(one, "add")(1) == "add 1"
