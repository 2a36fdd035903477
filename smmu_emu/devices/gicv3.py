# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3 for one core: distributor, redistributor, CPU interface and ITS, joined.

Spec: Arm IHI 0069 3.1. One Security state, affinity routing always; each part's own file says what
it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.devices.gicv3_cpu import CpuInterface
from smmu_emu.devices.gicv3_distributor import Distributor
from smmu_emu.devices.gicv3_interrupts import FIRST_SPI, Interrupts
from smmu_emu.devices.gicv3_its import Its
from smmu_emu.devices.gicv3_lpi import Lpis
from smmu_emu.devices.gicv3_redistributor import Redistributor
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.memory import PhysicalMemory
from smmu_emu.port import MemoryPort

Reports = Callable[[str], Report]
"""Through what each part reports: "distributor", "redistributor", "its", "its translation"."""
MAINTENANCE_PPI = 25
"""The GIC's own number."""


class Gicv3:
    """``ports`` are its ways into memory: "lpi-configuration", "lpi-pending", "its-commands" and
    "its-tables"."""

    def __init__(
        self, memory: PhysicalMemory, reports: Reports = lambda part: ignore, name: str = "gic"
    ) -> None:
        self.ports = {
            port: MemoryPort(port, memory)
            for port in ("lpi-configuration", "lpi-pending", "its-commands", "its-tables")
        }
        self.interrupts = Interrupts()
        report = reports("redistributor")
        self.lpis = Lpis(self.ports["lpi-configuration"], self.ports["lpi-pending"], report)
        self.distributor = Distributor(self.interrupts, reports("distributor"))
        self.redistributor = Redistributor(self.interrupts, self.lpis, report)
        self.cpu = CpuInterface(self.interrupts, self.distributor, self.redistributor, name)
        self.cpu.virtual.maintenance.sink = self.ppi(MAINTENANCE_PPI)
        self.its = Its(
            [self.lpis],
            self.ports["its-commands"],
            self.ports["its-tables"],
            reports("its"),
            reports("its translation"),
        )
        for part in (self.distributor, self.redistributor, self.its):
            part.changed = self.cpu.update

    def reset(self) -> None:
        """Power-on state; wires of devices keep their level."""
        self.interrupts.reset()
        self.distributor.reset()
        self.redistributor.reset()
        self.its.reset()
        self.cpu.reset()

    def spi(self, number: int) -> Callable[[bool], None]:
        """The sink for the wire of shared peripheral interrupt ``number``."""
        return self.ppi(FIRST_SPI + number)

    def ppi(self, number: int) -> Callable[[bool], None]:
        """The sink for the wire of the interrupt with this GIC number."""

        def drive(level: bool) -> None:
            self.interrupts.set_level(number, level)
            self.cpu.update()

        return drive
