# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as lines of JSON, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smmu_emu.trace.codec import decode, encode, fields_of
from smmu_emu.trace.events import KIND_OF, KINDS, Event, Evict, Note
from tests.unit.trace.events_of_everything import EVERYTHING


def test_a_line_is_as_it_is_written_by_hand() -> None:
    assert (
        encode(EVERYTHING[2])
        == '{"kind":"register","seq":3,"time":10,"unit":"smmu0","cause":1,"name":"CMDQ_PROD",'
        '"offset":152,"size":4,"write":true,"value":7}'
    )


def test_an_invalidations_line_is_as_it_is_written_by_hand() -> None:
    line = encode(EVERYTHING[4])
    assert line.endswith(
        '"vmid":0,"asid":5,"first":2109440,"last":2113535,"granule_lg2":12,"level":3,'
        '"leaf":true,"removed":[9,10],"left":[11,"asid",12,"level"]}'
    )


def test_every_kind_is_among_the_examples() -> None:
    assert {type(event) for event in EVERYTHING} == set(KIND_OF)


@pytest.mark.parametrize("event", EVERYTHING, ids=lambda event: KIND_OF[type(event)])
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    line = encode(event)
    assert "\n" not in line
    again = decode(json.loads(line))
    assert type(again) is type(event)
    assert again == event


@pytest.mark.parametrize("event", EVERYTHING, ids=lambda event: KIND_OF[type(event)])
def test_a_line_has_the_fields_by_name(event: Event) -> None:
    values = json.loads(encode(event))
    assert values.pop("kind") == KIND_OF[type(event)]
    assert list(values) == list(event._fields)
    for name, spelled in fields_of(type(event)).items():
        value = getattr(event, name)
        if isinstance(value, bytes):
            assert values[name] == value.hex()
        elif spelled.startswith("tuple"):
            assert values[name] == list(value)
        else:
            assert values[name] == value


def test_fields_that_nobody_knows_are_passed_over() -> None:
    values = json.loads(encode(EVERYTHING[-1])) | {"colour": "red"}
    assert decode(values) == EVERYTHING[-1]


def test_a_field_with_a_default_may_be_missing() -> None:
    values = json.loads(encode(EVERYTHING[1]))
    del values["callers"]
    assert decode(values) == EVERYTHING[1]


NOTE = {"kind": "note", **Note(1, 2, "smmu0", 0, "name", "text")._asdict()}
EVICT = {"kind": "evict", **Evict(1, 2, "smmu0", 0, 3, "policy")._asdict()}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {**NOTE, "kind": "nonsense"},
        {**NOTE, "kind": ["note"]},
        {**NOTE, "seq": "1"},
        {**NOTE, "seq": True},
        {**NOTE, "time": None},
        {**NOTE, "text": 5},
        {key: value for key, value in EVICT.items() if key != "entry"},
        {**json.loads(encode(EVERYTHING[3])), "data": "0g"},
        {**json.loads(encode(EVERYTHING[10])), "reads": [1]},
        {**json.loads(encode(EVERYTHING[10])), "reads": [1, "x"]},
        {**json.loads(encode(EVERYTHING[10])), "reads": 5},
    ],
)
def test_what_is_no_event_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        decode(values)


def test_files_call_every_kind_by_a_word_of_its_own() -> None:
    assert len(KINDS) == len(set(KINDS.values())) == len(KIND_OF)
