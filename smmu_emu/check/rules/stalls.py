# SPDX-License-Identifier: GPL-2.0-or-later
"""stall-unresolved: transactions wait for software that has forgotten them."""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import WARNING, Found, Kind, story_of
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.trace.events import Access, Event

KIND = Kind(
    "stall-unresolved",
    WARNING,
    "a stalled transaction was never resumed or terminated",
    "IHI 0070 3.12.2, 4.7.1, 4.7.2: a stalled transaction waits for CMD_RESUME, CMD_STALL_TERM or "
    "SMMUEN=0, and its device with it",
    "answer every stall record, and issue CMD_STALL_TERM after a stream has been taken away",
)


class Stalls:
    """Looks at what is stalled in the end."""

    kind = KIND

    def __init__(self, smmu: Smmuv3, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._report = report
        self._stalled: dict[int, Access] = {}

    def accessed(self, event: Access) -> None:
        """An access waits."""
        if event.outcome == "stall":
            self._stalled[event.stream_id] = event

    def ended(self, event: Event) -> None:
        """The run ends."""
        for stag, held in self._smmu.stalls.held.items():
            transaction = held.transaction
            text = (
                f"stream {transaction.stream_id:#x} waits at {transaction.iova:#x} with tag {stag}"
            )
            story = story_of(self._stalled.get(transaction.stream_id))
            found = Found(
                KIND, self._smmu.name, text, story, transaction.stream_id, transaction.iova
            )
            self._report(found)
