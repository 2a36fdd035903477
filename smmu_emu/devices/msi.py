# SPDX-License-Identifier: GPL-2.0-or-later
"""The MSI capability of a function with one vector and a 64-bit address, without masking.

Spec: PCI 3.0 6.8.1. The message is a write of the function's own, so it goes through the
translation unit, and only while the function may be bus master.
"""

from __future__ import annotations

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.pcie import Function

CAPABILITY_ID = 0x05
OFFSET = 0x40
"""Where capabilities begin in configuration space."""
CONTROL, ADDRESS, DATA = 0x02, 0x04, 0x0C
"""Offsets of the registers in the capability."""


class MESSAGE_CONTROL(Word, bits=16):  # noqa: N801 - the specification's name
    """Spec: PCI 3.0 6.8.1.3."""

    ENABLE = Bits(0)
    WIDE = Bits(7)


_ENABLE, _WIDE = MESSAGE_CONTROL.mask("ENABLE"), MESSAGE_CONTROL.mask("WIDE")


class Msi:
    """The capability of ``function``, at ``offset`` in its configuration space."""

    def __init__(self, function: Function, offset: int = OFFSET) -> None:
        self._function = function
        self._offset = offset
        body = bytes([CAPABILITY_ID, 0, _WIDE, 0]) + bytes(12)
        writable = bytes([0, 0, _ENABLE, 0, 0xFC]) + b"\xff" * 11
        function.add_capability(offset, body, writable)

    @property
    def enabled(self) -> bool:
        """Whether software chose messages over the interrupt pin."""
        return bool(self._get(CONTROL, 2) & _ENABLE)

    def send(self) -> None:
        """Write the message, unless the function must not; who refuses it, loses it."""
        if self._function.bus_master:
            data = self._get(DATA, 2).to_bytes(4, "little")
            self._function.dma.write(self._get(ADDRESS, 8), data)

    def _get(self, register: int, size: int) -> int:
        return self._function.config_read(self._offset + register, size)
