# SPDX-License-Identifier: GPL-2.0-or-later
"""Page requests: into the PRI queue, or answered at once where it does not take them.

Spec: IHI 0070 8 (records), 8.1 (overflow), 8.2 (automatic responses), 8.3 (codes), 6.3.36 (when to
interrupt), 4.5.2 (responses by software). Choices: aborted writes of the queue are synchronous;
PASIDs are cut to IDR1.SSIDSIZE bits on arrival.
"""

from __future__ import annotations

from smmu_emu.ats import Endpoint, PageRequest, PageResponse, ResponseCode
from smmu_emu.smmuv3.ats import Recorder
from smmu_emu.smmuv3.config import ConfigurationCache
from smmu_emu.smmuv3.interrupt import PRIQ_ABT_ERR, Interrupts
from smmu_emu.smmuv3.queue import PriQueue
from smmu_emu.smmuv3.register_file import RegisterFile
from smmu_emu.smmuv3.spec.page_request import PageRequestRecord
from smmu_emu.smmuv3.spec.registers import CR0, CR2, IRQ_CFG2
from smmu_emu.transaction import Fault, Transaction

_ENABLED = CR0.mask("SMMUEN", "PRIQEN")
_REC_CFG_ATS = CR2.mask("REC_CFG_ATS")
_LAST_ONLY = IRQ_CFG2.mask("LO")


class PageRequests:
    """Takes page requests for one SMMU; ``received`` counts them, ``automatic`` its own responses.

    ``endpoints``, by StreamID, get the responses; ``failed`` is service failure mode (12.3).
    """

    def __init__(
        self,
        registers: RegisterFile,
        queue: PriQueue,
        interrupts: Interrupts,
        configuration: ConfigurationCache,
        endpoints: dict[int, Endpoint],
        record: Recorder,
    ) -> None:
        self.registers = registers
        self.queue = queue
        self.interrupts = interrupts
        self.configuration = configuration
        self.endpoints = endpoints
        self.record = record
        self.received = 0
        self.automatic = 0
        self.failed = False

    def reset(self) -> None:
        """Forget what was counted, and any failure."""
        self.received = self.automatic = 0
        self.failed = False

    def receive(self, request: PageRequest) -> None:
        """Queue a page request or Stop marker, or answer it."""
        self.received += 1
        request = self._as_received(request)
        if not self._open:
            self._answer(request, ResponseCode.FAILURE)
            return
        queue = self.queue
        if queue.full:
            queue.overflow()
        if queue.overflowed:
            self._discard(request)
            return
        was_empty = queue.empty
        if not queue.write(_record(request)):
            self.interrupts.raise_error(PRIQ_ABT_ERR)
            self._answer(request, ResponseCode.FAILURE)
            return
        if request.last if self._last_only else was_empty:
            self.interrupts.pages_requested()

    def respond(self, stream_id: int, response: PageResponse) -> None:
        """Send a response; where there is no endpoint it is ignored. Spec: 4.5.2."""
        endpoint = self.endpoints.get(stream_id)
        if endpoint is not None:
            endpoint.page_response(response)

    def _as_received(self, request: PageRequest) -> PageRequest:
        """What reaches the SMMU: without PASID there is neither X nor Priv. Spec: 8."""
        size = self.registers.ids.sizes.SSIDSIZE
        if request.substream_id is None or not size:
            return request._replace(substream_id=None, execute=False, privileged=False)
        return request._replace(substream_id=request.substream_id & (1 << size) - 1)

    @property
    def _open(self) -> bool:
        """Whether the queue takes requests. Spec: 8.2, 6.3.9.5 (PRIQEN needs SMMUEN)."""
        enabled = self.registers.values["CR0ACK"] & _ENABLED == _ENABLED
        return enabled and not self.failed and not self.interrupts.is_active(PRIQ_ABT_ERR)

    @property
    def _last_only(self) -> bool:
        return bool(self.registers.values["PRIQ_IRQ_CFG2"] & _LAST_ONLY)

    def _discard(self, request: PageRequest) -> None:
        """Overflow: what has Last set is answered, and interrupts if LO says so. Spec: 8.1."""
        if not request.last:
            return
        if self._last_only:
            self.interrupts.pages_requested()
        if request.substream_id is None or self.registers.ids.extras.PPS:
            self._answer(request, ResponseCode.SUCCESS, request.substream_id)
        elif not request.is_stop_marker:
            self._answer_by_stream(request)

    def _answer_by_stream(self, request: PageRequest) -> None:
        """STE.PPAR decides about the PASID; without a valid STE it is a failure. Spec: 8.1."""
        kind = (request.write, request.privileged, request.execute)
        transaction = Transaction(request.stream_id, request.address, *kind, request.substream_id)
        stream = self.configuration.find_stream(transaction)
        if isinstance(stream, Fault):
            recorded = stream.recorded and bool(self.registers.values["CR2"] & _REC_CFG_ATS)
            self.record(stream._replace(recorded=recorded), None)
            self._answer(request, ResponseCode.FAILURE)
            return
        substream_id = request.substream_id if stream.ste.PPAR else None
        self._answer(request, ResponseCode.SUCCESS, substream_id)

    def _answer(
        self, request: PageRequest, code: ResponseCode, substream_id: int | None = None
    ) -> None:
        """An automatic response, if not to a Stop marker. Spec: 8.2."""
        if not request.is_stop_marker:
            self.automatic += 1
            self.respond(request.stream_id, PageResponse(request.prg_index, code, substream_id))


def _record(request: PageRequest) -> bytes:
    """Spec: 8."""
    return PageRequestRecord.make(
        StreamID=request.stream_id,
        SubstreamID=request.substream_id or 0,
        Priv=int(request.privileged),
        X=int(request.execute),
        R=int(request.read),
        W=int(request.write),
        Last=int(request.last),
        SSV=int(request.substream_id is not None),
        PRGIndex=request.prg_index,
        Address=request.address & ~0xFFF,
    ).to_bytes()
