# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots: what keeping and putting back a machine costs, and how many scenarios that makes.

A scenario is the small image put back to where it has begun, and run on for 2000 instructions or to
its end. QEMU starts a process for each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, once, per_call
from smmu_emu.machine import Machine

IMAGES = Path(__file__).resolve().parents[1] / "firmware" / "images"
BEGUN = 300
INSTRUCTIONS = 2000


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    with Machine.virt() as machine, tempfile.TemporaryDirectory() as folder:
        machine.load(IMAGES / "hello.elf")
        machine.run(BEGUN)
        machine.snapshot()
        path = Path(folder) / "snapshot"
        snapshot = machine.snapshot()

        def scenario() -> None:
            machine.restore(snapshot)
            machine.run(INSTRUCTIONS)

        scenario()
        yield Row("snapshot, small image", 1e3 * once(machine.snapshot), "ms", "< 5")
        restore = per_call(lambda: machine.restore(snapshot), 200)
        yield Row("restore", 1e6 * restore, "us", "< 1000")
        yield Row("restore and run, a second", 1 / per_call(scenario, 200), "", "> 1000")
        yield Row("save to a file", 1e3 * once(lambda: machine.snapshot().save(path)), "ms")
        yield Row("make a machine from the file", 1e3 * once(lambda: _load(path)), "ms")
    yield Row("restore, 64 MiB written since", 1e6 * _restore_much(64 << 20), "us")


def _load(path: Path) -> None:
    Machine.load_snapshot(path).close()


def _restore_much(size: int) -> float:
    """Seconds for putting back a machine whose RAM was written all over."""
    with Machine.virt() as machine:
        machine.load(IMAGES / "hello.elf")
        machine.run(BEGUN)
        snapshot = machine.snapshot()
        best = float("inf")
        for _ in range(3):
            machine.memory.write(0x4800_0000, bytes(size))
            best = min(best, once(lambda: machine.restore(snapshot), 1))
        return best
