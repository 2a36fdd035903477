# SPDX-License-Identifier: GPL-2.0-or-later
"""Translations and pointers to tables that an SMMU holds, or may hold, and how stale they are.

An SMMU may cache whatever a walk could have read, at any time, for as long as it could have read it
(IHI 0070 3.21.1, 16.2; DDI 0487 D8.17). So an entry that was evicted, or invalidated while its
descriptors still said the same, counts as held; and so does every pointer to a table that a walk
followed, whether or not the emulated SMMU caches those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smmu_emu.check.fresh import Difference, Outcome

if TYPE_CHECKING:
    from smmu_emu.smmuv3.context import Context
    from smmu_emu.trace.events import Event, Invalidation

Tag = tuple[str, int, int | None]
"""World, VMID, ASID (None: global, or none), as events have them."""

_WORLDS = {
    "EL1": ("EL1", "EL1_NESTED"),
    "S2": ("S2",),
    "EL1+S2": ("EL1", "EL1_NESTED", "S2"),
    "EL2": ("EL2", "EL2_E2H"),
    "EL2_E2H": ("EL2_E2H",),
}
"""Worlds that an invalidation's ``world`` reaches."""


class Staleness:
    """How something that is held came to differ from memory, and what happened since.

    All members but ``difference`` are events: ``noticed`` when that was found out, ``synced`` the
    first CMD_SYNC that completed since, ``hit`` the first use since, ``moved_on`` the first sign
    that software had gone on to something else, ``left`` the invalidations that named its addresses
    and left it, with the reason; ``idle`` those that found nothing at all. ``allowed`` is what a
    fresh walk would allow.
    """

    __slots__ = (
        *("allowed", "difference", "hit", "idle", "left", "moved_on", "noticed", "synced"),
        "written",
    )

    def __init__(self, difference: Difference, noticed: Event, written: Event | None) -> None:
        self.difference = difference
        self.noticed = noticed
        self.written = written
        self.allowed = 0
        self.synced: Event | None = None
        self.hit: Event | None = None
        self.moved_on: Event | None = None
        self.left: list[tuple[Event, str]] = []
        self.idle: list[Event] = []


class Held:
    """Something that is, or may be, cached.

    ``number`` is that of the emulated SMMU's entry, 0 if only another SMMU might hold it.
    ``pointer`` tells pointers to tables from translations; their ``page`` is the table. ``words``
    are the descriptors behind it, by address. ``then`` is what they say, once that was needed.
    ``dropped_by`` is the invalidation that dropped it while they still said so.
    """

    __slots__ = (
        "alive",
        "base",
        "context",
        "dropped_by",
        "fill",
        "granule_lg2",
        "ipa",
        "level",
        "number",
        "page",
        "pointer",
        "reported",
        "size_lg2",
        "stale",
        "stream_id",
        "substream_id",
        "tag",
        "then",
        "unit",
        "words",
    )

    def __init__(
        self,
        unit: str,
        tag: Tag,
        stream: tuple[int, int | None],
        base: int,
        size_lg2: int,
        page: int,
        fill: Event,
        context: Context,
        words: dict[int, int],
        *,
        number: int = 0,
        ipa: int = 0,
        level: int = 3,
        granule_lg2: int = 12,
        pointer: bool = False,
    ) -> None:
        self.unit = unit
        self.tag = tag
        self.stream_id, self.substream_id = stream
        self.base = base
        self.size_lg2 = size_lg2
        self.page = page
        self.fill = fill
        self.context = context
        self.words = words
        self.number = number
        self.ipa = ipa
        self.level = level
        self.granule_lg2 = granule_lg2
        self.pointer = pointer
        self.alive = True
        self.then: Outcome | None = None
        self.stale: Staleness | None = None
        self.dropped_by: Invalidation | None = None
        self.reported: set[str] = set()

    @property
    def last(self) -> int:
        """The last address that it is about."""
        return self.base + (1 << self.size_lg2) - 1

    def overlaps(self, first: int, last: int) -> bool:
        """Whether it is about an address from ``first`` to ``last``."""
        return self.base <= last and first <= self.last

    def overlaps_page(self, pa: int, size: int) -> bool:
        """Whether a translation leads to some of ``size`` bytes at ``pa``."""
        return self.page < pa + size and pa < self.page + (1 << self.size_lg2)

    def __str__(self) -> str:
        world, vmid, asid = self.tag
        names = {"S2": f"VMID {vmid}", "EL2": "EL2"}
        tag = names.get(world, f"ASID {asid}" if asid is not None else "global")
        if world == "EL1_NESTED":
            tag += f" of VMID {vmid}"
        address = "IPA" if world == "S2" else "IOVA"
        kind = "the pointer to table" if self.pointer else "the translation to"
        return f"{kind} {self.page:#x} for {address} {self.base:#x} ({tag})"


_LAST = (1 << 64) - 1
BEYOND = "range"
"""Why an invalidation did not reach something: its addresses are others."""


def why_not(event: Invalidation, held: Held) -> str:
    """Why an invalidation need not drop something; empty if it must. Spec: IHI 0070 4.4.

    The reasons are those of `Invalidation.left`, and `BEYOND`.
    """
    world, vmid, asid = held.tag
    by_ipa = event.world == "S2" and world == "EL1_NESTED"
    base = held.ipa if by_ipa else held.base
    first, last = event.first or 0, event.last if event.last is not None else _LAST
    if base > last or base + (1 << held.size_lg2) <= first:
        return BEYOND
    if by_ipa:
        return "combined" if event.vmid == vmid else "vmid"
    if event.world and world not in _WORLDS.get(event.world, (event.world,)):
        return "world"
    if event.vmid is not None and vmid != event.vmid and world not in ("EL2", "EL2_E2H"):
        return "vmid"
    if event.asid is not None and asid != event.asid:
        if asid is not None:
            return "asid"
        if event.first is None:
            return "global"
    if held.pointer:
        return "leaf-only" if event.leaf else ""
    if event.granule_lg2 is not None and held.granule_lg2 != event.granule_lg2:
        return "granule"
    return "level" if event.level is not None and held.level != event.level else ""
