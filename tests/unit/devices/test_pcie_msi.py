# SPDX-License-Identifier: GPL-2.0-or-later
"""MSI and MSI-X: capabilities, messages, masks; odd accesses as QEMU 11.1 answers them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smmu_emu.devices.pcie import Function
from smmu_emu.devices.pcie_host import PcieHost
from smmu_emu.devices.pcie_msi import Messages, Msi, Msix, add_msix_bar
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine
from smmu_emu.memory import PhysicalMemory
from smmu_emu.transaction import Attributes, Fault, Transaction, Translation

RAM, WINDOW, HIGH = 0x4000_0000, 0x1000_0000, 0x80_0000_0000
PBA = 0x800


class Shift:
    """Translates by taking 0x1_0000_0000 away; below that everything faults."""

    def translate(self, transaction: Transaction) -> Translation | Fault:
        if transaction.iova < 0x1_0000_0000:
            return Fault(0x10, transaction)
        return Translation(transaction.iova - 0x1_0000_0000, 12, Attributes(0xFF, 3))

    def submit(
        self, transaction: Transaction, answer: Callable[[Translation | Fault], None]
    ) -> Translation | Fault:
        return self.translate(transaction)

    def translate_range(self, example: Transaction, size: int) -> None:
        return None


class Rig:
    """A function at 00:01.0 with capabilities that ``give`` adds, bus master and decoding."""

    def __init__(
        self, give: Callable[[Function], Messages], translator: Shift | None = None
    ) -> None:
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, 0x10000)
        self.host = PcieHost(self.memory, translator)
        self.memory.add_device(WINDOW, 0x10_0000, self.host.aperture(WINDOW), "window")
        self.function = Function(0x1B36, 0x0005, 0x00FF00, name="function")
        self.messages = give(self.function)
        self.host.add(self.function, "00:01.0")
        self.config(0x10, WINDOW)
        self.config(0x04, 6)

    def config(self, register: int, value: int | None = None, size: int = 4) -> int:
        if value is None:
            return self.host.ecam.read(0x8000 | register, size)
        self.host.ecam.write(0x8000 | register, size, value)
        return 0

    def bar(self, register: int, value: int | None = None, size: int = 4) -> int:
        if value is not None:
            assert self.memory.write(WINDOW + register, value.to_bytes(size, "little"))
            return 0
        data = self.memory.read(WINDOW + register, size)
        assert data is not None
        return int.from_bytes(data, "little")

    def set_vector(self, number: int, address: int, data: int, control: int = 0) -> None:
        self.bar(16 * number, address, 8)
        self.bar(16 * number + 8, data)
        self.bar(16 * number + 12, control)

    def word(self, offset: int) -> int:
        data = self.memory.read(RAM + offset, 4)
        assert data is not None
        return int.from_bytes(data, "little")


def msi(vectors: int = 1, maskable: bool = False) -> Rig:
    return Rig(lambda function: Msi(function, vectors=vectors, maskable=maskable))


def msix(vectors: int = 4, translator: Shift | None = None) -> Rig:
    return Rig(lambda function: add_msix_bar(function, 0x40, vectors, 0), translator)


# -- MSI


def test_function_with_capabilities_says_so() -> None:
    rig = msi()
    assert rig.config(0x06, size=2) == 0x10
    assert rig.config(0x34) == 0x40
    assert [rig.config(0x40 + at) for at in (0, 4, 8, 12)] == [0x0080_0005, 0, 0, 0]


@pytest.mark.parametrize(
    ("vectors", "maskable", "reset", "written"),
    [
        (1, False, 0x0080_0005, 0x0081_0005),
        (4, False, 0x0084_0005, 0x00F5_0005),
        (32, True, 0x018A_0005, 0x01FB_0005),
    ],
)
def test_message_control(vectors: int, maskable: bool, reset: int, written: int) -> None:
    rig = msi(vectors, maskable)
    assert rig.config(0x40) == reset
    rig.config(0x40, 0xFFFF_FFFF)
    assert rig.config(0x40) == written


def test_mask_register_has_a_bit_for_each_vector_and_pending_is_read_only() -> None:
    rig = msi(4, maskable=True)
    rig.config(0x50, 0xFFFF_FFFF)
    rig.config(0x54, 0xFFFF_FFFF)
    assert (rig.config(0x50), rig.config(0x54)) == (0xF, 0)


def test_message_is_four_bytes_of_data_at_the_address() -> None:
    rig = msi()
    rig.memory.write(RAM, b"\xff" * 8)
    rig.config(0x44, RAM | 3)
    rig.config(0x4C, 0xABCD, 2)
    assert not rig.messages.send()
    rig.config(0x42, 1, 2)
    assert rig.messages.send()
    assert (rig.word(0), rig.word(4)) == (0x0000_ABCD, 0xFFFF_FFFF)


@pytest.mark.parametrize(
    ("enabled_lg2", "vector", "data"),
    [(0, 3, 0xABC8), (1, 3, 0xABC9), (2, 3, 0xABCB), (2, 0, 0xABC8), (7, 3, 0xABCB)],
)
def test_low_bits_of_the_data_tell_vectors_apart(enabled_lg2: int, vector: int, data: int) -> None:
    rig = msi(4)
    rig.config(0x44, RAM)
    rig.config(0x4C, 0xABC8, 2)
    rig.config(0x42, 1 | enabled_lg2 << 4, 2)
    rig.messages.send(vector)
    assert rig.word(0) == data


def test_masked_message_waits_until_it_is_unmasked() -> None:
    rig = msi(4, maskable=True)
    rig.config(0x44, RAM)
    rig.config(0x4C, 0x100, 2)
    rig.config(0x42, 0x21, 2)
    rig.config(0x50, 0x6)
    assert rig.messages.send(1)
    assert rig.messages.send(2)
    assert (rig.word(0), rig.config(0x54)) == (0, 0x6)
    rig.config(0x50, 0x2)
    assert (rig.word(0), rig.config(0x54)) == (0x102, 0x2)
    rig.config(0x50, 0)
    assert (rig.word(0), rig.config(0x54)) == (0x101, 0)


# -- MSI-X


def test_msix_capability_is_laid_out_as_qemus() -> None:
    rig = msix(1)
    assert [rig.config(0x40 + at) for at in (0, 4, 8)] == [0x0000_0011, 0, 0x800]
    rig.config(0x40, 0xFFFF_FFFF)
    assert rig.config(0x40) == 0xC000_0011
    rig.config(0x10, 0xFFFF_FFFF)
    assert rig.config(0x10) == 0xFFFF_F000


@pytest.mark.parametrize(
    ("vectors", "control", "pending_at", "bar"),
    [
        (128, 0x7F, 0x800, 0xFFFF_F000),
        (129, 0x80, 0x810, 0xFFFF_F000),
        (2048, 0x7FF, 0x8000, 0xFFFF_0000),
    ],
)
def test_bar_grows_with_the_vectors(vectors: int, control: int, pending_at: int, bar: int) -> None:
    rig = msix(vectors)
    assert (rig.config(0x42, size=2), rig.config(0x48)) == (control, pending_at)
    rig.config(0x10, 0xFFFF_FFFF)
    assert rig.config(0x10) == bar


def test_table_after_reset_and_odd_accesses() -> None:
    rig = msix(1)
    assert [rig.bar(at) for at in (0, 4, 8, 12)] == [0, 0, 0, 1]
    assert rig.bar(16) == 0xFFFF_FFFF
    assert (rig.bar(PBA), rig.bar(PBA + 4), rig.bar(0xFFC)) == (0, 0, 0xFFFF_FFFF)
    assert rig.bar(8, size=8) == 0x1_0000_0000
    assert (rig.bar(12, size=2), rig.bar(12, size=1)) == (0, 0)
    for at in (0, 4, 8, 12, 16, PBA):
        rig.bar(at, 0xFFFF_FFFF)
    assert [rig.bar(at) for at in (0, 4, 8, 12, PBA)] == [0xFFFF_FFFF] * 4 + [0]
    rig.bar(0, 0x1234, 2)
    assert rig.bar(0) == 0xFFFF_FFFF
    rig.bar(8, 0x1122_3344_5566_7788, 8)
    assert (rig.bar(8), rig.bar(12)) == (0x5566_7788, 0x1122_3344)


def test_msix_message_is_what_its_vector_says() -> None:
    rig = msix()
    rig.set_vector(2, RAM + 0x23, 0x8765_4321)
    assert not rig.messages.send(2)
    rig.config(0x42, 0x8000, 2)
    assert rig.messages.send(2)
    assert rig.word(0x20) == 0x8765_4321
    assert not rig.messages.send(4)


def test_masked_vector_waits_and_shows_as_pending() -> None:
    rig = msix(70)
    rig.config(0x42, 0x8000, 2)
    for number in (3, 69):
        rig.set_vector(number, RAM + 4 * number, number, control=1)
        assert rig.messages.send(number)
    assert (rig.bar(PBA), rig.bar(PBA + 8, size=8)) == (8, 1 << 5)
    assert (rig.word(12), rig.word(276)) == (0, 0)
    rig.bar(16 * 69 + 12, 0)
    assert (rig.bar(PBA), rig.bar(PBA + 8, size=8)) == (8, 0)
    assert (rig.word(12), rig.word(276)) == (0, 69)


def test_function_mask_holds_all_vectors() -> None:
    rig = msix()
    rig.config(0x42, 0xC000, 2)
    for number in range(3):
        rig.set_vector(number, RAM + 4 * number, 7, control=number == 2)
        rig.messages.send(number)
    assert rig.bar(PBA) == 7
    rig.config(0x42, 0x8000, 2)
    assert (rig.bar(PBA), [rig.word(at) for at in (0, 4, 8)]) == (4, [7, 7, 0])


def test_what_waits_leaves_once_messages_are_on_again() -> None:
    rig = msix()
    rig.set_vector(0, RAM, 5, control=1)
    rig.config(0x42, 0x8000, 2)
    rig.messages.send(0)
    rig.config(0x42, 0, 2)
    rig.bar(12, 0)
    assert rig.word(0) == 0
    rig.config(0x42, 0x8000, 2)
    assert rig.word(0) == 5


@pytest.mark.parametrize("rig", [msi(), msix()], ids=["msi", "msix"])
def test_message_needs_bus_mastering(rig: Rig) -> None:
    rig.config(0x42, 0x8001, 2)
    rig.config(0x44, RAM) if isinstance(rig.messages, Msi) else rig.set_vector(0, RAM, 9)
    rig.config(0x04, 2)
    assert not rig.messages.send()


def test_message_is_translated_and_a_refused_one_is_lost() -> None:
    rig = msix(translator=Shift())
    rig.config(0x42, 0x8000, 2)
    rig.set_vector(0, RAM + 0x1_0000_0040, 0x51)
    rig.set_vector(1, RAM, 0x52)
    assert rig.messages.send(0)
    assert not rig.messages.send(1)
    assert (rig.word(0x40), rig.word(0)) == (0x51, 0)
    fault = rig.function.dma.last_fault
    assert fault is not None
    assert fault.transaction == Transaction(0x08, RAM, True)


def test_reset_masks_and_forgets() -> None:
    rig = msix()
    rig.config(0x42, 0xC000, 2)
    rig.set_vector(1, RAM, 5)
    rig.messages.send(1)
    rig.host.reset()
    rig.config(0x10, WINDOW)
    rig.config(0x04, 6)
    assert rig.config(0x40) == 0x0003_0011
    assert [rig.bar(16 + at) for at in (0, 4, 8, 12)] == [0, 0, 0, 1]
    assert rig.bar(PBA) == 0


def test_two_capabilities_make_a_list() -> None:
    def give(function: Function) -> Msix:
        made = add_msix_bar(function, 0x60, 1, 0)
        Msi(function, 0x40)
        return made

    rig = Rig(give)
    assert rig.config(0x34, size=1) == 0x40
    assert rig.config(0x40, size=2) == 0x6005
    assert rig.config(0x60, size=2) == 0x0011


# -- messages to oneself


def test_messages_that_unmask_each_other_end() -> None:
    rig = msix(2048)
    rig.config(0x42, 0x8000, 2)
    for number in range(2048):
        rig.set_vector(number, WINDOW + 16 * (number + 1) + 12, 0, control=1)
        rig.messages.send(number)
    rig.bar(12, 0)
    assert rig.messages.pending == 0


def test_message_to_the_own_doorbell_is_sent_once() -> None:
    machine = Machine.virt(ram=1 << 20, devices=["edu@00:02.0"])
    config, bar = 0x40_1001_0000, 0x1010_0000
    for register, value in ((0x10, bar), (0x04, 6), (0x44, bar + 0x60), (0x4C, 2), (0x40, 1 << 16)):
        machine.memory.write(config + register, value.to_bytes(4, "little"))
    machine.memory.write(bar + 0x60, b"\x01\0\0\0")
    assert machine.memory.read(bar + 0x24, 4) == b"\x03\0\0\0"


@pytest.mark.parametrize("vectors", [0, 3, 64])
def test_msi_vectors_that_cannot_be(vectors: int) -> None:
    with pytest.raises(ConfigurationError, match=f"function: MSI has .* vectors: {vectors}"):
        msi(vectors)


@pytest.mark.parametrize("vectors", [0, 2049])
def test_msix_vectors_that_cannot_be(vectors: int) -> None:
    with pytest.raises(ConfigurationError, match=f"function: MSI-X has .* vectors: {vectors}"):
        msix(vectors)
