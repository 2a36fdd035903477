# SPDX-License-Identifier: GPL-2.0-or-later
"""What memory is known as, from what an SMMU reads: descriptors, STEs, CDs and commands.

Observing functions stand before those by which one SMMU fetches (`smmu_emu.interpose`), so batches
are translated one by one meanwhile. `Structures.offence` tells which structure is behind a fault:
the last one of its stage that was read for the access, or, if it was answered from a cache, for the
last access of the same stream to the same page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from smmu_emu.interpose import Function, Interposition, Layer, interpose
from smmu_emu.smmuv3.spec.event import EventCode

if TYPE_CHECKING:
    from smmu_emu.smmuv3.device import Smmuv3
    from smmu_emu.transaction import Fault, Transaction

WORD = 8
MOST_PAGES = 1 << 16
"""Pages of streams whose last walk is remembered."""
_STREAM_FAULTS = frozenset((EventCode.C_BAD_STREAMID, EventCode.F_STE_FETCH, EventCode.C_BAD_STE))
_CONTEXT_FAULTS = frozenset((EventCode.C_BAD_SUBSTREAMID, EventCode.F_CD_FETCH, EventCode.C_BAD_CD))
_DISABLED = EventCode.F_STREAM_DISABLED


class Read(NamedTuple):
    """A structure as it was read: address, value of all its bytes, stage for descriptors."""

    what: str
    pa: int
    value: bytes
    stage: int = 0


class Structures:
    """Learns what memory is from one SMMU's fetches, until `close`.

    ``known`` has the kind of each aligned word: "descriptor", "STE", "CD" (their level-1 tables
    included) or "command". ``met`` is called with the address and size of what is read, before
    ``known`` has it.
    """

    unsaved = ("*",)

    def __init__(self, smmu: Smmuv3, met: Callable[[int, int], None] | None = None) -> None:
        self.known: dict[int, str] = {}
        self._met = met
        self._stage = 1
        self._kind = ""
        self._reads: list[Read] = []
        self._steps: dict[int, Read] = {}
        self._contexts: dict[tuple[int, int | None], Read] = {}
        self._walks: dict[tuple[int, int | None, int], list[Read]] = {}
        self._asked: Transaction | None = None
        configuration, stages = smmu.configuration, smmu.stages
        places: list[tuple[Any, str, Callable[[Function], Function]]] = [
            (stages, "make_entry", self._make_entry),
            (stages, "walk_stage2", self._walk_stage2),
            (stages.port, "read_u64", self._descriptor),
            (configuration, "fetch_ste", self._fetch("STE")),
            (configuration, "fetch_cd", self._fetch("CD")),
            (configuration.port, "read", self._structure),
            (configuration.port, "read_u64", self._pointer),
            (smmu.commands.queue.port, "read", self._command),
        ]
        self._places: list[Interposition] = [
            interpose(owner, name, wrap, Layer.OBSERVE) for owner, name, wrap in places
        ]

    def close(self) -> None:
        """Learn no more. What is known stays."""
        for place in self._places:
            place.remove()
        self._places.clear()

    def offence(self, fault: Fault) -> Read | None:
        """The structure that is behind a fault; None if none was read for it."""
        transaction = fault.transaction
        stream, substream = transaction.stream_id, transaction.substream_id
        if fault.code in _STREAM_FAULTS:
            return self._steps.get(stream)
        if fault.code in _CONTEXT_FAULTS:
            return self._contexts.get((stream, substream)) or self._steps.get(stream)
        if fault.code == _DISABLED or (not fault.code and fault.reason.startswith("STE.")):
            return self._steps.get(stream)
        if not fault.code:
            return None
        for read in reversed(self._walks.get((stream, substream, transaction.iova >> 12), ())):
            if read.stage == fault.stage:
                return read
        if fault.stage == 2:
            return self._steps.get(stream)
        return self._contexts.get((stream, substream)) or self._steps.get(stream)

    def _learn(self, what: str, pa: int, size: int) -> None:
        known = self.known
        for word in range(pa & -WORD, pa + size, WORD):
            if known.get(word) != what:
                if self._met is not None:
                    self._met(word, WORD)
                known[word] = what

    # -- observing functions

    def _make_entry(self, make_entry: Function) -> Function:
        """A miss: what is read meanwhile belongs to this access."""

        def observed(transaction: Transaction, *others: Any) -> Any:
            outer, self._reads = self._reads, []
            try:
                return make_entry(transaction, *others)
            finally:
                key = transaction.stream_id, transaction.substream_id, transaction.iova >> 12
                self._walks.pop(key, None)
                self._walks[key] = self._reads
                if len(self._walks) > MOST_PAGES:
                    del self._walks[next(iter(self._walks))]
                self._reads = outer

        return observed

    def _walk_stage2(self, walk: Function) -> Function:
        def observed(*arguments: Any) -> Any:
            outer, self._stage = self._stage, 2
            try:
                return walk(*arguments)
            finally:
                self._stage = outer

        return observed

    def _descriptor(self, read_u64: Function) -> Function:
        def observed(pa: int) -> int | None:
            value: int | None = read_u64(pa)
            self._learn("descriptor", pa, WORD)
            data = b"" if value is None else value.to_bytes(WORD, "little")
            self._reads.append(Read("descriptor", pa, data, self._stage))
            return value

        return observed

    def _fetch(self, what: str) -> Callable[[Function], Function]:
        """What is read meanwhile, but for tables, belongs to a transaction's configuration."""

        def wrap(fetch: Function) -> Function:
            def observed(*arguments: Any) -> Any:
                transaction = arguments[0] if what == "STE" else arguments[1]
                outer = self._kind, self._asked
                self._kind, self._asked = what, transaction
                if what == "STE":
                    self._steps.pop(transaction.stream_id, None)
                else:
                    self._contexts.pop((transaction.stream_id, transaction.substream_id), None)
                try:
                    return fetch(*arguments)
                finally:
                    self._kind, self._asked = outer

            return observed

        return wrap

    def _structure(self, read: Function) -> Function:
        def observed(pa: int, size: int) -> bytes | None:
            data: bytes | None = read(pa, size)
            self._take_configuration(pa, size, data or b"")
            return data

        return observed

    def _pointer(self, read_u64: Function) -> Function:
        """Level 1 of a table of STEs or CDs."""

        def observed(pa: int) -> int | None:
            value: int | None = read_u64(pa)
            data = b"" if value is None else value.to_bytes(WORD, "little")
            self._take_configuration(pa, WORD, data)
            return value

        return observed

    def _take_configuration(self, pa: int, size: int, data: bytes) -> None:
        what = self._kind
        self._learn(what, pa, size)
        level1 = {"STE": "L1STD"}.get(what, "L1CD")
        read, transaction = Read(what if size > WORD else level1, pa, data), self._asked
        if transaction is None:
            return
        if what == "STE":
            self._steps[transaction.stream_id] = read
        else:
            self._contexts[transaction.stream_id, transaction.substream_id] = read

    def _command(self, read: Function) -> Function:
        def observed(pa: int, size: int) -> bytes | None:
            self._learn("command", pa, size)
            data: bytes | None = read(pa, size)
            return data

        return observed
