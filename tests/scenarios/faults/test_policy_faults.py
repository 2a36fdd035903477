# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults under an SMMU that uses its freedoms: evicts, prefetches, is late."""

from __future__ import annotations

import pytest

from smmu_emu.driver import Smmuv3Driver
from smmu_emu.inject import EVER, Abort, Injection, Plan, When
from smmu_emu.testing import MachineUnderTest
from tests.scenarios.faults.catalogue import promises
from tests.scenarios.faults.rig import IOVA, OTHER, OTHER_PA, STREAM, TwoStreams

_POLICIES = (
    *("forget", "evict", "prefetch", "table-pointers", "split", "merge", "bad-config"),
    *("late-commands", "late-effects", "late-acks", "late-dma"),
    "evict,prefetch,table-pointers,split,late-commands,late-effects",
)


@pytest.mark.policies(*_POLICIES)
@pytest.mark.seeds(2)
@promises(
    "whatever of its freedoms an SMMU uses: an aborted walk ends its access alone, and after unmap "
    "nothing of a page is reachable",
    "7.3.12, 16.2, 3.21.1",
    site="walk-read",
    effect="abort",
)
def test_unreliable_bus_under_every_policy(
    machine: MachineUnderTest, driver: Smmuv3Driver, seed: int
) -> None:
    two = TwoStreams(machine, driver)
    fault = Injection("walk-read", Abort(), When(stream=STREAM, probability=0.2, times=EVER))
    injector = machine.inject(Plan((fault,), seed=seed))
    for number in range(12):
        page = 0x1000 * (number % 4)
        passed = two.write(page)
        machine.pass_time(1_000_000)
        if passed:
            assert two.landed(page)
        two.domain.unmap(IOVA + page, 0x1000)
        assert not two.write(page)
        two.domain.map(IOVA + page, 0x5000_0000 + page, 0x1000)
    aborted = [event for event in machine.events if event.name == "F_WALK_EABT"]
    assert len(aborted) <= sum(injector.report().fired.values())
    assert {event.stream for event in machine.events} <= {STREAM}
    assert two.write(stream=OTHER)
    machine.pass_time(1_000_000)
    assert two.landed(pa=OTHER_PA)
    machine.assert_isolated()
