# SPDX-License-Identifier: GPL-2.0-or-later
"""Where DMA may land: declarations by hand and by the driver, and what is a breach."""

from __future__ import annotations

import pytest

from pgtable import Arena
from smmu_emu import Machine
from smmu_emu.inject.isolation import Isolation
from smmu_emu.inject.mappings import Mappings, Space
from smmu_emu.inject.plan import Allow
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.testing import MachineUnderTest
from tests.unit.inject.rig import IOVA, PA, STREAM, machine


def _objection(mappings: Mappings, iova: int, pa: int, *, write: bool = True) -> str | None:
    return mappings.objection(STREAM, None, iova, pa, 8, write)


def test_allowance_holds_for_its_range_stream_and_access() -> None:
    mappings = Mappings()
    assert not mappings.declared
    mappings.allow(Allow(STREAM, (0x1000, 0x2000), PA, write=False))
    assert mappings.declared
    assert _objection(mappings, 0x1000, PA, write=False) is None
    assert _objection(mappings, 0x1FF8, PA + 0xFF8, write=False) is None
    assert _objection(mappings, 0x1FF9, PA + 0xFF9, write=False)
    assert _objection(mappings, 0xFF8, PA - 8, write=False)
    assert _objection(mappings, 0x1000, PA, write=True)
    assert _objection(mappings, 0x1000, PA + 8, write=False)
    assert mappings.objection(9, None, 0x1000, PA, 8, False)
    mappings.forget()
    assert _objection(mappings, 0x1000, PA, write=False) == "nothing that is declared allows it"


def test_allowance_without_address_leads_anywhere() -> None:
    mappings = Mappings()
    mappings.allow(Allow(STREAM, (0x1000, 0x2000), substream=3))
    assert mappings.objection(STREAM, 3, 0x1000, 0x1234_5000, 8, True) is None
    assert mappings.objection(STREAM, 4, 0x1000, 0x1234_5000, 8, True)


def test_pieces_of_a_space_are_cut() -> None:
    space = Space()
    space.add(0x1000, 0x4000, 0xA000, 3)
    space.remove(0x2000, 0x1000)
    assert [tuple(piece) for piece in space] == [
        (0x1000, 0x1000, 0xA000, 3),
        (0x3000, 0x2000, 0xC000, 3),
    ]
    assert space.find(0x2FFF) is None
    assert space.find(0x0FFF) is None
    piece = space.find(0x4FFF)
    assert piece is not None
    assert piece.pa == 0xC000
    space.add(0x2000, 0x2000, 0x9_0000, 1)
    assert [piece.iova for piece in space] == [0x1000, 0x2000, 0x4000]


def test_driver_declares_what_it_maps() -> None:
    under_test = machine()
    assert under_test.dma(STREAM).write(IOVA, b"x")
    under_test.assert_isolated()
    assert under_test.isolation.landings == 1


def test_driver_that_forgets_to_invalidate_breaches() -> None:
    under_test = machine()
    domain = under_test.driver.domains[STREAM]
    assert under_test.dma(STREAM).write(IOVA, b"x")
    domain.invalidate = False
    domain.unmap(IOVA, 0x1000)
    assert under_test.dma(STREAM).write(IOVA + 8, b"stale")
    (breach,) = under_test.isolation.breaches
    assert str(breach) == (
        "stream 0x8 wrote 5 bytes at pa 0x50000008 through iova 0x10008: "
        "the address is not mapped (by dma 0x8 at 0 ns)"
    )
    with pytest.raises(AssertionError, match="1 breaches of isolation:\n  stream 0x8 wrote"):
        under_test.assert_isolated()


def test_breach_can_be_allowed() -> None:
    under_test = machine()
    domain = under_test.driver.domains[STREAM]
    domain.invalidate = False
    assert under_test.dma(STREAM).write(IOVA, b"x")
    domain.unmap(IOVA, 0x1000)
    under_test.allow(STREAM, IOVA, 0x1000, PA)
    assert under_test.dma(STREAM).write(IOVA + 8, b"stale")
    under_test.assert_isolated()


def test_bypass_leads_to_the_same_address_alone() -> None:
    under_test = machine()
    under_test.driver.bypass(0x9)
    assert under_test.dma(0x9).write(PA, b"x")
    under_test.assert_isolated()
    under_test.driver.detach(0x9)
    assert not under_test.dma(0x9).write(PA, b"x")


def test_write_needs_the_right_to_write() -> None:
    under_test = machine()
    mappings = under_test.isolation.mappings
    under_test.driver.domains[STREAM].map(0x9_0000, PA, 0x1000, 1)
    assert _objection(mappings, 0x9_0000, PA, write=False) is None
    assert _objection(mappings, 0x9_0000, PA) == "it is mapped without write"
    assert _objection(mappings, 0x9_0FFC, PA + 0xFFC, write=False) == (
        "it goes past the end of what is mapped"
    )


def test_map_that_fails_declares_nothing() -> None:
    under_test = machine()
    domain = under_test.driver.domains[STREAM]
    with pytest.raises(Exception, match="1"):
        domain.map(IOVA, PA + 0x10_0000, 0x1000)  # is mapped already
    assert _objection(under_test.isolation.mappings, IOVA + 0x8000, PA) == (
        "the address is not mapped"
    )


def test_nested_mappings_are_followed_through_both_stages() -> None:
    under_test = MachineUnderTest.build(smmu_ids=PRESETS["full"])
    driver = under_test.attach_driver()
    host = driver.stage2()
    host.map(0x10_0000_0000, PA, 1 << 20)
    guest = driver.guest(
        host, Arena(0x10_0000_0000, 1 << 19, under_test.ram.view[PA - (1 << 30) :])
    )
    guest.map(IOVA, 0x10_000F_0000, 0x1000)
    driver.attach(STREAM, guest)
    mappings = under_test.isolation.mappings
    assert _objection(mappings, IOVA, PA + 0xF_0000) is None
    assert _objection(mappings, IOVA, PA) == f"it is mapped to {PA + 0xF_0000:#x}"
    assert under_test.dma(STREAM).write(IOVA, b"x")
    under_test.assert_isolated()


def test_stalled_write_is_judged_when_it_lands() -> None:
    under_test = MachineUnderTest.build(smmu_ids=PRESETS["full"])
    driver = under_test.attach_driver()
    domain = driver.domain(stall=True)
    driver.attach(STREAM, domain)
    transfer = under_test.dma(STREAM).start_write(IOVA, b"x")
    domain.map(IOVA, PA, 0x1000)
    from smmu_emu.driver import Decision

    driver.faults.decide = lambda event: Decision.RETRY
    driver.faults.run()
    assert transfer.ok
    assert under_test.isolation.landings == 1
    under_test.assert_isolated()


def test_accesses_beside_the_smmu_are_not_judged() -> None:
    under_test = machine()
    under_test.dma(STREAM).memory.write(PA + 0x10_0000, b"straight")
    assert under_test.isolation.landings == 0


def test_nothing_declared_is_said() -> None:
    with Machine.virt() as plain:
        isolation = Isolation(plain)
        isolation.install()
        plain.dma(STREAM).write(PA, b"x")  # the SMMU is off
        assert [breach.why for breach in isolation.breaches] == [
            "nothing that is declared allows it"
        ]
        isolation.remove()
        plain.dma(STREAM).write(PA, b"x")
        assert isolation.landings == 1
