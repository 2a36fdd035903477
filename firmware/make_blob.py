#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the translation tables that the image ``dma_blob`` finds loaded beside it.

The tables are made by ``pgtable``; the header before them says how a Context descriptor leads to
each, and what a write to a number of addresses should do. The layout is in
``include/table_blob.h``. What a probe expects comes from the list of mappings below, never from
the tables, so that a wrong table is found out.

    python firmware/make_blob.py            # write firmware/images/dma_blob.tables
    python firmware/make_blob.py --check    # compare with the committed file
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pgtable import Arena, ArmLpaeS1Regs, PageTable, PageTableConfig, Prot, alloc

OUTPUT = Path(__file__).resolve().parent / "images" / "dma_blob.tables"

# board.h
RAM_BASE = 0x4000_0000
BLOB_BASE = 0x4800_0000
DMA_BASE = 0x5000_0000

# table_blob.h
MAGIC = b"SMM-TBL1"
HEADER = struct.Struct("<8sQQII")
SPACE = struct.Struct("<32sQQ8I")
PROBE = struct.Struct("<QQII")

# smmuv3_tables.h
LANDS = 0
F_TRANSLATION = 0x10
F_PERMISSION = 0x13

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
RW = Prot.READ | Prot.WRITE | Prot.CACHE
RO = Prot.READ | Prot.CACHE


@dataclass(frozen=True)
class Mapping:
    """A range to map, with offsets (bytes) of words in it to write to."""

    iova: int
    paddr: int
    size: int
    prot: Prot
    offsets: tuple[int, ...]
    unmapped: bool = False  # mapped first, then taken away


@dataclass(frozen=True)
class Space:
    """An address space: how to make its table, what is mapped, and what is not."""

    name: str
    cfg: PageTableConfig
    mappings: tuple[Mapping, ...]
    holes: tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """An address to write to, where that lands, and the event type if it does not."""

    iova: int
    paddr: int
    event_type: int


SPACES = (
    Space(
        "4K granule, 39 bits",
        PageTableConfig(pgsize_bitmap=4 * KIB | 2 * MIB | GIB, ias=39, oas=44),
        (
            Mapping(0x203000, DMA_BASE + 0x1000, 4 * KIB, RW, (0, 0x40, 0xFFC)),
            Mapping(0x204000, DMA_BASE + 0x9000, 12 * KIB, RW, (0, 0x1230, 0x2FFC)),
            Mapping(0x300000, DMA_BASE + 0x20000, 8 * KIB, RO, (0, 0x1FFC)),
            Mapping(0x400000, DMA_BASE + 0x30000, 64 * KIB, RW, (0, 0xFFFC), unmapped=True),
            Mapping(0x4060_0000, DMA_BASE + 2 * MIB, 4 * MIB, RW, (0, 0x123458, 0x3FFFFC)),
            Mapping(0x50_8000_0000, RAM_BASE, GIB, RW, (0x1023_4560, 0x1FFF_FF00)),
        ),
        (0x202FFC, 0x207000, 0x3020_0000, 0x10_0000_0000, 0x80_0000_0000),
    ),
    Space(
        "16K granule, 36 bits",
        PageTableConfig(pgsize_bitmap=16 * KIB | 32 * MIB, ias=36, oas=44, cpu_page_size=16 * KIB),
        (
            Mapping(0x100_4000, DMA_BASE + 0x8000, 16 * KIB, RW, (0, 0x3FFC)),
            Mapping(0x100_8000, DMA_BASE + 0x4000, 16 * KIB, RW, (0x1230,)),
            Mapping(0x101_0000, DMA_BASE + 0x40000, 32 * KIB, RO, (0, 0x7FFC)),
            Mapping(0x4200_0000, DMA_BASE, 64 * MIB, RW, (0, 0x1ABCDE0, 0x3FF_FFF0)),
        ),
        (0x100_0000, 0x100_C000, 0x8_0000_0000, 0xF_FFFF_FFFC),
    ),
)


def make_table(space: Space, memory: Arena) -> PageTable[ArmLpaeS1Regs]:
    """The table of a space, in the arena."""
    table: PageTable[ArmLpaeS1Regs] = alloc("ARM_64_LPAE_S1", space.cfg, memory=memory)
    for mapping in space.mappings:
        table.map(mapping.iova, mapping.paddr, mapping.size, mapping.prot)
    for mapping in space.mappings:
        if mapping.unmapped:
            table.unmap(mapping.iova, mapping.size)
    return table


def probes_of(space: Space) -> list[Probe]:
    """What to write to in a space and what should come of it."""
    probes = []
    for mapping in space.mappings:
        if mapping.unmapped:
            event_type = F_TRANSLATION
        else:
            event_type = LANDS if mapping.prot & Prot.WRITE else F_PERMISSION
        for offset in mapping.offsets:
            probes.append(Probe(mapping.iova + offset, mapping.paddr + offset, event_type))
    return probes + [Probe(iova, 0, F_TRANSLATION) for iova in space.holes]


def pack_space(space: Space, regs: ArmLpaeS1Regs, probe_offset: int, probe_count: int) -> bytes:
    """One ``struct table_blob_space``."""
    tcr = regs.tcr
    fields = (tcr.tsz, tcr.tg, tcr.irgn, tcr.orgn, tcr.sh, tcr.ips, probe_offset, probe_count)
    return SPACE.pack(space.name.encode("ascii"), regs.ttbr, regs.mair, *fields)


def make_blob(spaces: Sequence[Space] = SPACES, base: int = BLOB_BASE) -> bytes:
    """The whole file: header, spaces, probes, and from the next 4 KiB on the tables."""
    probes = [probes_of(space) for space in spaces]
    head_size = HEADER.size + SPACE.size * len(spaces) + PROBE.size * sum(map(len, probes))
    tables_offset = -(-head_size // (4 * KIB)) * (4 * KIB)
    memory = Arena(base + tables_offset, 4 * MIB)

    records, packed = b"", b""
    offset = HEADER.size + SPACE.size * len(spaces)
    for space, expected in zip(spaces, probes, strict=True):
        table = make_table(space, memory)
        records += pack_space(space, table.regs, offset + len(packed), len(expected))
        for probe in expected:
            packed += PROBE.pack(probe.iova, probe.paddr, probe.event_type, 0)

    tables = bytes(memory.bytes[: memory.reached - memory.base])
    size = tables_offset + len(tables)
    head = HEADER.pack(MAGIC, base, size, len(spaces), 0) + records + packed
    return head.ljust(tables_offset, b"\0") + tables


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="write the tables for the image dma_blob")
    parser.add_argument("--check", action="store_true", help="compare with the committed file")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to write")
    arguments = parser.parse_args()
    blob = make_blob()
    if not arguments.check:
        arguments.output.write_bytes(blob)
        print(f"{len(blob):7}  {arguments.output.name}")
        return 0
    if not OUTPUT.exists() or OUTPUT.read_bytes() != blob:
        print(f"{OUTPUT.name} differs from what pgtable writes: run firmware/make_blob.py")
        return 1
    print(f"{OUTPUT.name} is what pgtable writes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
