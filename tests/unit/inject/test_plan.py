# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans as Python objects: values, names, and what is refused."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from smmu_emu.inject import (
    EVER,
    SITES,
    Abort,
    Allow,
    Dma,
    Drop,
    Flip,
    Injection,
    Plan,
    PlanError,
    Replace,
    SetField,
    Stuck,
    Target,
    When,
)
from smmu_emu.inject.effects import EFFECTS


def test_plans_are_values() -> None:
    one = Plan((Injection("walk-read", Abort(), When(nth=2)),), seed=3)
    assert one == Plan((Injection("walk-read", Abort(), When(nth=2)),), seed=3)
    assert hash(one) == hash(Plan((Injection("walk-read", Abort(), When(nth=2)),), seed=3))
    with pytest.raises(FrozenInstanceError):
        one.seed = 4  # type: ignore[misc]


def test_names_are_made_and_numbered() -> None:
    fault = Injection("walk-read", Abort())
    named = Injection("ste", SetField("V", 0), name="gone")
    plan = Plan((fault, named, fault, fault))
    names = [one.name for one in plan.faults]
    assert names == ["walk-read abort", "gone", "walk-read abort 2", "walk-read abort 3"]


def test_stuck_values_stay_and_other_faults_strike_once() -> None:
    assert Injection("walk-read", Stuck(0)).times == EVER
    assert Injection("walk-read", Abort()).times == 1
    assert Injection("walk-read", Stuck(0), When(times=2)).times == 2


def test_faults_at_rest_are_triggered_by_transactions() -> None:
    assert Injection("ste", SetField("V", 0)).trigger == "transaction"
    assert Injection("ste", SetField("V", 0), When(time=(5, 9)), Target(stream=8)).trigger == "time"
    at = When(at="register-write", register="CR0")
    assert Injection("ste", SetField("V", 0), at, Target(stream=8)).trigger == "register-write"
    assert Injection("walk-read", Abort()).trigger == "walk-read"


def test_two_plans_are_one() -> None:
    fault, allow = Injection("walk-read", Abort()), Allow(8, (0, 0x1000))
    both = Plan((fault,), seed=7, name="first") + Plan((fault,), (allow,), seed=9)
    assert [one.name for one in both.faults] == ["walk-read abort", "walk-read abort 2"]
    assert (both.allow, both.seed, both.name) == ((allow,), 7, "first")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Injection("walk-reed", Abort()), "no site 'walk-reed'; near are walk-read"),
        (
            lambda: Injection("walk-read", Drop()),
            "effect 'drop' cannot be at walk-read: it takes abort, poison, flip, stuck, replace",
        ),
        (lambda: Injection("walk-read", Flip()), "effect flip needs bits = "),
        (lambda: Injection("ste", SetField("Confg", 1)), "no field 'Confg'; near are Config"),
        (lambda: Injection("ste", SetField("Config", 8)), "0x8 does not fit Config, bits"),
        (lambda: Injection("walk-read", Abort(), When(nth=0)), "nth = 0: accesses are counted"),
        (lambda: Injection("walk-read", Abort(), When(times=-2)), "times = -2"),
        (lambda: Injection("walk-read", Abort(), When(probability=0.0)), "probability = 0.0"),
        (lambda: Injection("walk-read", Abort(), When(address=(4, 4))), "address = [0x4, 0x4]"),
        (lambda: Injection("walk-read", Abort(), When(opcode="SYNC")), "opcode says nothing at"),
        (lambda: Injection("walk-read", Abort(), When(at="transaction")), "at is for structures"),
        (
            lambda: Injection("ste", SetField("V", 0), When(at="walk-read")),
            "no trigger 'walk-read'",
        ),
        (lambda: Injection("command-fetch", Abort(), When(opcode="SINC")), "no opcode 'SINC'"),
        (lambda: Injection("event-write", Abort(), When(event="F_X")), "no event 'F_X'"),
        (lambda: Injection("register-read", Abort(), When(register="CRO")), "no register 'CRO'"),
        (
            lambda: Injection("ste", SetField("V", 0), When(at="command-fetch")),
            "target: stream is needed, as command-fetch has none",
        ),
        (
            lambda: Injection("ste", SetField("V", 0), target=Target(level=2)),
            "target: level says nothing at ste; it takes stream",
        ),
        (
            lambda: Injection("register", Replace(0), target=Target(register="CRX")),
            "target: no register 'CRX'",
        ),
        (
            lambda: Plan((Injection("walk-read", Abort(), When(after="other")),)),
            "walk-read abort: after: no fault 'other'; there is no other",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, words: str) -> None:
    with pytest.raises(PlanError) as error:
        make()  # type: ignore[operator]
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_every_effect_has_a_site_and_every_site_an_effect() -> None:
    used = {effect for site in SITES.values() for effect in site.effects}
    assert used == set(EFFECTS)
    assert all(site.effects for site in SITES.values())


def test_plain_data_leave_out_what_is_as_usual() -> None:
    plan = Plan(
        (
            Injection("walk-read", Stuck(1, 3), When(times=EVER, address=(0, 0x1000)), name="a"),
            Injection("device", Dma(9), When(stream=8), name="b"),
        ),
        (Allow(8, (0, 0x1000), 0x5000_0000, write=False),),
    )
    assert plan.as_dict() == {
        "seed": 0,
        "fault": [
            {
                "name": "a",
                "site": "walk-read",
                "effect": {"kind": "stuck", "value": 1, "mask": 3},
                "times": "ever",
                "address": [0, 0x1000],
            },
            {"name": "b", "site": "device", "effect": {"kind": "dma", "stream": 9}, "stream": 8},
        ],
        "allow": [{"stream": 8, "iova": [0, 0x1000], "pa": 0x5000_0000, "access": "r"}],
    }
