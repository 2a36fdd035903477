# SPDX-License-Identifier: GPL-2.0-or-later
"""The same image on QEMU and here: the same console, status, and event records in memory.

QEMU's RAM is a file, in which the Event queue is found after the run at the place that the image
gave it here. Skipped where no fitting QEMU is installed (see `qemu_virt.find_qemu`).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import emulated
import pytest
import qemu_virt
import setups

from smmu_emu.machine import Machine
from smmu_emu.smmuv3.spec.registers import QUEUE_BASE

NAMES = sorted(image.stem for image in qemu_virt.IMAGES.glob("*.elf"))
ENDING = [name for name in NAMES if name not in qemu_virt.NEVER_END]

RAM_BASE, RAM_SIZE = 0x4000_0000, 512 << 20
EVENTQ_BASE, EVENT_SIZE = 0xA0, 32
F_CD_FETCH = 0x09

OTHER_RECORDS = {"nested"}
"""Images that have more faults on QEMU, which lacks concatenated tables: other records follow."""


def run_on_qemu(
    name: str,
    ram: Path,
    qemu: list[str] | None = None,
    machine: list[str] = qemu_virt.MACHINE,
) -> subprocess.CompletedProcess[str]:
    """Run an image on a QEMU whose RAM is the file ``ram``."""
    with ram.open("wb") as file:
        file.truncate(RAM_SIZE)
    command = [*(qemu or qemu_virt.find_qemu()[0]), *machine]
    command[command.index("-M") + 1] += ",memory-backend=ram"
    backend = f"memory-backend-file,id=ram,size={RAM_SIZE},mem-path={ram},share=on"
    command += ["-object", backend, "-kernel", str(qemu_virt.IMAGES / f"{name}.elf")]
    if name in qemu_virt.BESIDE:
        path, address = qemu_virt.BESIDE[name]
        command += ["-device", f"loader,file={path},addr={address:#x},force-raw=on"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def event_queue(machine: Machine) -> tuple[int, int]:
    """Address and size in bytes of the Event queue; 0 bytes if there is none in RAM."""
    base = QUEUE_BASE(machine.smmu.read(EVENTQ_BASE, 8))
    size = EVENT_SIZE << base.LOG2SIZE
    return (base.ADDR, size) if machine.memory.find_ram(base.ADDR, size) else (RAM_BASE, 0)


def as_the_architecture(record: bytes) -> bytes:
    """QEMU's record without its known deviation: F_CD_FETCH has its address 8 bytes too low.

    Spec: IHI 0070 7.3.10.
    """
    if record[0] == F_CD_FETCH:
        return record[:16] + record[24:] + record[16:24]
    return record


def records(queue: bytes) -> list[bytes]:
    return [queue[at : at + EVENT_SIZE] for at in range(0, len(queue), EVENT_SIZE)]


@pytest.mark.parametrize("name", ENDING)
def test_image_does_the_same_on_qemu_and_here(name: str, tmp_path: Path) -> None:
    command, why_not = qemu_virt.find_qemu()
    if not command:
        pytest.skip(why_not)
    ram = tmp_path / "ram"
    theirs = run_on_qemu(name, ram)
    machine, ours = emulated.run(name, setup=setups.QEMUS)
    with machine:
        assert machine.output.decode() == emulated.expected_here(
            name, theirs.stdout + theirs.stderr
        )
        assert ours.status == theirs.returncode
        address, size = event_queue(machine)
        with ram.open("rb") as file:
            file.seek(address - RAM_BASE)
            qemus = [as_the_architecture(record) for record in records(file.read(size))]
        if name not in OTHER_RECORDS:
            assert records(machine.memory.read(address, size) or b"") == qemus
    ram.unlink()


@pytest.mark.parametrize(
    ("name", "option", "devices", "setup"),
    [
        ("el2", "virtualization=on", [], setups.Setup(el=2)),
        ("vgic", "virtualization=on,gic-version=3", [], setups.Setup(gic="v3", el=2)),
        ("its", "gic-version=3", ["edu"], setups.Setup("qemu", setups.of("its").devices, gic="v3")),
    ],
)
def test_image_does_the_same_on_a_qemu_with_another_board(
    name: str, option: str, devices: list[str], setup: setups.Setup
) -> None:
    command, why_not = qemu_virt.find_qemu()
    if not command:
        pytest.skip(why_not)
    arguments = [*command, *qemu_virt.MACHINE]
    arguments[arguments.index("-M") + 1] += f",{option}"
    for device in devices:
        arguments += ["-device", device]
    arguments += ["-kernel", str(qemu_virt.IMAGES / f"{name}.elf")]
    theirs = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    machine, ours = emulated.run(name, setup=setup)
    with machine:
        assert machine.output.decode() == theirs.stdout + theirs.stderr
        assert ours.status == theirs.returncode == 0


CLASS_BITS, CLASS_IN = 3 << 40, 2 << 40
"""Of the second doubleword of a record. Spec: IHI 0070 7.3.13 to 7.3.16."""


def with_class_of_input(record: bytes) -> bytes:
    """A record of QEMU before 8.0, which says CD in place of IN where an input address faults."""
    if not any(record):
        return record
    word = int.from_bytes(record[8:16], "little") & ~CLASS_BITS | CLASS_IN
    return record[:8] + word.to_bytes(8, "little") + record[16:]


@pytest.mark.parametrize("which", [0, 1], ids=["system", "other"])
def test_edus_image_does_the_same_on_every_qemu_and_here(which: int, tmp_path: Path) -> None:
    """Stage 1 only, which Debian 12's QEMU 7.2 has: console, status and records are equal."""
    commands = qemu_virt.find_qemus_with_edu()
    if len(commands) <= which:
        pytest.skip("no such QEMU with edu")
    command, ram = commands[which], tmp_path / "ram"
    theirs = run_on_qemu("edu_dma", ram, command, qemu_virt.EDU_MACHINE)
    machine, ours = emulated.run("edu_dma")
    with machine:
        address, size = event_queue(machine)
        with ram.open("rb") as file:
            file.seek(address - RAM_BASE)
            qemus = records(file.read(size))
        text = theirs.stdout + theirs.stderr
        if qemu_virt.version(command) < (8, 0):
            text = text.replace(" class CD\n", " class IN\n")
            qemus = [with_class_of_input(record) for record in qemus]
        assert machine.output.decode() == text
        assert ours.status == theirs.returncode == 0
        assert records(machine.memory.read(address, size) or b"") == qemus
        assert sum(any(record) for record in qemus) == 4
    ram.unlink()


def test_images_leave_records_to_compare() -> None:
    """Else the comparison above would say nothing."""
    machine, _ = emulated.run("faults")
    with machine:
        address, size = event_queue(machine)
        queue = machine.memory.read(address, size) or b""
        assert sum(any(record) for record in records(queue)) > 20
