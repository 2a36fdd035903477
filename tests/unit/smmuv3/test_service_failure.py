# SPDX-License-Identifier: GPL-2.0-or-later
"""Service failure mode: nothing passes, queues rest, registers can be read. Spec: IHI 0070 12.3."""

from __future__ import annotations

from smmu_emu.memory import PhysicalMemory
from smmu_emu.smmuv3 import Smmuv3
from smmu_emu.transaction import Fault, Transaction, Translation

RAM = 0x4000_0000
CMDQ, EVENTQ = RAM + 0x1000, RAM + 0x2000
CR0, IRQ_CTRL, GERROR, GERRORN = 0x20, 0x50, 0x60, 0x64
SFM_ERR = 1 << 8


def failing_smmu() -> tuple[PhysicalMemory, Smmuv3]:
    memory = PhysicalMemory()
    memory.add_ram(RAM, 0x10000)
    smmu = Smmuv3(memory)
    smmu.write(0x90, 8, CMDQ | 3)
    smmu.write(0xA0, 8, EVENTQ | 3)
    smmu.write(0x2C, 4, 2)  # RECINVSID
    smmu.write(IRQ_CTRL, 4, 5)
    smmu.write(CR0, 4, 0b1101)
    smmu.fail()
    return memory, smmu


def test_entry_is_a_global_error_with_its_interrupt() -> None:
    _, smmu = failing_smmu()
    assert smmu.read(GERROR, 4) == SFM_ERR
    assert smmu.interrupts.gerror.pulses == 1


def test_transactions_end_with_an_abort_and_no_record() -> None:
    memory, smmu = failing_smmu()
    for enabled in (0b1101, 0b1100):
        smmu.write(CR0, 4, enabled)
        result = smmu.translate(Transaction(3, 0x1000))
        assert isinstance(result, Fault)
        assert result.abort
        assert result.code == 0
    assert memory.read(EVENTQ, 32) == bytes(32)
    assert smmu.read(0x100A8, 4) == 0


def test_commands_are_no_longer_consumed() -> None:
    memory, smmu = failing_smmu()
    memory.write(CMDQ, bytes([0x46]) + bytes(15))
    smmu.write(0x98, 4, 1)
    assert smmu.read(0x9C, 4) == 0


def test_acknowledge_does_not_leave_the_mode_and_reset_does() -> None:
    _, smmu = failing_smmu()
    smmu.write(GERRORN, 4, SFM_ERR)
    assert smmu.read(GERRORN, 4) == SFM_ERR
    assert isinstance(smmu.translate(Transaction(3, 0x1000)), Fault)
    smmu.reset()
    assert isinstance(smmu.translate(Transaction(3, 0x1000)), Translation)
