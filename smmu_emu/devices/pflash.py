# SPDX-License-Identifier: GPL-2.0-or-later
"""A bank of parallel NOR flash: two 16-bit chips side by side, with Intel's command set and CFI.

Spec: JEDEC JESD68.01 (query), Intel's "Common Flash Memory Interface and command sets", algorithm
1. Geometry and identification are those of QEMU's virt board. As there, the bank has one command
state, whatever width software uses; commands take no time; a bank without an image holds zeros.
Other than there, programming clears bits and never sets them. Left out: suspend, locking (sectors
are never locked), protection registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.memory import Ram

if TYPE_CHECKING:
    from smmu_emu.ram_image import RamImage

SIZE = 64 << 20
SECTOR = 256 << 10
"""Bytes that are erased at once, of both chips."""
WRITE_BUFFER = 2048
BANK_WIDTH, CHIP_WIDTH = 4, 2
MANUFACTURER, DEVICE = 0x89, 0x18

READ_ARRAY, QUERY, IDENTIFY, READ_STATUS, CLEAR_STATUS = 0xFF, 0x98, 0x90, 0x70, 0x50
ERASE, PROGRAM, PROGRAM_TOO, LOCK, WRITE_TO_BUFFER, CONFIRM = 0x20, 0x40, 0x10, 0x60, 0xE8, 0xD0
READY, ERASE_ERROR, PROGRAM_ERROR = 0x80, 0x20, 0x10
"""Bits of the status register."""

QUERY_TABLE = {
    **dict(enumerate(b"QRY", 0x10)),
    0x13: 0x01,  # Intel's extended command set
    0x15: 0x31,  # where its own table is
    0x1B: 0x45,  # VCC
    0x1C: 0x55,
    0x1F: 0x07,  # typical times, powers of two
    0x20: 0x07,
    0x21: 0x0A,
    0x23: 0x04,  # longest times, likewise
    0x24: 0x04,
    0x25: 0x04,
    0x27: 25,  # 32 MiB a chip
    0x28: 0x02,  # x8 and x16
    0x2A: WRITE_BUFFER.bit_length() - 1,
    0x2C: 1,  # one region
    0x2D: SIZE // SECTOR - 1,
    0x30: SECTOR // 2 >> 16,
    **dict(enumerate(b"PRI10", 0x31)),
    0x3F: 0x01,  # protection registers
}
"""What a chip answers to a query, by address; zeros elsewhere. Spec: JESD68.01 tables 1 to 5."""


class FlashContents(Ram):
    """The bytes of a bank, which a core may execute."""

    unsaved = ("*",)

    def keep_state(self) -> RamImage:
        """The contents now."""
        return self.keep()

    def put_back_state(self, image: RamImage) -> None:
        """Bring back what `keep_state` gave."""
        self.put_back(image)

    def pack_state(self, image: RamImage) -> list[tuple[int, bytes]]:
        """What `keep_state` gave, as plain data: offsets and bytes of pieces."""
        return [(start, image.read(start, end - start)) for start, end in image.pieces()]

    def unpack_state(self, packed: list[tuple[int, bytes]]) -> RamImage:
        """What `put_back_state` takes."""
        from smmu_emu.ram_image import RamImage

        image = RamImage(self.size)
        for offset, data in packed:
            image.write(offset, data)
        return image


class Pflash:
    """One bank, with ``image`` at its start. ``mode`` is the command that reads answer to.

    ``mode_changed`` is called when `shows_contents` has changed.
    """

    def __init__(self, name: str, image: bytes = b"", report: Report = ignore) -> None:
        self.name = name
        self.report = report
        self.image = image
        self.contents = FlashContents(0, SIZE)
        self.mode_changed: Callable[[], None] = lambda: None
        self.mode = READ_ARRAY
        self.status = READY
        self._next: Callable[[int, int, int], None] | None = None
        self._left = 0
        self._buffered: list[tuple[int, int, int]] = []
        self.contents.view[: len(image)] = image

    @property
    def shows_contents(self) -> bool:
        """Whether reads give what is stored, so that it can be executed."""
        return self.mode == READ_ARRAY

    def reset(self) -> None:
        """As before the first run, with the image that it was made with."""
        self.contents.clear()
        self.contents.view[: len(self.image)] = self.image
        self.status = READY
        self._begin(READ_ARRAY)

    # -- reads

    def read(self, offset: int, size: int) -> int:
        """A read; in most modes it does not give what is stored."""
        if self.mode == READ_ARRAY:
            return int.from_bytes(self.contents.view[offset : offset + size], "little")
        if self.mode in (QUERY, IDENTIFY):
            at = offset // BANK_WIDTH
            answer = QUERY_TABLE.get(at, 0) if self.mode == QUERY else _identity(at & 0xFF)
        else:
            answer = self.status
        lanes = range(0, max(size, CHIP_WIDTH), CHIP_WIDTH)
        return sum(answer << 8 * lane for lane in lanes) & (1 << 8 * size) - 1

    # -- writes

    def write(self, offset: int, size: int, value: int) -> None:
        """A write: a command, or what the command before asks for."""
        if self._next is not None:
            self._next(offset, size, value)
            return
        command = value & 0xFF
        if command in (READ_ARRAY, QUERY, IDENTIFY, READ_STATUS):
            self._begin(command)
        elif command == CLEAR_STATUS:
            self.status = READY
            self._begin(READ_ARRAY)
        elif command in _TWO_CYCLES:
            self._begin(READ_STATUS, getattr(self, _TWO_CYCLES[command]))
        else:  # as those with which software looks for chips of other makers
            self._begin(READ_ARRAY)

    def _begin(self, mode: int, then: Callable[[int, int, int], None] | None = None) -> None:
        shown = self.shows_contents
        self.mode, self._next = mode, then
        if shown != self.shows_contents:
            self.mode_changed()

    def _erase(self, offset: int, size: int, value: int) -> None:
        self._next = None
        if value & 0xFF != CONFIRM:
            self.status |= ERASE_ERROR | PROGRAM_ERROR
            return
        start = offset & -SECTOR
        self.contents.view[start : start + SECTOR] = b"\xff" * SECTOR

    def _program(self, offset: int, size: int, value: int) -> None:
        self._next = None
        self._store(offset, size, value)

    def _lock(self, offset: int, size: int, value: int) -> None:
        self._next = None

    def _count(self, offset: int, size: int, value: int) -> None:
        """Cycles of a write to the buffer, less one."""
        self._left = (value & 0xFFFF) + 1
        self._buffered.clear()
        self._next = self._collect

    def _collect(self, offset: int, size: int, value: int) -> None:
        self._buffered.append((offset, size, value))
        self._left -= 1
        if not self._left:
            self._next = self._flush

    def _flush(self, offset: int, size: int, value: int) -> None:
        self._next = None
        if value & 0xFF != CONFIRM:
            self.status |= ERASE_ERROR | PROGRAM_ERROR
        else:
            for piece in self._buffered:
                self._store(*piece)
        self._buffered.clear()

    def _store(self, offset: int, size: int, value: int) -> None:
        """Bits turn from 1 to 0, never back."""
        view = self.contents.view[offset : offset + size]
        view[:] = (int.from_bytes(view, "little") & value).to_bytes(size, "little")


_TWO_CYCLES = {
    ERASE: "_erase",
    PROGRAM: "_program",
    PROGRAM_TOO: "_program",
    LOCK: "_lock",
    WRITE_TO_BUFFER: "_count",
}


def _identity(at: int) -> int:
    return {0: MANUFACTURER, 1: DEVICE}.get(at, 0)
