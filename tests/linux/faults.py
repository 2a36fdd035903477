# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock kernel under injected faults: what it says, and what becomes of what it was doing.

    python -m tests.linux.faults FOLDER [NAME...]

boots the kernel in FOLDER (see `tests.linux.build`) once, goes back to a snapshot for every fault,
and writes docs/linux_faults.md; with names it prints those rows alone. Meanwhile the kernel reads
from a disk behind the SMMU, past its cache.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from smmu_emu.devices.virtio.disk import Disk, DiskMode
from smmu_emu.inject import (
    EVER,
    Abort,
    Dma,
    Drop,
    Duplicate,
    Effect,
    Flip,
    Injection,
    Injector,
    Plan,
    Replace,
    SetField,
    Stuck,
    When,
)
from smmu_emu.machine import Machine

STREAM = 0xFF00
PROMPT = b"/ # "
ENOUGH_TO_BOOT = 3_000_000_000
PAGE = Path(__file__).resolve().parents[2] / "docs" / "linux_faults.md"
_BEGIN, _END = "<!-- made by python -m tests.linux.faults -->\n", "<!-- end -->\n"

SLOW = 200
"""Nanoseconds that an instruction takes once a fault is in: timeouts of a second come sooner so."""
PATIENCE = 12
"""Seconds of virtual time after which whoever still waits is said to wait."""
MOST = 100_000_000

ONE = "dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct 2>&1 | tail -n 1"
FEW = ONE.replace("count=1", "count=16")
SUM = "dd if=/dev/vda bs=64k iflag=direct 2>/dev/null | md5sum"
LOOP = f"for i in 1 2 3 4 5 6 7 8; do {ONE}; done"
DISK = bytes(range(256)) * 4096
BOOT = ""
"""In place of a command: the fault is in while the kernel boots, from the probe of the SMMU on."""


class Experiment(NamedTuple):
    """One row: ``what`` is the fault in words, ``command`` what the guest does under it."""

    name: str
    what: str
    faults: tuple[Injection, ...]
    command: str = FEW


class Observed(NamedTuple):
    """What the kernel said (messages without time, how often each), what the command printed, and
    whether it came to its end."""

    messages: dict[str, int]
    printed: list[str]
    finished: bool
    nanoseconds: int
    valid: bool


def _fault(site: str, effect: Effect, **when: object) -> Injection:
    return Injection(site, effect, When(**when))  # type: ignore[arg-type]


def _stray(times: int = 1, stream: int = STREAM, **when: object) -> Injection:
    """DMA of the disk, or of somebody else, to an address that nobody mapped."""
    attack = Dma(stream=stream, iova=0xDEAD_0000)
    return Injection("device", attack, When(stream=STREAM, times=times, **when))  # type: ignore[arg-type]


_ALL = {"times": EVER}
EXPERIMENTS = (
    Experiment("nothing", "none", ()),
    Experiment("walk", "one descriptor read of the disk's aborts", (_fault("walk-read", Abort()),)),
    Experiment("stray", "DMA of the disk to an unmapped address", (_stray(),)),
    Experiment("stranger", "DMA of a StreamID that nobody knows", (_stray(stream=0x123),)),
    Experiment(
        "flood",
        "40,000 of them at once",
        (_stray(), _fault("transaction", Duplicate(40_000), iova=(0xDEAD_0000, 0xDEAD_1000))),
        LOOP,
    ),
    Experiment(
        "event-interrupt",
        "two of them, and the event queue's interrupt is lost",
        (_stray(2), _fault("interrupt", Drop(), line="eventq")),
    ),
    Experiment(
        "event-abort",
        "one of them, and the write of its record aborts",
        (_stray(), _fault("event-write", Abort())),
    ),
    Experiment(
        "event-damaged",
        "one of them, and its record is damaged",
        (_stray(), _fault("event-write", Replace(0xEE))),
    ),
    Experiment("doorbell", "one doorbell is lost", (_fault("clock", Drop(), action="doorbell"),)),
    Experiment(
        "sync",
        "CMD_SYNC never completes again: all doorbells are lost",
        (_fault("clock", Drop(), action="doorbell", times=EVER),),
        ONE,
    ),
    Experiment(
        "index",
        "CMDQ_CONS always reads 0",
        (_fault("register-read", Stuck(0), register="CMDQ_CONS"),),
        ONE,
    ),
    Experiment(
        "command-abort", "the fetch of a command aborts", (_fault("command-fetch", Abort()),), ONE
    ),
    Experiment(
        "command-illegal",
        "a TLBI is read as an unknown command",
        (_fault("command-fetch", Replace(0xEE), opcode="TLBI_NH_VA"),),
        ONE,
    ),
    Experiment(
        "error-interrupt",
        "the same, and the error's interrupt is lost",
        (
            _fault("command-fetch", Replace(0xEE), opcode="TLBI_NH_VA"),
            _fault("interrupt", Drop(), line="gerror"),
        ),
        ONE,
    ),
    Experiment(
        "error-interrupts",
        "GERROR's interrupt comes four times for one error",
        (
            _fault("command-fetch", Replace(0xEE), opcode="TLBI_NH_VA"),
            _fault("interrupt", Duplicate(3), line="gerror"),
        ),
        ONE,
    ),
    Experiment(
        "tlbi",
        "all TLBIs are dropped on their way",
        (_fault("command-fetch", Drop(), opcode="TLBI_NH_VA", times=EVER),),
    ),
    Experiment(
        "ste",
        "the disk's STE turns to abort, and a CFGI_STE comes instead of a TLBI",
        (
            _fault("ste", SetField("Config", 0), stream=STREAM),
            _fault("command-fetch", Replace(0x1_0000_FF00_0000_0003), opcode="TLBI_NH_VA"),
        ),
    ),
    Experiment(
        "disk-interrupt",
        "the disk's own interrupt is lost",
        (_fault("interrupt", Drop(), line="*virtio*"),),
    ),
    Experiment(
        "stalled",
        "DMA of the disk is stalled for ever: its writes never arrive",
        (_fault("dma-write", Drop(), stream=STREAM, times=EVER),),
    ),
    Experiment(
        "bus",
        "one DMA of the disk aborts on the bus",
        (_fault("transaction", Abort(), write=True),),
    ),
    Experiment(
        "data",
        "one bit of the disk's data changes",
        (_fault("dma-write", Flip((0,)), stream=STREAM),),
        SUM,
    ),
    Experiment(
        "cr0",
        "while it boots: CR0 is never acknowledged",
        (_fault("clock", Drop(), action="cr0-acknowledge", times=EVER),),
        BOOT,
    ),
    Experiment(
        "irq-ctrl",
        "while it boots: IRQ_CTRL is never acknowledged",
        (_fault("clock", Drop(), action="irq-ctrl-acknowledge", times=EVER),),
        BOOT,
    ),
    Experiment(
        "first-command",
        "while it boots: the fetch of its first command aborts",
        (_fault("command-fetch", Abort()),),
        BOOT,
    ),
)


class Laboratory:
    """One kernel, booted to its shell; every experiment starts from there, or from the probe of the
    SMMU."""

    def __init__(self, folder: Path, disk: Path) -> None:
        disk.write_bytes(DISK)
        self.machine = machine = Machine.virt(
            ram=256 << 20,
            devices=(),
            disks=[Disk(disk, DiskMode.SNAPSHOT)],
            console=self._hear,
        )
        self._awaited = b""
        self._start = 0
        machine.load(folder / "vmlinuz", initrd=folder / "initrd.cpio")
        self._run(b"smmuv3: ias ", ENOUGH_TO_BOOT)
        self.probing = machine.snapshot()
        self._run(PROMPT, ENOUGH_TO_BOOT)
        self.ready = machine.snapshot()

    def _hear(self, _: bytes) -> None:
        output = self.machine.output
        if (
            len(output) > self._start
            and self._awaited in output[max(self._start, len(output) - 64) :]
        ):
            self.machine.core.request_exit("heard")

    def _run(self, awaited: bytes, most: int) -> bool:
        """Run until the guest prints something; whether it did."""
        self._awaited, self._start = awaited, len(self.machine.output)
        self.machine.run(most)
        return awaited in self.machine.output[self._start :]

    def observe(self, experiment: Experiment) -> Observed:
        """Do one experiment."""
        machine, booting = self.machine, experiment.command == BOOT
        machine.restore(self.probing if booting else self.ready)
        machine.core._pace.ns = SLOW
        start, began = len(machine.output), machine.clock.now
        end = machine.clock.after(
            (30 * PATIENCE if booting else PATIENCE) * 10**9,
            lambda: machine.core.request_exit("out of time"),
        )
        with Injector(machine, Plan(experiment.faults)) as injector:
            if booting:
                finished = self._run(PROMPT, 15 * MOST)
            else:
                machine.feed(f"{experiment.command}; echo =$((6*7))=\n".encode())
                finished = self._run(b"=42=\r\n", MOST)
        end.cancel()
        machine.core._pace.ns = 1
        text = bytes(machine.output[start:]).decode(errors="replace").replace("\r", "")
        messages: dict[str, int] = {}
        for message in _messages(text):
            messages[message] = messages.get(message, 0) + 1
        took = machine.clock.now - began
        return Observed(messages, _printed(text), finished, took, injector.report().valid)


def _messages(text: str) -> Iterator[str]:
    """The kernel's messages about what is broken, with numbers that differ each time left out."""
    for line in re.findall(r"^\[ *\d+\.\d+\] (.*)$", text, re.MULTILINE):
        if re.search(r"smmu|I/O error|virtio|panic|BUG|WARNING|timed? ?out", line):
            if re.search(r"\t0x\w{16}$|allocated \d+ entries", line):
                continue  # the rest of a record, and what it says without faults as well
            line = line.replace("arm-smmu-v3 9050000.smmuv3: ", "")
            yield re.sub(r"0x[0-9a-f]{8}\b|sector \d+", "...", line)


def _printed(text: str) -> list[str]:
    """What the command printed."""
    lines = text.split("=42=")[0].splitlines()
    return [line for line in lines if line and not re.match(r"\[ |.*=\$\(|.*\x1b|/ #", line)]


def row(experiment: Experiment, observed: Observed) -> str:
    """A line of the table."""
    said = "<br>".join(
        f"{message}{f' ({count} times)' if count > 1 else ''}"
        for message, count in list(observed.messages.items())[:5]
    )
    seconds = observed.nanoseconds / 1e9
    if experiment.command == BOOT:
        ended = "it boots" if observed.finished else "it does not get to its shell"
    elif observed.finished:
        printed = observed.printed[-1] if observed.printed else "nothing"
        ended = f"the command ends after {seconds:.1f} s: `{printed.strip()}`"
        if experiment.command == SUM:
            right = printed.split()[0] == hashlib.md5(DISK).hexdigest()
            ended += ", which is right" if right else ", which is wrong"
    else:
        ended = f"the command still waits after {seconds:.0f} s"
    return f"| {experiment.what} | {said or '(nothing)'} | {ended} |"


def table(laboratory: Laboratory, names: list[str]) -> list[str]:
    """Lines for experiments by name, or all.

    Raises: SystemExit if some fault never fired: the row would show nothing.
    """
    lines = []
    for experiment in EXPERIMENTS:
        if names and experiment.name not in names:
            continue
        observed = laboratory.observe(experiment)
        if not observed.valid:
            raise SystemExit(f"{experiment.name}: its fault never fired")
        lines.append(row(experiment, observed))
        print(lines[-1], flush=True)
    return lines


def main(folder: Path, names: list[str]) -> None:
    """Write the page, or print some rows."""
    with tempfile.TemporaryDirectory() as scratch:
        laboratory = Laboratory(folder, Path(scratch) / "disk.img")
        version = re.search(rb"Linux version (\S+)", laboratory.machine.output)
        lines = table(laboratory, names)
        laboratory.machine.close()
    if names:
        return
    head, rest = PAGE.read_text().split(_BEGIN)
    kernel = version.group(1).decode() if version else "a kernel"
    heading = (
        f"Linux {kernel}:\n\n| fault | what the kernel said | what became of it |\n|---|---|---|\n"
    )
    PAGE.write_text(head + _BEGIN + heading + "\n".join(lines) + "\n" + _END + rest.split(_END)[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
