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
from smmu_emu.smmuv3.spec.cd import CD, CD_SIZE
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.smmuv3.spec.registers import CR2, STRTAB_BASE, STRTAB_BASE_CFG
from smmu_emu.smmuv3.spec.ste import L1STD, L1STD_SIZE, STE, STE_SIZE, Config
from smmu_emu.tlb import Tlb
from smmu_emu.transaction import Fault, Transaction

CdTranslator = Callable[[Stream, Transaction], "int | Fault"]
"""Gives the physical address of a stream's CD, through stage 2 where there is one."""

_MAX_SPAN = 11


class ConfigurationCache:
    """Fetches, judges and caches STEs and CDs of one SMMU.

    ``contexts`` (by StreamID) is what the hot path looks into; ``streams`` holds the STEs.
    """

    def __init__(self, registers: RegisterFile, port: MemoryPort, tlb: Tlb) -> None:
        self.registers = registers
        self.port = port
        self.tlb = tlb
        self.streams: dict[int, Stream] = {}
        self.contexts: dict[int, Context] = {}
        self.fetches = 0

    def lookup(self, transaction: Transaction, locate_cd: CdTranslator) -> Context | Fault:
        """The context for a transaction, fetched and cached if need be; a fault if it has none."""
        stream = self.streams.get(transaction.stream_id)
        if stream is None:
            found = self._fetch_ste(transaction)
            if isinstance(found, Fault):
                return found
            stream = self.streams[transaction.stream_id] = found
        if transaction.substream_id is not None and stream.config & Config.BYPASS:
            return _fault(EventCode.C_BAD_SUBSTREAMID, transaction, "substreams are not supported")
        context = self.contexts.get(transaction.stream_id)
        if context is not None:
            return context
        cd: CD | None = None
        if stream.has(Config.STAGE1):
            fetched = self._fetch_cd(stream, transaction, locate_cd)
            if isinstance(fetched, Fault):
                return fetched
            cd = fetched
        context = make_context(stream, cd, self.registers.ids, self.tlb)
        self.contexts[transaction.stream_id] = context
        return context

    # -- stream table

    def _fetch_ste(self, transaction: Transaction) -> Stream | Fault:
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
        return Stream(ste, self.registers.ids, self.tlb)

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
        value = self.port.read_u64(address)
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

    # -- context descriptors

    def _fetch_cd(
        self, stream: Stream, transaction: Transaction, locate_cd: CdTranslator
    ) -> CD | Fault:
        address = locate_cd(stream, transaction)
        if isinstance(address, Fault):
            return address
        self.fetches += 1
        data = self.port.read(address, CD_SIZE)
        if data is None:
            return _fault(EventCode.F_CD_FETCH, transaction, "the CD fetch aborted", address)
        cd = CD.from_bytes(data)
        problem = cd_problem(cd, stream.ste, self.registers.ids)
        if problem is not None:
            return _fault(EventCode.C_BAD_CD, transaction, problem)
        return cd

    # -- invalidation

    def drop_ste(self, stream_id: int) -> None:
        """Forget an STE and every CD fetched through it. Spec: 4.3.1."""
        self.streams.pop(stream_id, None)
        self.contexts.pop(stream_id, None)

    def drop_ste_range(self, first: int, count: int) -> None:
        """Forget the STEs of ``count`` StreamIDs from ``first``. Spec: 4.3.2."""
        for stream_id in [sid for sid in self.streams if first <= sid < first + count]:
            self.drop_ste(stream_id)

    def drop_cds(self, stream_id: int) -> None:
        """Forget every CD of a stream, and keep its STE. Spec: 4.3.3, 4.3.4."""
        self.contexts.pop(stream_id, None)


def _fault(code: EventCode, transaction: Transaction, reason: str, address: int = 0) -> Fault:
    return Fault(code, transaction, address=address, reason=reason)
