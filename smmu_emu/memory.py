# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory: RAM that the core, numpy and the devices share without copies, and an MMIO map.

RAM lives in anonymous mappings, so half a gigabyte costs nothing until it is touched. Words are
little-endian; big-endian hosts are refused. Addresses that nobody answers give an *external abort*:
a read returns None, a write returns False; what that means is the caller's business.

The core translates code into host code ahead of time. `PhysicalMemory.code_frames` holds the 4 KiB
frames it has done so for; a write into one of them by anyone but the core is announced to
`PhysicalMemory.code_written`, so that DMA into code is seen.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from smmu_emu.errors import EmulatorError, MemoryMapError

if TYPE_CHECKING:
    import numpy as np

PAGE = 0x1000


class MmioDevice(Protocol):
    """A device window: accesses arrive with their offset in it and their size in bytes."""

    def read(self, offset: int, size: int) -> int: ...

    def write(self, offset: int, size: int, value: int) -> None: ...


class Ram:
    """One block of RAM, ``size`` bytes at physical address ``base``."""

    def __init__(self, base: int, size: int) -> None:
        self.base = base
        self.size = size
        self.end = base + size
        self.buffer = mmap.mmap(-1, size)
        self.view = memoryview(self.buffer)
        self.words = self.view.cast("Q")

    @property
    def host_address(self) -> int:
        """Address of the first byte in this process, for those that map it."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))

    def array(self, dtype: str = "u1") -> np.ndarray:
        """The whole block as a numpy array that shares its bytes."""
        import numpy as np

        return np.frombuffer(self.buffer, dtype=dtype)

    def clear(self) -> None:
        """Make every byte zero again; costs nothing for pages never touched on Linux."""
        if sys.platform == "linux":
            self.buffer.madvise(mmap.MADV_DONTNEED)
        else:
            ctypes.memset(self.host_address, 0, self.size)


class Window:
    """One device in the memory map, ``size`` bytes at physical address ``base``."""

    def __init__(self, base: int, size: int, device: MmioDevice, name: str) -> None:
        self.base = base
        self.size = size
        self.end = base + size
        self.device = device
        self.name = name


class PhysicalMemory:
    """The physical address space of one machine.

    `read_u64` and `write_u64` are the fast ways that table walkers use. They, and everything else
    here, take physical addresses in bytes.
    """

    def __init__(self) -> None:
        if sys.byteorder != "little":
            raise EmulatorError("this host is big-endian; emulated RAM is shared and little-endian")
        self.rams: list[Ram] = []
        self.windows: list[Window] = []
        self.code_frames: set[int] = set()
        self.code_written: Callable[[int, int], None] | None = None
        self._map: list[Ram | Window] = []
        self._bases: list[int] = []
        self.read_u64: Callable[[int], int | None] = self._read_u64_anywhere

    # -- building the map

    def add_ram(self, base: int, size: int) -> Ram:
        """Add a block of zeroed RAM.

        Raises: MemoryMapError if it is not made of whole 4 KiB pages or overlaps something.
        """
        self._check_free(base, size, "RAM")
        ram = Ram(base, size)
        self.rams.append(ram)
        self._insert(ram)
        if len(self.rams) == 1:
            self.read_u64 = self._make_read_u64(ram)
        return ram

    def add_device(self, base: int, size: int, device: MmioDevice, name: str) -> Window:
        """Put a device's registers into the map.

        Raises: MemoryMapError if it is not made of whole 4 KiB pages or overlaps something.
        """
        self._check_free(base, size, name)
        window = Window(base, size, device, name)
        self.windows.append(window)
        self._insert(window)
        return window

    def _check_free(self, base: int, size: int, name: str) -> None:
        if base % PAGE or size % PAGE or size <= 0 or base < 0:
            raise MemoryMapError(f"{name}: {base:#x} + {size:#x} is not made of whole 4 KiB pages")
        for other in self._map:
            if base < other.end and other.base < base + size:
                raise MemoryMapError(
                    f"{name} at {base:#x}-{base + size - 1:#x} overlaps "
                    f"{getattr(other, 'name', 'RAM')} at {other.base:#x}-{other.end - 1:#x}"
                )

    def _insert(self, block: Ram | Window) -> None:
        index = bisect_right(self._bases, block.base)
        self._bases.insert(index, block.base)
        self._map.insert(index, block)

    def find(self, pa: int) -> Ram | Window | None:
        """What answers at ``pa``, or None."""
        index = bisect_right(self._bases, pa) - 1
        if index < 0:
            return None
        block = self._map[index]
        return block if pa < block.end else None

    def find_ram(self, pa: int, size: int) -> Ram | None:
        """The RAM block that holds all of ``size`` bytes at ``pa``, or None."""
        block = self.find(pa)
        return block if isinstance(block, Ram) and pa + size <= block.end else None

    # -- accesses by devices (the core has its own way to the same bytes)

    def read(self, pa: int, size: int) -> bytes | None:
        """``size`` bytes at ``pa``; None is an external abort (nobody answers all of it)."""
        block = self.find(pa)
        if block is None or pa + size > block.end:
            return None
        offset = pa - block.base
        if isinstance(block, Ram):
            return block.buffer[offset : offset + size]
        if size not in (1, 2, 4, 8):
            return None
        mask = (1 << 8 * size) - 1
        return (block.device.read(offset, size) & mask).to_bytes(size, "little")

    def write(self, pa: int, data: bytes) -> bool:
        """Write ``data`` at ``pa``; False is an external abort, nothing was written then."""
        size = len(data)
        block = self.find(pa)
        if block is None or pa + size > block.end:
            return False
        offset = pa - block.base
        if isinstance(block, Ram):
            block.buffer[offset : offset + size] = data
            if self.code_frames:
                self._announce(pa, size)
            return True
        if size not in (1, 2, 4, 8):
            return False
        block.device.write(offset, size, int.from_bytes(data, "little"))
        return True

    def write_u64(self, pa: int, value: int) -> bool:
        """Write one little-endian 64-bit word; False is an external abort."""
        return self.write(pa, value.to_bytes(8, "little"))

    def clear(self) -> None:
        """Make all RAM zero again."""
        for ram in self.rams:
            ram.clear()

    def _announce(self, pa: int, size: int) -> None:
        frames = self.code_frames
        first, last = pa >> 12, (pa + size - 1) >> 12
        if self.code_written and any(frame in frames for frame in range(first, last + 1)):
            self.code_written(pa, size)

    def _read_u64_anywhere(self, pa: int) -> int | None:
        data = self.read(pa, 8)
        return None if data is None else int.from_bytes(data, "little")

    def _make_read_u64(self, ram: Ram) -> Callable[[int], int | None]:
        base, size, words = ram.base, ram.size, ram.words
        elsewhere = self._read_u64_anywhere

        def read_u64(pa: int) -> int | None:
            offset = pa - base
            if 0 <= offset < size and not offset & 7:
                return words[offset >> 3]
            return elsewhere(pa)

        return read_u64
