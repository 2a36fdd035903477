# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM as the guest's present translation shows it, for those who act in the guest's name."""

from __future__ import annotations

from collections.abc import Iterator

from smmu_emu.cpu import abi
from smmu_emu.cpu.execution import MASK64, Execution
from smmu_emu.memory import PAGE, PhysicalMemory


class VirtualMemory:
    """Reads and writes RAM by virtual address, at the present exception level."""

    def __init__(self, engine: Execution, memory: PhysicalMemory) -> None:
        self._engine = engine
        self._memory = memory

    def translate(self, va: int) -> int | None:
        """Physical address of ``va``, for loads or at least for execution; None if it faults."""
        pa = self._engine.translate(va & MASK64, abi.PROT_READ)
        return pa if pa is not None else self._engine.translate(va & MASK64, abi.PROT_EXEC)

    def read(self, va: int, size: int) -> bytes | None:
        """``size`` bytes at ``va``; None where not all of it is RAM, or flash that shows them."""
        data = bytearray()
        for at, length in _pages(va, size):
            pa = self.translate(at)
            ram = self._memory.find_code(pa, length) if pa is not None else None
            if ram is None or pa is None:
                return None
            data += ram.view[pa - ram.base : pa - ram.base + length]
        return bytes(data)

    def write(self, va: int, data: bytes) -> bool:
        """Write ``data`` at ``va``; False, and nothing written, where not all is writable RAM."""
        places = []
        for at, length in _pages(va, len(data)):
            pa = self._engine.translate(at & MASK64, abi.PROT_WRITE)
            if pa is None or self._memory.find_ram(pa, length) is None:
                return False
            places.append((pa, data[at - va : at - va + length]))
        return all(self._memory.write(pa, piece) for pa, piece in places)

    def overwrite(self, va: int, data: bytes) -> bool:
        """As `write`, to RAM that may be read-only to the guest."""
        places = []
        for at, length in _pages(va, len(data)):
            pa = self.translate(at)
            if pa is None or self._memory.find_ram(pa, length) is None:
                return False
            places.append((pa, data[at - va : at - va + length]))
        return all(self._memory.write(pa, piece) for pa, piece in places)

    def instruction(self, pc: int) -> int | None:
        """The instruction word at ``pc``; None where nothing can be fetched."""
        pa = self._engine.translate(pc, abi.PROT_EXEC)
        ram = self._memory.find_code(pa, 4) if pa is not None else None
        if ram is None or pa is None:
            return None
        return int.from_bytes(ram.view[pa - ram.base : pa - ram.base + 4], "little")


def _pages(va: int, size: int) -> Iterator[tuple[int, int]]:
    """(address, length) of the parts of a range that lie in one page each."""
    end = va + size
    while va < end:
        length = min(end - va, PAGE - va % PAGE)
        yield va, length
        va += length
