# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that wait for their access: what was seen, what fitted, and what came closest.

`Armed.hits` judges one access and counts. What it remembers on the way makes the sentence that
tells why a fault never fired.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from random import Random
from typing import NamedTuple

from smmu_emu.inject.plan import EVER, Injection, Range, When


class Access:
    """Something that passes a site. ``data`` is what it carries, if that is known already.

    ``name`` is that of a command, an event, a register, a wire or an action. ``old`` keeps what the
    data were before faults changed them.
    """

    __slots__ = ("address", "data", "iova", "name", "site", "stream", "substream", "write")

    def __init__(
        self,
        site: str,
        *,
        address: int | None = None,
        iova: int | None = None,
        data: bytes | None = None,
        stream: int | None = None,
        substream: int | None = None,
        write: bool = False,
        name: str = "",
    ) -> None:
        self.site = site
        self.address = address
        self.iova = iova
        self.data = data
        self.stream = stream
        self.substream = substream
        self.write = write
        self.name = name

    def __str__(self) -> str:
        words = [self.site]
        if self.name:
            words.append(self.name)
        if self.stream is not None:
            words.append(f"stream {self.stream:#x}")
        if self.iova is not None:
            words.append(f"iova {self.iova:#x}")
        if self.address is not None:
            words.append(f"at {self.address:#x}")
        return " ".join(words)


class Surroundings(NamedTuple):
    """What an access is judged against besides itself."""

    now: Callable[[], int]
    pc: Callable[[], int | None]
    symbol_at: Callable[[int], str | None]
    has_fired: Callable[[str], bool]


class Armed:
    """One fault of a plan while it is injected. ``note`` says why firing came to nothing."""

    def __init__(self, fault: Injection, seed: int, around: Surroundings) -> None:
        self.fault = fault
        self.random = Random(f"{seed}:{fault.name}")
        self.fired = 0
        self.note = ""
        self._around = around
        self._left = fault.times
        self._filters = _filters(fault.when, around)
        self._passed = [0] * len(self._filters)
        self._values: list[set[object]] = [set() for _ in self._filters]
        self._seen = 0
        self._fitting = 0

    def hits(self, access: Access) -> bool:
        """Whether the fault strikes this access. Counts it, whatever the answer."""
        self._seen += 1
        if not self._left:
            return False
        for number, one in enumerate(self._filters):
            if not one.fits(access):
                if len(self._values[number]) < _KEPT:
                    self._values[number].add(one.value(access))
                return False
            self._passed[number] += 1
        probability = self.fault.when.probability
        if probability is not None and self.random.random() >= probability:
            return False
        self._fitting += 1
        if self._fitting < self.fault.when.nth:
            return False
        self.fired += 1
        if self._left != EVER:
            self._left -= 1
        return True

    def came_to_nothing(self, why: str) -> None:
        """There was nothing to be changed: it has not fired, and waits for the next access."""
        self.fired -= 1
        self.note = why
        if self._left != EVER:
            self._left += 1

    def closest(self) -> str:
        """Why it has not fired, with what came nearest; one line."""
        trigger = self.fault.trigger
        after = self.fault.when.after
        if after is not None and not self._around.has_fired(after):
            return f"{after!r} has not fired, which it waits for"
        if self.note:
            return self.note
        if trigger == "time":
            return f"the run ended at {self._around.now()} ns"
        if not self._seen:
            return f"no {trigger} was seen"
        seen = f"{self._seen} {trigger} seen"
        for one, passed, values in zip(self._filters, self._passed, self._values, strict=True):
            if not passed:
                return f"{seen}, {one.missed(values)}"
        if self._fitting:
            return f"{seen}, {self._fitting} of them fit, nth is {self.fault.when.nth}"
        return f"{seen}, the probability of {self.fault.when.probability} never came true"


_KEPT = 10_000
"""Different values that are remembered for each filter."""


class _Filter(NamedTuple):
    """One property of an access that a fault insists on."""

    name: str
    wanted: object
    value: Callable[[Access], object]
    accepts: Callable[[object], bool]

    def fits(self, access: Access) -> bool:
        value = self.value(access)
        return value is not None and self.accepts(value)

    def missed(self, values: set[object]) -> str:
        """What was there instead."""
        numbers = sorted(value for value in values if isinstance(value, int))
        words = sorted(value for value in values if isinstance(value, str))
        if isinstance(self.wanted, tuple) and numbers:
            return _missed_range(self.name, self.wanted, numbers)
        shown = [f"{number:#x}" for number in numbers] + words
        if not shown:
            return f"none with a {self.name}"
        wanted = f"{self.wanted:#x}" if type(self.wanted) is int else str(self.wanted)
        more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
        return f"none with {self.name} {wanted}; there were {', '.join(shown[:8])}{more}"


def _missed_range(name: str, wanted: Range, numbers: list[int]) -> str:
    first, end = wanted
    nearest = min(numbers, key=lambda one: first - one if one < first else one - end + 1)
    span = f"{numbers[0]:#x}-{numbers[-1]:#x}" if len(numbers) > 1 else f"{numbers[0]:#x}"
    return f"{name} {span}; none in {first:#x}-{end:#x}, nearest {nearest:#x}"


def _filters(when: When, around: Surroundings) -> list[_Filter]:
    """The filters that a fault has, those that are cheap first."""

    def among(wanted: Range) -> Callable[[object], bool]:
        return lambda value: isinstance(value, int) and wanted[0] <= value < wanted[1]

    def equal(wanted: object) -> Callable[[object], bool]:
        return lambda value: value == wanted

    def like(wanted: str) -> Callable[[object], bool]:
        return lambda value: fnmatchcase(str(value), wanted) or str(value).endswith(f".{wanted}")

    def by_name(access: Access) -> object:
        return access.name or None

    found: list[_Filter] = []

    def add(name: str, value: Callable[[Access], object], accepts: object) -> None:
        wanted = getattr(when, name)
        if wanted is not None:
            found.append(_Filter(name, wanted, value, accepts(wanted)))  # type: ignore[operator]

    add("write", lambda access: access.write, equal)
    add("stream", lambda access: access.stream, equal)
    add("substream", lambda access: access.substream, equal)
    add("opcode", by_name, equal)
    add("event", by_name, equal)
    add("register", by_name, equal)
    add("line", by_name, like)
    add("action", by_name, like)
    add("address", lambda access: access.address, among)
    add("iova", lambda access: access.iova, among)
    add("time", lambda _: around.now(), among)
    if isinstance(when.pc, str):
        add("pc", lambda _: _symbol(around), equal)
    else:
        add("pc", lambda _: around.pc(), among)
    if when.after is not None:
        after = when.after
        found.append(_Filter("after", after, lambda _: True, lambda _: around.has_fired(after)))
    return found


def _symbol(around: Surroundings) -> str | None:
    pc = around.pc()
    return None if pc is None else around.symbol_at(pc)
