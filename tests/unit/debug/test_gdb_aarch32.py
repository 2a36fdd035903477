# SPDX-License-Identifier: GPL-2.0-or-later
"""What GDB's commands do to a machine with an AArch32 core, where that is different."""

from __future__ import annotations

import socket
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from smmu_emu import Machine
from smmu_emu.debug import registers32
from tests.unit.debug.test_gdb import Debugger

AT = 0x4010_0000
T32_CODE = (0x3501, 0x3501, 0xE7FC)  # adds r5, #1; adds r5, #1; b to the first
PC, CPSR = 15, 16


@pytest.fixture
def gdb() -> Iterator[Debugger]:
    ours, theirs = socket.socketpair()
    with Machine.virt(ram=64 << 20, cpu_model="cortex-a15") as machine, ours, theirs:
        machine.load(struct.pack("<3H", *T32_CODE), load_address=AT, entry=AT | 1)
        machine.run(0)
        yield Debugger(machine, ours, theirs)


def test_description_is_of_an_arm_core(gdb: Debugger) -> None:
    text = gdb.answer(b"qXfer:features:read:target.xml:0,ffff")[1:]
    assert text == registers32.target_xml()
    root = ET.fromstring(text.replace(b'SYSTEM "gdb-target.dtd"', b""))
    core, system = root.iter("feature")
    assert (root.findtext("architecture"), core.get("name")) == ("arm", "org.gnu.gdb.arm.core")
    names = [register.get("name") for register in core.iter("reg")]
    assert names == [*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "cpsr"]
    assert "SCTLR" in {register.get("name") for register in system.iter("reg")}


def test_registers_are_words_of_32_bits(gdb: Debugger) -> None:
    assert gdb.answer(b"p%x" % PC) == b"00001040"
    assert gdb.answer(b"p%x" % CPSR) == b"f3010000"
    assert gdb.answer(b"P5=78563412") == b"OK"
    assert gdb.machine.core.x(5) == 0x1234_5678
    assert len(gdb.answer(b"g")) == 8 * len(registers32.REGISTERS)


def test_core_cannot_be_put_into_hyp_or_monitor_mode(gdb: Debugger) -> None:
    assert gdb.answer(b"P%x=da010000" % CPSR) == b"E16"
    assert gdb.answer(b"P%x=d6010000" % CPSR) == b"E16"
    assert gdb.answer(b"P%x=d2010000" % CPSR) == b"OK"


def test_breakpoints_may_be_on_t32_instructions(gdb: Debugger) -> None:
    assert gdb.answer(b"Z0,%x,2" % (AT + 2)) == b"OK"
    assert gdb.answer(b"Z0,%x,2" % (AT + 1)) != b"OK"
    gdb.machine.run(100)
    assert (gdb.machine.core.pc, gdb.machine.core.x(5)) == (AT + 2, 1)
