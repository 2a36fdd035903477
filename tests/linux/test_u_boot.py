# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's U-Boot for QEMU's virt board, unmodified, in flash: its prompt, PCI, a disk, its flash.

`tests.linux.build` leaves ``u-boot.bin`` beside a kernel, in the first folder of SMMU_EMU_LINUX.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from smmu_emu.cli.terminal import Script
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.machine import Machine
from tests.linux.test_stock_kernel import FOLDERS

U_BOOT = FOLDERS[0] / "u-boot.bin"
ENOUGH = 200_000_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not U_BOOT.exists(), reason=f"no {U_BOOT}: python -m tests.linux.build {FOLDERS[0]}"
    ),
]

COMMANDS = (
    "pci enum",
    "pci",
    "virtio scan",
    "virtio read 40200000 0 8",
    "setenv fruit apple",
    "saveenv",
    "date",
)


def test_debians_u_boot_lists_pci_reads_a_disk_and_keeps_its_environment(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    content = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(1 << 10))
    image.write_bytes(content)
    with Machine.virt(devices=["edu"], disks=[Disk(image, bus="pci")], bios=U_BOOT) as machine:
        script = Script(machine, COMMANDS, "=> ", "stop autoboot:")
        machine.console = script.hear
        result = machine.run(ENOUGH)
        said = bytes(machine.output).decode(errors="replace").replace("\r", "")
        assert result.kind is ExitKind.DEVICE, said
        answers = {
            command: said.partition(f"=> {command}\n")[2].partition("\n=> ")[0]
            for command in COMMANDS
        }
        assert "Flash: 64 MiB" in said
        assert "00.02.00   0x1234     0x11e8     Build before PCI Rev2.0 0xff" in answers["pci"]
        assert "00.01.00   0x1af4     0x1042     Mass storage controller 0x00" in answers["pci"]
        assert "8 blocks read: OK" in answers["virtio read 40200000 0 8"]
        assert machine.memory.read(0x4020_0000, 4096) == content[:4096]
        assert "Writing to Flash... done" in answers["saveenv"]
        assert b"fruit=apple" in bytes(machine.devices["flash1"].contents.view[: 1 << 18])
        assert "Date: 2024-01-01" in answers["date"]
        assert [str(site) for site in machine.unmodelled] == []
