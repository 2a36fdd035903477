# SPDX-License-Identifier: GPL-2.0-or-later
"""Which policies, and from which seed: "evict,prefetch,seed=3"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from smmu_emu.errors import ConfigurationError

NAMES = (
    *("keep", "forget", "evict", "prefetch", "table-pointers", "split", "merge"),
    *("bad-config", "late-commands", "late-effects", "late-acks", "late-dma"),
)
"""All there are, in the order in which people are told of them."""

_CONTRADICTIONS = (("forget", "keep"), ("forget", "prefetch"))


class Choice(NamedTuple):
    """Names of policies, in the order of `NAMES`, and the seed of what they leave to chance."""

    names: tuple[str, ...]
    seed: int = 0

    @classmethod
    def parse(cls, texts: str | Iterable[str]) -> Choice:
        """From one text or several, each of names and ``seed=`` with commas between.

        Raises: ConfigurationError for what is not known, or contradicts itself.
        """
        chosen: set[str] = set()
        seed = 0
        for text in [texts] if isinstance(texts, str) else texts:
            for word in filter(None, (part.strip() for part in text.split(","))):
                if word.startswith("seed="):
                    seed = _seed(word)
                elif word in NAMES:
                    chosen.add(word)
                else:
                    raise ConfigurationError(
                        f"no policy {word!r}: there is {', '.join(NAMES)} and seed=NUMBER"
                    )
        for one, other in _CONTRADICTIONS:
            if one in chosen and other in chosen:
                raise ConfigurationError(f"policies {one} and {other} contradict each other")
        return cls(tuple(name for name in NAMES if name in chosen), seed)

    def __str__(self) -> str:
        return ",".join((*self.names, f"seed={self.seed}"))


def _seed(word: str) -> int:
    try:
        return int(word.removeprefix("seed="), 0)
    except ValueError:
        raise ConfigurationError(f"{word}: a seed is a number") from None
