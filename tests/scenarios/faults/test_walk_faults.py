# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of the SMMU's reads and updates of translation tables."""

from __future__ import annotations

import pytest

from pgtable import Arena
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.inject import (
    EVER,
    Abort,
    Drop,
    Flip,
    Injection,
    Plan,
    Poison,
    Replace,
    Stuck,
    When,
)
from smmu_emu.inject.locate import structures
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.testing import MachineUnderTest
from smmu_emu.transaction import Transaction
from tests.scenarios.faults.catalogue import promises
from tests.scenarios.faults.rig import IOVA, OTHER, PA, STREAM, TwoStreams, stage2

_VALID, _READ_ONLY, _ACCESSED = 0, 7, 10
"""Bits of a descriptor. DDI 0487 D8.3."""
_LEAF = 4
"""Walks of 48 bits read four descriptors."""


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@promises(
    "the access is aborted and recorded as F_WALK_EABT with the level's address; nothing is cached",
    "7.3.12",
    site="walk-read",
    effect="abort",
)
def test_aborted_read_of_a_descriptor_is_recorded(
    two: TwoStreams, machine: MachineUnderTest, level: int
) -> None:
    machine.inject("walk-read", Abort(), nth=level + 1, stream=STREAM)
    assert not two.write()
    event = machine.events.one("F_WALK_EABT", stream=STREAM, iova=IOVA, stage=1)
    assert f"level {level} " in event.text
    assert two.write()
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "the record says S2, and the access is aborted", "7.3.12", site="walk-read", effect="abort"
)
def test_aborted_read_of_a_stage_2_descriptor_is_recorded(
    machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    stage2(driver)
    machine.inject("walk-read", Abort(), stream=STREAM)
    assert not machine.dma(STREAM).write(IOVA, b"lost")
    assert machine.events.one().name == "F_WALK_EABT"
    assert machine.events[0].stage == 2
    assert machine.dma(STREAM).write(IOVA, b"here")
    machine.assert_isolated()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@pytest.mark.parametrize("nth", [1, 4, 7, 12, 20])
@promises(
    "whichever of a nested walk's reads aborts, the access is aborted with F_WALK_EABT",
    "7.3.12",
    site="walk-read",
    effect="abort",
)
def test_any_aborted_read_of_a_nested_walk_is_recorded(
    machine: MachineUnderTest, driver: Smmuv3Driver, nth: int
) -> None:
    host = driver.stage2()
    host.map(0x10_0000_0000, PA, 1 << 20)
    guest = driver.guest(host, Arena(0x10_0000_0000, 1 << 19, machine.ram.view[PA - 0x4000_0000 :]))
    guest.map(IOVA, 0x10_000F_0000, 0x1000)
    driver.attach(STREAM, guest)
    machine.inject("walk-read", Abort(), nth=nth, stream=STREAM)
    assert not machine.dma(STREAM).write(IOVA, b"lost")
    assert machine.events.names == ["F_WALK_EABT"]
    assert machine.dma(STREAM).write(IOVA, b"here")
    assert machine.memory.read(PA + 0xF_0000, 4) == b"here"
    machine.assert_isolated()


@promises(
    "errors are contained: each access that needs the damaged descriptor is aborted until "
    "software has written it anew",
    "12.1",
    site="walk-read",
    effect="poison",
)
def test_poisoned_descriptor_aborts_until_it_is_rewritten(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    leaf = structures(machine.smmu, Transaction(STREAM, IOVA))[-1].address
    good = machine.memory.read_u64(leaf)
    machine.inject("walk-read", Poison(), nth=_LEAF, stream=STREAM)
    assert not two.write()
    assert not two.write()
    assert two.write(0x1000)
    assert good is not None
    machine.memory.write_u64(leaf, good)
    assert two.write()
    assert machine.events.names == ["F_WALK_EABT"] * 2
    two.assert_other_unharmed()


@promises(
    "an invalid descriptor is F_TRANSLATION, and is not cached: the next access walks again",
    "7.3.13, 16.2",
    site="walk-read",
    effect="flip",
)
def test_valid_bit_lost_on_the_bus_faults_once(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("walk-read", Flip((_VALID,)), nth=_LEAF, stream=STREAM)
    assert not two.write()
    assert machine.events.one("F_TRANSLATION", stream=STREAM).level == 3
    assert two.write()
    two.assert_other_unharmed()


@promises("a clear access flag is F_ACCESS", "7.3.15", site="walk-read", effect="flip")
def test_access_flag_lost_on_the_bus_is_told(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("walk-read", Flip((_ACCESSED,)), nth=_LEAF, stream=STREAM)
    assert not two.write()
    assert machine.events.names == ["F_ACCESS"]
    two.assert_other_unharmed()


@promises(
    "a write without permission is F_PERMISSION; what was read wrongly may be cached until a TLBI",
    "7.3.16, 16.2",
    site="walk-read",
    effect="flip",
)
def test_write_permission_lost_on_the_bus_stays_until_invalidated(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("walk-read", Flip((_READ_ONLY,)), nth=_LEAF, stream=STREAM)
    assert not two.write()
    assert not two.write()
    two.domain.tlb_flush_all()
    assert two.write()
    assert machine.events.names == ["F_PERMISSION"] * 2
    two.assert_other_unharmed()


@promises(
    "none: tables are trusted. The landing is seen as a breach that names stream, address and page",
    "none",
    site="walk-read",
    effect="flip",
)
def test_output_address_changed_on_the_bus_is_seen_as_a_breach(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("walk-read", Flip((27,)), nth=_LEAF, stream=STREAM)
    assert two.write()
    assert machine.events == []
    assert not two.landed()
    (breach,) = machine.isolation.breaches
    assert (breach.stream, breach.iova, breach.pa) == (STREAM, IOVA, PA ^ 1 << 27)
    assert breach.why == f"it is mapped to {PA:#x}"
    two.domain.tlb_flush_all()
    assert two.write()
    assert two.landed()


@promises("an output address beyond OAS is F_ADDR_SIZE", "7.3.14", site="walk-read", effect="flip")
def test_address_too_large_on_the_bus_is_told(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("walk-read", Flip((47,)), nth=2, stream=STREAM)
    assert not two.write()
    assert machine.events.names == ["F_ADDR_SIZE"]
    two.assert_other_unharmed()


@promises(
    "every access faults, none is let through; the other stream is not concerned",
    "7.3.13",
    site="walk-read",
    effect="replace",
)
def test_bus_that_reads_zeros_for_ever_lets_nothing_pass(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("walk-read", Replace(0), stream=STREAM, times=EVER)
    assert not any(two.write(offset) for offset in range(0, 0x4000, 0x1000))
    assert machine.events.names == ["F_TRANSLATION"] * 4
    two.assert_other_unharmed()


@promises(
    "a bit stuck at 0 that makes descriptors invalid faults each walk; hits need no walk",
    "7.3.13, 16.2",
    site="walk-read",
    effect="stuck",
)
def test_stuck_valid_bit_faults_walks_and_no_hits(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    assert two.write()
    machine.inject("walk-read", Stuck(value=0, mask=1), stream=STREAM)
    assert two.write()
    assert not two.write(0x1000)
    assert machine.events.names == ["F_TRANSLATION"]
    two.assert_other_unharmed()


@pytest.mark.seeds(24)
@promises(
    "whatever bit of whatever descriptor changes, the other stream's accesses are its own",
    "3.2, 3.3.2",
    site="walk-read",
    effect="flip",
)
def test_random_bit_on_the_bus_never_reaches_the_other_stream(
    two: TwoStreams, machine: MachineUnderTest, seed: int
) -> None:
    fault = Injection("walk-read", Flip(count=1), When(stream=STREAM, nth=1 + seed % _LEAF))
    machine.inject(Plan((fault,), seed=seed))
    two.write()
    assert two.write(stream=OTHER)
    assert two.landed(pa=0x5800_0000)
    assert not [breach for breach in machine.isolation.breaches if breach.stream == OTHER]


@promises(
    "each access that met an abort is recorded, each other one lands; the same seed, the same run",
    "7.3.12",
    site="walk-read",
    effect="abort",
)
def test_unreliable_bus_is_told_of_access_by_access(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    fault = Injection("walk-read", Abort(), When(stream=STREAM, probability=0.1, times=EVER))
    injector = machine.inject(Plan((fault,), seed=11))
    outcomes = []
    for _ in range(40):
        two.domain.tlb_flush_all()
        outcomes.append(two.write())
    assert outcomes.count(False) == len(machine.events) == sum(injector.report().fired.values())
    assert 0 < outcomes.count(False) < 40
    assert set(machine.events.names) == {"F_WALK_EABT"}
    two.assert_other_unharmed()


@promises(
    "the first fault opens the way for the second: each is recorded for itself",
    "7.3.4, 7.3.12",
    site="walk-read",
    effect="abort",
)
def test_walk_aborts_after_a_configuration_abort(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    first = Injection("config-fetch", Abort(), When(stream=STREAM), name="configuration")
    second = Injection("walk-read", Abort(), When(stream=STREAM, after="configuration"))
    machine.inject(Plan((first, second)))
    assert [two.write() for _ in range(3)] == [False, False, True]
    assert machine.events.names == ["F_STE_FETCH", "F_WALK_EABT"]
    two.assert_other_unharmed()


# -- updates of descriptors


@pytest.fixture
def marking(machine: MachineUnderTest, driver: Smmuv3Driver) -> TwoStreams:
    """Hardware marks pages accessed and dirty."""
    return TwoStreams(machine, driver, dirty=True)


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "the access is aborted with F_WALK_EABT, and the page stays clean",
    "3.13, 7.3.12",
    site="walk-write",
    effect="abort",
)
def test_aborted_update_of_a_descriptor_ends_the_access(
    marking: TwoStreams, machine: MachineUnderTest
) -> None:
    marking.domain.collect_dirty(IOVA, 0x4000)
    machine.inject("walk-write", Abort(), stream=STREAM)
    assert not marking.write()
    assert machine.events.names == ["F_WALK_EABT"]
    assert marking.domain.collect_dirty(IOVA, 0x4000) == []
    marking.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "none: a posted write that is lost loses the dirty state, though the data have landed",
    "none",
    site="walk-write",
    effect="drop",
)
def test_lost_update_of_a_descriptor_loses_the_dirty_state(
    marking: TwoStreams, machine: MachineUnderTest
) -> None:
    marking.domain.collect_dirty(IOVA, 0x4000)
    machine.inject("walk-write", Drop(), stream=STREAM)
    assert marking.write()
    assert marking.landed()
    assert marking.domain.collect_dirty(IOVA, 0x4000) == []
    marking.assert_other_unharmed()
