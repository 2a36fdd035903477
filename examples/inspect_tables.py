# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes page tables, takes two dumps, and looks at them the way one looks at a crash.

    python examples/inspect_tables.py FOLDER

leaves `before.bin`, `after.bin` and `space.svg` in the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pgtable import Arena, PageTableConfig, Prot, alloc
from pgtable.inspect import Image, Space, load, picture, read, text, walk
from pgtable.inspect.changes import unsafe_changes
from pgtable.inspect.diff import diff

BASE = 0x4800_0000
RW, RO = Prot.READ | Prot.WRITE | Prot.CACHE, Prot.READ | Prot.CACHE


def write_dumps(folder: Path) -> int:
    """Map some memory, dump, change a few mappings, dump again; return the root's address."""
    memory = Arena(BASE, 1 << 20)
    cfg = PageTableConfig(pgsize_bitmap=0x1000 | 1 << 21 | 1 << 30, ias=39, oas=40)
    with alloc("ARM_64_LPAE_S1", cfg, memory=memory) as table:
        table.map(0x20_0000, 0x8000_0000, 0x8_0000, RW)
        table.map(0x40_0000, 0x9000_0000, 1 << 22, RW)
        table.map(0x900_0000, 0x900_0000, 0x1000, Prot.READ | Prot.WRITE | Prot.MMIO)
        for i in range(40):
            table.map(0x100_0000 + 0x1000 * i, 0xA000_0000 + 0x3000 * (i % 7 * 6 + i), 0x1000, RO)
        (folder / "before.bin").write_bytes(memory.bytes)
        table.unmap(0x20_0000, 0x1000)
        table.unmap(0x40_0000, 1 << 21)
        table.map(0x40_0000, 0x9000_0000, 1 << 21, RW, pgsize=0x1000)
        table.unmap(0x900_0000, 0x1000)
        table.map(0x900_0000, 0x900_0000, 0x1000, RW)
        (folder / "after.bin").write_bytes(memory.bytes)
        return table.regs.ttbr


def main(folder: Path) -> None:
    root = write_dumps(folder)
    space = Space(format="ARM_64_LPAE_S1", root=root, input_bits=39, output_bits=40)
    images: list[Image] = [load((BASE, folder / name)) for name in ("before.bin", "after.bin")]
    before, after = (read(space, image) for image in images)
    print("\n".join(text.brief(before)), *text.summary(before), sep="\n")
    print("\n".join(text.walk(space, walk(space, images[0], 0x20_1234))))
    print("\n".join(text.changes(diff(before, after))))
    print("\n".join(text.unsafe(unsafe_changes(before, after))))
    print("\n".join(text.findings(after.findings)))
    (folder / "space.svg").write_text(picture.svg(before, title="An address space"))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
