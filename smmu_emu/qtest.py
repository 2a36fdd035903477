# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's qtest protocol: a program in another process plays the core of a machine.

A line of words asks, one line that begins with OK or FAIL answers; lines "IRQ raise N" and "IRQ
lower N" may come before it. Reference: QEMU 11's docs/devel/testing/qtest.rst and its server, in
which each command here means the same. Addresses are physical; what nobody answers, and what a
device refuses, reads as zero and swallows writes, and is in the machine's list of unmodelled
accesses.

Where QEMU's server ends by an assertion, as for an argument that is no number, the answer here is
FAIL. Other differences: a block that lies in device registers is moved in words of 4 bytes; FAIL
answers more than `LARGEST` bytes at once, and modules, which are not here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from smmu_emu.devices.gicv2_distributor import FIRST_SPI, INTERRUPTS
from smmu_emu.errors import EmulatorError
from smmu_emu.interrupt import InterruptLine
from smmu_emu.machine import Machine
from smmu_emu.memory import Ram, Window

LARGEST = 64 << 20
"""Bytes in one command."""
LONGEST_LINE = 2 * LARGEST + 100
LAST_PORT = 0xFFFF
SPIS = INTERRUPTS - FIRST_SPI

ADDRESSES = 1 << 64
_LAST_TIME = (1 << 63) - 1
_SIZES = {"b": 1, "w": 2, "l": 4, "q": 8}
_NUMBER = re.compile(r"([+-]?)(?:0x([0-9a-f]+)|0([0-7]*)|([1-9][0-9]*))", re.IGNORECASE | re.ASCII)
_LONGEST_NUMBER = 40
_SHOWN = 40

Wires = list[tuple[int, InterruptLine]]


class CommandError(Exception):
    """A command that cannot be done; the text follows FAIL."""


class Qtest:
    """One session. `handle` takes a line; ``send`` gets answers and interrupts, without newline."""

    def __init__(self, machine: Machine, send: Callable[[str], None]) -> None:
        self.machine = machine
        self.send = send
        self._intercepted: str | None = None
        self._raised: set[int] = set()
        self._commands = self._table()
        memory = machine.memory
        edges = {0, ADDRESSES}
        edges.update(edge for ram in memory.rams for edge in (ram.base, ram.end))
        edges.update(edge for window in memory.windows for edge in (window.base, window.end))
        self._edges = sorted(edges)

    def _table(self) -> dict[str, tuple[int, Callable[[list[str]], str]]]:
        """Commands by name: how many arguments they need, and what does them."""
        table: dict[str, tuple[int, Callable[[list[str]], str]]] = {
            "read": (2, self._read_block),
            "write": (3, self._write_block),
            "memset": (3, self._fill),
            "b64read": (2, self._read_base64),
            "b64write": (3, self._write_base64),
            "clock_step": (0, self._clock_step),
            "clock_set": (1, self._clock_set),
            "irq_intercept_in": (1, self._intercept_in),
            "irq_intercept_out": (1, self._intercept_out),
            "set_irq_in": (4, self._set_irq_in),
            "endianness": (0, lambda _: "little"),
            "module_load": (0, _refuse("there are no modules")),
        }
        for suffix, size in _SIZES.items():
            table[f"read{suffix}"] = 1, self._reader(size)
            table[f"write{suffix}"] = 2, self._writer(size)
            if size < 8:
                table[f"in{suffix}"] = 1, self._port_reader(size)
                table[f"out{suffix}"] = 2, self._port_writer
        return table

    def handle(self, line: str) -> None:
        """Do one command and send the answer."""
        self.send(self._answer(line.split()))

    def _answer(self, words: list[str]) -> str:
        if not words:
            return "FAIL an empty line is no command"
        needed, action = self._commands.get(words[0], (0, None))
        if action is None:
            return f"FAIL Unknown command '{_shown(words[0])}'"
        if len(words) - 1 < needed:
            return f"FAIL {words[0]} needs {needed} arguments"
        try:
            return f"OK {action(words[1:])}".rstrip()
        except (CommandError, EmulatorError) as error:
            return f"FAIL {error}"

    # -- memory

    def _reader(self, size: int) -> Callable[[list[str]], str]:
        def read(arguments: list[str]) -> str:
            data = self.read(_number(arguments[0]), size)
            return f"0x{int.from_bytes(data, 'little'):016x}"

        return read

    def _writer(self, size: int) -> Callable[[list[str]], str]:
        def write(arguments: list[str]) -> str:
            address, value = _number(arguments[0]), _number(arguments[1])
            self.write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
            return ""

        return write

    def _read_block(self, arguments: list[str]) -> str:
        address, size = _span(arguments)
        if not size:
            raise CommandError("cannot read 0 bytes")
        return f"0x{self.read(address, size).hex()}"

    def _write_block(self, arguments: list[str]) -> str:
        address, size = _span(arguments)
        text = arguments[2]
        if text[:2] != "0x" or len(text) < 3:
            raise CommandError(f"'{_shown(text)}' is no hexadecimal data such as 0x0102")
        try:
            data = bytes.fromhex(text[2 : 2 + min(2 * size, len(text) - 2 & ~1)])
        except ValueError:
            raise CommandError("data that is not hexadecimal") from None
        self.write(address, data.ljust(size, b"\0"))
        return ""

    def _fill(self, arguments: list[str]) -> str:
        address, size = _span(arguments)
        self.write(address, bytes([_number(arguments[2]) & 0xFF]) * size)
        return ""

    def _read_base64(self, arguments: list[str]) -> str:
        address, size = _span(arguments)
        return base64.b64encode(self.read(address, size)).decode()

    def _write_base64(self, arguments: list[str]) -> str:
        address, size = _span(arguments)
        try:
            data = base64.b64decode(arguments[2], validate=True)
        except (ValueError, binascii.Error):
            raise CommandError("data that is not base64") from None
        self.write(address, data[:size])
        return ""

    def read(self, address: int, size: int) -> bytes:
        """Read as the core would; zeros where nobody answers."""
        memory = self.machine.memory
        parts = []
        for pa, length in self._pieces(address, size):
            data = memory.read(pa, length)
            if data is None and length == 8:
                halves = memory.read(pa, 4), memory.read(pa + 4, 4)
                data = b"".join(half or bytes(4) for half in halves)
            parts.append(data or bytes(length))
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Write as the core would; lost where nobody answers."""
        memory, view = self.machine.memory, memoryview(data)
        for pa, length in self._pieces(address, len(data)):
            piece = view[pa - address : pa - address + length]
            if not memory.write(pa, piece) and length == 8:
                memory.write(pa, piece[:4])
                memory.write(pa + 4, piece[4:])

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        """Split an access into what one block of RAM, one beat at a device, or nobody answers."""
        if address + size > ADDRESSES:
            raise CommandError(f"{size} bytes at {address:#x} end beyond 2^64")
        block = self.machine.memory.find(address)
        if block is not None and address + size <= block.end:
            yield from _parts(block, address, size)
            return
        for first, end in pairwise(self._edges):
            low, high = max(first, address), min(end, address + size)
            if low < high:
                yield from _parts(self.machine.memory.find(low), low, high - low)

    # -- ports, behind which there is nothing

    def _port_reader(self, size: int) -> Callable[[list[str]], str]:
        def read(arguments: list[str]) -> str:
            port = self._port(arguments[0])
            if port:  # QEMU's test library reads port 0 in order to hear of interrupts
                self.machine.reporter.report("port", port, "read")
            return f"0x{(1 << 8 * size) - 1:04x}"

        return read

    def _port_writer(self, arguments: list[str]) -> str:
        port = self._port(arguments[0])
        _number(arguments[1])
        self.machine.reporter.report("port", port, "write")
        return ""

    def _port(self, text: str) -> int:
        port = _number(text)
        if port > LAST_PORT:
            raise CommandError(f"{port:#x} is no port: the last one is {LAST_PORT:#x}")
        return port

    # -- time

    def _clock_step(self, arguments: list[str]) -> str:
        clock = self.machine.clock
        if arguments:
            time = clock.now + _number(arguments[0], signed=True)
        else:
            deadline = clock.next_deadline()
            if deadline is None:
                raise CommandError(
                    "cannot advance clock to the next deadline because there is no pending deadline"
                )
            time = deadline
        if not clock.now < time <= _LAST_TIME:
            raise CommandError("could not advance time")
        clock.advance(time)
        return str(clock.now)

    def _clock_set(self, arguments: list[str]) -> str:
        clock, time = self.machine.clock, _number(arguments[0], signed=True)
        if time < clock.now:
            raise CommandError(str(clock.now))
        clock.advance(time)
        return str(clock.now)

    # -- interrupts

    def _intercept_in(self, arguments: list[str]) -> str:
        inputs = {"gic": sorted(self.machine.board.wires().items()), "cpu": self._core_wires()}
        name = self._device(arguments[0])
        if len(arguments) > 1:
            raise CommandError("Interception of named in-GPIOs not yet supported")
        return self._intercept(f"in {name}", inputs.get(name, []))

    def _intercept_out(self, arguments: list[str]) -> str:
        board = self.machine.board
        outputs: dict[str, Wires] = {
            "gic": self._core_wires(),
            "pl011": [(0, board.uart.interrupt)],
            "pcie": list(enumerate(board.pcie.interrupts)),
        }
        if board.smmu is not None:
            lines = board.smmu.interrupts
            named = (lines.eventq, lines.priq, lines.cmdq_sync, lines.gerror)
            outputs[board.smmu.name] = list(enumerate(named))
        name = self._device(arguments[0])
        wanted = outputs.get(name, []) if arguments[1:2] == ["sysbus-irq"] else []
        return self._intercept(f"out {name}", wanted)

    def _core_wires(self) -> Wires:
        cpu = self.machine.board.gic.cpu
        return [(0, cpu.irq), (1, cpu.fiq)]

    def _intercept(self, what: str, wires: Wires) -> str:
        if self._intercepted is not None:
            if self._intercepted.split()[1] != what.split()[1]:
                raise CommandError("IRQ intercept already enabled")
            return ""
        if not wires:
            raise CommandError("No intercepts installed")
        self._intercepted = what
        for number, line in wires:
            line.sink = self._listener(number, line.sink)
        return ""

    def _listener(self, number: int, sink: Callable[[bool], None] | None) -> Callable[[bool], None]:
        def hear(level: bool) -> None:
            if sink is not None:
                sink(level)
            self._tell(number, level)

        return hear

    def _tell(self, number: int, level: bool) -> None:
        if level != (number in self._raised):
            (self._raised.add if level else self._raised.discard)(number)
            self.send(f"IRQ {'raise' if level else 'lower'} {number}")

    def _set_irq_in(self, arguments: list[str]) -> str:
        name = self._device(arguments[0])
        number, level = _number(arguments[2], signed=True), _number(arguments[3], signed=True)
        if name != "gic" or arguments[1] != "unnamed-gpio-in" or not 0 <= number < SPIS:
            raise CommandError(f"only unnamed-gpio-in 0 to {SPIS - 1} of the GIC can be set")
        self.machine.board.gic.spi(number)(bool(level))
        if self._intercepted == "in gic":
            self._tell(number, bool(level))
        return ""

    def _device(self, path: str) -> str:
        """The name of a device of ours for a path of QEMU's, or for that name itself."""
        name = QOM_PATHS.get(path, path)
        if name == "cpu" or name in self.machine.devices:
            return name
        raise CommandError("Unknown device")


QOM_PATHS = {
    "/machine/unattached/device[0]": "cpu",
    "/machine/unattached/device[1]": "gic",
    "/machine/unattached/device[3]": "pl011",
    "/machine/unattached/device[5]": "pcie",
    "/machine/unattached/device[6]": "smmu0",
}
"""What QEMU 11's virt calls our devices, with one core and -nodefaults."""


def _refuse(why: str) -> Callable[[list[str]], str]:
    def refuse(arguments: list[str]) -> str:
        raise CommandError(why)

    return refuse


def _number(text: str, *, signed: bool = False) -> int:
    """A number as C's strtoull and strtoll read it, with base 0.

    Raises: CommandError if it is none, or has more than 64 bits.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if match is None:
        raise CommandError(f"'{_shown(text)}' is no number")
    sign, hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        value = int(hexadecimal, 16)
    else:
        value = int(octal or "0", 8) if decimal is None else int(decimal)
    if value >= (1 << 63 if signed else ADDRESSES):
        raise CommandError(f"{text} has more than 64 bits")
    value = -value if sign == "-" else value
    return value if signed else value % ADDRESSES


def _span(arguments: list[str]) -> tuple[int, int]:
    address, size = _number(arguments[0]), _number(arguments[1])
    if size > LARGEST:
        raise CommandError(f"{size} bytes are more than {LARGEST} at once")
    return address, size


def _shown(text: str) -> str:
    """Text of somebody else's, short and printable."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return ascii(cut)[1:-1]


def _parts(block: Ram | Window | None, pa: int, size: int) -> Iterator[tuple[int, int]]:
    """How an access reaches a block: whole if it is aligned; else a device gets 4 bytes at most."""
    if not isinstance(block, Window) or (size in (1, 2, 4, 8) and not pa & size - 1):
        yield pa, size
        return
    end = pa + size
    while pa < end:
        length = min(4, pa & -pa or 4, 1 << (end - pa).bit_length() - 1)
        yield pa, length
        pa += length
