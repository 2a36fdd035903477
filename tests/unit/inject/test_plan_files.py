# SPDX-License-Identifier: GPL-2.0-or-later
"""Plan files: what they may say, and how they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from smmu_emu.inject import (
    EVER,
    Abort,
    Allow,
    Flip,
    Injection,
    Plan,
    PlanError,
    Rewrite,
    SetField,
    Target,
    When,
    load_plan,
    parse_plan,
)
from smmu_emu.inject.files import plan_text

WHOLE = """
name = "an example"
seed = 7

[[fault]]
name = "third read"
site = "walk-read"
effect = "abort"
nth = 3
stream = 8
address = [0x4200_0000, 0x4300_0000]

[[fault]]
site = "walk-read"
effect = { kind = "flip", bits = [0, 5] }
times = "ever"
pc = "testdev_dma"
after = "third read"

[[fault]]
site = "ste"
effect = { kind = "set", field = "Config", value = 4 }
at = "register-write"
register = "CMDQ_PROD"
target = { stream = 9 }

[[fault]]
site = "transaction"
effect = { kind = "rewrite", stream = 9, substream = -1, write = true }
probability = 0.5

[[allow]]
stream = 8
iova = [0x1000, 0x5000]
pa = 0x5000_0000
access = "w"
"""

PLAN = Plan(
    (
        Injection(
            "walk-read",
            Abort(),
            When(nth=3, stream=8, address=(0x4200_0000, 0x4300_0000)),
            name="third read",
        ),
        Injection(
            "walk-read", Flip((0, 5)), When(times=EVER, pc="testdev_dma", after="third read")
        ),
        Injection(
            "ste",
            SetField("Config", 4),
            When(at="register-write", register="CMDQ_PROD"),
            Target(stream=9),
        ),
        Injection(
            "transaction",
            Rewrite(stream=9, substream=-1, write=True),
            When(probability=0.5),
        ),
    ),
    (Allow(8, (0x1000, 0x5000), 0x5000_0000, read=False),),
    seed=7,
    name="an example",
)


def test_file_is_the_plan_that_it_describes() -> None:
    assert parse_plan(WHOLE) == PLAN


def test_plan_written_as_text_is_read_back_the_same() -> None:
    assert parse_plan(plan_text(PLAN)) == PLAN


def test_empty_file_is_a_plan_of_nothing() -> None:
    assert parse_plan("") == Plan()


_FAULT = '[[fault]]\nsite = "walk-read"\neffect = "abort"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("faults = 3", "plan: no key 'faults'; there is name, seed, fault, allow"),
        ("fault = 3", "plan: fault is written as [[fault]], once for each"),
        ("seed = -1", "plan: seed = -1: a number from 0 on is wanted"),
        ("x", "plan: Expected '='"),
        ("[[fault]]", "plan: fault 1: site is missing"),
        ('[[fault]]\nsite = "walk-read"', "plan: fault 1: effect is missing"),
        (_FAULT + "nth = 0", "plan: fault 1: nth = 0: accesses are counted from 1"),
        (_FAULT + "nth = true", "plan: fault 1: nth = True: a number from 0 on is wanted"),
        (
            _FAULT + 'times = "often"',
            "plan: fault 1: times = 'often': a number from 1, or \"ever\"",
        ),
        (_FAULT + "address = 5", "plan: fault 1: address = 5: a pair is wanted"),
        (_FAULT + "adress = [0, 5]", "plan: fault 1: no key 'adress'; near are address"),
        (_FAULT + "probability = 2", "plan: fault 1: probability = 2.0: more than 0, at most 1"),
        (_FAULT + "target = 3", "plan: fault 1: target = 3: a table is wanted"),
        (_FAULT + "target = { page = 3 }", "plan: fault 1: target: no key 'page'"),
        (_FAULT + 'name = "a"\nopcode = "SYNC"', "plan: fault 1 (a): opcode says nothing at walk"),
        (_FAULT + _FAULT + "nth = 0", "plan: fault 2: nth = 0"),
        (
            '[[fault]]\nsite = "walk-read"\neffect = { kind = "flip", bit = 3 }',
            "plan: fault 1: effect flip: no key 'bit'; there is kind, bits, count",
        ),
        (
            '[[fault]]\nsite = "walk-read"\neffect = { kind = "flip", bits = 3 }',
            "plan: fault 1: effect flip: bits = 3: a list of numbers is wanted",
        ),
        ('[[fault]]\nsite = "walk-read"\neffect = "abrt"', "plan: fault 1: no effect 'abrt'; near"),
        (
            '[[fault]]\nsite = "walk-read"\neffect = 3',
            "plan: fault 1: effect is a word, or a table",
        ),
        ("[[allow]]\nstream = 8", "plan: allow 1: iova is missing"),
        ('[[allow]]\nstream = 8\niova = [0, 1]\naccess = "x"', "plan: allow 1: access = 'x'"),
        ("[[allow]]\nstream = 8\niova = [1, 1]", "plan: allow 1: iova: the first address"),
        ("a." * 5000 + "a = 1", "plan: "),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text: str, words: str) -> None:
    with pytest.raises(PlanError) as error:
        parse_plan(text)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(PlanError, match="this is no text, so no plan"):
        load_plan(path)


def test_complaint_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("faults = 3")
    with pytest.raises(PlanError, match=f"^{path}: no key 'faults'"):
        load_plan(path)
