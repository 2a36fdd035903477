# SPDX-License-Identifier: GPL-2.0-or-later
"""The firmware images on this package's own machine."""

from __future__ import annotations

import qemu_virt

from smmu_emu.machine import Machine, RunResult

LIMIT = 20_000_000
"""More instructions than any image takes that ends."""

DIFFERENT_LINES = {
    "evtq_overflow": {
        "  overflow is signalled by GERROR.EVENTQ_ABT_ERR, against the architecture": (
            "  overflow is signalled by EVENTQ_PROD.OVFLG"
        )
    }
}
"""Lines that QEMU prints and the architecture would not, by image: firmware/README.md."""


def run(name: str, limit: int = LIMIT) -> tuple[Machine, RunResult]:
    """Run an image, with what it wants beside it, to its end or the limit."""
    machine = Machine.virt()
    machine.load(qemu_virt.IMAGES / f"{name}.elf")
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
