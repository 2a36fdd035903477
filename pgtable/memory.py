# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory that tables live in: one flat window of physical addresses.

A `TableMemory` is a writable buffer seen three ways (bytes, 32-bit and 64-bit words, all
little-endian) and an allocator of zeroed, size-aligned pieces of it. `Arena` is the one to use: on
its own, or over a buffer that belongs to somebody else, such as an emulated machine's RAM, so that
a walker reads what a table wrote with no copy between them.

Left out: scattered windows. A table whose pieces lie in two windows is reported as damaged.
"""

from __future__ import annotations

import mmap
import sys
from functools import cached_property
from typing import TYPE_CHECKING

from pgtable.errors import TableMemoryError

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]
    Halves = npt.NDArray[np.uint32]


class TableMemory:
    """A window of `size` bytes at physical address `base`, and who hands out pieces of it.

    Subclasses provide `alloc` and `free`. `sync`, `dma_map` and `dma_unmap` are called only for
    tables whose walker does not see the CPU's caches.
    """

    def __init__(self, base: int, buffer: Any) -> None:
        if sys.byteorder != "little":
            raise TableMemoryError("tables are little-endian words; this host is not")
        if base < 0 or base & 0xFFF:
            raise TableMemoryError(f"base {base:#x} must be a multiple of 0x1000")
        view = memoryview(buffer).cast("B")
        if view.readonly:
            raise TableMemoryError("the buffer is read-only; tables are written into it")
        if len(view) & 0xFFF or not len(view):
            raise TableMemoryError(f"buffer of {len(view):#x} bytes: a multiple of 0x1000 needed")
        if base + len(view) > 1 << 64:
            raise TableMemoryError(f"{base:#x} + {len(view):#x} runs over the 64-bit space")
        self.base = base
        self.size = len(view)
        self.bytes = view
        self.words = view.cast("Q")
        self.halves = view.cast("I")

    @cached_property
    def array(self) -> Words:
        """The window as a numpy array of 64-bit words."""
        import numpy as np

        return np.frombuffer(self.bytes, dtype="<u8")

    @cached_property
    def half_array(self) -> Halves:
        """The window as a numpy array of 32-bit words."""
        import numpy as np

        return np.frombuffer(self.bytes, dtype="<u4")

    def alloc(self, size: int) -> int | None:
        """Return the physical address of `size` zeroed bytes aligned to `size`, or None."""
        raise NotImplementedError

    def free(self, address: int, size: int) -> None:
        """Take back what `alloc(size)` gave."""
        raise NotImplementedError

    def alloc_run(self, size: int, count: int) -> int | None:
        """Return `count` adjacent pieces at once, if `count` calls of `alloc` would give them.

        The pieces need not be zeroed. None means: ask one by one.
        """
        return None

    def sync(self, address: int, length: int) -> None:
        """Make `length` bytes at `address` visible to a walker that does not see the caches."""

    def dma_map(self, address: int, size: int) -> int | None:
        """Return the address under which the walker sees a new table; None if it cannot."""
        return address

    def dma_unmap(self, address: int, size: int) -> None:
        """Undo `dma_map` before a table is freed."""

    def __contains__(self, address: int) -> bool:
        return 0 <= address - self.base < self.size

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base:#x}-{self.base + self.size - 1:#x})"


class Arena(TableMemory):
    """Table memory with a real allocator: pieces of powers of two, reused when freed.

    `buffer`: any writable buffer of a multiple of 0x1000 bytes; by default fresh anonymous
    memory, which costs nothing until it is touched. `reuse=False`: never hand out an address
    twice, so that a stale pointer to a freed table can be told from a live one.

    Deterministic: the same calls give the same addresses.
    """

    def __init__(
        self, base: int, size: int | None = None, buffer: Any = None, *, reuse: bool = True
    ) -> None:
        if buffer is None:
            if size is None or size <= 0:
                raise TableMemoryError("an arena without a buffer needs a size in bytes")
            buffer = mmap.mmap(-1, -(-size // 0x1000) * 0x1000)
            clean = True
        else:
            clean = False
            if size is not None:
                buffer = memoryview(buffer).cast("B")
                if size > len(buffer):
                    raise TableMemoryError(
                        f"size {size:#x} is more than the buffer's {len(buffer):#x} bytes"
                    )
                buffer = buffer[:size]
        super().__init__(base, buffer)
        self.reuse = reuse
        self.live: dict[int, int] = {}
        self._next = base
        self._end = base + self.size
        self._dirty = base if clean else self._end  # memory below may hold something
        self._free: dict[int, list[int]] = {}
        self._gaps: list[tuple[int, int]] = []

    @property
    def used(self) -> int:
        """Bytes handed out and not yet freed."""
        return sum(self.live.values())

    @property
    def reached(self) -> int:
        """The address up to which memory has ever been handed out."""
        return self._next

    def alloc(self, size: int) -> int | None:
        free = self._free.get(size)
        if free:
            address = free.pop()
            self._zero(address, size)
        else:
            start = self._next
            if size <= 0 or size & (size - 1):
                raise TableMemoryError(f"alloc({size:#x}): a power of two needed")
            address = (start + size - 1) & -size
            if address + size > self._end:
                found = self._split(size)
                if found is None:
                    found = self._reclaim(size)
                if found is None:
                    return None
                address = found
                self._zero(address, size)
            else:
                if address != start:
                    self._gaps.append((start, address))
                self._next = address + size
                if address < self._dirty:
                    self._zero(address, size)
        self.live[address] = size
        return address

    def free(self, address: int, size: int) -> None:
        """Take back what `alloc(size)` gave.

        Raises: TableMemoryError when nothing of that size is live there.
        """
        if self.live.get(address) != size:
            self._bad_free(address, size)
        del self.live[address]
        if not self.reuse:
            return
        if self.live:
            self._free.setdefault(size, []).append(address)
        else:
            self._start_over()

    def alloc_run(self, size: int, count: int) -> int | None:
        if type(self).alloc is not Arena.alloc:
            return None  # a subclass that watches allocations wants to see each of them
        address = self._next
        last = address + size * count
        if self._free.get(size) or address & (size - 1) or last > self._end:
            return None
        self._next = last
        self.live.update(dict.fromkeys(range(address, last, size), size))
        return address

    def _start_over(self) -> None:
        """Hand out memory from the start again: nothing is live."""
        self._dirty = max(self._dirty, self._next)
        self._next = self.base
        self._free.clear()
        self._gaps.clear()

    def _bad_free(self, address: int, size: int) -> None:
        live = self.live.get(address)
        if live is not None:
            raise TableMemoryError(f"free({address:#x}, {size:#x}): {live:#x} bytes live there")
        raise TableMemoryError(f"free({address:#x}, {size:#x}): nothing live there (freed twice?)")

    def _zero(self, address: int, size: int) -> None:
        start = address - self.base
        self.bytes[start : start + size] = bytes(size)

    def _split(self, size: int) -> int | None:
        """Take a piece off the smallest larger free one."""
        larger = min((s for s, free in self._free.items() if free and s > size), default=0)
        if not larger:
            return None
        address = self._free[larger].pop()
        while larger > size:
            larger >>= 1
            self._free.setdefault(larger, []).append(address + larger)
        return address

    def _reclaim(self, size: int) -> int | None:
        """Carve a piece out of everything that is free, adjacent free pieces joined."""
        if not self.reuse:
            return None
        spans = [(a, a + s) for s, addresses in self._free.items() for a in addresses]
        spans += self._gaps
        spans.append((self._next, self._end))
        joined: list[list[int]] = []
        for start, end in sorted(spans):
            if joined and joined[-1][1] == start:
                joined[-1][1] = end
            elif end > start:
                joined.append([start, end])
        found = None
        for span in joined:
            address = (span[0] + size - 1) & -size
            if address + size <= span[1]:
                found = address
                break
        if found is None:
            return None
        self._rebuild(joined, found, found + size)
        return found

    def _rebuild(self, joined: list[list[int]], start: int, end: int) -> None:
        """Make free lists anew from joined spans, without [start, end)."""
        self._free = {}
        self._gaps = []
        self._next = self._end
        for low, high in joined:
            for a, b in ((low, min(high, start)), (max(low, end), high)):
                while a < b:
                    piece = a & -a if a else 1 << (b - a).bit_length() - 1
                    while a + piece > b:
                        piece >>= 1
                    self._free.setdefault(piece, []).append(a)
                    a += piece
        for addresses in self._free.values():
            addresses.sort(reverse=True)

    def __repr__(self) -> str:
        return (
            f"Arena({self.base:#x}-{self._end - 1:#x}, {len(self.live)} pieces, "
            f"{self.used:#x} of {self.size:#x} bytes used)"
        )
