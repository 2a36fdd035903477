# SPDX-License-Identifier: GPL-2.0-or-later
"""Campaigns: runs with a fault each, a second, beside QEMU's one process for each run.

The small image runs from a snapshot at its function ``ready``, with the injector, the isolation
check and the classification of outcomes. QEMU, as in `bench.startup`, has no faults to inject: it
runs the same image, or hello.elf where it lacks the devices. Times are those of the processor.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.measure import Row
from bench.startup import IMAGE, QEMU_MACHINE, _qemu, _times
from smmu_emu.campaign.engine import carry_out, local_workers
from smmu_emu.campaign.runner import running
from smmu_emu.campaign.spec import Campaign, load_campaign
from smmu_emu.campaign.store import Store

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "isolation.toml"
SMALL = IMAGE.with_name("two_streams.elf")
RUNS = 400


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    campaign = replace(load_campaign(EXAMPLE), sample=RUNS)
    each = _one_core(campaign)
    yield Row("a run of the small image, from a snapshot", 1e3 * each, "ms")
    yield Row("runs a second on one core", 1 / each, "1/s")
    qemu = _qemus_time()
    if qemu is not None:
        yield Row("QEMU, one process a run", qemu, "ms")
        yield Row("times QEMU's runs a second", qemu / (1e3 * each), "x", "> 20")
    one, most = (_whole(campaign, workers) for workers in (1, 2))
    yield Row("campaign with one worker, runs a second", RUNS / one, "1/s")
    yield Row("campaign with two workers, runs a second", RUNS / most, "1/s")
    yield Row("two workers over one", one / most, "x")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    yield Row("largest process, resident", memory, "MiB")


def _one_core(campaign: Campaign) -> float:
    """Seconds of the processor that a run takes, without what is prepared once."""
    numbers = campaign.numbers()
    with running(campaign) as runner:
        runner.do(numbers[0])
        begin = time.process_time()
        for number in numbers:
            runner.do(number)
        return (time.process_time() - begin) / len(numbers)


def _qemus_time() -> float | None:
    """Milliseconds of the processor for a run of QEMU; None if there is none."""
    qemu = _qemu()
    if not qemu:
        return None
    devices = ["-device", "iommu-testdev", "-device", "iommu-testdev"]
    small = [*qemu, *devices, *QEMU_MACHINE, str(SMALL)]
    hello = [*qemu, *QEMU_MACHINE, str(IMAGE)]
    try:
        return _times({"qemu": small})["qemu"]
    except OSError:
        return None
    except subprocess.CalledProcessError:  # it lacks the devices
        return _times({"qemu": hello})["qemu"]


def _whole(campaign: Campaign, workers: int) -> float:
    """Seconds on the wall from the first result to the last, with workers that are warm by then."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        moments: list[float] = []
        with Store(Path(folder) / "r.sqlite", campaign) as store:
            carry_out(
                campaign,
                store,
                local_workers(workers),
                workers,
                lambda results: moments.append(time.perf_counter()),
            )
        parts = len(moments)
        return (moments[-1] - moments[0]) * parts / max(1, parts - 1)
