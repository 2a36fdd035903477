# SPDX-License-Identifier: GPL-2.0-or-later
"""What pgtable writes for AArch32, short and long descriptors, an AArch32 core's own MMU reads."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from pgtable import Arena, PageTableConfig, Prot, alloc
from smmu_emu.cpu.at32 import AddressTranslation32, At32Result
from smmu_emu.memory import PhysicalMemory

RAM, SIZE = 0x4000_0000, 16 << 20
SHORT_SIZES = (1 << 12, 1 << 16, 1 << 20, 1 << 24)
LONG_SIZES = (1 << 12, 1 << 21, 1 << 30)
TRANSLATION_SECTION, TRANSLATION_PAGE = 0b00101, 0b00111
PERMISSION_SECTION, PERMISSION_PAGE = 0b01101, 0b01111
CHOICES = (
    Prot.READ,
    Prot.READ | Prot.WRITE,
    Prot.READ | Prot.WRITE | Prot.CACHE,
    Prot.READ | Prot.PRIV,
    Prot.READ | Prot.WRITE | Prot.PRIV | Prot.NOEXEC,
)


class Rig:
    """Tables at the start of RAM, and the MMU that reads them."""

    def __init__(self) -> None:
        self.memory = PhysicalMemory()
        ram = self.memory.add_ram(RAM, SIZE)
        self.arena = Arena(RAM, SIZE, ram.view)
        self.mmu = AddressTranslation32(self.memory)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.mmu.close()


def test_literal_section_and_small_page_translate(rig: Rig) -> None:
    words = rig.memory.rams[0].view.cast("I")
    words[0x123] = 0x5550_0C02 | 1 << 10  # section, AP[1:0] 0b11
    words[0x124] = RAM + 0x4000 | 1  # a level 2 table
    words[0x1000 + 5] = 0x7777_7032  # small page, AP 0b011
    rig.mmu.set_short(ttbr0=RAM, sctlr=0)
    ask = rig.mmu.stage1
    assert ask(0x1234_5678, write=True, privileged=False) == At32Result(0x5554_5678)
    assert ask(0x1240_5ABC, write=True, privileged=False) == At32Result(0x7777_7ABC)
    assert ask(0x1250_0000, write=False, privileged=True) == At32Result(None, TRANSLATION_SECTION)
    assert ask(0x1240_6000, write=False, privileged=True) == At32Result(None, TRANSLATION_PAGE)


def test_domain_without_access_faults(rig: Rig) -> None:
    rig.memory.rams[0].view.cast("I")[1] = 0x5550_0C02
    rig.mmu.set_short(ttbr0=RAM, sctlr=0, dacr=0)
    assert rig.mmu.stage1(0x10_0000, write=False, privileged=True).status == 0b01001


def expected(prot: Prot, *, write: bool, privileged: bool) -> bool:
    """Whether an access may pass, by what was asked of the writer."""
    if Prot.PRIV in prot and not privileged:
        return False
    return Prot.WRITE in prot or not write


def check(
    rig: Rig, blocks: dict[int, tuple[int, int, Prot]], chance: Random, refusals: set[int]
) -> int:
    """Ask about each block at random places; the number of questions."""
    asked = 0
    for iova, (paddr, size, prot) in blocks.items():
        for _ in range(8):
            offset = chance.randrange(size)
            write, privileged = bool(chance.getrandbits(1)), bool(chance.getrandbits(1))
            result = rig.mmu.stage1(iova + offset, write=write, privileged=privileged)
            if expected(prot, write=write, privileged=privileged):
                assert result.pa == paddr + offset, (hex(iova), prot)
            else:
                assert result.pa is None
                assert result.status in refusals, hex(result.status)
            asked += 1
    return asked


@pytest.mark.parametrize("seed", range(6))
def test_short_descriptors_of_the_writer_are_read_as_they_were_meant(rig: Rig, seed: int) -> None:
    chance = Random(seed)
    table = alloc(
        "ARM_V7S", PageTableConfig(pgsize_bitmap=sum(SHORT_SIZES), ias=32, oas=32), memory=rig.arena
    )
    regs = table.regs
    rig.mmu.set_short(ttbr0=regs.ttbr & 0xFFFF_FFFF, prrr=regs.prrr, nmrr=regs.nmrr)
    blocks: dict[int, tuple[int, int, Prot]] = {}
    for slot in chance.sample(range(1, 255), 60):
        size, prot = chance.choice(SHORT_SIZES), chance.choice(CHOICES)
        iova = (slot << 24) + (chance.randrange((1 << 24) // size) * size)
        paddr = chance.randrange((1 << 32) // size) * size
        table.map(iova, paddr, size, prot)
        blocks[iova] = paddr, size, prot
    assert check(rig, blocks, chance, {PERMISSION_SECTION, PERMISSION_PAGE}) > 400
    for iova, (_, size, _) in list(blocks.items())[:20]:
        table.unmap(iova, size)
        assert rig.mmu.stage1(iova, write=False, privileged=True).pa is None
        del blocks[iova]
    check(rig, blocks, chance, {PERMISSION_SECTION, PERMISSION_PAGE})


@pytest.mark.parametrize("seed", range(4))
def test_long_descriptors_of_the_writer_are_read_as_they_were_meant(rig: Rig, seed: int) -> None:
    chance = Random(seed)
    config = PageTableConfig(pgsize_bitmap=sum(LONG_SIZES), ias=32, oas=40)
    table = alloc("ARM_32_LPAE_S1", config, memory=rig.arena)
    rig.mmu.set_long(ttbr0=table.regs.ttbr, ttbcr=0, mair=table.regs.mair)
    blocks: dict[int, tuple[int, int, Prot]] = {}
    for slot in chance.sample(range(1, 1024), 40):
        size, prot = chance.choice(LONG_SIZES[:2]), chance.choice(CHOICES)
        iova = (slot << 22) + chance.randrange((1 << 22) // size) * size
        paddr = chance.randrange((1 << 40) // size) * size
        table.map(iova, paddr, size, prot)
        blocks[iova] = paddr, size, prot
    assert check(rig, blocks, chance, {0b001101, 0b001110, 0b001111}) > 300


def test_tables_outside_ram_are_external_aborts(rig: Rig) -> None:
    rig.mmu.set_short(ttbr0=0x9000_0000, sctlr=0)
    assert rig.mmu.stage1(0x1000, write=False, privileged=True) == At32Result(None, 0b01100)
    rig.memory.rams[0].view.cast("I")[1] = 0x9000_0000 | 1
    rig.mmu.set_short(ttbr0=RAM, sctlr=0)
    assert rig.mmu.stage1(0x10_0000, write=False, privileged=True) == At32Result(None, 0b01110)


def test_ttbr1_has_the_upper_addresses(rig: Rig) -> None:
    words = rig.memory.rams[0].view.cast("I")
    words[0x2000 + 0xFFF] = 0x5550_0C02
    rig.mmu.set_short(ttbr0=RAM, ttbr1=RAM + 0x8000, ttbcr=1, sctlr=0)
    assert rig.mmu.stage1(0xFFF0_0123, write=True, privileged=False).pa == 0x5550_0123
