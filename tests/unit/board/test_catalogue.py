# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices by name: how they are written, and virtio's on either bus."""

from __future__ import annotations

from pathlib import Path

import pytest

from smmu_emu.board.catalogue import parse
from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.devices.virtio.pci import VirtioPci
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk,img"
    path.write_bytes(bytes(1024))
    return path


def test_text_of_a_device_is_taken_apart() -> None:
    wanted = parse("edu@00:04.0,dma_mask=0xff,bus=rp0,id=one,name=a,,b")
    assert wanted[1:5] == ("edu", "00:04.0", "rp0", "one")
    assert wanted.properties == {"dma_mask": "0xff", "name": "a,b"}
    assert parse("edu,addr=4").address == "4.0"
    assert parse("edu,addr=4.1").address == "4.1"


def test_virtio_devices_are_had_many_times_and_on_both_buses(image: Path) -> None:
    drive = f"drive={image}".replace(",", ",,") + ",mode=ro"
    texts = [f"virtio-blk-pci,{drive}"] * 2 + [f"virtio-blk-device,{drive}"] * 2
    texts += ["virtio-net-pci", "virtio-net-device", "virtio-console-pci,addr=1f"]
    texts += ["pcie-root-port,id=rp0", f"virtio-blk-pci,{drive},bus=rp0"]
    with Machine.virt(devices=texts) as machine:
        names = set(machine.devices)
        assert names >= {
            *("virtio-blk0", "virtio-blk1", "virtio-net2"),
            *("virtio-blk-pci@00:01.0", "virtio-blk-pci@00:02.0", "virtio-net-pci@00:03.0"),
            *("virtio-console-pci@00:1f.0", "virtio-blk-pci@00:04.0/0.0"),
        }
        streams = [port.stream_id for port in machine.dma_ports]
        assert {0xFF00, 0xFF01, 0xFF02, 0x08, 0x10, 0x18, 0xF8} <= set(streams)
        function = machine.devices["virtio-blk-pci@00:02.0"]
        assert isinstance(function, VirtioPci)
        assert function.device.dma is function.dma
        assert len(machine.board.virtio_devices) == 8


def test_disk_goes_to_the_bus_that_it_names(image: Path) -> None:
    with Machine.virt(devices=(), disks=[Disk(image, bus="pci")]) as machine:
        assert "virtio-blk-pci@00:01.0" in machine.devices
        assert machine.board.virtio == []
    with pytest.raises(ConfigurationError, match=r"no bus 'isa' for a disk: there is mmio and pci"):
        Disk(image, bus="isa")


def test_closed_machine_lets_go_of_its_images(image: Path) -> None:
    drive = f"drive={image}".replace(",", ",,")
    machine = Machine.virt(devices=[f"virtio-blk-pci,{drive}"])
    with pytest.raises(ConfigurationError, match="in use by another machine"):
        Disk(image)
    machine.close()
    Disk(image).close()


def test_machine_that_cannot_be_lets_go_of_its_images(image: Path) -> None:
    drive = f"drive={image}".replace(",", ",,")
    for wrong in ("nothing", "virtio-net-device,x=1", "edu,bus=no"):
        with pytest.raises(ConfigurationError):
            Machine.virt(devices=[f"virtio-blk-pci,{drive}", f"virtio-blk-pci,{drive},", wrong])
        with pytest.raises(ConfigurationError):
            Machine.virt(devices=[f"virtio-blk-device,{drive}", wrong])
        Disk(image).close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("virtio-blk-pci", "virtio-blk needs drive=IMAGE"),
        ("virtio-blk-pci,drive=/none", "disk /none: No such file"),
        ("virtio-blk-pci,drive=/none,mode=x", "mode=x is none of rw, ro, snapshot"),
        ("virtio-net-pci,backend=x", "backend=x is none of none, loop, peer"),
        ("virtio-net-pci,mac=ff:ff:ff:ff:ff:ff", "mac=ff:ff:ff:ff:ff:ff is no address of one card"),
        ("virtio-net-pci,mac=5254", "mac=5254 is no address"),
        ("virtio-net-pci,x=1", "virtio-net-pci has no property 'x'"),
        ("virtio-net-device,x=1", "virtio-net-device has no property 'x'"),
        ("virtio-net-device,addr=3", "virtio-net-device is not on PCI"),
        ("virtio-net-device@00:03.0", "virtio-net-device is not on PCI"),
        ("virtio-console-pci,stdio=x", "stdio=x is neither on nor off"),
        ("virtio-gpu-pci", "no device 'virtio-gpu-pci': there is dma-engine, edu"),
    ],
)
def test_device_that_cannot_be_is_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as error:
        Machine.virt(devices=[text])
    assert "\n" not in str(error.value)


def test_console_of_standard_input_and_output_takes_what_is_typed() -> None:
    with Machine.virt(devices=["virtio-console-pci,stdio=on", "virtio-console-device"]) as machine:
        console = machine.devices["virtio-console-pci@00:01.0"].device
        machine.feed(b"x")
        assert console._typed == b"x"
        console.sink(b"shown")
        assert machine.output == b"shown"
        assert machine.devices["virtio-console0"].sink is None
