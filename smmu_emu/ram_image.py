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
import struct
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from io import FileIO
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
_SCAN = struct.Struct("<12Q")
"""size, flags, start, end, walk_end, vec, vec_len, max_pages, and masks of categories: inverted,
all of, any of, wanted back."""
_PAGEMAP_SCAN = 3 << 30 | _SCAN.size << 16 | ord("f") << 8 | 16
_IN_USE = 1 << 3 | 1 << 4
"""Present, or swapped out."""
_REGIONS = 512


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
        try:
            yield from _scan(file, address, size)
        except OSError:  # Linux before 6.7
            yield from _read_all(file, address, size)


def _scan(file: FileIO, address: int, size: int) -> list[tuple[int, int]]:
    """Ask for the touched pages alone. Reference: Linux's Documentation/admin-guide/mm/pagemap.rst.

    Raises: OSError if this kernel does not answer that.
    """
    from fcntl import ioctl

    found = []
    regions = (ctypes.c_uint64 * (3 * _REGIONS))()
    start, end = address, address + size
    while start < end:
        where = ctypes.addressof(regions)
        fields = _SCAN.size, 0, start, end, 0, where, _REGIONS, 0, 0, 0, _IN_USE, _IN_USE
        argument = bytearray(_SCAN.pack(*fields))
        count = ioctl(file, _PAGEMAP_SCAN, argument)
        for number in range(count):
            found.append((regions[3 * number] - address, regions[3 * number + 1] - address))
        start = _SCAN.unpack(argument)[4]
    return found


def _read_all(file: FileIO, address: int, size: int) -> Iterator[tuple[int, int]]:
    """Look at an entry for each page."""
    pages = size // _HOST_PAGE
    for first in range(0, pages, _CHUNK):
        file.seek((address // _HOST_PAGE + first) * 8)
        entries = file.read(min(_CHUNK, pages - first) * 8)
        for run in _RUN.finditer(entries[7::8].translate(_TOUCHED)):
            yield (first + run.start()) * _HOST_PAGE, (first + run.end()) * _HOST_PAGE
