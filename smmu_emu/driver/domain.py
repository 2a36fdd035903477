# SPDX-License-Identifier: GPL-2.0-or-later
"""An address space that streams attach to: a page table, and the invalidations it asks for.

Linux's arm-smmu-v3 does the same: a removed table is flushed at once (Leaf 0), unmapped leaves
are gathered and flushed by one range or page by page (Leaf 1), then CMD_SYNC.
Spec: IHI 0070 4.4, 3.21.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtable import ArmLpaeS1Regs, FlushOps, IotlbGather, PageTable, PageTableConfig, Prot, alloc
from smmu_emu.driver.queues import DriverError
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.command import Opcode, TlbInvalidate

if TYPE_CHECKING:
    from smmu_emu.driver.smmuv3 import Smmuv3Driver

_PAGE_SIZES = {12: 1 << 12 | 1 << 21 | 1 << 30, 14: 1 << 14 | 1 << 25, 16: 1 << 16 | 1 << 29}
_TG_OF_GRANULE = {12: 1, 14: 2, 16: 3}
_SMALLEST_IAS, _LARGEST_IAS = 25, 48
"""What every SMMUv3 takes (T0SZ 39 and 16), whatever its version and options."""
_MAX_NUM, _MAX_SCALE = 32, 31
_MAX_COMMANDS = 512
"""Past so many single addresses, dropping the whole ASID is cheaper."""


class Domain(FlushOps):
    """A stage-1 address space under one ASID, mapped through ``table``; `close` gives it back.

    ``invalidate`` False makes a driver that forgets its TLB maintenance, which is what this package
    exists to expose.

    Raises: DriverError for a granule or size that the device lacks, or without memory.
    """

    def __init__(
        self, driver: Smmuv3Driver, *, asid: int, granule_lg2: int = 12, ias: int = 48
    ) -> None:
        if granule_lg2 not in driver.granules:
            sizes = ", ".join(f"{size}" for size in driver.granules)
            raise DriverError(f"granule_lg2 {granule_lg2}: the device has {sizes or 'none'}")
        if not _SMALLEST_IAS <= ias <= _LARGEST_IAS:
            sizes = f"{_SMALLEST_IAS} to {_LARGEST_IAS} bits"
            raise DriverError(f"ias {ias}: input sizes go from {sizes}")
        self.driver = driver
        self.asid = asid
        self.granule_lg2 = granule_lg2
        self.invalidate = True
        config = PageTableConfig(
            pgsize_bitmap=_PAGE_SIZES[granule_lg2],
            ias=ias,
            oas=driver.output_bits,
            tlb=self,
        )
        self.table: PageTable[ArmLpaeS1Regs] = alloc("ARM_64_LPAE_S1", config, memory=driver.memory)
        self.cd = self._make_cd(self.table.regs)
        self.cd_address = driver.place(self.cd.to_bytes())

    def _make_cd(self, regs: ArmLpaeS1Regs) -> CD:
        tcr = regs.tcr
        return CD.make(
            V=1,
            AA64=1,
            A=1,
            R=1,
            ASET=1,
            EPD1=1,
            ASID=self.asid,
            T0SZ=tcr.tsz,
            TG0=tcr.tg,
            IR0=tcr.irgn,
            OR0=tcr.orgn,
            SH0=tcr.sh,
            IPS=tcr.ips,
            TTB0=regs.ttbr,
            MAIR0=regs.mair & 0xFFFF_FFFF,
            MAIR1=regs.mair >> 32 & 0xFFFF_FFFF,
        )

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
        """Detach the streams that use it, drop its translations, give back memory and ASID.

        A second call is nothing.
        """
        if not self.table.freed:
            self.driver.forget(self)
            self.table.close()
            self.driver.give_back(self.cd_address, len(self.cd.to_bytes()))

    # -- what the table asks for

    def tlb_flush_all(self) -> None:
        """Drop the whole address space."""
        self._issue(TlbInvalidate.make(Opcode=Opcode.TLBI_NH_ASID, ASID=self.asid))
        self._sync()

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
        if self.driver.has_ranges:
            self._flush_ranges(iova, size, granule, leaf)
        elif size > _MAX_COMMANDS * granule:
            self._issue(TlbInvalidate.make(Opcode=Opcode.TLBI_NH_ASID, ASID=self.asid))
        else:
            for address in range(iova, iova + size, granule):
                self._flush_address(address, leaf)
        self._sync()

    def _flush_address(self, iova: int, leaf: bool) -> None:
        self._issue(
            TlbInvalidate.make(
                Opcode=Opcode.TLBI_NH_VA, ASID=self.asid, Address=iova & -0x1000, Leaf=leaf
            )
        )

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
                    TlbInvalidate.make(
                        Opcode=Opcode.TLBI_NH_VA,
                        ASID=self.asid,
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

    def _sync(self) -> None:
        if self.invalidate:
            self.driver.commands.sync()
