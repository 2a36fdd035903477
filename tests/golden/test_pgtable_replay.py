# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one recorded io-pgtable case against the library and compares all that can be seen."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np

from pgtable import (
    DIRTY_NO_CLEAR,
    AppleDartRegs,
    Arena,
    ArmLpaeS1Regs,
    ArmLpaeS2Regs,
    ArmMaliLpaeRegs,
    ArmV7sRegs,
    DirtyBitmap,
    FlushOps,
    IotlbGather,
    PageTable,
    PageTableConfig,
    PgtableError,
    Prot,
    Quirk,
    alloc,
)

ARENA_SIZE = 64 << 20
Event = list[Any]


class MismatchError(AssertionError):
    """What came out is not what was recorded."""


def expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise MismatchError(f"{what}: got {got!r}, recorded {wanted!r}")


class Recorder(Arena, FlushOps):
    """The recorder's arena: addresses never used twice, allocations counted, everything noted."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        super().__init__(int(cfg["phys_base"], 16), ARENA_SIZE, reuse=False)
        self.events: list[Event] = []
        self.limit: int = cfg["alloc_limit"]
        self.dma_mode: str = cfg["dma_mode"]
        self.selftest: bool = cfg["selftest_running"]

    def take(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def alloc(self, size: int) -> int | None:
        if self.limit == 0:
            self.events.append(["alloc_fail", hex(size)])
            return None
        if self.limit > 0:
            self.limit -= 1
        address = super().alloc(size)
        assert address is not None, "the arena of the replay is too small"
        self.events.append(["alloc", hex(address), hex(size)])
        return address

    def free(self, address: int, size: int) -> None:
        super().free(address, size)
        self.events.append(["free", hex(address), hex(size)])

    def alloc_run(self, size: int, count: int) -> int | None:
        return None

    def sync(self, address: int, length: int) -> None:
        self.events.append(["sync", hex(address), hex(length)])

    def dma_map(self, address: int, size: int) -> int | None:
        self.events.append(["dma_map", hex(address), hex(size)])
        if self.dma_mode == "map_error":
            return None
        return address + 0x100000 if self.dma_mode == "translate" else address

    def dma_unmap(self, address: int, size: int) -> None:
        self.events.append(["dma_unmap", hex(address), hex(size)])

    def warned(self, what: str) -> None:
        # While the kernel's own v7s self-test runs, a switch silences its warning of overlaps.
        if not (self.selftest and "mapped already" in what):
            self.events.append(["warn"])

    def tlb_flush_all(self) -> None:
        self.events.append(["flush_all"])

    def tlb_flush_walk(self, iova: int, size: int, granule: int) -> None:
        self.events.append(["flush_walk", hex(iova), hex(size), hex(granule)])

    def tlb_add_page(self, gather: IotlbGather | None, iova: int, granule: int) -> None:
        self.events.append(["add_page", hex(iova), hex(granule)])

    def non_zero(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Return (address, value) pairs of all non-zero words of live tables, ascending."""
        pairs = []
        for address, size in sorted(self.live.items()):
            start = (address - self.base) >> 3
            words = self.array[start : start + (size >> 3)]
            where = np.flatnonzero(words)
            pairs.append(np.stack([where.astype(np.uint64) * 8 + np.uint64(address), words[where]]))
        if not pairs:
            return np.zeros((2, 0), dtype=np.uint64)
        return np.concatenate(pairs, axis=1)

    def digest(self) -> str:
        return hashlib.sha256(self.non_zero().T.astype("<u8").tobytes()).hexdigest()


@lru_cache(maxsize=256)
def flags(kind: type[Prot] | type[Quirk], prefix: str, names: tuple[str, ...]) -> int:
    value = 0
    for name in names:
        value |= int(kind[name.removeprefix(prefix)])
    return value


def config(case: dict[str, Any], memory: Recorder) -> PageTableConfig:
    cfg = case["cfg_in"]
    custom = cfg["custom_alloc"]
    return PageTableConfig(
        pgsize_bitmap=int(cfg["pgsize_bitmap"], 16),
        ias=cfg["ias"],
        oas=cfg["oas"],
        quirks=flags(Quirk, "", tuple(cfg["quirks"])),
        coherent_walk=cfg["coherent_walk"],
        tlb=memory,
        alloc=memory.alloc if custom in ("both", "alloc_only") else None,
        free=memory.free if custom in ("both", "free_only") else None,
        cpu_page_size=int(cfg["page_size"], 16),
        warn=memory.warned,
    )


def registers(table: PageTable[Any]) -> dict[str, Any]:
    """Write a table's configuration and registers the way the recording does."""
    cfg, regs = table.cfg, table.regs
    out: dict[str, Any] = {"pgsize_bitmap": hex(cfg.pgsize_bitmap), "ias": cfg.ias, "oas": cfg.oas}
    if isinstance(regs, ArmLpaeS1Regs):
        out |= {"ttbr": hex(regs.ttbr), "tcr": vars(regs.tcr), "mair": hex(regs.mair)}
    elif isinstance(regs, ArmLpaeS2Regs):
        out |= {"vttbr": hex(regs.vttbr), "vtcr": vars(regs.vtcr)}
    elif isinstance(regs, ArmMaliLpaeRegs | ArmV7sRegs):
        out |= {name: hex(value) for name, value in vars(regs).items()}
    elif isinstance(regs, AppleDartRegs):
        out |= {
            "ttbr": [hex(base) for base in regs.ttbr],
            "n_ttbrs": regs.n_ttbrs,
            "n_levels": regs.n_levels,
        }
    return out


def do_map(table: PageTable[Any], op: dict[str, Any], memory: Recorder) -> dict[str, Any]:
    ret, mapped = table.map_pages(
        int(op["iova"], 16),
        int(op["paddr"], 16),
        int(op["pgsize"], 16),
        int(op["pgcount"], 16),
        flags(Prot, "IOMMU_", tuple(op["prot"])),
    )
    return {"ret": ret, "mapped": hex(mapped)}


def do_unmap(table: PageTable[Any], op: dict[str, Any], memory: Recorder) -> dict[str, Any]:
    gather = None if op["gather"] in (None, "null") else IotlbGather(op["gather"] == "queued")
    ret = table.unmap_pages(
        int(op["iova"], 16), int(op["pgsize"], 16), int(op["pgcount"], 16), gather
    )
    return {"ret": hex(ret)}


def do_phys(table: PageTable[Any], op: dict[str, Any], memory: Recorder) -> dict[str, Any]:
    iova = int(op["iova"], 16)
    phys = table.iova_to_phys(iova)
    many = table.iovas_to_phys(np.array([iova, iova], dtype=np.uint64))
    expect("iovas_to_phys", many.tolist(), [phys, phys])
    return {"ret": hex(phys)}


def do_walk(table: PageTable[Any], op: dict[str, Any], memory: Recorder) -> dict[str, Any]:
    ptes = [0, 0, 0, 0]
    ret = table.pgtable_walk(int(op["iova"], 16), ptes)
    return {"ret": ret, "ptes": [hex(pte) for pte in ptes]}


def do_dirty(table: PageTable[Any], op: dict[str, Any], memory: Recorder) -> dict[str, Any]:
    dirty = DirtyBitmap()
    no_clear = DIRTY_NO_CLEAR if "NO_CLEAR" in op["flags"] else 0
    ret = table.read_and_clear_dirty(int(op["iova"], 16), int(op["size"], 16), no_clear, dirty)
    return {
        "ret": ret,
        "dirty": [[hex(iova), hex(length)] for iova, length in dirty.records],
        "gather_range": [hex(dirty.gather.start), hex(dirty.gather.end)],
    }


def do_poke(table: PageTable[Any], op: dict[str, Any], memory: Recorder) -> dict[str, Any]:
    memory.words[(int(op["addr"], 16) - memory.base) >> 3] = int(op["value"], 16)
    return {}


def do_limit(table: PageTable[Any], op: dict[str, Any], memory: Recorder) -> dict[str, Any]:
    memory.limit = op["count"]
    return {}


OPS = {
    "map": do_map,
    "unmap": do_unmap,
    "iova_to_phys": do_phys,
    "pgtable_walk": do_walk,
    "read_and_clear_dirty": do_dirty,
    "poke": do_poke,
    "alloc_limit": do_limit,
}


def replay(case: dict[str, Any]) -> None:
    """Run a case.

    Raises: MismatchError at the first difference.
    """
    memory = Recorder(case["cfg_in"])
    try:
        table = alloc(case["fmt"], config(case, memory), memory=memory)
    except PgtableError as error:
        if case["alloc_ok"]:
            raise MismatchError(f"refused: {error}") from error
        expect("alloc_events", memory.take(), case["alloc_events"])
        expect("tables left behind", memory.live, {})
        return
    expect("alloc_ok", True, case["alloc_ok"])
    expect("alloc_events", memory.take(), case["alloc_events"])
    expect("cfg_out", registers(table), case["cfg_out"])
    for number, op in enumerate(case["ops"]):
        where = f"op {number} {op['op']}"
        for key, value in OPS[op["op"]](table, op, memory).items():
            expect(f"{where} {key}", value, op[key])
        expect(f"{where} events", memory.take(), op.get("events", []))
        expect(f"{where} memory", memory.digest(), op["mem_sha256"])
    words = [[hex(int(a)), hex(int(v))] for a, v in memory.non_zero().T]
    expect("final_words", words, case["final_words"])
    table.close()
    expect("free_events", memory.take(), case["free_events"])
    expect("tables left behind", memory.live, {})
