# SPDX-License-Identifier: GPL-2.0-or-later
"""Configurations of every format, and memories that watch, for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgtable import Arena, PageTable, PageTableConfig, Prot, alloc

K4, K16, K64 = 0x1000, 0x4000, 0x10000
M1, M2, M16, M32, M512 = 1 << 20, 1 << 21, 1 << 24, 1 << 25, 1 << 29
G1 = 1 << 30

R, W = int(Prot.READ), int(Prot.WRITE)
RW = R | W
BASE = 0x4000_0000


@dataclass(frozen=True)
class Setup:
    """A format with a configuration it takes."""

    fmt: str
    cfg: PageTableConfig

    def __str__(self) -> str:
        return f"{self.fmt}-{self.cfg.pgsize_bitmap & -self.cfg.pgsize_bitmap:#x}-{self.cfg.ias}"

    def alloc(self, memory: Arena) -> PageTable[Any]:
        return alloc(self.fmt, self.cfg, memory=memory)


def cfg(bitmap: int = K4 | M2 | G1, ias: int = 48, oas: int = 48, **kw: Any) -> PageTableConfig:
    return PageTableConfig(pgsize_bitmap=bitmap, ias=ias, oas=oas, **kw)


SETUPS = [
    Setup("ARM_64_LPAE_S1", cfg()),
    Setup("ARM_64_LPAE_S1", cfg(K4, ias=39)),
    Setup("ARM_64_LPAE_S1", cfg(K16 | M32, ias=47)),
    Setup("ARM_64_LPAE_S1", cfg(K64 | M512, ias=52, oas=52)),
    Setup("ARM_64_LPAE_S2", cfg(ias=40, oas=40)),
    Setup("ARM_64_LPAE_S2", cfg(K16 | M32, ias=40, oas=40)),
    Setup("ARM_32_LPAE_S1", cfg(ias=32, oas=40)),
    Setup("ARM_32_LPAE_S2", cfg(ias=40, oas=40)),
    Setup("ARM_MALI_LPAE", cfg(ias=48, oas=40)),
    Setup("ARM_V7S", cfg(K4 | K64 | M1 | M16, ias=32, oas=32)),
    Setup("APPLE_DART", cfg(K4, ias=36, oas=36)),
    Setup("APPLE_DART", cfg(K16, ias=36, oas=36)),
    Setup("APPLE_DART2", cfg(K16, ias=42, oas=42)),
]


class CountedArena(Arena):
    """An arena that refuses from the allocation after the `allowed`-th on."""

    def __init__(self, base: int, size: int) -> None:
        super().__init__(base, size)
        self.asked = 0
        self.allowed: int | None = None

    def alloc(self, size: int) -> int | None:
        if self.allowed is not None and self.asked >= self.allowed:
            return None
        self.asked += 1
        return super().alloc(size)


def contents(memory: Arena) -> dict[int, bytes]:
    """Return what stands in every live table, by address."""
    return {
        address: bytes(memory.bytes[address - memory.base : address - memory.base + size])
        for address, size in memory.live.items()
    }


def mappings(table: PageTable[Any], iova: int, size: int) -> list[tuple[int, int]]:
    """Return (iova, leaf size) of each leaf in a range."""
    return [
        (run.iova + i * run.size, run.size)
        for run in table.runs(iova, size)
        for i in range(run.leaves)
    ]
