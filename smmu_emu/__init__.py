# SPDX-License-Identifier: GPL-2.0-or-later
"""A software Arm SMMU: firmware on an emulated core, DMA through an emulated translation unit.

    from smmu_emu import Machine

    with Machine.virt() as machine:
        machine.load("image.elf")
        result = machine.run()

Nothing is loaded before it is used: the command line starts sooner so.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smmu_emu.machine import Machine, RunResult
    from smmu_emu.transaction import Fault, Transaction, Translation

__all__ = ["Fault", "Machine", "RunResult", "Transaction", "Translation"]

_HOMES = {
    "Machine": "machine",
    "RunResult": "machine",
    "Fault": "transaction",
    "Transaction": "transaction",
    "Translation": "transaction",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
