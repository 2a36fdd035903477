# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of address spaces: stage 1, stage 2, and a guest's stage 1 on a stage 2.

Spec: IHI 0070 3.3.2, 4.4, 5.2, 5.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtable import ArmLpaeS1Regs, ArmLpaeS2Regs, DirtyBitmap, Quirk, TableMemory
from smmu_emu.driver.queues import DriverError
from smmu_emu.driver.space import AddressSpace
from smmu_emu.driver.structures import Structures
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.command import Opcode, TlbInvalidate
from smmu_emu.smmuv3.spec.ste import STE, Config

if TYPE_CHECKING:
    from smmu_emu.driver.smmuv3 import Smmuv3Driver

_SMALLEST_IAS, _LARGEST_IAS = 25, 48
"""What every SMMUv3 takes (T0SZ 39 and 16), whatever its version and options."""
_DIRTY_STATE = 2


class Domain(AddressSpace):
    """A stage-1 address space under one ASID.

    ``stall`` lets its faults wait for the driver; ``dirty`` has hardware set access flags and dirty
    state, for `collect_dirty`.

    Raises: DriverError for a granule, size or feature that the device lacks, or without memory.
    """

    def __init__(
        self,
        driver: Smmuv3Driver,
        *,
        asid: int,
        granule_lg2: int = 12,
        ias: int = 48,
        stall: bool = False,
        dirty: bool = False,
        memory: TableMemory | None = None,
        oas: int = 0,
    ) -> None:
        if not _SMALLEST_IAS <= ias <= _LARGEST_IAS:
            sizes = f"{_SMALLEST_IAS} to {_LARGEST_IAS} bits"
            raise DriverError(f"ias {ias}: input sizes go from {sizes}")
        if stall and not driver.features.stalls:
            raise DriverError("stall: the device has no configurable stalls")
        if dirty and driver.features.updates < _DIRTY_STATE:
            raise DriverError("dirty: the device does not update dirty state")
        super().__init__(
            driver,
            "ARM_64_LPAE_S1",
            granule_lg2=granule_lg2,
            ias=ias,
            memory=memory,
            oas=oas,
            quirks=Quirk.ARM_HD if dirty else 0,
        )
        self.asid = asid
        self.vmid = 0
        self.structures = Structures(memory) if memory is not None else driver.structures
        self.cd = self._make_cd(self.table.regs).replace(S=int(stall), HA=int(dirty), HD=int(dirty))
        self.cd_address = self.structures.place(self.cd.to_bytes())

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

    def collect_dirty(self, iova: int, size: int) -> list[tuple[int, int]]:
        """Pages and blocks written since the last call, or mapped: (address, bytes) each.

        They are clean afterwards, and the TLB is told, or it would not mark the next write.

        Raises: DriverError if not all of the range is mapped.
        """
        found = DirtyBitmap()
        problem = self.table.read_and_clear_dirty(iova, size, 0, found)
        if not found.gather.empty:
            start = found.gather.start
            self._flush(start, found.gather.end + 1 - start, 1 << self.granule_lg2, leaf=False)
        if problem:
            raise DriverError(f"{size:#x} bytes at {iova:#x} are not all mapped")
        return found.records

    def ste(self) -> STE:
        """Stage 1 alone."""
        return STE.make(V=1, Config=Config.STAGE1, S1ContextPtr=self.cd_address, SHCFG=1)

    def everything(self) -> list[TlbInvalidate]:
        """All under the ASID."""
        return [TlbInvalidate.make(Opcode=Opcode.TLBI_NH_ASID, ASID=self.asid, VMID=self.vmid)]

    def one_address(self) -> TlbInvalidate:
        """An address under the ASID."""
        return TlbInvalidate.make(Opcode=Opcode.TLBI_NH_VA, ASID=self.asid, VMID=self.vmid)

    def release(self) -> None:
        """The ASID is free again."""
        self.structures.free(self.cd_address, len(self.cd.to_bytes()))
        self.driver.asids.discard(self.asid)


class Stage2Domain(AddressSpace):
    """A stage-2 address space under one VMID, alone or below guests' stages 1.

    Raises: DriverError for a granule or stage that the device lacks, or without memory.
    """

    def __init__(
        self, driver: Smmuv3Driver, *, vmid: int, granule_lg2: int = 12, ias: int = 0
    ) -> None:
        if not driver.features.stage2:
            raise DriverError("the device has no stage 2")
        super().__init__(
            driver,
            "ARM_64_LPAE_S2",
            granule_lg2=granule_lg2,
            ias=ias or driver.features.output_bits,
        )
        self.vmid = vmid
        self.guests: list[GuestDomain] = []

    def ste(self) -> STE:
        """Stage 2 alone."""
        regs: ArmLpaeS2Regs = self.table.regs
        vtcr = regs.vtcr
        return STE.make(
            V=1,
            Config=Config.STAGE2,
            SHCFG=1,
            S2VMID=self.vmid,
            S2T0SZ=vtcr.tsz,
            S2SL0=vtcr.sl,
            S2IR0=vtcr.irgn,
            S2OR0=vtcr.orgn,
            S2SH0=vtcr.sh,
            S2TG=vtcr.tg,
            S2PS=vtcr.ps,
            S2AA64=1,
            S2PTW=1,
            S2R=1,
            S2TTB=regs.vttbr,
        )

    def everything(self) -> list[TlbInvalidate]:
        """All under the VMID, of guests too."""
        return [TlbInvalidate.make(Opcode=Opcode.TLBI_S12_VMALL, VMID=self.vmid)]

    def one_address(self) -> TlbInvalidate:
        """An intermediate address under the VMID."""
        return TlbInvalidate.make(Opcode=Opcode.TLBI_S2_IPA, VMID=self.vmid)

    def afterwards(self) -> list[TlbInvalidate]:
        """What guests' stages 1 were combined with is known by their addresses. Spec: 4.4.3.1."""
        if not self.guests:
            return []
        return [TlbInvalidate.make(Opcode=Opcode.TLBI_NH_ALL, VMID=self.vmid)]

    def close(self) -> None:
        """Close the guests first."""
        for guest in list(self.guests):
            guest.close()
        super().close()

    def release(self) -> None:
        """The VMID is free again."""
        self.driver.vmids.discard(self.vmid)


class GuestDomain(Domain):
    """A guest's stage 1: its table and Context descriptor are in the guest's ``memory``.

    Their addresses are intermediate ones, which ``parent`` translates; so are what it maps to.

    Raises: DriverError as `Domain` does.
    """

    def __init__(
        self,
        parent: Stage2Domain,
        memory: TableMemory,
        *,
        asid: int,
        granule_lg2: int = 12,
        ias: int = 48,
    ) -> None:
        oas = parent.table.cfg.ias
        super().__init__(
            parent.driver, asid=asid, granule_lg2=granule_lg2, ias=ias, memory=memory, oas=oas
        )
        self.parent = parent
        self.vmid = parent.vmid
        parent.guests.append(self)

    def ste(self) -> STE:
        """Both stages."""
        return self.parent.ste().replace(Config=Config.NESTED, S1ContextPtr=self.cd_address)

    def release(self) -> None:
        """ASIDs are the guest's own."""
        self.structures.free(self.cd_address, len(self.cd.to_bytes()))
        self.parent.guests.remove(self)
