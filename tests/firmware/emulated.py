# SPDX-License-Identifier: GPL-2.0-or-later
"""The firmware images on this package's own machine."""

from __future__ import annotations

import qemu_virt
import setups

from smmu_emu.machine import Machine, RunResult

LIMIT = 20_000_000
"""More instructions than any image takes that ends."""

DIFFERENT_LINES = {
    "evtq_overflow": {
        "  overflow is signalled by GERROR.EVENTQ_ABT_ERR, against the architecture": (
            "  overflow is signalled by EVENTQ_PROD.OVFLG"
        )
    },
    "nested": {
        "  the last of the start tables side by side is not used, against the architecture": (
            "  the last of the start tables side by side is used"
        )
    },
}
"""Lines that QEMU prints and the architecture would not, by image: firmware/README.md."""


def run(
    name: str, limit: int = LIMIT, setup: setups.Setup | None = None
) -> tuple[Machine, RunResult]:
    """Run an image on the machine that it wants, or another, to its end or the limit."""
    setup = setup or setups.of(name)
    machine = setup.machine()
    machine.load(qemu_virt.IMAGES / f"{name}.elf", el=setup.el)
    if name in qemu_virt.BESIDE:
        path, address = qemu_virt.BESIDE[name]
        machine.load_blob(address, path)
    return machine, machine.run(limit)


def expected_here(name: str, qemus_text: str) -> str:
    """What this machine prints where QEMU prints ``qemus_text``."""
    for qemus, ours in DIFFERENT_LINES.get(name, {}).items():
        assert qemus in qemus_text
        qemus_text = qemus_text.replace(qemus, ours)
    return qemus_text
