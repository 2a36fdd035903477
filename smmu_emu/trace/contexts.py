# SPDX-License-Identifier: GPL-2.0-or-later
"""How software set streams up: every context that an SMMU fetched, in the order of first use.

A context is what an STE and a CD say together. It is noted when the SMMU looks it up, which it does
once until a CFGI command drops it; one that no transaction used is not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smmu_emu.smmuv3.context import Context
from smmu_emu.transaction import Fault

if TYPE_CHECKING:
    from smmu_emu.smmuv3.config import Translator
    from smmu_emu.smmuv3.device import Smmuv3
    from smmu_emu.transaction import Transaction


class StreamContext(NamedTuple):
    """What transactions of a stream, with this SubstreamID or None, met."""

    stream_id: int
    substream_id: int | None
    setup: str

    def __str__(self) -> str:
        substream = "" if self.substream_id is None else f" substream {self.substream_id:#x}"
        return f"stream {self.stream_id:#x}{substream}: {self.setup}"


class ContextLog:
    """Notes the contexts of one SMMU from now on; costs nothing where they are cached.

    ``fetched`` counts by context, in the order of first use; ``latest`` is the last one of each
    stream and substream.
    """

    def __init__(self, smmu: Smmuv3) -> None:
        self.fetched: dict[StreamContext, int] = {}
        self.latest: dict[tuple[int, int | None], Context] = {}
        lookup = smmu.configuration.lookup

        def noting(transaction: Transaction, translate: Translator) -> Context | Fault:
            found = lookup(transaction, translate)
            if isinstance(found, Context):
                self._note(transaction, found)
            return found

        smmu.configuration.lookup = noting  # type: ignore[method-assign]

    def _note(self, transaction: Transaction, context: Context) -> None:
        met = StreamContext(transaction.stream_id, transaction.substream_id, describe(context))
        self.fetched[met] = self.fetched.get(met, 0) + 1
        self.latest[met.stream_id, met.substream_id] = context


def describe(context: Context) -> str:
    """A context in words."""
    if context.aborts:
        return "aborted"
    if context.bypass:
        return "bypassed"
    stages = []
    if context.stage1 is not None:
        tag = context.stage1.own.tag
        asid = getattr(tag, "asid", None)
        tables = [f"{half.table:#x}" for half in context.stage1.halves if half is not None]
        name = "stage 1" if asid is None else f"stage 1 ASID {asid}"
        stages.append(f"{name}, tables at {' and '.join(tables) or 'nowhere'}")
    if context.stage2 is not None:
        table = context.stage2.root.table
        stages.append(f"stage 2 VMID {context.stream.vmid}, tables at {table:#x}")
    return "; ".join(stages)
