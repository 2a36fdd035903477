# SPDX-License-Identifier: GPL-2.0-or-later
"""What a format provides: the operations of Linux's `struct io_pgtable_ops`, and what they yield.

They behave as the kernel's io-pgtable code does, unchecked arguments included, and answer with
byte counts and negative error numbers. What users get besides is in `pgtable.table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pgtable.config import PageTableConfig
from pgtable.errors import NotOfferedError
from pgtable.flush import NOBODY, IotlbGather
from pgtable.memory import TableMemory

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Addresses = npt.NDArray[np.uint64]

U64 = (1 << 64) - 1


class Run(NamedTuple):
    """Adjacent leaves of one size: `leaves` leaves of `size` bytes from `iova`."""

    iova: int
    size: int
    leaves: int


class DirtyBitmap:
    """What dirty tracking found: `records` of (iova, length) in order, and their range."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int]] = []
        self.gather = IotlbGather()

    def record(self, iova: int, length: int) -> None:
        """Note that `length` bytes at `iova` were written."""
        self.records.append((iova, length))
        self.gather.add_range(iova, length)

    def __repr__(self) -> str:
        return f"DirtyBitmap({len(self.records)} records, {self.gather!r})"


DIRTY_NO_CLEAR = 1


class TableOps:
    """The operations of a table, as a format implements them."""

    fmt: str
    cfg: PageTableConfig
    memory: TableMemory
    table_size: int

    def __init__(self, fmt: str, cfg: PageTableConfig, memory: TableMemory) -> None:
        self.fmt = fmt
        self.cfg = cfg
        self.memory = memory
        self.warnings = 0
        self._muted = False
        tlb = cfg.tlb if cfg.tlb is not None else NOBODY
        self._tlb_add_page = tlb.tlb_add_page
        self._tlb_add_pages = tlb.tlb_add_pages
        self._tlb_flush_walk = tlb.tlb_flush_walk
        self._tlb_flush_all = tlb.tlb_flush_all

    def map_pages(
        self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        """Map `pgcount` pages of `pgsize` bytes as Linux does.

        Returns (0 or a negative errno, bytes mapped). Fewer bytes than asked with 0 means that a
        table ended: call again for the rest.
        """
        raise NotImplementedError

    def unmap_pages(
        self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather | None = None
    ) -> int:
        """Unmap `pgcount` pages of `pgsize` bytes as Linux does; return the bytes unmapped."""
        raise NotImplementedError

    def iova_to_phys(self, iova: int) -> int:
        """Return the physical address `iova` maps to, or 0, as Linux does.

        Raises: TableDamagedError when a descriptor points outside the table memory.
        """
        raise NotImplementedError

    def iovas_to_phys(self, iovas: Addresses) -> Addresses:
        """`iova_to_phys` of each address in a numpy array, as an array."""
        raise NotImplementedError

    def pgtable_walk(self, iova: int, ptes: list[int]) -> int:
        """Store the descriptor met at each level in `ptes[level]`; return 0 or -EINVAL."""
        raise NotOfferedError(f"{self.fmt} offers no pgtable_walk")

    def read_and_clear_dirty(self, iova: int, size: int, flags: int, dirty: DirtyBitmap) -> int:
        """Record written leaves of a range and mark them clean; return 0 or a negative errno."""
        raise NotOfferedError(f"{self.fmt} offers no dirty tracking")

    def leaf_at(self, iova: int) -> tuple[int, int] | None:
        """Return (start, size in bytes) of the leaf that maps `iova`, or None.

        Raises: TableDamagedError when a descriptor points outside the table memory.
        """
        raise NotImplementedError

    def runs(self, iova: int, size: int) -> Iterator[Run]:
        """Yield what is mapped in a range, in ascending order, as runs of leaves of one size.

        The first and the last run may reach out of the range, by part of a leaf.
        """
        raise NotImplementedError

    def _free_tables(self) -> None:
        """Give all table memory back, children before their parents."""
        raise NotImplementedError

    def warn(self, what: str) -> None:
        """Count what Linux prints a warning for, and tell whoever asked to be told."""
        if self._muted:
            return
        self.warnings += 1
        if self.cfg.warn is not None:
            self.cfg.warn(what)
