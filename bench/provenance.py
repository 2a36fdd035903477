# SPDX-License-Identifier: GPL-2.0-or-later
"""What knowing who wrote costs: an image that sets up tables and does DMA, run in each way.

And the core's own speed with hooks on stores that meet none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, once
from smmu_emu.machine import Machine
from smmu_emu.trace.provenance import Provenance, scout

IMAGE = Path(__file__).resolve().parents[1] / "firmware" / "images" / "dma_pages.elf"
AT, ELSEWHERE = 0x4010_0000, 0x5000_0000
INSTRUCTIONS = 20_000_000
STORES = (0xD2A9_0001, 0xF900_0020, 0x9100_0400, 0xF940_0022, 0x9100_0463, 0x17FF_FFFC)
"""mov x1, #0x48000000; then for ever: str x0, [x1]; add x0, x0, #1; ldr x2, [x1]; add x3, x3, #1"""


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    with Machine.virt() as machine:
        machine.load(IMAGE)
        begin = machine.snapshot()
        where = scout(machine, machine.run)

        def plain() -> None:
            machine.restore(begin)
            machine.run()

        alone = once(plain, 3)
        yield Row("an image of 406,000 instructions", 1e3 * alone, "ms")
        with Provenance(machine, where):
            known = once(plain, 3)
        yield Row("the same, its tables watched", known / alone, "x", "< 3")
        yield Row("with the first run", (known + alone) / alone, "x")
        with Provenance(machine):
            yield Row("the same, all of RAM watched", once(plain, 3) / alone, "x")
    alone = _speed(0)
    yield Row("a loop of stores", alone, "MIPS")
    for ranges in (1, 16):
        yield Row(f"{ranges} pages elsewhere watched", alone / _speed(ranges), "x", "< 2")


def _speed(ranges: int) -> float:
    """Million instructions a second with that many pages watched, far apart."""
    with Machine.virt() as machine:
        code = b"".join(word.to_bytes(4, "little") for word in STORES)
        machine.load(code, load_address=AT)
        machine.run(10)
        if ranges:
            words = [ELSEWHERE + 0x10000 * number for number in range(ranges)]
            machine.core.watch_stores(lambda *_: None, words)
        return INSTRUCTIONS / once(lambda: machine.run(INSTRUCTIONS), 2) / 1e6
