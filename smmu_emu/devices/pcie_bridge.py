# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's pcie-root-port (1b36:000c): a bridge from the root bus to one that software numbers.

Spec: PCI-to-PCI Bridge 1.2 chapter 3 (type 1 header), PCI Express 4.0 7.5 (capability). Its
configuration space is what QEMU 11.1 shows, but it has no slot, since nothing is plugged in or
out, no ARI and no extended capabilities. As the architecture says and QEMU does not, requests from
behind need the port's own bus-master bit. A BAR behind it is decoded if all of it is in one of the
port's two windows. Left out: I/O space, buses further down, errors.
"""

from __future__ import annotations

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.pcie import COMMAND, HEADER, Field, Function
from smmu_emu.devices.pcie_msi import add_msix_bar
from smmu_emu.devices.reporter import Report, ignore

VENDOR_ID = 0x1B36
DEVICE_ID = 0x000C
CLASS_CODE = 0x060400
TYPE_1 = 1

_TYPE_0_ONLY = {"SUBSYSTEM_VENDOR_ID", "SUBSYSTEM_ID"}
"""What type 0 headers alone have."""


class BRIDGE_CONTROL(Word, bits=16):  # noqa: N801 - the specification's name
    """Spec: PCI-to-PCI Bridge 1.2, 3.2.5.18. All but the reset is kept and leads nowhere."""

    PARITY = Bits(0)
    SERR = Bits(1)
    ISA = Bits(2)
    VGA = Bits(3)
    VGA_16 = Bits(4)
    SECONDARY_RESET = Bits(6)


TYPE_1_HEADER = {name: HEADER[name] for name in HEADER.keys() - _TYPE_0_ONLY} | {
    "PRIMARY_BUS": Field(0x18, 1, writable=0xFF),
    "SECONDARY_BUS": Field(0x19, 1, writable=0xFF),
    "SUBORDINATE_BUS": Field(0x1A, 1, writable=0xFF),
    "IO_BASE": Field(0x1C, 1, writable=0xF0),
    "IO_LIMIT": Field(0x1D, 1, writable=0xF0),
    "MEMORY_BASE": Field(0x20, 2, writable=0xFFF0),
    "MEMORY_LIMIT": Field(0x22, 2, writable=0xFFF0),
    "PREFETCHABLE_BASE": Field(0x24, 2, writable=0xFFF0),
    "PREFETCHABLE_LIMIT": Field(0x26, 2, writable=0xFFF0),
    "PREFETCHABLE_BASE_UPPER": Field(0x28, 4, writable=0xFFFF_FFFF),
    "PREFETCHABLE_LIMIT_UPPER": Field(0x2C, 4, writable=0xFFFF_FFFF),
    "BRIDGE_CONTROL": Field(0x3E, 2, writable=BRIDGE_CONTROL.mask()),
}
"""Spec: PCI-to-PCI Bridge 1.2, figure 3-1."""

_CLOSED = {"IO_BASE": 0xF0, "MEMORY_BASE": 0xFFF0, "PREFETCHABLE_BASE": 0xFFF1}
_CLOSED |= {"PREFETCHABLE_LIMIT": 1}
"""Windows after reset: they end before they begin. Prefetchable addresses have 64 bits."""
_WINDOW_UNIT = 1 << 20

SUBSYSTEM_AT, MSIX_AT, EXPRESS_AT = 0x40, 0x48, 0x54
_SUBSYSTEM = bytes((0x0D, 0, 0, 0)) + VENDOR_ID.to_bytes(4, "little")
_EXPRESS_ID = 0x10
_EXPRESS = {
    0x00: 0x0042_0000 | _EXPRESS_ID,
    0x04: 0x0000_8000,
    0x0C: 0x0030_0604,
    0x10: 0x2204_0000,
    0x2C: 0x0000_001E,
    0x30: 0x0000_0004,
}
"""Words of the capability: version 2, root port; a link of 32 lanes at 16 GT/s that is up."""
_EXPRESS_WRITABLE = {0x08: 0x0000_000F, 0x1C: 0x0000_0007}
"""Device control and root control."""
_EXPRESS_SIZE = 0x3C


class RootPort(Function):
    """One root port; ``behind`` are the functions on the bus that it leads to."""

    header = TYPE_1_HEADER

    def __init__(self, report: Report = ignore, name: str = "pcie-root-port") -> None:
        super().__init__(VENDOR_ID, DEVICE_ID, CLASS_CODE, name=name)
        self.preset("HEADER_TYPE", TYPE_1)
        self.preset("INTERRUPT_PIN", 1)
        for register, value in _CLOSED.items():
            self.preset(register, value)
        self.add_capability(SUBSYSTEM_AT, _SUBSYSTEM, bytes(len(_SUBSYSTEM)))
        self.msix = add_msix_bar(self, MSIX_AT, 1, 0, report)
        self.add_capability(EXPRESS_AT, _words(_EXPRESS), _words(_EXPRESS_WRITABLE))

    @property
    def secondary_bus(self) -> int:  # type: ignore[override]
        """Number of the bus behind it; 0 until software gives one."""
        return self.get("SECONDARY_BUS")

    def forwards(self, first: int, end: int) -> bool:
        """Whether one of its windows holds these addresses, and memory space is on."""
        if not self.get("COMMAND") & COMMAND.mask("MEMORY_SPACE"):
            return False
        return any(base <= first and end <= limit for base, limit in self._windows())

    def _windows(self) -> list[tuple[int, int]]:
        """First address and address after the last, of memory and prefetchable memory."""
        windows = []
        for name in ("MEMORY", "PREFETCHABLE"):
            base = (self.get(f"{name}_BASE") & 0xFFF0) << 16
            last = (self.get(f"{name}_LIMIT") & 0xFFF0) << 16
            if name == "PREFETCHABLE":
                base |= self.get("PREFETCHABLE_BASE_UPPER") << 32
                last |= self.get("PREFETCHABLE_LIMIT_UPPER") << 32
            windows.append((base, last + _WINDOW_UNIT))
        return windows

    def config_write(self, offset: int, size: int, value: int) -> None:
        """A write of configuration space; it may reset what is behind."""
        reset = BRIDGE_CONTROL.mask("SECONDARY_RESET")
        before = self.get("BRIDGE_CONTROL") & reset
        super().config_write(offset, size, value)
        if self.get("BRIDGE_CONTROL") & reset and not before:
            for function in self.behind.values():
                function.reset()


def _words(values: dict[int, int]) -> bytes:
    body = bytearray(_EXPRESS_SIZE)
    for offset, value in values.items():
        body[offset : offset + 4] = value.to_bytes(4, "little")
    return bytes(body)
