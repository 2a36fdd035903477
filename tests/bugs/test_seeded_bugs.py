# SPDX-License-Identifier: GPL-2.0-or-later
"""Each seeded bug is found, by what the page says; correct drivers have no finding."""

from __future__ import annotations

import pytest

from tests.bugs.__main__ import PAGE
from tests.bugs.proof import POLICIES, Proof, all_proofs, check_image, check_life, tables

Proofs = tuple[list[Proof], list[Proof]]


@pytest.fixture(scope="module")
def proofs() -> Proofs:
    return all_proofs()


def test_there_are_many_and_no_name_twice(proofs: Proofs) -> None:
    image, life = proofs
    names = [one.name for one in image + life]
    assert len(names) == len(set(names)) > 80


def test_every_bug_is_caught(proofs: Proofs) -> None:
    assert [one.name for one in proofs[0] + proofs[1] if not one.caught] == []


def test_most_pass_unnoticed_without_the_checker(proofs: Proofs) -> None:
    """Else it would not be needed."""
    image, life = proofs
    assert sum(not one.noticed for one in image) > 30
    assert sum(not one.noticed for one in life) > 20
    assert sum(one.on_qemu == 0 for one in image) > 30


def test_page_is_what_was_found(proofs: Proofs) -> None:
    told = PAGE.read_text()
    for line in tables(*proofs):
        assert line in told, "python -m tests.bugs writes it anew"


@pytest.mark.parametrize("policy", ["", *POLICIES, "forget", "evict,split,merge,seed=2"])
def test_correct_image_has_no_finding(policy: str) -> None:
    assert check_image("none", policy) == ((), 0)


def test_correct_image_has_no_finding_when_every_write_is_seen() -> None:
    assert check_image("none", provenance=True) == ((), 0)


def test_correct_python_driver_has_no_finding() -> None:
    assert check_life(None) == ((), True)
