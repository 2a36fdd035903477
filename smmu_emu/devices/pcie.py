# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI functions: configuration space, BARs, capabilities, interrupt pins, and their addresses.

Spec: PCI Local Bus 3.0 chapter 6. Functions have the capabilities that they add, and no extended
configuration space. Where they sit is the business of `smmu_emu.devices.pcie_host`. Left out: I/O
space, expansion ROMs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from smmu_emu.bits import Bits, Word
from smmu_emu.clock import Clock
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import MmioDevice
from smmu_emu.port import DmaPort

HEADER_SIZE = 0x100
QEMU_SUBSYSTEM = (0x1AF4, 0x1100)
"""Subsystem vendor and device of functions that ask for none, as in QEMU."""


class COMMAND(Word, bits=16):
    """Spec: PCI 3.0 6.2.2."""

    IO_SPACE = Bits(0)
    MEMORY_SPACE = Bits(1)
    BUS_MASTER = Bits(2)
    SERR_ENABLE = Bits(8)
    INTERRUPT_DISABLE = Bits(10)


class STATUS(Word, bits=16):
    """Spec: PCI 3.0 6.2.3."""

    INTERRUPT = Bits(3)
    CAPABILITIES_LIST = Bits(4)


class Field(NamedTuple):
    """One register of the header: offset and size in bytes, and the bits software may write."""

    offset: int
    size: int
    writable: int = 0


HEADER = {
    "VENDOR_ID": Field(0x00, 2),
    "DEVICE_ID": Field(0x02, 2),
    "COMMAND": Field(0x04, 2, writable=COMMAND.mask()),
    "STATUS": Field(0x06, 2),
    "REVISION_ID": Field(0x08, 1),
    "CLASS_CODE": Field(0x09, 3),
    "CACHE_LINE_SIZE": Field(0x0C, 1, writable=0xFF),
    "LATENCY_TIMER": Field(0x0D, 1),
    "HEADER_TYPE": Field(0x0E, 1),
    "SUBSYSTEM_VENDOR_ID": Field(0x2C, 2),
    "SUBSYSTEM_ID": Field(0x2E, 2),
    "CAPABILITIES_POINTER": Field(0x34, 1),
    "INTERRUPT_LINE": Field(0x3C, 1, writable=0xFF),
    "INTERRUPT_PIN": Field(0x3D, 1),
}
"""Type 0 header without BARs. Spec: PCI 3.0 figure 6-1. PCIe wires the latency timer to zero."""

MULTIFUNCTION = 0x80
PINS = 4
"""INTA to INTD; INTERRUPT_PIN is 1 to 4, or 0 for a function without."""


class Bar(NamedTuple):
    """A base address register, and the registers of the function behind it.

    ``number`` is 0 to 5, ``size`` a power of two, in bytes; ``wide`` BARs have 64 bits and take the
    next number as well.
    """

    number: int
    size: int
    device: MmioDevice
    wide: bool = False
    prefetchable: bool = False


class Part(Protocol):
    """What belongs to a function and looks after registers of its own in configuration space."""

    def reset(self) -> None:
        """Power-on state; configuration space has it already."""

    def config_written(self) -> None:
        """Software wrote to configuration space."""


class Function:
    """One PCI function: configuration space, BARs, and the requester ID once it has a place.

    ``requester_id`` is ``bus << 8 | device << 3 | function``: the StreamID of its DMA. ``behind``
    are the functions on its secondary bus, by device and function, if it is a bridge, and
    ``upstream`` is the bridge that it is behind itself.
    """

    header = HEADER
    secondary_bus = 0
    """Number of the bus that a bridge leads to, 0 for none."""

    def __init__(
        self,
        vendor_id: int,
        device_id: int,
        class_code: int,
        *,
        subsystem: tuple[int, int] = QEMU_SUBSYSTEM,
        bars: Sequence[Bar] = (),
        name: str = "function",
    ) -> None:
        self.name = name
        self.requester_id = 0
        self.upstream: Function | None = None
        self.behind: dict[int, Function] = {}
        self.bars: tuple[Bar, ...] = ()
        self._parts: list[Part] = []
        self._dma: DmaPort | None = None
        self.changed: Callable[[], None] = lambda: None
        self.clock = Clock()
        self._reset_values = bytearray(HEADER_SIZE)
        self._writable = bytearray(HEADER_SIZE)
        for field in self.header.values():
            _put(self._writable, field.offset, field.size, field.writable)
        for bar in bars:
            self.add_bar(bar)
        self.preset("VENDOR_ID", vendor_id)
        self.preset("DEVICE_ID", device_id)
        self.preset("CLASS_CODE", class_code)
        if "SUBSYSTEM_ID" in self.header:
            self.preset("SUBSYSTEM_VENDOR_ID", subsystem[0])
            self.preset("SUBSYSTEM_ID", subsystem[1])
        self.space = bytearray(self._reset_values)

    def add_bar(self, bar: Bar) -> None:
        """Give the function a BAR, before it has a place on a host.

        Raises: ConfigurationError for one that cannot be.
        """
        if bar.size < 16 or bar.size & bar.size - 1 or not 0 <= bar.number < 6 - bar.wide:
            raise ConfigurationError(f"{self.name}: no BAR {bar.number} of {bar.size:#x} bytes")
        offset = 0x10 + 4 * bar.number
        width = 8 if bar.wide else 4
        _put(self._writable, offset, width, (1 << 8 * width) - bar.size)
        self._reset_values[offset] = bar.wide << 2 | bar.prefetchable << 3
        self.bars += (bar,)
        self.space = bytearray(self._reset_values)

    def preset(self, name: str, value: int) -> None:
        """Give a register of the header the value that it has after reset, and now."""
        field = self.header[name]
        _put(self._reset_values, field.offset, field.size, value)
        self.space = bytearray(self._reset_values)

    def add_capability(
        self, offset: int, body: bytes, writable: bytes, part: Part | None = None
    ) -> None:
        """Put a capability, as long as both arguments, in front of the list.

        ``body`` begins with its ID; ``writable`` are the bits software may write; ``part`` hears of
        writes and resets.

        Spec: PCI 3.0 6.7.
        """
        following = self.get("CAPABILITIES_POINTER")
        self._reset_values[offset : offset + len(body)] = body
        self._reset_values[offset + 1] = following
        self._writable[offset : offset + len(writable)] = writable
        self.preset("STATUS", STATUS.mask("CAPABILITIES_LIST"))
        self.preset("CAPABILITIES_POINTER", offset)
        if part is not None:
            self._parts.append(part)

    def set_property(self, name: str, value: str) -> None:
        """Take a property as the command line names it, before the first access.

        Raises: ConfigurationError for a property or value that there is not.
        """
        raise ConfigurationError(f"{self.name} has no property {name!r}")

    def reset(self) -> None:
        """Configuration space as after power-on; functions with state of their own extend this."""
        self.space[:] = self._reset_values
        for part in self._parts:
            part.reset()
        self.changed()

    def get(self, name: str) -> int:
        """A register of the header."""
        field = self.header[name]
        return int.from_bytes(self.space[field.offset : field.offset + field.size], "little")

    @property
    def dma(self) -> DmaPort:
        """The way to memory, through the translation unit.

        Raises: ConfigurationError while the function is on no host.
        """
        if self._dma is None:
            raise ConfigurationError(f"{self.name} is on no PCIe host yet: add it to one")
        return self._dma

    @property
    def place(self) -> str:
        """Where it sits: "00:01.0", or "00:02.0/0.0" behind a root port."""
        if self.upstream is None:
            return format_address(self.requester_id)
        return f"{self.upstream.place}/{self.requester_id >> 3 & 31:x}.{self.requester_id & 7}"

    def connect(self, requester_id: int, dma: DmaPort, changed: Callable[[], None]) -> None:
        """Take a place on a host, which wants to hear of changes to BARs and command register."""
        self.requester_id = requester_id
        self._dma = dma
        self.changed = changed

    def renumber(self, requester_id: int) -> None:
        """Software gave the bus another number."""
        self.requester_id = requester_id
        self.dma.renumber(requester_id)

    def forwards(self, first: int, end: int) -> bool:
        """Whether accesses to these addresses, up to ``end``, reach the functions behind it."""
        return False

    @property
    def bus_master(self) -> bool:
        """Whether software lets this function start transactions, and its bridge pass them on."""
        if not self.get("COMMAND") & COMMAND.mask("BUS_MASTER"):
            return False
        return self.upstream is None or self.upstream.bus_master

    def set_interrupt(self, level: bool) -> None:
        """Ask for an interrupt at the function's pin, or no more. Spec: PCI 3.0 2.2.6."""
        status = HEADER["STATUS"].offset
        before = self.space[status]
        self.space[status] = before & ~STATUS.mask("INTERRUPT") | level * STATUS.mask("INTERRUPT")
        if self.space[status] != before:
            self.changed()

    @property
    def interrupt_line(self) -> int | None:
        """Which of the host's lines this function drives high now, or None."""
        pin = self.get("INTERRUPT_PIN")
        asked = self.get("STATUS") & STATUS.mask("INTERRUPT")
        if not pin or not asked or self.get("COMMAND") & COMMAND.mask("INTERRUPT_DISABLE"):
            return None
        bridge = 0 if self.upstream is None else self.upstream.requester_id >> 3
        return (pin - 1 + (self.requester_id >> 3) + bridge) % PINS

    def config_read(self, offset: int, size: int) -> int:
        """A read of configuration space."""
        return int.from_bytes(self.space[offset : offset + size], "little")

    def config_write(self, offset: int, size: int, value: int) -> None:
        """A write of configuration space; only writable bits change."""
        for position in range(offset, min(offset + size, HEADER_SIZE)):
            mask = self._writable[position]
            self.space[position] = self.space[position] & ~mask | value & mask
            value >>= 8
        self.changed()
        for part in self._parts:
            part.config_written()

    def decoded(self) -> list[tuple[int, int, MmioDevice]]:
        """What its BARs answer now: (first address, address after the last, registers)."""
        if not self.get("COMMAND") & COMMAND.mask("MEMORY_SPACE"):
            return []
        bases = map(self.bar_address, self.bars)
        spans = [
            (base, base + bar.size, bar.device) for base, bar in zip(bases, self.bars, strict=True)
        ]
        bridge = self.upstream
        return [s for s in spans if bridge is None or bridge.forwards(s[0], s[1])]

    def bar_address(self, bar: Bar) -> int:
        """Where in memory space software put this BAR, whether it is decoded or not."""
        return self.config_read(0x10 + 4 * bar.number, 8 if bar.wide else 4) & -bar.size


def _put(space: bytearray, offset: int, size: int, value: int) -> None:
    space[offset : offset + size] = value.to_bytes(size, "little")


_ADDRESS = re.compile(r"(?:([0-9a-f]{1,2}):)?([0-9a-f]{1,2})\.([0-7])", re.IGNORECASE)


def parse_address(text: str) -> int:
    """Requester ID of "bus:device.function", hexadecimal; the bus may be left out.

    Raises: ConfigurationError if ``text`` is no such address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2], 16) > 31:
        raise ConfigurationError(f"{text!r} is no PCI address such as 00:02.0")
    return int(match[1] or "0", 16) << 8 | int(match[2], 16) << 3 | int(match[3])


def format_address(requester_id: int) -> str:
    """ "bus:device.function" of a requester ID."""
    return f"{requester_id >> 8:02x}:{requester_id >> 3 & 31:02x}.{requester_id & 7}"
