# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree of a board: what was built, described as QEMU's ``virt`` describes it.

Spec: Devicetree Specification 0.4, and Linux's bindings for what is compatible. The package fdt
packs and parses blobs. Other than QEMU's, this tree holds no seeds for random numbers, since runs
repeat, and only virtio transports that have a device; those have ``iommus``. A tree that the user
brings gets the machine's memory, command line and initrd, as with QEMU's ``-dtb``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smmu_emu.board import interrupts, virt
from smmu_emu.cpu.models import AARCH32_MODELS
from smmu_emu.devices.virtio.mmio import SLOT
from smmu_emu.errors import ImageError

if TYPE_CHECKING:
    from smmu_emu.board.interrupts import Place
    from smmu_emu.board.virt import VirtBoard

_CLOCK, _CPU, _GIC, _MSI, _SMMU = 0x8000, 0x8001, 0x8002, 0x8003, 0x8004
"""Phandles, which are QEMU's too. _MSI is the GICv2m, or the ITS."""
_SPI, _PPI = 0, 1
_EDGE, _LEVEL = 1, 4
_PPI_LEVEL = 0x104
"""Level, and for core 0: of a GICv2."""
_GIC_FRAME = 0x1_0000
_UART_CLOCK = 24_000_000
_BUSES = 0x100
_SLOTS, _SLOT_SHIFT = 3, 11
"""Of a PCI device's number, the bits that tell to which lines its pins lead."""
_PAGE = 0x1000
_FW_CFG_SIZE = 0x18
_CALLS_64, _CALLS_32 = 0xC400_0000, 0x8400_0000
"""PSCI's function numbers for callers of 64 and of 32 bits."""
_VERSION = 17

Value = str | int | list[int] | tuple[str, ...] | None


def build(
    board: VirtBoard,
    cpu_model: str,
    bootargs: str = "",
    initrd: tuple[int, int] | None = None,
    el: int = 1,
) -> bytes:
    """The blob for a board; ``initrd`` is where one begins and ends, in bytes.

    ``el`` is the exception level that the tree's reader starts at.
    """
    from fdt import FDT

    tree = FDT()
    root = tree.root
    _fill(
        root,
        {
            "interrupt-parent": _GIC,
            "dma-coherent": None,
            "model": "linux,dummy-virt",
            "#size-cells": 2,
            "#address-cells": 2,
            "compatible": "linux,dummy-virt",
        },
    )
    v3 = board.gicv3 is not None
    _add_core(root, cpu_model, "smc" if el == 2 else "hvc")
    _add_timer(root, _LEVEL if v3 else _PPI_LEVEL, cpu_model)
    _add_memory(root, board)
    _add_gicv3(root, el) if v3 else _add_gicv2(root)
    _add_uart(root)
    _add_rtc(root)
    if board.smmu is not None:
        _add_smmu(root, _own_messages(board, interrupts.SMMU_DEVICE))
    if board.flash:
        _add_firmware(root)
    if board.pmcg is not None:
        _add_pmcg(root, _own_messages(board, interrupts.PMCG_DEVICE))
    _add_pcie(root, board)
    for number, transport in enumerate(board.virtio):
        _add_virtio(root, board, number, transport.device.dma.stream_id)
    _add(root, "aliases", {"serial0": f"/pl011@{virt.UART.base:x}"})
    _add(root, "chosen", {"stdout-path": f"/pl011@{virt.UART.base:x}"})
    _choose(root, bootargs, initrd)
    return _pack(tree)


def amend(
    blob: bytes,
    name: str,
    board: VirtBoard,
    bootargs: str = "",
    initrd: tuple[int, int] | None = None,
) -> bytes:
    """A user's tree with the machine's memory, and its command line and initrd if there are any.

    Raises: ImageError if ``blob`` is no device tree; ``name`` is for that.
    """
    from fdt import parse_dtb

    try:
        tree = parse_dtb(blob)
    except Exception as error:  # the package raises whatever it stumbles over
        why = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} is not a device tree: {why}") from error
    root = tree.root
    for node in [node for node in root.nodes if node.name.partition("@")[0] == "memory"]:
        root.remove_subnode(node.name)
    _add_memory(root, board)
    if not root.exist_subnode("chosen"):
        _add(root, "chosen", {})
    _choose(root, bootargs, initrd)
    return _pack(tree)


# -- parts of the board


def _add_core(root: Any, cpu_model: str, firmware_call: str) -> None:
    calls = _CALLS_32 if cpu_model in AARCH32_MODELS else _CALLS_64
    _add(
        root,
        "psci",
        {
            "migrate": calls | 5,
            "cpu_on": calls | 3,
            "cpu_off": 0x8400_0002,
            "cpu_suspend": calls | 1,
            "method": firmware_call,
            "compatible": ("arm,psci-1.0", "arm,psci-0.2", "arm,psci"),
        },
    )
    cpus = _add(root, "cpus", {"#size-cells": 0, "#address-cells": 1})
    core = {"phandle": _CPU, "reg": 0, "compatible": f"arm,{cpu_model}", "device_type": "cpu"}
    _add(cpus, "cpu@0", core)


def _add_timer(root: Any, flags: int, cpu_model: str) -> None:
    timers = [word for ppi in (13, 14, 11, 10) for word in (_PPI, ppi, flags)]
    _add(
        root,
        "timer",
        {
            "interrupts": timers,
            "always-on": None,
            "compatible": "arm,armv7-timer"
            if cpu_model in AARCH32_MODELS
            else ("arm,armv8-timer", "arm,armv7-timer"),
        },
    )


def _add_memory(root: Any, board: VirtBoard) -> None:
    for ram in board.memory.rams:
        reg = [*_wide(ram.base), *_wide(ram.size)]
        _add(root, f"memory@{ram.base:x}", {"reg": reg, "device_type": "memory"})


def _add_gicv2(root: Any) -> None:
    frames = [*_wide(interrupts.GIC_DISTRIBUTOR.base), *_wide(_GIC_FRAME)]
    frames += [*_wide(interrupts.GIC_CPU.base), *_wide(_GIC_FRAME)]
    controller = _add(
        root,
        f"intc@{interrupts.GIC_DISTRIBUTOR.base:x}",
        {
            "phandle": _GIC,
            "reg": frames,
            "compatible": "arm,cortex-a15-gic",
            "ranges": None,
            "#size-cells": 2,
            "#address-cells": 2,
            "interrupt-controller": None,
            "#interrupt-cells": 3,
        },
    )
    _add(
        controller,
        f"v2m@{interrupts.GIC_V2M.base:x}",
        {
            "phandle": _MSI,
            "reg": _reg(interrupts.GIC_V2M),
            "msi-controller": None,
            "compatible": "arm,gic-v2m-frame",
        },
    )


def _add_gicv3(root: Any, el: int) -> None:
    """A hypervisor learns of the maintenance interrupt."""
    maintenance: dict[str, Value] = {"interrupts": [_PPI, 9, _LEVEL]} if el == 2 else {}
    controller = _add(
        root,
        f"intc@{interrupts.GICV3_DISTRIBUTOR.base:x}",
        {
            "phandle": _GIC,
            **maintenance,
            "reg": [*_reg(interrupts.GICV3_DISTRIBUTOR), *_reg(interrupts.GICV3_REDISTRIBUTORS)],
            "#redistributor-regions": 1,
            "compatible": "arm,gic-v3",
            "ranges": None,
            "#size-cells": 2,
            "#address-cells": 2,
            "interrupt-controller": None,
            "#interrupt-cells": 3,
        },
    )
    _add(
        controller,
        f"its@{interrupts.GICV3_ITS.base:x}",
        {
            "phandle": _MSI,
            "reg": _reg(interrupts.GICV3_ITS),
            "#msi-cells": 1,
            "msi-controller": None,
            "compatible": "arm,gic-v3-its",
        },
    )


def _own_messages(board: VirtBoard, device_id: int) -> dict[str, Value]:
    """Where the SMMU, or its counter group, sends messages of its own, and who they are from."""
    if board.gicv3 is None or board.smmu is None or not board.smmu.ids.features.MSI:
        return {}
    return {"msi-parent": [_MSI, device_id]}


def _add_uart(root: Any) -> None:
    _add(
        root,
        "apb-pclk",
        {
            "phandle": _CLOCK,
            "clock-output-names": "clk24mhz",
            "clock-frequency": _UART_CLOCK,
            "#clock-cells": 0,
            "compatible": "fixed-clock",
        },
    )
    _add(
        root,
        f"pl011@{virt.UART.base:x}",
        {
            "clock-names": ("uartclk", "apb_pclk"),
            "clocks": [_CLOCK, _CLOCK],
            "interrupts": [_SPI, virt.UART_SPI, _LEVEL],
            "reg": _reg(virt.UART),
            "compatible": ("arm,pl011", "arm,primecell"),
        },
    )


def _add_rtc(root: Any) -> None:
    _add(
        root,
        f"pl031@{virt.RTC.base:x}",
        {
            "clock-names": "apb_pclk",
            "clocks": _CLOCK,
            "interrupts": [_SPI, virt.RTC_SPI, _LEVEL],
            "reg": _reg(virt.RTC),
            "compatible": ("arm,pl031", "arm,primecell"),
        },
    )


def _add_smmu(root: Any, messages: dict[str, Value]) -> None:
    names = ("eventq", "priq", "cmdq_sync", "gerror")
    _add(
        root,
        f"smmuv3@{virt.SMMU.base:x}",
        {
            "phandle": _SMMU,
            "#iommu-cells": 1,
            "dma-coherent": None,
            "interrupt-names": tuple(name.replace("_", "-") for name in names),
            "interrupts": [word for name in names for word in (_SPI, virt.SMMU_SPIS[name], _EDGE)],
            "reg": _reg(virt.SMMU),
            "compatible": "arm,smmu-v3",
            **messages,
        },
    )


def _add_firmware(root: Any) -> None:
    """Both banks of flash, and fw_cfg."""
    banks = [word for place in virt.FLASH for word in _reg(place)]
    _add(root, "flash@0", {"bank-width": 4, "reg": banks, "compatible": "cfi-flash"})
    _add(
        root,
        f"fw-cfg@{virt.FW_CFG.base:x}",
        {
            "dma-coherent": None,
            "reg": [*_wide(virt.FW_CFG.base), *_wide(_FW_CFG_SIZE)],
            "compatible": "qemu,fw-cfg-mmio",
        },
    )


def _add_pmcg(root: Any, messages: dict[str, Value]) -> None:
    """Spec: Linux's binding arm,smmu-v3-pmcg, with one register window per page."""
    base, half = virt.PMCG.base, virt.PMCG.size // 2
    _add(
        root,
        f"pmu@{base:x}",
        {
            "interrupts": [_SPI, virt.PMCG_SPI, _EDGE],
            "reg": [word for page in (base, base + half) for word in (*_wide(page), *_wide(_PAGE))],
            "compatible": "arm,smmu-v3-pmcg",
            **messages,
        },
    )


def _add_pcie(root: Any, board: VirtBoard) -> None:
    """Memory windows are 32 and 64 bits wide; there is no I/O space."""
    low, high = virt.PCIE_MMIO, virt.PCIE_MMIO_HIGH
    requesters = virt.VIRTIO_STREAM if board.virtio else _BUSES << 8
    properties: dict[str, Value] = {}
    if board.smmu is not None:
        properties["iommu-map"] = [0, _SMMU, 0, requesters]
    properties |= {
        "interrupt-map-mask": [_SLOTS << _SLOT_SHIFT, 0, 0, 7],
        "interrupt-map": _pins(),
        "msi-map": [0, _MSI, 0, requesters],
        "#interrupt-cells": 1,
        "ranges": [
            *(0x0200_0000, *_wide(low.base), *_wide(low.base), *_wide(low.size)),
            *(0x0300_0000, *_wide(high.base), *_wide(high.base), *_wide(high.size)),
        ],
        "reg": _reg(virt.PCIE_ECAM),
        "dma-coherent": None,
        "bus-range": [0, _BUSES - 1],
        "linux,pci-domain": 0,
        "#size-cells": 2,
        "#address-cells": 3,
        "device_type": "pci",
        "compatible": "pci-host-ecam-generic",
    }
    _add(root, f"pcie@{low.base:x}", properties)


def _pins() -> list[int]:
    """Where each interrupt pin of each device leads: pins turn by one a device, modulo four.

    A row is a device, its pin, and the interrupt of the GIC, whose addresses have two cells.
    """
    rows: list[int] = []
    lines = virt.PCIE_SPIS
    for slot in range(_SLOTS + 1):
        for pin in range(len(lines)):
            spi = lines[(slot + pin) % len(lines)]
            rows += [slot << _SLOT_SHIFT, 0, 0, pin + 1, _GIC, 0, 0, _SPI, spi, _LEVEL]
    return rows


def _add_virtio(root: Any, board: VirtBoard, number: int, stream_id: int) -> None:
    base = virt.VIRTIO.base + SLOT * number
    properties: dict[str, Value] = {
        "dma-coherent": None,
        "interrupts": [_SPI, virt.VIRTIO_SPI + number, _EDGE],
        "reg": [*_wide(base), *_wide(SLOT)],
        "compatible": "virtio,mmio",
    }
    if board.smmu is not None:
        properties["iommus"] = [_SMMU, stream_id]
    _add(root, f"virtio_mmio@{base:x}", properties)


def _choose(root: Any, bootargs: str, initrd: tuple[int, int] | None) -> None:
    """What the boot loader tells the kernel."""
    chosen: dict[str, Value] = {}
    if bootargs:
        chosen["bootargs"] = bootargs
    if initrd is not None:
        chosen["linux,initrd-start"] = _wide(initrd[0])
        chosen["linux,initrd-end"] = _wide(initrd[1])
    node = root.get_subnode("chosen")
    for name in chosen:
        if node.exist_property(name):
            node.remove_property(name)
    _fill(node, chosen)


# -- nodes and properties


def _add(parent: Any, name: str, properties: dict[str, Any]) -> Any:
    from fdt import Node

    node = Node(name)
    parent.append(node)
    _fill(node, properties)
    return node


def _fill(node: Any, properties: dict[str, Any]) -> None:
    """Add properties: text, texts, a number or numbers of 32 bits, or nothing at all."""
    from fdt import Property, PropStrings, PropWords

    for name, value in properties.items():
        if value is None:
            node.append(Property(name))
        elif isinstance(value, str):
            node.append(PropStrings(name, value))
        elif isinstance(value, tuple):
            node.append(PropStrings(name, *value))
        else:
            node.append(PropWords(name, *([value] if isinstance(value, int) else value)))


def _wide(value: int) -> list[int]:
    """A number of 64 bits as two cells."""
    return [value >> 32, value & 0xFFFF_FFFF]


def _reg(place: Place) -> list[int]:
    return [*_wide(place.base), *_wide(place.size)]


def _pack(tree: Any) -> bytes:
    blob: bytes = tree.to_dtb(version=_VERSION)
    return blob
