# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree of a board with a GICv3 for an image at EL2, against QEMU's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fdt
import pytest

from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from tests.unit.board.test_devicetree_as_qemus import nodes

RECORD = Path(__file__).with_name("qemu_virt_gicv3.dts")
GIC = "/intc@8000000"
QEMU = PRESETS["qemu"]
WITH_MSI = replace(QEMU, idr0=QEMU.idr0 | 1 << 13)


def test_nodes_are_those_of_qemu() -> None:
    theirs = nodes(fdt.parse_dts(RECORD.read_text()))
    ours = nodes(fdt.parse_dtb(Machine.virt(gic="v3").device_tree(el=2)))
    del theirs["/"]
    assert sorted(theirs) == ["/intc@8000000", "/intc@8000000/its@8080000", "/psci", "/timer"]
    assert {path: ours[path] for path in theirs} == theirs


def test_image_at_el1_calls_psci_by_hvc() -> None:
    ours = nodes(fdt.parse_dtb(Machine.virt(gic="v3").device_tree()))
    assert ours["/psci"]["method"] == ["hvc"]
    assert "interrupts" not in ours[GIC]


def test_pci_functions_send_their_messages_to_the_its() -> None:
    ours = nodes(fdt.parse_dtb(Machine.virt(gic="v3").device_tree()))
    assert ours["/pcie@10000000"]["msi-map"] == [0, 0x8003, 0, 0x1_0000]
    assert ours[f"{GIC}/its@8080000"]["phandle"] == [0x8003]


@pytest.mark.parametrize(
    ("gic", "ids", "parents"),
    [
        ("v2", WITH_MSI, [None, None]),
        ("v3", QEMU, [None, None]),
        ("v3", WITH_MSI, [[0x8003, 0x1_0000], [0x8003, 0x1_0001]]),
    ],
)
def test_smmu_that_sends_messages_has_its_own_device_ids(gic, ids, parents) -> None:
    machine = Machine.virt(gic=gic, smmu_ids=ids, pmcg=True)
    ours = nodes(fdt.parse_dtb(machine.device_tree()))
    found = [ours[path].get("msi-parent") for path in ("/smmuv3@9050000", "/pmu@9100000")]
    assert found == parents
