# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of the SMMU's reads of STEs and CDs."""

from __future__ import annotations

import pytest

from smmu_emu.driver import Smmuv3Driver
from smmu_emu.inject import Abort, Flip, Poison, Replace
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.testing import MachineUnderTest
from tests.scenarios.faults.catalogue import promises
from tests.scenarios.faults.rig import DATA, IOVA, OTHER, PA, STREAM, TwoStreams

_STE, _CD = 1, 2
"""Order of the fetches for a stream with a linear table and one CD."""


@promises(
    "the access is aborted and recorded as F_STE_FETCH with the address; the failure is not cached",
    "7.3.4",
    site="config-fetch",
    effect="abort",
)
def test_aborted_fetch_of_an_ste_is_recorded(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("config-fetch", Abort(), nth=_STE, stream=STREAM)
    assert not two.write()
    event = machine.events.one("F_STE_FETCH", stream=STREAM)
    assert event.text.endswith(f"at {two.driver.streams.entry(STREAM):#x}")
    assert two.write()
    two.assert_other_unharmed()


@promises(
    "the access is aborted and recorded as F_CD_FETCH with the address",
    "7.3.10",
    site="config-fetch",
    effect="abort",
)
def test_aborted_fetch_of_a_cd_is_recorded(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("config-fetch", Abort(), nth=_CD, stream=STREAM)
    assert not two.write()
    event = machine.events.one("F_CD_FETCH", stream=STREAM)
    assert event.text.endswith(f"at {two.domain.cd_address:#x}")
    assert two.write()
    two.assert_other_unharmed()


@promises(
    "an aborted fetch of a level-1 descriptor is F_STE_FETCH",
    "7.3.4",
    site="config-fetch",
    effect="abort",
)
def test_aborted_fetch_of_a_level_1_descriptor_is_recorded(machine: MachineUnderTest) -> None:
    two = TwoStreams(machine, machine.attach_driver(stream_bits=16))
    machine.inject("config-fetch", Abort(), nth=1, stream=STREAM)
    assert not two.write()
    assert machine.events.one("F_STE_FETCH").text.endswith(f"at {two.driver.stream_table:#x}")
    assert two.write()
    two.assert_other_unharmed()


@pytest.mark.machine(smmu_ids=PRESETS["full"])
@promises(
    "a CD that cannot be fetched stops its substream alone",
    "7.3.10",
    site="config-fetch",
    effect="abort",
)
def test_aborted_cd_of_a_substream_leaves_the_others(
    machine: MachineUnderTest, driver: Smmuv3Driver
) -> None:
    spaces = driver.substreams(bits=4)
    for substream in (0, 1, 2):
        spaces[substream] = driver.domain()
        spaces.spaces[substream].map(IOVA, PA + 0x1000 * substream, 0x1000)
    driver.attach_substreams(STREAM, spaces)
    machine.inject("config-fetch", Abort(), nth=_CD, stream=STREAM, substream=1)
    dma = machine.dma(STREAM)
    assert dma.write(IOVA, DATA, substream_id=2)
    # The STE is cached by now: the second fetch for substream 1 is that of its CD, tried again.
    assert [dma.write(IOVA, DATA, substream_id=1) for _ in range(2)].count(False) <= 1
    machine.smmu.configuration.drop_cds(STREAM)
    assert not dma.write(IOVA, DATA, substream_id=1)
    assert machine.events.one("F_CD_FETCH").substream == 1
    assert dma.write(IOVA, DATA, substream_id=1)
    machine.assert_isolated()


@promises(
    "an STE that is not valid is C_BAD_STE, its stream is aborted, and nothing is cached",
    "7.3.5, 5.2",
    site="config-fetch",
    effect="flip",
)
def test_ste_invalid_on_the_bus_is_recorded(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("config-fetch", Flip((0,)), nth=_STE, stream=STREAM)
    assert not two.write()
    assert machine.events.names == ["C_BAD_STE"]
    assert two.write()
    two.assert_other_unharmed()


@promises("a CD that is not valid is C_BAD_CD", "7.3.11, 5.4", site="config-fetch", effect="flip")
def test_cd_invalid_on_the_bus_is_recorded(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("config-fetch", Flip((31,)), nth=_CD, stream=STREAM)
    assert not two.write()
    assert machine.events.names == ["C_BAD_CD"]
    assert two.write()
    two.assert_other_unharmed()


@promises(
    "a damaged STE stops its stream until software has written it anew",
    "12.1, 7.3.4",
    site="config-fetch",
    effect="poison",
)
def test_poisoned_ste_aborts_until_it_is_rewritten(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("config-fetch", Poison(), nth=_STE, stream=STREAM)
    assert [two.write() for _ in range(3)] == [False] * 3
    assert machine.events.names == ["F_STE_FETCH"] * 3
    two.driver.detach(STREAM)
    two.driver.attach(STREAM, two.domain)
    assert two.write()
    two.assert_other_unharmed()


@promises(
    "an STE that reads as zeros is not valid: abort, C_BAD_STE",
    "5.2",
    site="config-fetch",
    effect="replace",
)
def test_ste_of_zeros_lets_nothing_pass(two: TwoStreams, machine: MachineUnderTest) -> None:
    machine.inject("config-fetch", Replace(0), nth=_STE, stream=STREAM)
    assert not two.write()
    assert machine.events.names == ["C_BAD_STE"]
    two.assert_other_unharmed()


@promises(
    "TLBI reaches the ASID it names: what was cached under a wrong one stays, and is stale",
    "4.4.2.4, 16.2",
    site="config-fetch",
    effect="flip",
)
def test_asid_changed_on_the_bus_escapes_invalidation(
    two: TwoStreams, machine: MachineUnderTest
) -> None:
    machine.inject("config-fetch", Flip((48 + 5,)), nth=_CD, stream=STREAM)
    assert two.write()
    two.domain.unmap(IOVA, 0x4000)
    assert two.write()
    (breach,) = machine.isolation.breaches
    assert (breach.stream, breach.why) == (STREAM, "the address is not mapped")
    assert two.write(stream=OTHER)


@pytest.mark.parametrize("bit", range(0, 512, 37))
@promises(
    "whatever bit of an STE changes on the bus, the other stream keeps to its own memory",
    "3.3.2",
    site="config-fetch",
    effect="flip",
)
def test_any_bit_of_an_ste_on_the_bus_leaves_the_other_stream(
    two: TwoStreams, machine: MachineUnderTest, bit: int
) -> None:
    machine.inject("config-fetch", Flip((bit,)), nth=_STE, stream=STREAM)
    two.write()
    assert two.write(stream=OTHER)
    assert not [breach for breach in machine.isolation.breaches if breach.stream == OTHER]
