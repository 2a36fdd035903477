# SPDX-License-Identifier: GPL-2.0-or-later
"""What policies have in common."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, ClassVar

from smmu_emu.interpose import Interposition, Layer, Wrap, interpose
from smmu_emu.smmuv3.device import Smmuv3

Effect = Callable[[], None]
"""What an invalidation or an acknowledge does when it comes."""

LONGEST_DELAY = 3000
"""Nanoseconds of virtual time, and so instructions, by which something is late at most."""


class Policy:
    """One behaviour, put into an SMMU by `install`.

    ``name`` is what the command line takes, ``summary`` one line for people. ``random`` is its own:
    what one policy draws changes nothing for another.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, smmu: Smmuv3, random: Random) -> None:
        self.smmu = smmu
        self.random = random
        self._places: list[Interposition] = []

    def install(self) -> None:
        """Stand before what is to behave in another way."""

    def stand_before(self, owner: object, name: str, wrap: Wrap) -> None:
        """Put ``wrap`` before a function until `remove`."""
        self._places.append(interpose(owner, name, wrap, Layer.POLICY))

    def remove(self) -> None:
        """Let the SMMU be as it was; what it has cached stays."""
        for place in reversed(self._places):
            place.remove()
        self._places.clear()
        self.reset()

    def reset(self) -> None:
        """Forget what is under way: the SMMU is at its power-on state."""

    def served(self, incoming: Any) -> None:
        """A transaction, or a request of an endpoint, has been answered."""

    def lateness(self) -> int:
        """Nanoseconds by which something comes late."""
        return self.random.randint(1, LONGEST_DELAY)
