# SPDX-License-Identifier: GPL-2.0-or-later
"""An AArch32 core behind the SMMU, where it differs from an AArch64 one."""

from __future__ import annotations

import struct

import pytest

from pgtable import Arena, Prot
from smmu_emu.cpu.loadstore32 import is_unprivileged
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.event import EventRecord

RAM, SID = 0x4000_0000, 0x20
TABLES_AT = 0x4800_0000
CODE_PA, CODE = 0x4100_0000, 0x1000_0000
VECTORS_PA, VECTORS = 0x4110_0000, 0x1010_0000
DATA_PA, DATA = 0x4200_0000, 0x2000_0000
SMMU_PA, SMMU = 0x0905_0000, 0x3000_0000
NOWHERE = 0x7000_0000
PABT, DABT = VECTORS + 0xC, VECTORS + 0x10
NOP, SPIN, ADD_R5_R5_1 = 0xE320_F000, 0xEAFF_FFFE, 0xE285_5001
LDR_R0_R1, STR_R0_R1, STR_R3_R2_98 = 0xE591_0000, 0xE581_0000, 0xE582_3098
F_TRANSLATION, F_PERMISSION = 0x10, 0x13


class Rig:
    """A driver has mapped code, vectors that spin, data and the SMMU, all elsewhere."""

    def __init__(self, *code: int, thumb: bool = False) -> None:
        self.machine = Machine.virt(
            ram=256 << 20, smmu_ids=PRESETS["full"], core_stream=SID, cpu_model="cortex-a15"
        )
        self.smmu = self.machine.smmu
        self.put(CODE_PA, struct.pack(f"<{len(code)}{'H' if thumb else 'I'}", *code))
        self.put(VECTORS_PA, struct.pack("<8I", *[SPIN] * 8))
        arena = Arena(TABLES_AT, 4 << 20, self.machine.ram.view[TABLES_AT - RAM :])
        self.driver = Smmuv3Driver(self.smmu, arena)
        self.domain = self.driver.domain()
        for iova, pa in ((CODE, CODE_PA), (VECTORS, VECTORS_PA)):
            self.domain.map(iova, pa, 0x2000, Prot.READ)
        self.domain.map(DATA, DATA_PA, 0x2000)
        self.domain.map(SMMU, SMMU_PA, 0x2_0000)
        self.driver.attach(SID, self.domain)
        self.core = self.machine.core
        self.core.reset(CODE | thumb)
        self.core.write("VBAR", VECTORS)
        self.core.set_x(1, DATA)

    def put(self, pa: int, data: bytes) -> None:
        self.machine.ram.view[pa - RAM : pa - RAM + len(data)] = data

    def word(self, pa: int) -> int:
        return int.from_bytes(self.machine.ram.view[pa - RAM : pa - RAM + 4], "little")

    def events(self) -> list[EventRecord]:
        return [EventRecord.from_bytes(data) for data in self.driver.events.drain()]


@pytest.mark.parametrize(
    ("code", "thumb"),
    [
        ((LDR_R0_R1, 0xE280_0001, 0xE581_0008, SPIN), False),
        ((0x6808, 0x3001, 0x6088, 0xE7FE), True),
    ],
    ids=["A32", "T32"],
)
def test_core_executes_and_accesses_where_the_tables_say(
    code: tuple[int, ...], thumb: bool
) -> None:
    rig = Rig(*code, thumb=thumb)
    rig.put(DATA_PA, b"\x29")
    rig.core.run(3)
    assert rig.word(DATA_PA + 8) == 42
    assert rig.core.pc == CODE + (6 if thumb else 12)
    (port,) = [port for port in rig.machine.dma_ports if port.memory.name == "core"]
    assert port.transactions == 3


@pytest.mark.parametrize(
    ("word", "dfsr", "address"),
    [
        (0xE591_0018, 0x008, NOWHERE + 0x18),  # ldr r0, [r1, #0x18]
        (0xE581_0004, 0x808, NOWHERE + 4),
        (0xE921_000C, 0x808, NOWHERE - 8),  # stmdb r1!, {r2, r3}
        (0xE1C1_40D8, 0x008, NOWHERE + 8),  # ldrd r4, r5, [r1, #8]
    ],
)
def test_refused_access_aborts_at_its_instruction(word: int, dfsr: int, address: int) -> None:
    rig = Rig(NOP, word, SPIN)
    rig.core.set_x(1, NOWHERE)
    rig.core.run(10)
    assert (rig.core.pc, rig.core.read("LR")) == (DABT, CODE + 4 + 8)
    assert (rig.core.read("DFSR"), rig.core.read("DFAR")) == (dfsr, address)
    assert rig.core.x(1) == NOWHERE
    (event,) = rig.events()
    assert (event.Number, event.StreamID, event.InputAddr) == (F_TRANSLATION, SID, address)
    assert (event.RnW, event.PnU, event.InD) == (not dfsr & 0x800, 1, 0)


def test_branch_to_nowhere_aborts_at_its_target() -> None:
    rig = Rig(0xE12F_FF11)  # bx r1
    rig.core.set_x(1, NOWHERE + 0x40)
    rig.core.run(10)
    assert (rig.core.pc, rig.core.read("LR")) == (PABT, NOWHERE + 0x44)
    assert (rig.core.read("IFSR"), rig.core.read("IFAR")) == (0x008, NOWHERE + 0x40)
    (event,) = rig.events()
    assert (event.InputAddr, event.InD) == (NOWHERE + 0x40, 1)


@pytest.mark.parametrize("word", [0xE4B1_0000, 0xE4A1_0000])  # ldrt, strt r0, [r1]
def test_unprivileged_forms_are_unprivileged(word: int) -> None:
    rig = Rig(LDR_R0_R1, STR_R0_R1, word, SPIN)
    rig.domain.unmap(DATA, 0x1000)
    rig.domain.map(DATA, DATA_PA, 0x1000, Prot.READ | Prot.WRITE | Prot.PRIV)
    rig.core.run(10)
    assert (rig.core.pc, rig.core.read("LR")) == (DABT, CODE + 8 + 8)
    (event,) = rig.events()
    assert (event.Number, event.PnU) == (F_PERMISSION, 0)


@pytest.mark.parametrize(
    ("word", "thumb", "unprivileged"),
    [
        (0xE4B1_0000, False, True),  # ldrt
        (0xE4E1_0000, False, True),  # strbt
        (0xE0F1_00B2, False, True),  # ldrht r0, [r1], #2
        (0xE5B1_0000, False, False),  # ldr r0, [r1]!
        (0xE491_0004, False, False),  # ldr r0, [r1], #4
        (0xE021_0392, False, False),  # mla
        (0xF851_0E04, True, True),  # ldrt r0, [r1, #4]
        (0xF841_0E04, True, True),  # strt
        (0xF851_0F04, True, False),  # ldr r0, [r1, #4]!
        (0xF8D1_0E04, True, False),  # ldr.w r0, [r1, #0xe04]
    ],
)
def test_unprivileged_forms_are_recognised(word: int, thumb: bool, unprivileged: bool) -> None:
    assert is_unprivileged(word, thumb=thumb) is unprivileged


def test_tlbi_by_the_core_takes_effect_at_the_next_instruction() -> None:
    rig = Rig(LDR_R0_R1, STR_R3_R2_98, LDR_R0_R1, SPIN)
    rig.core.run(1)
    prod = rig.driver.commands.prod
    rig.domain.invalidate = False
    rig.domain.unmap(DATA, 0x1000)
    where = rig.driver.commands.base + 16 * (prod & 127)
    rig.put(where, struct.pack("<QQ", 0x12 | rig.domain.asid << 48, DATA | 1))
    rig.core.set_x(2, SMMU)
    rig.core.set_x(3, prod + 1)
    rig.core.run(10)
    assert (rig.core.pc, rig.core.read("LR")) == (DABT, CODE + 8 + 8)
    assert len(rig.events()) == 1


def test_enabling_the_own_mmu_is_told_of_once() -> None:
    rig = Rig(0xEE01_0F10, NOP, LDR_R0_R1, SPIN)  # mcr SCTLR
    rig.core.set_x(0, rig.core.read("SCTLR") | 1)
    rig.put(DATA_PA, b"\x07")
    rig.core.run(3)
    assert rig.core.x(0) == 7
    (site,) = rig.machine.unmodelled
    assert site.where.startswith("SCTLR.M = 1")


def test_snapshot_keeps_what_the_smmu_answered() -> None:
    rig = Rig(LDR_R0_R1, ADD_R5_R5_1, 0xEAFF_FFFC)
    rig.core.run(4)
    snapshot = rig.machine.snapshot()
    before = rig.smmu.path.hits, rig.smmu.path.misses
    rig.core.run(9)
    first = rig.core.x(5)
    rig.driver.detach(SID)
    rig.machine.restore(snapshot)
    rig.core.run(9)
    assert rig.core.x(5) == first
    assert (rig.smmu.path.hits, rig.smmu.path.misses) == before


def test_images_run_untranslated_before_the_smmu_is_enabled() -> None:
    from tests.unit.board.test_loader_aarch32 import HELLO32

    with Machine.virt(core_stream=SID, cpu_model="cortex-a15") as machine:
        machine.load(HELLO32)
        assert machine.run().status == 0
        assert machine.output == b"hello from PL1\nPASS\n"
