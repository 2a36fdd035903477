# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/devices.md says of addresses, interrupts and identities what the board does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smmu_emu.board import catalogue, virt
from smmu_emu.board import interrupts as controllers
from smmu_emu.devices.virtio.mmio import SLOT
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS

PAGE = (Path(__file__).parents[3] / "docs" / "devices.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines()]


def machine() -> Machine:
    devices = [name for name in catalogue.PCI_DEVICES if name != "pcie-root-port"]
    devices.append("pcie-root-port")
    devices += ["virtio-net-pci", "virtio-console-pci"]
    return Machine.virt(devices=devices, pmcg=True, smmu_ids=PRESETS["qemu"])


def test_every_window_is_in_the_table() -> None:
    listed = {row[1]: row[2].split()[0] for row in ROWS if len(row) == 5 and row[1][:2] == "0x"}
    del listed["0x40000000"]
    assert listed["0x0a000000"] == f"{SLOT:#x}"
    listed["0x0a000000"] = "0x4000"
    windows = machine().memory.windows
    assert listed == {f"{w.base:#010x}": f"{w.end - w.base:#x}" for w in windows}


def test_every_window_of_firmware_is_in_its_table() -> None:
    listed = {row[1]: row[2] for row in ROWS if len(row) == 4 and row[1].startswith("0x0")}
    others = {window.name for window in machine().memory.windows}
    windows = [w for w in Machine.virt(bios=b"x").memory.windows if w.name not in others]
    assert listed == {f"{w.base:#010x}": f"{w.end - w.base:#x}" for w in windows}


def test_every_window_of_a_gicv3_is_in_its_table() -> None:
    listed = {row[1]: row[2] for row in ROWS if len(row) == 3 and row[1].startswith("0x08")}
    windows = [w for w in Machine.virt(gic="v3").memory.windows if w.name.startswith("gic")]
    assert listed == {f"{w.base:#010x}": f"{w.end - w.base:#x}" for w in windows}


def test_senders_of_messages_have_the_device_ids_of_the_table() -> None:
    listed = [int(row[1], 16) for row in ROWS if len(row) == 2 and row[1].startswith("0x1000")]
    assert listed == [controllers.SMMU_DEVICE, controllers.PMCG_DEVICE]


@pytest.mark.parametrize(
    ("device", "interrupts"),
    [
        ("PL011", (virt.UART_SPI,)),
        ("PL031", (virt.RTC_SPI,)),
        ("SMMUv3", tuple(virt.SMMU_SPIS.values())),
        ("PMCG (`pmcg=True`; not on QEMU)", (virt.PMCG_SPI,)),
        ("virtio-mmio, 32 transports", (virt.VIRTIO_SPI,)),
        ("GICv2m", (controllers.V2M_SPIS[0], controllers.V2M_SPIS[-1])),
        ("PCIe memory, 32 bits", (virt.PCIE_SPIS[0], virt.PCIE_SPIS[-1])),
    ],
)
def test_interrupts_are_those_of_the_board(device: str, interrupts: tuple[int, ...]) -> None:
    (row,) = [row for row in ROWS if row[:1] == [device]]
    numbers = [int(number) for number in re.findall(r"\d+", row[3])]
    assert numbers == [spi + 32 for spi in interrupts]


def test_every_pci_device_is_in_the_table_with_its_identity() -> None:
    listed = {row[0].strip("`"): row[1] for row in ROWS if len(row) == 5 and row[1][4:5] == ":"}
    found = {
        function.name: f"{function.get('VENDOR_ID'):04x}:{function.get('DEVICE_ID'):04x}"
        for function in machine().board.pcie.everything
    }
    found["(host bridge)"] = found.pop("host bridge")
    assert listed.pop("virtio-blk-pci") == "1af4:1042"  # it needs an image: test_pci.py
    assert listed == found


@pytest.mark.parametrize("text", re.findall(r"^\| `([a-z-]+[@,][^`]*)` \|", PAGE, re.MULTILINE))
def test_examples_of_device_texts_work(text: str) -> None:
    ports = ["pcie-root-port@00:10.0,id=rp0"] if "bus=rp0" in text else []
    machine = Machine.virt(devices=[*ports, text])
    assert any(name.startswith(text.split("@")[0].split(",")[0]) for name in machine.devices)
