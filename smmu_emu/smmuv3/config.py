# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration lookup: from a StreamID to a context, through the stream table and the CD.

Spec: IHI 0070 3.3.1 (stream tables), 3.3.2 (CDs), 5.1, 6.3.24 and 6.3.25 (base and format),
7.3.3 to 7.3.11 (what can go wrong, in order). STEs and CDs are cached separately until CFGI
commands drop them; failures are not cached.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.port import MemoryPort
from smmu_emu.smmuv3.context import Context, Stream, cd_problem, make_context, ste_problem
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.cd import CD, CD_SIZE, L1CD, L1CD_SIZE
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.smmuv3.spec.registers import CR2, STRTAB_BASE, STRTAB_BASE_CFG
from smmu_emu.smmuv3.spec.ste import (
    L1STD,
    L1STD_SIZE,
    STE,
    STE_SIZE,
    Config,
    DefaultSubstream,
)
from smmu_emu.tlb import Tlb
from smmu_emu.transaction import Fault, Transaction

Translator = Callable[[Stream, Transaction, int], "int | Fault"]
"""Physical address of a CD or L1CD: through stage 2 where the stream has one."""

_MAX_SPAN = 11


def context_key(stream_id: int, substream_id: int | None) -> int:
    """Where a context lies in `ConfigurationCache.contexts`: without substream the StreamID."""
    return stream_id if substream_id is None else stream_id | (substream_id + 1) << 32


class ConfigurationCache:
    """Fetches, judges and caches STEs and CDs of one SMMU.

    ``contexts`` (by `context_key`) is what the hot path looks into; ``streams`` holds the STEs.
    """

    def __init__(self, registers: RegisterFile, port: MemoryPort, tlb: Tlb) -> None:
        self.registers = registers
        self.port = port
        self.tlb = tlb
        self.streams: dict[int, Stream] = {}
        self.contexts: dict[int, Context] = {}
        self.fetches = 0

    def lookup(self, transaction: Transaction, translate: Translator) -> Context | Fault:
        """The context for a transaction, fetched and cached if need be; a fault if it has none."""
        stream = self.find_stream(transaction)
        if isinstance(stream, Fault):
            return stream
        key = context_key(transaction.stream_id, transaction.substream_id)
        context = self.contexts.get(key)
        if context is not None:
            return context
        index = _cd_index(stream, transaction)
        if isinstance(index, Fault):
            return index
        cd: CD | None = None
        if index is not None:
            fetched = self.fetch_cd(stream, transaction, index, translate)
            if isinstance(fetched, Fault):
                return fetched
            cd = fetched
        context = make_context(stream, cd, self.registers.ids, self.tlb)
        self.contexts[key] = context
        stream.contexts.add(key)
        return context

    # -- stream table

    def find_stream(self, transaction: Transaction) -> Stream | Fault:
        """The decoded STE of a transaction's stream, fetched and cached if need be."""
        stream = self.streams.get(transaction.stream_id)
        if stream is not None:
            return stream
        found = self.fetch_ste(transaction)
        if isinstance(found, Stream):
            self.streams[transaction.stream_id] = found
        return found

    def fetch_ste(self, transaction: Transaction) -> Stream | Fault:
        """Read and judge an STE."""
        address = self._locate_ste(transaction)
        if isinstance(address, Fault):
            return address
        self.fetches += 1
        data = self.port.read(address, STE_SIZE)
        if data is None:
            return _fault(EventCode.F_STE_FETCH, transaction, "the STE fetch aborted", address)
        ste = STE.from_bytes(data)
        problem = ste_problem(ste, self.registers.ids)
        if problem is not None:
            return _fault(EventCode.C_BAD_STE, transaction, problem)
        e2h = bool(CR2(self.registers.values["CR2"]).E2H)
        return Stream(ste, self.registers.ids, self.tlb, e2h=e2h)

    def _locate_ste(self, transaction: Transaction) -> int | Fault:
        """Physical address of the STE. Spec: 3.3.1, 6.3.24, 6.3.25."""
        values = self.registers.values
        stream_id = transaction.stream_id
        layout = STRTAB_BASE_CFG(values["STRTAB_BASE_CFG"])
        base = STRTAB_BASE(values["STRTAB_BASE"]).ADDR
        size_lg2 = min(layout.LOG2SIZE, self.registers.ids.sizes.SIDSIZE)
        if stream_id >> size_lg2:
            return self._bad_stream(transaction, "the StreamID is beyond the stream table")
        if layout.FMT != 1:
            return (base & -(STE_SIZE << layout.LOG2SIZE)) + STE_SIZE * stream_id
        split = layout.SPLIT if layout.SPLIT in (6, 8, 10) else 6
        base &= -max(L1STD_SIZE << max(0, layout.LOG2SIZE - split), 64)
        return self._locate_in_level2(transaction, base, split)

    def _locate_in_level2(self, transaction: Transaction, base: int, split: int) -> int | Fault:
        stream_id = transaction.stream_id
        address = base + L1STD_SIZE * (stream_id >> split)
        value = self.read_level1(address, None, stream_id >> split, split)
        if value is None:
            return _fault(EventCode.F_STE_FETCH, transaction, "the L1STD fetch aborted", address)
        descriptor = L1STD(value)
        span, index = descriptor.Span, stream_id & (1 << split) - 1
        if span == 0 or span > min(_MAX_SPAN, split + 1):
            return self._bad_stream(transaction, f"L1STD.Span is {span}")
        if index >= 1 << span - 1:
            return self._bad_stream(transaction, "the StreamID is beyond the level-2 table")
        return (descriptor.L2Ptr & -(STE_SIZE << span - 1)) + STE_SIZE * index

    def _bad_stream(self, transaction: Transaction, reason: str) -> Fault:
        recorded = bool(CR2(self.registers.values["CR2"]).RECINVSID)
        return _fault(EventCode.C_BAD_STREAMID, transaction, reason)._replace(recorded=recorded)

    def read_level1(
        self, address: int, stream_id: int | None, number: int, split: int
    ) -> int | None:
        """The L1STD (no ``stream_id``) or a stream's L1CD with a number, which is for 2^``split``
        entries; None if memory aborted the fetch."""
        return self.port.read_u64(address)

    # -- context descriptors

    def fetch_cd(
        self, stream: Stream, transaction: Transaction, index: int, translate: Translator
    ) -> CD | Fault:
        """Read and judge the CD with an index."""
        pointer = self._locate_cd(stream, transaction, index, translate)
        if isinstance(pointer, Fault):
            return pointer
        address = translate(stream, transaction, pointer)
        if isinstance(address, Fault):
            return address
        self.fetches += 1
        data = self.port.read(address, CD_SIZE)
        if data is None:
            return _fault(EventCode.F_CD_FETCH, transaction, "the CD fetch aborted", address)
        cd = CD.from_bytes(data)
        problem = cd_problem(cd, stream, self.registers.ids)
        if problem is not None:
            return _fault(EventCode.C_BAD_CD, transaction, problem)
        return cd

    def _locate_cd(
        self, stream: Stream, transaction: Transaction, index: int, translate: Translator
    ) -> int | Fault:
        """Address (IPA with stage 2) of the CD with an index. Spec: 5.2 S1Fmt, 5.3."""
        split = {1: 6, 2: 10}.get(stream.ste.S1Fmt, 0) if stream.substream_lg2 else 0
        if not split:
            return (stream.cd_pointer & -(CD_SIZE << stream.substream_lg2)) + CD_SIZE * index
        table = stream.cd_pointer & -max(L1CD_SIZE << max(0, stream.substream_lg2 - split), 64)
        address = translate(stream, transaction, table + L1CD_SIZE * (index >> split))
        if isinstance(address, Fault):
            return address
        value = self.read_level1(address, transaction.stream_id, index >> split, split)
        if value is None:
            return _fault(EventCode.F_CD_FETCH, transaction, "the L1CD fetch aborted", address)
        level1 = L1CD(value)
        ids = self.registers.ids
        limit = ids.output_bits if stream.stage2 is None else ids.input_bits
        if not level1.V or level1.L2Ptr >> limit:
            reason = "L1CD.L2Ptr is too large" if level1.V else "L1CD.V is 0"
            return _bad_substream(transaction, index, reason)
        return (level1.L2Ptr & -(CD_SIZE << split)) + CD_SIZE * (index & (1 << split) - 1)

    # -- invalidation

    def drop_ste(self, stream_id: int, *, leaf: bool = False) -> None:
        """Forget an STE and every CD fetched through it; without ``leaf`` its L1STD, of which there
        is no copy here. Spec: 4.3.1."""
        self.drop_cds(stream_id)
        self.streams.pop(stream_id, None)

    def drop_ste_range(self, first: int, count: int) -> None:
        """Forget the STEs of ``count`` StreamIDs from ``first``. Spec: 4.3.2."""
        for stream_id in [sid for sid in self.streams if first <= sid < first + count]:
            self.drop_ste(stream_id)

    def drop_cds(self, stream_id: int) -> None:
        """Forget every CD of a stream, and keep its STE. Spec: 4.3.4."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            for key in stream.contexts:
                del self.contexts[key]
            stream.contexts.clear()

    def drop_cd(self, stream_id: int, index: int, *, leaf: bool = False) -> None:
        """Forget the CD with an index; transactions without substream use index 0. ``leaf`` is as
        in `drop_ste`. Spec: 4.3.3."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        keys = {context_key(stream_id, index)}
        if index == 0:
            keys.add(context_key(stream_id, None))
        for key in keys & stream.contexts:
            del self.contexts[key]
            stream.contexts.discard(key)


def _cd_index(stream: Stream, transaction: Transaction) -> int | Fault | None:
    """Index of the CD that a transaction uses; None where stage 1 does not translate it.

    Spec: 5.2 S1CDMax, S1DSS.
    """
    substream_id, ste = transaction.substream_id, stream.ste
    if not stream.config & Config.BYPASS:
        return None
    if substream_id is not None:
        if not stream.has(Config.STAGE1) or not stream.substream_lg2:
            reason = "the stream's configuration takes no SubstreamID"
            return _bad_substream(transaction, substream_id, reason)
        if substream_id >> stream.substream_lg2:
            return _bad_substream(transaction, substream_id, "the SubstreamID is beyond S1CDMax")
        if substream_id == 0 and ste.S1DSS == DefaultSubstream.SUBSTREAM0:
            reason = "S1DSS reserves substream 0 for transactions without SubstreamID"
            return _fault(EventCode.F_STREAM_DISABLED, transaction, reason)
        return substream_id
    if not stream.has(Config.STAGE1):
        return None
    if not stream.substream_lg2 or ste.S1DSS == DefaultSubstream.SUBSTREAM0:
        return 0
    if ste.S1DSS == DefaultSubstream.BYPASS:
        return None
    reason = "S1DSS forbids transactions without SubstreamID"
    return _fault(EventCode.F_STREAM_DISABLED, transaction, reason)


def _bad_substream(transaction: Transaction, index: int, reason: str) -> Fault:
    """The record always names a SubstreamID, the CD's index. Spec: 7.3.9."""
    named = transaction._replace(substream_id=index)
    return _fault(EventCode.C_BAD_SUBSTREAMID, named, reason)


def _fault(code: EventCode, transaction: Transaction, reason: str, address: int = 0) -> Fault:
    return Fault(code, transaction, address=address, reason=reason)
