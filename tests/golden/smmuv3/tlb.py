# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's TLB: up to 256 entries by (ASID, VMID, address, granule, level), then none.

Stage-2-only entries, those for table and CD addresses of nested streams among them, have ASID -1;
without stage 2 in the SMMU the VMID is -1. An entry also keeps what the architecture would judge it
by, and the names of the deviations without which it would not be there. An entry without names is
*legal*: any SMMU may hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .fields import level_shift

CAPACITY = 256
READ, WRITE = 1, 2

Key = tuple[int, int, int, int, int]


@dataclass(slots=True)
class Entry:
    """A leaf, or two combined: ``mask`` + 1 bytes at ``iova`` go to ``out``.

    ``perm`` is what the input's stage allows, ``parent`` what stage 2 allows. ``ap``, ``ap_table``
    and ``not_global`` are stage 1's descriptor fields (ap_table gathered over the levels, 0 under
    HAD); ``ipa`` is stage 1's output; ``leaf`` is (granule, level) of the input stage's own leaf,
    of which a combined entry may be a piece; ``aset`` is CD.ASET; ``tagged`` says that the top
    byte was ignored.
    """

    iova: int
    mask: int
    out: int
    granule: int
    level: int
    perm: int
    parent: int
    ap: int = 1
    ap_table: int = 0
    not_global: bool = False
    aset: int = 0
    ipa: int = 0
    leaf: tuple[int, int] = (0, 0)
    tagged: bool = False
    combined: bool = False
    descriptor: int = 0
    names: frozenset[str] = field(default_factory=frozenset)

    def target(self, address: int) -> int:
        """Return where ``address`` goes."""
        return self.out + (address & self.mask)

    @property
    def leaf_mask(self) -> int:
        """Mask of the input stage's whole leaf."""
        granule, level = self.leaf
        return (1 << level_shift(level, granule)) - 1

    @property
    def canonical(self) -> int:
        """``iova`` as invalidations name it: an ignored top byte filled from bit 55."""
        return canonical(self.iova) if self.tagged else self.iova


def canonical(address: int) -> int:
    """Return ``address`` with its top byte filled from bit 55."""
    return address | 0xFF << 56 if address >> 55 & 1 else address & (1 << 56) - 1


class Tlb:
    """Entries in QEMU's order of insertion; ``changes`` counts what came and went."""

    def __init__(self) -> None:
        self.entries: dict[Key, Entry] = {}
        self.changes = 0

    def lookup(
        self, asid: int, vmid: int, address: int, granule: int, input_bits: int
    ) -> Entry | None:
        """Return the entry that covers ``address``, searched from the start level down.

        QEMU counts in unsigned bytes here: for a half whose walks are disabled (granule 0) only a
        64 KiB stage-2 granule leaves levels to search.
        """
        level = 4 - (input_bits - 4) // (granule - 3 & 0xFF) & 0xFF
        while level <= 3:
            mask = (1 << level_shift(level, granule)) - 1
            key = (asid, vmid, address & ~mask, granule, level)
            entry = self.entries.get(key)
            if entry is not None:
                return entry
            level += 1
        return None

    def insert(self, asid: int, vmid: int, entry: Entry) -> None:
        """Remember ``entry``; a full TLB is emptied first."""
        self.changes += 1
        if len(self.entries) >= CAPACITY:
            self.entries.clear()
        self.entries[asid, vmid, entry.iova, entry.granule, entry.level] = entry

    def remove(self, keys: Iterable[Key]) -> None:
        """Drop the entries of ``keys``."""
        self.changes += 1
        for key in keys:
            del self.entries[key]

    def legal(self) -> Iterable[tuple[Key, Entry]]:
        """Return the entries that any SMMU may hold."""
        return ((key, entry) for key, entry in self.entries.items() if not entry.names)

    def select(self, matches: Callable[[Key, Entry], bool]) -> list[Key]:
        """Return the keys of the entries that match."""
        return [key for key, entry in self.entries.items() if matches(key, entry)]
