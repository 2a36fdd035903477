# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters: how they are written, and what they let pass."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from smmu_emu.trace.codec import TraceError
from smmu_emu.trace.events import (
    KIND_OF,
    Access,
    ConfigInvalidation,
    DmaData,
    Event,
    Fill,
    Invalidation,
    Note,
    Origin,
    Sync,
    Update,
    Walk,
)
from smmu_emu.trace.filters import Filter
from tests.unit.trace.events_of_everything import EVERYTHING


def _passing(conditions: list[str], events: list[Event]) -> list[Event]:
    return [e for e in Filter.parse(conditions).apply(events) if not isinstance(e, Origin)]


def _access(seq: int = 1, **fields: object) -> Access:
    # fmt: off
    plain = Access(seq, 100, "smmu0", 0, 8, None, 0x203000, True, False, False, "hit", 0x50001000,
                   1, 1, "", "")
    # fmt: on
    return plain._replace(**fields)  # type: ignore[arg-type]


SYNC = Sync(5, 100, "smmu0", 0, 4, "none")


@dataclass
class Case:
    """One condition, one event, and whether that passes."""

    condition: str
    event: Event
    passes: bool


# fmt: off
_FILL = Fill(2, 100, "smmu0", 0, 1, 9, "tlb", "EL1", 0, 5, 8, None, 0x200000, 21, 0x50200000, 0,
             0xBF, 2, 12, ())
_BY_VA = Invalidation(3, 100, "smmu0", 0, 4, "TLBI_NH_VA", "EL1", 0, 5, 0x203000, 0x203FFF, None,
                      None, True, (), ())
# fmt: on
_ALL = _BY_VA._replace(first=None, last=None)
_STES = ConfigInvalidation(4, 100, "smmu0", 0, 4, "CFGI_STE_RANGE", "STE", 8, 8, None, ())
_DMA = DmaData(2, 100, "machine", 0, 1, 8, 0x50001000, 4, True, True)

CASES = [
    Case("stream=8", _access(), True),
    Case("stream=9", _access(), False),
    Case("stream=0x8", _access(), True),
    Case("stream=1,8", _access(), True),
    Case("stream=5-9", _access(), True),
    Case("stream=9-12", _access(), False),
    Case("stream=9", SYNC, True),
    Case("stream=15", _STES, True),
    Case("stream=16", _STES, False),
    Case("iova=0x203000", _access(), True),
    Case("iova=0x203001", _access(), False),
    Case("iova=0x200000-0x2fffff", _access(), True),
    Case("iova=0x3fffff", _FILL, True),
    Case("iova=0x400000", _FILL, False),
    Case("iova=0x203fff-0x209fff", _BY_VA, True),
    Case("iova=0x204000", _BY_VA, False),
    Case("iova=0x204000", _ALL, True),
    Case("iova=0x999", SYNC, True),
    Case("time=100", _access(), True),
    Case("time=101", _access(), False),
    Case("time=0-99", SYNC, False),
    Case("time=0-1us", SYNC, True),
    Case("time=0.0001ms", SYNC, True),
    Case("time=1s", SYNC, False),
    Case("unit=smmu0", SYNC, True),
    Case("unit=smmu1", SYNC, False),
    Case("kind=access", _access(), True),
    Case("kind=access,sync", SYNC, True),
    Case("kind=fill", SYNC, False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.condition} {KIND_OF[type(c.event)]}")
def test_a_condition_lets_pass(case: Case) -> None:
    assert bool(_passing([case.condition], [case.event])) is case.passes


def test_all_conditions_must_hold() -> None:
    assert _passing(["stream=8", "kind=access"], [_access(), SYNC]) == [_access()]
    assert _passing(["stream=8", "iova=0x1000"], [_access()]) == []


def test_a_condition_that_is_given_twice_widens() -> None:
    assert _passing(["stream=1", "stream=8"], [_access()]) == [_access()]


def test_what_an_access_brings_about_goes_with_it() -> None:
    here, there = _access(1), _access(3, iova=0x9000)
    events: list[Event] = [here, _DMA, there, _DMA._replace(seq=4, transaction=3)]
    assert _passing(["iova=0x203000"], events) == events[:2]
    # fmt: off
    walk = Walk(5, 100, "smmu0", 0, 7, 8, None, 1, 0x9000, (), 3, 0x50000000, "")
    # fmt: on
    update = Update(6, 100, "smmu0", 0, 7, 8, 1, 0x42000000, 0, 1)
    assert _passing(["iova=0x203000"], [here, walk, update]) == [here]


ORIGIN = Origin(
    1, 0, "machine", 0, 0x40100010, b"\0" * 4, "write", 8, "io.c:2", "str", ("unmap (dma.c:7)",)
)


@pytest.mark.parametrize(
    ("condition", "passes"),
    [
        ("pc=0x40100010", True),
        ("pc=0x40100000-0x401000ff", True),
        ("pc=0x40100014", False),
        ("pc=write", True),
        ("pc=unmap", True),
        ("pc=other,unmap", True),
        ("pc=map", False),
    ],
)
def test_who_is_behind_an_event_is_asked_by_address_or_name(condition: str, passes: bool) -> None:
    events: list[Event] = [ORIGIN, _access(2, cause=1), _access(3, cause=0)]
    assert _passing([condition], events) == ([events[1]] if passes else [])


def test_origins_always_pass() -> None:
    assert list(Filter.parse(["kind=sync"]).apply([ORIGIN, _access()])) == [ORIGIN]


def test_a_filter_of_kinds_alone_is_open() -> None:
    assert Filter.parse(["kind=access"]).passer() is None
    assert Filter.parse([]).passer() is None
    assert Filter.parse(["stream=1"]).passer() is not None


def test_every_kind_can_be_asked_for() -> None:
    words = ",".join(KIND_OF.values())
    assert list(Filter.parse([f"kind={words}"]).apply(EVERYTHING)) == EVERYTHING


@pytest.mark.parametrize("condition", ["stream=0-100", "iova=0-0xffffffffffffffff", "time=0-1s"])
def test_a_condition_that_everything_fits_drops_nothing(condition: str) -> None:
    assert list(Filter.parse([condition]).apply(EVERYTHING)) == EVERYTHING


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("stream", "no filter 'stream': use kind, stream, iova, time, pc, unit, as in stream=8"),
        ("", "no filter ''"),
        ("=8", "no filter '=8'"),
        ("stream=", "no filter 'stream='"),
        ("colour=red", "no filter 'colour=red'"),
        ("kind=acess", "no kind 'acess' in 'kind=acess': there are origin, register"),
        ("stream=x", "'x' in 'stream=x' is no number or range such as 8-15"),
        ("stream=8,", "'' in 'stream=8,' is no number"),
        ("stream=8-", "'8-' in 'stream=8-' is no number"),
        ("iova=9-8", "'9-8' in 'iova=9-8' ends before it begins"),
        ("time=5 minutes", "is no number or range"),
        ("pc=4z", "'4z' in 'pc=4z' is no number"),
    ],
)
def test_what_is_no_condition_is_told_in_one_line(condition: str, words: str) -> None:
    with pytest.raises(TraceError) as told:
        Filter.parse([condition])
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_notes_pass_conditions_on_streams() -> None:
    note = Note(1, 0, "machine", 0, "begin", "")
    assert _passing(["stream=1", "iova=0", "unit=smmu0"], [note]) == [note]
