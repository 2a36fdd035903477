# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel started at EL2, with a GICv3: messages are LPIs, and KVM has a guest of its own.

One boot, as in `tests.linux.test_stock_kernel`. The guest's program is built when it is wanted and
travels at the start of a disk.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from smmu_emu.smmuv3 import PRESETS
from tests.linux.test_stock_kernel import (
    DISK_SIZE,
    FOLDERS,
    PCI_DISK,
    PCI_STREAM,
    STREAM,
    Guest,
    _checksum,
    _interrupts,
    _pattern,
    _stray,
    find_the_disks,
    poweroff_ends_the_run_with_status_0,
)

SOURCE = Path(__file__).with_name("kvm.c")
FLAGS = (
    *(
        "--target=aarch64-freestanding-none",
        "-Os",
        "-nostdlib",
        "-static",
        "-s",
        "-Wall",
        "-Werror",
    ),
    *("-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-mgeneral-regs-only"),
)
BLOCKS = 32
"""Of 4 KiB, for the program."""

pytestmark = pytest.mark.slow


def build(output: Path) -> bytes:
    """The program that has a guest."""
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, str(SOURCE), "-o", str(output)]
    subprocess.run(command, check=True, timeout=120)
    return output.read_bytes()


def kernel_found_the_gicv3_and_its_its(guest: Guest) -> None:
    log = guest.sh("dmesg")
    assert "GICv3: 256 SPIs implemented" in log
    assert "GICv3: CPU0: found redistributor 0 region 0:0x00000000080a0000" in log
    assert re.search(r"ITS@0x0*8080000: allocated \d+ Devices .*indirect", log)
    assert "GICv3: CPU0: using allocated LPI pending table" in log


def kernel_is_at_el2_and_started_its_hypervisor(guest: Guest) -> None:
    log = guest.sh("dmesg")
    assert "CPU: All CPU(s) started at EL2" in log
    assert "Hyp mode initialized successfully" in log


def messages_are_lpis_of_their_senders(guest: Guest) -> None:
    lines = guest.sh("cat /proc/interrupts").splitlines()
    kinds = {line.split()[-1]: line.split()[2] for line in lines if "ITS" in line}
    assert kinds["arm-smmu-v3-evtq"] == kinds["arm-smmu-v3-gerror"] == "ITS-pMSI"
    (queue,) = [name for name in kinds if name.endswith("req.0")]
    assert kinds[queue] == "ITS-MSI"
    gic = guest.machine.devices["gic"]
    before, taken = _interrupts(guest, "req.0"), gic.its.messages
    guest.sh("echo 3 > /proc/sys/vm/drop_caches")
    guest.sh(f"dd if={guest.pci} of=/dev/null bs=4k count=8 2>/dev/null")
    came = _interrupts(guest, "req.0") - before
    assert came >= 1
    assert gic.its.messages - taken >= came
    assert guest.machine.devices[PCI_DISK].dma.memory.device_id == PCI_STREAM


def checksum_of_the_pci_disk_is_right_through_the_smmu(guest: Guest) -> None:
    _checksum(guest, guest.pci, PCI_STREAM)


def event_queue_interrupt_is_an_lpi_of_the_smmu(guest: Guest) -> None:
    _stray(guest, STREAM, 0xDEAD_D000, 0x10)
    assert _interrupts(guest, "arm-smmu-v3-evtq") >= 1


def kvm_runs_a_guest(guest: Guest) -> None:
    """MMIO exits with their data, memory behind stage 2, its level, interrupts of a GICv3 of its
    own, and its power-off."""
    guest.sh(f"dd if={guest.platform} of=/tmp/kvm bs=4k count={BLOCKS} 2>/dev/null")
    assert guest.sh("chmod +x /tmp/kvm; /tmp/kvm").splitlines() == [
        "store 0x0000000009000000 0x0000000000001234",
        "store 0x0000000009000004 0x0000000000100000",
        "load 0x0000000009000008 0x000000000000cafe",
        "store 0x000000000900000c 0x000000000000cafe",
        "store 0x0000000009000010 0x0000000000000004",
        "store 0x0000000009000020 0x0000000000000001",
        "store 0x0000000009000024 0x0000000000000028",  # SPI 40
        "store 0x0000000009000024 0x000000000000001b",  # its virtual timer
        "system event 0x0000000000000001",
    ]


def nothing_unmodelled_was_touched(guest: Guest) -> None:
    assert [str(site) for site in guest.machine.unmodelled] == []


CHECKS = (
    kernel_found_the_gicv3_and_its_its,
    kernel_is_at_el2_and_started_its_hypervisor,
    find_the_disks,
    messages_are_lpis_of_their_senders,
    checksum_of_the_pci_disk_is_right_through_the_smmu,
    event_queue_interrupt_is_an_lpi_of_the_smmu,
    kvm_runs_a_guest,
    nothing_unmodelled_was_touched,
    poweroff_ends_the_run_with_status_0,
)


def test_debians_kernel_is_a_hypervisor_with_a_gicv3(tmp_path: Path) -> None:
    folder = FOLDERS[0]
    if not (folder / "vmlinuz").exists() or not (folder / "initrd.cpio").exists():
        pytest.skip(f"no kernel in {folder}: python -m tests.linux.build {folder}")
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed: pip install 'smmu-emu[test]'")
    program = build(tmp_path / "kvm")
    assert len(program) <= BLOCKS * 4096
    disk, pci_disk = tmp_path / "disk.img", tmp_path / "pci.img"
    disk.write_bytes(program.ljust(DISK_SIZE, b"\0"))
    pci_disk.write_bytes(_pattern(DISK_SIZE))
    guest = Guest(folder, disk, pci_disk, el=2, gic="v3", smmu_ids=PRESETS["full"])
    for check in CHECKS:
        check(guest)
    guest.machine.close()
