# SPDX-License-Identifier: GPL-2.0-or-later
"""A DMA master with an address translation cache: an endpoint of PCIe's ATS and PRI.

It asks its translation unit for translations and keeps them, sends Translated transactions, forgets
on request, and asks for pages that are not present. The contract is IHI 0070's (3.9, 4.5, 8, 13.7);
PCIe's configuration space is left out: attributes and `Conduct` stand for it. By default it behaves
well; `Conduct` makes it slow, deaf, lying or greedy, as untrusted hardware may be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from smmu_emu.ats import (
    PRG_INDEXES,
    Completion,
    Invalidation,
    InvalidationAnswer,
    PageRequest,
    PageResponse,
    ResponseCode,
    Status,
    TranslationAgent,
    TranslationRequest,
)
from smmu_emu.clock import Clock
from smmu_emu.devices.atc import Access, Atc, Cached
from smmu_emu.memory import PhysicalMemory
from smmu_emu.port import MemoryPort, Translator
from smmu_emu.transaction import Fault, Transaction, Translation

PAGE = 0x1000
_ADDRESSES = (1 << 64) - 1


class Reply(Enum):
    """What an endpoint does with an invalidation request."""

    COMPLETE = "done"
    REFUSE = "UR"
    SILENCE = "no answer"


@dataclass
class Conduct:
    """How an endpoint behaves. Delays are nanoseconds of virtual time.

    ``keeps_invalidated``: says that it forgot, and did not. ``ignores_rights``: writes and reads
    whatever it got an address for. ``ignores_credits``: sends page requests beyond its allocation.
    """

    reply: Reply = Reply.COMPLETE
    reply_delay: int = 0
    retry_delay: int = 1000
    keeps_invalidated: bool = False
    ignores_rights: bool = False
    ignores_credits: bool = False


class AtsEndpoint:
    """One function of a device, with its ATC.

    ``credits`` is its allocation of outstanding page requests, ``pasid_bits`` the width of the
    PASIDs it knows. With ``ats_enabled`` False it sends untranslated transactions through
    ``translator``. ``last_completion`` and ``last_fault`` tell how the last page of a transfer
    was translated, and why the SMMU ended it.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        agent: TranslationAgent,
        stream_id: int,
        clock: Clock,
        *,
        translator: Translator | None = None,
        name: str = "ats-endpoint",
        capacity: int = 256,
        credits: int = 16,
        pasid_bits: int = 20,
    ) -> None:
        self.memory = MemoryPort(name, memory)
        self.agent = agent
        self.stream_id = stream_id
        self.clock = clock
        self.translator = translator
        self.conduct = Conduct()
        self.atc = Atc(capacity)
        self.credits = credits
        self.pasid_bits = pasid_bits
        self.ats_enabled = True
        self.pri_enabled = True
        self.reset()
        agent.attach(stream_id, self)

    def reset(self) -> None:
        """Power-on state: an empty cache, nothing under way, nothing counted."""
        self.atc.clear()
        self.requests = self.hits = self.transactions = 0
        self.invalidations = self.unexpected_responses = 0
        self.last_completion: Completion | None = None
        self.last_fault: Fault | None = None
        self.responses: list[PageResponse] = []
        self._groups: dict[int, Transfer | None] = {}
        self._waiting: list[Transfer] = []

    # -- transfers

    def read(
        self,
        iova: int,
        size: int,
        *,
        substream_id: int | None = None,
        privileged: bool = False,
        execute: bool = False,
    ) -> bytes | None:
        """Read ``size`` bytes; None if any page could not be read. Asks for no pages."""
        access = _access(False, substream_id, privileged, execute)
        transfer = Transfer(self, access, iova, size, None, patient=False)
        return bytes(transfer.data) if transfer.ok else None

    def write(
        self, iova: int, data: bytes, *, substream_id: int | None = None, privileged: bool = False
    ) -> bool:
        """Write ``data``; False if any page could not be written. Asks for no pages."""
        access = _access(True, substream_id, privileged)
        return Transfer(self, access, iova, len(data), data, patient=False).ok

    def start_read(
        self,
        iova: int,
        size: int,
        *,
        substream_id: int | None = None,
        privileged: bool = False,
        execute: bool = False,
    ) -> Transfer:
        """Read ``size`` bytes, and wait for absent pages; see the result's ``done``."""
        access = _access(False, substream_id, privileged, execute)
        return Transfer(self, access, iova, size, None, patient=True)

    def start_write(
        self, iova: int, data: bytes, *, substream_id: int | None = None, privileged: bool = False
    ) -> Transfer:
        """Write ``data``, and wait for absent pages; see the result's ``done``."""
        access = _access(True, substream_id, privileged)
        return Transfer(self, access, iova, len(data), data, patient=True)

    def send_translated(
        self, address: int, data: bytes | None = None, size: int = 0
    ) -> bytes | None:
        """A Translated write of ``data``, or read of ``size`` bytes, within one 4 KiB page.

        The address need not come from a translation: that is what a hostile device sends. None
        where it was aborted; a write gives its data.
        """
        transaction = Transaction(self.stream_id, address, data is not None)
        where = self._admit(self.agent.translated(transaction))
        if where is None:
            return None
        if data is None:
            return self.memory.read(where, size)
        return data if self.memory.write(where, data) else None

    def locate(self, access: Access, iova: int) -> int | None:
        """Where one access lands; None if it must not be made or was aborted."""
        if not self.ats_enabled:
            if self.translator is None:
                return None
            kind = (access.write, access.privileged, access.execute)
            untranslated = Transaction(self.stream_id, iova, *kind, access.substream_id)
            return self._admit(self.translator.translate(untranslated))
        entry = self._lookup(access, iova)
        if entry is None:
            return None
        address = entry.address + (iova - entry.base)
        return self._admit(
            self.agent.translated(Transaction(self.stream_id, address, access.write))
        )

    def _lookup(self, access: Access, iova: int) -> Cached | None:
        """The cached translation, or a new one; None if there is none that permits the access."""
        entry = self.atc.find(access, iova)
        if entry is not None and entry.permits(access):
            self.hits += 1
            return entry
        self.requests += 1
        completion = self.last_completion = self.agent.request(
            TranslationRequest(
                self.stream_id,
                iova,
                not access.write,
                access.substream_id,
                access.execute,
                access.privileged,
            )
        )
        if completion.status is not Status.SUCCESS or not completion.granted:
            return None
        size_lg2 = completion.size_lg2
        entry = Cached(iova & -(1 << size_lg2), size_lg2, completion.address, completion)
        self.atc.insert(access, entry)
        return entry if entry.permits(access) or self.conduct.ignores_rights else None

    def _admit(self, result: Translation | Fault) -> int | None:
        self.transactions += 1
        self.last_fault = result if isinstance(result, Fault) else None
        return None if isinstance(result, Fault) else result.pa

    # -- invalidation

    def invalidate(self, request: Invalidation, answer: InvalidationAnswer) -> None:
        """Forget translations, and say so. A PASID that is too wide is refused (UR)."""
        self.invalidations += 1
        conduct = self.conduct
        if conduct.reply is Reply.SILENCE:
            return
        unknown = request.substream_id is not None and request.substream_id >> self.pasid_bits
        done = conduct.reply is Reply.COMPLETE and not unknown
        self.clock.after(conduct.reply_delay, partial(self._reply, request, answer, done))

    def _reply(self, request: Invalidation, answer: InvalidationAnswer, done: bool) -> None:
        if done and not self.conduct.keeps_invalidated:
            self.atc.drop(request)
        answer(done)

    # -- page requests

    def request_page(
        self, iova: int, access: Access, *, read: bool = True, last: bool = True
    ) -> int | None:
        """Send one page request of a group of its own; its index, or None without a credit.

        With ``last`` False the group stays open: `send_page_request` goes on with its index.
        """
        return self._open_group(iova, access, None, read=read, last=last)

    def send_page_request(self, request: PageRequest) -> None:
        """Send a page request as it is, whatever the rules say."""
        self.agent.page_request(request)

    def stop_pasid(self, substream_id: int) -> None:
        """Send a Stop marker. Spec: IHI 0070 8."""
        self.agent.page_request(PageRequest(self.stream_id, 0, 0, substream_id=substream_id))

    def page_response(self, response: PageResponse) -> None:
        """A group has been answered; a failure switches page requests off."""
        self.responses.append(response)
        if response.prg_index not in self._groups:
            self.unexpected_responses += 1
            return
        transfer = self._groups.pop(response.prg_index)
        if response.code is ResponseCode.FAILURE:
            self.pri_enabled = False
        waiting, self._waiting = self._waiting, []
        if transfer is not None:
            waiting.insert(0, transfer)
        good = response.code is ResponseCode.SUCCESS
        for one in waiting:
            proceed = one.retry if good or one is not transfer else one.give_up
            self.clock.after(self.conduct.retry_delay, proceed)

    def _open_group(
        self, iova: int, access: Access, transfer: Transfer | None, *, read: bool, last: bool
    ) -> int | None:
        greedy = self.conduct.ignores_credits
        if len(self._groups) >= (PRG_INDEXES if greedy else min(self.credits, PRG_INDEXES)):
            return None
        index = next(number for number in range(PRG_INDEXES) if number not in self._groups)
        self._groups[index] = transfer
        self.agent.page_request(
            PageRequest(
                self.stream_id,
                iova & ~(PAGE - 1),
                index,
                read,
                access.write,
                last,
                access.substream_id,
                access.execute,
                access.privileged,
            )
        )
        return index

    def wait_for_page(self, transfer: Transfer, access: Access, iova: int) -> bool:
        """Have a page made present for a transfer; False if that cannot be.

        Spec: IHI 0070 3.9.1 (a request follows an answer without rights).
        """
        completion = self.last_completion
        refused = self.last_fault is not None or completion is None
        if refused or not (self.ats_enabled and self.pri_enabled):
            return False
        assert completion is not None
        if completion.status is not Status.SUCCESS:
            return False
        read = not access.write
        if self._open_group(iova, access, transfer, read=read, last=True) is None:
            self._waiting.append(transfer)
        return True


class Transfer:
    """A transfer of an endpoint: ``done`` turns True when it has ended, ``ok`` if all of it moved.

    ``data`` holds what a read got; ``on_done`` may be set while it is not done.
    """

    passing = True
    ATTEMPTS = 16
    """How often a page is asked for before the transfer gives up."""

    def __init__(
        self,
        endpoint: AtsEndpoint,
        access: Access,
        iova: int,
        size: int,
        source: bytes | None,
        *,
        patient: bool,
    ) -> None:
        self.endpoint = endpoint
        self.access = access
        self.done = False
        self.ok = False
        self.data = bytearray()
        self.on_done: Callable[[Transfer], None] | None = None
        self._iova = iova
        self._left = size
        self._source = source
        self._moved = 0
        self._attempts = self.ATTEMPTS if patient else 0
        self.retry()

    def retry(self) -> None:
        """Go on, page by page, until a page has to be waited for, or the end."""
        while not self.done:
            if not self._left:
                self._finish(True)
                return
            self.endpoint.last_fault = None
            where = self.endpoint.locate(self.access, self._iova)
            if where is not None:
                self._move(where)
                continue
            self._attempts -= 1
            if self._attempts < 0 or not self.endpoint.wait_for_page(self, self.access, self._iova):
                self._finish(False)
            return

    def give_up(self) -> None:
        """The page will not come."""
        self._finish(False)

    def _move(self, where: int) -> None:
        length = min(self._left, PAGE - self._iova % PAGE)
        if self._source is None:
            data = self.endpoint.memory.read(where, length)
            moved = data is not None
            self.data += data or b""
        else:
            part = self._source[self._moved : self._moved + length]
            moved = self.endpoint.memory.write(where, part)
        if not moved:
            self._finish(False)
            return
        self._iova = self._iova + length & _ADDRESSES
        self._left -= length
        self._moved += length

    def _finish(self, ok: bool) -> None:
        self.done, self.ok = True, ok
        if self.on_done is not None:
            self.on_done(self)


def _access(
    write: bool, substream_id: int | None, privileged: bool, execute: bool = False
) -> Access:
    """Without a PASID there is no way to say privileged or execute. Spec: IHI 0070 13.7."""
    if substream_id is None:
        return Access(write)
    return Access(write, substream_id, privileged, execute)
