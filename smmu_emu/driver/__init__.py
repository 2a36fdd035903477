# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference drivers in Python: the only rooms where page tables and devices meet."""

from smmu_emu.driver.domain import Domain, GuestDomain, Stage2Domain
from smmu_emu.driver.faults import Answer, Decision, FaultEvent
from smmu_emu.driver.queues import DriverError
from smmu_emu.driver.smmuv3 import Smmuv3Driver
from smmu_emu.driver.substreams import Substreams

__all__ = [
    "Answer",
    "Decision",
    "Domain",
    "DriverError",
    "FaultEvent",
    "GuestDomain",
    "Smmuv3Driver",
    "Stage2Domain",
    "Substreams",
]
