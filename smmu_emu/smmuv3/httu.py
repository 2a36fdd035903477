# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware update of translation table flags: the access flag and the dirty state.

Spec: IHI 0070 3.13, DDI 0487 D8.5. Only leaf descriptors are updated (not HAFT), and only for
accesses that really happen, so nothing is ever marked speculatively.
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.transaction import WRITE
from smmu_emu.walk.long_descriptor import AF, DBM, Leaf, Root, allowed_by

_AP_READ_ONLY = 1 << 7
_S2AP_WRITE = 1 << 7


class Updates(NamedTuple):
    """What hardware updates at one stage: the access flag (HA), and the dirty state too (HD)."""

    access: bool
    dirty: bool

    @classmethod
    def of(cls, access: int, dirty: int) -> Updates:
        """From HA and HD; HD alone acts as off. Spec: 5.2 S2HD, 5.4 HD."""
        return cls(bool(access), bool(access and dirty))


def updated(leaf: Leaf, root: Root, updates: Updates, kind: int, stage: int) -> Leaf:
    """The leaf as it must be in memory for an access of ``kind``; the same leaf if it is already.

    A page is marked dirty only if that is all that keeps the write from being allowed.
    """
    descriptor = leaf.descriptor
    if updates.access:
        descriptor |= AF
    if updates.dirty and kind & WRITE and is_clean(leaf, stage):
        dirty = _dirty(descriptor, stage)
        if allowed_by(root, dirty, leaf.tables) >> kind & 1:
            descriptor = dirty
    if descriptor == leaf.descriptor:
        return leaf
    allowed = allowed_by(root, descriptor, leaf.tables)
    return leaf._replace(descriptor=descriptor, allowed=allowed)


def is_clean(leaf: Leaf, stage: int) -> bool:
    """Whether a leaf is writable-clean: DBM set, and not writable. Spec: 3.13.3.1."""
    if not leaf.descriptor & DBM:
        return False
    return bool(leaf.descriptor & _AP_READ_ONLY if stage == 1 else ~leaf.descriptor & _S2AP_WRITE)


def _dirty(descriptor: int, stage: int) -> int:
    return descriptor & ~_AP_READ_ONLY if stage == 1 else descriptor | _S2AP_WRITE
