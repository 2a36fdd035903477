# SPDX-License-Identifier: GPL-2.0-or-later
"""Many addresses of one stream at once, with numpy: the same as translating them one by one.

A batch equals its loop: results, faults, events, TLB contents and counters. Streams with stage 1
alone, without tags and hardware updates, take the fast way; all others, and every address that
faults, take the ordinary one. TLB entries are made when somebody looks for them (`Tlb.defer`), so
a large batch does not pay for objects that nobody reads. Records that a batch writes must not land
in tables that the same batch reads.

Every page of the range that a batch lies in has a number, its *slot*; batches whose addresses are
too far apart for that go one by one. Arrays as long as the batch are made sparingly: fresh memory
costs more than what is done with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smmu_emu.memory import PAGE, PhysicalMemory, Ram
from smmu_emu.smmuv3.context import Context, Stage1
from smmu_emu.smmuv3.stages import Stages, stage1_entry
from smmu_emu.smmuv3.translate import TranslationPath
from smmu_emu.tlb import Tlb
from smmu_emu.transaction import Fault, Transaction
from smmu_emu.walk.long_descriptor import NOT_GLOBAL, Leaf, Root
from smmu_emu.walk.vector import Leaves, walk_array

Addresses = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_WORTH_IT = 64
_MOST_SLOTS = 1 << 24
_SLOTS_A_ROW = 64
_CHUNK = 1 << 15


class BatchResult(NamedTuple):
    """``pa`` has a physical address for each transaction; where it faulted the address is 0 and
    ``faults`` says why, by row."""

    pa: Addresses
    faults: dict[int, Fault]


class _Known(NamedTuple):
    """What the TLB answers for the slots of a range of pages, while the spaces' versions last.

    ``page`` is the output address of the granule-sized page; ``allowed`` is 0 where nothing is
    known (an entry that allows nothing is left to the ordinary way).
    """

    stage1: Stage1
    first: int
    page: Addresses
    allowed: npt.NDArray[np.uint8]
    versions: tuple[int, int]


class Batch:
    """The batch interface of one SMMU."""

    def __init__(
        self, path: TranslationPath, stages: Stages, tlb: Tlb, memory: PhysicalMemory
    ) -> None:
        self.path = path
        self.stages = stages
        self.tlb = tlb
        self.memory = memory
        self._known: _Known | None = None

    def forget(self) -> None:
        """Look into the TLB anew."""
        self._known = None

    def translate(
        self,
        stream_id: int,
        iovas: Addresses,
        *,
        write: bool = False,
        privileged: bool = False,
        instruction: bool = False,
        substream_id: int | None = None,
    ) -> BatchResult:
        """Translate each address of an array, in order."""
        iovas = np.ascontiguousarray(iovas, np.uint64)
        pa = np.zeros(len(iovas), np.uint64)
        faults: dict[int, Fault] = {}
        example = Transaction(stream_id, 0, write, privileged, instruction, substream_id)

        def one_by_one(rows: Numbers | range) -> None:
            for row in rows:
                answer = self.path.translate(example._replace(iova=int(iovas[row])))
                if isinstance(answer, Fault):
                    faults[int(row)] = answer
                else:
                    pa[row] = answer.pa

        first = 0
        if self.path.context_of(example) is None:
            first = min(1, len(iovas))
            one_by_one(range(first))
        context = self.path.context_of(example)
        rest = iovas[first:]
        done: Flags | None = None
        if context is not None and len(rest) >= _WORTH_IT and self._is_plain(context):
            assert context.stage1 is not None
            done = self._translate(context.stage1, context.kinds[example.kind], rest, pa[first:])
        if done is None:
            one_by_one(range(first, len(iovas)))
        elif not done.all():
            one_by_one(np.flatnonzero(~done) + first)
        return BatchResult(pa, faults)

    def translate_range(self, example: Transaction, size: int) -> Addresses | None:
        """Translate a range page by page, if its stream is plain, no page faults, and all is RAM.

        Rows of (physical address, length), as few as possible. None leaves everything as it was.
        """
        context = self.path.context_of(example)
        end = example.iova + size
        if context is None or not self._is_plain(context) or end >> 64:
            return None
        assert context.stage1 is not None
        iovas = np.arange(example.iova & -PAGE, end, PAGE, dtype=np.uint64)
        iovas[0] = example.iova
        pa = np.zeros(len(iovas), np.uint64)
        kind = context.kinds[example.kind]
        if self._translate(context.stage1, kind, iovas, pa, all_or_nothing=True) is None:
            return None
        breaks = np.flatnonzero(pa[1:] - pa[:-1] != iovas[1:] - iovas[:-1]) + 1
        starts = np.concatenate(([0], breaks))
        ends = np.append(iovas[breaks], np.uint64(end))
        return np.stack((pa[starts], ends - iovas[starts]), axis=1)

    def _is_plain(self, context: Context) -> bool:
        """Stage 1 alone, no tags, no updates, and nobody between the walker and RAM."""
        stage1 = context.stage1
        if stage1 is None or context.stage2 is not None or context.tbi or stage1.flags.access:
            return False
        if self.path.one_by_one:
            return False
        port = self.stages.port
        return len(self.memory.rams) == 1 and port.read_u64 is self.memory.read_u64

    def _translate(
        self,
        stage1: Stage1,
        kind: int,
        iovas: Addresses,
        pa: Addresses,
        *,
        all_or_nothing: bool = False,
    ) -> Flags | None:
        """Fill ``pa``; which rows are done. None if the batch must go one by one."""
        upper = bool(iovas[0] >> np.uint64(55) & np.uint64(1))
        root = stage1.halves[upper]
        if root is None:
            return None
        top = iovas >> np.uint64(root.input_bits)
        fits = top == np.uint64((1 << 64 - root.input_bits) - 1 if upper else 0)
        if not fits.all():
            return None
        slots = (iovas >> np.uint64(root.granule_lg2)).view(np.int64)
        first, last = int(slots.min()), int(slots.max())
        if last - first >= min(_MOST_SLOTS, _SLOTS_A_ROW * len(slots)):
            return None
        slots -= first
        known = self._known
        if known is None or not self._holds(known, stage1, first, last):
            known = self._look(stage1, root, first, slots)
        else:
            slots += first - known.first
        if all_or_nothing:
            here = known.allowed[slots]
            known_pages = known.page[slots][here != 0]
            if _refuses(here, kind).any() or not _in_ram(self.memory.rams[0], known_pages):
                return None
        new = self._walk_missing(stage1, root, known, kind, slots, all_or_nothing)
        if new is None:
            return None
        passes: Flags = known.allowed >> np.uint8(kind) & np.uint8(1) != 0
        done: Flags = passes.take(slots)
        inside = np.uint64((1 << root.granule_lg2) - 1)
        for start in range(0, len(slots), _CHUNK):
            part = slice(start, start + _CHUNK)
            np.bitwise_or(known.page.take(slots[part]), iovas[part] & inside, out=pa[part])
        pa[~done] = 0
        self.path.hits += int(np.count_nonzero(done)) - new
        return done

    # -- what the TLB knows

    def _holds(self, known: _Known, stage1: Stage1, first: int, last: int) -> bool:
        return (
            known.stage1 is stage1
            and known.versions == _versions(stage1)
            and known.first <= first
            and last < known.first + len(known.page)
        )

    def _look(self, stage1: Stage1, root: Root, first: int, slots: Numbers) -> _Known:
        """Ask the TLB about a range of pages, entry by entry."""
        self.tlb.settle()
        span = int(slots.max()) + 1
        page, allowed = np.zeros(span, np.uint64), np.zeros(span, np.uint8)
        known = _Known(stage1, first, page, allowed, _versions(stage1))
        # What a lookup finds first is written last.
        for space in (stage1.shared, stage1.own):
            for size_lg2, entries in reversed(space.sizes):
                for entry in entries.values():
                    _mark(entry.base, size_lg2, entry.page, entry.allowed, root.granule_lg2, known)
        self._known = known
        return known

    # -- what it does not

    def _walk_missing(
        self,
        stage1: Stage1,
        root: Root,
        known: _Known,
        kind: int,
        slots: Numbers,
        all_or_nothing: bool,
    ) -> int | None:
        """Walk for slots without entry, note what was found; how many entries that makes.

        None if an entry would refuse the batch's kind of access, or the TLB overflow: then the
        order of insertions matters.
        """
        unique = _first_of_each(known.allowed == 0, slots)
        if not len(unique):
            return 0
        granule_lg2 = root.granule_lg2
        addresses = (unique + known.first).astype(np.uint64) << np.uint64(granule_lg2)
        ram = self.memory.rams[0]
        leaves = walk_array(ram, root, addresses)
        good = leaves.size_lg2 != 0
        if all_or_nothing and not (good.all() and _in_ram(ram, leaves.page)):
            return None
        unique, addresses = unique[good], addresses[good]
        leaves = Leaves._make(row[good] for row in leaves)
        allowed = _allowed(root, leaves)
        if (allowed >> np.uint8(kind) & np.uint8(1) == 0).any():
            return None
        makers = _entry_rows(leaves, addresses, granule_lg2)
        if not self.tlb.has_room(len(makers)):
            return None
        inside = (np.uint64(1) << leaves.size_lg2.astype(np.uint64)) - np.uint64(1)
        known.page[unique] = leaves.page | addresses & inside
        known.allowed[unique] = allowed
        for row in makers[leaves.size_lg2[makers] > granule_lg2]:
            size_lg2, base = int(leaves.size_lg2[row]), int(addresses[row] & ~inside[row])
            block = (base, size_lg2, int(leaves.page[row]), int(allowed[row]))
            _mark(*block, granule_lg2, known)
        self._defer(stage1, root, leaves, addresses, allowed, makers)
        self.path.misses += len(makers)
        self.stages.walks += len(makers)
        return len(makers)

    def _defer(
        self,
        stage1: Stage1,
        root: Root,
        leaves: Leaves,
        addresses: Addresses,
        allowed: npt.NDArray[np.uint8],
        makers: Numbers,
    ) -> None:
        def make() -> None:
            versions = _versions(stage1)
            for row in makers:
                leaf = Leaf(
                    int(leaves.page[row]),
                    int(leaves.size_lg2[row]),
                    _level(root, int(leaves.size_lg2[row])),
                    int(allowed[row]),
                    int(leaves.descriptor[row]),
                    int(leaves.address[row]),
                    int(leaves.tables[row]),
                )
                own = leaf.descriptor & NOT_GLOBAL
                entry = stage1_entry(stage1, root, leaf, int(addresses[row]))
                self.tlb.insert(stage1.own if own else stage1.shared, entry)
            known = self._known
            if known is not None and known.stage1 is stage1 and known.versions == versions:
                self._known = known._replace(versions=_versions(stage1))

        if len(makers):
            self.tlb.defer(len(makers), make)


def _versions(stage1: Stage1) -> tuple[int, int]:
    return stage1.own.version, stage1.shared.version


def _in_ram(ram: Ram, pages: Addresses) -> bool:
    """Whether addresses all lie in a block of RAM."""
    return bool((pages - np.uint64(ram.base) < np.uint64(ram.size)).all())


def _refuses(allowed: npt.NDArray[np.uint8], kind: int) -> Flags:
    """Where an entry is known that does not allow the access."""
    refuses: Flags = (allowed != 0) & (allowed >> np.uint8(kind) & np.uint8(1) == 0)
    return refuses


def _mark(
    base: int, size_lg2: int, page: int, allowed: int, granule_lg2: int, known: _Known
) -> None:
    """Note a translation of ``1 << size_lg2`` bytes at ``base`` for all slots it covers."""
    start = (base >> granule_lg2) - known.first
    low, high = max(start, 0), min(start + (1 << size_lg2 - granule_lg2), len(known.page))
    if low < high:
        offsets = np.arange(low - start, high - start, dtype=np.uint64)
        known.page[low:high] = np.uint64(page) + (offsets << np.uint64(granule_lg2))
        known.allowed[low:high] = allowed


def _allowed(root: Root, leaves: Leaves) -> npt.NDArray[np.uint8]:
    """Permission bytes, as `long_descriptor.allowed_by` gives them."""
    u64 = np.uint64
    descriptor, tables = leaves.descriptor, leaves.tables
    bits = descriptor >> u64(51) & u64(0b1100) | descriptor >> u64(6) & u64(0b11)
    bits |= tables >> u64(57) & u64(0b1100) | tables >> u64(61) & u64(0b10)
    bits &= ~(tables >> u64(61) & u64(0b01))
    return np.array(root.permissions, np.uint8)[bits]


def _first_of_each(missing: Flags, slots: Numbers) -> Numbers:
    """The slots that are missing and occur, in the order in which they first do."""
    if not missing.any():
        return slots[:0]
    never = len(slots)
    first = np.full(len(missing), never, np.int64)
    first[slots[::-1]] = np.arange(never - 1, -1, -1)
    first[~missing] = never
    starts = np.zeros(never + 1, np.bool_)
    starts[first] = True
    return slots[np.flatnonzero(starts[:-1])]


def _entry_rows(leaves: Leaves, addresses: Addresses, granule_lg2: int) -> Numbers:
    """One row for each leaf, in the order in which the leaves are first needed."""
    is_page = leaves.size_lg2 == granule_lg2
    if is_page.all():
        return np.arange(len(addresses))
    blocks = np.flatnonzero(~is_page)
    sizes = leaves.size_lg2[blocks].astype(np.uint64)
    _, rows = np.unique(addresses[blocks] >> sizes << sizes, return_index=True)
    return np.sort(np.concatenate((np.flatnonzero(is_page), blocks[rows])))


def _level(root: Root, size_lg2: int) -> int:
    return 3 - (size_lg2 - root.granule_lg2) // (root.granule_lg2 - 3)
