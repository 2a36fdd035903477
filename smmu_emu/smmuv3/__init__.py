# SPDX-License-Identifier: GPL-2.0-or-later
"""The SMMUv3 (Arm IHI 0070), Non-secure programming interface."""

from smmu_emu.smmuv3.device import Delays, Smmuv3
from smmu_emu.smmuv3.ids import IdRegisters
from smmu_emu.smmuv3.presets import PRESETS

__all__ = ["PRESETS", "Delays", "IdRegisters", "Smmuv3"]
