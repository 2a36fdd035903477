# SPDX-License-Identifier: GPL-2.0-or-later
"""What address spaces under an SMMU have in common: a page table, and its invalidations.

Linux's arm-smmu-v3 does the same: a removed table is flushed at once (Leaf 0), unmapped leaves
are gathered and flushed by one range or page by page (Leaf 1), then CMD_SYNC; devices with caches
of their own are told after that. Spec: IHI 0070 3.21, 3.9.1.4, 4.4.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pgtable import FlushOps, IotlbGather, PageTable, PageTableConfig, Prot, TableMemory, alloc
from smmu_emu.driver.queues import DriverError
from smmu_emu.smmuv3.spec.command import TlbInvalidate
from smmu_emu.smmuv3.spec.ste import STE

if TYPE_CHECKING:
    from smmu_emu.driver.smmuv3 import Smmuv3Driver

_PAGE_SIZES = {12: 1 << 12 | 1 << 21 | 1 << 30, 14: 1 << 14 | 1 << 25, 16: 1 << 16 | 1 << 29}
_TG_OF_GRANULE = {12: 1, 14: 2, 16: 3}
_MAX_NUM, _MAX_SCALE = 32, 31
_MAX_COMMANDS = 512
"""Past so many single addresses, dropping the whole space is cheaper."""


class AddressSpace(FlushOps):
    """Something that streams attach to, mapped through ``table``; `close` gives it back.

    ``invalidate`` False makes a driver that forgets its TLB maintenance, which is what this package
    exists to expose.
    """

    def __init__(
        self,
        driver: Smmuv3Driver,
        fmt: str,
        *,
        granule_lg2: int,
        ias: int,
        memory: TableMemory | None = None,
        oas: int = 0,
        quirks: int = 0,
    ) -> None:
        granules = driver.features.granules
        if granule_lg2 not in granules:
            sizes = ", ".join(f"{size}" for size in granules)
            raise DriverError(f"granule_lg2 {granule_lg2}: the device has {sizes or 'none'}")
        self.driver = driver
        self.granule_lg2 = granule_lg2
        self.invalidate = True
        config = PageTableConfig(
            pgsize_bitmap=_PAGE_SIZES[granule_lg2],
            ias=ias,
            oas=oas or driver.features.output_bits,
            quirks=quirks,
            tlb=self,
        )
        self.table: PageTable[Any] = alloc(fmt, config, memory=memory or driver.memory)

    # -- what kinds of address spaces differ in

    @abstractmethod
    def ste(self) -> STE:
        """The STE of a stream that uses this address space."""

    @abstractmethod
    def everything(self) -> list[TlbInvalidate]:
        """The commands that drop all its translations."""

    @abstractmethod
    def one_address(self) -> TlbInvalidate:
        """The command by address; the caller adds which."""

    def afterwards(self) -> list[TlbInvalidate]:
        """Commands that have to follow those by address."""
        return []

    def release(self) -> None:
        """Give back what the table does not know of: tags, descriptors."""

    # -- for users

    def map(
        self, iova: int, paddr: int, size: int, prot: int = Prot.READ | Prot.WRITE | Prot.CACHE
    ) -> None:
        """Map ``size`` bytes; raises pgtable's typed errors."""
        self.table.map(iova, paddr, size, prot)

    def unmap(self, iova: int, size: int) -> None:
        """Unmap ``size`` bytes and invalidate what the TLB may hold of them."""
        gather = IotlbGather()
        self.table.unmap(iova, size, gather)
        if not gather.empty:
            self._flush(gather.start, gather.end + 1 - gather.start, gather.pgsize, leaf=True)

    def close(self) -> None:
        """Detach the streams that use it, drop its translations, give back memory and tags.

        A second call is nothing.
        """
        if not self.table.freed:
            self.driver.forget(self)
            self.table.close()
            self.release()

    # -- what the table asks for

    def tlb_flush_all(self) -> None:
        """Drop the whole address space."""
        for command in self.everything():
            self._issue(command)
        self._sync(0, 1 << 64)

    def tlb_flush_walk(self, iova: int, size: int, granule: int) -> None:
        """A table went away: drop leaves and walks, now."""
        self._flush(iova, size, granule, leaf=False)

    def tlb_add_page(self, gather: IotlbGather | None, iova: int, granule: int) -> None:
        """Remember a leaf for the flush at the end of the unmap."""
        self.tlb_add_pages(gather, iova, granule, 1)

    def tlb_add_pages(
        self, gather: IotlbGather | None, iova: int, granule: int, count: int
    ) -> None:
        """Remember a run of leaves; a different size or a hole flushes what was gathered."""
        if gather is None:
            return
        size = granule * count
        if not gather.empty and (gather.pgsize != granule or gather.is_disjoint(iova, size)):
            self._flush(gather.start, gather.end + 1 - gather.start, gather.pgsize, leaf=True)
            gather.clear()
        gather.pgsize = granule
        gather.add_range(iova, size)

    def _flush(self, iova: int, size: int, granule: int, *, leaf: bool) -> None:
        if self.driver.features.ranges:
            self._flush_ranges(iova, size, granule, leaf)
        elif size > _MAX_COMMANDS * granule:
            for command in self.everything():
                self._issue(command)
        else:
            for address in range(iova, iova + size, granule):
                self._flush_address(address, leaf)
        for command in self.afterwards():
            self._issue(command)
        self._sync(iova, size)

    def _flush_address(self, iova: int, leaf: bool) -> None:
        self._issue(self.one_address().replace(Address=iova & -0x1000, Leaf=leaf))

    def _flush_ranges(self, iova: int, size: int, granule: int, leaf: bool) -> None:
        """Cover the range with commands of (NUM + 1) << SCALE pages each. Spec: 4.4.1.1."""
        page_lg2 = self.granule_lg2
        pages = size >> page_lg2
        level = 3 - (granule.bit_length() - 1 - page_lg2) // (page_lg2 - 3) if leaf else 0
        while pages:
            scale = min((pages & -pages).bit_length() - 1, _MAX_SCALE)
            number = pages >> scale & _MAX_NUM - 1 or _MAX_NUM
            span = number << scale
            if span == 1 and not level:
                self._flush_address(iova, leaf)
            else:
                self._issue(
                    self.one_address().replace(
                        Address=iova,
                        Leaf=leaf,
                        TG=_TG_OF_GRANULE[page_lg2],
                        NUM=number - 1,
                        SCALE=scale,
                        TTL=level,
                    )
                )
            iova += span << page_lg2
            pages -= span

    def _issue(self, command: TlbInvalidate) -> None:
        if self.invalidate:
            self.driver.commands.issue(command.value)

    def _sync(self, iova: int, size: int) -> None:
        if self.invalidate:
            self.driver.commands.sync()
            self.driver.invalidate_endpoints(self, iova, size)
