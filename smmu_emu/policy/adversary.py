# SPDX-License-Identifier: GPL-2.0-or-later
"""The policies of one SMMU, put in together and taken out together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any

from smmu_emu.errors import ConfigurationError
from smmu_emu.interpose import Interposition, Layer, Wrap, interpose
from smmu_emu.policy.base import Policy
from smmu_emu.policy.caching import BadConfig, Evict, Forget, Keep
from smmu_emu.policy.choice import NAMES, Choice
from smmu_emu.policy.delays import LateAcknowledges, LateCommands, LateEffects
from smmu_emu.policy.flight import LateDma
from smmu_emu.policy.pointers import TablePointers
from smmu_emu.policy.sizes import Merge, Split
from smmu_emu.policy.speculation import Prefetch
from smmu_emu.smmuv3.device import Smmuv3

_NEAREST_FIRST: tuple[type[Policy], ...] = (
    TablePointers,  # sees what a walk reads for itself, before others read more
    Merge,
    Split,
    BadConfig,
    LateDma,  # these two learn of effects when they come
    Prefetch,
    LateEffects,
    LateCommands,
    LateAcknowledges,
    Keep,
    Evict,
    Forget,
)
"""In the order in which they stand before the SMMU, and hear that something was served."""

POLICIES: dict[str, type[Policy]] = {
    name: next(policy for policy in _NEAREST_FIRST if policy.name == name) for name in NAMES
}
"""By name, in the order in which people are told of them."""


class Adversary:
    """The policies of ``choice`` in one SMMU; `remove` takes them out.

    Nothing is lost or guessed at on account of transactions of ``spared`` streams: a core behind
    the SMMU, which needs several translations at once, would never get on.

    Raises: ConfigurationError if the SMMU has policies already.
    """

    def __init__(self, smmu: Smmuv3, choice: Choice, spared: Collection[int] = ()) -> None:
        if smmu.path.one_by_one:
            raise ConfigurationError(f"{smmu.name} has policies already: remove those first")
        self.smmu = smmu
        self.choice = choice
        self.spared = frozenset(spared)
        self.policies = [
            policy(smmu, Random(f"{choice.seed} {policy.name}"))
            for policy in _NEAREST_FIRST
            if policy.name in choice.names
        ]
        self._serving = 0
        self._places: list[Interposition] = []
        self._install()

    def _install(self) -> None:
        smmu = self.smmu
        smmu.tlb.settle()
        smmu.path.one_by_one = True
        for policy in self.policies:
            policy.install()
        self._stand_before(smmu, "reset", self._reset)
        if any(type(policy).served is not Policy.served for policy in self.policies):
            self._stand_before(smmu, "translate", self._serve)
            self._stand_before(smmu.path, "translate", self._serve)
            for name in ("request", "translated", "page_request"):
                self._stand_before(smmu.ats, name, self._serve)

    def _stand_before(self, owner: object, name: str, wrap: Wrap) -> None:
        self._places.append(interpose(owner, name, wrap, Layer.POLICY))

    def remove(self) -> None:
        """Let the SMMU behave as by itself; what is late comes no more."""
        for place in reversed(self._places):
            place.remove()
        self._places.clear()
        for policy in reversed(self.policies):
            policy.remove()
        self.smmu.path.one_by_one = False

    def _reset(self, reset: Callable[[], None]) -> Callable[[], None]:
        """Chances start anew with the machine, so that runs are the same."""

        def whole() -> None:
            for policy in self.policies:
                policy.reset()
            reset()
            for policy in self.policies:
                policy.reset()
                policy.random.seed(f"{self.choice.seed} {policy.name}")

        return whole

    def _serve(self, serve: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def observed(incoming: Any) -> Any:
            self._serving += 1
            try:
                return serve(incoming)
            finally:
                self._serving -= 1
                if not self._serving and incoming.stream_id not in self.spared:
                    for policy in self.policies:
                        policy.served(incoming)

        return observed
