# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracing: whole runs of demo images with and without, events to a file, the cost of one event.

``filtered`` is a trace of which nothing is wanted (kind=finding): what it costs to be attached.
A Linux boot with a disk behind the SMMU is measured if ``$SMMU_EMU_LINUX`` has what
``python -m tests.linux.build`` makes; that takes minutes.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import smmu, startup
from bench.measure import Row
from smmu_emu.trace.events import Event
from smmu_emu.trace.filters import Filter
from smmu_emu.trace.readers import read_trace
from smmu_emu.trace.sinks import copy, open_sink
from smmu_emu.trace.tracer import Tracer
from smmu_emu.transaction import Transaction

IMAGES = Path(__file__).resolve().parents[1] / "firmware" / "images"
DEMOS = ("dma_pages", "unmap_tlbi", "range_tlbi")
MANY = 300_000
FORMATS = (".jsonl", ".parquet", ".pftrace", ".txt")
FILTERED, TRACED = "attached, nothing wanted", "tracing to JSON lines"
DISK = 64 << 20


def _variants(command: list[str], folder: Path) -> dict[str, list[str]]:
    """A command without, with an idle and with a busy trace."""
    trace = ["--trace", str(folder / "t.jsonl")]
    return {
        "plain": command,
        FILTERED: [*command, *trace, "--trace-filter", "kind=finding"],
        TRACED: [*command, *trace],
    }


def _runs(folder: Path) -> Iterator[Row]:
    for name in DEMOS:
        run = [*startup._smmu_emu(), "run", str(IMAGES / f"{name}.elf")]
        best = startup._times(_variants(run, folder))
        yield Row(f"{name}.elf", best["plain"], "ms")
        yield Row(f"{name}.elf, {FILTERED}", best[FILTERED] / best["plain"], "x", "< 1.1")
        yield Row(f"{name}.elf, {TRACED}", best[TRACED] / best["plain"], "x", "< 2")


def _events(folder: Path) -> list[Event]:
    """Many events, as a run of an image makes them."""
    path = folder / "t.jsonl"
    some = list(read_trace(path))
    return some * (MANY // len(some))


def _sinks(folder: Path) -> Iterator[Row]:
    events = _events(folder)
    for suffix in FORMATS:
        path = folder / f"many{suffix}"
        seconds = _best(partial(_copy, events, path), 3)
        yield Row(f"events to {suffix}", len(events) / seconds / 1e3, "k/s", "> 300")
        path.unlink()


def _copy(events: list[Event], path: Path) -> None:
    copy(iter(events), open_sink(path))


def _best(function: Callable[[], object], rounds: int) -> float:
    """Seconds of the processor, as for whole runs."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def _accesses(folder: Path) -> Iterator[Row]:
    """DMA in a loop, where nothing but accesses happens."""
    machine = smmu._machine()
    smmu._sweep(machine)()
    unit = machine.smmu
    transactions = [
        Transaction(smmu.SID, smmu.IOVA + 0x1000 * page, True) for page in range(smmu.PAGES)
    ]

    def sweep() -> None:
        for transaction in transactions:
            unit.translate(transaction)

    def measure() -> float:
        return _best(sweep, 20) / smmu.PAGES

    wanted = Filter.parse(["stream=0x999"])
    plain = measure()
    with Tracer(machine, _ignore, kinds=["finding"], python_lines=False):
        idle = measure()
    with Tracer(machine, _ignore, passes=wanted.passer(), python_lines=False):
        dropped = measure()
    sink = open_sink(folder / "t.jsonl")
    with sink, Tracer(machine, sink, python_lines=False):
        traced = measure()
    yield Row("a TLB hit, no tracer", plain * 1e6, "us")
    yield Row(f"a TLB hit, {FILTERED}", idle * 1e6, "us")
    yield Row("a TLB hit of a stream that is filtered out", dropped * 1e6, "us")
    yield Row(f"a TLB hit, {TRACED}", traced * 1e6, "us")


def _ignore(event: Event) -> None:
    """Nobody looks at it."""


def _linux(folder: Path, built: Path) -> Iterator[Row]:
    """Boot, and read a disk through the SMMU."""
    disk = folder / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK)
    boot = [*startup._smmu_emu(), "linux", "--kernel", str(built / "vmlinuz")]
    boot += ["--initrd", str(built / "initrd.cpio"), "--disk", f"{disk},snapshot"]
    boot += ["--command", "dd if=/dev/vda of=/dev/null bs=64k count=128", "--no-report"]
    seconds = {}
    for name, command in _variants(boot, folder).items():
        before = startup._children()
        subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
        seconds[name] = startup._children() - before
    yield Row("Linux to the shell, and 8 MiB of disk", seconds["plain"], "s")
    yield Row(f"Linux, {FILTERED}", seconds[FILTERED] / seconds["plain"], "x", "< 1.1")
    yield Row(f"Linux, {TRACED}", seconds[TRACED] / seconds["plain"], "x", "< 2")


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _runs(folder)
        yield from _sinks(folder)
        yield from _accesses(folder)
        built = os.environ.get("SMMU_EMU_LINUX")
        if built:
            yield from _linux(folder, Path(built))
