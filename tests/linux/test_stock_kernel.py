# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel, unmodified: its own drivers, with its disk behind the SMMU.

The kernel is booted once, in one test: what is checked goes on where the check before it left the
guest, and the last one powers it off. SMMU_EMU_LINUX names the folder that `tests.linux.build`
filled.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.machine import Machine
from smmu_emu.smmuv3.spec.command import Opcode

FOLDER = Path(os.environ.get("SMMU_EMU_LINUX", Path.home() / ".cache" / "smmu-emu" / "linux"))
KERNEL, INITRD = FOLDER / "vmlinuz", FOLDER / "initrd.cpio"

STREAM = 0xFF00
DISK_SIZE = 1 << 20
PROMPT = b"/ # "
ENOUGH_TO_BOOT, ENOUGH = 3_000_000_000, 400_000_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (KERNEL.exists() and INITRD.exists()),
        reason=f"no kernel in {FOLDER}: python -m tests.linux.build {FOLDER}",
    ),
]


class Guest:
    """A kernel at its shell. Each run ends with the character that was waited for."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.machine = Machine.virt(
            ram=256 << 20, devices=(), disks=[Disk(disk)], console=self._hear
        )
        self._awaited = b""
        self._start = 0
        self.machine.load(KERNEL, initrd=INITRD)
        self.wait_for(PROMPT, 0, ENOUGH_TO_BOOT)
        self.boot_instructions = self.machine.core.instructions

    def _hear(self, _: bytes) -> None:
        output = self.machine.output
        if self._awaited and output.endswith(self._awaited) and len(output) > self._start:
            self.machine.core.request_exit("heard")

    def wait_for(self, text: bytes, start: int, most: int = ENOUGH) -> str:
        """Run until ``text`` is printed after the first ``start`` bytes of output; all of that."""
        self._awaited, self._start = text, start
        if self.machine.output.find(text, start) < 0:
            result = self.machine.run(most)
            assert result.kind is ExitKind.DEVICE, f"no {text!r}; {result}: {self._tail(-2000)}"
        self._awaited = b""
        return self._tail(start)

    def _tail(self, start: int) -> str:
        return bytes(self.machine.output[start:]).decode(errors="replace").replace("\r", "")

    def sh(self, command: str) -> str:
        """What a command prints. Its echo cannot be taken for that: it is not yet computed."""
        start = len(self.machine.output)
        mark = "echo =$((6*7))="
        self.machine.feed(f"{mark}; {command}; {mark}\n".encode())
        self.wait_for(b"=42=\r\n", start)
        printed = self.wait_for(b"=42=\r\n", len(self.machine.output))
        self.wait_for(PROMPT, len(self.machine.output))
        return printed.removesuffix("=42=\n")


def _pattern(size: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(size // 32))


def driver_of_the_kernel_probes_the_smmu(guest: Guest) -> None:
    log = guest.sh("dmesg | grep arm-smmu-v3")
    assert re.search(r"9050000\.smmuv3: ias \d+-bit, oas 44-bit", log)
    assert guest.machine.smmu.commands.consumed[Opcode.CFGI_STE] >= 1


def boot_stays_within_its_budget(guest: Guest) -> None:
    """Some 0.9 G instructions for Debian's 6.1."""
    assert 100_000_000 < guest.boot_instructions < 2_000_000_000


def disk_is_in_an_iommu_group_and_translated(guest: Guest) -> None:
    assert "a000000.virtio_mmio" in guest.sh("ls /sys/kernel/iommu_groups/0/devices")
    assert guest.sh("cat /sys/kernel/iommu_groups/0/type").startswith("DMA")


def checksum_of_the_disk_is_right_through_the_smmu(guest: Guest) -> None:
    smmu = guest.machine.smmu
    before = smmu.path.hits + smmu.path.misses
    printed = guest.sh("dd if=/dev/vda bs=64k 2>/dev/null | md5sum")
    assert printed.split()[0] == hashlib.md5(_pattern(DISK_SIZE)).hexdigest()
    assert smmu.path.hits + smmu.path.misses - before >= DISK_SIZE // 4096
    port = guest.machine.devices["virtio-blk0"].dma
    assert port.stream_id == STREAM
    assert port.last_fault is None


def unmapping_invalidates_by_address(guest: Guest) -> None:
    assert guest.machine.smmu.commands.consumed[Opcode.TLBI_NH_VA] >= DISK_SIZE // 4096 // 32


def what_the_guest_writes_reaches_the_file_and_is_read_back(guest: Guest) -> None:
    before = guest.disk.read_bytes()
    moved = before[512 << 10 :][: 256 << 10]
    guest.sh("dd if=/dev/vda of=/dev/vda bs=4k skip=128 seek=16 count=64 conv=fsync 2>/dev/null")
    guest.sh("echo smmu | dd of=/dev/vda bs=512 seek=8 conv=fsync 2>/dev/null")
    content = guest.disk.read_bytes()
    assert content[64 << 10 :][: 256 << 10] == moved
    assert content[4096:][:5] == b"smmu\n"
    assert len(content) == DISK_SIZE
    guest.sh("echo 3 > /proc/sys/vm/drop_caches")
    printed = guest.sh("dd if=/dev/vda bs=64k 2>/dev/null | md5sum")
    assert printed.split()[0] == hashlib.md5(content).hexdigest()
    assert content[:4096] == before[:4096]


def kernel_tells_of_dma_to_an_unmapped_address(guest: Guest) -> None:
    """F_TRANSLATION comes by interrupt."""
    _stray(guest, STREAM, 0xDEAD_D000, 0x10)


def kernel_tells_of_dma_of_an_unknown_stream(guest: Guest) -> None:
    """C_BAD_STREAMID: the driver asks for these records as well."""
    _stray(guest, 0x123, 0, 0x02)


def _stray(guest: Guest, stream_id: int, iova: int, event: int) -> None:
    """One bad transaction, and the record that the driver prints."""
    guest.sh("true")
    start = len(guest.machine.output)
    assert not guest.machine.dma(stream_id).write(iova, b"stray")
    told = guest.wait_for(b"event 0x%02x received" % event, start)
    assert told.splitlines()[-1].split("] ")[1].startswith("arm-smmu-v3 9050000.smmuv3:")
    for word in (event | stream_id << 32, iova):
        guest.wait_for(b"0x%016x" % word, start)
    guest.wait_for(b"\n", len(guest.machine.output))
    guest.sh("true")


def stream_without_driver_is_aborted_and_nobody_hears_of_it(guest: Guest) -> None:
    """The kernel fills the table around its stream with STEs that abort, which make no event."""
    records = guest.machine.smmu.registers.values["EVENTQ_PROD"]
    assert not guest.machine.dma(STREAM + 1).write(0x1000, b"stray")
    assert guest.machine.smmu.registers.values["EVENTQ_PROD"] == records


def disk_still_works_after_bad_dma(guest: Guest) -> None:
    guest.sh("echo 3 > /proc/sys/vm/drop_caches")
    printed = guest.sh("dd if=/dev/vda bs=4k count=16 2>/dev/null | md5sum")
    assert printed.split()[0] == hashlib.md5(guest.disk.read_bytes()[: 16 * 4096]).hexdigest()


def nothing_unmodelled_was_touched(guest: Guest) -> None:
    assert [str(site) for site in guest.machine.unmodelled] == []


def poweroff_ends_the_run_with_status_0(guest: Guest) -> None:
    guest.machine.feed(b"poweroff -f\n")
    result = guest.machine.run(ENOUGH)
    assert (result.kind, result.status) == (ExitKind.POWER_OFF, 0)


CHECKS = (
    driver_of_the_kernel_probes_the_smmu,
    boot_stays_within_its_budget,
    disk_is_in_an_iommu_group_and_translated,
    checksum_of_the_disk_is_right_through_the_smmu,
    unmapping_invalidates_by_address,
    what_the_guest_writes_reaches_the_file_and_is_read_back,
    kernel_tells_of_dma_to_an_unmapped_address,
    kernel_tells_of_dma_of_an_unknown_stream,
    stream_without_driver_is_aborted_and_nobody_hears_of_it,
    disk_still_works_after_bad_dma,
    nothing_unmodelled_was_touched,
    poweroff_ends_the_run_with_status_0,
)


def test_debians_kernel_drives_the_smmu(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(_pattern(DISK_SIZE))
    guest = Guest(disk)
    for check in CHECKS:
        check(guest)
    guest.machine.close()
