# SPDX-License-Identifier: GPL-2.0-or-later
"""A tagged TLB that keeps what it was given until it is told to drop it, or runs out of room.

Entries live in *spaces*: one for each tag that an architecture puts on a translation (for an SMMUv3
the StreamWorld, VMID and ASID). A space keeps one dictionary for each page size in use, so that a
lookup is one dictionary access a size, and a space that is held by a cached context stays valid
when its entries are dropped.

What is dropped is told by an `InvalidateScope`; the owner decides which spaces it reaches. Entries
made by breaking up a larger block remember the block (``span_lg2``), because invalidating any
address of a block must drop all of its pieces (DDI 0487 D8.17).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

from smmu_emu.transaction import Attributes

DEFAULT_CAPACITY = 1 << 20


class Entry:
    """One cached translation: the naturally aligned block of ``1 << size_lg2`` bytes at ``base``.

    ``allowed`` is the permission byte of all stages together; ``allowed_stage1`` and
    ``allowed_stage2`` tell whose fault a refusal is, ``ipa`` what stage 2 was asked for.
    ``level`` and ``granule_lg2`` are those of the leaf that invalidations by address look at.
    ``clean`` tells that a write may be allowed after all, once hardware has marked the page dirty.
    ``stage2_descriptor`` is kept by entries of stage 2 alone, for those who combine with it.
    """

    __slots__ = (
        "allowed",
        "allowed_stage1",
        "allowed_stage2",
        "attributes",
        "base",
        "clean",
        "granule_lg2",
        "ipa",
        "level",
        "mask",
        "page",
        "size_lg2",
        "space",
        "span_lg2",
        "stage2_descriptor",
        "stage2_level",
    )

    def __init__(
        self,
        base: int,
        size_lg2: int,
        page: int,
        allowed_stage1: int,
        allowed_stage2: int,
        attributes: Attributes,
        level: int,
        granule_lg2: int,
        span_lg2: int,
        ipa: int = 0,
        stage2_level: int | None = None,
    ) -> None:
        self.base = base
        self.size_lg2 = size_lg2
        self.mask = (1 << size_lg2) - 1
        self.page = page
        self.allowed = allowed_stage1 & allowed_stage2
        self.allowed_stage1 = allowed_stage1
        self.allowed_stage2 = allowed_stage2
        self.attributes = attributes
        self.level = level
        self.granule_lg2 = granule_lg2
        self.span_lg2 = span_lg2
        self.ipa = ipa
        self.stage2_level = stage2_level
        self.stage2_descriptor = 0
        self.clean = False
        self.space: Space | None = None

    def __repr__(self) -> str:
        tag = self.space.tag if self.space else "dropped"
        return f"<Entry {self.base:#x}+{self.mask + 1:#x} -> {self.page:#x} {tag}>"


class TablePointer(Entry):
    """A cached table descriptor: addresses of its block are looked up in the table at ``page``.

    ``level`` is the descriptor's, ``tables`` are the hierarchical bits of it and those above it.
    Where stage 1 is nested, ``page`` is an IPA and ``behind`` the physical address that stage 2
    gave for it, or None.
    """

    __slots__ = ("behind", "tables")

    def __init__(
        self,
        base: int,
        size_lg2: int,
        table: int,
        level: int,
        granule_lg2: int,
        tables: int,
        behind: int | None = None,
    ) -> None:
        nothing = Attributes(0, 0)
        super().__init__(base, size_lg2, table, 0, 0, nothing, level, granule_lg2, size_lg2)
        self.tables = tables
        self.behind = behind


class Space:
    """The entries under one tag. ``sizes`` pairs each size in use (log2) with its dictionary.

    ``version`` changes with every entry that comes or goes.
    """

    __slots__ = ("sizes", "tag", "version")

    def __init__(self, tag: Hashable) -> None:
        self.tag = tag
        self.sizes: list[tuple[int, dict[int, Entry]]] = []
        self.version = 0

    def pages(self, size_lg2: int) -> dict[int, Entry]:
        """The dictionary for one size, made when it is first needed."""
        for size, pages in self.sizes:
            if size == size_lg2:
                return pages
        pages = {}
        self.sizes.append((size_lg2, pages))
        return pages

    def find(self, address: int) -> Entry | None:
        """The entry that translates ``address``, or None."""
        for size_lg2, pages in self.sizes:
            entry = pages.get(address >> size_lg2)
            if entry is not None:
                return entry
        return None

    def entries(self) -> list[Entry]:
        """All entries, oldest first within each size."""
        return [entry for _, pages in self.sizes for entry in pages.values()]

    def __len__(self) -> int:
        return sum(len(pages) for _, pages in self.sizes)


class InvalidateScope(NamedTuple):
    """Which addresses an invalidation reaches: bytes ``first`` to ``last``, both included.

    With ``granule_lg2`` only entries of that granule, and with ``level`` only those whose leaf
    is on that level, have to go (IHI 0070 4.4.1.1); None means any.
    """

    first: int
    last: int
    granule_lg2: int | None = None
    level: int | None = None

    def covers(self, entry: Entry) -> bool:
        """Whether ``entry``, or the block it is a piece of, has an address in the range."""
        span = (1 << entry.span_lg2) - 1
        start = entry.base & ~span
        if start > self.last or start + span < self.first:
            return False
        if self.granule_lg2 is not None and entry.granule_lg2 != self.granule_lg2:
            return False
        return self.level is None or entry.level == self.level

    def covers_table(self, pointer: TablePointer) -> bool:
        """Whether ``pointer`` leads to an address in the range; those above ``level`` count.

        Spec: IHI 0070 4.4.1.1 (TTL with Leaf 0).
        """
        if pointer.base > self.last or pointer.base + pointer.mask < self.first:
            return False
        if self.granule_lg2 is not None and pointer.granule_lg2 != self.granule_lg2:
            return False
        return self.level is None or pointer.level < self.level


class Tlb:
    """All spaces of one translation unit; holds ``capacity`` entries and drops the oldest first.

    Whoever finds very many translations at once may `defer` making their entries: that happens when
    somebody looks. ``deferred`` says whether there are such.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self.spaces: dict[Hashable, Space] = {}
        self.deferred: list[tuple[int, Callable[[], None]]] = []
        self._age: dict[Entry, None] = {}

    def __len__(self) -> int:
        self.settle()
        return len(self._age)

    def space(self, tag: Hashable) -> Space:
        """The space of a tag, made when first asked for; it lives as long as the TLB."""
        space = self.spaces.get(tag)
        if space is None:
            space = self.spaces[tag] = Space(tag)
        return space

    def insert(self, space: Space, entry: Entry) -> None:
        """Cache ``entry``; an older one for the same block gives way, and the oldest if full."""
        if self.deferred:
            self.settle()
        size_lg2 = entry.size_lg2
        pages = space.pages(size_lg2)
        number = entry.base >> size_lg2
        old = pages.get(number)
        if old is not None:
            self.drop(old)
        elif len(self._age) >= self.capacity:
            self.drop(next(iter(self._age)))
        pages[number] = entry
        entry.space = space
        space.version += 1
        self._age[entry] = None

    def drop(self, entry: Entry) -> None:
        """Forget one entry."""
        space = entry.space
        if space is not None:
            del space.pages(entry.size_lg2)[entry.base >> entry.size_lg2]
            del self._age[entry]
            space.version += 1
            entry.space = None

    def invalidate(
        self, spaces: Iterable[Space], scope: InvalidateScope | None = None
    ) -> list[Entry]:
        """Drop the entries of ``spaces`` that ``scope`` covers (None: all); returns them."""
        self.settle()
        covers: Callable[[Entry], bool] = scope.covers if scope is not None else lambda _: True
        dropped = [entry for space in spaces for entry in space.entries() if covers(entry)]
        for entry in dropped:
            self.drop(entry)
        return dropped

    def clear(self) -> None:
        """Forget everything."""
        self.deferred.clear()
        self.invalidate(list(self.spaces.values()))
        for space in self.spaces.values():
            space.version += 1  # what was deferred is gone, too

    def defer(self, count: int, make: Callable[[], None]) -> None:
        """Let ``make`` insert ``count`` entries before anybody next looks for one."""
        self.deferred.append((count, make))

    def before_kept(self) -> bool:
        """Make what was deferred, before a machine's state is kept."""
        deferred = bool(self.deferred)
        self.settle()
        return deferred

    def has_room(self, count: int) -> bool:
        """Whether so many more entries fit without any being dropped."""
        deferred = sum(number for number, _ in self.deferred)
        return len(self._age) + deferred + count <= self.capacity

    def settle(self) -> None:
        """Make the entries that were deferred."""
        while self.deferred:
            makers, self.deferred = self.deferred, []
            for _, make in makers:
                make()


class WalkCache(Tlb):
    """Pointers to tables (`TablePointer`), in spaces as a TLB has them; empty unless a policy fills
    it.

    Spec: IHI 0070 3.21.1, 16.2; DDI 0487 D8.17 (intermediate caching structures).
    """

    def invalidate(
        self, spaces: Iterable[Space], scope: InvalidateScope | None = None
    ) -> list[Entry]:
        """Drop the pointers of ``spaces`` that lead where ``scope`` says (None: all); returns
        them."""
        dropped = [
            pointer
            for space in spaces
            for pointer in space.entries()
            if scope is None or (isinstance(pointer, TablePointer) and scope.covers_table(pointer))
        ]
        for pointer in dropped:
            self.drop(pointer)
        return dropped
