# SPDX-License-Identifier: GPL-2.0-or-later
"""The system under faults: two streams with address spaces of their own, side by side."""

from __future__ import annotations

from smmu_emu.driver import Domain, Smmuv3Driver, Stage2Domain
from smmu_emu.port import DmaPort
from smmu_emu.testing import MachineUnderTest

STREAM, OTHER = 0x8, 0x9
IOVA, SIZE = 0x10000, 0x4000
PA, OTHER_PA = 0x5000_0000, 0x5800_0000
DATA = b"eight by"


class TwoStreams:
    """`STREAM` reaches `PA`, `OTHER` reaches `OTHER_PA`, both at `IOVA`; stage 1."""

    def __init__(self, machine: MachineUnderTest, driver: Smmuv3Driver, **options: bool) -> None:
        self.machine = machine
        self.driver = driver
        self.domain = self._space(STREAM, PA, options)
        self.other = self._space(OTHER, OTHER_PA, options)

    def _space(self, stream: int, pa: int, options: dict[str, bool]) -> Domain:
        domain = self.driver.domain(**options)
        domain.map(IOVA, pa, SIZE)
        self.driver.attach(stream, domain)
        return domain

    @property
    def dma(self) -> DmaPort:
        """The master with `STREAM`."""
        return self.machine.dma(STREAM)

    def write(self, offset: int = 0, stream: int = STREAM) -> bool:
        """One write of `DATA`; whether it was not aborted."""
        return self.machine.dma(stream).write(IOVA + offset, DATA)

    def landed(self, offset: int = 0, pa: int = PA) -> bool:
        """Whether `DATA` is in memory."""
        return self.machine.memory.read(pa + offset, len(DATA)) == DATA

    def assert_other_unharmed(self) -> None:
        """The other stream works, and nothing landed where it must not."""
        assert self.write(stream=OTHER)
        assert self.landed(pa=OTHER_PA)
        self.machine.assert_isolated()


def stage2(driver: Smmuv3Driver, stream: int = STREAM, pa: int = PA) -> Stage2Domain:
    """A stream that stage 2 alone translates."""
    domain = driver.stage2()
    domain.map(IOVA, pa, SIZE)
    driver.attach(stream, domain)
    return domain
