# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs with a door open for debuggers, and with debuggers that mean no good."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from smmu_emu import Machine
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.debug import packets
from smmu_emu.debug.listener import Listener
from smmu_emu.debug.packets import MAX_PACKET
from smmu_emu.debug.server import DebugServer
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import RunResult
from tests.deadline import within
from tests.unit.debug.client import (
    ADD_X1,
    BACK,
    NOP,
    POWER_OFF,
    answers,
    framed,
    machine_with,
    received,
)

WFI, SPIN = 0xD503_207F, 0x1400_0000


class Run:
    """A machine, its server, and a debugger that has said all it will say before the run."""

    def __init__(self, *words: int) -> None:
        self.machine = machine_with(*words)
        self.said: list[str] = []
        self.server = DebugServer(self.machine, Listener("0"), self.said.append)
        self.client, self.ours = socket.socketpair()

    def after(self, wire: bytes, *, gone: bool = False, limit: int | None = None) -> RunResult:
        """The end of a run whose debugger sent ``wire``, and then left if ``gone``."""
        with within(30):
            self.server.attach(self.ours)
            self.client.sendall(wire)
            if gone:
                self.client.close()
            return self.server.run(limit)

    @property
    def answers(self) -> list[bytes]:
        return answers(received(self.client))

    def close(self) -> None:
        self.client.close()
        self.ours.close()
        self.machine.close()


@pytest.fixture
def program() -> Iterator[Run]:
    """Four instructions, then a power-off."""
    run = Run(NOP, ADD_X1, NOP, ADD_X1, *POWER_OFF)
    yield run
    run.close()


@pytest.fixture
def loop() -> Iterator[Run]:
    run = Run(NOP, ADD_X1, BACK)
    yield run
    run.close()


def test_run_stops_at_a_breakpoint_and_goes_on_to_its_end(program: Run) -> None:
    result = program.after(framed(b"Z0,40100008,4", b"c", b"p1", b"c"))
    assert (result.kind, result.status, result.instructions) == (ExitKind.POWER_OFF, 0, 7)
    assert program.answers == [b"OK", b"T05thread:1;", b"0100000000000000", b"W00"]


def test_steps_are_single_instructions(program: Run) -> None:
    result = program.after(framed(b"s", b"s", b"p20", b"vCont;s:1", b"p1", b"k"))
    stop = b"T05thread:1;"
    assert program.answers == [stop, stop, b"0800104000000000", stop, b"0100000000000000"]
    assert (result.kind, result.status, result.instructions) == (ExitKind.DEVICE, 130, 3)
    assert result.reason == "killed by the debugger"


def test_run_with_a_debugger_counts_as_the_run_without() -> None:
    with machine_with(NOP, ADD_X1, BACK) as plain:
        alone = plain.run(5000)
        expected = alone.instructions, alone.pc, plain.clock.now, plain.core.x(1)
    run = Run(NOP, ADD_X1, BACK)
    commands = [b"Z0,40100004,4", b"Z1,40100008,4", *[b"c", b"s"] * 8, b"g", b"D"]
    result = run.after(framed(*commands), limit=5000)
    core = run.machine.core
    assert result.kind is ExitKind.MAX_INSTRUCTIONS
    assert result.reason == "5000 instructions executed"
    assert (result.instructions, result.pc, run.machine.clock.now, core.x(1)) == expected
    assert run.said[-1] == "the debugger detached; the run goes on"
    run.close()


def test_budget_ends_a_run_that_steps(loop: Run) -> None:
    result = loop.after(framed(*[b"s"] * 3), limit=3)
    assert (result.kind, result.instructions) == (ExitKind.MAX_INSTRUCTIONS, 3)
    assert loop.answers == [b"T05thread:1;", b"T05thread:1;", b"W7c"]


def test_ctrl_c_stops_a_run(loop: Run) -> None:
    result = loop.after(framed(b"c") + b"\x03" + framed(b"k"))
    assert loop.answers == [b"T02thread:1;"]
    assert result.status == 130


@pytest.mark.parametrize("word", [WFI, SPIN])
def test_debugger_may_look_around_when_the_core_is_dead(word: int) -> None:
    run = Run(NOP, word)
    result = run.after(framed(b"c", b"p20", b"c"))
    note, stop, _, end = run.answers
    assert b"going on from here ends the run" in bytes.fromhex(note[1:].decode())
    assert (stop, end) == (b"T0bthread:1;", b"W7d")
    assert result.kind is ExitKind.DEADLOCK
    run.close()


# -- debuggers that leave, or are none


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (b"", "connection lost"),
        (b"$m4015", "connection lost"),
        (framed(b"Z0,40100008,4"), "connection lost"),
        (framed(b"Z0,40100008,4", b"c"), "connection lost"),
        (b"GET / HTTP/1.1\r\n" * 1500, "what arrives is not GDB's protocol"),
        (b"$" + b"m" * (MAX_PACKET + 10), "a packet is longer than 16384 bytes"),
        (b"$g#00" * 50, "packets arrive damaged"),
    ],
)
def test_run_goes_on_without_who_is_no_debugger(program: Run, wire: bytes, said: str) -> None:
    result = program.after(wire, gone=said == "connection lost")
    assert (result.kind, result.instructions) == (ExitKind.POWER_OFF, 7)
    assert program.said == ["a debugger attached", f"{said}; the run goes on"]


def test_debugger_that_reads_nothing_is_given_up(
    loop: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packets, "_SEND_TIMEOUT", 0.05)
    result = loop.after(framed(*[b"g"] * 1000), limit=100)
    assert result.kind is ExitKind.MAX_INSTRUCTIONS
    assert loop.said[-1] == "connection lost; the run goes on"


def test_noise_is_survived_by_the_session(program: Run) -> None:
    noise = bytes(b for b in range(256) if b not in b"$-\x03") * 10
    result = program.after(noise + framed(b"p20", b"c"))
    assert result.kind is ExitKind.POWER_OFF
    assert program.answers == [b"0000104000000000", b"W00"]


def test_debugger_detaches_and_the_run_goes_on_without_breakpoints(program: Run) -> None:
    result = program.after(framed(b"Z0,40100008,4", b"D"))
    assert result.kind is ExitKind.POWER_OFF
    assert program.said[-1] == "the debugger detached; the run goes on"


def test_exit_asked_for_ends_the_run_under_the_debugger(loop: Run) -> None:
    loop.server.request_exit("interrupted", 130)
    result = loop.after(b"")
    assert (result.kind, result.status, result.reason) == (ExitKind.DEVICE, 130, "interrupted")
    assert loop.answers == [b"W82"]


def test_nobody_comes_and_the_run_is_as_always(program: Run) -> None:
    assert program.server.run().kind is ExitKind.POWER_OFF
    assert program.said == []


# -- the door


def test_debugger_comes_in_through_the_door(tmp_path: Path) -> None:
    path = str(tmp_path / "gdb.sock")
    listener = Listener(path)
    assert listener.where == path
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(framed(b"p20", b"c"))
    with machine_with(NOP, *POWER_OFF) as machine, client, within(30):
        result = DebugServer(machine, listener, lambda _: None).run(wait=True)
        assert result.kind is ExitKind.POWER_OFF
        assert answers(received(client)) == [b"0000104000000000", b"W00"]
    assert not os.path.exists(path)


def test_wait_for_a_debugger_ends_when_asked_to() -> None:
    with machine_with(NOP) as machine, within(30):
        server = DebugServer(machine, Listener("0"), lambda _: None)
        server.request_exit("interrupted", 130)
        result = server.run(wait=True)
    assert (result.reason, result.instructions) == ("interrupted", 0)


def test_port_is_one_of_this_computer_alone() -> None:
    listener = Listener("0")
    assert listener.where.startswith("127.0.0.1:")
    assert int(listener.where.partition(":")[2]) > 0
    listener.close()


def test_port_in_use_is_refused() -> None:
    listener = Listener("0")
    port = listener.where.partition(":")[2]
    with pytest.raises(ConfigurationError, match=f"--gdb {port}: cannot listen there: Address"):
        Listener(port)
    listener.close()


@pytest.mark.parametrize("address", ["65536", "99999999999999999999"])
def test_port_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="ports end at 65535"):
        Listener(address)


@pytest.mark.parametrize("name", ["", "no/such/folder", "x" * 200])
def test_path_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen there"):
        Listener(f"{tmp_path}/{name}")


def test_file_is_not_overwritten_by_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigurationError, match="cannot listen there"):
        Listener(str(path))
    assert path.read_text() == "data"


def test_socket_in_use_is_refused_and_an_abandoned_one_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "gdb.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen(1)
        with pytest.raises(ConfigurationError, match="Address already in use"):
            Listener(path)
    Listener(path).close()
    assert not os.path.exists(path)


def test_machine_can_be_reset_after_it_was_debugged(program: Run) -> None:
    program.after(framed(b"Z0,40100008,4", b"c", b"c"))
    machine: Machine = program.machine
    machine.reset()
    assert machine.run().instructions == 7
