# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of GDB's remote serial protocol, for one core: one thread, all-stop.

Software and hardware breakpoints are the same here, and never written into memory. A watchpoint is
told after the access; GDB, which expects AArch64 to tell before, steps once more. What is not known
is answered by an empty packet, what is malformed or refused by ``E`` and a number.

Reference: "Debugging with GDB", appendix E (Packets, Stop Reply Packets, General Query Packets).
Left out: reverse execution, files, several processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from smmu_emu.cpu.watchpoints import WatchKind
from smmu_emu.debug import registers, registers32
from smmu_emu.debug.monitor import Monitor
from smmu_emu.debug.packets import INTERRUPT, MAX_PACKET, Connection, escape, unescape
from smmu_emu.debug.target import WATCH_KINDS, Target

SIGINT, SIGTRAP, SIGSEGV = 2, 5, 11
"""Signal numbers as GDB counts them."""

_WATCH_NAMES = {WatchKind.WRITE: b"watch", WatchKind.READ: b"rwatch", WatchKind.ACCESS: b"awatch"}
_OK = b"OK"
_MALFORMED, _NO_MEMORY, _INVALID = b"E01", b"E0e", b"E16"
_PIECE = MAX_PACKET // 2 - 16
"""Bytes that go into one packet as hexadecimal digits."""
_NUMBER = re.compile(rb"[0-9a-fA-F]{1,16}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2})*")


class Leave(Enum):
    """How a debugger takes its leave."""

    DETACH = auto()
    """The run goes on without it."""
    KILL = auto()
    """The run ends."""


class _RefusedError(Exception):
    """A packet's answer is this error."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


class Session:
    """One debugger at work on a machine, which is ``stopped`` from the beginning.

    While ``stopped`` is False the owner runs the machine, one instruction if ``stepping``, and
    tells what happens by `stop` and `exited`. `talk` serves the debugger; once ``leave`` is set it
    wants no more.
    """

    def __init__(self, connection: Connection, target: Target, monitor: Monitor) -> None:
        self._connection = connection
        self._target = target
        self._monitor = monitor
        known: Any = registers if target.core.isa == "a64" else registers32
        self._registers: tuple[registers.Register, ...] = known.REGISTERS
        self._description: bytes = known.target_xml()
        self.stopped = True
        self.stepping = False
        self.leave: Leave | None = None
        self._signal = SIGTRAP
        self._commands: dict[bytes, Callable[[bytes], bytes | None]] = {
            b"?": lambda _: self._stop_reply(),
            b"g": self._read_registers,
            b"G": self._write_registers,
            b"p": self._read_register,
            b"P": self._write_register,
            b"m": self._read_memory,
            b"M": self._write_memory,
            b"X": self._write_binary,
            b"c": self._continue,
            b"s": self._step,
            b"C": self._continue_with_signal,
            b"S": self._step_with_signal,
            b"Z": self._insert,
            b"z": self._remove,
            b"H": lambda _: _OK,
            b"T": lambda _: _OK,
            b"D": self._detach,
            b"k": self._kill,
            b"q": self._query,
            b"Q": self._set,
            b"v": self._verbose,
        }

    # -- for the owner

    def talk(self, timeout: float) -> None:
        """Serve a packet if one comes within ``timeout`` seconds.

        Raises: ConnectionLostError.
        """
        packet = self._connection.receive(timeout)
        if packet is None:
            return
        if packet == INTERRUPT:
            if not self.stopped:
                self.stop(SIGINT)
            return
        try:
            command = self._commands.get(packet[:1])
            answer = b"" if command is None else command(packet[1:])
        except _RefusedError as refused:
            answer = refused.answer
        if answer is not None:
            self._connection.send(answer)
        if packet == b"QStartNoAckMode":
            self._connection.acknowledge = False

    def stop(self, signal: int, note: str = "") -> None:
        """The machine stopped; ``note`` is for the person at the debugger.

        Raises: ConnectionLostError.
        """
        self.stopped, self._signal = True, signal
        if note:
            self._connection.send(b"O" + f"{note}\n".encode().hex().encode())
        self._connection.send(self._stop_reply())

    def exited(self, status: int) -> None:
        """The run is over.

        Raises: ConnectionLostError.
        """
        if not self.stopped:
            self._connection.send(b"W%02x" % (status & 0xFF))

    # -- running

    def _stop_reply(self) -> bytes:
        watched = self._target.core.watched
        if watched is None or self._signal != SIGTRAP:
            return b"T%02xthread:1;" % self._signal
        name = _WATCH_NAMES[watched.kind]
        return b"T%02x%s:%x;thread:1;" % (self._signal, name, watched.va)

    def _resume(self, address: bytes, *, step: bool) -> None:
        if address:
            self._target.core.write("PC", _number(address))
        self.stopped, self.stepping = False, step

    def _continue(self, rest: bytes) -> None:
        self._resume(rest, step=False)

    def _step(self, rest: bytes) -> None:
        self._resume(rest, step=True)

    def _continue_with_signal(self, rest: bytes) -> None:
        self._resume(rest.partition(b";")[2], step=False)

    def _step_with_signal(self, rest: bytes) -> None:
        self._resume(rest.partition(b";")[2], step=True)

    def _verbose(self, rest: bytes) -> bytes | None:
        if rest == b"Cont?":
            return b"vCont;c;C;s;S"
        if rest.startswith(b"Cont;"):
            action = rest[5:6]
            if action not in (b"c", b"C", b"s", b"S"):
                raise _RefusedError(_MALFORMED)
            self._resume(b"", step=action in (b"s", b"S"))
            return None
        if rest.startswith(b"Kill;"):
            self.leave = Leave.KILL
            return _OK
        return b""

    def _detach(self, _: bytes) -> bytes:
        self.leave = Leave.DETACH
        return _OK

    def _kill(self, _: bytes) -> None:
        self.leave = Leave.KILL

    # -- registers

    def _read_registers(self, _: bytes) -> bytes:
        core = self._target.core
        return (
            b"".join(registers.read(core, register) for register in self._registers).hex().encode()
        )

    def _write_registers(self, rest: bytes) -> bytes:
        data = _bytes(rest)
        if len(data) != sum(register.bits // 8 for register in self._registers):
            raise _RefusedError(_MALFORMED)
        done, at = True, 0
        for register in self._registers:
            value = data[at : at + register.bits // 8]
            at += len(value)
            done &= registers.write(self._target.core, register, value)
        return _OK if done else _INVALID

    def _register(self, text: bytes) -> registers.Register:
        number = _number(text)
        if number >= len(self._registers):
            raise _RefusedError(_MALFORMED)
        return self._registers[number]

    def _read_register(self, rest: bytes) -> bytes:
        return registers.read(self._target.core, self._register(rest)).hex().encode()

    def _write_register(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        done = registers.write(self._target.core, self._register(number), _bytes(value))
        return _OK if done else _INVALID

    # -- memory

    def _read_memory(self, rest: bytes) -> bytes:
        address, size = _numbers(rest, 2)
        if not size:
            raise _RefusedError(_MALFORMED)
        data = self._target.read_memory(address, min(size, _PIECE))
        return data.hex().encode() or _NO_MEMORY

    def _write_memory(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._put(where, _bytes(data))

    def _write_binary(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._put(where, unescape(data))

    def _put(self, where: bytes, data: bytes) -> bytes:
        address, size = _numbers(where, 2)
        if size != len(data):
            raise _RefusedError(_MALFORMED)
        return _OK if self._target.write_memory(address, data) else _NO_MEMORY

    # -- breakpoints

    def _insert(self, rest: bytes) -> bytes:
        kind, address, size = _numbers(rest.partition(b";")[0], 3)
        if kind in WATCH_KINDS:
            done = self._target.add_watchpoint(kind, address, size)
        elif kind in (0, 1):
            done = self._target.add_breakpoint(kind, address)
        else:
            return b""
        return _OK if done else _INVALID

    def _remove(self, rest: bytes) -> bytes:
        kind, address, size = _numbers(rest, 3)
        if kind in WATCH_KINDS:
            self._target.remove_watchpoint(kind, address, size)
        elif kind in (0, 1):
            self._target.remove_breakpoint(kind, address)
        else:
            return b""
        return _OK

    # -- queries

    def _query(self, rest: bytes) -> bytes | None:
        name = re.split(rb"[:,;]", rest, maxsplit=1)[0]
        if name == b"Rcmd":
            return self._monitored(_bytes(rest[5:]))
        if rest.startswith(b"Xfer:features:read:target.xml:"):
            return self._describe(rest.rpartition(b":")[2])
        fixed = {
            b"Supported": b"PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;vContSupported+"
            % MAX_PACKET,
            b"fThreadInfo": b"m1",
            b"sThreadInfo": b"l",
            b"C": b"QC1",
            b"Attached": b"1",  # who leaves detaches, and does not kill
            b"Symbol": _OK,
        }
        return fixed.get(name, b"")

    def _set(self, rest: bytes) -> bytes:
        return _OK if rest == b"StartNoAckMode" else b""

    def _describe(self, window: bytes) -> bytes:
        offset, size = _numbers(window, 2)
        text = self._description
        piece = text[offset : offset + min(size, _PIECE)]
        more = b"m" if offset + len(piece) < len(text) else b"l"
        return more + escape(piece)

    def _monitored(self, text: bytes) -> bytes:
        answer = self._monitor.command(text.decode(errors="replace")).encode()
        for at in range(0, len(answer), _PIECE):
            self._connection.send(b"O" + answer[at : at + _PIECE].hex().encode())
        return _OK


def _number(text: bytes) -> int:
    if not _NUMBER.fullmatch(text):
        raise _RefusedError(_MALFORMED)
    return int(text, 16)


def _numbers(text: bytes, count: int) -> list[int]:
    """So many hexadecimal numbers with commas between them."""
    parts = text.split(b",")
    if len(parts) != count:
        raise _RefusedError(_MALFORMED)
    return [_number(part) for part in parts]


def _bytes(text: bytes) -> bytes:
    if not _HEX.fullmatch(text):
        raise _RefusedError(_MALFORMED)
    return bytes.fromhex(text.decode())
