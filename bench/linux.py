# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Linux kernel: time to its shell beside QEMU's, and instructions a second at work.

The kernel and its initial RAM disk are in the first folder that ``SMMU_EMU_LINUX`` names, made by
``python -m tests.linux.build FOLDER``. It takes a minute or two, so it is measured only where it is
asked for. Times are the processor's; QEMU is found as in `bench.startup`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import Row
from bench.startup import QEMU_MACHINE, _children, _qemu, _smmu_emu
from smmu_emu import Machine
from smmu_emu.devices.virtio.disk import Disk, DiskMode
from smmu_emu.errors import ConfigurationError

FOLDER = Path(os.environ.get("SMMU_EMU_LINUX", "").split(os.pathsep)[0] or "build/linux")
PROMPT = b"/ # "
DISK_SIZE = 16 << 20
ENOUGH = 5_000_000_000
LOOP = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
READ = "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null"


def _files() -> tuple[Path, Path]:
    kernel, initrd = FOLDER / "vmlinuz", FOLDER / "initrd.cpio"
    if not kernel.exists() or not initrd.exists():
        raise ConfigurationError(f"no kernel in {FOLDER}: python -m tests.linux.build {FOLDER}")
    return kernel, initrd


def _seconds_to_shell(command: list[str]) -> float:
    """Processor time of a process until the shell's prompt, at which it is ended."""
    before = _children()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        heard = b""
        while PROMPT not in heard:
            piece = os.read(process.stdout.fileno(), 4096)
            if not piece:
                break
            heard = heard[-len(PROMPT) :] + piece
        process.kill()
    return _children() - before


class _Guest:
    """A booted kernel that does commands."""

    def __init__(self, kernel: Path, initrd: Path, image: Path) -> None:
        self.machine = Machine.virt(
            devices=(), disks=[Disk(image, DiskMode.SNAPSHOT)], console=self._hear
        )
        self.machine.load(kernel, initrd=initrd, append="quiet")
        self._run()

    def _hear(self, _: bytes) -> None:
        if self.machine.output.endswith(PROMPT):
            self.machine.core.request_exit("prompt")

    def _run(self) -> None:
        result = self.machine.run(ENOUGH)
        assert result.reason == "prompt", result

    def rate(self, command: str) -> tuple[float, float]:
        """Millions of instructions a second while it does a command; and the seconds."""
        self.machine.feed(command.encode() + b"\n")
        before, begun = self.machine.core.instructions, time.process_time()
        self._run()
        seconds = time.process_time() - begun
        return (self.machine.core.instructions - before) / seconds / 1e6, seconds


def rows() -> Iterator[Row]:
    """Measure and yield the rows of this part of the table."""
    kernel, initrd = _files()
    ours = [*_smmu_emu(), "linux", "--kernel", str(kernel), "--initrd", str(initrd)]
    seconds = _seconds_to_shell([*ours, "--append", "quiet"])
    yield Row("to the shell", seconds, "s", "< 10")
    qemu = _qemu()
    if qemu:
        files = [str(kernel), "-initrd", str(initrd), "-append", "quiet"]
        theirs = _seconds_to_shell([*qemu, *QEMU_MACHINE, *files])
        yield Row("QEMU, the same kernel", theirs, "s")
        yield Row("times QEMU", seconds / theirs, "x")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "disk.img"
        image.write_bytes(os.urandom(1 << 20) * (DISK_SIZE >> 20))
        guest = _Guest(kernel, initrd, image)
        yield Row("instructions to the shell", guest.machine.core.instructions / 1e9, "G")
        yield from _at_work(guest)
        guest.machine.close()


def _at_work(guest: _Guest) -> Iterator[Row]:
    rate, _ = guest.rate(LOOP)
    yield Row("instructions, SMMU idle", rate, "M/s")
    rate, seconds = guest.rate(READ)
    yield Row("instructions, a disk read through the SMMU", rate, "M/s")
    yield Row("the disk's bytes", DISK_SIZE / seconds / 1e6, "MB/s")
    rate, seconds = _traced(guest, lambda: guest.rate(READ))
    yield Row("instructions, the same with a trace", rate, "M/s")
    yield Row("the disk's bytes, the same with a trace", DISK_SIZE / seconds / 1e6, "MB/s")


def _traced(guest: _Guest, work: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    from smmu_emu.trace.tracer import Tracer

    with Tracer(guest.machine, lambda event: None):
        return work()
