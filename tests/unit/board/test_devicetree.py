# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree: read back with the parser of the package, and compared with QEMU's by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import fdt
import pytest

from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.errors import ConfigurationError, ImageError
from smmu_emu.machine import Machine

UART = "/pl011@9000000"
SMMU = "/smmuv3@9050000"
PCIE = "/pcie@10000000"
GIC = "/intc@8000000"


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1024))
    return Disk(path)


def tree(machine: Machine, *arguments: Any, **options: Any) -> Any:
    return fdt.parse_dtb(machine.device_tree(*arguments, **options))


def words(found: Any, path: str, name: str) -> list[int]:
    return list(found.get_property(name, path).data)


def texts(found: Any, path: str, name: str) -> list[str]:
    return list(found.get_property(name, path).data)


def test_blob_has_the_header_of_the_specification() -> None:
    blob = Machine.virt().device_tree()
    assert blob[:4] == b"\xd0\x0d\xfe\xed"
    assert int.from_bytes(blob[4:8], "big") == len(blob)
    assert int.from_bytes(blob[20:24], "big") == 17


@pytest.mark.parametrize(
    ("path", "compatible"),
    [
        ("/", ["linux,dummy-virt"]),
        ("/psci", ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]),
        ("/cpus/cpu@0", ["arm,cortex-a57"]),
        ("/timer", ["arm,armv8-timer", "arm,armv7-timer"]),
        (GIC, ["arm,cortex-a15-gic"]),
        (UART, ["arm,pl011", "arm,primecell"]),
        (SMMU, ["arm,smmu-v3"]),
        (PCIE, ["pci-host-ecam-generic"]),
        ("/apb-pclk", ["fixed-clock"]),
    ],
)
def test_nodes_are_compatible_with_what_qemu_calls_them(path: str, compatible: list[str]) -> None:
    assert texts(tree(Machine.virt()), path, "compatible") == compatible


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/memory@40000000", "reg", [0, 0x4000_0000, 0, 0x2000_0000]),
        (GIC, "reg", [0, 0x800_0000, 0, 0x1_0000, 0, 0x801_0000, 0, 0x1_0000]),
        (GIC, "phandle", [0x8002]),
        ("/", "interrupt-parent", [0x8002]),
        ("/timer", "interrupts", [1, 13, 0x104, 1, 14, 0x104, 1, 11, 0x104, 1, 10, 0x104]),
        (UART, "reg", [0, 0x900_0000, 0, 0x1000]),
        (UART, "interrupts", [0, 1, 4]),
        (UART, "clocks", [0x8000, 0x8000]),
        (SMMU, "reg", [0, 0x905_0000, 0, 0x2_0000]),
        (SMMU, "interrupts", [0, 0x4A, 1, 0, 0x4B, 1, 0, 0x4C, 1, 0, 0x4D, 1]),
        (SMMU, "#iommu-cells", [1]),
        (SMMU, "phandle", [0x8004]),
        (PCIE, "iommu-map", [0, 0x8004, 0, 0x1_0000]),
        (PCIE, "reg", [0x40, 0x1000_0000, 0, 0x1000_0000]),
        (PCIE, "bus-range", [0, 0xFF]),
        (
            PCIE,
            "ranges",
            [
                *(0x0200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2EFF_0000),
                *(0x0300_0000, 0x80, 0, 0x80, 0, 0x80, 0),
            ],
        ),
        ("/psci", "cpu_on", [0xC400_0003]),
    ],
)
def test_words_are_qemus(path: str, name: str, value: list[int]) -> None:
    assert words(tree(Machine.virt()), path, name) == value


def test_interrupts_of_the_smmu_have_names() -> None:
    names = texts(tree(Machine.virt()), SMMU, "interrupt-names")
    assert names == ["eventq", "priq", "cmdq-sync", "gerror"]


def test_tree_describes_what_was_built(disk: Disk) -> None:
    bare = tree(Machine.virt(iommu=None, ram=64 << 20, cpu_model="cortex-a72"))
    assert not bare.exist_node(SMMU)
    assert not bare.exist_property("iommu-map", PCIE)
    assert words(bare, "/memory@40000000", "reg")[3] == 64 << 20
    assert texts(bare, "/cpus/cpu@0", "compatible") == ["arm,cortex-a72"]
    assert not any(node.name.startswith("virtio") for node in bare.root.nodes)


def test_disk_is_a_platform_master_with_a_stream_of_its_own(disk: Disk) -> None:
    with Machine.virt(disks=[disk]) as machine:
        found = tree(machine)
    path = "/virtio_mmio@a000000"
    assert texts(found, path, "compatible") == ["virtio,mmio"]
    assert words(found, path, "reg") == [0, 0xA00_0000, 0, 0x200]
    assert words(found, path, "interrupts") == [0, 16, 1]
    assert words(found, path, "iommus") == [0x8004, 0xFF00]
    assert found.exist_property("dma-coherent", path)
    assert words(found, PCIE, "iommu-map") == [0, 0x8004, 0, 0xFF00]


def test_stream_of_a_disk_cannot_be_a_pci_functions_too(disk: Disk) -> None:
    with pytest.raises(ConfigurationError, match=r"PCI ff:00\.0 would share StreamID 0xff00"):
        Machine.virt(devices=["iommu-testdev@ff:00.0"], disks=[disk])


def test_kernel_is_told_of_command_line_and_initrd() -> None:
    found = tree(Machine.virt(), "quiet root=/dev/vda", (0x4800_0000, 0x1_4800_1234))
    assert texts(found, "/chosen", "bootargs") == ["quiet root=/dev/vda"]
    assert words(found, "/chosen", "linux,initrd-start") == [0, 0x4800_0000]
    assert words(found, "/chosen", "linux,initrd-end") == [1, 0x4800_1234]
    assert texts(found, "/chosen", "stdout-path") == [UART]
    assert not tree(Machine.virt()).exist_property("bootargs", "/chosen")


def test_same_machine_has_the_same_tree() -> None:
    digests = {hashlib.sha256(Machine.virt().device_tree()).digest() for _ in range(3)}
    assert len(digests) == 1


# -- trees that users bring


def test_users_tree_gets_memory_and_what_the_kernel_is_told() -> None:
    own = fdt.parse_dtb(Machine.virt(ram=64 << 20).device_tree("old"))
    own.set_property("model", "mine")
    found = tree(Machine.virt(ram=128 << 20), "new", dtb=own.to_dtb(version=17))
    assert texts(found, "/", "model") == ["mine"]
    assert words(found, "/memory@40000000", "reg") == [0, 0x4000_0000, 0, 128 << 20]
    assert texts(found, "/chosen", "bootargs") == ["new"]
    assert [node.name for node in found.root.nodes].count("memory@40000000") == 1


def test_users_command_line_stays_if_there_is_no_other() -> None:
    own = Machine.virt().device_tree("mine")
    assert texts(tree(Machine.virt(), dtb=own), "/chosen", "bootargs") == ["mine"]


@pytest.mark.parametrize("cut", [1, 39, 100, -8])
def test_damaged_tree_is_one_line(cut: int) -> None:
    blob = Machine.virt().device_tree()
    with pytest.raises(ImageError, match="device tree is not a device tree: ") as error:
        Machine.virt().device_tree(dtb=blob[:cut])
    assert "\n" not in str(error.value)


def test_what_is_no_tree_is_one_line() -> None:
    with pytest.raises(ImageError, match="is not a device tree: Invalid Magic Number"):
        Machine.virt().device_tree(dtb=bytes(400))


def test_counter_group_is_described_where_there_is_one() -> None:
    path = "/pmu@9100000"
    found = tree(Machine.virt(pmcg=True))
    assert texts(found, path, "compatible") == ["arm,smmu-v3-pmcg"]
    assert words(found, path, "reg") == [0, 0x910_0000, 0, 0x1000, 0, 0x911_0000, 0, 0x1000]
    assert words(found, path, "interrupts") == [0, 176, 1]
    assert not tree(Machine.virt()).exist_node(path)


def test_messages_and_pins_of_pci_lead_to_the_gic() -> None:
    found = tree(Machine.virt())
    assert words(found, GIC + "/v2m@8020000", "phandle") == [0x8003]
    assert words(found, PCIE, "msi-map") == [0, 0x8003, 0, 0x1_0000]
    pins = words(found, PCIE, "interrupt-map")
    assert len(pins) == 16 * 10
    assert pins[5 * 10 :][:10] == [0x800, 0, 0, 2, 0x8002, 0, 0, 0, 5, 4]  # device 1, INTB
