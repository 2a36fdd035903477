# SPDX-License-Identifier: GPL-2.0-or-later
"""ARM_V7S: the short-descriptor format of Armv7 and VMSAv8-32, as SMMUs and MediaTek's MMUs use it.

Level 1 has an entry a megabyte, level 2 tables have 256 entries of 4K and take 1K of memory.

Page sizes are not checked, as in Linux: pgsize >> 20 entries on level 1, or else pgsize >> 12 on
level 2. Where those would run over the end of a table, the kernel writes into memory that is not
the table's; where C's integers make them negative, it counts bytes that it did not map. Here such
calls are warned of and refused. More than 16 entries, for which the kernel has no room when it
unmaps, are unmapped like any others.

Spec: DDI 0487 G5.4 (VMSAv8-32 short-descriptor format).
"""

from __future__ import annotations

import numpy as np

from pgtable.config import EEXIST, EINVAL, ERANGE, PageTableConfig, Quirk
from pgtable.contract import U64
from pgtable.errors import ConfigRefusedError
from pgtable.flush import IotlbGather
from pgtable.formats.common import ZEROS, half_steps, signed_32
from pgtable.formats.lpae_config import check_limit, check_quirks
from pgtable.formats.v7s_descriptors import (
    LARGE,
    LEAF,
    PAGE_LG2,
    SECTION_LG2,
    SUPERSECTION,
    TABLE,
    TYPE,
    Attributes,
    attributes,
    scatter,
)
from pgtable.formats.v7s_tables import V7sTables
from pgtable.memory import TableMemory
from pgtable.registry import Format

SIZES = 0x1000 | 0x10000 | 1 << 20 | 1 << 24
QUIRKS = Quirk.ARM_NS | Quirk.NO_PERMS | Quirk.ARM_MTK_EXT | Quirk.ARM_MTK_TTBR_EXT


class V7sTable(V7sTables):
    """An address space in short descriptors."""

    # --- map ------------------------------------------------------------------------------

    def map_pages(
        self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        if (iova | paddr | pgsize | pgcount) >> 64:
            iova, paddr, pgsize, pgcount = iova & U64, paddr & U64, pgsize & U64, pgcount & U64
        if iova >> self._ias or paddr >> self._oas:
            self.warn(f"map of {iova:#x} to {paddr:#x}: out of range")
            return -ERANGE, 0
        attrs = self._attrs.get(prot) or self._attr(prot)
        if attrs is None or not pgcount:
            return -EINVAL, 0
        mapped = 0
        while pgcount:
            pages = self._map_some(iova, paddr, pgsize, pgcount, attrs)
            if pages < 0:
                return pages, mapped & U64
            step = pages * pgsize
            iova, paddr = iova + step & U64, paddr + step & U64
            mapped += step
            pgcount -= pages
        return 0, mapped & U64

    def _attr(self, prot: int) -> Attributes | None:
        if not prot & 3:
            return None
        quirks = self.cfg.quirks
        found = attributes(prot, not quirks & Quirk.NO_PERMS, bool(quirks & Quirk.ARM_NS))
        if 0 < prot < 64:
            self._attrs[prot] = found
        return found

    def _map_some(self, iova: int, paddr: int, pgsize: int, pgcount: int, attrs: Attributes) -> int:
        """Map one page, or as many as fit the table at once; return how many, or an errno."""
        each = signed_32(pgsize >> SECTION_LG2)
        if each > 0:
            table, shift, mask = self._root, SECTION_LG2, self._mask
            attr = attrs.section if each == 1 else attrs.supersection
        else:
            table, shift, mask = self._descend(iova), PAGE_LG2, 0xFF
            if table < 0:
                return table
            each = signed_32(pgsize >> PAGE_LG2)
            attr = attrs.small if each == 1 else attrs.large
        if each <= 0:
            self.warn(f"map at {iova:#x}: no level maps {pgsize:#x} bytes")
            return -EINVAL
        first = iova >> shift & mask
        if first + each > mask + 1:
            self.warn(f"map at {iova:#x}: {pgsize:#x} bytes run over the end of a table")
            return -EINVAL
        entry = table + first
        pages = 1
        if pgcount > 1 and self._coherent and pgsize == each << shift:
            most = min(pgcount, (mask + 1 - first) // each)
            same_4g = (paddr + most * pgsize - 1) >> 32 == paddr >> 32
            if same_4g and self._is_zero(entry, most * each):
                pages = most
        if pages == 1 and not self._make_room(iova, shift, entry, each):
            return -EEXIST
        attr |= paddr & 0xFFFF_FFFF & -1 << shift
        if self._mtk:
            attr |= scatter(paddr)
        self._write(entry, attr, each, pages, pgsize)
        return pages

    def _write(self, entry: int, pte: int, each: int, pages: int, pgsize: int) -> None:
        """Write the entries of adjacent pages, `each` equal ones a page."""
        if pages == 1 == each:
            self._halves[entry] = pte
        elif pages == 1:
            self._half_array[entry : entry + each] = pte
        else:
            ramp = half_steps(pages, pgsize.bit_length() - 1, each)
            out = self._half_array[entry : entry + pages * each]
            np.add(ramp, np.uint32(pte), out=out)
        if not self._coherent:
            self.memory.sync(self._at(entry), each << 2)

    def _is_zero(self, entry: int, count: int) -> bool:
        start, size = entry << 2, count << 2
        return self._bytes[start : start + size].tobytes() == ZEROS[:size]

    def _make_room(self, iova: int, shift: int, entry: int, each: int) -> bool:
        """Tear down the tables under a new leaf; False, and a warning, if a leaf is there."""
        for i in range(each):
            pte = self._halves[entry + i]
            if not pte:
                continue
            if shift == SECTION_LG2 and pte & TYPE == TABLE:
                at = iova + (i << shift) & U64
                child = self._follow_own(pte, entry + i)
                self._halves[entry + i] = 0
                if not self._coherent:
                    self.memory.sync(self._at(entry + i), 4)
                self._tlb_flush_walk(at, 1 << SECTION_LG2, 1 << PAGE_LG2)
                self._free_table(child)
            else:
                self.warn(f"map at {iova + (i << shift) & U64:#x}: mapped already")
                return False
        return True

    def _descend(self, iova: int) -> int:
        """Return the level 2 table of an address, adding it if missing, or a negative errno."""
        entry = self._root + (iova >> SECTION_LG2 & self._mask)
        pte = self._halves[entry]
        if not pte:
            return self._install(entry)
        if not self._coherent:
            self.memory.sync(self._at(entry), 4)
        if pte & TYPE != TABLE:
            self.warn(f"map at {iova:#x}: mapped already")
            return -EEXIST
        return self._follow_own(pte, entry)

    # --- unmap ----------------------------------------------------------------------------

    def unmap_pages(
        self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None = None
    ) -> int:
        if (iova | pgsize | pgcount) >> 64:
            iova, pgsize, pgcount = iova & U64, pgsize & U64, pgcount & U64
        if iova >> self._ias:
            self.warn(f"unmap at {iova:#x}: out of range")
            return 0
        unmapped = 0
        while pgcount:
            pages = self._unmap_some(iova, pgsize, pgcount, gather)
            if not pages:
                break
            step = pages * pgsize
            unmapped += step
            iova = iova + step & U64
            pgcount -= pages
        return unmapped & U64

    def _unmap_some(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None) -> int:
        """Unmap one page, or as many as the table allows at once; return how many."""
        entry = self._root + (iova >> SECTION_LG2 & self._mask)
        pte = self._halves[entry]
        each = signed_32(pgsize >> SECTION_LG2)
        if each > 0:
            return self._clear(iova, entry, each, self._mask + 1, 1, gather)
        if pte & TYPE != TABLE:
            what = f"part of {self._leaf_name(pte, 1)}" if pte & TYPE else "nothing mapped"
            self.warn(f"unmap at {iova:#x}: {what}")
            return 0
        table = self._follow_own(pte, entry)
        first = iova >> PAGE_LG2 & 0xFF
        each = signed_32(pgsize >> PAGE_LG2)
        if each <= 0:
            self.warn(f"unmap at {iova:#x}: no level maps {pgsize:#x} bytes")
            return 0
        if pgcount > 1 and self._coherent and pgsize == each << PAGE_LG2:
            pages = min(pgcount, (0x100 - first) // each)
            if pages > 1 and self._clear_run(iova, table + first, pages * each, each, gather):
                return pages
        return self._clear(iova, table + first, each, 0x100, 2, gather)

    def _clear_run(
        self, iova: int, entry: int, count: int, each: int, gather: IotlbGather | None
    ) -> bool:
        """Clear entries of level 2 if all are leaves that may go; change nothing if not."""
        start, size = entry << 2, count << 2
        low = self._bytes[start : start + size].tobytes()[::4]
        if not low[0] & (LEAF if each == 1 else TYPE) or low.count(low[0]) != count:
            return False
        self._bytes[start : start + size] = ZEROS[:size]
        if gather is None or not gather.queued:
            self._tlb_add_pages(gather, iova, 1 << PAGE_LG2, count)
        return True

    def _clear(
        self,
        iova: int,
        entry: int,
        each: int,
        entries: int,
        level: int,
        gather: IotlbGather | None,
    ) -> int:
        """Clear the `each` entries of one page, all of them valid; return 1, or 0 if refused."""
        first = (entry - self._root if level == 1 else entry) % entries
        if first + each > entries:
            self.warn(f"unmap at {iova:#x}: runs over the end of a table")
            return 0
        ptes = [self._halves[entry + i] for i in range(each)]
        if not all(pte & TYPE for pte in ptes):
            self.warn(f"unmap at {iova:#x}: nothing mapped")
            return 0
        if each == 1 and self._repeated(ptes[0], level):
            self.warn(f"unmap at {iova:#x}: part of {self._leaf_name(ptes[0], level)}")
            return 0
        tables = self._tables_among(ptes, entry) if level == 1 else {}
        for i in range(each):
            self._halves[entry + i] = 0
        if not self._coherent:
            self.memory.sync(self._at(entry), each << 2)
        shift = SECTION_LG2 if level == 1 else PAGE_LG2
        for i in range(each):
            at = iova + (i << shift) & U64
            if i in tables:
                self._tlb_flush_walk(at, 1 << SECTION_LG2, 1 << PAGE_LG2)
                self._free_table(tables[i])
            elif gather is None or not gather.queued:
                self._tlb_add_page(gather, at, 1 << shift)
        return 1

    def _tables_among(self, ptes: list[int], entry: int) -> dict[int, int]:
        """Return position and index of the tables that entries of level 1 point to."""
        found: dict[int, int] = {}
        seen: set[int] = set()
        for i, pte in enumerate(ptes):
            if pte & TYPE == TABLE:
                found[i] = self._follow_own(pte, entry + i)
                self._note(found[i], pte, entry + i, 1, seen)
        return found

    @staticmethod
    def _repeated(pte: int, level: int) -> bool:
        """Say whether an entry is one of a supersection's or a large page's."""
        if level == 1:
            return pte & TYPE != TABLE and bool(pte & SUPERSECTION)
        return pte & TYPE == LARGE

    @staticmethod
    def _leaf_name(pte: int, level: int) -> str:
        if level == 1:
            return "a supersection" if pte & SUPERSECTION else "a section"
        return "a large page"


def create(fmt: str, asked: PageTableConfig, memory: TableMemory) -> V7sTable:
    """Make a table; with ARM_MTK_EXT up to 34 bits in and 35 out, else 32 and 32.

    Raises: ConfigRefusedError, OutOfTableMemoryError, TableMemoryError.
    """
    mtk = bool(asked.quirks & Quirk.ARM_MTK_EXT)
    check_limit(asked, "ias", 34 if mtk else 32)
    check_limit(asked, "oas", 35 if mtk else 32)
    check_quirks(asked, QUIRKS)
    if mtk and not asked.quirks & Quirk.NO_PERMS:
        _refuse_quirks(asked, "ARM_MTK_EXT takes the bits of permissions: it needs NO_PERMS")
    if asked.quirks & Quirk.ARM_MTK_TTBR_EXT and not mtk:
        _refuse_quirks(asked, "ARM_MTK_TTBR_EXT needs ARM_MTK_EXT")
    if asked.ias < SECTION_LG2:
        raise ConfigRefusedError("ias", asked.ias, f"at least {SECTION_LG2} bits, one section")
    return V7sTable(fmt, asked, SIZES, memory)


def _refuse_quirks(cfg: PageTableConfig, why: str) -> None:
    raise ConfigRefusedError("quirks", Quirk(cfg.quirks), why)


V7S = Format("ARM_V7S", create)
