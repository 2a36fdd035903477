# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine, a driver that can be made to err, and the checker that watches them."""

from __future__ import annotations

from typing import Any

from pgtable import Arena
from smmu_emu.check import Checker, Finding
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.driver.domain import Domain
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.command import ConfigInvalidate, Opcode, TlbInvalidate
from smmu_emu.smmuv3.spec.ste import STE

RAM = 0x4000_0000
TABLES_AT, TABLES_SIZE = 0x4800_0000, 4 << 20
PAGE_PA, OTHER_PA = 0x5000_0000, 0x5000_1000
SID, IOVA, OTHER_IOVA, FAR_IOVA = 0x8, 0x1000, 0x5000, 0x4000_0000
PAGE = 0x1000
OA = 0xFFFF_FFFF_F000
ASID = 1


class Bench:
    """``driver`` does everything right; the tests go past it where it shall err."""

    def __init__(self, policy: str | None = None, preset: str = "full", **options: Any) -> None:
        self.machine = Machine.virt(smmu_ids=PRESETS[preset], devices=(), policy=policy)
        self.smmu = self.machine.smmu
        self.memory = self.machine.memory
        self.checker = Checker(self.machine, **options)
        self.arena = Arena(TABLES_AT, TABLES_SIZE, self.machine.ram.view[TABLES_AT - RAM :])
        self.driver = Smmuv3Driver(self.smmu, self.arena)
        self.domain: Domain = self.driver.domain()
        self.driver.attach(SID, self.domain)

    # -- what is found

    def found(self) -> dict[str, Finding]:
        """Findings but advice, by name, after the end of the run."""
        self.checker.finish()
        found: dict[str, Finding] = {}
        for finding in self.checker.findings:
            if finding.severity != "advice":
                found.setdefault(finding.name, finding)
        return found

    def advice(self) -> dict[str, Finding]:
        """Advice by name."""
        self.checker.finish()
        return {one.name: one for one in self.checker.findings if one.severity == "advice"}

    # -- what a device does

    def dma(self, iova: int = IOVA, data: bytes = b"data") -> bool:
        """A device writes."""
        return self.machine.dma(SID).write(iova, data)

    def map_and_use(self, iova: int = IOVA, pa: int = PAGE_PA, size: int = PAGE) -> None:
        """A mapping that is in the TLB."""
        self.domain.map(iova, pa, size)
        assert self.dma(iova)

    # -- what a driver does behind its own back

    def word(self, pa: int) -> int:
        """The doubleword at an address."""
        value = self.memory.read_u64(pa)
        assert value is not None
        return value

    def store(self, pa: int, value: int) -> None:
        """Store a doubleword as software does."""
        assert self.memory.write_u64(pa, value)

    def descriptor(self, iova: int = IOVA, level: int = 3) -> int:
        """Address of a descriptor of the domain's 4 KiB, 48-bit tables."""
        table = self.domain.table.regs.ttbr & OA
        for at in range(level):
            table = self.word(table + 8 * (iova >> 39 - 9 * at & 511)) & OA
        return table + 8 * (iova >> 39 - 9 * level & 511)

    def clear(self, iova: int = IOVA, level: int = 3) -> None:
        """Take a descriptor away, and tell nobody."""
        self.store(self.descriptor(iova, level), 0)

    def tlbi(self, iova: int = IOVA, **fields: int) -> None:
        """Invalidate an address, or what ``fields`` say."""
        made = {"Opcode": Opcode.TLBI_NH_VA, "ASID": ASID, "Address": iova, "Leaf": 1} | fields
        self.driver.commands.issue(TlbInvalidate.make(**made).value)

    def cfgi_ste(self, stream_id: int = SID) -> None:
        """Invalidate an STE."""
        made = ConfigInvalidate.make(Opcode=Opcode.CFGI_STE, StreamID=stream_id, Leaf=1)
        self.driver.commands.issue(made.value)

    def cfgi_cd(self) -> None:
        """Invalidate the stream's CD."""
        made = ConfigInvalidate.make(Opcode=Opcode.CFGI_CD, StreamID=SID, Leaf=1)
        self.driver.commands.issue(made.value)

    def sync(self) -> None:
        """CMD_SYNC, waited for."""
        self.driver.commands.sync()

    @property
    def ste_at(self) -> int:
        """Address of the stream's STE."""
        return self.driver.streams.entry(SID)

    def store_ste(self, ste: STE) -> None:
        """Write an STE, all at once and untold."""
        assert self.memory.write(self.ste_at, ste.to_bytes())

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        self.driver.registers.write(name, value)

    def read(self, name: str) -> int:
        """Read a register."""
        return self.driver.registers.read(name)
