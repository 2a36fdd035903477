# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole processes: what an import costs, and a run of the smallest image beside QEMU's.

Times are those of the processor, which on an idle machine are those of the clock, and on a busy one
do not tell of others. Commands take turns and the best of each counts. QEMU is ``$SMMU_EMU_QEMU``,
or ``qemu-system-aarch64``; without it its rows are left out.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row

ROUNDS = 15
IMAGE = Path(__file__).resolve().parents[1] / "firmware" / "images" / "hello.elf"
QEMU_MACHINE = shlex.split(
    "-M virt,acpi=off,iommu=smmuv3 -cpu cortex-a57 -m 512 -nodefaults "
    "-display none -serial stdio -semihosting -kernel"
)


def _times(commands: dict[str, list[str]]) -> dict[str, float]:
    """Best processor time of each command in milliseconds, with warm caches."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second run has compiled modules
    best = dict.fromkeys(commands, float("inf"))
    for turn in range(ROUNDS + 1):
        for name, command in commands.items():
            before = _children()
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
            if turn:
                best[name] = min(best[name], 1e3 * (_children() - before))
    return best


def _children() -> float:
    """Seconds of the processor that ended children took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _smmu_emu() -> list[str]:
    script = Path(sys.executable).parent / "smmu-emu"
    return [str(script)] if script.exists() else [sys.executable, "-m", "smmu_emu"]


def _qemu() -> list[str]:
    command = shlex.split(os.environ.get("SMMU_EMU_QEMU", "qemu-system-aarch64"))
    return command if shutil.which(command[0]) else []


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    python = [sys.executable, "-c"]
    commands = {
        "bare": [*python, "pass"],
        "import": [*python, "import smmu_emu"],
        "machine": [*python, "import smmu_emu.machine"],
        "run": [*_smmu_emu(), "run", str(IMAGE)],
    }
    qemu = _qemu()
    if qemu:
        commands["qemu"] = [*qemu, *QEMU_MACHINE, str(IMAGE)]
    best = _times(commands)
    yield Row("python, nothing else", best["bare"], "ms")
    yield Row("import smmu_emu", best["import"] - best["bare"], "ms")
    yield Row("import smmu_emu.machine", best["machine"] - best["bare"], "ms")
    yield Row("smmu-emu run hello.elf", best["run"], "ms", "< 180")
    if qemu:
        yield Row("QEMU, the same image", best["qemu"], "ms")
        yield Row("times QEMU", best["run"] / best["qemu"], "x", "< 3")
