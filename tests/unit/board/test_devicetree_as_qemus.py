# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree, node by node against the one that QEMU 11.1 made for its virt board.

`qemu_virt.dts` is that tree. Every property that both trees have is equal; what one of them has
alone is listed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fdt
import pytest

from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.machine import Machine

RECORD = Path(__file__).with_name("qemu_virt.dts")

NOT_HERE = {
    "/cpus/cpu-map",
    "/fw-cfg@9020000",
    "/flash@0",
    "/gpio-keys",
    "/pl061@9030000",
    "/platform-bus@c000000",
    "/pmu",
}
"""Nodes, and those below them, of devices that this board lacks."""
QEMUS_PROPERTIES = {
    "/cpus/cpu@0": {
        *("next-level-cache", "i-cache-sets", "i-cache-size", "i-cache-block-size"),
        *("d-cache-sets", "d-cache-size", "d-cache-block-size"),
    },
}
OUR_PROPERTIES = {"/virtio_mmio@a000000": {"iommus"}}
"""Beside the SMMU on QEMU, behind it here."""
OTHER_VALUES = {
    ("/pcie@10000000", "ranges"),  # there is no window of port I/O
    ("/pcie@10000000", "iommu-map"),  # requester IDs end where the StreamIDs of disks begin
    ("/pcie@10000000", "msi-map"),
}


def nodes(tree: Any) -> dict[str, dict[str, Any]]:
    """The properties of each node, by path."""
    found = {}
    for path, _, properties in tree.walk():
        found[path] = {one.name: getattr(one, "data", None) for one in properties}
    return found


@pytest.fixture
def ours(tmp_path: Path) -> dict[str, dict[str, Any]]:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(512))
    with Machine.virt(devices=(), disks=[Disk(image)]) as machine:
        return nodes(fdt.parse_dtb(machine.device_tree()))


@pytest.fixture(scope="module")
def qemus() -> dict[str, dict[str, Any]]:
    return nodes(fdt.parse_dts(RECORD.read_text()))


def test_nodes_are_those_of_qemu(
    ours: dict[str, dict[str, Any]], qemus: dict[str, dict[str, Any]]
) -> None:
    assert not ours.keys() - qemus.keys()
    missing = {path for path in qemus.keys() - ours.keys() if "/virtio_mmio@" not in path}
    assert {path for path in missing if path.rpartition("/")[0] not in missing} == NOT_HERE


def test_properties_of_every_node_are_those_of_qemu(
    ours: dict[str, dict[str, Any]], qemus: dict[str, dict[str, Any]]
) -> None:
    for path, properties in ours.items():
        theirs = qemus[path]
        assert theirs.keys() - properties.keys() == QEMUS_PROPERTIES.get(path, set()), path
        assert properties.keys() - theirs.keys() == OUR_PROPERTIES.get(path, set()), path
        for name in properties.keys() & theirs.keys():
            differs = (path, name) in OTHER_VALUES
            assert (properties[name] != theirs[name]) == differs, (path, name)


def test_requesters_are_all_mapped_without_disks(qemus: dict[str, dict[str, Any]]) -> None:
    bare = nodes(fdt.parse_dtb(Machine.virt().device_tree()))["/pcie@10000000"]
    for name in ("iommu-map", "msi-map"):
        assert bare[name] == qemus["/pcie@10000000"][name]
