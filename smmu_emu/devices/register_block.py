# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers of a simple device, words of 32 bits declared in a table.

Offsets that the table lacks read as zero, ignore writes, and are reported.

The bus is 32 bits wide, as APB is: a narrower read gives its bytes of the word, a narrower write
counts only at a word's start and is extended by zeros, 8 bytes are two words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from smmu_emu.devices.reporter import Report, ignore

R = 1
W = 2
RW = R | W


class Register(NamedTuple):
    """One register: its offset, who may do what (R, W or RW), reset value, and writable bits."""

    name: str
    offset: int
    access: int
    reset: int = 0
    writable: int = 0xFFFF_FFFF


class RegisterBlock:
    """Values of the registers of a table, and what accesses set off.

    ``on_read`` and ``on_write`` hold functions by register name. A register with one is the
    device's own business: the function gives the value, or takes the masked word and stores it.
    """

    def __init__(self, table: Iterable[Register], report: Report = ignore) -> None:
        self.table = tuple(table)
        self.report = report
        self.values: dict[str, int] = {}
        self.on_read: dict[str, Callable[[], int]] = {}
        self.on_write: dict[str, Callable[[int], None]] = {}
        self._readable = {r.offset: r.name for r in self.table if r.access & R}
        self._writable = {r.offset: (r.name, r.writable) for r in self.table if r.access & W}
        self._offsets = self._readable.keys() | self._writable.keys()
        self.reset()

    def reset(self) -> None:
        """Every register as the table says."""
        self.values.update((register.name, register.reset) for register in self.table)

    def read(self, offset: int, size: int) -> int:
        """A read by software, with its side effects."""
        if size == 8:
            return self.read(offset, 4) | self.read(offset + 4, 4) << 32
        within = offset & 3
        if within:
            return self._read_word(offset - within) >> 8 * within & (1 << 8 * size) - 1
        return self._read_word(offset) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software, with its side effects."""
        if size == 8:
            self.write(offset, 4, value & 0xFFFF_FFFF)
            self.write(offset + 4, 4, value >> 32)
            return
        entry = self._writable.get(offset)
        if entry is None:
            if offset not in self._offsets:
                self.report(offset, "write")
            return
        name, writable = entry
        action = self.on_write.get(name)
        if action is None:
            self.values[name] = value & writable
        else:
            action(value & writable)

    def _read_word(self, offset: int) -> int:
        name = self._readable.get(offset)
        if name is None:
            if offset not in self._offsets:
                self.report(offset, "read")
            return 0
        action = self.on_read.get(name)
        return self.values[name] if action is None else action()
