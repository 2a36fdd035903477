# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of ATS and PRI share: ID registers, endpoints that only listen, substreams."""

from __future__ import annotations

from typing import Any

from smmu_emu.ats import (
    Completion,
    Invalidation,
    InvalidationAnswer,
    PageRequest,
    PageResponse,
    Status,
    TranslationRequest,
)
from smmu_emu.smmuv3 import IdRegisters
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.unit.smmuv3.rig import PLAIN_CD, RAM, S1_STE, SID, Bench, Tree, make_ids

FULL, SPLIT = 1, 2
PASID = 5
IOVA = 0x5000
CR0_ON, ATSCHK, PRIQEN = 0xD, 0x10, 0x2
PRI_QUEUE = RAM + 0xA_0000
SIZE_LG2 = 2
"""Log2 of the entries of the PRI queue in most tests."""
OVFLG = 1 << 31


def ats_ids(**changes: int) -> IdRegisters:
    """QEMU's registers with ATS, PRI and substreams, as SMMUv3.2 where there is ATSRECERR (2.9)."""
    version = {"minor": 2, "Hyp": 1, "FWB": 1} if changes.get("ATSRECERR") else {}
    return make_ids(**{"ATS": 1, "PRI": 1, "PRIQS": 8, "SSIDSIZE": 8, **version, **changes})


def ask(bench: Bench, address: int, **how: Any) -> Completion:
    """A translation request of stream ``SID``; ``nw`` is NW."""
    how.setdefault("stream_id", SID)
    how["no_write"] = bool(how.pop("nw", False))
    return bench.smmu.ats.request(TranslationRequest(address=address, **how))


def rights(completion: Completion) -> str:
    """R, W and X as far as they are granted, and P if the completion says privileged."""
    assert completion.status is Status.SUCCESS
    letters = {"R": "read", "W": "write", "X": "execute", "P": "privileged"}
    return "".join(letter for letter, name in letters.items() if getattr(completion, name))


def send(bench: Bench, address: int, write: bool = False, **how: Any) -> Translation | Fault:
    """A Translated transaction of stream ``SID``."""
    return bench.smmu.ats.translated(Transaction(how.pop("sid", SID), address, write, **how))


def pasid_bench(
    ids: IdRegisters | None = None, ste: dict[str, int] | None = None, **cd: int
) -> tuple[Bench, Tree]:
    """A bench whose stream takes 8 substreams; CD `PASID` translates through an empty stage 1."""
    bench = Bench(ids or ats_ids())
    tree = Tree(bench)
    table = bench.alloc(64 * 8)
    fields = {"EATS": FULL, "S1CDMax": 3, "S1ContextPtr": table}
    bench.ste(**{**S1_STE, **fields, **(ste or {})})
    bench.cd(table + 64 * PASID, **{**PLAIN_CD, "TTB0": tree.root, **cd})
    return bench, tree


class Listener:
    """An endpoint that keeps what it is told; invalidations wait until `answer` is called."""

    def __init__(self) -> None:
        self.invalidations: list[Invalidation] = []
        self.responses: list[PageResponse] = []
        self._answers: list[InvalidationAnswer] = []

    def invalidate(self, request: Invalidation, answer: InvalidationAnswer) -> None:
        """Keep the request."""
        self.invalidations.append(request)
        self._answers.append(answer)

    def page_response(self, response: PageResponse) -> None:
        """Keep the response."""
        self.responses.append(response)

    def answer(self, done: bool = True) -> None:
        """Answer the oldest invalidation that has no answer."""
        self._answers.pop(0)(done)


def listen(bench: Bench, sid: int = SID) -> Listener:
    """Attach a listener."""
    listener = Listener()
    bench.smmu.ats.attach(sid, listener)
    return listener


def pri_bench(size_lg2: int = SIZE_LG2, *, irqs: int = 7, **ids: int) -> tuple[Bench, Listener]:
    """A PRI queue of 2^size_lg2 entries, everything enabled, and an endpoint that listens."""
    bench = Bench(ats_ids(**{"MSI": 1, **ids}), setup=False)
    bench.w("PRIQ_BASE", PRI_QUEUE | size_lg2)
    bench.set_up()
    bench.w("IRQ_CTRL", irqs)
    bench.w("CR0", CR0_ON | PRIQEN)
    assert bench.r("CR0ACK") == CR0_ON | PRIQEN
    return bench, listen(bench)


def request_page(bench: Bench, number: int = 0, **how: Any) -> None:
    """A page request to read, the last of its group, unless told otherwise."""
    how.setdefault("stream_id", SID)
    how.setdefault("read", True)
    bench.smmu.ats.page_request(PageRequest(address=0x5000, prg_index=number, **how))


def stop_pasid(bench: Bench, substream_id: int = 3) -> None:
    """A Stop marker."""
    request_page(bench, read=False, substream_id=substream_id)


def page_requests(bench: Bench) -> list[int]:
    """All records, which are consumed; the overflow flag is left as it is."""
    size = 1 << (bench.r("PRIQ_BASE") & 0x1F)
    prod, cons = bench.r("PRIQ_PROD") & (2 * size - 1), bench.r("PRIQ_CONS")
    index, records = cons & (2 * size - 1), []
    while index != prod:
        data = bench.memory.read(PRI_QUEUE + 16 * (index % size), 16)
        assert data is not None
        records.append(int.from_bytes(data, "little"))
        index = (index + 1) % (2 * size)
    bench.w("PRIQ_CONS", cons & OVFLG | index)
    return records


def acknowledge(bench: Bench) -> None:
    """Mark the whole queue as consumed and acknowledge an overflow."""
    bench.w("PRIQ_CONS", bench.r("PRIQ_PROD"))
