# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's ``virt`` board: the same devices at the same addresses on the same interrupts.

Reference: QEMU 11's hw/arm/virt.c with ``-M virt,acpi=off,iommu=smmuv3 -nodefaults``. Of its
devices there are the PL011, the PL031, the GICv2 with its message frame (GICv2m), the PCIe host,
the SMMUv3 and the virtio-mmio transports. QEMU lacks the PCI functions "dma-engine" and
"smmu-test-engine", and has its transports beside the SMMU, not behind it. Flash and fw_cfg are here
if the board starts in flash. GPIO, the platform bus and the PCIe port I/O window are not: who
touches them gets an external abort, and it is told. The device tree is at the start of RAM
(`smmu_emu.board.handover`), so images load at `LOWEST_IMAGE` or above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from smmu_emu.board.catalogue import (
    MMIO,
    PCI,
    PCI_DEVICES,
    ROOT_BUS,
    ROOT_PORT,
    Wanted,
    names,
    parse,
    split_virtio,
)
from smmu_emu.board.catalogue import VIRTIO as VIRTIO_KINDS
from smmu_emu.board.interrupts import (
    PMCG_DEVICE,
    SMMU_DEVICE,
    Gic,
    Place,
    add_gicv2,
    add_gicv3,
    check_version,
)
from smmu_emu.clock import Clock
from smmu_emu.devices.pcie import Bar, Function, format_address, parse_address
from smmu_emu.devices.pcie_host import ECAM_SIZE, PcieHost
from smmu_emu.devices.pl011 import Pl011
from smmu_emu.devices.pl031 import Pl031
from smmu_emu.devices.reporter import Report, Reporter
from smmu_emu.devices.virtio.block import VirtioBlock
from smmu_emu.devices.virtio.device import VirtioDevice
from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.devices.virtio.mmio import SLOT, VirtioMmio, VirtioSlots
from smmu_emu.errors import ConfigurationError, ImageError
from smmu_emu.interrupt import InterruptLine
from smmu_emu.memory import PhysicalMemory
from smmu_emu.port import DmaPort
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.ids import IdRegisters

if TYPE_CHECKING:
    from smmu_emu.devices.fw_cfg import FwCfg
    from smmu_emu.devices.gicv2m import Gicv2m
    from smmu_emu.devices.gicv3 import Gicv3
    from smmu_emu.devices.pflash import Pflash
    from smmu_emu.smmuv3.pmcg import Pmcg


FLASH = Place(0, 64 << 20), Place(64 << 20, 64 << 20)
"""Two banks, on boards that start there."""
UART = Place(0x0900_0000, 0x1000)
RTC = Place(0x0901_0000, 0x1000)
FW_CFG = Place(0x0902_0000, 0x1000)
SMMU = Place(0x0905_0000, 0x2_0000)
VIRTIO = Place(0x0A00_0000, 0x4000)
PMCG = Place(0x0910_0000, 0x2_0000)
"""The SMMU's counter group, page 0 and, 64 KiB on, page 1: QEMU has none, and leaves this free."""
PCIE_MMIO = Place(0x1000_0000, 0x2EFF_0000)
RAM_BASE = 0x4000_0000
PCIE_ECAM = Place(0x40_1000_0000, ECAM_SIZE)
PCIE_MMIO_HIGH = Place(0x80_0000_0000, 0x80_0000_0000)

LOWEST_IMAGE = RAM_BASE + 0x10_0000
SMALLEST_RAM = 1 << 20
LARGEST_RAM = 255 << 30

UART_SPI = 1
RTC_SPI = 2
SMMU_SPIS = {"eventq": 74, "priq": 75, "cmdq_sync": 76, "gerror": 77}
"""Shared peripheral interrupts; the GIC's number is 32 more."""
PCIE_SPIS = (3, 4, 5, 6)
PMCG_SPI = 176
VIRTIO_SPI = 16
"""Of the first virtio transport; each has one of its own."""
HYPERVISOR_TIMER_PPI = 26
VIRTUAL_TIMER_PPI = 27
PHYSICAL_TIMER_PPI = 30
"""The GIC's own numbers."""

VIRTIO_STREAM = 0xFF00
"""StreamID of the first virtio transport. PCI bus 0xff, whose requester IDs these are, is then not
to be had."""

HOST_BRIDGE = (0x1B36, 0x0008, 0x060000)


class VirtBoard:
    """The board without its core: memory map, devices, wires.

    ``pci`` names PCI devices as "iommu-testdev" (the next free place of bus 0) or
    "iommu-testdev@00:03.0"; properties follow, as in "edu@00:04.0,dma_mask=0xffffffff". Behind
    "pcie-root-port,id=rp0" goes "edu,bus=rp0". `smmu_emu.board.catalogue` has the names, among them
    those of virtio devices, which may also be on virtio-mmio transports. Each of ``disks`` is a
    virtio-blk. ``pmcg`` gives the SMMU a counter group. ``keyboard`` takes what is typed.
    ``gic`` is "v2", with a ``v2m``, or "v3", which is then ``gicv3``, with an ITS. ``bios`` are
    bytes of flash at address 0; there is a second bank behind it, and fw_cfg, only then.

    Raises: ConfigurationError for what cannot be.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        reporter: Reporter,
        console: Callable[[bytes], None],
        ram: int = 512 << 20,
        iommu: str | None = "smmuv3",
        smmu_ids: IdRegisters | None = None,
        pci: Iterable[str] = ("iommu-testdev",),
        disks: Iterable[Disk] = (),
        pmcg: bool = False,
        gic: str = "v2",
        bios: bytes | None = None,
    ) -> None:
        if ram % 0x1000 or not SMALLEST_RAM <= ram <= LARGEST_RAM:
            raise ConfigurationError(
                f"RAM of {ram} bytes: whole 4 KiB pages are needed, from 1 MiB to 255 GiB"
            )
        if iommu not in ("smmuv3", None):
            raise ConfigurationError(f"no IOMMU {iommu!r}: there is smmuv3, or None")
        check_version(gic)
        self._reporter = reporter
        self.memory = PhysicalMemory()
        self.memory.unanswered = lambda pa, kind: reporter.report("nothing", pa, kind)
        self.memory.add_ram(RAM_BASE, ram)
        self.uart = Pl011(console, reporter.window("pl011", UART.base))
        self.rtc = Pl031(clock, reporter.window("pl031", RTC.base))
        self.gic: Gic
        self.v2m: Gicv2m | None = None
        self.gicv3: Gicv3 | None = None
        if gic == "v2":
            self.gic, self.v2m = add_gicv2(self.memory, reporter)
        else:
            self.gic = self.gicv3 = add_gicv3(self.memory, reporter)
        self.smmu = None
        if iommu:
            report_smmu = reporter.window("smmu0", SMMU.base)
            self.smmu = Smmuv3(
                self.memory, smmu_ids, clock=clock, device_id=SMMU_DEVICE, report=report_smmu
            )
        self.pcie = PcieHost(self.memory, self.smmu, clock)
        self.virtio: list[VirtioMmio] = []
        self.keyboard: Callable[[bytes], None] = self.uart.feed
        given = tuple(disks)
        try:
            self._add_functions(pci, given)
            self._check_streams()
        except ConfigurationError:
            self.close()
            for disk in given:
                disk.close()
            raise
        self._connect_consoles(console)
        self._map()
        self.flash: list[Pflash] = []
        self.fw_cfg: FwCfg | None = None
        if bios is not None:
            self._add_firmware(bios)
        self.pmcg = self._add_pmcg() if pmcg else None
        self._wire()

    def _add_transport(self, make: Callable[[Report, str], VirtioDevice], kind: str) -> None:
        """Put a virtio device on the next transport."""
        number = len(self.virtio)
        if number >= VIRTIO.size // SLOT:
            raise ConfigurationError(f"more than {VIRTIO.size // SLOT} virtio devices")
        name = f"{kind}{number}"
        dma = DmaPort(self.memory, self.smmu, VIRTIO_STREAM + number, name)
        report = self._reporter.window(name, VIRTIO.base + SLOT * number)
        self.virtio.append(VirtioMmio(make(report, name), dma, report))

    @property
    def virtio_devices(self) -> list[VirtioDevice]:
        """Those on transports in the memory map, and then those on PCI."""
        on_pci = [getattr(function, "device", None) for function in self.pcie.everything]
        found = [device for device in on_pci if isinstance(device, VirtioDevice)]
        return [transport.device for transport in self.virtio] + found

    @property
    def disks(self) -> list[Disk]:
        """The images of all virtio disks."""
        return [device.disk for device in self.virtio_devices if isinstance(device, VirtioBlock)]

    def _connect_consoles(self, console: Callable[[bytes], None]) -> None:
        for device in self.virtio_devices:
            if getattr(device, "stdio", False):
                device.sink = console  # type: ignore[attr-defined]
                self.keyboard = device.feed  # type: ignore[attr-defined]

    def _check_streams(self) -> None:
        taken = {transport.device.dma.stream_id for transport in self.virtio}
        for rid in taken & self.pcie.functions.keys():
            raise ConfigurationError(
                f"PCI {format_address(rid)} would share StreamID {rid:#x} with a virtio device; "
                "name another bus"
            )

    def _add_pmcg(self) -> Pmcg:
        """Few boards have a counter group: it is loaded for those."""
        from smmu_emu.smmuv3.pmcg import Pmcg

        if self.smmu is None:
            raise ConfigurationError("a PMCG counts for an SMMU: build the board with one")
        report = self._reporter.window("pmcg0", PMCG.base)
        group = Pmcg(self.smmu, device_id=PMCG_DEVICE, report=report)
        self.memory.add_device(*PMCG, group, group.name)
        return group

    def _map(self) -> None:
        add, window = self.memory.add_device, self._reporter.window
        add(*UART, self.uart, "pl011")
        add(*RTC, self.rtc, "pl031")
        if self.smmu is not None:
            add(*SMMU, self.smmu, self.smmu.name)
        add(*VIRTIO, VirtioSlots(self.virtio), "virtio")
        for place, name in ((PCIE_MMIO, "pcie mmio"), (PCIE_MMIO_HIGH, "pcie high mmio")):
            add(*place, self.pcie.aperture(place.base, window(name, place.base)), name)
        add(*PCIE_ECAM, self.pcie.ecam, "pcie ecam")

    def _add_firmware(self, bios: bytes) -> None:
        """What only firmware looks for: it is loaded for those boards that start with it."""
        from smmu_emu.devices.fw_cfg import FwCfg
        from smmu_emu.devices.pflash import SIZE, Pflash

        if len(bios) > SIZE:
            raise ImageError(f"a BIOS of {len(bios)} bytes: a bank of flash has {SIZE}")
        for number, place in enumerate(FLASH):
            name = f"flash{number}"
            report = self._reporter.window(name, place.base)
            self.flash.append(Pflash(name, b"" if number else bios, report))
            self.memory.add_rom(*place, self.flash[-1], name)
        self.fw_cfg = FwCfg(self._reporter.window("fw_cfg", FW_CFG.base))
        self.memory.add_device(*FW_CFG, self.fw_cfg, "fw_cfg")

    def wires(self) -> dict[int, InterruptLine]:
        """The wire on each shared peripheral interrupt that has one."""
        found = {UART_SPI: self.uart.interrupt, RTC_SPI: self.rtc.interrupt}
        found |= zip(PCIE_SPIS, self.pcie.interrupts, strict=True)
        for number, transport in enumerate(self.virtio, VIRTIO_SPI):
            found[number] = transport.interrupt
        if self.smmu is not None:
            for name, number in SMMU_SPIS.items():
                found[number] = getattr(self.smmu.interrupts, name)
        if self.pmcg is not None:
            found[PMCG_SPI] = self.pmcg.interrupt
        return found

    def _wire(self) -> None:
        for number, line in self.wires().items():
            line.sink = self.gic.spi(number)

    def _add_functions(self, pci: Iterable[str], disks: Iterable[Disk]) -> None:
        vendor, device, class_code = HOST_BRIDGE
        self.pcie.add(Function(vendor, device, class_code, name="host bridge"), "00:00.0")
        for disk in disks:
            self._add_disk(disk)
        buses: dict[str, Function | None] = {ROOT_BUS: None}
        for text in pci:
            self._add_named(parse(text), buses)

    def _add_disk(self, disk: Disk) -> None:
        if disk.bus == "mmio":
            self._add_transport(partial(VirtioBlock, disk), "virtio-blk")
        else:
            self.add_function(partial(_on_pci, partial(VirtioBlock, disk), "virtio-blk"))

    def _add_named(self, wanted: Wanted, buses: dict[str, Function | None]) -> None:
        """Add what somebody asked for; ``buses`` are the bridges by their ``id``."""
        virtio = split_virtio(wanted.name)
        if virtio is not None:
            make = partial(virtio[0].make, wanted.properties)
            kind = wanted.name.removesuffix(virtio[1])
            if virtio[1] == MMIO:
                self._add_transport(make, kind)
                _refuse_rest(wanted)
                return
            function = self._place(wanted, buses, partial(_on_pci, make, kind))
        elif wanted.name in PCI_DEVICES:
            function = self._place(wanted, buses, PCI_DEVICES[wanted.name])
        else:
            raise ConfigurationError(f"no device {wanted.name!r}: there is {', '.join(names())}")
        for key, value in wanted.properties.items():
            function.set_property(key, value)
        if wanted.name == ROOT_PORT and wanted.identity is not None:
            if wanted.identity in buses:
                raise ConfigurationError(
                    f"{wanted.text}: there is a bus {wanted.identity!r} already"
                )
            buses[wanted.identity] = function

    def _place(
        self,
        wanted: Wanted,
        buses: dict[str, Function | None],
        make: Callable[[Report], Function],
    ) -> Function:
        """Make a function, and put it where it was asked for."""
        if wanted.bus not in buses:
            raise ConfigurationError(
                f"{wanted.text}: no bus {wanted.bus!r}: there is {', '.join(buses)}"
            )
        if wanted.name == ROOT_PORT and wanted.bus != ROOT_BUS:
            raise ConfigurationError(f"{wanted.text}: root ports are on the root bus")
        return self.add_function(make, wanted.address, buses[wanted.bus])

    def add_function(
        self,
        make: Callable[[Report], Function],
        address: str | None = None,
        bridge: Function | None = None,
    ) -> Function:
        """Make a PCI function, which reports through its argument, and put it in a place, behind
        ``bridge`` if there is one.

        Raises: ConfigurationError if there is no such place, or it is taken.
        """
        if address is not None:
            parse_address(address)
        made: Function = make(lambda offset, kind: self._report(made, offset, kind))
        self.pcie.add(made, address, bridge)
        return made

    def _report(self, function: Function, offset: int, kind: str) -> None:
        bar: Bar = function.bars[0]
        where = f"{function.name}@{function.place}"
        self._reporter.report(where, function.bar_address(bar) + offset, kind)

    def reset(self) -> None:
        """Power-on state of all devices; RAM is zero."""
        self.memory.clear()
        self.uart.reset()
        self.rtc.reset()
        for bank in self.flash:
            bank.reset()
        if self.fw_cfg is not None:
            self.fw_cfg.reset()
        self.pcie.reset()
        for transport in self.virtio:
            transport.reset()
        if self.smmu is not None:
            self.smmu.reset()
        if self.pmcg is not None:
            self.pmcg.reset()
        self.gic.reset()
        if self.v2m is not None:
            self.v2m.reset()

    def close(self) -> None:
        """Let go of files. Harmless when done already."""
        for device in self.virtio_devices:
            device.close()


def _on_pci(make: Callable[[Report, str], VirtioDevice], kind: str, report: Report) -> Function:
    """A virtio device as a PCI function."""
    from smmu_emu.devices.virtio.pci import VirtioPci

    return VirtioPci(make(report, kind), VIRTIO_KINDS[kind].class_code, report, kind + PCI)


def _refuse_rest(wanted: Wanted) -> None:
    """Nobody took these properties, or a place on PCI."""
    if wanted.address is not None or wanted.bus != ROOT_BUS:
        raise ConfigurationError(f"{wanted.text}: {wanted.name} is not on PCI")
    for key in wanted.properties:
        raise ConfigurationError(f"{wanted.name} has no property {key!r}")
