# SPDX-License-Identifier: GPL-2.0-or-later
"""The board's interrupt controllers, made and put into the memory map as QEMU's ``virt`` has them.

"v2" is a GICv2 and a frame of messages, GICv2m; "v3" a GICv3 with an ITS. With an ITS each message
carries the DeviceID of its sender, which is the StreamID of a DMA master; the SMMU and its counter
group have DeviceIDs of their own, beyond those of PCI.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from smmu_emu.devices.gicv2 import Gicv2
from smmu_emu.devices.gicv2_distributor import FIRST_SPI
from smmu_emu.devices.gicv2m import Gicv2m
from smmu_emu.devices.reporter import Reporter
from smmu_emu.errors import ConfigurationError
from smmu_emu.interrupt import InterruptLine
from smmu_emu.memory import Doorbell, MmioDevice, PhysicalMemory

if TYPE_CHECKING:
    from smmu_emu.devices.gicv3 import Gicv3


class Place(NamedTuple):
    """A window of the memory map, in bytes."""

    base: int
    size: int


GIC_DISTRIBUTOR = Place(0x0800_0000, 0x1000)
GIC_CPU = Place(0x0801_0000, 0x2000)
GIC_V2M = Place(0x0802_0000, 0x1000)
GICV3_DISTRIBUTOR = Place(0x0800_0000, 0x1_0000)
GICV3_ITS = Place(0x0808_0000, 0x2_0000)
"""Control frame and, 64 KiB on, translation frame."""
GICV3_REDISTRIBUTORS = Place(0x080A_0000, 0xF6_0000)
"""Room for 123 cores, as device trees say; there is one."""
V2M_SPIS = range(48, 112)
"""What messages to the GICv2m can raise. As on QEMU's board, the SMMU's wires are among them."""

VERSIONS = ("v2", "v3")
SMMU_DEVICE, PMCG_DEVICE = 0x1_0000, 0x1_0001
"""DeviceIDs of the SMMU's and its counter group's own messages."""


class CpuSide(Protocol):
    """What a core is wired to."""

    irq: InterruptLine
    fiq: InterruptLine


class Gic(Protocol):
    """What the two controllers have in common."""

    @property
    def cpu(self) -> CpuSide: ...

    def reset(self) -> None: ...

    def spi(self, number: int) -> Callable[[bool], None]: ...

    def ppi(self, number: int) -> Callable[[bool], None]: ...


def check_version(version: str) -> None:
    """Raises: ConfigurationError for a controller that there is not."""
    if version not in VERSIONS:
        raise ConfigurationError(f"no GIC {version!r}: there is {' and '.join(VERSIONS)}")


def add_gicv2(memory: PhysicalMemory, reporter: Reporter) -> tuple[Gicv2, Gicv2m]:
    """Make a GICv2 and its message frame, and map both."""
    window = reporter.window
    gic = Gicv2(
        window("gic distributor", GIC_DISTRIBUTOR.base),
        window("gic cpu interface", GIC_CPU.base),
    )
    sinks = [gic.spi(number) for number in V2M_SPIS]
    v2m = Gicv2m(FIRST_SPI + V2M_SPIS.start, sinks, window("gic v2m", GIC_V2M.base))
    memory.add_device(*GIC_DISTRIBUTOR, gic.distributor, "gic distributor")
    memory.add_device(*GIC_CPU, gic.cpu, "gic cpu interface")
    memory.add_device(*GIC_V2M, v2m, "gic v2m")
    return gic, v2m


def add_gicv3(memory: PhysicalMemory, reporter: Reporter) -> Gicv3:
    """Make a GICv3, map it, and let its ITS be memory's doorbell: before masters are made."""
    from smmu_emu.devices.gicv3 import Gicv3
    from smmu_emu.devices.gicv3_its import FRAME
    from smmu_emu.devices.gicv3_redistributor import SIZE

    translation = Place(GICV3_ITS.base + FRAME, FRAME)
    places = {
        "distributor": GICV3_DISTRIBUTOR,
        "redistributor": Place(GICV3_REDISTRIBUTORS.base, SIZE),
        "its": Place(GICV3_ITS.base, FRAME),
        "its translation": translation,
    }
    bases = {part: place.base for part, place in places.items()}
    gic = Gicv3(memory, lambda part: reporter.window(f"gic {part}", bases.get(part, 0)))
    devices: tuple[MmioDevice, ...] = (
        gic.distributor,
        gic.redistributor,
        gic.its,
        gic.its.translation,
    )
    for (part, place), device in zip(places.items(), devices, strict=True):
        memory.add_device(*place, device, f"gic {part}")
    end = translation.base + translation.size
    memory.doorbell = Doorbell(translation.base, end, gic.its.translation.ring)
    return gic
