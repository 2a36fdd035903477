# SPDX-License-Identifier: GPL-2.0-or-later
"""iommu-testdev: registers, result codes and transfer rules, as QEMU 11's has them.

The literals were seen on QEMU 11.1 through its qtest socket, but for the end of endless transfers.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smmu_emu.devices.iommu_testdev import PATIENCE, IommuTestdev
from smmu_emu.devices.pcie_host import PcieHost
from smmu_emu.memory import PhysicalMemory
from smmu_emu.transaction import Attributes, Fault, Transaction, Translation

RAM, WINDOW = 0x4000_0000, 0x1000_0000
TRIGGER, GVA_LO, GVA_HI, LEN, RESULT, DBELL, ATTRS, GPA_LO, GPA_HI = range(0x00, 0x24, 4)
IDLE, BUSY = 0xFFFF_FFFF, 0xFFFF_FFFE
BAD_LEN, TX_FAIL, RD_FAIL, MISMATCH, NOT_ARMED, BAD_ATTRS = range(0xDEAD_0001, 0xDEAD_0007)


class Offset:
    """Translates by adding 0x1000 to addresses below 0x8000_0000; above, everything faults."""

    def __init__(self) -> None:
        self.log: list[Transaction] = []

    def translate(self, transaction: Transaction) -> Translation | Fault:
        self.log.append(transaction)
        if transaction.iova >= 0x8000_0000:
            return Fault(0x10, transaction)
        return Translation(transaction.iova + 0x1000, 12, Attributes(0xFF, 3))

    def submit(
        self, transaction: Transaction, answer: Callable[[Translation | Fault], None]
    ) -> Translation | Fault:
        return self.translate(transaction)

    def translate_range(self, example: Transaction, size: int) -> None:
        return None


class Rig:
    """A test device on a host with a window, 64 KiB of RAM, and a translator or none."""

    def __init__(self, translator: Offset | None = None) -> None:
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, 0x10000)
        self.host = PcieHost(self.memory, translator)
        self.memory.add_device(WINDOW, 0x10000, self.host.aperture(WINDOW), "window")
        self.reported: list[tuple[int, str]] = []
        self.device = IommuTestdev(lambda offset, kind: self.reported.append((offset, kind)))
        self.host.add(self.device, "00:01.0")
        self.host.ecam.write(0x8010, 4, WINDOW)
        self.host.ecam.write(0x8004, 4, 6)

    def __getitem__(self, register: int) -> int:
        data = self.memory.read(WINDOW + register, 4)
        assert data is not None
        return int.from_bytes(data, "little")

    def __setitem__(self, register: int, value: int) -> None:
        assert self.memory.write(WINDOW + register, value.to_bytes(4, "little"))

    def dma(self, gva: int, length: int, gpa: int | None = None, attrs: int = 2) -> int:
        gpa = gva if gpa is None else gpa
        self[GVA_LO], self[GVA_HI] = gva & 0xFFFF_FFFF, gva >> 32
        self[GPA_LO], self[GPA_HI] = gpa & 0xFFFF_FFFF, gpa >> 32
        self[LEN], self[ATTRS] = length, attrs
        self[DBELL] = 1
        assert self[RESULT] == BUSY
        assert self[TRIGGER] == 0
        return self[RESULT]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_registers_after_reset(rig: Rig) -> None:
    assert [rig[register] for register in range(4, 0x24, 4)] == [0, 0, 0, IDLE, 0, 2, 0, 0]
    rig.dma(RAM, 4)
    rig[DBELL] = 1
    rig.device.reset()
    rig.host.ecam.write(0x8010, 4, WINDOW)
    rig.host.ecam.write(0x8004, 4, 6)
    assert [rig[register] for register in range(4, 0x24, 4)] == [0, 0, 0, IDLE, 0, 2, 0, 0]
    assert rig[TRIGGER] == 0
    assert rig[RESULT] == NOT_ARMED


def test_registers_keep_what_is_written(rig: Rig) -> None:
    for register in (GVA_LO, GVA_HI, LEN, RESULT, ATTRS, GPA_LO, GPA_HI):
        rig[register] = 0x1122_3344 + register
        assert rig[register] == 0x1122_3344 + register


def test_doorbell_arms_and_disarms(rig: Rig) -> None:
    rig[DBELL] = 3
    assert rig[RESULT] == BUSY
    rig[DBELL] = 2
    assert rig[RESULT] == IDLE
    assert rig[DBELL] == 0
    assert rig[TRIGGER] == 0
    assert rig[RESULT] == NOT_ARMED


def test_trigger_consumes_the_request(rig: Rig) -> None:
    assert rig.dma(RAM, 4) == 0
    assert rig[TRIGGER] == 0
    assert rig[RESULT] == NOT_ARMED


def test_error_consumes_the_request_too(rig: Rig) -> None:
    assert rig.dma(RAM, 0) == BAD_LEN
    assert rig[TRIGGER] == 0
    assert rig[RESULT] == NOT_ARMED


@pytest.mark.parametrize("length", [1, 3, 4, 5, 16, 0x1000, 0x1001])
def test_pattern_is_repeated_and_cut(rig: Rig, length: int) -> None:
    assert rig.dma(RAM + 0xFFE, length) == 0
    expected = (b"\x78\x56\x34\x12" * 0x500)[:length]
    assert rig.memory.read(RAM + 0xFFE, length + 1) == expected + b"\0"


def test_dma_goes_through_the_translator_and_readback_does_not() -> None:
    translator = Offset()
    rig = Rig(translator)
    assert rig.dma(RAM + 0x2000, 8, RAM + 0x3000) == 0
    assert translator.log == [Transaction(8, RAM + 0x2000, True, False, False, None)]
    assert rig.dma(RAM + 0x4000, 8) == MISMATCH
    assert rig.dma(RAM + 0x5000, 8, 0x7000_0000) == RD_FAIL


@pytest.mark.parametrize(
    ("gva", "length", "addresses"),
    [
        (0x8000_0000, 4, [0]),
        (0x8000_0000, 16, [0, 4, 8, 12]),
        (0x8000_0001, 3, [1, 2]),
        (0x8000_0001, 4, [1, 2, 4]),
        (0x8000_0FFE, 4, [0xFFE, 0x1000]),
        (0x8000_0FFC, 8, [0xFFC, 0x1000]),
    ],
)
def test_each_word_of_a_faulting_transfer_is_a_transaction(
    gva: int, length: int, addresses: list[int]
) -> None:
    translator = Offset()
    rig = Rig(translator)
    assert rig.dma(gva, length) == TX_FAIL
    assert [each.iova - 0x8000_0000 for each in translator.log] == addresses


def test_transfer_goes_on_behind_a_fault() -> None:
    rig = Rig()
    assert rig.dma(RAM - 8, 16) == TX_FAIL
    assert rig.memory.read(RAM, 12) == b"\x78\x56\x34\x12" * 2 + bytes(4)
    assert rig.dma(RAM + 0xFFF8, 16) == TX_FAIL
    assert rig.memory.read(RAM + 0xFFF8, 8) == b"\x78\x56\x34\x12" * 2


def test_address_wraps_at_64_bits(rig: Rig) -> None:
    assert rig.dma((1 << 64) - 2, 4) == TX_FAIL


def test_endless_transfer_into_nothing_ends() -> None:
    translator = Offset()
    rig = Rig(translator)
    assert rig.dma(1 << 63, 0xFFFF_FFFF) == TX_FAIL
    assert len(translator.log) == PATIENCE


@pytest.mark.parametrize(
    ("attrs", "result"),
    [
        (0x0, 0),
        (0x1, 0),
        (0x2, 0),
        (0x3, 0),
        (0x7, 0),
        (0x8, BAD_ATTRS),
        (0x9, 0),
        (0xA, 0),
        (0xB, BAD_ATTRS),
        (0xC, 0),
        (0xD, 0),
        (0xE, 0),
        (0xF, 0),
        (0xFFFF_FFF2, 0),
    ],
)
def test_attributes(rig: Rig, attrs: int, result: int) -> None:
    assert rig.dma(RAM, 4, attrs=attrs) == result
    told = [offset for offset, kind in rig.reported if kind == "DMA that is not Non-secure"]
    assert bool(told) == (attrs & 0xF not in (0x0, 0x2, 0x4, 0x6, 0xA))


def test_bus_master_bit_does_not_stop_it_but_is_told(rig: Rig) -> None:
    assert rig.dma(RAM, 4) == 0
    assert rig.reported == []
    rig.host.ecam.write(0x8004, 4, 2)
    assert rig.dma(RAM, 4) == 0
    assert len(rig.reported) == 1


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (0, 2), (0, 8), (1, 4), (2, 4), (5, 1)])
def test_access_that_is_no_aligned_word_is_refused(rig: Rig, offset: int, size: int) -> None:
    rig[DBELL] = 1
    assert rig.device.read(offset, size) is None
    assert rig.device.write(offset, size, 0) is False
    assert rig[RESULT] == BUSY


def test_its_own_registers_refuse_its_own_transfer(rig: Rig) -> None:
    assert rig.dma(RAM, 4, WINDOW + TRIGGER) == RD_FAIL
    assert rig.dma(WINDOW + GVA_LO, 4) == TX_FAIL
    assert rig.dma(WINDOW + RESULT, 4, RAM) == TX_FAIL
    assert rig.dma(RAM, 4) == 0


def test_two_devices_that_trigger_each_other_end(rig: Rig) -> None:
    other = IommuTestdev()
    rig.host.add(other, "00:02.0")
    rig.host.ecam.write(0x10010, 4, WINDOW + 0x1000)
    rig.host.ecam.write(0x10004, 4, 6)
    for register, value in ((GVA_LO, RAM), (GPA_LO, WINDOW + TRIGGER), (LEN, 4), (DBELL, 1)):
        rig[0x1000 + register] = value
    assert rig.dma(RAM, 4, WINDOW + 0x1000 + TRIGGER) == MISMATCH
    assert rig[0x1000 + RESULT] == RD_FAIL


def test_register_that_is_not_there_is_zero_and_reported(rig: Rig) -> None:
    assert rig[0x24] == 0
    rig[0xFFC] = 1
    assert rig.reported == [(0x24, "read"), (0xFFC, "write")]
