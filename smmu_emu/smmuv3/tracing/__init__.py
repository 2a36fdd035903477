# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that one SMMUv3 does, as typed events: observing functions before those of its parts.

The device knows nothing of it. `UnitTracing` says which functions are stood before; `traffic` tells
of accesses, `caches` of what is kept and dropped, `control` of software's side.
"""

from smmu_emu.smmuv3.tracing.unit import UnitTracing

__all__ = ["UnitTracing"]
