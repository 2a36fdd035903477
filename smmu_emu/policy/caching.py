# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept, and for how long.

Spec: IHI 0070 16.2 (caches are optional), 3.21.1 (only invalidation promises that an entry goes),
3.21.3 (structures are cached whether valid or not; failed fetches are not).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from typing import Any

from smmu_emu.policy.base import Policy
from smmu_emu.smmuv3.config import Translator
from smmu_emu.smmuv3.context import Stream
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.tlb import Entry, Space, Tlb
from smmu_emu.transaction import Fault, Transaction


class Keep(Policy):
    """Nothing gives way for want of room."""

    name = "keep"
    summary = "keep every translation until it is invalidated, however many there are"

    def install(self) -> None:
        """Make room."""
        self._before = [(cache, cache.capacity) for cache in (self.smmu.tlb, self.smmu.walk_cache)]
        for cache, _ in self._before:
            cache.capacity = sys.maxsize

    def remove(self) -> None:
        """Let capacity count again."""
        super().remove()
        for cache, capacity in self._before:
            cache.capacity = capacity


class _Watching(Policy):
    """Knows what is cached by what was inserted; `take` gives one of it up."""

    def __init__(self, smmu: Smmuv3, random: Random) -> None:
        super().__init__(smmu, random)
        self.cached: list[tuple[Tlb, Entry]] = []

    def install(self) -> None:
        """Note what comes in."""
        for cache in (self.smmu.tlb, self.smmu.walk_cache):
            self.stand_before(cache, "insert", self._noting(cache))

    def _noting(self, cache: Tlb) -> Callable[..., Callable[[Space, Entry], None]]:
        def wrap(insert: Callable[[Space, Entry], None]) -> Callable[[Space, Entry], None]:
            def noted(space: Space, entry: Entry) -> None:
                insert(space, entry)
                self.cached.append((cache, entry))
                if len(self.cached) > 2 * (len(self.smmu.tlb) + len(self.smmu.walk_cache)) + 64:
                    self.cached = [pair for pair in self.cached if pair[1].space is not None]

            return noted

        return wrap

    def reset(self) -> None:
        """Nothing is cached."""
        self.cached.clear()


class Forget(_Watching):
    """Caches hold nothing from one transaction to the next."""

    name = "forget"
    summary = "keep nothing: every transaction fetches its configuration and walks"

    def served(self, incoming: Any) -> None:
        """Drop what was needed."""
        for cache, entry in self.cached:
            cache.drop(entry)
        self.cached.clear()
        configuration = self.smmu.configuration
        for stream_id in list(configuration.streams):
            configuration.drop_ste(stream_id)


class Evict(_Watching):
    """Entries, pointers, STEs and CDs go at any time."""

    name = "evict"
    summary = "lose translations, table pointers, STEs and CDs at random"

    def served(self, incoming: Any) -> None:
        """Lose some, now and then."""
        random = self.random
        while self.cached and random.random() < 0.4:
            index = random.randrange(len(self.cached))
            self.cached[index], self.cached[-1] = self.cached[-1], self.cached[index]
            cache, entry = self.cached.pop()
            cache.drop(entry)
        configuration = self.smmu.configuration
        if configuration.streams and random.random() < 0.2:
            stream_id = random.choice(list(configuration.streams))
            if random.random() < 0.5:
                configuration.drop_cds(stream_id)
            else:
                configuration.drop_ste(stream_id, leaf=True)


class BadConfig(Policy):
    """STEs and CDs that are ILLEGAL are cached as legal ones are."""

    name = "bad-config"
    summary = "cache STEs and CDs that are invalid, too, until CFGI commands drop them"

    def __init__(self, smmu: Smmuv3, random: Random) -> None:
        super().__init__(smmu, random)
        self.stes: dict[int, Fault] = {}
        self.cds: dict[tuple[int, int], Fault] = {}

    def install(self) -> None:
        """Remember verdicts, and drop them with what was judged."""
        configuration = self.smmu.configuration
        self.stand_before(configuration, "fetch_ste", self._fetch_ste)
        self.stand_before(configuration, "fetch_cd", self._fetch_cd)
        self.stand_before(configuration, "drop_ste", self._drop_ste)
        self.stand_before(configuration, "drop_ste_range", self._drop_ste_range)
        self.stand_before(configuration, "drop_cds", self._drop_cds)
        self.stand_before(configuration, "drop_cd", self._drop_cd)

    def reset(self) -> None:
        """Nothing is cached."""
        self.stes.clear()
        self.cds.clear()

    def _fetch_ste(
        self, fetch: Callable[[Transaction], Stream | Fault]
    ) -> Callable[[Transaction], Stream | Fault]:
        def cached(transaction: Transaction) -> Stream | Fault:
            known = self.stes.get(transaction.stream_id)
            if known is not None:
                return known._replace(transaction=transaction)
            found = fetch(transaction)
            if isinstance(found, Fault) and found.code == EventCode.C_BAD_STE:
                self.stes[transaction.stream_id] = found
            return found

        return cached

    def _fetch_cd(self, fetch: Callable[..., CD | Fault]) -> Callable[..., CD | Fault]:
        def cached(
            stream: Stream, transaction: Transaction, index: int, translate: Translator
        ) -> CD | Fault:
            key = (transaction.stream_id, index)
            known = self.cds.get(key)
            if known is not None:
                return known._replace(transaction=transaction)
            found = fetch(stream, transaction, index, translate)
            if isinstance(found, Fault) and found.code == EventCode.C_BAD_CD:
                self.cds[key] = found
            return found

        return cached

    def _drop_ste(self, drop: Callable[..., None]) -> Callable[..., None]:
        def also(stream_id: int, *, leaf: bool = False) -> None:
            self.stes.pop(stream_id, None)
            drop(stream_id, leaf=leaf)

        return also

    def _drop_ste_range(self, drop: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """Its CDs go where it is known by, or by their own StreamIDs."""

        def also(first: int, count: int) -> None:
            for stream_id in [sid for sid in self.stes if first <= sid < first + count]:
                del self.stes[stream_id]
            for key in [key for key in self.cds if first <= key[0] < first + count]:
                del self.cds[key]
            drop(first, count)

        return also

    def _drop_cds(self, drop: Callable[[int], None]) -> Callable[[int], None]:
        def also(stream_id: int) -> None:
            for key in [key for key in self.cds if key[0] == stream_id]:
                del self.cds[key]
            drop(stream_id)

        return also

    def _drop_cd(self, drop: Callable[..., None]) -> Callable[..., None]:
        def also(stream_id: int, index: int, *, leaf: bool = False) -> None:
            self.cds.pop((stream_id, index), None)
            drop(stream_id, index, leaf=leaf)

        return also
