# SPDX-License-Identifier: GPL-2.0-or-later
"""APPLE_DART and APPLE_DART2: the tables of Apple's DARTs, as Linux writes them.

Up to four top tables, each under a TTBR of its own, and one or two levels below; one page size, 4K
or 16K, which is a table's size too. DART keeps a physical address in bits 35:12 of a descriptor,
DART2 keeps address bits 41:14 in bits 37:10.

There is no public specification. Left out: protection of parts of a page (every leaf covers its
whole page), and walks that do not see the CPU's caches, which the format refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pgtable.config import EEXIST, EINVAL, ENOMEM, ERANGE, AppleDartRegs, PageTableConfig, Prot
from pgtable.errors import ConfigRefusedError, OutOfTableMemoryError
from pgtable.flush import IotlbGather
from pgtable.formats.common import CHUNK, ZEROS, TreeTable, signed_32, steps, stretches
from pgtable.memory import TableMemory
from pgtable.registry import Format
from pgtable.table import U64, Run

if TYPE_CHECKING:
    from pgtable.formats.common import Index
    from pgtable.table import Addresses

READ, WRITE, CACHE = int(Prot.READ), int(Prot.WRITE), int(Prot.CACHE)
SZ_4K, SZ_16K = 0x1000, 0x4000
MAX_LEVELS = 4
MAX_TOP_LG2 = {SZ_4K: 2, SZ_16K: 0}

VALID = 1
WHOLE_PAGE = 0xFFF << 40

DART1_ADDRESS = 0xF_FFFF_F000
DART1_NO_READ = 1 << 8
DART1_NO_WRITE = 1 << 7
DART1_NO_SUBPAGES = 1 << 1

DART2_ADDRESS = 0x3F_FFFF_FC00
DART2_SHIFT = 4
DART2_NO_READ = 1 << 3
DART2_NO_WRITE = 1 << 2
DART2_NO_CACHE = 1 << 1


class DartTable(TreeTable[AppleDartRegs]):
    """An address space behind a DART; `n_levels` counts the TTBRs as a level."""

    address_mask = DART1_ADDRESS
    address_shift = 0

    def __init__(
        self, fmt: str, cfg: PageTableConfig, memory: TableMemory, n_levels: int, tops: int
    ) -> None:
        super().__init__(fmt, cfg, memory)
        self.page = self.table_size = cfg.pgsize_bitmap
        self._page_shift = self.page.bit_length() - 1
        self._bits = self._page_shift - 3
        self._mask = (1 << self._bits) - 1
        self._words = memory.words
        self._array = memory.array
        self._attrs: dict[int, int] = {}
        shifts = [level * self._bits + 3 for level in range(n_levels, 1, -1)]
        self._top_shift = shifts[0]
        self._path = tuple(shifts[1:])
        self._reserved = max(self.page, cfg.cpu_page_size)
        self._tops: list[int] = []
        for _ in range(tops):
            address = memory.alloc(self._reserved)
            if address is None:
                for top in reversed(self._tops):
                    memory.free(self._at(top), self._reserved)
                raise OutOfTableMemoryError(self._reserved)
            self._tops.append(self._index(address))
        self._owned = dict.fromkeys(self._tops, 0)
        self.regs = AppleDartRegs(
            ttbr=tuple(self._at(top) for top in self._tops), n_ttbrs=tops, n_levels=n_levels
        )

    # --- descriptors ----------------------------------------------------------------------

    def attributes(self, prot: int) -> int:
        """Return a leaf's bits for a protection, without its address."""
        raise NotImplementedError

    def encode(self, paddr: int) -> int:
        """Return the address field for a physical address; bits it has no room for are lost."""
        return paddr >> self.address_shift & self.address_mask

    def decode(self, pte: int) -> int:
        """Return the physical address in a descriptor."""
        return (pte & self.address_mask) << self.address_shift

    def _attr(self, prot: int) -> int | None:
        if not prot & 3:
            return None
        attr = self._attrs.get(prot)
        if attr is None:
            attr = self.attributes(prot) | WHOLE_PAGE | VALID
            if 0 < prot < 64:
                self._attrs[prot] = attr
        return attr

    def _follow(self, pte: int, word: int, level: int) -> int:
        """Return the index of the table a descriptor points to, for reading."""
        known = self._tables.get(pte)
        if known is not None:
            return known
        return self._inside(self.decode(pte), self.page, pte, word, level)

    def _follow_own(self, pte: int, word: int, level: int) -> int:
        """Return the index of the table a descriptor points to, for writing."""
        target = self._follow(pte, word, level)
        if target not in self._owned or target in self._tops:
            what = "it points to something that is not a table of this address space"
            self._damaged(what, pte, word, level)
        return target

    def _top(self, iova: int) -> int | None:
        """Return the index of the top table of an address; None when no TTBR is for it."""
        top = iova >> self._top_shift & self._mask
        return self._tops[top] if top < len(self._tops) else None

    # --- map ------------------------------------------------------------------------------

    def map_pages(
        self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        if (iova | paddr | pgsize | pgcount) >> 64:
            iova, paddr, pgsize, pgcount = iova & U64, paddr & U64, pgsize & U64, pgcount & U64
        if pgsize != self.page:
            self.warn(f"map at {iova:#x}: page size {pgsize:#x} is not this table's")
            return -EINVAL, 0
        if paddr >> self.cfg.oas:
            self.warn(f"map of {iova:#x} to {paddr:#x}: out of range")
            return -ERANGE, 0
        attr = self._attrs.get(prot) or self._attr(prot)
        if attr is None:
            return -EINVAL, 0
        table = self._descend(iova)
        if table < 0:
            return table, 0
        first = iova >> self._page_shift & self._mask
        count = min(signed_32(pgcount), self._mask + 1 - first)
        return self._write(iova, paddr, table + first, count, attr)

    def _descend(self, iova: int) -> int:
        """Walk down to a leaf table, adding what is missing; return its index or an errno."""
        top = self._top(iova)
        if top is None:
            return -ENOMEM
        table = top
        for level, shift in enumerate(self._path, 1):
            word = table + (iova >> shift & self._mask)
            pte = self._words[word]
            known = self._tables.get(pte)
            if known is not None:
                table = known
            elif not pte:
                table = self._install(word)
                if table < 0:
                    return table
            else:
                table = self._follow_own(pte, word, level)
        return table

    def _install(self, word: int) -> int:
        """Put a new table into an empty entry; return its index or -ENOMEM."""
        address = self.memory.alloc(self._reserved)
        if address is None:
            return -ENOMEM
        pte = self.encode(address) | VALID
        if self.decode(pte) != address:
            # The kernel would walk somewhere else from here on; better to have no table.
            self.warn(f"a descriptor cannot hold the table address {address:#x}")
            self.memory.free(address, self._reserved)
            return -ENOMEM
        self._words[word] = pte
        table = self._tables[pte] = self._index(address)
        self._owned[table] = pte
        return table

    def _write(self, iova: int, paddr: int, word: int, count: int, attr: int) -> tuple[int, int]:
        """Write leaves, unless one of the entries is taken."""
        words = self._words
        shift = self._page_shift
        if count == 1:
            if words[word] & VALID:
                return self._overlap(iova)
            words[word] = attr | paddr >> self.address_shift & self.address_mask
        elif count > 1:
            entries = self._array[word : word + count]
            size = count << 3
            if self._bytes[word << 3 : (word << 3) + size].tobytes() != ZEROS[:size]:
                taken = np.flatnonzero(entries & VALID)
                if taken.size:
                    return self._overlap(iova + (int(taken[0]) << shift))
            paddrs = steps(self._mask + 1, shift)[:count] + np.uint64(paddr)
            paddrs >>= np.uint64(self.address_shift)
            paddrs &= np.uint64(self.address_mask)
            np.bitwise_or(paddrs, np.uint64(attr), out=entries)
        return 0, (count << shift) & U64

    def _overlap(self, iova: int) -> tuple[int, int]:
        self.warn(f"map at {iova & U64:#x}: mapped already")
        return -EEXIST, 0

    # --- unmap ----------------------------------------------------------------------------

    def unmap_pages(
        self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None = None
    ) -> int:
        if (iova | pgsize | pgcount) >> 64:
            iova, pgsize, pgcount = iova & U64, pgsize & U64, pgcount & U64
        if pgsize != self.page or not pgcount:
            self.warn(f"unmap at {iova:#x}: {pgcount:#x} pages of {pgsize:#x} bytes")
            return 0
        table = self._leaf_table(iova, own=True)
        if table is None:
            self.warn(f"unmap at {iova:#x}: nothing mapped")
            return 0
        word = table + (iova >> self._page_shift & self._mask)
        count = min(signed_32(pgcount), table + self._mask + 1 - word)
        done = count
        if count == 1:
            done = 1 if self._words[word] else 0
        elif count > 1:
            empty = np.flatnonzero(self._array[word : word + count] == 0)
            if empty.size:
                done = int(empty[0])
        if done <= 0:
            if count > 0:
                self.warn(f"unmap at {iova:#x}: nothing mapped")
            return 0
        self._bytes[word << 3 : (word + done) << 3] = ZEROS[: done << 3]
        if gather is None or not gather.queued:
            if done == 1:
                self._tlb_add_page(gather, iova, pgsize)
            else:
                self._tlb_add_pages(gather, iova, pgsize, done)
        if done < count:
            self.warn(f"unmap at {iova + (done << self._page_shift) & U64:#x}: nothing mapped")
        return done << self._page_shift

    # --- look-ups -------------------------------------------------------------------------

    def _leaf_table(self, iova: int, own: bool = False) -> int | None:
        """Return the index of the last table on the way to an address."""
        table = self._top(iova)
        if table is None:
            return None
        for level, shift in enumerate(self._path, 1):
            word = table + (iova >> shift & self._mask)
            pte = self._words[word]
            if not pte:
                return None
            known = self._tables.get(pte)
            if known is not None:
                table = known
            else:
                table = (self._follow_own if own else self._follow)(pte, word, level)
        return table

    def iova_to_phys(self, iova: int) -> int:
        table = self._leaf_table(iova)
        if table is None:
            return 0
        pte = self._words[table + (iova >> self._page_shift & self._mask)]
        if not pte:
            return 0
        return (pte & self.address_mask) << self.address_shift | iova & self.page - 1

    def leaf_at(self, iova: int) -> tuple[int, int] | None:
        table = self._leaf_table(iova)
        if table is None or not self._words[table + (iova >> self._page_shift & self._mask)]:
            return None
        return iova & -self.page, self.page

    def iovas_to_phys(self, iovas: Addresses) -> Addresses:
        flat = np.ascontiguousarray(iovas, dtype=np.uint64).reshape(-1)
        out = np.zeros(flat.shape, dtype=np.uint64)
        tops = np.array(self._tops, dtype=np.int64)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK].view(np.int64)
            top = part >> self._top_shift & self._mask
            good = top < len(tops)
            if good.all():
                self._phys_chunk(part, tops[top], out[start : start + CHUNK], None)
            elif good.any():
                where = np.flatnonzero(good)
                self._phys_chunk(part[where], tops[top[where]], out[start : start + CHUNK], where)
        return out.reshape(np.shape(iovas))

    def _phys_chunk(self, iovas: Index, table: Index, out: Addresses, where: Index | None) -> None:
        """Walk all addresses level by level; those that meet an empty entry drop out."""
        for level, shift in enumerate((*self._path, self._page_shift), 1):
            words = iovas >> shift
            words &= self._mask
            words += table
            ptes = self._array[words]
            if not ptes.all():
                keep = np.flatnonzero(ptes)
                where = keep if where is None else where[keep]
                if not keep.size:
                    return
                iovas, words, ptes = iovas[keep], words[keep], ptes[keep]
            paddrs = (ptes & np.uint64(self.address_mask)) << np.uint64(self.address_shift)
            if shift == self._page_shift:
                paddrs |= (iovas & (self.page - 1)).view(np.uint64)
                out[slice(None) if where is None else where] = paddrs
                return
            paddrs -= np.uint64(self.memory.base)
            if int(paddrs.max()) + self.page > self.memory.size:
                bad = int(paddrs.argmax())
                pte = int(ptes[bad])
                self._inside(self.decode(pte), self.page, pte, int(words[bad]), level)
            paddrs >>= np.uint64(3)
            table = paddrs.view(np.int64)

    def runs(self, iova: int, size: int) -> Iterator[Run]:
        self._check_inputs(iova, size)
        return self._runs_from_top(iova, iova + size)

    def _runs_from_top(self, low: int, high: int) -> Iterator[Run]:
        seen = set(self._tops)
        shift = self._top_shift
        for top in range(low >> shift, min((high - 1 >> shift) + 1, len(self._tops))):
            start, end = top << shift, top + 1 << shift
            yield from self._runs(self._tops[top], 0, max(low, start), min(high, end), seen)

    def _runs(self, table: int, depth: int, low: int, high: int, seen: set[int]) -> Iterator[Run]:
        """Yield the runs of one table between two addresses that it covers."""
        last = depth == len(self._path)
        shift = self._page_shift if last else self._path[depth]
        first = low >> shift
        at = table + (first & self._mask)
        entries = self._array[at : at + (high - 1 >> shift) - first + 1]
        if last:
            for start, count in stretches(entries != 0):
                yield Run(first + start << shift, self.page, count)
            return
        for i in np.flatnonzero(entries).tolist():
            pte = int(entries[i])
            child = self._follow(pte, at + i, depth + 1)
            self._note(child, pte, at + i, depth + 1, seen)
            start = first + i << shift
            end = start + (1 << shift)
            yield from self._runs(child, depth + 1, max(low, start), min(high, end), seen)

    # --- freeing --------------------------------------------------------------------------

    def _free_tables(self) -> None:
        seen: set[int] = set()
        order: list[int] = []

        def visit(table: int, depth: int) -> None:
            seen.add(table)
            if depth < len(self._path):
                for pte in self._array[table : table + self._mask + 1].tolist():
                    child = self._tables.get(pte, self._index(self.decode(pte))) if pte else -1
                    if child in self._owned and child not in seen:
                        visit(child, depth + 1)
            order.append(table)

        for top in self._tops:
            visit(top, 0)
        order += [table for table in self._owned if table not in seen]
        self._owned.clear()
        self._tables.clear()
        for table in order:
            self.memory.free(self._at(table), self._reserved)


class Dart1Table(DartTable):
    """The first DART's descriptors."""

    def attributes(self, prot: int) -> int:
        bits = DART1_NO_SUBPAGES
        if not prot & WRITE:
            bits |= DART1_NO_WRITE
        if not prot & READ:
            bits |= DART1_NO_READ
        return bits


class Dart2Table(DartTable):
    """The descriptors of DARTs with 42-bit addresses."""

    address_mask = DART2_ADDRESS
    address_shift = DART2_SHIFT

    def attributes(self, prot: int) -> int:
        bits = 0
        if not prot & WRITE:
            bits |= DART2_NO_WRITE
        if not prot & READ:
            bits |= DART2_NO_READ
        if not prot & CACHE:
            bits |= DART2_NO_CACHE
        return bits


def create(fmt: str, cfg: PageTableConfig, memory: TableMemory) -> DartTable:
    """Make a table of either kind; quirks are not looked at.

    Raises: ConfigRefusedError, OutOfTableMemoryError.
    """
    if not cfg.coherent_walk:
        raise ConfigRefusedError("coherent_walk", False, "a DART's walks see the CPU's caches")
    if cfg.oas not in (36, 42):
        raise ConfigRefusedError("oas", cfg.oas, "must be 36 or 42 bits")
    if cfg.ias > cfg.oas:
        raise ConfigRefusedError("ias", cfg.ias, f"at most oas, {cfg.oas} bits")
    page = cfg.pgsize_bitmap
    if page not in MAX_TOP_LG2:
        raise ConfigRefusedError("pgsize_bitmap", page, "exactly 4K (0x1000) or 16K (0x4000)")
    page_lg2 = page.bit_length() - 1
    bits = page_lg2 - 3
    va_bits = cfg.ias - page_lg2
    most = MAX_TOP_LG2[page]
    levels = max(2, -(-(va_bits - most) // bits))
    top_lg2 = max(0, va_bits - bits * levels)
    if levels > MAX_LEVELS - 1 or top_lg2 > most:
        limit = page_lg2 + bits * (MAX_LEVELS - 1) + most
        raise ConfigRefusedError("ias", cfg.ias, f"at most {limit} bits with pages of {page:#x}")
    table = Dart1Table if fmt == "APPLE_DART" else Dart2Table
    return table(fmt, cfg, memory, levels + 1, 1 << top_lg2)


DART = Format("APPLE_DART", create)
DART2 = Format("APPLE_DART2", create)
