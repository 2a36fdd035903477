# SPDX-License-Identifier: GPL-2.0-or-later
"""Every single-bit flip in a small system, and every table read aborted: what became of each.

A breach is a defect unless the damaged structures themselves permit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smmu_emu.campaign.fields import field_of
from smmu_emu.campaign.outcome import Class
from smmu_emu.campaign.spec import Campaign
from smmu_emu.campaign.store import Store
from tests.scenarios import isolation_campaign as isolation

MAY_BREACH = {
    *("STE.Config", "STE.S1ContextPtr", "CD.TTB0", "CD.ASID", "CD.T0SZ", "CD.TG0"),
    *("output address", "next-level table address", "AP", "nG", "table", "valid"),
}
"""Fields that say where accesses go, or whose they are: the architecture has no other guard."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Campaign, Store]]:
    campaign, store = isolation.run_all(tmp_path_factory.mktemp("isolation"))
    yield campaign, store
    store.close()


def test_every_run_was_done_and_shows_something(results: tuple[Campaign, Store]) -> None:
    campaign, store = results
    assert len(store.done()) == campaign.total > 2800
    assert store.rows("number, detail", "outcome = ?", Class.INVALID.value) == []


def test_aborted_reads_never_let_anything_through(results: tuple[Campaign, Store]) -> None:
    _, store = results
    outcomes = store.rows("outcome, detail", "effect = 'abort'")
    assert {outcome for outcome, _ in outcomes} == {Class.DETECTED.value}
    names = {detail for _, detail in outcomes}
    assert names == {"F_WALK_EABT", "F_STE_FETCH", "F_CD_FETCH"}


def test_only_fields_that_lead_somewhere_can_breach(results: tuple[Campaign, Store]) -> None:
    campaign, store = results
    numbers = store.rows("number", "outcome = ?", Class.BREACH.value)
    fields = {field_of(campaign.run(number).fault) for (number,) in numbers}
    assert {"output address", "CD.TTB0"} <= fields <= MAY_BREACH


def test_every_breach_is_permitted_by_the_damaged_structures(
    results: tuple[Campaign, Store],
) -> None:
    assert isolation.defects(*results) == []


def test_second_reader_would_object() -> None:
    """It says no where nothing leads: else the test above could not fail."""
    from smmu_emu.campaign.runner import running
    from smmu_emu.inject.isolation import Breach

    campaign = isolation.load_campaign(isolation.EXAMPLE)
    with running(campaign) as runner:
        machine = runner.prepared(campaign.run(0)).machine
        values, read = machine.smmu.registers.values, machine.memory.read_u64
        reader = isolation.TableReader(values.__getitem__, read)
        lies = Breach(0, "", 0x08, None, 0x1000_0000, 0x5000_9000, 4, True, "", None)
        assert not isolation._opinion(reader, lies).permitted
        truth = lies._replace(pa=0x5000_0000)
        assert isolation._opinion(reader, truth).permitted


def test_table_in_the_docs_is_this_one(results: tuple[Campaign, Store]) -> None:
    text = Path(isolation.PAGE).read_text()
    table = "\n".join(isolation.outcome_table(results[1]))
    assert table in text, "python -m tests.scenarios.isolation_campaign writes it anew"
