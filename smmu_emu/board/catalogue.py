# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices that can be added to a board by name, and how their names are written.

A device is ``NAME[@ADDRESS][,PROPERTY=VALUE]...``; a comma in a value is doubled, as for QEMU. Few
boards have any of these devices, so each is loaded when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from smmu_emu.devices.iommu_testdev import IommuTestdev
from smmu_emu.devices.pcie import Function
from smmu_emu.devices.reporter import Report
from smmu_emu.errors import ConfigurationError

if TYPE_CHECKING:
    from smmu_emu.devices.virtio.device import VirtioDevice
    from smmu_emu.devices.virtio.net import Backend

ROOT_BUS, ROOT_PORT = "pcie.0", "pcie-root-port"


class Wanted(NamedTuple):
    """One device as somebody asked for it, in ``text``."""

    text: str
    name: str
    address: str | None
    bus: str
    identity: str | None
    properties: dict[str, str]


def parse(text: str) -> Wanted:
    """Take the text for one device apart."""
    head, *rest = (part.replace(",,", ",") for part in re.split(r"(?<!,),(?!,)", text))
    name, _, address = head.partition("@")
    properties = dict(one.partition("=")[::2] for one in rest)
    bus, identity = properties.pop("bus", ROOT_BUS), properties.pop("id", None)
    slot = properties.pop("addr", "")
    address = address or (slot if "." in slot or not slot else f"{slot}.0")
    return Wanted(text, name, address or None, bus, identity, properties)


def _dma_engine(report: Report) -> Function:
    from smmu_emu.devices.dma_engine import DmaEngine

    return DmaEngine(report)


def _edu(report: Report) -> Function:
    from smmu_emu.devices.edu import Edu

    return Edu(report)


def _root_port(report: Report) -> Function:
    from smmu_emu.devices.pcie_bridge import RootPort

    return RootPort(report)


def _smmu_test_engine(report: Report) -> Function:
    from smmu_emu.devices.smmu_test_engine import SmmuTestEngine

    return SmmuTestEngine(report)


PCI_DEVICES: dict[str, Callable[[Report], Function]] = {
    "iommu-testdev": IommuTestdev,
    "dma-engine": _dma_engine,
    "edu": _edu,
    ROOT_PORT: _root_port,
    "smmu-test-engine": _smmu_test_engine,
}
"""PCI functions by name, but for virtio's."""


# -- virtio


def _block(properties: dict[str, str], report: Report, name: str) -> VirtioDevice:
    from smmu_emu.devices.virtio.block import VirtioBlock
    from smmu_emu.devices.virtio.disk import Disk, DiskMode

    drive, mode = properties.pop("drive", None), properties.pop("mode", "rw")
    if drive is None:
        raise ConfigurationError(f"{name} needs drive=IMAGE")
    if mode not in [one.value for one in DiskMode]:
        raise ConfigurationError(f"{name}: mode={mode} is none of rw, ro, snapshot")
    return VirtioBlock(Disk(drive, DiskMode(mode)), report, name)


def _net(properties: dict[str, str], report: Report, name: str) -> VirtioDevice:
    from smmu_emu.devices.virtio import peer
    from smmu_emu.devices.virtio.net import DEFAULT_MAC, VirtioNet, loop, unplugged

    backends: dict[str, Backend] = {"none": unplugged, "loop": loop, "peer": peer.answer}
    backend, mac = properties.pop("backend", "none"), properties.pop("mac", DEFAULT_MAC.hex(":"))
    if backend not in backends:
        raise ConfigurationError(f"{name}: backend={backend} is none of {', '.join(backends)}")
    if not re.fullmatch(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", mac.lower()):
        raise ConfigurationError(f"{name}: mac={mac} is no address of one card: 52:54:00:12:34:56")
    return VirtioNet(backends[backend], bytes.fromhex(mac.replace(":", "")), report, name)


def _console(properties: dict[str, str], report: Report, name: str) -> VirtioDevice:
    from smmu_emu.devices.virtio.console import VirtioConsole

    stdio = properties.pop("stdio", "off")
    if stdio not in ("on", "off"):
        raise ConfigurationError(f"{name}: stdio={stdio} is neither on nor off")
    return VirtioConsole(stdio == "on", report=report, name=name)


class VirtioKind(NamedTuple):
    """How to make a virtio device, and its class code on PCI."""

    make: Callable[[dict[str, str], Report, str], VirtioDevice]
    class_code: int


VIRTIO = {
    "virtio-blk": VirtioKind(_block, 0x010000),
    "virtio-net": VirtioKind(_net, 0x020000),
    "virtio-console": VirtioKind(_console, 0x078000),
}
"""Each is to be had with "-pci" and, on a virtio-mmio transport, "-device" after its name."""
PCI, MMIO = "-pci", "-device"


def names() -> list[str]:
    """What there is."""
    virtio = [kind + suffix for kind in VIRTIO for suffix in (PCI, MMIO)]
    return sorted([*PCI_DEVICES, *virtio])


def split_virtio(name: str) -> tuple[VirtioKind, str] | None:
    """What kind of virtio device has this name, and its transport; None if none has."""
    for suffix in (PCI, MMIO):
        kind = VIRTIO.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if kind is not None:
            return kind, suffix
    return None
