# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be wrong with a plan. What a fault does to a guest is never a Python exception."""

from __future__ import annotations

from smmu_emu.errors import EmulatorError


class PlanError(EmulatorError):
    """A plan asks for what cannot be, or its file is no plan; one line says where and why."""
