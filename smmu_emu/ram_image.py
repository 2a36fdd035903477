# SPDX-License-Identifier: GPL-2.0-or-later
"""Contents of RAM at one moment, put back at the price of what was written since.

An image is a file of the host's memory without a name. Putting it back maps it over the RAM, at the
same host address, privately: what is written from then on goes to copies of single pages, and
putting it back again only drops those copies. Pages that were never touched cost nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from typing import Any

from smmu_emu.errors import MemoryMapError

PAGE = 0x1000
_CHUNK = 1 << 18
"""Pages that are looked at in one go."""
_PIECE = 64 << 20
_HOST_PAGE = mmap.PAGESIZE
_MAP_FIXED = 0x10  # the same number on Linux and macOS; the mmap module does not name it
_TOUCHED = bytes(int(flags >> 6 != 0) for flags in range(256))
"""Of an entry's last byte in pagemap: 1 where the page is in memory or swapped out."""
_RUN = re.compile(b"\1+")


class RamImage:
    """``size`` bytes, zero where nothing was written."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._fd = _nameless_file()
        os.ftruncate(self._fd, size)

    def __del__(self) -> None:
        os.close(self._fd)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put bytes into the image.

        Raises: MemoryMapError if the host has no room.
        """
        done = 0
        view = memoryview(data)
        while done < len(view):
            try:
                done += os.pwrite(self._fd, view[done:], offset + done)
            except OSError as error:
                raise MemoryMapError(f"no room for an image of RAM: {error.strerror}") from error

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the image."""
        return os.pread(self._fd, size, offset)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Where there may be anything but zeros: (first byte, byte after the last), 64 MiB at
        most."""
        end = 0
        while end < self.size:
            try:
                start = os.lseek(self._fd, end, os.SEEK_DATA)
            except OSError:  # nothing follows
                return
            end = min(os.lseek(self._fd, start, os.SEEK_HOLE), start + _PIECE)
            yield start, end

    def map_over(self, address: int) -> None:
        """Show these bytes at a host address, in place of what is mapped there."""
        map_over(address, self.size, self._fd)


def _nameless_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("ram", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


@cache
def _libc_mmap() -> Any:
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    number = ctypes.c_int
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, number, number, number, ctypes.c_int64)
    return function


def map_over(address: int, size: int, fd: int = -1) -> None:
    """Replace a mapping in place: by a file's contents, privately, or (-1) by zeros.

    Raises: MemoryMapError if the host refuses.
    """
    flags = mmap.MAP_PRIVATE | _MAP_FIXED | getattr(mmap, "MAP_NORESERVE", 0)
    if fd < 0:
        flags |= mmap.MAP_ANONYMOUS
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    if _libc_mmap()(address, size, protection, flags, fd, 0) != address:
        reason = os.strerror(ctypes.get_errno())
        raise MemoryMapError(f"this host cannot map {size:#x} bytes of RAM anew: {reason}")


def touched(address: int, size: int) -> Iterator[tuple[int, int]]:
    """Which bytes of a private mapping may have been touched: (first, after the last) from its
    start. All of it where the host does not tell."""
    try:
        file = open("/proc/self/pagemap", "rb", buffering=0)  # noqa: SIM115
    except OSError:
        yield 0, size
        return
    with file:
        pages = size // _HOST_PAGE
        for first in range(0, pages, _CHUNK):
            file.seek((address // _HOST_PAGE + first) * 8)
            entries = file.read(min(_CHUNK, pages - first) * 8)
            for run in _RUN.finditer(entries[7::8].translate(_TOUCHED)):
                yield (first + run.start()) * _HOST_PAGE, (first + run.end()) * _HOST_PAGE
