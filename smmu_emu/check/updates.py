# SPDX-License-Identifier: GPL-2.0-or-later
"""How software changes STEs and CDs, and when it tells the SMMU of that.

Spec: IHI 0070 3.21.3 (any structure that can be reached may be cached at any time, valid or not),
3.21.3.1 (updates). For every structure that was ever fetched this keeps what software last told the
SMMU about, by a CFGI command: a value that is in use must be that one, and on the way from one to
the next there must be no moment at which an SMMU sees neither. Without anybody watching writes,
that is judged by the two ends alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.check.peek import Peek, is_enabled
from smmu_emu.check.words import SIZE, differs, valid, words_at_once
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.ste import STE, Config
from smmu_emu.trace.events import ConfigFetch, ConfigInvalidation, Event, TableWrite

_MOST_STATES = 64


class Torn(NamedTuple):
    """A live structure that an SMMU could have seen as neither the old nor the new one."""

    structure: str
    stream_id: int
    substream_id: int | None
    pa: int
    words: int
    between: Event | None
    """The write after which it was neither; None if that follows from old and new alone."""
    fetch: Event
    event: ConfigInvalidation


class _Told(NamedTuple):
    """What software last told the SMMU about, and by what: None if it was only fetched."""

    structure: str
    stream_id: int
    substream_id: int | None
    value: int
    fetch: ConfigFetch
    invalidation: ConfigInvalidation | None


class Updates:
    """Follows the structures of one SMMU. ``changed_after`` hears of a structure in use that
    changed after its CFGI (the fetch before, the old value, the CFGI, the fetch now); ``torn`` of
    updates that can be seen half done.
    """

    def __init__(
        self,
        smmu: Smmuv3,
        peek: Peek,
        changed_after: Callable[[ConfigFetch, int, ConfigInvalidation, ConfigFetch], None],
        torn: Callable[[Torn], None],
    ) -> None:
        self._smmu = smmu
        self._peek = peek
        self._changed_after = changed_after
        self._torn = torn
        self.clear()

    def clear(self) -> None:
        """Forget everything, as a reset does."""
        self._told: dict[int, _Told] = {}
        self._states: dict[int, list[tuple[int, TableWrite]]] = {}

    def fetched(self, event: ConfigFetch) -> None:
        """A structure was read, perhaps on speculation."""
        if event.pa not in self._told or self._told[event.pa].structure != event.structure:
            self._told[event.pa] = _of(event, None)

    def used(self, event: ConfigFetch) -> None:
        """A structure was read for an access."""
        told = self._told[event.pa]
        value = int.from_bytes(event.data, "little")
        if told.invalidation is not None and differs(event.structure, told.value, value):
            self._changed_after(told.fetch, told.value, told.invalidation, event)
        self._told[event.pa] = _of(event, told.invalidation)

    def wrote(self, event: TableWrite) -> None:
        """Somebody watched software write a structure."""
        base = event.pa & -SIZE
        told = self._told.get(base)
        if told is None:
            return
        states = self._states.setdefault(base, [])
        value = states[-1][0] if states else told.value
        shift = 8 * (event.pa & -8) % (8 * SIZE)
        value = value & ~((1 << 64) - 1 << shift) | event.new << shift
        if len(states) < _MOST_STATES:
            states.append((value, event))

    def told(self, event: ConfigInvalidation) -> None:
        """Software tells of a change: it went from what it told last to what memory has now."""
        for pa, before in tuple(self._told.items()):
            if not covers(event, before.structure, before.stream_id, before.substream_id):
                continue
            data = self._peek.read(pa, SIZE)
            if data is None:
                continue
            now = int.from_bytes(data, "little")
            if now != before.value and is_enabled(self._smmu):
                self._check_update(pa, before, now, event)
            self._states.pop(pa, None)
            self._told[pa] = before._replace(value=now, invalidation=event)
        if event.what == "STE":
            self._forget_unlinked()

    def _forget_unlinked(self) -> None:
        """CDs of streams whose STE does not lead to them any more are memory like any other."""
        stes = {
            told.stream_id: told.value for told in self._told.values() if told.structure == "STE"
        }
        for pa, told in tuple(self._told.items()):
            ste = STE(stes.get(told.stream_id, 0))
            leads = ste.V and ste.Config & Config.STAGE1 == Config.STAGE1
            if told.structure == "CD" and not leads:
                del self._told[pa]
                self._states.pop(pa, None)

    def _check_update(self, pa: int, before: _Told, now: int, event: ConfigInvalidation) -> None:
        structure, old = before.structure, before.value
        words = words_at_once(structure, old, now)
        between: TableWrite | None = None
        for value, write in self._states.get(pa, ()):
            if differs(structure, value, old) and differs(structure, value, now):
                between = write
                break
        both = valid(structure, old) and valid(structure, now)
        if between is not None or (both and words > 1):
            stream = before.stream_id, before.substream_id
            self._torn(Torn(structure, *stream, pa, words, between, before.fetch, event))


def _of(event: ConfigFetch, invalidation: ConfigInvalidation | None) -> _Told:
    value = int.from_bytes(event.data, "little")
    stream = event.stream_id, event.substream_id
    return _Told(event.structure, *stream, value, event, invalidation)


def covers(
    event: ConfigInvalidation, structure: str, stream_id: int, substream_id: int | None
) -> bool:
    """Whether a CFGI command names a structure."""
    if not event.stream_id <= stream_id < event.stream_id + event.streams:
        return False
    if event.what == "CD":
        return structure == "CD" and (substream_id or 0) == (event.substream_id or 0)
    return event.what == "STE" or structure == "CD"
