# SPDX-License-Identifier: GPL-2.0-or-later
"""Is a change of a translation table entry safe without break-before-make?

While other threads walk the tables, some changes must go through an invalid entry: write the
invalid entry, DSB, invalidate the TLB, DSB, write the new entry. `is_bbm_safe(old, new)` tells
whether a change may skip that, and which rules speak against it. It looks at what entries mean,
not at their bits, so that it holds for every format; `pgtable.inspect.changes` makes entries from
descriptors.

Spec: DDI 0487 D8.17.1 (R_WHZWS, R_FVQCK, I_WZRHR, I_WZCBG), D8.17.2 (R_PVTFW, R_KFLJB, R_KHRBC:
the levels of FEAT_BBML), D8.4.1 (I_YQWJF and its like: hierarchical controls); G5.9.1.1 (VMSAv8-32,
the same rules). Left out: whether somebody walks the tables at all, and updates of the access flag
and dirty state that race with hardware's own (I_GXGZY, R_RTBRL).
"""

from __future__ import annotations

import enum
from collections.abc import Hashable
from dataclasses import dataclass


class Kind(enum.Enum):
    """What an entry is."""

    INVALID = "invalid"
    TABLE = "table"
    LEAF = "leaf"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a translation table entry means.

    `address`: of the next table or of the output. `size`: bytes that a leaf maps. `memory`: memory
    type, cacheability and shareability, as one value to compare. `writable`: anybody may write,
    or may get to by the dirty state (DBM). `space`: the physical address space (secure or not).
    `contiguous`, `nt`: the bits of that name. `controls`: a table's restrictions of what is below.
    `other`: everything else that hardware looks at, such as permissions.
    """

    kind: Kind
    address: int = 0
    size: int = 0
    memory: Hashable = None
    writable: bool = False
    is_global: bool = False
    space: Hashable = None
    contiguous: bool = False
    nt: bool = False
    controls: Hashable = None
    other: Hashable = None


INVALID = Entry(kind=Kind.INVALID)


class Reason(enum.Enum):
    """Why a change needs break-before-make."""

    MEMORY = "the memory type, cacheability or shareability changes (R_WHZWS)"
    ADDRESS_WRITABLE = "the output address changes and the old or the new mapping is writable"
    ADDRESS_CONTENTS = "the output address changes and the memory there may differ"
    SIZE = "the block size changes (R_WHZWS; only with FEAT_BBML1 and nT, or FEAT_BBML2)"
    NT = "the block size changes with FEAT_BBML1, but the block has nT clear (R_KFLJB)"
    MORE_THAN_SIZE = "the block size changes together with translations (R_PVTFW)"
    CONTIGUOUS = "the contiguous bit changes (only with FEAT_BBML1, R_KHRBC)"
    GLOBAL = "a global entry replaces a non-global one, which a TLB may still hold"
    TABLE = "it points to another table, under which translations may differ"
    CONTROLS = "the hierarchical controls of a table change (I_YQWJF)"


@dataclass(frozen=True)
class Verdict:
    """True if the change is safe as it is. `invalidate`: the TLB needs invalidation afterwards."""

    reasons: tuple[Reason, ...]
    invalidate: bool

    @property
    def safe(self) -> bool:
        return not self.reasons

    def __bool__(self) -> bool:
        return self.safe

    def __str__(self) -> str:
        if self.safe:
            return "safe, then invalidate the TLB" if self.invalidate else "safe"
        return "break-before-make needed: " + "; ".join(reason.value for reason in self.reasons)


def is_bbm_safe(
    old: Entry,
    new: Entry,
    *,
    level: int = 0,
    same_contents: bool = False,
    same_translations: bool = False,
) -> Verdict:
    """Say whether an entry may be overwritten without break-before-make, and why not.

    `level`: what the hardware has, 0, 1 (FEAT_BBML1) or 2 (FEAT_BBML2). `same_contents`: the memory
    at the old and the new output address is known to hold the same. `same_translations`: every
    address under a changed table translates as before, page sizes apart.

    Raises: ValueError for a level that does not exist.

    Spec: DDI 0487 D8.17.1, D8.17.2.
    """
    if level not in (0, 1, 2):
        raise ValueError(f"level {level}: FEAT_BBML has levels 0, 1 and 2")
    if Kind.INVALID in (old.kind, new.kind) or old == new:
        # An entry that faults is never cached; taking one away is the first half of the sequence.
        return Verdict((), old.kind is not Kind.INVALID and old != new)
    if old.kind is not new.kind:
        reasons = _resized(old, new, level, same_translations)
    elif old.kind is Kind.TABLE:
        reasons = _table(old, new, same_translations)
    else:
        reasons = _leaf(old, new, level, same_contents)
    return Verdict(tuple(reasons), True)


def _resized(old: Entry, new: Entry, level: int, same_translations: bool) -> list[Reason]:
    """Judge a table that becomes a leaf, or a leaf that becomes a table."""
    if level == 0:
        return [Reason.SIZE]
    reasons = []
    leaf = old if old.kind is Kind.LEAF else new
    if level == 1 and not leaf.nt:
        reasons.append(Reason.NT)
    if not same_translations:
        reasons.append(Reason.MORE_THAN_SIZE)
    return reasons


def _table(old: Entry, new: Entry, same_translations: bool) -> list[Reason]:
    reasons = []
    if (old.address, old.space) != (new.address, new.space) and not same_translations:
        reasons.append(Reason.TABLE)
    if old.controls != new.controls:
        reasons.append(Reason.CONTROLS)
    return reasons


def _leaf(old: Entry, new: Entry, level: int, same_contents: bool) -> list[Reason]:
    reasons = []
    if old.memory != new.memory:
        reasons.append(Reason.MEMORY)
    if (old.address, old.space) != (new.address, new.space):
        if old.writable or new.writable:
            reasons.append(Reason.ADDRESS_WRITABLE)
        elif not same_contents:
            reasons.append(Reason.ADDRESS_CONTENTS)
    if old.size != new.size:
        reasons.append(Reason.SIZE)
    if old.contiguous != new.contiguous and level == 0:
        reasons.append(Reason.CONTIGUOUS)
    if new.is_global and not old.is_global:
        reasons.append(Reason.GLOBAL)
    return reasons
