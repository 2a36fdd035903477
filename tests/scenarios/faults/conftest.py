# SPDX-License-Identifier: GPL-2.0-or-later
"""What scenarios of faults start from."""

from __future__ import annotations

import pytest

from smmu_emu.driver import Smmuv3Driver
from smmu_emu.testing import MachineUnderTest
from tests.scenarios.faults.rig import TwoStreams


@pytest.fixture
def two(machine: MachineUnderTest, driver: Smmuv3Driver) -> TwoStreams:
    """Two streams, mapped and working."""
    return TwoStreams(machine, driver)
