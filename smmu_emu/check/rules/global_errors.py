# SPDX-License-Identifier: GPL-2.0-or-later
"""gerror-acknowledge and gerror-unacknowledged: global errors and their acknowledges.

Spec: IHI 0070 6.3.19, 6.3.20, 7.5.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import ERROR, WARNING, Found, Kind, story_of
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.registers import GERROR
from smmu_emu.trace.events import Event, Interrupt, RegisterAccess

WRONG = Kind(
    "gerror-acknowledge",
    ERROR,
    "software toggled a bit of GERRORN for an error that was not active",
    "IHI 0070 6.3.20: software must not toggle bits of errors that are inactive; whether that "
    "activates an error is unpredictable",
    "write GERRORN as it was, with only those bits toggled where GERROR differs",
)
OPEN = Kind(
    "gerror-unacknowledged",
    WARNING,
    "the run ended with a global error that software never acknowledged",
    "IHI 0070 7.5, 7.1: while CMDQ_ERR is active no command is consumed; further errors of an "
    "active kind are not told of",
    "handle GERROR: look at CMDQ_CONS.ERR or the queue, repair, and toggle the bit in GERRORN",
)
KINDS = (WRONG, OPEN)


class GlobalErrors:
    """Looks at GERRORN, and at GERROR in the end."""

    def __init__(self, smmu: Smmuv3, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._report = report
        self._last: Event | None = None

    def register(self, event: RegisterAccess) -> None:
        """GERRORN is about to change."""
        if not event.write or event.name != "GERRORN":
            return
        values = self._smmu.registers.values
        active = values["GERROR"] ^ values["GERRORN"]
        wrong = (event.value ^ values["GERRORN"]) & ~active & GERROR.mask()
        if wrong:
            text = f"GERRORN was written with {_names(wrong)} toggled, which was not active"
            self._report(Found(WRONG, event.unit, text, story_of(self._last, event)))

    def interrupt(self, event: Interrupt) -> None:
        """A wire changed: maybe that of global errors."""
        if "gerror" in event.name and event.level:
            self._last = event

    def ended(self, event: Event) -> None:
        """The run ends."""
        values = self._smmu.registers.values
        active = (values["GERROR"] ^ values["GERRORN"]) & GERROR.mask()
        if active:
            text = f"{_names(active)} is still active in GERROR"
            self._report(Found(OPEN, self._smmu.name, text, story_of(self._last)))


def _names(bits: int) -> str:
    return " and ".join(name for name in GERROR.FIELDS if GERROR.mask(name) & bits)
