# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference drivers in Python: the only rooms where page tables and devices meet."""

from smmu_emu.driver.domain import Domain
from smmu_emu.driver.queues import DriverError
from smmu_emu.driver.smmuv3 import Smmuv3Driver

__all__ = ["Domain", "DriverError", "Smmuv3Driver"]
