# SPDX-License-Identifier: GPL-2.0-or-later
"""What was injected: every firing with what it changed, and every fault that never fired."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

MOST = 10_000
"""Firings that are kept; the rest are counted."""
_SHOWN = 20
_LONGEST = 16


class Firing(NamedTuple):
    """A fault struck. ``what`` is the access; ``before`` and ``after`` are its data or the memory
    that was changed (None: there was none, or an abort took its place).

    ``time`` is in virtual nanoseconds, ``pc`` the core's while a run was under way.
    """

    number: int
    name: str
    site: str
    effect: str
    time: int
    pc: int | None
    what: str
    before: bytes | None
    after: bytes | None
    note: str = ""

    def __str__(self) -> str:
        return f"{self.time} ns {self.name}: {self.text}"

    @property
    def text(self) -> str:
        """What was hit, and how it changed."""
        words = [self.what]
        if self.pc is not None:
            words.append(f"pc {self.pc:#x}")
        if self.before != self.after:
            words.append(f"{_shown(self.before)} -> {_shown(self.after)}")
        if self.note:
            words.append(f"({self.note})")
        return " ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """Plain data; bytes are hexadecimal in memory order."""
        plain = self._asdict()
        for key in ("before", "after"):
            plain[key] = None if plain[key] is None else plain[key].hex()
        return plain


def _shown(data: bytes | None) -> str:
    """Data as people read them: short ones as a number, long ones by their beginning."""
    if data is None:
        return "abort"
    if len(data) in (1, 2, 4, 8):
        return f"{int.from_bytes(data, 'little'):#x}"
    return data[:_LONGEST].hex() + ("..." if len(data) > _LONGEST else "")


class Unfired(NamedTuple):
    """A fault that never struck, and what came closest."""

    name: str
    closest: str

    def __str__(self) -> str:
        return f"{self.name} never fired: {self.closest}"


class InjectionReport(NamedTuple):
    """The result of injecting a plan. A run in which some fault never fired proves nothing: it is
    neither passed nor failed, but invalid."""

    firings: list[Firing]
    fired: dict[str, int]
    unfired: list[Unfired]

    @property
    def valid(self) -> bool:
        """Whether every fault of the plan fired."""
        return not self.unfired

    def lines(self) -> Iterator[str]:
        """For people, line by line."""
        total = sum(self.fired.values())
        counts = ", ".join(f"{name} {count:,}" for name, count in self.fired.items() if count)
        yield f"injected       {counts or 'nothing'}"
        for firing in self.firings[:_SHOWN]:
            yield f"  {firing}"
        if total > _SHOWN:
            yield f"  and {total - _SHOWN:,} more"
        for one in self.unfired:
            yield f"  {one}"
        if not self.valid:
            yield "  this run is INVALID: it does not show what the plan wanted to see"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as in the report of ``smmu-emu run --json``."""
        return {
            "valid": self.valid,
            "fired": self.fired,
            "firings": [firing.as_dict() for firing in self.firings],
            "unfired": [one._asdict() for one in self.unfired],
        }
