# SPDX-License-Identifier: GPL-2.0-or-later
"""What an SMMU tells software, under trace: records, interrupts and messages, a reset.

Spec: IHI 0070 3.18, 7.2 to 7.4, 8.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from smmu_emu.ats import PageRequest
from smmu_emu.interpose import Function
from smmu_emu.interrupt import InterruptLine
from smmu_emu.smmuv3.fault import describe
from smmu_emu.smmuv3.spec.registers import GERROR
from smmu_emu.smmuv3.tracing.traffic import EVENT_NAMES
from smmu_emu.trace.events import Interrupt, Note, Record
from smmu_emu.transaction import Fault, Transaction

if TYPE_CHECKING:
    from smmu_emu.smmuv3.tracing.unit import Place, UnitTracing

_FETCHES = frozenset({"F_STE_FETCH", "F_CD_FETCH", "F_WALK_EABT"})


class OutputTracing:
    """Tells of one SMMU's records and interrupts."""

    unsaved = ("unit", "_fault", "_recorded", "_request", "_source")

    def __init__(self, unit: UnitTracing) -> None:
        self.unit = unit
        self._fault: Fault | None = None
        self._recorded = True
        self._request: PageRequest | None = None
        self._source = ""

    def places(self) -> Iterator[Place]:
        smmu, tracer = self.unit.smmu, self.unit.tracer
        if tracer.wants("record"):
            requests = smmu.page_requests
            yield smmu.path, "report", self._report
            yield smmu.ats, "record", self._report
            yield requests, "record", self._report
            yield smmu, "_deliver", self._deliver
            yield smmu.event_queue, "write", self._event_written
            yield smmu.ats, "page_request", self._receive
            yield requests.queue, "write", self._page_written
        if tracer.wants("interrupt"):
            yield smmu.interrupts, "_signal", self._signal
            yield smmu.interrupts, "sync_completed", self._sync_completed
            yield smmu.interrupts, "_send", self._send
            yield smmu.interrupts, "raise_error", self._raise_error
        yield smmu, "reset", self._reset

    def _reset(self, reset: Callable[[], None]) -> Callable[[], None]:
        def observed() -> None:
            unit = self.unit
            if unit.tracer.wants("note"):
                unit.tracer.emit(Note(*unit.head(), "reset", f"{unit.name} is reset"))
            reset()

        return observed

    # -- records

    def _report(self, report: Function) -> Function:
        def observed(fault: Fault, *record: bytes | None) -> object:
            outer, self._fault = self._fault, fault
            try:
                return report(fault, *record)
            finally:
                self._fault = outer

        return observed

    def _deliver(self, deliver: Function) -> Function:
        def observed(record: bytes, *, is_stall: bool) -> object:
            self._recorded = False
            done = deliver(record, is_stall=is_stall)
            if not self._recorded:
                self._tell_event(record, written=False)
            return done

        return observed

    def _event_written(self, write: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        def observed(record: bytes) -> bool:
            written = write(record)
            self._recorded = True
            self._tell_event(record, written=written)
            return written

        return observed

    def _tell_event(self, record: bytes, *, written: bool) -> None:
        unit, fault = self.unit, self._fault
        if fault is None:
            return
        name = EVENT_NAMES.get(record[0], f"{record[0]:#04x}")
        transaction: Transaction = fault.transaction
        unit.tracer.emit(
            Record(
                *unit.head(),
                unit.access,
                "event",
                name,
                transaction.stream_id,
                transaction.substream_id,
                transaction.iova,
                written,
                record,
                f"{describe(fault)}: {fault.reason}",
                fault.address if name in _FETCHES else 0,
            )
        )

    def _receive(self, receive: Callable[[PageRequest], None]) -> Callable[[PageRequest], None]:
        def observed(request: PageRequest) -> None:
            outer, self._request = self._request, request
            self._recorded = False
            try:
                receive(request)
                if not self._recorded:
                    self._tell_page(b"", written=False)
            finally:
                self._request = outer

        return observed

    def _page_written(self, write: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        def observed(record: bytes) -> bool:
            written = write(record)
            self._recorded = True
            self._tell_page(record, written=written)
            return written

        return observed

    def _tell_page(self, record: bytes, *, written: bool) -> None:
        unit, request = self.unit, self._request
        if request is None:
            return
        rights = "".join(
            letter
            for letter, asked in (("r", request.read), ("w", request.write), ("x", request.execute))
            if asked
        )
        text = f"page request, group {request.prg_index}: {rights or 'stop marker'}"
        unit.tracer.emit(
            Record(
                *unit.head(),
                unit.access,
                "pri",
                "PAGE_REQUEST",
                request.stream_id,
                request.substream_id,
                request.address,
                written,
                record,
                text,
                0,
            )
        )

    # -- interrupts

    def _signal(self, signal: Function) -> Function:
        def observed(line: InterruptLine, source: str, abort_error: int) -> None:
            before = line.pulses
            outer, self._source = self._source, source.lower()
            try:
                signal(line, source, abort_error)
            finally:
                self._source = outer
            if line.pulses != before:
                self._tell_wire(source.lower())

        return observed

    def _sync_completed(self, completed: Callable[[int, int], None]) -> Callable[[int, int], None]:
        line = self.unit.smmu.interrupts.cmdq_sync

        def observed(address: int, data: int) -> None:
            before = line.pulses
            outer, self._source = self._source, "cmdq-sync"
            try:
                completed(address, data)
            finally:
                self._source = outer
            if line.pulses != before:
                self._tell_wire("cmdq-sync")

        return observed

    def _send(self, send: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def observed(address: int, data: int, abort_error: int) -> None:
            unit = self.unit
            pa = address & (1 << unit.smmu.ids.output_bits) - 1
            unit.tracer.emit(Interrupt(*unit.head(), self._source, True, pa, data))
            send(address, data, abort_error)

        return observed

    def _raise_error(self, raise_error: Callable[[int], None]) -> Callable[[int], None]:
        def observed(bit: int) -> None:
            unit = self.unit
            if not unit.smmu.interrupts.is_active(bit) and unit.tracer.wants("note"):
                names = " ".join(name for name in _ERRORS if GERROR.mask(name) & bit)
                unit.tracer.emit(Note(*unit.head(), "gerror", f"GERROR.{names} is raised"))
            raise_error(bit)

        return observed

    def _tell_wire(self, name: str) -> None:
        unit = self.unit
        unit.tracer.emit(Interrupt(*unit.head(), name, True, None, 0))


_ERRORS = (
    *("CMDQ_ERR", "EVENTQ_ABT_ERR", "SFM_ERR", "PRIQ_ABT_ERR"),
    *("MSI_CMDQ_ABT_ERR", "MSI_EVENTQ_ABT_ERR", "MSI_PRIQ_ABT_ERR", "MSI_GERROR_ABT_ERR"),
)
