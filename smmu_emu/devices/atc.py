# SPDX-License-Identifier: GPL-2.0-or-later
"""An address translation cache: what an endpoint of PCIe's ATS remembers of its translation unit.

Spec: IHI 0070 3.9.1, 4.5.1 (what an invalidation reaches), 13.7 (rights). Completions without any
right are not kept.
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.ats import Completion, Invalidation


class Access(NamedTuple):
    """What a master says about a transfer; ``substream_id`` is its PASID."""

    write: bool = False
    substream_id: int | None = None
    privileged: bool = False
    execute: bool = False


class Cached(NamedTuple):
    """A translation: ``1 << size_lg2`` bytes at ``base``, and where they lie."""

    base: int
    size_lg2: int
    address: int
    completion: Completion

    def permits(self, access: Access) -> bool:
        """Whether the rights that were granted allow an access."""
        if access.write:
            return self.completion.write
        return self.completion.read and (self.completion.execute or not access.execute)


class Atc:
    """Translations by PASID and privilege, which say nothing about each other (13.7).

    The oldest makes room when there are ``capacity``.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: dict[tuple[int | None, bool, int, int], Cached] = {}
        self._sizes: list[int] = []

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, access: Access, iova: int) -> Cached | None:
        """The translation of an address for one PASID and privilege."""
        tag = (access.substream_id, access.privileged)
        for size_lg2 in self._sizes:
            entry = self._entries.get((*tag, size_lg2, iova >> size_lg2))
            if entry is not None:
                return entry
        return None

    def insert(self, access: Access, entry: Cached) -> None:
        """Keep a translation; it replaces one of the same block."""
        tag = (access.substream_id, access.privileged)
        key = (*tag, entry.size_lg2, entry.base >> entry.size_lg2)
        self._entries.pop(key, None)
        if entry.size_lg2 not in self._sizes:
            self._sizes.append(entry.size_lg2)
        while len(self._entries) >= self.capacity:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = entry

    def drop(self, request: Invalidation) -> int:
        """Forget what an invalidation names; without PASID that is every PASID's. Returns how many.

        Spec: IHI 0070 4.5.1.
        """
        any_pasid = request.substream_id is None or request.every_pasid
        last = request.address + (1 << request.size_lg2) - 1
        dropped = [
            key
            for key, entry in self._entries.items()
            if (any_pasid or key[0] == request.substream_id)
            and entry.base <= last
            and entry.base + (1 << entry.size_lg2) > request.address
        ]
        for key in dropped:
            del self._entries[key]
        return len(dropped)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._sizes.clear()
