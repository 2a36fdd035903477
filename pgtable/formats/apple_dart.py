# SPDX-License-Identifier: GPL-2.0-or-later
"""APPLE_DART and APPLE_DART2: the tables of Apple's DARTs, as Linux writes them.

Up to four top tables, each under a TTBR of its own, and one or two levels below; one page size, 4K
or 16K, which is a table's size too. DART keeps a physical address in bits 35:12 of a descriptor,
DART2 keeps address bits 41:14 in bits 37:10.

There is no public specification. Left out: protection of parts of a page (every leaf covers its
whole page), and walks that do not see the CPU's caches, which the format refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pgtable.config import EEXIST, EINVAL, ENOMEM, ERANGE, PageTableConfig, Prot
from pgtable.contract import U64
from pgtable.errors import ConfigRefusedError
from pgtable.flush import IotlbGather
from pgtable.formats.common import ZEROS, signed_32, steps
from pgtable.formats.dart_tables import VALID, DartTables
from pgtable.memory import TableMemory
from pgtable.registry import Format

if TYPE_CHECKING:
    pass

READ, WRITE, CACHE = int(Prot.READ), int(Prot.WRITE), int(Prot.CACHE)
SZ_4K, SZ_16K = 0x1000, 0x4000
MAX_LEVELS = 4
MAX_TOP_LG2 = {SZ_4K: 2, SZ_16K: 0}

DART1_ADDRESS = 0xF_FFFF_F000
DART1_NO_READ = 1 << 8
DART1_NO_WRITE = 1 << 7
DART1_NO_SUBPAGES = 1 << 1

DART2_ADDRESS = 0x3F_FFFF_FC00
DART2_SHIFT = 4
DART2_NO_READ = 1 << 3
DART2_NO_WRITE = 1 << 2
DART2_NO_CACHE = 1 << 1


class DartTable(DartTables):
    """`map_pages` and `unmap_pages` of an address space behind a DART."""

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


class Dart1Table(DartTable):
    """The first DART's descriptors."""

    address_mask = DART1_ADDRESS
    address_shift = 0

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
