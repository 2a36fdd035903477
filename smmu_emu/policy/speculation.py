# SPDX-License-Identifier: GPL-2.0-or-later
"""Speculation: what nobody has asked for yet is fetched, walked for and cached.

Spec: IHI 0070 3.21.1 and 3.21.3 (any reachable structure may be read at any time, within its
table), 3.14 and 4.2 (nothing is recorded; access flags may be set, pages are never marked dirty),
6.3.9.6 (nothing of this while SMMUEN is 0). Neighbours in addresses, StreamIDs and SubstreamIDs of
recent transactions are guessed at, after transactions, after commands, and some time later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from smmu_emu.policy.base import Effect, Policy
from smmu_emu.smmuv3.context import Context
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.translate import untagged
from smmu_emu.transaction import Fault, Transaction

_RECENT = 8
_LATER = 4
_ADDRESSES = 1 << 64


class Prefetch(Policy):
    """Guesses; ``recent`` are the transactions that it guesses from."""

    name = "prefetch"
    summary = "walk for neighbours of recent addresses, fetch STEs and CDs of neighbours"

    def __init__(self, smmu: Smmuv3, random: Random) -> None:
        super().__init__(smmu, random)
        self.recent: deque[Transaction] = deque(maxlen=_RECENT)
        self.later = 0
        self._guessing = False

    def install(self) -> None:
        """Guess after invalidations, too."""
        self.stand_before(self.smmu.commands, "carry_out", self._carry_out)

    def reset(self) -> None:
        """Nothing is known."""
        self.recent.clear()
        self.later = 0

    def served(self, incoming: Any) -> None:
        """Learn, and guess."""
        if isinstance(incoming, Transaction):
            self.recent.append(incoming)
        self.guess()
        self._guess_later()

    def _carry_out(self, carry_out: Callable[[Effect], None]) -> Callable[[Effect], None]:
        """What has just been dropped may be fetched again at once."""

        def then(effect: Effect) -> None:
            carry_out(effect)
            self.guess()
            self._guess_later()

        return then

    def _guess_later(self) -> None:
        """A few more guesses in the next microseconds; no more, or the core would never idle."""

        def due() -> None:
            self.later -= 1
            self.guess()

        while self.later < _LATER:
            self.later += 1
            self.smmu.clock.after(self.lateness(), due)

    # -- guesses

    def guess(self) -> None:
        """Fetch and walk for something near."""
        path = self.smmu.path
        if self._guessing or not self.recent or path.active is not self.smmu.configuration.contexts:
            return
        self._guessing = True
        try:
            self._guess()
        finally:
            self._guessing = False

    def _guess(self) -> None:
        random = self.random
        near = random.choice(self.recent)._replace(write=False)
        stream_id = near.stream_id + random.choice((-1, 0, 0, 0, 1))
        if stream_id < 0:
            return
        if stream_id != near.stream_id:
            near = near._replace(stream_id=stream_id)
        elif near.substream_id is not None:
            near = near._replace(substream_id=max(0, near.substream_id + random.choice((-1, 0, 1))))
        configuration, stages = self.smmu.configuration, self.smmu.stages
        context: Context | Fault | None = self.smmu.path.context_of(near)
        if context is None:
            context = configuration.lookup(near, stages.cd_address)
        if not isinstance(context, Fault):
            self._walk(near, context)

    def _walk(self, near: Transaction, context: Context) -> None:
        """Cache a neighbour's translation, if it has one that allows reads."""
        if context.bypass or context.aborts:
            return
        iova = untagged(near.iova, context.tbi) if context.tbi else near.iova
        stage1, stage2 = context.stage1, context.stage2
        root = stage1.halves[iova >> 55 & 1] if stage1 is not None else None
        if root is None and stage2 is not None:
            root = stage2.root
        if root is None:
            return
        iova = (iova + (self.random.choice((-1, 0, 0, 1, 2)) << root.granule_lg2)) % _ADDRESSES
        for size_lg2, pages in (*context.sizes, *context.shared_sizes):
            if iova >> size_lg2 in pages:
                return
        kind = context.kinds[near.kind]
        self.smmu.stages.make_entry(near._replace(iova=iova), context, iova, kind)
