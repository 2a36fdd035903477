# SPDX-License-Identifier: GPL-2.0-or-later
"""Which machine each firmware image wants: this table, and QEMU's machine for all others."""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS

TESTDEV, ENGINE = "iommu-testdev@00:01.0", "dma-engine@00:01.0"
EDU = "edu@00:02.0"
ABSENT = 77
"""Exit status of an image that finds that its machine lacks what it is about."""


class Setup(NamedTuple):
    """The preset of ID registers and the PCI devices, as the command line takes them.

    ``also`` names presets with which the image passes as well, with another text perhaps.
    ``core_stream`` puts the core behind the SMMU. ``gic`` is the interrupt controller, ``el`` the
    exception level that the image starts at.
    """

    ids: str = "qemu"
    devices: tuple[str, ...] = (TESTDEV,)
    also: tuple[str, ...] = ()
    core_stream: int | None = None
    gic: str = "v2"
    el: int = 1

    def machine(self) -> Machine:
        """Such a machine."""
        return Machine.virt(
            devices=self.devices,
            smmu_ids=PRESETS[self.ids],
            core_stream=self.core_stream,
            gic=self.gic,
        )


QEMUS = Setup()
"""What QEMU 11.1 has. Images without a line of their own run on both."""

ARMS = ("fvp", "mmu-600", "mmu-700")

SETUPS = {
    "ats": Setup("full", (ENGINE,), ARMS),
    "core_stream": Setup(also=("full", *ARMS), core_stream=0x20),
    "edu_dma": Setup(devices=("edu@00:01.0",), also=("full", *ARMS)),
    "el2": Setup(el=2),
    "el2_streams": Setup("full", (TESTDEV,), ARMS),
    "httu": Setup("full", (ENGINE,), ARMS),
    "its": Setup("full", (TESTDEV, EDU), ARMS, gic="v3"),
    "msi": Setup("full", (TESTDEV,), ARMS),
    "stall": Setup("full", (ENGINE,), ("mmu-600", "mmu-700")),
    "substreams": Setup("full", (ENGINE,), ARMS),
    "two_streams": Setup("qemu", (TESTDEV, "iommu-testdev@00:02.0")),
    "vgic": Setup(gic="v3", el=2),
}
"""Images that want what QEMU lacks; there they say so, and end with `ABSENT`."""

PORTABLE = {
    "hitless": Setup(also=("full", *ARMS)),
    "nested": Setup(also=("full", *ARMS)),
    "range_tlbi": Setup(also=("full", "mmu-700")),
    "two_level": Setup(also=("full", *ARMS)),
    "unmap_tlbi": Setup(also=("full", *ARMS)),
}
"""Images that run on QEMU's machine, and on others as well."""


def of(name: str) -> Setup:
    """The machine that an image wants."""
    return SETUPS.get(name) or PORTABLE.get(name, QEMUS)
