# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures are found where the SMMU would find them, and looking changes nothing."""

from __future__ import annotations

from pgtable import Arena
from smmu_emu.inject.locate import Structure, cached, structures
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.testing import MachineUnderTest
from smmu_emu.transaction import Transaction
from tests.unit.inject.rig import IOVA, PA, STREAM, machine

HOST = 0x10_0000_0000


def _short(found: list[Structure]) -> list[str]:
    """Kinds in order; descriptors with stage and level."""
    return [one.what if not one.stage else f"{one.stage}/{one.level}" for one in found]


def test_stage_1_is_an_ste_a_cd_and_four_descriptors() -> None:
    under_test = machine()
    driver = under_test.driver
    assert driver is not None
    found = structures(under_test.smmu, Transaction(STREAM, IOVA))
    assert _short(found) == ["ste", "cd", "1/0", "1/1", "1/2", "1/3"]
    assert found[0] == Structure("ste", driver.streams.entry(STREAM), 64)
    assert found[1].address == driver.domains[STREAM].cd_address  # type: ignore[union-attr]
    assert under_test.memory.read_u64(found[5].address) & 0xFFFF_FFFF_F000 == PA  # type: ignore[operator]


def test_walk_that_faults_is_found_as_far_as_it_goes() -> None:
    under_test = machine()
    found = structures(under_test.smmu, Transaction(STREAM, 1 << 40))
    assert _short(found) == ["ste", "cd", "1/0"]
    assert _short(structures(under_test.smmu, Transaction(9, IOVA))) == ["ste"]
    assert structures(under_test.smmu, Transaction(1 << 20, IOVA)) == []


def test_tables_of_two_levels_are_found() -> None:
    under_test = MachineUnderTest.build(smmu_ids=PRESETS["full"])
    driver = under_test.attach_driver(stream_bits=16)
    spaces = driver.substreams(bits=12)
    spaces[700] = driver.domain()
    spaces.spaces[700].map(IOVA, PA, 1 << 21)
    driver.attach_substreams(STREAM, spaces)
    found = structures(under_test.smmu, Transaction(STREAM, IOVA, substream_id=700))
    assert _short(found)[:4] == ["l1std", "ste", "l1cd", "cd"]
    assert found[0].address == driver.stream_table


def test_descriptors_of_both_stages_are_told_apart() -> None:
    under_test = MachineUnderTest.build(smmu_ids=PRESETS["full"])
    driver = under_test.attach_driver()
    host = driver.stage2(ias=40)
    host.map(HOST, PA, 1 << 21)
    guest = driver.guest(host, Arena(HOST, 1 << 19, under_test.ram.view[PA - (1 << 30) :]))
    guest.map(IOVA, HOST + 0xF_0000, 0x1000)
    driver.attach(STREAM, guest)
    found = structures(under_test.smmu, Transaction(STREAM, IOVA))
    stages = [(one.stage, one.level) for one in found if one.what == "descriptor"]
    assert [level for stage, level in stages if stage == 1] == [0, 1, 2, 3]
    assert {level for stage, level in stages if stage == 2} == {0, 1, 2}  # a block of 2 MiB
    leaf = next(one for one in found if (one.stage, one.level) == (1, 3))
    word = under_test.memory.read_u64(leaf.address)
    assert word is not None
    assert word & 0xFFFF_FFFF_F000 == HOST + 0xF_0000


def test_looking_changes_nothing() -> None:
    under_test = MachineUnderTest.build(smmu_ids=PRESETS["full"])
    driver = under_test.attach_driver()
    domain = driver.domain(dirty=True)
    domain.map(IOVA, PA, 0x4000)
    driver.attach(STREAM, domain)
    domain.collect_dirty(IOVA, 0x4000)
    smmu = under_test.smmu
    before = dict(smmu.registers.values)
    structures(smmu, Transaction(STREAM, IOVA, True))
    structures(smmu, Transaction(STREAM, 1 << 40, True))
    structures(smmu, Transaction(0x44, IOVA, True))
    assert smmu.registers.values == before
    assert (len(smmu.tlb), len(smmu.configuration.streams), smmu.stages.walks) == (0, 0, 0)
    assert under_test.refused == []
    assert domain.collect_dirty(IOVA, 0x4000) == []
    assert cached(smmu, Transaction(STREAM, IOVA)) is None


def test_cached_entry_is_that_of_the_transaction() -> None:
    under_test = machine()
    assert under_test.dma(STREAM).write(IOVA + 0x1000, b"x")
    assert cached(under_test.smmu, Transaction(STREAM, IOVA)) is None
    entry = cached(under_test.smmu, Transaction(STREAM, IOVA + 0x1FFF))
    assert entry is not None
    assert (entry.base, entry.page) == (IOVA + 0x1000, PA + 0x1000)
