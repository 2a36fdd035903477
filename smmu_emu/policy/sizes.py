# SPDX-License-Identifier: GPL-2.0-or-later
"""In what sizes translations are cached.

Spec: DDI 0487 D8.7.1 (contiguous entries may be cached as one), D8.17 (a block may be cached in
pieces, and any address of it invalidates all of them; the contiguous hint changes nothing of what
an invalidation must reach). An entry for a whole run goes when any address of it is invalidated,
since it would translate that.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.policy.base import Policy
from smmu_emu.tlb import Entry, Space
from smmu_emu.walk.long_descriptor import AF, DBM, Fetch, Leaf, Root, WalkFault

Walk = Callable[[Fetch, Root, int], "Leaf | WalkFault"]

CONTIGUOUS = 1 << 52
RUN_LG2 = {(12, 1): 4, (12, 2): 4, (12, 3): 4, (14, 2): 5, (14, 3): 7, (16, 2): 5, (16, 3): 5}
"""Log2 of the descriptors in a contiguous run, by granule (log2) and level. Spec: Table D8-104."""


class Split(Policy):
    """Blocks are cached in pieces."""

    name = "split"
    summary = "cache blocks in pieces, of any size down to a page"

    def install(self) -> None:
        """Make leaves smaller, and let entries remember the block that they are of."""
        self.stand_before(self.smmu.stages, "walk", self._walk)
        self.stand_before(self.smmu.tlb, "insert", _of_blocks)

    def _walk(self, walk: Walk) -> Walk:
        def splitting(fetch: Fetch, root: Root, address: int) -> Leaf | WalkFault:
            leaf = walk(fetch, root, address)
            if isinstance(leaf, WalkFault) or leaf.size_lg2 <= root.granule_lg2:
                return leaf
            size_lg2 = self.random.randint(root.granule_lg2, leaf.size_lg2)
            inside = address & (1 << leaf.size_lg2) - 1 & -(1 << size_lg2)
            return leaf._replace(page=leaf.page | inside, size_lg2=size_lg2)

        return splitting


def _of_blocks(insert: Callable[[Space, Entry], None]) -> Callable[[Space, Entry], None]:
    def whole(space: Space, entry: Entry) -> None:
        granule_lg2 = entry.granule_lg2
        block_lg2 = granule_lg2 + (granule_lg2 - 3) * (3 - entry.level)
        entry.span_lg2 = max(entry.span_lg2, block_lg2)
        insert(space, entry)

    return whole


class Merge(Policy):
    """Runs of descriptors with the contiguous hint are cached as one entry.

    All of the run is read and must be as the hint promises: a run that is not is cached as
    anywhere else.
    """

    name = "merge"
    summary = "cache runs of descriptors that have the contiguous hint as one large entry"

    def install(self) -> None:
        """Make leaves larger."""
        self.stand_before(self.smmu.stages, "walk", self._walk)

    def _walk(self, walk: Walk) -> Walk:
        def merging(fetch: Fetch, root: Root, address: int) -> Leaf | WalkFault:
            leaf = walk(fetch, root, address)
            if isinstance(leaf, WalkFault) or not leaf.descriptor & CONTIGUOUS:
                return leaf
            return _merged(fetch, root, leaf) or leaf

        return merging


def _merged(fetch: Fetch, root: Root, leaf: Leaf) -> Leaf | None:
    """The leaf of the whole run, or None if it is no run."""
    count_lg2 = RUN_LG2.get((root.granule_lg2, leaf.level))
    block_lg2 = root.granule_lg2 + (root.granule_lg2 - 3) * (3 - leaf.level)
    if count_lg2 is None or leaf.descriptor & DBM or not leaf.descriptor & AF:
        return None
    size_lg2 = block_lg2 + count_lg2
    if leaf.size_lg2 != block_lg2 or size_lg2 > root.input_bits:
        return None
    index = leaf.address >> 3 & (1 << count_lg2) - 1
    page = leaf.page - (index << block_lg2)
    if page & (1 << size_lg2) - 1:
        return None
    table, first = leaf.address - 8 * index, leaf.descriptor - (index << block_lg2)
    for number in range(1 << count_lg2):
        if fetch(table + 8 * number) != first + (number << block_lg2):
            return None
    return leaf._replace(page=page, size_lg2=size_lg2)
