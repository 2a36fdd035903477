# SPDX-License-Identifier: GPL-2.0-or-later
"""over-invalidate, idle-invalidate and redundant-sync: work that a driver could spare itself.

They are counted by the instruction that rang the doorbell, and told of once, in the end.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import ADVICE, Found, Kind, story_of
from smmu_emu.trace.events import Command, Event, Fill, Invalidation

OVER = Kind(
    "over-invalidate",
    ADVICE,
    "invalidations dropped translations that nobody had changed, and that had to be walked again",
    "IHI 0070 4.4: a TLBI may name an address, a range, an ASID, a VMID or everything",
    "name the addresses that changed; IDR3.RIL has ranges",
)
IDLE = Kind(
    "idle-invalidate",
    ADVICE,
    "invalidations found nothing to drop",
    "IHI 0070 3.21.1: what was invalid before needs no TLBI when it becomes valid",
    "leave out TLBIs after a mapping is made, and for addresses that were never mapped",
)
SYNC = Kind(
    "redundant-sync",
    ADVICE,
    "CMD_SYNCs had nothing to wait for",
    "IHI 0070 4.7.3: CMD_SYNC waits for the commands before it",
    "leave out a CMD_SYNC that directly follows another one",
)
KINDS = (OVER, IDLE, SYNC)
_MOST = 1 << 14


class Advice:
    """Counts."""

    def __init__(self, report: Callable[[Found], None]) -> None:
        self._report = report
        self._last = ""
        self._syncs: dict[int, list[Event]] = {}
        self._idle: dict[tuple[str, int], list[Event]] = {}
        self._invalidations: dict[tuple[str, int], int] = {}
        self._again: dict[tuple[str, int], list[Event]] = {}

    def command(self, event: Command) -> None:
        """What comes directly after what."""
        if not event.error:
            if event.name == self._last == "SYNC":
                self._syncs.setdefault(event.cause, []).append(event)
            self._last = event.name

    def refilled(self, dropped: Invalidation, event: Fill) -> None:
        """What an invalidation dropped though nobody had changed it was walked for again."""
        self._again.setdefault((dropped.name, dropped.cause), [dropped]).append(event)

    def invalidated(self, event: Invalidation) -> None:
        """Something was dropped, or nothing."""
        key = (event.name, event.cause)
        self._invalidations[key] = self._invalidations.get(key, 0) + 1
        if not event.removed and event.first is not None:
            idle = self._idle.setdefault(key, [])
            if len(idle) < _MOST:
                idle.append(event)

    def ended(self, event: Event) -> None:
        """The run ends."""
        for (name, _), events in self._again.items():
            text = f"{name} dropped {len(events) - 1:,} translations that came back unchanged"
            self._tell(OVER, text, events)
        for (name, cause), events in self._idle.items():
            count = self._invalidations[name, cause]
            text = f"{len(events):,} of {count:,} {name} found nothing"
            self._tell(IDLE, text, events)
        for events in self._syncs.values():
            text = f"{len(events):,} CMD_SYNC directly followed another one"
            self._tell(SYNC, text, events)

    def _tell(self, kind: Kind, text: str, events: list[Event]) -> None:
        self._report(Found(kind, events[0].unit, text, story_of(events[:2])))
