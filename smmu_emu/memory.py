# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory: RAM that the core, numpy and the devices share without copies, and an MMIO map.

RAM lives in anonymous mappings, so half a gigabyte costs nothing until it is touched. Words are
little-endian; big-endian hosts are refused. An address that nobody answers, and an access that a
device refuses, give an *external abort*: a read returns None, a write returns False; what that
means is the caller's business. `PhysicalMemory.unanswered` hears of the former, so that nothing a
guest touches goes unnoticed.

The core translates code into host code ahead of time. `PhysicalMemory.code_frames` holds the 4 KiB
frames it has done so for; a write into one of them by anyone but the core is announced to
`PhysicalMemory.code_written`, so that DMA into code is seen.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from smmu_emu.errors import EmulatorError, MemoryMapError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from smmu_emu.ram_image import RamImage

    Stretches = npt.NDArray[np.uint64]
    """Rows of (physical address, length in bytes)."""

PAGE = 0x1000
_WORTH_IT = 32
_PAGES = f"V{PAGE}"
"""numpy's type for whole pages, which it moves as blocks."""


class MmioDevice(Protocol):
    """A device window: accesses arrive with their offset in it and their size, 1, 2, 4 or 8 bytes.

    A device answers every access. One that refuses an access, as a bus error, returns None from
    `read` and False from `write`; None from `write` means that all is well.
    """

    def read(self, offset: int, size: int) -> int | None: ...

    def write(self, offset: int, size: int, value: int) -> bool | None: ...


class Doorbell(NamedTuple):
    """Where messages are written that tell who sent them: from ``first`` to before ``end``.

    ``ring(offset, data, device_id)`` is a write there, and answers as `PhysicalMemory.write`.
    """

    first: int
    end: int
    ring: Callable[[int, bytes | memoryview, int], bool]


class Ram:
    """One block of RAM, ``size`` bytes at physical address ``base``."""

    unsaved = ("*",)

    def __init__(self, base: int, size: int) -> None:
        self.base = base
        self.size = size
        self.end = base + size
        self.buffer = _anonymous(size)
        self.view = memoryview(self.buffer)
        self.words = self.view.cast("Q")
        self._image: RamImage | None = None
        """What is mapped behind the private copies of pages; None for zeros."""

    @property
    def host_address(self) -> int:
        """Address of the first byte in this process, for those that map it."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))

    def array(self, dtype: str = "u1") -> npt.NDArray[Any]:
        """The whole block as a numpy array that shares its bytes."""
        import numpy as np

        return np.frombuffer(self.buffer, dtype=dtype)

    def clear(self) -> None:
        """Make every byte zero again, at the same host address; untouched pages cost nothing."""
        if sys.platform == "linux" and self._image is None:
            self.buffer.madvise(mmap.MADV_DONTNEED)
        else:
            from smmu_emu.ram_image import map_over

            self._image = None
            map_over(self.host_address, self.size)

    def keep(self) -> RamImage:
        """The contents now; to be given to `put_back` later, any number of times.

        Raises: MemoryMapError if the host has no room for them.
        """
        from smmu_emu.ram_image import RamImage, touched

        image = RamImage(self.size)
        if self._image is not None:
            for start, end in self._image.pieces():
                image.write(start, self.view[start:end])
        for start, end in touched(self.host_address, self.size):
            image.write(start, self.view[start:end])
        return image

    def put_back(self, image: RamImage) -> None:
        """Bring back what `keep` gave, at the same host address."""
        if sys.platform == "linux" and self._image is image:
            self.buffer.madvise(mmap.MADV_DONTNEED)
        else:
            image.map_over(self.host_address)
            self._image = image


def _anonymous(size: int) -> mmap.mmap:
    """Private zeroed memory. Shared mappings, Python's default, keep their bytes when dropped.

    Raises: MemoryMapError if the host cannot give that much.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    try:
        return mmap.mmap(-1, size, flags=flags)
    except (OSError, OverflowError, ValueError) as error:
        raise MemoryMapError(f"this host cannot give {size:#x} bytes of RAM: {error}") from error


class Window:
    """One device in the memory map, ``size`` bytes at physical address ``base``."""

    def __init__(self, base: int, size: int, device: MmioDevice, name: str) -> None:
        self.base = base
        self.size = size
        self.end = base + size
        self.device = device
        self.name = name


class RomDevice(MmioDevice, Protocol):
    """A device whose reads give what is stored, while nothing else was asked of it."""

    mode_changed: Callable[[], None]

    @property
    def contents(self) -> Ram: ...

    @property
    def shows_contents(self) -> bool: ...


class Rom(Window):
    """A device in the memory map whose contents the core may execute."""

    device: RomDevice

    def __init__(self, base: int, size: int, device: RomDevice, name: str) -> None:
        super().__init__(base, size, device, name)
        self.view = device.contents.view


class PhysicalMemory:
    """The physical address space of one machine.

    `read_u64` and `write_u64` are the fast ways that table walkers use. They, and everything else
    here, take physical addresses in bytes.
    """

    wiring = ("rams", "windows", "_map", "_bases", "read_u64", "unanswered")
    unsaved = ("code_frames", "code_written")

    def __init__(self) -> None:
        if sys.byteorder != "little":
            raise EmulatorError("this host is big-endian; emulated RAM is shared and little-endian")
        self.rams: list[Ram] = []
        self.windows: list[Window] = []
        self.code_frames: set[int] = set()
        self.code_written: Callable[[int, int], None] | None = None
        self.unanswered: Callable[[int, str], None] = _ignore
        """Told of accesses that nobody answers: address, and "read", "write" or "fetch".

        The core calls it for its own accesses, this class for everybody else's.
        """
        self.doorbell: Doorbell | None = None
        """Set before ports are made: those of masters with a DeviceID look for it."""
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

    def add_rom(self, base: int, size: int, device: RomDevice, name: str) -> Rom:
        """Put a device into the map that can be executed.

        Raises: MemoryMapError if it is not made of whole 4 KiB pages or overlaps something.
        """
        self._check_free(base, size, name)
        rom = Rom(base, size, device, name)
        self.windows.append(rom)
        self._insert(rom)
        return rom

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

    def find_code(self, pa: int, size: int) -> Ram | Rom | None:
        """The block from which all of ``size`` bytes at ``pa`` can be executed, or None."""
        block = self.find(pa)
        if block is None or pa + size > block.end:
            return None
        if isinstance(block, Ram):
            return block
        return block if isinstance(block, Rom) and block.device.shows_contents else None

    # -- accesses by devices (the core has its own way to the same bytes)

    def read(self, pa: int, size: int) -> bytes | None:
        """``size`` bytes at ``pa``; None is an external abort (nobody answers all of it)."""
        block = self.find(pa)
        if block is None or pa + size > block.end:
            self.unanswered(pa if block is None else block.end, "read")
            return None
        offset = pa - block.base
        if isinstance(block, Ram):
            return block.buffer[offset : offset + size]
        parts = []
        for start, length in _beats(offset, size):
            value = block.device.read(start, length)
            if value is None:
                return None
            parts.append((value & (1 << 8 * length) - 1).to_bytes(length, "little"))
        return b"".join(parts)

    def write(self, pa: int, data: bytes | memoryview) -> bool:
        """Write ``data`` at ``pa``; False is an external abort. RAM is then as it was before."""
        size = len(data)
        block = self.find(pa)
        if block is None or pa + size > block.end:
            self.unanswered(pa if block is None else block.end, "write")
            return False
        offset = pa - block.base
        if isinstance(block, Ram):
            block.buffer[offset : offset + size] = data
            if self.code_frames:
                self._announce(pa, size)
            return True
        for start, length in _beats(offset, size):
            value = int.from_bytes(data[start - offset : start - offset + length], "little")
            if block.device.write(start, length, value) is False:
                return False
        return True

    def gather(self, stretches: Stretches) -> bytes | None:
        """The bytes of all stretches, one after another; None unless all of them is RAM."""
        rams = self._rams_of(stretches)
        if rams is None:
            return None
        if len(rams) > 1:
            return b"".join(self.read(pa, length) or b"" for pa, length in stretches.tolist())
        view, base = rams[0].view, rams[0].base
        # Joining views copies each byte once; numpy would need a copy more to make bytes.
        return b"".join([view[pa - base : pa - base + length] for pa, length in stretches.tolist()])

    def scatter(self, stretches: Stretches, data: memoryview) -> bool:
        """Write ``data`` over all stretches; False, and nothing is written, unless all is RAM."""
        import numpy as np

        rams = self._rams_of(stretches)
        if rams is None:
            return False
        rows = _whole_pages(rams[0], stretches) if len(rams) == 1 else None
        if rows is not None and not self.code_frames:
            rams[0].array(_PAGES)[rows] = np.frombuffer(data, _PAGES)
            return True
        done = 0
        for pa, length in stretches.tolist():
            self.write(pa, data[done : done + length])
            done += length
        return True

    def _rams_of(self, stretches: Stretches) -> list[Ram] | None:
        """The blocks of RAM that hold stretches; None if some lies elsewhere."""
        starts, ends = stretches[:, 0], stretches[:, 0] + stretches[:, 1]
        left, rams = len(stretches), []
        for ram in self.rams:
            inside = int(((starts >= ram.base) & (ends <= ram.end)).sum())
            if inside:
                rams.append(ram)
                left -= inside
        return None if left else rams

    def write_u64(self, pa: int, value: int) -> bool:
        """Write one little-endian 64-bit word; False is an external abort."""
        return self.write(pa, value.to_bytes(8, "little"))

    def clear(self) -> None:
        """Make all RAM zero again."""
        for ram in self.rams:
            ram.clear()

    def keep_state(self) -> list[RamImage]:
        """The contents of all RAM, for `put_back_state`."""
        return [ram.keep() for ram in self.rams]

    def put_back_state(self, images: list[RamImage]) -> None:
        """Bring back contents of all RAM, and tell of code that is another then."""
        changed = []
        for ram, image in zip(self.rams, images, strict=True):
            for frame in self.code_frames:
                at = frame * PAGE - ram.base
                if 0 <= at < ram.size and ram.buffer[at : at + PAGE] != image.read(at, PAGE):
                    changed.append(frame * PAGE)
            ram.put_back(image)
        for pa in changed:
            self._announce(pa, PAGE)

    def pack_state(self, images: list[RamImage]) -> list[list[tuple[int, bytes]]]:
        """What `keep_state` gave, as plain data: for each RAM the offsets and bytes of pieces."""
        return [
            [(start, image.read(start, end - start)) for start, end in image.pieces()]
            for image in images
        ]

    def unpack_state(self, packed: list[list[tuple[int, bytes]]]) -> list[RamImage]:
        """What `put_back_state` takes."""
        from smmu_emu.ram_image import RamImage

        images = []
        for ram, pieces in zip(self.rams, packed, strict=True):
            image = RamImage(ram.size)
            for offset, data in pieces:
                image.write(offset, data)
            images.append(image)
        return images

    def _announce(self, pa: int, size: int) -> None:
        frames = self.code_frames
        first, last = pa >> 12, (pa + size - 1) >> 12
        if self.code_written and not frames.isdisjoint(range(first, last + 1)):
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


def _whole_pages(ram: Ram, stretches: Stretches) -> npt.NDArray[np.int64] | None:
    """Numbers of the pages of ``ram`` that stretches are made of; None if they are not.

    Few stretches, and pages that occur twice, are better moved one after another.
    """
    import numpy as np

    if len(stretches) < _WORTH_IT or (stretches & np.uint64(PAGE - 1)).any():
        return None
    first = (stretches[:, 0] - np.uint64(ram.base)).astype(np.int64) // PAGE
    counts = stretches[:, 1].astype(np.int64) // PAGE
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows: npt.NDArray[np.int64] = np.repeat(first, counts) + within
    seen = np.bincount(rows - rows.min())
    return None if (seen > 1).any() else rows


def _ignore(pa: int, kind: str) -> None:
    """Nobody listens."""


def _beats(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """How a bus carries an access to a device: (offset, length) of each aligned beat.

    One beat if it is naturally aligned and at most 8 bytes; else beats of at most 4.
    """
    if size in (1, 2, 4, 8) and not offset & size - 1:
        yield offset, size
        return
    while size:
        length = min(4, offset & -offset or 4, 1 << size.bit_length() - 1)
        yield offset, length
        offset += length
        size -= length
