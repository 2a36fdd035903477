# SPDX-License-Identifier: GPL-2.0-or-later
"""CMD_SYNC by message, and interrupts as messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smmu_emu.driver import DriverError
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.device import Delays
from tests.unit.driver.rig import SID, TARGET, Rig

FULL = PRESETS["full"]
COHACC = 1 << 4
EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG1, IRQ_CTRL = 0xB0, 0xB8, 0x50
CMDQ_CONS = 0x9C


def test_sync_tells_by_a_message_into_its_own_slot() -> None:
    rig = Rig(FULL)
    commands = rig.driver.commands
    assert commands.messages
    index = commands.prod
    seen: list[int] = []
    port = rig.smmu.ports["msi"]
    write = port.write
    port.write = lambda pa, data: seen.append(pa) or write(pa, data)
    read = rig.machine.memory.read(commands.slot(index), 16)
    assert read == bytes(16)
    commands.sync()
    assert seen == [commands.slot(index)]
    data = rig.machine.memory.read(commands.slot(index), 16)
    assert data is not None
    # The message is a zero over SYNC | CS = IRQ; MSIAddress is left.
    assert int.from_bytes(data, "little") == commands.slot(index) << 64


def test_sync_by_message_does_not_look_at_the_index() -> None:
    rig = Rig(FULL)
    rig.driver.commands.sync()
    reads: list[int] = []

    def answer(offset: int, size: int) -> int:
        reads.append(offset)
        return rig.smmu.read(offset, size)

    rig.window.answer = answer
    rig.driver.commands.sync()
    assert reads.count(CMDQ_CONS) == 1  # for room, before


def test_message_that_comes_late_is_waited_for() -> None:
    rig = Rig(FULL)
    clock = rig.machine.clock
    rig.smmu.delays = Delays(commands=5000)
    waited: list[int] = []

    def idle() -> None:
        waited.append(clock.now)
        clock.advance(clock.now + 1000)

    rig.driver.registers.idle = idle
    rig.driver.commands.sync()
    assert len(waited) >= 5


def test_message_that_never_comes_is_an_error() -> None:
    rig = Rig(FULL)
    rig.smmu.ports["msi"].write = lambda pa, data: True
    with pytest.raises(DriverError, match=r"the message of CMD_SYNC at 0x[0-9a-f]+ has not come"):
        rig.driver.commands.sync()


def test_command_error_is_noticed_while_a_message_is_waited_for() -> None:
    rig = Rig(FULL)
    rig.driver.commands.issue(0xFF)
    with pytest.raises(DriverError, match="met CERROR_ILL"):
        rig.driver.commands.sync()


@pytest.mark.parametrize("queue_lg2", [1, 2, 7])
def test_messages_go_round_a_queue_of_any_size(queue_lg2: int) -> None:
    rig = Rig(FULL, queue_lg2=queue_lg2)
    for _ in range(100):
        rig.driver.commands.issue(0x30)
        rig.driver.commands.sync()


def test_polling_is_a_choice_and_the_only_one_without_messages() -> None:
    rig = Rig(FULL, messages=False)
    rig.driver.commands.sync()
    assert not Rig().driver.commands.messages
    incoherent = replace(FULL, idr0=FULL.idr0 & ~COHACC)
    assert not Rig(incoherent).driver.commands.messages
    for ids in (PRESETS["qemu"], incoherent):
        with pytest.raises(DriverError, match="messages: the device sends none"):
            Rig(ids, messages=True)


def test_interrupt_becomes_a_message_and_a_wire_again() -> None:
    rig = Rig(FULL)
    box = TARGET + 0x100
    rig.driver.send_messages("EVENTQ", box, 0xCAFE)
    assert rig.smmu.read(EVENTQ_IRQ_CFG0, 8) == box
    assert rig.smmu.read(EVENTQ_IRQ_CFG1, 4) == 0xCAFE
    assert rig.smmu.read(IRQ_CTRL, 4) == 0b111
    pulses = rig.smmu.interrupts.eventq
    seen: list[bool] = []
    pulses.sink = seen.append
    assert not rig.machine.dma(SID).write(0x1000, b"x")
    assert rig.machine.memory.read(box, 4) == b"\xfe\xca\0\0"
    assert seen == []
    rig.driver.faults.run()
    rig.driver.send_messages("EVENTQ", 0, 0)
    assert not rig.machine.dma(SID).write(0x1000, b"x")
    assert seen == [True, False]


def test_messages_of_interrupts_need_a_device_that_sends_them() -> None:
    with pytest.raises(DriverError, match="messages: the device sends none"):
        Rig().driver.send_messages("EVENTQ", TARGET, 1)
