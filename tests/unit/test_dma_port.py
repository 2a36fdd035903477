# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA ports: transfers become one transaction a page, and faults end them."""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.memory import PhysicalMemory
from smmu_emu.port import DmaPort, MemoryPort
from smmu_emu.transaction import Attributes, Fault, Transaction, Translation

BASE = 0x4000_0000


class Shift:
    """Translates by adding `BASE`; pages in ``bad`` fault."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad
        self.log: list[Transaction] = []

    def translate(self, transaction: Transaction) -> Translation | Fault:
        self.log.append(transaction)
        if transaction.iova >> 12 in self.bad:
            return Fault(0x10, transaction)
        return Translation(BASE + transaction.iova, 12, Attributes(0xFF, 3))

    def submit(
        self, transaction: Transaction, answer: Callable[[Translation | Fault], None]
    ) -> Translation | Fault:
        return self.translate(transaction)

    def translate_range(self, example: Transaction, size: int) -> None:
        return None


def make(*bad: int) -> tuple[PhysicalMemory, Shift, DmaPort]:
    memory, shift = PhysicalMemory(), Shift(*bad)
    memory.add_ram(BASE, 0x10000)
    return memory, shift, DmaPort(memory, shift, 0x1234)


def test_without_translator_addresses_are_physical() -> None:
    memory, _, _ = make()
    port = DmaPort(memory, None, 0)
    assert port.write(BASE + 5, b"abc")
    assert port.read(BASE + 5, 3) == b"abc"
    assert port.read(0, 1) is None
    assert port.last_fault is None
    assert port.transactions == 3


def test_transfer_is_split_at_pages_and_carries_its_attributes() -> None:
    memory, shift, port = make()
    data = bytes(range(256)) * 33
    assert port.write(0xF80, data, privileged=True, substream_id=7)
    assert shift.log == [
        Transaction(0x1234, 0xF80, True, True, False, 7),
        Transaction(0x1234, 0x1000, True, True, False, 7),
        Transaction(0x1234, 0x2000, True, True, False, 7),
        Transaction(0x1234, 0x3000, True, True, False, 7),
    ]
    assert memory.read(BASE + 0xF80, len(data)) == data
    assert port.read(0xF80, len(data)) == data
    assert shift.log[-1] == Transaction(0x1234, 0x3000, False, False, False, None)


def test_transfer_of_exactly_a_page_is_one_transaction() -> None:
    _, shift, port = make()
    assert port.write(0x1000, bytes(0x1000))
    assert [each.iova for each in shift.log] == [0x1000]


def test_write_stops_at_the_page_that_faults() -> None:
    memory, shift, port = make(1)
    assert port.write(0xFFE, b"abcd" + bytes(0x1000)) is False
    assert memory.read(BASE + 0xFFE, 4) == b"ab\0\0"
    assert port.last_fault == Fault(0x10, Transaction(0x1234, 0x1000, True))
    assert len(shift.log) == port.transactions == 2


def test_fault_is_forgotten_by_the_next_transfer() -> None:
    _, _, port = make(1)
    assert port.read(0x1000, 4) is None
    assert port.last_fault is not None
    assert port.read(0x2000, 4) == bytes(4)
    assert port.last_fault is None


def test_external_abort_is_no_fault() -> None:
    _, _, port = make()
    assert port.write(0x10000, b"x") is False
    assert port.read(0x10000, 1) is None
    assert port.last_fault is None


def test_addresses_wrap_at_64_bits() -> None:
    _, shift, port = make()
    port.read((1 << 64) - 2, 4)
    port.read((1 << 64) + 0x10, 1)
    assert [each.iova for each in shift.log] == [(1 << 64) - 2, 0x10]


def test_reset_forgets_counts() -> None:
    _, _, port = make(0)
    port.read(0, 1)
    port.reset()
    assert (port.transactions, port.last_fault) == (0, None)


def test_memory_port_is_memorys_own_functions_until_replaced() -> None:
    memory, _, _ = make()
    port = MemoryPort("walk", memory)
    assert port.read_u64 is memory.read_u64
    port.read_u64 = lambda pa: None
    assert memory.read_u64(BASE) == 0


def test_instruction_attribute_travels_with_every_page() -> None:
    _, shift, port = make()
    port.read(0xFFC, 8, instruction=True)
    port.write(0, b"data", instruction=True, privileged=True)
    port.start_read(0, 4, instruction=True, substream_id=5)
    port.start_write(0, b"data", instruction=True)
    port.read(0, 4)
    assert shift.log == [
        Transaction(0x1234, 0xFFC, False, False, True),
        Transaction(0x1234, 0x1000, False, False, True),
        Transaction(0x1234, 0, True, True, True),
        Transaction(0x1234, 0, False, False, True, 5),
        Transaction(0x1234, 0, True, False, True),
        Transaction(0x1234, 0, False),
    ]
