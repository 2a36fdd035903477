# SPDX-License-Identifier: GPL-2.0-or-later
"""What travels between an endpoint with an address translation cache and its translation unit.

PCIe's ATS and PRI as IHI 0070 3.9, 8 and 13.7 see them: a request for a translation and its
completion, an invalidation and its answer, a page request and the response to its group. What PCIe
encodes in bits is spelled out in fields here. Addresses are in bytes, sizes are log2.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol

from smmu_emu.transaction import Fault, Transaction, Translation

PRG_INDEXES = 512
"""Page request groups that an endpoint can tell apart: the index has 9 bits."""


class TranslationRequest(NamedTuple):
    """An endpoint asks for the translation of ``address`` (not yet translated).

    ``no_write`` is NW. ``execute`` and ``privileged`` mean nothing without a PASID
    (``substream_id``). ``span`` is the number of smallest translation units asked for; an answer
    always holds one translation, which PCIe allows whatever the span. Spec: IHI 0070 13.7.
    """

    stream_id: int
    address: int
    no_write: bool = False
    substream_id: int | None = None
    execute: bool = False
    privileged: bool = False
    span: int = 1


class Status(Enum):
    """How a translation request ended. Spec: IHI 0070 3.9.1.2."""

    SUCCESS = "Success"
    UNSUPPORTED = "UR"
    ABORT = "CA"


class Completion(NamedTuple):
    """The answer to a translation request.

    With `Status.SUCCESS`, the ``1 << size_lg2`` bytes around the requested address, naturally
    aligned, lie at ``address``. Neither ``read`` nor ``write`` means that there is no access. The
    last three fields are U, Global and N of the completion, which an SMMU never sets.
    """

    status: Status
    address: int = 0
    size_lg2: int = 0
    read: bool = False
    write: bool = False
    execute: bool = False
    privileged: bool = False
    untranslated_only: bool = False
    global_mapping: bool = False
    no_snoop: bool = False

    @property
    def granted(self) -> bool:
        """Whether there is any access at all."""
        return self.read or self.write


class Invalidation(NamedTuple):
    """Forget the translations of ``1 << size_lg2`` bytes from ``address``; 64 is all of them.

    Without PASID (``substream_id``) those under every PASID are meant, and ``every_pasid`` (the
    Global flag) says so with one. Spec: IHI 0070 4.5.1.
    """

    address: int
    size_lg2: int
    substream_id: int | None = None
    every_pasid: bool = False


class PageRequest(NamedTuple):
    """An endpoint wants the page at ``address`` (4 KiB) made present. Spec: IHI 0070 8."""

    stream_id: int
    address: int
    prg_index: int
    read: bool = False
    write: bool = False
    last: bool = True
    substream_id: int | None = None
    execute: bool = False
    privileged: bool = False

    @property
    def is_stop_marker(self) -> bool:
        """Whether this ends the use of a PASID: with one, Last set, neither read nor write."""
        return self.substream_id is not None and self.last and not self.read and not self.write


class ResponseCode(IntEnum):
    """How a page request group was answered. Spec: IHI 0070 8.3."""

    SUCCESS = 0b0000
    INVALID_REQUEST = 0b0001
    FAILURE = 0b1111


class PageResponse(NamedTuple):
    """The answer to a page request group."""

    prg_index: int
    code: ResponseCode
    substream_id: int | None = None


InvalidationAnswer = Callable[[bool], None]
"""Called once by an endpoint: True says that it is done, False that it does not do it (UR)."""


class Endpoint(Protocol):
    """An endpoint, as its translation unit sees it."""

    def invalidate(self, request: Invalidation, answer: InvalidationAnswer) -> None:
        """Forget translations and call ``answer``, now, later or never."""

    def page_response(self, response: PageResponse) -> None:
        """A page request group has been answered."""


class TranslationAgent(Protocol):
    """A translation unit, as its ATS endpoints see it."""

    def attach(self, stream_id: int, endpoint: Endpoint) -> None: ...

    def request(self, request: TranslationRequest) -> Completion: ...

    def translated(self, transaction: Transaction) -> Translation | Fault: ...

    def page_request(self, request: PageRequest) -> None: ...
