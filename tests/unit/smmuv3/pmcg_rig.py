# SPDX-License-Identifier: GPL-2.0-or-later
"""A counter group as software sees it: registers by name, offsets by hand (IHI 0070 10.5)."""

from __future__ import annotations

from typing import Any

from smmu_emu.smmuv3 import Smmuv3
from smmu_emu.smmuv3.pmcg import Pmcg

CYCLE, TRANSACTION, TLB_MISS, CONFIG_MISS = 0, 1, 2, 3
WALK_ACCESS, CONFIG_ACCESS, ATS_REQUEST, ATS_TRANSLATED = 4, 5, 6, 7
SPAN, OVFCAP = 1 << 29, 1 << 31
EVERY_STREAM = 0xFFFF_FFFF
PAGE1 = 0x1_0000
MOVED = {"EVCNTR", "SVR", "OVSCLR0", "OVSSET0", "CAPR"}
PLACES = {
    "CNTENSET0": (0xC00, 8),
    "CNTENCLR0": (0xC20, 8),
    "INTENSET0": (0xC40, 8),
    "INTENCLR0": (0xC60, 8),
    "OVSCLR0": (0xC80, 8),
    "OVSSET0": (0xCC0, 8),
    "CAPR": (0xD88, 4),
    "SCR": (0xDF8, 4),
    "CFGR": (0xE00, 4),
    "CR": (0xE04, 4),
    "IIDR": (0xE08, 4),
    "CEID0": (0xE20, 8),
    "CEID1": (0xE28, 8),
    "ROOTCR": (0xE48, 4),
    "IRQ_CTRL": (0xE50, 4),
    "IRQ_CTRLACK": (0xE54, 4),
    "IRQ_CFG0": (0xE58, 8),
    "IRQ_CFG1": (0xE60, 4),
    "IRQ_CFG2": (0xE64, 4),
    "IRQ_STATUS": (0xE68, 4),
    "GMPAM": (0xE6C, 4),
    "AIDR": (0xE70, 4),
    "MPAMIDR": (0xE74, 4),
}
ARRAYS = {"EVCNTR": 0x000, "EVTYPER": 0x400, "SVR": 0x600, "SMR": 0xA00}


class Group:
    """A counter group and the software that uses it."""

    def __init__(self, smmu: Smmuv3, **options: Any) -> None:
        self.size = options.get("size", 64)
        self.relocated = options.get("relocated", True)
        self.device = Pmcg(smmu, **options)

    def place(self, name: str, n: int | None = None) -> tuple[int, int]:
        """Offset and size of a register, of counter ``n`` where there is one for each."""
        if n is None:
            offset, size = PLACES[name]
        else:
            size = 8 if name in ("EVCNTR", "SVR") and self.size > 32 else 4
            offset = ARRAYS[name] + size * n
        return offset + (PAGE1 if self.relocated and name in MOVED else 0), size

    def r(self, name: str, n: int | None = None) -> int:
        """Read a register."""
        return self.device.read(*self.place(name, n))

    def w(self, name: str, value: int, n: int | None = None) -> None:
        """Write a register."""
        self.device.write(*self.place(name, n), value)

    def use(self, n: int, event: int, *, sid: int | None = None, more: int = 0) -> None:
        """Let counter ``n`` count an event, of one stream or all, from now on."""
        self.w("EVTYPER", event | more | (SPAN if sid is None else 0), n)
        self.w("SMR", EVERY_STREAM if sid is None else sid, n)
        self.w("CNTENSET0", 1 << n)
        self.w("CR", 1)

    def use_all(self, *events: int) -> None:
        """One counter for each event, from counter 0 on."""
        for n, event in enumerate(events):
            self.use(n, event)

    @property
    def counts(self) -> list[int]:
        """All counters, through the registers."""
        counters = (self.r("CFGR") & 0x3F) + 1
        return [self.r("EVCNTR", n) for n in range(counters)]

    def since(self) -> list[int]:
        """All counters, which then start from zero again."""
        counts = self.counts
        for n in range(len(counts)):
            self.w("EVCNTR", 0, n)
        return counts
