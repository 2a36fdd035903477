# SPDX-License-Identifier: GPL-2.0-or-later
"""What a table tells the owner of the TLB: Linux's `iommu_flush_ops` and `iommu_iotlb_gather`.

Linux passes a cookie to each callback; here the object itself is the context. A run of leaves of
one size is told once, as `(iova, granule, count)`: `tlb_add_pages` expands it into one
`tlb_add_page` a leaf unless it is overridden.
"""

from __future__ import annotations

from collections.abc import Iterator

ULONG_MAX = (1 << 64) - 1


class IotlbGather:
    """A range of addresses to invalidate later, grown as leaves are unmapped.

    `queued`: the caller flushes everything later anyway, so leaves need not be told one by one.
    `start` and `end` are inclusive; an empty gather has start above end.
    """

    __slots__ = ("end", "pgsize", "queued", "start")

    def __init__(self, queued: bool = False) -> None:
        self.queued = queued
        self.clear()

    def clear(self) -> None:
        """Forget the gathered range."""
        self.start = ULONG_MAX
        self.end = 0
        self.pgsize = 0

    @property
    def empty(self) -> bool:
        return self.start > self.end

    def add_range(self, iova: int, size: int) -> None:
        """Grow the range to hold `size` bytes at `iova`."""
        last = (iova + size - 1) & ULONG_MAX
        if iova < self.start:
            self.start = iova
        if last > self.end:
            self.end = last

    def is_disjoint(self, iova: int, size: int) -> bool:
        """Say whether a range neither touches nor overlaps what is gathered."""
        if self.empty:
            return False
        return iova > self.end + 1 or iova + size < self.start

    def __repr__(self) -> str:
        what = "empty" if self.empty else f"{self.start:#x}-{self.end:#x}"
        return f"IotlbGather({what}{', queued' if self.queued else ''})"


class FlushOps:
    """Callbacks a table makes; a driver overrides those it needs."""

    def tlb_flush_all(self) -> None:
        """Invalidate everything of this address space, at once."""

    def tlb_flush_walk(self, iova: int, size: int, granule: int) -> None:
        """Invalidate walks and leaves of `size` bytes at `iova`, at once: a table went away."""

    def tlb_add_page(self, gather: IotlbGather | None, iova: int, granule: int) -> None:
        """One leaf of `granule` bytes at `iova` was unmapped; invalidate it by the next sync."""

    def tlb_add_pages(
        self, gather: IotlbGather | None, iova: int, granule: int, count: int
    ) -> None:
        """`count` adjacent leaves of `granule` bytes were unmapped, in ascending order."""
        add = self.tlb_add_page
        for page in range(count):
            add(gather, (iova + page * granule) & ULONG_MAX, granule)


class _Nobody(FlushOps):
    """Listens to nothing, and is not called once a leaf for it."""

    def tlb_add_pages(
        self, gather: IotlbGather | None, iova: int, granule: int, count: int
    ) -> None:
        """Ignore a run."""


NOBODY = _Nobody()

FlushEvent = tuple[str, int, int, int]


class FlushRecorder(FlushOps):
    """Keeps what it was told, runs unexpanded; for tests and for looking at a table's work.

    Each event is `(kind, iova, a, b)`: `("flush_all", 0, 0, 0)`,
    `("flush_walk", iova, size, granule)`, `("add_page", iova, granule, count)`.
    """

    def __init__(self) -> None:
        self.events: list[FlushEvent] = []

    def clear(self) -> None:
        self.events.clear()

    def tlb_flush_all(self) -> None:
        self.events.append(("flush_all", 0, 0, 0))

    def tlb_flush_walk(self, iova: int, size: int, granule: int) -> None:
        self.events.append(("flush_walk", iova, size, granule))

    def tlb_add_page(self, gather: IotlbGather | None, iova: int, granule: int) -> None:
        self.events.append(("add_page", iova, granule, 1))

    def tlb_add_pages(
        self, gather: IotlbGather | None, iova: int, granule: int, count: int
    ) -> None:
        self.events.append(("add_page", iova, granule, count))

    def expanded(self) -> Iterator[FlushEvent]:
        """Yield the events with every run taken apart into single leaves."""
        for kind, iova, a, b in self.events:
            if kind == "add_page":
                for page in range(b):
                    yield kind, (iova + page * a) & ULONG_MAX, a, 1
            else:
                yield kind, iova, a, b
