# SPDX-License-Identifier: GPL-2.0-or-later
"""Which contexts lead to what is held: an entry that nothing leads to harms nobody.

A stream leads to its tables as long as its STE and CD say so, in the SMMU's configuration cache or
in memory. After both have gone, what the TLB still holds under the stream's tags waits for the tags
to be used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smmu_emu.check.configs import Configs
from smmu_emu.check.held import Held, Tag
from smmu_emu.smmuv3.config import context_key
from smmu_emu.smmuv3.context import Context
from smmu_emu.walk.long_descriptor import Root

if TYPE_CHECKING:
    from smmu_emu.smmuv3.device import Smmuv3

Roots = tuple[Root | None, ...]


class Reach:
    """The contexts of one SMMU, as the checker knows them."""

    def __init__(self, smmu: Smmuv3, configs: Configs) -> None:
        self.smmu = smmu
        self.configs = configs
        self._last: dict[int, Context] = {}

    def clear(self) -> None:
        """Forget the contexts of before a reset."""
        self._last.clear()

    def live(self, stream_id: int, substream_id: int | None) -> Context | None:
        """The context that the SMMU has cached for a stream."""
        return self.smmu.configuration.contexts.get(context_key(stream_id, substream_id))

    def context(self, stream_id: int, substream_id: int | None) -> Context | None:
        """The context that a stream had last."""
        key = context_key(stream_id, substream_id)
        found = self.smmu.configuration.contexts.get(key)
        if found is not None:
            self._last[key] = found
            return found
        return self.configs.context(stream_id, substream_id) or self._last.get(key)

    def stage1_tag(self, context: Context) -> Tag:
        """The tag of what stage 1 of a context caches that is not global."""
        assert context.stage1 is not None
        tag = context.stage1.own.tag
        return (tag.world.name, tag.vmid, tag.asid)  # type: ignore[attr-defined]

    def user(self, held: Held) -> Context | None:
        """A context that uses what is held, its own stream's if that does; None if none does."""
        own = self.live(held.stream_id, held.substream_id)
        if own is not None and held.tag in tags_of(own):
            return own
        for context in self.smmu.configuration.contexts.values():
            if held.tag in tags_of(context):
                return context
        if self.configs.intact(held.stream_id, held.substream_id):
            last = self.context(held.stream_id, held.substream_id)
            if last is not None and held.tag in tags_of(last):
                return last
        return None


def tags_of(context: Context) -> list[Tag]:
    """Every tag under which a context looks for translations."""
    found: list[Tag] = []
    stage1, stage2 = context.stage1, context.stage2
    if stage1 is not None:
        for space in (stage1.own, stage1.shared):
            tag = space.tag
            found.append((tag.world.name, tag.vmid, tag.asid))  # type: ignore[attr-defined]
    if stage2 is not None:
        tag = stage2.space.tag
        found.append(("S2", tag.vmid, None))  # type: ignore[attr-defined]
    return found


def roots_of(context: Context, tag: Tag) -> Roots:
    """The tables that a context's translations under a tag come from."""
    stage1, stage2 = context.stage1, context.stage2
    second = stage2.root if stage2 is not None else None
    if tag[0] == "S2":
        return (second,)
    halves = stage1.halves if stage1 is not None else (None, None)
    return (*halves, second) if tag[0] == "EL1_NESTED" else halves
