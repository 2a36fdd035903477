# SPDX-License-Identifier: GPL-2.0-or-later
"""What turns something stale, which is legal for a while, into a defect.

Until software's invalidation and its CMD_SYNC are due, an SMMU may use what it cached (IHI 0070
3.21.1, 4.7.3); nobody can say from outside when that is. These are the signs that say so.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from smmu_emu.check.configs import HeldConfig
    from smmu_emu.check.held import Held
    from smmu_emu.trace.events import Event


class Why(Enum):
    """The sign that an invalidation was due."""

    USED = "it was used, and a CMD_SYNC completed with it alive"
    REPLACED = "the descriptor became another valid one without a break"
    MISSED = "an invalidation named its addresses and left it, and its CMD_SYNC completed"
    PAGE_REUSED = "its page is in use elsewhere"
    TABLE_REUSED = "its table is in use elsewhere"
    ADDRESS_REUSED = "its addresses lead elsewhere by now"
    ATC_FIRST = "its endpoint was asked to forget it"
    DECLARED = "software says that the addresses are not mapped any more"
    CHANGED_AFTER = "it changed after the invalidation, and is in use"
    TAG_REUSED = "its ASID or VMID belongs to other tables by now"
    SWEPT = "software went on, and only an invalidation of everything dropped it"
    END = "the run ended with it alive"


class Due(NamedTuple):
    """Something stale that no correct driver would have left: why, and at which event."""

    held: Held
    why: Why
    event: Event


class DueConfig(NamedTuple):
    """The same of a cached STE or CD."""

    held: HeldConfig
    why: Why
    event: Event


class Early(NamedTuple):
    """Memory or an address was used again before the CMD_SYNC of an invalidation completed.

    ``awaited`` False: there was a CMD_SYNC, and software did not look whether it had completed.
    """

    held: Held | HeldConfig
    invalidation: Event
    why: Why
    event: Event
    awaited: bool
