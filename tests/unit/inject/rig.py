# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with one stream mapped, for faults that are looked at one by one."""

from __future__ import annotations

from smmu_emu.testing import MachineUnderTest

STREAM, IOVA, PA = 0x8, 0x10000, 0x5000_0000


def machine() -> MachineUnderTest:
    """`STREAM` reaches `PA` at `IOVA`, 16 KiB."""
    made = MachineUnderTest.build()
    driver = made.attach_driver()
    domain = driver.domain()
    domain.map(IOVA, PA, 0x4000)
    driver.attach(STREAM, domain)
    return made
