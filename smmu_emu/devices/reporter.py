# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a guest touches that is not modelled is told here, once a site, never silently zero.

A *site* is an instruction and what it touched. One instruction may sweep over much memory, so a
site list keeps `LIMIT_PER_PC` addresses of one instruction in one device and `LIMIT` in all;
`Reporter.dropped` counts what was left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

LIMIT = 1000
LIMIT_PER_PC = 16

Report = Callable[[int, str], None]
"""How a device tells of an access to something it lacks: offset in its window, and what it was."""


class Site(NamedTuple):
    """One place where something not modelled was touched.

    ``pa`` is a physical address (None for what has none, such as a system register), ``pc`` the
    instruction (None when no core ran), ``kind`` what was done, ``where`` to whom.
    """

    pa: int | None
    pc: int | None
    kind: str
    where: str

    def __str__(self) -> str:
        place = self.where if self.pa is None else f"{self.where} at {self.pa:#x}"
        return f"{place}: {self.kind}" + ("" if self.pc is None else f" (pc {self.pc:#x})")


def ignore(offset: int, kind: str) -> None:
    """The `Report` of a device that is used on its own."""


class Reporter:
    """Collects sites in ``sites``. ``pc`` gives the instruction under way, None outside a run."""

    def __init__(self, pc: Callable[[], int | None] = lambda: None) -> None:
        self.pc = pc
        self.sites: list[Site] = []
        self.dropped = 0
        self._known: set[Site] = set()
        self._per_pc: Counter[tuple[int | None, str]] = Counter()

    def report(self, where: str, pa: int | None, kind: str) -> None:
        """Note the instruction under way, unless this site is known already."""
        self.add(Site(pa, self.pc(), kind, where))

    def add(self, site: Site) -> None:
        """Note a site, unless it is known, or its instruction has had its share of the device."""
        if site in self._known:
            return
        sweep = site.pc, site.where
        full = site.pc is not None and self._per_pc[sweep] >= LIMIT_PER_PC
        if full or len(self.sites) >= LIMIT:
            self.dropped += 1
            return
        self._known.add(site)
        self._per_pc[sweep] += 1
        self.sites.append(site)

    def window(self, where: str, base: int) -> Report:
        """What a device at physical address ``base`` reports through."""
        return lambda offset, kind: self.report(where, base + offset, kind)

    def clear(self) -> None:
        """Forget all sites."""
        self.sites.clear()
        self._known.clear()
        self._per_pc.clear()
        self.dropped = 0
