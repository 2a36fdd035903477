# SPDX-License-Identifier: GPL-2.0-or-later
"""Stalled transactions: held until software resumes or terminates them.

Spec: IHI 0070 3.12.2, 4.7.1 (RESUME), 4.7.2 (STALL_TERM), 5.5. A transaction whose record cannot be
written yet, or for which no tag is free, waits and is retried as though it had just arrived. No
duplicate records are suppressed and nothing is retried early.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.transaction import Fault, Transaction, Translation

Answer = Callable[[Translation | Fault], None]
"""How a client that can wait hears the end of its transaction."""


WITHOUT_TAG = -1
"""`Fault.stag` of a transaction that waits for a tag or for room in the event queue."""


class Held(NamedTuple):
    """A transaction without an answer. ``fault`` is what held it."""

    transaction: Transaction
    answer: Answer
    fault: Fault


class StallBuffer:
    """At most ``capacity`` transactions under tags, and any number that wait for a tag."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held: dict[int, Held] = {}
        self.waiting: deque[Held] = deque()

    @property
    def full(self) -> bool:
        """Whether no tag is free."""
        return len(self.held) >= self.capacity

    def free_tag(self) -> int:
        """The lowest tag that is not in use; ask only if not `full`."""
        return next(tag for tag in range(self.capacity) if tag not in self.held)

    def take(self, stream_id: int, tag: int) -> Held | None:
        """Release the transaction with this StreamID and tag; None if there is none."""
        held = self.held.get(tag)
        if held is None or held.transaction.stream_id != stream_id:
            return None
        return self.held.pop(tag)

    def take_stream(self, stream_id: int) -> list[Held]:
        """Release every transaction of a stream, in the order of tags, then those that wait."""
        tags = sorted(tag for tag, held in self.held.items() if _is_of(held, stream_id))
        waiting = [held for held in self.waiting if _is_of(held, stream_id)]
        self.waiting = deque(held for held in self.waiting if not _is_of(held, stream_id))
        return [self.held.pop(tag) for tag in tags] + waiting

    def take_all(self) -> list[Held]:
        """Release everything."""
        everything = [self.held[tag] for tag in sorted(self.held)] + list(self.waiting)
        self.held.clear()
        self.waiting.clear()
        return everything


def _is_of(held: Held, stream_id: int) -> bool:
    return held.transaction.stream_id == stream_id


def terminated(held: Held, *, abort: bool) -> Fault:
    """The answer to a transaction that software ended. Spec: 4.7.1."""
    return held.fault._replace(
        stag=None, stall=False, recorded=False, abort=abort, reason="terminated by software"
    )
