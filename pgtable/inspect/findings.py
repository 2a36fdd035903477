# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with tables: typed findings with rule, place and words.

A finding speaks of one descriptor or of `count` adjacent ones with the same trouble.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


class Rule(NamedTuple):
    """How bad it is, and what is behind it."""

    severity: str
    why: str


RULES = {
    "reserved-type": Rule(ERROR, "hardware takes the entry for invalid"),
    "reserved-bits": Rule(ERROR, "bits that must be zero may mean something to later hardware"),
    "misaligned": Rule(ERROR, "a leaf maps an address that is not a multiple of its size"),
    "address-size": Rule(ERROR, "hardware raises an Address size fault"),
    "reserved-memory-type": Rule(ERROR, "the memory type is unpredictable"),
    "reserved-shareability": Rule(ERROR, "the shareability is unpredictable"),
    "table-outside": Rule(ERROR, "the walk leaves the memory given"),
    "loop": Rule(ERROR, "a table is its own ancestor"),
    "two-levels": Rule(ERROR, "one table is read as a table of two levels"),
    "shared-table": Rule(WARNING, "one table is reached from two places"),
    "tables-overlap": Rule(ERROR, "two tables share memory without being the same"),
    "contiguous": Rule(ERROR, "a TLB may hold overlapping entries or translate wrongly"),
    "repeated-entries": Rule(ERROR, "16 equal entries are needed; a TLB may use any of them"),
    "mismatched-alias": Rule(WARNING, "memory mapped twice with different attributes"),
    "maps-tables": Rule(WARNING, "whoever uses this space can write its own page tables"),
    "access-flag": Rule(NOTE, "the first access faults unless hardware manages the flag"),
    "empty-table": Rule(NOTE, "memory spent on a table that maps nothing"),
    "too-large": Rule(ERROR, "the rest was not read"),
    "more": Rule(NOTE, "findings left out of the list"),
}
"""Every rule a finding can have."""

KEPT_PER_RULE = 200


@dataclass(frozen=True)
class Finding:
    """Something wrong in a tree.

    `address`: of the (first) descriptor, `word` its value; `iova` and `size`: the input addresses
    it concerns. What does not apply is None.
    """

    rule: str
    message: str
    level: int | None = None
    address: int | None = None
    word: int | None = None
    count: int = 1
    iova: int | None = None
    size: int | None = None

    @property
    def severity(self) -> str:
        return RULES[self.rule].severity

    def __str__(self) -> str:
        where = []
        if self.iova is not None and self.size:
            where.append(f"{self.iova:#x}-{self.iova + self.size - 1:#x}")
        if self.address is not None:
            of = f" = {self.word:#x}" if self.word is not None else ""
            many = f" and {self.count - 1} more" if self.count > 1 else ""
            level = f"level {self.level} " if self.level is not None else ""
            where.append(f"{level}descriptor at {self.address:#x}{of}{many}")
        place = f" ({', '.join(where)})" if where else ""
        return f"{self.severity}: {self.rule}: {self.message}{place}"


class Findings:
    """Collects findings; of each rule only the first ones are kept, the rest are counted."""

    def __init__(self, kept: int = KEPT_PER_RULE) -> None:
        self.kept = kept
        self._list: list[Finding] = []
        self._made: Counter[str] = Counter()
        self._left: Counter[str] = Counter()

    def add(self, finding: Finding) -> None:
        """Keep a finding, or count it."""
        if self.take(finding.rule, 1):
            self._made[finding.rule] += 1
            self._list.append(finding)

    def take(self, rule: str, total: int) -> int:
        """Return how many of `total` findings to make and add; the rest is counted here."""
        limit = self.kept if rule in RULES else 0
        room = min(total, limit - self._made[rule])
        self._left[rule] += total - room
        return room

    def finish(self) -> tuple[Finding, ...]:
        """Return the findings, the worst first, then by input address."""
        more = [
            Finding("more", f"{count:,} more findings of rule {rule}")
            for rule, count in sorted(self._left.items())
            if count
        ]
        return tuple(
            sorted(
                self._list + more,
                key=lambda f: (SEVERITIES.index(f.severity), f.iova if f.iova is not None else -1),
            )
        )
