# SPDX-License-Identifier: GPL-2.0-or-later
"""What checking costs: whole runs of images without and with it, and traffic with nothing else.

Times are those of the processor. A Linux boot is measured if ``$SMMU_EMU_LINUX`` has what
``python -m tests.linux.build`` makes; that takes minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import startup
from bench.measure import ROUNDS, Row
from pgtable import Arena
from smmu_emu.check import Checker
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS

IMAGES = Path(__file__).resolve().parents[1] / "firmware" / "images"
DEMOS = ("bugs", "dma_pages", "unmap_tlbi", "cmdq_wrap")
_TABLES, _BUFFERS = 0x4800_0000, 0x5000_0000
_STREAM, _IOVA, _PAGES, _TIMES = 0x8, 0x10_0000, 64, 4


def _transfers(*, check: bool) -> float:
    """Seconds of an access of a Python driver's life: map, use, unmap."""
    with Machine.virt(smmu_ids=PRESETS["full"], devices=()) as machine, ExitStack() as stack:
        view = machine.ram.view[_TABLES - machine.ram.base :]
        driver = Smmuv3Driver(machine.smmu, Arena(_TABLES, 4 << 20, view))
        domain = driver.domain()
        driver.attach(_STREAM, domain)
        if check:
            stack.enter_context(Checker(machine))
        dma = machine.dma(_STREAM)
        start = time.process_time()
        for _ in range(10):
            domain.map(_IOVA, _BUFFERS, _PAGES << 12)
            for page in range(_PAGES):
                for _ in range(_TIMES):
                    dma.write(_IOVA + (page << 12), b"data")
            domain.unmap(_IOVA, _PAGES << 12)
        return (time.process_time() - start) / (10 * _PAGES * _TIMES)


def _boot() -> Iterator[Row]:
    built = Path(os.environ["SMMU_EMU_LINUX"])
    command = [*startup._smmu_emu(), "linux", "--kernel", str(built / "vmlinuz")]
    command += ["--initrd", str(built / "initrd.cpio"), "--command", "true"]
    best = startup._times({"plain": command, "checked": [*command, "--check"]})
    yield Row("Linux to its shell, checked", best["checked"] / best["plain"], "x", "< 3")


def rows() -> Iterator[Row]:
    """Runs as users have them, and what an access costs."""
    for name in DEMOS:
        run = [*startup._smmu_emu(), "run", str(IMAGES / f"{name}.elf")]
        best = startup._times({"plain": run, "checked": [*run, "--check"]})
        yield Row(f"{name}.elf", best["plain"], "ms")
        yield Row(f"{name}.elf, checked", best["checked"] / best["plain"], "x", "< 3")
    if os.environ.get("SMMU_EMU_LINUX"):
        yield from _boot()
    plain = min(_transfers(check=False) for _ in range(ROUNDS))
    checked = min(_transfers(check=True) for _ in range(ROUNDS))
    yield Row("DMA access of a Python driver", 1e6 * plain, "us")
    yield Row("DMA access of a Python driver, checked", 1e6 * checked, "us")
