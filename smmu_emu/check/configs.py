# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of cached STEs and CDs: fetched, changed in memory, used, invalidated, synchronised.

Spec: IHI 0070 3.21.3 (caching and updates of configuration), 4.3 (CFGI commands), 4.7.3. A cached
structure is stale when memory has another one that an SMMU could tell from it: bits that nobody
looks at do not count. Structures are compared when they are used, and when commands take effect.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.due import DueConfig, Early, Why
from smmu_emu.check.peek import Peek, is_enabled
from smmu_emu.check.updates import Torn, Updates, covers
from smmu_emu.check.words import SIZE, differs, used
from smmu_emu.smmuv3.context import Context, Stream, make_context
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.registers import CR2
from smmu_emu.smmuv3.spec.ste import STE, Config
from smmu_emu.tlb import Tlb
from smmu_emu.trace.events import Access, ConfigFetch, ConfigInvalidation, Event, Sync, TableWrite


class HeldConfig:
    """A cached STE or CD; events are as in `Staleness` (smmu_emu.check.held)."""

    __slots__ = (
        "alive",
        "changed",
        "data",
        "fetch",
        "hit",
        "left",
        "noticed",
        "number",
        "pa",
        "reported",
        "stream_id",
        "structure",
        "substream_id",
        "synced",
        "unit",
        "written",
    )

    def __init__(self, event: ConfigFetch) -> None:
        self.unit = event.unit
        self.structure = event.structure
        self.stream_id = event.stream_id
        self.substream_id = event.substream_id
        self.pa = event.pa
        self.data = event.data
        self.number = event.entry
        self.fetch = event
        self.alive = True
        self.reported: set[str] = set()
        self.clear()

    def clear(self) -> None:
        """It says what memory says."""
        self.noticed: Event | None = None
        self.written: Event | None = None
        self.synced: Event | None = None
        self.hit: Event | None = None
        self.changed = ""
        self.left: list[ConfigInvalidation] = []

    def __str__(self) -> str:
        name = f"the {self.structure} of stream {self.stream_id:#x}"
        if self.structure == "CD" and self.substream_id is not None:
            name += f" substream {self.substream_id:#x}"
        return f"{name} at {self.pa:#x}"


class Configs:
    """Everything that one SMMU has cached of STEs and CDs."""

    def __init__(
        self,
        smmu: Smmuv3,
        peek: Peek,
        due: Callable[[DueConfig], None],
        early: Callable[[Early], None],
        torn: Callable[[Torn], None],
    ) -> None:
        self.smmu = smmu
        self.peek = peek
        self.due = due
        self.early = early
        self.updates = Updates(smmu, peek, self._changed_after, torn)
        self._scratch = Tlb()
        self.clear()

    def clear(self) -> None:
        """Forget everything, as a reset does."""
        self.held: dict[int, HeldConfig] = {}
        self.stes: dict[int, HeldConfig] = {}
        self.cds: dict[tuple[int, int | None], HeldConfig] = {}
        self.updates.clear()
        self._fetches: list[ConfigFetch] = []
        self._writes: dict[int, TableWrite] = {}
        self._unsynced: list[ConfigInvalidation] = []

    # -- what others ask

    def context(self, stream_id: int, substream_id: int | None) -> Context | None:
        """The context that the last fetched structures of a stream make."""
        ste = self.stes.get(stream_id)
        if ste is None or len(ste.data) != SIZE:
            return None
        ids = self.smmu.ids
        e2h = bool(CR2(self.smmu.registers.values["CR2"]).E2H)
        stream = Stream(STE.from_bytes(ste.data), ids, self._scratch, e2h=e2h)
        cd = self.cds.get((stream_id, substream_id))
        data = cd.data if cd is not None else self._first_cd(stream.ste)
        if not stream.has(Config.STAGE1) or data is None or len(data) != SIZE:
            return make_context(stream, None, ids, self._scratch)
        return make_context(stream, CD.from_bytes(data), ids, self._scratch)

    def intact(self, stream_id: int, substream_id: int | None) -> bool:
        """Whether memory still says of a stream what was fetched last."""
        ste = self.stes.get(stream_id)
        if ste is None or self._now(ste) is None or self._has_changed(ste):
            return False
        cd = self.cds.get((stream_id, substream_id))
        return cd is None or not self._has_changed(cd)

    # -- events

    def fetched(self, event: ConfigFetch) -> None:
        """A structure was read, and is cached unless ``entry`` is 0."""
        if event.structure not in ("STE", "CD"):
            return
        if len(event.data) == SIZE and event.pa:
            self.updates.fetched(event)
            self._fetches.append(event)
        if not event.entry:
            return
        held = self.held[event.entry] = HeldConfig(event)
        if event.structure == "STE":
            self._leave_contexts(event)
            self.stes[event.stream_id] = held
        else:
            self.cds[event.stream_id, event.substream_id] = held

    def _leave_contexts(self, event: ConfigFetch) -> None:
        """A stream has other Context descriptors than those that were fetched for it."""
        old = self.stes.get(event.stream_id)
        if old is None or old.data == event.data or len(event.data) != SIZE:
            return
        pointer = STE.mask("S1ContextPtr", "S1Fmt", "S1CDMax")
        change = int.from_bytes(old.data, "little") ^ int.from_bytes(event.data, "little")
        if change & pointer:
            for key in [one for one in self.cds if one[0] == event.stream_id]:
                del self.cds[key]

    def _first_cd(self, ste: STE) -> bytes | None:
        """The only CD of a stream, in memory; None where it takes a walk to find it."""
        if ste.Config != Config.STAGE1 or ste.S1CDMax:
            return None
        return self.peek.read(ste.S1ContextPtr, SIZE)

    def passed(self, event: Event) -> None:
        """Something else happened: what was fetched by now was for no access that is to come."""
        self._fetches.clear()

    def _check_fetches(self, access: Access) -> None:
        """What was read for an access, and not on speculation: then time and cause are the same."""
        for event in self._fetches:
            if (event.time, event.cause, event.stream_id) == (
                access.time,
                access.cause,
                access.stream_id,
            ):
                self.updates.used(event)
                if self._unsynced:
                    self._fetched_early(event)
        self._fetches.clear()

    def _fetched_early(self, event: ConfigFetch) -> None:
        """A stream is used before the CMD_SYNC of its invalidation is even issued."""
        if not self.smmu.commands.queue.empty:
            return
        for invalidation in self._unsynced:
            if covers(invalidation, event.structure, event.stream_id, event.substream_id):
                self.early(Early(HeldConfig(event), invalidation, Why.USED, event, True))
                return

    def accessed(self, event: Access) -> None:
        """A stream was used: by what is cached of it, or what was just fetched."""
        if self._fetches:
            self._check_fetches(event)
        ste = self.stes.get(event.stream_id)
        if ste is not None and ste.alive:
            self._use(ste, event)
        held = self.held.get(event.config)
        if held is not None and held is not ste:
            self._use(held, event)

    def _changed_after(
        self, fetch: ConfigFetch, old: int, invalidation: ConfigInvalidation, event: ConfigFetch
    ) -> None:
        """A structure that is in use changed after the last time that software told of it."""
        held = HeldConfig(fetch)
        held.data = old.to_bytes(SIZE, "little")
        held.noticed = event
        held.changed = _fields(held, int.from_bytes(event.data, "little"))
        held.left = [invalidation]
        self.due(DueConfig(held, Why.CHANGED_AFTER, event))

    def _use(self, held: HeldConfig, event: Event) -> None:
        if self.peek.read(held.pa, SIZE) == held.data:
            if held.noticed is not None:
                held.clear()
            return
        self._look(held, event)
        if held.noticed is None:
            return
        if held.hit is None:
            held.hit = event
        if held.synced is not None:
            self.due(DueConfig(held, Why.USED, event))

    def invalidated(self, event: ConfigInvalidation) -> None:
        """A CFGI command took effect."""
        self.refresh(event)
        for number in event.removed:
            held = self.held.pop(number, None)
            if held is not None:
                held.alive = False
        if not event.command:
            return  # an SMMU may forget what it likes
        for held in self.held.values():
            if held.noticed is not None:
                held.left.append(event)
        self.updates.told(event)
        self._unsynced.append(event)

    def synced(self, event: Sync) -> None:
        """A CMD_SYNC completed."""
        self._unsynced.clear()
        self.refresh(event)
        if not self.smmu.commands.queue.empty:
            return  # what waits behind it may be the very command that is due
        for held in self.held.values():
            if held.noticed is None:
                continue
            if held.synced is None:
                held.synced = event
            if held.hit is not None:
                self.due(DueConfig(held, Why.USED, event))

    def ended(self, event: Event) -> None:
        """The run ends."""
        self.refresh(event)
        for held in self.held.values():
            if held.noticed is not None and is_enabled(self.smmu):
                self.due(DueConfig(held, Why.END, event))

    def wrote(self, event: TableWrite) -> None:
        """Somebody watched software write a structure."""
        self._writes[event.pa & -SIZE] = event
        self.updates.wrote(event)

    # -- comparing with memory

    def refresh(self, event: Event) -> None:
        """Find out which cached structures are stale."""
        for held in self.held.values():
            self._look(held, event)

    def _look(self, held: HeldConfig, event: Event) -> None:
        if not self._has_changed(held):
            if held.noticed is not None:
                held.clear()
        elif held.noticed is None:
            held.noticed = event
            held.written = self._writes.get(held.pa)
            held.changed = _fields(held, self._now(held) or 0)

    def _now(self, held: HeldConfig) -> int | None:
        data = self.peek.read(held.pa, SIZE) if held.pa else None
        return None if data is None else int.from_bytes(data, "little")

    def _has_changed(self, held: HeldConfig) -> bool:
        now = self._now(held)
        if now is None or len(held.data) != SIZE:
            return False
        return differs(held.structure, int.from_bytes(held.data, "little"), now)


def _fields(held: HeldConfig, now: int) -> str:
    """The names of fields that count and differ."""
    layout = STE if held.structure == "STE" else CD
    old = int.from_bytes(held.data, "little")
    first, second = used(held.structure, old), used(held.structure, now)
    mask = (old ^ now) & first & second or (old ^ now) & (first | second)
    names = [name for name in layout.FIELDS if layout.mask(name) & mask]
    shown = ", ".join(names[:6])
    return shown + (f" and {len(names) - 6} more" if len(names) > 6 else "")
