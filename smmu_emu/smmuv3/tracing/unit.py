# SPDX-License-Identifier: GPL-2.0-or-later
"""One SMMU under trace: what its observing functions share, and where they stand.

Numbers of cached things are kept here, for as long as those are cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from smmu_emu.interpose import Layer, Wrap
from smmu_emu.smmuv3.context import Context, Stream
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.tracing.caches import CacheTracing
from smmu_emu.smmuv3.tracing.configuration import ConfigTracing
from smmu_emu.smmuv3.tracing.control import ControlTracing
from smmu_emu.smmuv3.tracing.invalidations import InvalidationTracing
from smmu_emu.smmuv3.tracing.outputs import OutputTracing
from smmu_emu.smmuv3.tracing.traffic import TrafficTracing
from smmu_emu.smmuv3.tracing.walks import WalkTracing
from smmu_emu.tlb import Entry
from smmu_emu.transaction import Transaction

if TYPE_CHECKING:
    from smmu_emu.trace.tracer import Tracer

Place = tuple[object, str, Wrap] | tuple[object, str, Wrap, Layer]
"""An object, one of its functions, what makes the function that stands before it, and where."""


class UnitTracing:
    """The tracing of one SMMU.

    ``incoming`` is the transaction that is being served, ``access`` how events name it by now (0
    outside of accesses), ``cause`` who is behind it. ``entries`` and ``configs`` have the numbers
    of what is cached.
    """

    unsaved = (
        *("tracer", "smmu", "name", "clock", "incoming", "access", "cause", "entries"),
        *("configs", "numbers", "walks", "caches", "pointers", "invalidations"),
        *("configuration", "traffic", "control", "outputs"),
    )

    def __init__(self, tracer: Tracer, smmu: Smmuv3) -> None:
        self.tracer = tracer
        self.smmu = smmu
        self.name = smmu.name
        self.clock = tracer.clock
        self.incoming: Transaction | None = None
        self.access = 0
        self.cause = 0
        self.entries: dict[Entry, int] = {}
        self.configs: dict[Stream | Context, int] = {}
        self.numbers = 0
        self.walks = WalkTracing(self)
        self.caches = CacheTracing(self, smmu.tlb, "tlb")
        self.pointers = CacheTracing(self, smmu.walk_cache, "walk-cache")
        self.invalidations = InvalidationTracing(self)
        self.configuration = ConfigTracing(self)
        self.traffic = TrafficTracing(self)
        self.control = ControlTracing(self)
        self.outputs = OutputTracing(self)

    def places(self) -> Iterator[Place]:
        """Where to stand for the kinds of events that the tracer wants."""
        for part in (
            self.walks,
            self.caches,
            self.pointers,
            self.invalidations,
            self.configuration,
            self.traffic,
            self.control,
            self.outputs,
        ):
            yield from part.places()

    def tell_cached(self) -> None:
        """Give numbers to what is cached already, and tell of it."""
        self.configuration.tell_cached()
        self.caches.tell_cached()
        self.pointers.tell_cached()

    def forget_cached(self) -> None:
        """What had numbers is not there any more."""
        self.entries.clear()
        self.configs.clear()
        self.walks.behind.clear()

    def next_number(self) -> int:
        """A number for something that is cached from now on."""
        self.numbers += 1
        return self.numbers

    def head(self) -> tuple[int, int, str, int]:
        """The first four fields of an event that happens now."""
        tracer = self.tracer
        cause = self.cause if self.access else tracer.causes.find()
        seq = tracer.seq = tracer.seq + 1
        return seq, self.clock.now, self.name, cause
