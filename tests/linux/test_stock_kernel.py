# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernels, unmodified: their own drivers, with all DMA behind the SMMU, in both bindings.

One disk is a platform device (``iommus``), another a PCI function (``iommu-map``, messages through
``msi-map``), beside a network card and a console on PCI. Each kernel is booted once, in one test:
what is checked goes on where the check before it left the guest, and the last one powers it off.
SMMU_EMU_LINUX names the folders that `tests.linux.build` filled, with a colon between them.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.machine import Machine
from smmu_emu.port import DmaPort
from smmu_emu.report.domains import DomainReport
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.trace.contexts import ContextLog
from smmu_emu.transaction import Transaction

USUAL = Path.home() / ".cache" / "smmu-emu" / "linux"
FOLDERS = [Path(name) for name in os.environ.get("SMMU_EMU_LINUX", str(USUAL)).split(os.pathsep)]

STREAM = 0xFF00
PCI_DISK, CARD, CONSOLE = (
    f"virtio-{name}" for name in ("blk-pci@00:01.0", "net-pci@00:02.0", "console-pci@00:03.0")
)
PCI_STREAM = 0x08
MESSAGES = 0x0802_0040
DISK_SIZE = 1 << 20
PROMPT = b"/ # "
ENOUGH_TO_BOOT, ENOUGH = 3_000_000_000, 400_000_000

pytestmark = pytest.mark.slow


class Guest:
    """A kernel at its shell. Each run ends with the character that was waited for.

    ``el`` is the level that it starts at, ``board`` what else `Machine.virt` shall have.
    """

    def __init__(
        self, folder: Path, disk: Path, pci_disk: Path, *, el: int = 1, **board: Any
    ) -> None:
        self.disk, self.pci_disk = disk, pci_disk
        self.machine = Machine.virt(
            ram=256 << 20,
            devices=("virtio-net-pci@00:02.0,backend=peer", "virtio-console-pci@00:03.0"),
            disks=[Disk(disk), Disk(pci_disk, bus="pci")],
            console=self._hear,
            **board,
        )
        self.contexts = ContextLog(self.machine.smmu)
        self._awaited = b""
        self._start = 0
        self.platform = self.pci = ""
        self.machine.load(folder / "vmlinuz", initrd=folder / "initrd.cpio", el=el)
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

    def port(self, stream_id: int) -> DmaPort:
        """The way into memory of the device with this stream."""
        return next(port for port in self.machine.dma_ports if port.stream_id == stream_id)

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
    """Some 0.9 G instructions for Debian's 6.1, 1.7 for 6.12."""
    assert 100_000_000 < guest.boot_instructions < 2_500_000_000


def find_the_disks(guest: Guest) -> None:
    """Which of vda and vdb is which depends on the kernel."""
    platform = "virtio_mmio" in guest.sh("realpath /sys/block/vda")
    guest.platform, guest.pci = ("/dev/vda", "/dev/vdb")[:: 1 if platform else -1]
    assert "virtio_mmio" in guest.sh(f"realpath /sys/block/{guest.platform[5:]}")
    assert "0000:00:01.0" in guest.sh(f"realpath /sys/block/{guest.pci[5:]}")


def every_master_is_in_an_iommu_group_and_translated(guest: Guest) -> None:
    listed = guest.sh("ls /sys/kernel/iommu_groups/*/devices")
    for master in ("a000000.virtio_mmio", "0000:00:01.0", "0000:00:02.0", "0000:00:03.0"):
        assert master in listed
    kinds = guest.sh("cat /sys/kernel/iommu_groups/*/type").split()
    assert len(kinds) == 4
    assert all(kind.startswith("DMA") for kind in kinds)


def checksum_of_the_platform_disk_is_right_through_the_smmu(guest: Guest) -> None:
    _checksum(guest, guest.platform, STREAM)


def checksum_of_the_pci_disk_is_right_through_the_smmu(guest: Guest) -> None:
    _checksum(guest, guest.pci, PCI_STREAM)


def _checksum(guest: Guest, disk: str, stream_id: int) -> None:
    smmu = guest.machine.smmu
    port = guest.port(stream_id)
    before, transactions = smmu.path.hits + smmu.path.misses, port.transactions
    printed = guest.sh(f"dd if={disk} bs=64k 2>/dev/null | md5sum")
    assert printed.split()[0] == hashlib.md5(_pattern(DISK_SIZE)).hexdigest()
    assert smmu.path.hits + smmu.path.misses - before >= DISK_SIZE // 4096
    assert port.transactions - transactions >= DISK_SIZE // 4096
    assert port.last_fault is None


def messages_of_the_pci_disk_are_translated_and_arrive(guest: Guest) -> None:
    """The kernel maps the GICv2m's page for the function, somewhere else than it lies."""
    function = guest.machine.devices[PCI_DISK]
    iova, number = function.msix.message(1)
    assert iova & ~0xFFF != MESSAGES & ~0xFFF
    where = guest.machine.smmu.translate(Transaction(PCI_STREAM, iova, True, False, False, None))
    assert where.pa == MESSAGES
    assert 80 <= number < 144
    taken = guest.machine.devices["v2m"].messages
    before = _interrupts(guest, "req.0")
    guest.sh("echo 3 > /proc/sys/vm/drop_caches")
    guest.sh(f"dd if={guest.pci} of=/dev/null bs=4k count=8 2>/dev/null")
    came = _interrupts(guest, "req.0") - before
    assert came >= 1
    assert guest.machine.devices["v2m"].messages - taken >= came


def _interrupts(guest: Guest, name: str) -> int:
    """How many the kernel counted of those whose name ends so."""
    lines = guest.sh("cat /proc/interrupts").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.endswith(name))


def frames_go_out_and_come_in_through_the_smmu(guest: Guest) -> None:
    guest.sh("ifconfig eth0 10.0.2.15 up")
    assert "2 packets received" in guest.sh("ping -c 2 10.0.2.2")
    card = guest.machine.devices[CARD]
    assert card.device.received >= 3
    assert card.dma.last_fault is None


def console_on_pci_prints_and_hears(guest: Guest) -> None:
    console = guest.machine.devices[CONSOLE].device
    guest.sh("stty raw -echo < /dev/hvc0; echo hello hvc > /dev/hvc0")
    assert b"hello hvc" in console.output
    console.feed(b"typed\n")
    assert guest.sh("head -n 1 < /dev/hvc0") == "typed\n"


def unmapping_invalidates_by_address(guest: Guest) -> None:
    assert guest.machine.smmu.commands.consumed[Opcode.TLBI_NH_VA] >= DISK_SIZE // 4096 // 32


def what_the_guest_writes_reaches_the_file_and_is_read_back(guest: Guest) -> None:
    for disk, file in ((guest.platform, guest.disk), (guest.pci, guest.pci_disk)):
        before = file.read_bytes()
        moved = before[512 << 10 :][: 256 << 10]
        copy = f"dd if={disk} of={disk} bs=4k skip=128 seek=16 count=64 conv=fsync 2>/dev/null"
        guest.sh(f"{copy}; echo smmu | dd of={disk} bs=512 seek=8 conv=fsync 2>/dev/null")
        content = file.read_bytes()
        assert content[64 << 10 :][: 256 << 10] == moved
        assert content[4096:][:5] == b"smmu\n"
        assert len(content) == DISK_SIZE
        assert content[:4096] == before[:4096]
        guest.sh("echo 3 > /proc/sys/vm/drop_caches")
        printed = guest.sh(f"dd if={disk} bs=64k 2>/dev/null | md5sum")
        assert printed.split()[0] == hashlib.md5(content).hexdigest()


def kernel_tells_of_dma_to_an_unmapped_address(guest: Guest) -> None:
    """F_TRANSLATION comes by interrupt, of a platform device and of a PCI function."""
    _stray(guest, STREAM, 0xDEAD_D000, 0x10)
    _stray(guest, PCI_STREAM, 0xBAD_D000, 0x10)


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
    printed = guest.sh(f"dd if={guest.platform} bs=4k count=16 2>/dev/null | md5sum")
    assert printed.split()[0] == hashlib.md5(guest.disk.read_bytes()[: 16 * 4096]).hexdigest()


def disk_that_vanishes_is_an_error_of_the_guests(guest: Guest) -> None:
    """The file is cut short under the guest, and comes back."""
    content = guest.pci_disk.read_bytes()
    os.truncate(guest.pci_disk, 0)
    guest.sh("echo 3 > /proc/sys/vm/drop_caches")
    assert "Input/output error" in guest.sh(f"dd if={guest.pci} bs=4k count=1 of=/dev/null 2>&1")
    assert f"I/O error, dev {guest.pci[5:]}, sector 0" in guest.sh("dmesg | tail -n 20")
    guest.pci_disk.write_bytes(content)
    printed = guest.sh(f"dd if={guest.pci} bs=4k count=16 2>/dev/null | md5sum")
    assert printed.split()[0] == hashlib.md5(content[: 16 * 4096]).hexdigest()


def report_tells_of_domains_and_invalidations(guest: Guest) -> None:
    """The tables are the kernel's, the reader is not the SMMU's."""
    commands = guest.machine.smmu.commands.consumed
    report = DomainReport(guest.machine, guest.contexts.latest, commands)
    domains = {user: domain for domain in report.domains for user in domain.users}
    assert {(STREAM, None), (PCI_STREAM, None)} <= domains.keys()
    assert len({domain.name for domain in domains.values()}) >= 4
    (mapped,) = domains[PCI_STREAM, None].mapped
    assert mapped.outside == {"gic v2m": 4096}
    assert mapped.problems == 0
    assert report.invalidations["by address"] == commands[Opcode.TLBI_NH_VA]


def nothing_unmodelled_was_touched(guest: Guest) -> None:
    assert [str(site) for site in guest.machine.unmodelled] == []


def poweroff_ends_the_run_with_status_0(guest: Guest) -> None:
    guest.machine.feed(b"poweroff -f\n")
    result = guest.machine.run(ENOUGH)
    assert (result.kind, result.status) == (ExitKind.POWER_OFF, 0)


CHECKS = (
    driver_of_the_kernel_probes_the_smmu,
    boot_stays_within_its_budget,
    find_the_disks,
    every_master_is_in_an_iommu_group_and_translated,
    checksum_of_the_platform_disk_is_right_through_the_smmu,
    checksum_of_the_pci_disk_is_right_through_the_smmu,
    messages_of_the_pci_disk_are_translated_and_arrive,
    frames_go_out_and_come_in_through_the_smmu,
    console_on_pci_prints_and_hears,
    unmapping_invalidates_by_address,
    what_the_guest_writes_reaches_the_file_and_is_read_back,
    kernel_tells_of_dma_to_an_unmapped_address,
    kernel_tells_of_dma_of_an_unknown_stream,
    stream_without_driver_is_aborted_and_nobody_hears_of_it,
    disk_still_works_after_bad_dma,
    disk_that_vanishes_is_an_error_of_the_guests,
    report_tells_of_domains_and_invalidations,
    nothing_unmodelled_was_touched,
    poweroff_ends_the_run_with_status_0,
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_debians_kernel_drives_the_smmu(folder: Path, tmp_path: Path) -> None:
    if not (folder / "vmlinuz").exists() or not (folder / "initrd.cpio").exists():
        pytest.skip(f"no kernel in {folder}: python -m tests.linux.build {folder}")
    disks = tmp_path / "disk.img", tmp_path / "pci.img"
    for disk in disks:
        disk.write_bytes(_pattern(DISK_SIZE))
    guest = Guest(folder, *disks)
    for check in CHECKS:
        check(guest)
    guest.machine.close()
