# SPDX-License-Identifier: GPL-2.0-or-later
"""What users hold: a table with Linux's operations, and a Python idiom on top of them.

`map` and `unmap` take any range, check it first, pick page sizes and loop as the IOMMU core does,
and raise errors that carry addresses.

A table is used by one thread at a time; different tables are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from types import TracebackType
from typing import Generic, NoReturn, Self, TypeVar

from pgtable.config import EEXIST, ENOMEM, PageTableConfig, Prot, Regs, flag_names
from pgtable.contract import Run, TableOps
from pgtable.errors import (
    AlreadyMappedError,
    BadRangeError,
    MapError,
    NoAccessError,
    NotMappedError,
    OutOfTableMemoryError,
    PartialUnmapError,
    TableFreedError,
)
from pgtable.flush import IotlbGather
from pgtable.memory import TableMemory

R_co = TypeVar("R_co", bound=Regs, covariant=True)


class PageTable(TableOps, Generic[R_co]):
    """A live table of one format: its configuration `cfg`, registers `regs` and `memory`.

    Made by `pgtable.alloc`. `warnings` counts what Linux would have warned of.
    """

    regs: R_co

    def __init__(self, fmt: str, cfg: PageTableConfig, memory: TableMemory) -> None:
        super().__init__(fmt, cfg, memory)
        self.freed = False
        self.on_freed: Callable[[], None] | None = None

    # --- checked mapping ----------------------------------------------------------------

    def map(
        self, iova: int, paddr: int, size: int, prot: int, *, pgsize: int | None = None
    ) -> None:
        """Map `size` bytes at `iova` to `paddr`, with the largest pages that fit.

        `pgsize`: use pages of this many bytes only. All or nothing: a refused map leaves what
        was mapped as it was.

        Raises: BadRangeError, NoAccessError, AlreadyMappedError, OutOfTableMemoryError,
        TableDamagedError.
        """
        iova, paddr, size, prot = index(iova), index(paddr), index(size), int(index(prot))
        bitmap = self.cfg.pgsize_bitmap if pgsize is None else self._one_size(pgsize)
        smallest = bitmap & -bitmap
        if not prot & 3:
            self._no_access(iova, paddr, size, prot)
        if (
            (iova | paddr | size) & (smallest - 1)
            or size <= 0
            or not self._takes(iova, size)
            or paddr < 0
            or (paddr + size - 1) >> self.cfg.oas
        ):
            self._bad_range("map", iova, size, smallest, paddr)
        if size > smallest and bitmap != smallest:
            # A block map tears down the tables below it, mappings and all: look first.
            for run in self.runs(iova, size):
                self._already_mapped(run, iova, paddr, size)
        self._muted = True  # what goes wrong is raised, not warned of
        try:
            if size == smallest:
                ret, done = self.map_pages(iova, paddr, size, 1, prot)
                page = size
            else:
                ret, done, page = self._map_all(bitmap, iova, paddr, size, prot)
            if done != size:
                self._map_failed(ret, iova, paddr, size, done, page)
        finally:
            self._muted = False

    def _map_all(
        self, bitmap: int, iova: int, paddr: int, size: int, prot: int
    ) -> tuple[int, int, int]:
        """Map a range as far as it goes; return an errno, the bytes mapped, the last page size."""
        done = 0
        while True:
            page, count = pick_pages(bitmap, iova + done, paddr + done, size - done)
            ret, mapped = self._map_run(iova + done, paddr + done, page, count, prot)
            done += mapped
            if ret or not mapped or done == size:
                return ret, done, page

    def unmap(self, iova: int, size: int, gather: IotlbGather | None = None) -> None:
        """Unmap `size` bytes at `iova`; every page of the range must be mapped.

        `gather`: told each leaf's range; without one, leaves are not told to `tlb_add_page`.
        All or nothing: a refused unmap changes nothing.

        Raises: BadRangeError, NotMappedError, PartialUnmapError, TableDamagedError.
        """
        iova, size = index(iova), index(size)
        bitmap = self.cfg.pgsize_bitmap
        smallest = bitmap & -bitmap
        if (iova | size) & (smallest - 1) or size <= 0 or not self._takes(iova, size):
            self._bad_range("unmap", iova, size, smallest, None)
        if size == smallest and self._is_leaf(iova, size):
            unmapped = self.unmap_pages(iova, size, 1, gather)
            if unmapped:
                return
        self._check_mapped(iova, size)
        done = 0
        while done < size:
            page, count = pick_pages(bitmap, iova + done, iova + done, size - done)
            unmapped = self._unmap_run(iova + done, page, count, gather)
            if not unmapped:
                raise NotMappedError(
                    f"unmap stopped at {iova + done:#x}", iova=iova + done, size=size, done=done
                )
            done += unmapped

    def _map_run(
        self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        """`map_pages`, possibly over several tables at once; for checked arguments only."""
        return self.map_pages(iova, paddr, pgsize, pgcount, prot)

    def _unmap_run(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None) -> int:
        """`unmap_pages`, possibly over several tables at once; for checked ranges only."""
        return self.unmap_pages(iova, pgsize, pgcount, gather)

    def _is_leaf(self, iova: int, size: int) -> bool:
        """Say whether a leaf of this very size maps an aligned address."""
        leaf = self.leaf_at(iova)
        return leaf is not None and leaf[1] == size

    def _takes(self, iova: int, size: int) -> bool:
        """Say whether a whole range lies within the input size."""
        return iova >= 0 and not (iova + size - 1) >> self.cfg.ias

    def _check_inputs(self, iova: int, size: int) -> None:
        """Raise BadRangeError for a range that is empty or not within the input size."""
        if size <= 0 or not self._takes(iova, size):
            raise BadRangeError(
                f"runs of {size:#x} bytes at {iova:#x}: the table takes {self._inputs()}",
                iova=iova,
                size=size,
            )

    def _one_size(self, pgsize: int) -> int:
        if pgsize <= 0 or pgsize & (pgsize - 1) or not pgsize & self.cfg.pgsize_bitmap:
            sizes = page_sizes(self.cfg.pgsize_bitmap)
            raise BadRangeError(f"pgsize {pgsize:#x}: this table has {sizes}", iova=0, size=pgsize)
        return pgsize

    def _no_access(self, iova: int, paddr: int, size: int, prot: int) -> NoReturn:
        raise NoAccessError(
            f"map at {iova:#x}: prot {flag_names(Prot(prot & 0x3F))} has neither READ nor WRITE",
            iova=iova,
            paddr=paddr,
            size=size,
        )

    def _bad_range(
        self, what: str, iova: int, size: int, smallest: int, paddr: int | None
    ) -> NoReturn:
        to = "" if paddr is None else f" to {paddr:#x}"
        if size <= 0:
            why = "the size must be positive"
        elif (iova | size | (paddr or 0)) & (smallest - 1):
            why = f"addresses and size must be multiples of the smallest page, {smallest:#x}"
        elif not self._takes(iova, size):
            why = f"the table takes {self._inputs()}"
        else:
            why = f"the table puts out {self.cfg.oas}-bit addresses"
        raise BadRangeError(
            f"{what} of {size:#x} bytes at {iova:#x}{to}: {why}", iova=iova, paddr=paddr, size=size
        )

    def _inputs(self) -> str:
        return f"addresses 0x0 to {(1 << self.cfg.ias) - 1:#x}"

    def _already_mapped(self, run: Run, iova: int, paddr: int, size: int) -> NoReturn:
        at = max(run.iova, iova)
        phys = self.iova_to_phys(at)
        raise AlreadyMappedError(
            f"map of {size:#x} bytes at {iova:#x}: {at:#x} is mapped to {phys:#x} already",
            iova=at,
            paddr=phys,
            size=size,
        )

    def _map_failed(
        self, ret: int, iova: int, paddr: int, size: int, done: int, page: int
    ) -> NoReturn:
        """Take back the first `done` bytes of a map and say why the rest failed."""
        conflict = None
        if ret == -EEXIST:
            conflict = next(self.runs(iova + done, size - done), None)
        undone = 0
        while undone < done:
            at = iova + undone
            pages, count = pick_pages(self.cfg.pgsize_bitmap, at, at, done - undone)
            step = self.unmap_pages(at, pages, count)
            if not step:
                break
            undone += step
        if conflict is not None:
            self._already_mapped(conflict, iova, paddr, size)
        if ret == -ENOMEM:
            raise OutOfTableMemoryError(
                self.table_size,
                f"map of {size:#x} bytes at {iova:#x}: no memory for a table of "
                f"{self.table_size:#x} bytes at {iova + done:#x}",
            )
        raise MapError(
            f"map of {size:#x} bytes at {iova:#x} stopped at {iova + done:#x} "
            f"(page size {page:#x}, error {-ret})",
            iova=iova + done,
            paddr=paddr,
            size=size,
            done=done - undone,
        )

    def _check_mapped(self, iova: int, size: int) -> None:
        """Raise unless leaves cover the range exactly."""
        at, end = iova, iova + size
        for run in self.runs(iova, size):
            if run.iova > at:
                break
            if run.iova < at:
                self._partial(iova, size, run.iova, run.size)
            at = run.iova + run.size * run.leaves
            if at > end:
                self._partial(iova, size, at - run.size, run.size)
        if at < end:
            raise NotMappedError(
                f"unmap of {size:#x} bytes at {iova:#x}: nothing is mapped at {at:#x}",
                iova=at,
                size=size,
            )

    def _partial(self, iova: int, size: int, leaf: int, leaf_size: int) -> NoReturn:
        raise PartialUnmapError(
            f"unmap of {size:#x} bytes at {iova:#x} would split the leaf of {leaf_size:#x} bytes "
            f"at {leaf:#x}; unmap all of it",
            iova=iova,
            size=size,
            leaf=leaf,
            leaf_size=leaf_size,
        )

    # --- lifetime -----------------------------------------------------------------------

    def close(self) -> None:
        """Free the table: flush everything, then give back the memory. A second call is nothing.

        What damage has made unreachable is given back too.
        """
        if self.freed:
            return
        self.freed = True
        for name in USES:
            setattr(self, name, self._used_after_free)
        try:
            self._tlb_flush_all()
        finally:
            try:
                self._free_tables()
            finally:
                if self.on_freed is not None:
                    self.on_freed()

    def _used_after_free(self, *args: object, **kwargs: object) -> NoReturn:
        raise TableFreedError(f"this {self.fmt} table was freed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", freed" if self.freed else ""
        return (
            f"<{self.fmt} table, {self.cfg.ias}-bit in, {self.cfg.oas}-bit out, "
            f"pages {page_sizes(self.cfg.pgsize_bitmap)}{state}>"
        )


USES = (
    "map",
    "unmap",
    "map_pages",
    "unmap_pages",
    "iova_to_phys",
    "iovas_to_phys",
    "pgtable_walk",
    "read_and_clear_dirty",
    "leaf_at",
    "runs",
)


def pick_pages(bitmap: int, iova: int, paddr: int, size: int) -> tuple[int, int]:
    """Pick the page size, and how many pages, the IOMMU core would ask for next.

    The largest size that both addresses are aligned to and that fits, as many of it as lie
    before the first place where a still larger one would do.
    """
    merged = iova | paddr
    fitting = bitmap & ((1 << size.bit_length()) - 1)
    if merged:
        fitting &= ((merged & -merged) << 1) - 1
    page = 1 << fitting.bit_length() - 1
    larger = bitmap & ~((page << 1) - 1)
    if larger:
        larger &= -larger
        if not (iova ^ paddr) & (larger - 1):
            offset = larger - (merged & (larger - 1))
            if offset + larger <= size:
                size = offset
    return page, size // page


def page_sizes(bitmap: int) -> str:
    """Write a bitmap of page sizes the way people say it: 4K|2M|1G."""
    words = []
    while bitmap:
        low = bitmap & -bitmap
        bitmap ^= low
        unit = (low.bit_length() - 1) // 10
        words.append(f"{low >> 10 * unit}{' KMGTPE'[unit].strip()}")
    return "|".join(words)
