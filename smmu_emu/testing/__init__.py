# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests are written with: a machine that remembers what happened to it, events that read well.

`smmu_emu.pytest_plugin` makes fixtures of these; `smmu_emu.testing.strategies` has strategies for
hypothesis. Both work without each other.
"""

from smmu_emu.testing.events import Event, Events
from smmu_emu.testing.machine import InvalidTestError, MachineUnderTest

__all__ = ["Event", "Events", "InvalidTestError", "MachineUnderTest"]
