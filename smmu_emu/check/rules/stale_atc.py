# SPDX-License-Identifier: GPL-2.0-or-later
"""stale-atc-hit and missing-atc-invalidate: what an endpoint's own cache has of changed tables.

Spec: IHI 0070 3.9.1, 3.9.1.4, 4.5.1. An endpoint holds what its translation requests were granted,
page by page, until an ATC_INV for it has been answered. The order that drivers keep is TLBI,
CMD_SYNC, ATC_INV, CMD_SYNC: so what is stale may outlive one CMD_SYNC, but not three.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.due import Early, Why
from smmu_emu.check.findings import ERROR, Found, Kind, story_of
from smmu_emu.check.fresh import resolve
from smmu_emu.check.translations import Translations
from smmu_emu.trace.events import Access, AtcInvalidation, Event, Sync

HIT = Kind(
    "stale-atc-hit",
    ERROR,
    "an endpoint used a translation out of its own cache that its stream no longer has",
    "IHI 0070 3.9.1, 4.5.1: translations that ATS handed out are dropped by ATC_INV alone, and "
    "are gone when the CMD_SYNC after it has completed",
    "after TLBI and CMD_SYNC issue ATC_INV for every stream that has ATS, covering the range, and "
    "CMD_SYNC again",
)
MISSING = Kind(
    "missing-atc-invalidate",
    ERROR,
    "an endpoint's own cache still has a translation that its stream no longer has",
    HIT.rule,
    HIT.advice,
)
KINDS = (HIT, MISSING)
_PAGE = 0x1000
_ENOUGH = 3


class _Grant:
    """A page that an endpoint was granted."""

    __slots__ = ("event", "hit", "missed", "noticed", "page", "syncs", "told")

    def __init__(self, event: Access, page: int) -> None:
        self.event = event
        self.page = page
        self.noticed: Event | None = None
        self.hit: Event | None = None
        self.missed: AtcInvalidation | None = None
        self.syncs = 0
        self.told = False


class AtcUse:
    """Follows translation requests, translated accesses and ATC_INV."""

    def __init__(self, translations: Translations, report: Callable[[Found], None]) -> None:
        self._translations = translations
        self._report = report
        self._grants: dict[tuple[int, int | None, int], _Grant] = {}
        self._version = 0

    def accessed(self, event: Access) -> None:
        """A request was granted, or an endpoint used what it has."""
        if event.outcome == "request" and event.pa is not None:
            key = (event.stream_id, event.substream_id, event.iova & -_PAGE)
            self._grants[key] = _Grant(event, event.pa & -_PAGE)
        elif event.outcome == "translated" and event.pa is not None:
            self._used(event)

    def _used(self, event: Access) -> None:
        page = event.pa & -_PAGE if event.pa is not None else 0
        matching = [
            (key, grant)
            for key, grant in self._grants.items()
            if key[0] == event.stream_id and grant.page == page
        ]
        if not matching or not all(self._is_stale(key, one, event) for key, one in matching):
            return
        for key, grant in matching:
            grant.hit = event
            if grant.syncs > 1:
                self._tell(key, grant, event)

    def _is_stale(self, key: tuple[int, int | None, int], grant: _Grant, event: Event) -> bool:
        stream_id, substream_id, iova = key
        reach = self._translations.reach
        context = reach.live(stream_id, substream_id)
        if context is None and reach.configs.intact(stream_id, substream_id):
            context = reach.context(stream_id, substream_id)
        if context is None or context.bypass or context.aborts:
            return False
        world = "S2"
        if context.stage1 is not None:
            world = reach.stage1_tag(context)[0]
        now = resolve(context, world, iova, self._translations.peek.word)
        if now.fault is None and now.page & -_PAGE == grant.page:
            grant.noticed = None
            return False
        if grant.noticed is None:
            grant.noticed, grant.syncs = event, 0
        return True

    def invalidated(self, event: AtcInvalidation) -> None:
        """An endpoint has answered an invalidation."""
        if not event.done:
            self._check_order(event)
            return
        gone = [
            key
            for key in self._grants
            if key[0] == event.stream_id
            and (event.substream_id is None or key[1] == event.substream_id)
            and event.first <= key[2] + _PAGE - 1
            and key[2] <= event.last
        ]
        for key in gone:
            del self._grants[key]
        for key, grant in self._grants.items():
            if key[0] == event.stream_id and grant.noticed is not None:
                grant.missed = event

    def _check_order(self, event: AtcInvalidation) -> None:
        """An endpoint may ask again at once, and must not find what the TLBI has yet to drop."""
        for held, invalidation in self._translations.unsynced:
            if held.stream_id == event.stream_id and held.overlaps(event.first, event.last):
                self._translations.early(Early(held, invalidation, Why.ATC_FIRST, event, True))
                return

    def synced(self, event: Sync) -> None:
        """A CMD_SYNC completed."""
        changed, version = self._version, self._translations.held.version
        self._version = version
        for key, grant in self._grants.items():
            if changed == version and grant.noticed is None:
                continue
            if self._is_stale(key, grant, event):
                grant.syncs += 1
                enough = 2 if grant.hit is not None or grant.missed is not None else _ENOUGH
                if grant.syncs >= enough:
                    self._tell(key, grant, event)

    def ended(self, event: Event) -> None:
        """The run ends."""
        for key, grant in self._grants.items():
            if self._is_stale(key, grant, event):
                self._tell(key, grant, event)

    def _tell(self, key: tuple[int, int | None, int], grant: _Grant, event: Event) -> None:
        if grant.told:
            return
        grant.told = True
        stream_id, _, iova = key
        story = story_of(grant.event, grant.noticed, grant.missed, grant.hit, event)
        where = f"page {grant.page:#x}, which {iova:#x} led to,"
        if grant.hit is not None:
            text = f"the endpoint of stream {stream_id:#x} used {where} after it was taken away"
            self._report(Found(HIT, grant.event.unit, text, story, stream_id, iova))
        else:
            text = f"the endpoint of stream {stream_id:#x} still has {where} and was not told"
            self._report(Found(MISSING, grant.event.unit, text, story, stream_id, iova))
