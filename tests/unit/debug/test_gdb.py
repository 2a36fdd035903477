# SPDX-License-Identifier: GPL-2.0-or-later
"""What each of GDB's commands does to a machine, packet by packet."""

from __future__ import annotations

import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from smmu_emu import Machine
from smmu_emu.debug.gdb import SIGTRAP, Leave, Session
from smmu_emu.debug.monitor import Monitor
from smmu_emu.debug.packets import Connection
from smmu_emu.debug.registers import REGISTERS, target_xml
from smmu_emu.debug.target import MAX_BREAKPOINTS, Target
from tests.unit.debug.client import ADD_X1, AT, BACK, NOP, answers, framed, machine_with, received

UART = 0x0900_0000
RAM_END = 0x4000_0000 + (64 << 20)


class Debugger:
    """A session and who talks to it."""

    def __init__(self, machine: Machine, ours: socket.socket, theirs: socket.socket) -> None:
        self.machine = machine
        self.client = theirs
        self.target = Target(machine)
        self.session = Session(Connection(ours), self.target, Monitor(machine))

    def ask(self, packet: bytes) -> list[bytes]:
        """The answers to a packet."""
        self.client.sendall(framed(packet))
        self.session.talk(0)
        return answers(received(self.client))

    def answer(self, packet: bytes) -> bytes:
        """The only answer to a packet."""
        (answer,) = self.ask(packet)
        return answer


@pytest.fixture
def gdb() -> Iterator[Debugger]:
    ours, theirs = socket.socketpair()
    with machine_with(NOP, ADD_X1, BACK) as machine, ours, theirs:
        machine.run(0)
        yield Debugger(machine, ours, theirs)


def test_attached_core_is_stopped_by_a_trap(gdb: Debugger) -> None:
    assert gdb.answer(b"?") == b"T05thread:1;"


def test_abilities_are_told(gdb: Debugger) -> None:
    told = gdb.answer(b"qSupported:multiprocess+;xmlRegisters=i386").split(b";")
    assert b"PacketSize=4000" in told
    assert b"qXfer:features:read+" in told
    assert b"QStartNoAckMode+" in told


def test_silence_begins_after_its_own_answer(gdb: Debugger) -> None:
    gdb.client.sendall(framed(b"QStartNoAckMode"))
    gdb.session.talk(0)
    assert received(gdb.client) == b"+$OK#9a"
    gdb.client.sendall(framed(b"qC"))
    gdb.session.talk(0)
    assert received(gdb.client) == b"$QC1#c5"


# -- registers


def test_target_description_names_the_registers_in_the_order_of_g() -> None:
    root = ET.fromstring(target_xml().replace(b'SYSTEM "gdb-target.dtd"', b""))
    features = [feature.get("name") for feature in root.iter("feature")]
    names = [reg.get("name") for reg in root.iter("reg")]
    assert features == ["org.gnu.gdb.aarch64.core", "smmu-emu.aarch64.system"]
    assert names[:34] == [*(f"x{n}" for n in range(31)), "sp", "pc", "cpsr"]
    assert {"VBAR_EL1", "ELR_EL1", "ESR_EL1", "FAR_EL1", "TTBR0_EL1", "TTBR1_EL1"} <= set(names)
    assert names == [register.name for register in REGISTERS]


def test_target_description_comes_in_pieces(gdb: Debugger) -> None:
    text = b""
    while True:
        piece = gdb.answer(b"qXfer:features:read:target.xml:%x,100" % len(text))
        text += piece[1:]
        if piece[:1] == b"l":
            break
        assert len(piece) == 0x101
    assert text == target_xml()


def test_registers_are_little_endian(gdb: Debugger) -> None:
    assert gdb.answer(b"p20") == b"0000104000000000"
    assert gdb.answer(b"p21") == b"c5030000"
    everything = gdb.answer(b"g")
    assert everything[32 * 16 : 33 * 16] == b"0000104000000000"
    assert len(everything) == 2 * sum(register.bits // 8 for register in REGISTERS)


def test_registers_can_be_written(gdb: Debugger) -> None:
    assert gdb.answer(b"P5=efcdab8967452301") == b"OK"
    assert gdb.machine.core.x(5) == 0x0123_4567_89AB_CDEF
    assert gdb.answer(b"P20=0400104000000000") == b"OK"
    assert gdb.machine.core.pc == AT + 4
    everything = gdb.answer(b"g")
    assert gdb.answer(b"G" + b"11" * 8 + everything[16:]) == b"OK"
    assert gdb.machine.core.x(0) == 0x1111_1111_1111_1111


def test_what_rules_translation_is_read_only(gdb: Debugger) -> None:
    number = next(i for i, register in enumerate(REGISTERS) if register.name == "TTBR0_EL1")
    assert gdb.answer(b"P%x=0000000100000000" % number) == b"E16"
    assert gdb.machine.core.read("TTBR0_EL1") == 0


@pytest.mark.parametrize("mode", [0x9, 0xD, 0x10, 0x13, 0x1])
def test_core_cannot_be_put_where_guests_never_are(gdb: Debugger, mode: int) -> None:
    assert gdb.answer(b"P21=%02x030000" % (0xC0 | mode)) == b"E16"
    assert gdb.machine.core.read("PSTATE") == 0x3C5


def test_flags_of_the_core_can_be_written(gdb: Debugger) -> None:
    assert gdb.answer(b"P21=c5030060") == b"OK"
    assert gdb.machine.core.read("PSTATE") == 0x6000_03C5


def place(name: str) -> bytes:
    """A register's number in packets."""
    return b"%x" % [register.name for register in REGISTERS].index(name)


def test_registers_of_el2_are_there_for_guests_that_have_it(gdb: Debugger) -> None:
    core = gdb.machine.core
    assert gdb.answer(b"p" + place("HCR_EL2")) == b"00" * 8
    assert gdb.answer(b"P" + place("VBAR_EL2") + b"=0008104000000000") == b"E16"
    core.reset(core.pc, el=2)
    core.write("HCR_EL2", 1 << 31)
    assert gdb.answer(b"p" + place("HCR_EL2")) == b"0000008000000000"
    assert gdb.answer(b"P" + place("VBAR_EL2") + b"=0008104000000000") == b"OK"
    assert core.read("VBAR_EL2") == 0x4010_0800
    assert gdb.answer(b"P" + place("HCR_EL2") + b"=0000000000000000") == b"E16"
    assert gdb.answer(b"p21") == b"c9030000"
    assert gdb.answer(b"P21=c9030060") == b"OK"
    assert gdb.answer(b"P21=cd030000") == b"E16"


# -- memory


def test_memory_is_read_and_written(gdb: Debugger) -> None:
    assert gdb.answer(b"m40100000,4") == b"1f2003d5"
    assert gdb.answer(b"M42000000,3:a1b2c3") == b"OK"
    assert gdb.answer(b"X42000003,2:}\x03}]") == b"OK"
    assert gdb.answer(b"m42000000,6") == b"a1b2c3237d00"


def test_device_registers_are_refused(gdb: Debugger) -> None:
    gdb.machine.feed(b"a")
    assert gdb.answer(b"m%x,4" % UART) == b"E0e"
    assert gdb.answer(b"M%x,1:41" % UART) == b"E0e"
    assert gdb.answer(b"X%x,1:A" % UART) == b"E0e"
    assert not gdb.machine.output
    assert gdb.machine.unmodelled == []


def test_reading_ends_where_ram_does(gdb: Debugger) -> None:
    assert gdb.answer(b"m%x,20" % (RAM_END - 2)) == b"0000"
    assert gdb.answer(b"m%x,20" % RAM_END) == b"E0e"
    assert gdb.answer(b"M%x,4:00000000" % (RAM_END - 2)) == b"E0e"
    assert gdb.answer(b"mfffffffffffffffe,8") == b"E0e"


def test_huge_read_is_cut_to_a_packet(gdb: Debugger) -> None:
    assert 0 < len(gdb.answer(b"m40000000,ffffffffffffffff")) < 0x4000


# -- running


@pytest.mark.parametrize("packet", [b"c", b"vCont;c", b"vCont;c:1", b"C05", b"vCont;C05:1;c"])
def test_core_continues_without_an_answer(gdb: Debugger, packet: bytes) -> None:
    assert gdb.ask(packet) == []
    assert (gdb.session.stopped, gdb.session.stepping) == (False, False)


@pytest.mark.parametrize("packet", [b"s", b"vCont;s:1;c", b"S05"])
def test_core_steps(gdb: Debugger, packet: bytes) -> None:
    assert gdb.ask(packet) == []
    assert (gdb.session.stopped, gdb.session.stepping) == (False, True)


def test_core_continues_elsewhere(gdb: Debugger) -> None:
    gdb.ask(b"c40100008")
    assert gdb.machine.core.pc == AT + 8


def test_ctrl_c_stops_what_runs_and_nothing_else(gdb: Debugger) -> None:
    gdb.client.sendall(b"\x03")
    gdb.session.talk(0)
    assert received(gdb.client) == b""
    gdb.ask(b"c")
    gdb.client.sendall(b"\x03")
    gdb.session.talk(0)
    assert answers(received(gdb.client)) == [b"T02thread:1;"]
    assert gdb.session.stopped


def test_end_of_the_run_is_told_to_who_waits_for_it(gdb: Debugger) -> None:
    gdb.session.exited(3)
    assert received(gdb.client) == b""
    gdb.ask(b"c")
    gdb.session.exited(0x103)
    assert answers(received(gdb.client)) == [b"W03"]


@pytest.mark.parametrize(
    ("packet", "leave"), [(b"D", Leave.DETACH), (b"k", Leave.KILL), (b"vKill;1", Leave.KILL)]
)
def test_debugger_takes_its_leave(gdb: Debugger, packet: bytes, leave: Leave) -> None:
    gdb.ask(packet)
    assert gdb.session.leave is leave


# -- breakpoints


def test_breakpoints_of_both_kinds_at_one_address_are_two(gdb: Debugger) -> None:
    assert gdb.answer(b"Z0,40100004,4") == b"OK"
    assert gdb.answer(b"Z1,40100004,4") == b"OK"
    assert gdb.answer(b"z0,40100004,4") == b"OK"
    assert gdb.machine.core.breakpoints == {AT + 4}
    assert gdb.answer(b"z1,40100004,4") == b"OK"
    assert gdb.machine.core.breakpoints == set()


def test_breakpoint_is_not_written_into_memory(gdb: Debugger) -> None:
    before = gdb.answer(b"m40100000,c")
    gdb.ask(b"Z0,40100004,4")
    assert gdb.answer(b"m40100000,c") == before


@pytest.mark.parametrize(
    ("packet", "told"),
    [(b"Z2,42000000,8", b"watch"), (b"Z3,42000000,8", b"rwatch"), (b"Z4,42000000,8", b"awatch")],
)
def test_watchpoint_is_named_in_the_stop(gdb: Debugger, packet: bytes, told: bytes) -> None:
    machine = gdb.machine
    instruction = b"610040f9" if told == b"rwatch" else b"610000f9"  # ldr / str x1, [x3]
    gdb.ask(b"M40100000,4:" + instruction)
    gdb.ask(b"P3=0000004200000000")
    assert gdb.answer(packet) == b"OK"
    gdb.ask(b"c")
    machine.run(100)
    gdb.session.stop(SIGTRAP)
    assert answers(received(gdb.client)) == [b"T05%s:42000000;thread:1;" % told]
    assert machine.core.pc == AT + 4
    assert gdb.answer(b"z" + packet[1:]) == b"OK"


def test_watchpoints_are_few_and_on_ram(gdb: Debugger) -> None:
    assert gdb.answer(b"Z2,%x,4" % UART) == b"E16"
    assert gdb.answer(b"Z2,42000000,ffffffffffffffff") == b"E16"
    assert [gdb.answer(b"Z2,420000%02x,1" % n) for n in range(17)] == [b"OK"] * 16 + [b"E16"]


def test_breakpoints_are_bounded(gdb: Debugger) -> None:
    gdb.target._breakpoints = {(0, AT + 4 * n) for n in range(MAX_BREAKPOINTS)}
    assert gdb.answer(b"Z0,40200000,4") == b"E16"
    gdb.target._breakpoints.clear()
    assert gdb.answer(b"Z0,40200002,4") == b"E16"


def test_debugger_that_leaves_takes_its_breakpoints_along(gdb: Debugger) -> None:
    gdb.ask(b"Z0,40100004,4")
    gdb.ask(b"Z2,42000000,8")
    gdb.target.release()
    assert gdb.machine.core.breakpoints == set()
    assert gdb.machine.core.watched is None


# -- what makes no sense


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"!",
        b"R00",
        b"Z9,0,4",
        b"vMustReplyEmpty",
        b"vFile:open:",
        b"qNoSuchThing",
        b"\xff\x00",
    ],
)
def test_unknown_packet_is_answered_by_an_empty_one(gdb: Debugger, packet: bytes) -> None:
    assert gdb.answer(packet) == b""


@pytest.mark.parametrize(
    "packet",
    [
        *(b"m", b"m,", b"m1", b"m1,2,3", b"mzz,4", b"m0x10,4", b"m-1,4", b"m1_0,4", b"m40000000,0"),
        *(b"m10000000000000000,4", b"M42000000,4:11", b"M42000000,1:1", b"M42000000,1:xx"),
        *(b"X42000000,5:abc", b"p", b"pffff", b"p-1", b"P99=00", b"G00", b"Gzz"),
        *(b"Z0", b"Z0,4", b"Zz,4,4", b"z1,x,4", b"vCont;t", b"vCont;", b"cxyz"),
        *(b"qXfer:features:read:target.xml:", b"qRcmd,7", b"qRcmd,zz"),
    ],
)
def test_malformed_packet_is_answered_by_an_error(gdb: Debugger, packet: bytes) -> None:
    assert gdb.answer(packet) == b"E01"
    assert gdb.session.stopped


def test_registers_of_a_wrong_size_are_refused(gdb: Debugger) -> None:
    assert gdb.answer(b"P5=00") == b"E16"


# -- monitor


def monitor(gdb: Debugger, command: str) -> str:
    *text, end = gdb.ask(b"qRcmd," + command.encode().hex().encode())
    assert end == b"OK"
    assert all(piece[:1] == b"O" for piece in text)
    return b"".join(bytes.fromhex(piece[1:].decode()) for piece in text).decode()


def test_monitor_helps(gdb: Debugger) -> None:
    helps = monitor(gdb, "help")
    assert [line.split()[0] for line in helps.splitlines()] == ["smmu", "tlb", "events", "time"]
    assert monitor(gdb, "") == monitor(gdb, "smmu now") == monitor(gdb, "\x00ü") == helps


def test_monitor_tells_time(gdb: Debugger) -> None:
    gdb.machine.run(1234)
    assert monitor(gdb, "time") == "1,234 instructions, 1,234 ns\n"


def test_monitor_shows_an_smmu_at_rest(gdb: Debugger) -> None:
    lines = monitor(gdb, "smmu").splitlines()
    assert lines[0].startswith("smmu0    CR0 0x0, CR0ACK 0x0, errors 0x0")
    assert lines[1] == "CMDQ     prod 0x0, cons 0x0 of 1, 0 waiting, at 0x0"
    assert monitor(gdb, "tlb") == "no entries\n"
    assert monitor(gdb, "events") == "no transaction was refused\n"


def test_monitor_answers_for_a_machine_without_smmu() -> None:
    with Machine.virt(ram=64 << 20, iommu=None, devices=()) as machine:
        monitor_ = Monitor(machine)
        assert monitor_.command("smmu") == "no SMMU\n"
        assert monitor_.command("tlb") == "no entries\n"
        assert monitor_.command("events") == "no transaction was refused\n"
