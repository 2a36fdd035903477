# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware update of translation table flags: the access flag and the dirty state.

Spec: IHI 0070 3.13, DDI 0487 D8.5. Only leaf descriptors are updated (not HAFT), and only for
accesses that really happen, so nothing is ever marked speculatively.
"""

from __future__ import annotations

from typing import NamedTuple

from smmu_emu.transaction import INSTRUCTION, PRIVILEGED, WRITE
from smmu_emu.walk.long_descriptor import AF, DBM, Leaf, Root, allowed_by

_AP_READ_ONLY = 1 << 7
_S2AP_WRITE = 1 << 7
_EXECUTES = 1 << INSTRUCTION | 1 << (INSTRUCTION | PRIVILEGED)
"""Bits of a permission byte for instruction reads."""


class Updates(NamedTuple):
    """What hardware updates at one stage: the access flag (HA), and the dirty state too (HD)."""

    access: bool
    dirty: bool

    @classmethod
    def of(cls, access: int, dirty: int) -> Updates:
        """From HA and HD; HD alone acts as off. Spec: 5.2 S2HD, 5.4 HD."""
        return cls(bool(access), bool(access and dirty))


def updated(leaf: Leaf, root: Root, updates: Updates, kind: int, stage: int) -> Leaf:
    """The leaf as it must be in memory for an access of ``kind``, with what it then allows.

    A page is marked dirty only if that is all that keeps the write from being allowed. One that
    stays clean is judged for execution as though it were writable, which it may become at any time
    (DDI 0487 AArch64.S1DirectBasePermissions); writes go through hardware first.
    """
    descriptor = leaf.descriptor
    if updates.access:
        descriptor |= AF
    if not (updates.dirty and is_clean(leaf, stage)):
        return leaf._replace(descriptor=descriptor)
    dirty = _dirty(descriptor, stage)
    if_dirty = allowed_by(root, dirty, leaf.tables)
    if kind & WRITE and if_dirty >> kind & 1:
        return leaf._replace(descriptor=dirty, allowed=if_dirty)
    allowed = leaf.allowed & ~_EXECUTES | if_dirty & _EXECUTES
    return leaf._replace(descriptor=descriptor, allowed=allowed)


def is_clean(leaf: Leaf, stage: int) -> bool:
    """Whether a leaf is writable-clean: DBM set, and not writable. Spec: 3.13.3.1."""
    if not leaf.descriptor & DBM:
        return False
    return bool(leaf.descriptor & _AP_READ_ONLY if stage == 1 else ~leaf.descriptor & _S2AP_WRITE)


def _dirty(descriptor: int, stage: int) -> int:
    return descriptor & ~_AP_READ_ONLY if stage == 1 else descriptor | _S2AP_WRITE
