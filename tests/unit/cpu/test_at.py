# SPDX-License-Identifier: GPL-2.0-or-later
"""The core's MMU as an oracle: literal descriptors in, literal PAR_EL1 readings out."""

from __future__ import annotations

import pytest

from smmu_emu.cpu.at import AddressTranslation
from smmu_emu.memory import PhysicalMemory

RAM = 0x4000_0000
TABLE, TABLE2 = RAM, RAM + 0x1_0000
NORMAL_RW_ALL = 0x0000_0000_0000_0745  # block, AttrIndx 1, AP 01, inner shareable, AF


@pytest.fixture
def oracle():
    memory = PhysicalMemory()
    ram = memory.add_ram(RAM, 1 << 20)
    translation = AddressTranslation(memory)
    translation.set_stage1(ttbr0=TABLE, ttbr1=0, tcr=25 | 1 << 23 | 5 << 32, mair=0xFF04)
    yield translation, ram
    translation.close()


def test_block_gives_address_and_attributes(oracle):
    translation, ram = oracle
    ram.words[1] = 0x8000_0000 | NORMAL_RW_ALL
    result = translation.stage1(0x4012_3456, write=True, privileged=False)
    assert (result.pa, result.memory, result.shareability) == (0x8012_3456, 0xFF, 3)


def test_tables_are_read_anew_every_time(oracle):
    translation, ram = oracle
    for pa in (0x8000_0000, 0xC000_0000):
        ram.words[1] = pa | NORMAL_RW_ALL
        assert translation.stage1(0x4000_0000, write=False, privileged=True).pa == pa


@pytest.mark.parametrize(
    ("descriptor", "write", "privileged", "kind", "level"),
    [
        (0, False, True, 1, 1),  # translation, level 1
        (0x8000_0345, False, True, 2, 1),  # access flag
        (0x8000_0705, False, False, 3, 1),  # permission: privileged only
        (0x8000_0785, True, True, 3, 1),  # permission: read-only
    ],
)
def test_fault_has_kind_and_level(oracle, descriptor, write, privileged, kind, level):
    translation, ram = oracle
    ram.words[1] = descriptor
    result = translation.stage1(0x4000_0000, write=write, privileged=privileged)
    assert (result.pa, result.kind, result.level, result.stage) == (None, kind, level, 1)


def test_stage2_faults_tell_whether_a_table_was_meant(oracle):
    translation, ram = oracle
    ram.words[1] = 0x8000_0000 | NORMAL_RW_ALL
    second = (TABLE2 - RAM) // 8
    translation.set_stage2((TABLE2, 24 | 1 << 6 | 5 << 16))
    result = translation.both_stages(0x4000_0000, write=False, privileged=True)
    assert (result.kind, result.level, result.stage, result.on_walk) == (1, 1, 2, True)
    ram.words[second + 1] = 0x4000_0000 | 0x47D  # the tables, read-only
    result = translation.both_stages(0x4000_0000, write=False, privileged=True)
    assert (result.kind, result.level, result.stage, result.on_walk) == (1, 1, 2, False)
    ram.words[second + 2] = 0xC000_0000 | 0x47D
    result = translation.both_stages(0x4000_0018, write=False, privileged=True)
    assert result.pa == 0xC000_0018
    result = translation.both_stages(0x4000_0018, write=True, privileged=True)
    assert (result.kind, result.level, result.stage) == (3, 1, 2)
    translation.set_stage2(None)
    assert translation.both_stages(0x4000_0018, write=True, privileged=True).pa == 0x8000_0018
