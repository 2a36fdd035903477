# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking at memory without anybody noticing, and noticing what changed in pages that hold tables.

Nobody tells the checker of writes. It compares instead: the descriptors behind an entry when the
entry is used, and whole pages of tables at the moments when commands take effect. A page is
compared by one copy and one memcmp, about a quarter of a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterator

from smmu_emu.memory import PAGE, PhysicalMemory
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.registers import CR0

_BLOCK = 256
_SMMUEN = CR0.mask("SMMUEN")


class Peek:
    """Reads RAM, and nothing but RAM: devices are never touched, nothing is reported."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory

    def read(self, pa: int, size: int) -> bytes | None:
        """``size`` bytes at ``pa``; None unless all of it is RAM."""
        ram = self.memory.find_ram(pa, size)
        if ram is None:
            return None
        offset = pa - ram.base
        return ram.buffer[offset : offset + size]

    def word(self, pa: int) -> int | None:
        """The doubleword at ``pa``; None if there is no RAM."""
        ram = self.memory.rams[0]
        offset = pa - ram.base
        if 0 <= offset < ram.size and not offset & 7:
            return ram.words[offset >> 3]
        data = self.read(pa, 8)
        return None if data is None else int.from_bytes(data, "little")


def is_enabled(smmu: Smmuv3) -> bool:
    """Whether SMMUEN is 1 and in force: only then does an SMMU read what it might cache."""
    return bool(smmu.registers.values["CR0ACK"] & _SMMUEN)


class Change:
    """A doubleword of a table that is not what it was when last looked at."""

    __slots__ = ("new", "old", "pa")

    def __init__(self, pa: int, old: int, new: int) -> None:
        self.pa = pa
        self.old = old
        self.new = new

    @property
    def made(self) -> bool:
        """Whether an invalid descriptor became a valid one."""
        return bool(self.new & 1 and not self.old & 1)


class TableWatch:
    """Pages that hold tables, as they were when last looked at.

    ``made`` tells that a descriptor became valid since `changes` was last asked.
    """

    def __init__(self, peek: Peek) -> None:
        self.peek = peek
        self.made = False
        self._pages: dict[int, bytearray] = {}

    def saw(self, pa: int, value: int) -> bool:
        """The doubleword at ``pa`` was read, or written by hardware: its page is watched.

        Whether it is another one than when last looked at; `changes` will not tell of it then.
        """
        page = pa & -PAGE
        known = self._pages.get(page)
        if known is None:
            data = self.peek.read(page, PAGE)
            if data is None:
                return False
            known = self._pages[page] = bytearray(data)
        offset = pa - page
        if not known[offset] & 1 and value & 1:
            self.made = True
        word = value.to_bytes(8, "little")
        if known[offset : offset + 8] == word:
            return False
        known[offset : offset + 8] = word
        return True

    def changes(self) -> list[Change]:
        """What changed since the last time."""
        found: list[Change] = []
        self.made = False
        for page, before in self._pages.items():
            now = self.peek.read(page, PAGE)
            if now is not None and now != before:
                found += _differences(page, before, now)
                self._pages[page] = bytearray(now)
        return found

    def clear(self) -> None:
        """Watch nothing."""
        self._pages.clear()


def _differences(page: int, before: bytearray, now: bytes) -> Iterator[Change]:
    for start in range(0, PAGE, _BLOCK):
        old_block, new_block = before[start : start + _BLOCK], now[start : start + _BLOCK]
        if old_block == new_block:
            continue
        olds, news = memoryview(old_block).cast("Q"), memoryview(new_block).cast("Q")
        for index, (old, new) in enumerate(zip(olds, news, strict=True)):
            if old != new:
                yield Change(page + start + 8 * index, old, new)
