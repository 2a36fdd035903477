# SPDX-License-Identifier: GPL-2.0-or-later
"""What a walk would give now, without side effects; and in what that differs from what is cached.

The walker itself walks (`smmu_emu.walk.long_descriptor`), over memory as it is or over the
descriptors as they were read when an entry was made: so both answers are made in one way, and
nothing is compared that only looks different. Hardware's flags count as what hardware would make
of them (IHI 0070 3.13).
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from smmu_emu.smmuv3 import attributes
from smmu_emu.smmuv3.context import Context, Stage1, Stage2
from smmu_emu.smmuv3.httu import updated
from smmu_emu.transaction import ALL_KINDS, Attributes
from smmu_emu.walk.long_descriptor import Fetch, Leaf, Root, WalkFaultKind, walk


class Difference(Enum):
    """In what a fresh walk differs from a cached translation."""

    UNMAPPED = "is not mapped any more"
    MOVED = "leads elsewhere"
    RETYPED = "has other attributes"
    RESIZED = "is mapped by a block or page of another size"
    NARROWED = "permits less"
    WIDENED = "permits more"
    AGED = "has its access flag clear"
    ROOT = "belongs to other tables"


NEEDS_BREAK = frozenset({Difference.MOVED, Difference.RETYPED, Difference.RESIZED})
"""Changes that need break-before-make (DDI 0487 D8.17.1)."""


class Outcome(NamedTuple):
    """What a walk gives for an address: ``page`` is where the address itself leads; ``shared`` if
    it is global, so that all ASIDs have it."""

    page: int = 0
    size_lg2: int = 0
    allowed: int = 0
    attributes: Attributes | None = None
    fault: WalkFaultKind | None = None
    shared: bool = False


_NG = 1 << 11
_DATA = 0x0F
"""Bits of a permission byte for data accesses."""
NOWHERE = Outcome(fault=WalkFaultKind.TRANSLATION)


def resolve(context: Context, world: str, address: int, fetch: Fetch) -> Outcome:
    """Walk for ``address`` in one of a context's worlds ("S2" is stage 2 alone)."""
    stage1, stage2 = context.stage1, context.stage2
    if world == "S2":
        return NOWHERE if stage2 is None else _stage2(stage2, address, fetch)
    if stage1 is None:
        return NOWHERE
    root = stage1.halves[address >> 55 & 1]
    if root is None:
        return NOWHERE
    if world != "EL1_NESTED":
        return _stage1(stage1, root, address, fetch)
    return NOWHERE if stage2 is None else _nested(stage1, stage2, root, address, fetch)


def _stage1(stage1: Stage1, root: Root, address: int, fetch: Fetch) -> Outcome:
    leaf = walk(fetch, root, address)
    if not isinstance(leaf, Leaf):
        return Outcome(fault=leaf.kind)
    leaf = updated(leaf, root, stage1.flags, 0, 1)
    page = leaf.page | address & (1 << leaf.size_lg2) - 1
    found = stage1.attributes[attributes.index(leaf.descriptor)]
    shared = not leaf.descriptor & _NG
    return Outcome(page, leaf.size_lg2, leaf.allowed, found, shared=shared)


def _stage2_leaf(stage2: Stage2, ipa: int, fetch: Fetch) -> Leaf | Outcome:
    root = stage2.root
    if ipa >> root.input_bits:
        return NOWHERE
    leaf = walk(fetch, root, ipa)
    if not isinstance(leaf, Leaf):
        return Outcome(fault=leaf.kind)
    return updated(leaf, root, stage2.flags, 0, 2)


def _stage2(stage2: Stage2, ipa: int, fetch: Fetch) -> Outcome:
    leaf = _stage2_leaf(stage2, ipa, fetch)
    if isinstance(leaf, Outcome):
        return leaf
    page = leaf.page | ipa & (1 << leaf.size_lg2) - 1
    found = stage2.attributes[attributes.stage2_index(leaf.descriptor)]
    return Outcome(page, leaf.size_lg2, leaf.allowed, found)


def _nested(stage1: Stage1, stage2: Stage2, root: Root, address: int, fetch: Fetch) -> Outcome:
    def through(ipa: int) -> int | None:
        table = _stage2_leaf(stage2, ipa, fetch)
        if isinstance(table, Outcome):
            return None
        return fetch(table.page | ipa & (1 << table.size_lg2) - 1)

    leaf = walk(through, root, address)
    if not isinstance(leaf, Leaf):
        return Outcome(fault=leaf.kind)
    leaf = updated(leaf, root, stage1.flags, 0, 1)
    ipa = leaf.page | address & (1 << leaf.size_lg2) - 1
    second = _stage2_leaf(stage2, ipa, fetch)
    if isinstance(second, Outcome):
        return second
    first = stage1.attributes[attributes.index(leaf.descriptor)]
    combined = attributes.stage2(first, stage2.forced)
    return Outcome(
        second.page | ipa & (1 << second.size_lg2) - 1,
        min(leaf.size_lg2, second.size_lg2),
        leaf.allowed & second.allowed & ALL_KINDS,
        combined[attributes.stage2_index(second.descriptor)],
    )


def difference(then: Outcome, now: Outcome) -> Difference | None:
    """In what a walk's answer differs from an earlier one; None if one may stand for the other."""
    if now.fault is not None:
        if now.fault is WalkFaultKind.ACCESS_FLAG:
            return Difference.AGED
        return Difference.UNMAPPED
    if now.page != then.page:
        return Difference.MOVED
    if now.attributes != then.attributes or (now.shared and not then.shared):
        return Difference.RETYPED
    if now.size_lg2 != then.size_lg2:
        return Difference.RESIZED
    lost, gained = then.allowed & ~now.allowed, now.allowed & ~then.allowed
    if lost & _DATA or (lost and not gained):
        return Difference.NARROWED  # who may write may not always execute; that alone is no loss
    return Difference.WIDENED if gained else None
