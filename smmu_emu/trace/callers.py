# SPDX-License-Identifier: GPL-2.0-or-later
"""Who called the function that the core executes: return addresses, named.

Spec: Arm's Procedure Call Standard (AAPCS64) 6.2.3: frame records, a pair of the caller's frame
pointer and the return address, chained from X29. A function that calls none keeps its own return
address in X30 alone; of AArch32 code, which chains no frames, that is all. Assembly may keep
neither: what is no address behind a call of known code ends the chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smmu_emu.cpu.core import Core
    from smmu_emu.memory import PhysicalMemory, Ram
    from smmu_emu.trace.symbols import SymbolTable

DEPTH = 5
"""Frame records that are looked at."""
_PAGE_LG2 = 12


class CallStacks:
    """Reads stacks of one core's code, whose names ``symbols`` knows.

    Where a page of stack lies is asked once: stacks are not remapped while they are in use.
    """

    def __init__(self, symbols: SymbolTable, memory: PhysicalMemory) -> None:
        self._symbols = symbols
        self._memory = memory
        self._pages: dict[int, tuple[Ram, int] | None] = {}

    def raw(self, core: Core) -> tuple[int, ...]:
        """PC, X30 and the return addresses of frame records; some may be garbage."""
        stack = [core.pc, core.x(core.link_register)]
        if core.frame_register is None:
            return tuple(stack)
        frame = core.x(core.frame_register)
        for _ in range(DEPTH):
            page = frame >> _PAGE_LG2
            place = self._pages.get(page)
            if place is None:
                if page in self._pages:
                    break
                place = self._find(core, page)
            if place is None or frame & 15:
                break
            ram, first = place
            index = first + ((frame & 0xFFF) >> 3)
            above = ram.words[index]
            stack.append(ram.words[index + 1])
            if above <= frame:
                break
            frame = above
        return tuple(stack)

    def callers(self, stack: tuple[int, ...]) -> tuple[str, ...]:
        """The callers that a raw stack tells of, innermost first."""
        pc, link, *returns = stack
        here = self._symbols.find(pc).symbol
        beyond = self._symbols.find(link - 4).symbol
        if beyond is not None and beyond != here and link not in returns[:1]:
            returns.insert(0, link)  # the function has made no frame
        names = []
        for address in returns:
            place = self._symbols.find(address - 4)
            if place.symbol is None:
                break
            names.append(f"{place.symbol} ({place.source})" if place.source else place.symbol)
        return tuple(names)

    def _find(self, core: Core, page: int) -> tuple[Ram, int] | None:
        """The RAM that a page of stack lies in, and the index of its first word there."""
        pa = core.physical_address(page << _PAGE_LG2)
        ram = self._memory.find_ram(pa, 1 << _PAGE_LG2) if pa is not None else None
        place = None if ram is None or pa is None else (ram, (pa - ram.base) >> 3)
        self._pages[page] = place
        return place
