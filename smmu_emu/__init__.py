# SPDX-License-Identifier: GPL-2.0-or-later
"""A software Arm SMMU: firmware on an emulated core, DMA through an emulated translation unit.

    from smmu_emu import Machine

    with Machine.virt() as machine:
        machine.load("image.elf")
        result = machine.run()
"""

from smmu_emu.machine import Machine, RunResult
from smmu_emu.transaction import Fault, Transaction, Translation

__all__ = ["Fault", "Machine", "RunResult", "Transaction", "Translation"]
