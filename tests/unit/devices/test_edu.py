# SPDX-License-Identifier: GPL-2.0-or-later
"""edu: registers, factorials, interrupts and DMA, as QEMU 11's has them.

The literals were seen on QEMU 11.1 through its qtest socket, but for transfers beyond the buffer,
with which QEMU goes beyond it as well.
"""

from __future__ import annotations

import pytest

from smmu_emu.devices.edu import BUFFER, Edu
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine
from smmu_emu.transaction import Fault, Transaction, Translation

RAM, BAR, CONFIG = 0x4000_0000, 0x1010_0000, 0x40_1001_0000
LIVENESS, FACTORIAL, STATUS, INTERRUPTS, RAISE, ACKNOWLEDGE = 4, 8, 0x20, 0x24, 0x60, 0x64
SOURCE, DESTINATION, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
PCI_COMMAND, BAR0, MSI = 0x04, 0x10, 0x40
BYTES = bytes(range(16))
WIDE = "edu@00:02.0,dma_mask=0xffffffffffffffff"


class Rig:
    """An edu in device 2 of a board, decoded, bus master, with a mask that lets RAM be reached."""

    def __init__(self, device: str = WIDE) -> None:
        self.machine = Machine.virt(ram=16 << 20, devices=[device])
        self.memory = self.machine.memory
        self.edu: Edu = self.machine.devices["edu@00:02.0"]
        self.clock = self.machine.clock
        self.line = self.machine.board.pcie.interrupts[2]
        self.set_config(BAR0, BAR)
        self.set_config(PCI_COMMAND, 6)

    def config(self, register: int) -> int:
        return self._read(CONFIG + register, 4)

    def set_config(self, register: int, value: int) -> None:
        assert self.memory.write(CONFIG + register, value.to_bytes(4, "little"))

    def _read(self, pa: int, size: int) -> int:
        data = self.memory.read(pa, size)
        assert data is not None
        return int.from_bytes(data, "little")

    def __getitem__(self, register: int) -> int:
        return self._read(BAR + register, 4)

    def __setitem__(self, register: int, value: int) -> None:
        assert self.memory.write(BAR + register, value.to_bytes(4, "little"))

    def wide(self, register: int) -> int:
        return self._read(BAR + register, 8)

    def start(self, source: int, destination: int, count: int, command: int) -> None:
        for register, value in (
            (SOURCE, source),
            (DESTINATION, destination),
            (COUNT, count),
            (COMMAND, command),
        ):
            assert self.memory.write(BAR + register, value.to_bytes(8, "little"))

    def finish(self) -> None:
        deadline = self.clock.next_deadline()
        assert deadline is not None
        self.clock.advance(deadline)

    def kinds(self) -> list[str]:
        return [site.kind for site in self.machine.unmodelled]


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- configuration space and registers


def test_header_after_power_on() -> None:
    rig = Rig()
    rig.machine.reset()

    words = [rig.config(offset) for offset in range(0, 0x60, 4)]

    assert words[:4] == [0x11E8_1234, 0x0010_0000, 0x00FF_0010, 0]
    assert words[4:11] == [0] * 7
    assert words[11:] == [0x1100_1AF4, 0, 0x40, 0, 0x100, 0x0080_0005] + [0] * 7


def test_bar_is_one_mebibyte(rig: Rig) -> None:
    rig.set_config(BAR0, 0xFFFF_FFFF)

    assert rig.config(BAR0) == 0xFFF0_0000


@pytest.mark.parametrize(
    ("offset", "word", "doubleword"),
    [
        (0x00, 0x0100_00ED, 0xFFFF_FFFF_FFFF_FFFF),
        (0x08, 0, 0xFFFF_FFFF_FFFF_FFFF),
        (0x20, 0, 0xFFFF_FFFF_FFFF_FFFF),
        (0x60, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF),
        (0x80, 0, 0),
        (0x84, 0xFFFF_FFFF, 0x0000_0000_FFFF_FFFF),
        (0x88, 0, 0),
        (0x90, 0, 0),
        (0x98, 0, 0),
        (0x40000, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF),
    ],
)
def test_registers_after_power_on(rig: Rig, offset: int, word: int, doubleword: int) -> None:
    assert rig[offset] == word
    assert rig.wide(offset) == doubleword


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (4, 2), (0x80, 2), (2, 4)])
def test_narrow_and_unaligned_accesses_are_refused(rig: Rig, offset: int, size: int) -> None:
    assert rig.memory.read(BAR + offset, size) is None
    assert not rig.memory.write(BAR + offset, bytes(size))


def test_liveness_register_inverts(rig: Rig) -> None:
    rig[LIVENESS] = 0x1234_5678

    assert rig[LIVENESS] == 0xEDCB_A987


def test_wide_access_at_word_boundary_is_two_words(rig: Rig) -> None:
    rig.memory.write(BAR + LIVENESS, (1).to_bytes(8, "little"))

    assert rig[LIVENESS] == 0xFFFF_FFFE
    assert rig[FACTORIAL] == 1  # of the upper word, 0


@pytest.mark.parametrize(
    ("number", "result"),
    [
        (0, 1),
        (1, 1),
        (5, 0x78),
        (12, 0x1C8C_FC00),
        (13, 0x7328_CC00),
        (33, 0x8000_0000),
        (34, 0),
        (100, 0),
        (0xFFFF_FFFF, 0),
    ],
)
def test_factorial_is_of_32_bits(rig: Rig, number: int, result: int) -> None:
    rig[FACTORIAL] = number

    assert rig[FACTORIAL] == result
    assert rig[INTERRUPTS] == 0


def test_unknown_register_is_told(rig: Rig) -> None:
    rig[0x0C] = 1

    assert rig[0x0C] == 0xFFFF_FFFF
    assert rig.kinds() == ["write of 4 bytes", "read of 4 bytes"]


# -- interrupts


def test_factorial_interrupts_if_asked(rig: Rig) -> None:
    rig[STATUS] = 0xFFFF_FFFF
    assert rig[STATUS] == 0x80

    rig[FACTORIAL] = 4

    assert (rig[INTERRUPTS], rig.line.level) == (1, True)
    assert rig.config(PCI_COMMAND) == 0x0018_0006


def test_pin_stays_high_until_all_is_acknowledged(rig: Rig) -> None:
    rig[RAISE] = 0
    assert not rig.line.level
    rig[RAISE] = 0x82
    rig[RAISE] = 0x01
    assert (rig[INTERRUPTS], rig.line.level) == (0x83, True)

    rig[ACKNOWLEDGE] = 0x02
    assert (rig[INTERRUPTS], rig.line.level) == (0x81, True)
    rig[ACKNOWLEDGE] = 0x81

    assert (rig[INTERRUPTS], rig.line.level, rig.line.pulses) == (0, False, 1)
    assert rig.config(PCI_COMMAND) == 0x0010_0006


def test_interrupt_disable_takes_the_pin_down_and_keeps_the_status(rig: Rig) -> None:
    rig[RAISE] = 1

    rig.set_config(PCI_COMMAND, 0x406)
    assert (rig.line.level, rig.config(PCI_COMMAND)) == (False, 0x0018_0406)
    rig.set_config(PCI_COMMAND, 6)

    assert rig.line.level


@pytest.mark.parametrize(("device", "spi"), [(1, 4), (2, 5), (3, 6), (4, 3)])
def test_pin_reaches_the_gic_by_device_number(device: int, spi: int) -> None:
    machine = Machine.virt(ram=16 << 20, devices=[f"edu@00:{device:02x}.0"])

    machine.devices[f"edu@00:{device:02x}.0"].write(RAISE, 4, 1)

    pending = machine.memory.read(0x0800_0204, 4)
    assert pending == (1 << spi).to_bytes(4, "little")


def test_two_functions_share_a_line() -> None:
    machine = Machine.virt(ram=16 << 20, devices=["edu@00:01.0", "edu@00:05.0"])
    first, second = (machine.devices[f"edu@00:0{n}.0"] for n in (1, 5))
    line = machine.board.pcie.interrupts[1]
    first.write(RAISE, 4, 1)
    second.write(RAISE, 4, 1)

    first.write(ACKNOWLEDGE, 4, 1)
    assert line.level
    second.write(ACKNOWLEDGE, 4, 1)

    assert not line.level


def enable_msi(rig: Rig) -> None:
    rig.set_config(MSI + 4, RAM + 0x3003)
    rig.set_config(MSI + 8, 0)
    rig.set_config(MSI + 12, 0xFFFF_1234)
    rig.set_config(MSI, 0xFFFF_FFFF)


def test_message_capability_keeps_what_is_writable(rig: Rig) -> None:
    enable_msi(rig)

    words = [rig.config(MSI + offset) for offset in range(0, 20, 4)]
    assert words == [0x0081_0005, RAM + 0x3000, 0, 0xFFFF_1234, 0]


def test_message_goes_out_each_time_and_the_pin_stays_down(rig: Rig) -> None:
    enable_msi(rig)

    for bits in (1, 2):
        rig.memory.write(RAM + 0x3000, bytes(4))
        rig[RAISE] = bits
        assert rig.memory.read(RAM + 0x3000, 4) == b"\x34\x12\0\0"

    assert not rig.line.level
    assert rig.config(PCI_COMMAND) == 0x0010_0006


@pytest.mark.parametrize(("command", "arrives"), [(0x2, False), (0x406, True)])
def test_message_needs_bus_mastering_alone(rig: Rig, command: int, arrives: bool) -> None:
    enable_msi(rig)
    rig.set_config(PCI_COMMAND, command)

    rig[RAISE] = 1

    assert (rig.memory.read(RAM + 0x3000, 4) != bytes(4)) == arrives


def test_enabling_messages_lets_the_pin_go(rig: Rig) -> None:
    rig[RAISE] = 1

    rig.set_config(MSI, 0x0001_0000)
    assert (rig.line.level, rig.config(PCI_COMMAND)) == (False, 0x0010_0006)
    rig.set_config(MSI, 0)

    assert not rig.line.level


# -- DMA


def test_transfer_ends_100_milliseconds_after_the_last_whole_one(rig: Rig) -> None:
    rig.clock.advance(1_500_001)
    rig.start(RAM, BUFFER, 16, 1)
    assert rig.wide(COMMAND) == 1

    rig.clock.advance(100_999_999)
    assert rig.wide(COMMAND) == 1
    rig.clock.advance(101_000_000)

    assert rig.wide(COMMAND) == 0


def test_transfer_there_and_back_and_its_interrupt(rig: Rig) -> None:
    rig.memory.write(RAM + 0x1000, BYTES)

    rig.start(RAM + 0x1000, BUFFER, 16, 5)
    rig.finish()
    assert (rig.wide(COMMAND), rig[INTERRUPTS], rig.line.level) == (4, 0x100, True)
    rig.start(BUFFER + 4, RAM + 0x2000, 12, 3)
    rig.finish()

    assert rig.wide(COMMAND) == 2
    assert rig.memory.read(RAM + 0x2000, 16) == BYTES[4:] + bytes(4)


def test_registers_are_locked_while_a_transfer_runs(rig: Rig) -> None:
    rig.start(RAM, BUFFER, 16, 1)

    rig.start(0x77, 0x77, 0x77, 7)

    assert [rig.wide(register) for register in (SOURCE, DESTINATION, COUNT, COMMAND)] == [
        RAM,
        BUFFER,
        16,
        1,
    ]


def test_command_without_run_is_ignored(rig: Rig) -> None:
    rig.start(RAM, BUFFER, 16, 6)

    assert rig.wide(COMMAND) == 0
    assert rig.clock.next_deadline() is None


def test_narrow_write_of_an_address_clears_its_upper_half(rig: Rig) -> None:
    rig.start(0x1122_3344_5566_7788, BUFFER, 0, 0)

    rig[SOURCE] = 0x99

    assert rig.wide(SOURCE) == 0x99


def test_mask_of_28_bits_cuts_addresses() -> None:
    rig = Rig("edu@00:02.0")
    rig.memory.write(RAM, BYTES)
    rig.edu.buffer[:] = b"\xaa" * 4096

    rig.start(RAM, BUFFER, 16, 1)  # becomes address 0, which nobody answers
    rig.finish()

    assert rig.edu.buffer[:17] == bytes(16) + b"\xaa"
    assert "DMA address beyond dma_mask" in rig.kinds()


def test_without_bus_mastering_reads_give_zeros_and_writes_vanish(rig: Rig) -> None:
    rig.memory.write(RAM + 0x1000, BYTES)
    rig.memory.write(RAM + 0x2000, BYTES)
    rig.start(RAM + 0x1000, BUFFER, 16, 1)
    rig.finish()
    rig.set_config(PCI_COMMAND, 2)

    rig.start(BUFFER, RAM + 0x2000, 8, 3)
    rig.finish()
    rig.start(RAM + 0x1000, BUFFER, 8, 5)
    rig.finish()

    assert rig.memory.read(RAM + 0x2000, 16) == BYTES
    assert rig.edu.buffer[:16] == bytes(8) + BYTES[8:]
    assert rig[INTERRUPTS] == 0x100


@pytest.mark.parametrize(
    ("inside", "count"),
    [
        (BUFFER - 1, 1),
        (BUFFER, 4097),
        (BUFFER + 4095, 2),
        (0, 16),
        (BUFFER, 0xFFFF_FFFF_FFFF_FFFF),
        (0xFFFF_FFFF_FFFF_FFFF, 2),
    ],
)
@pytest.mark.parametrize("command", [5, 7])
def test_transfer_beyond_the_buffer_moves_nothing_and_ends(
    rig: Rig, inside: int, count: int, command: int
) -> None:
    rig.memory.write(RAM, BYTES)
    ends = (inside, RAM) if command & 2 else (RAM, inside)

    rig.start(*ends, count, command)
    rig.finish()

    assert rig.kinds() == ["DMA beyond the buffer"]
    assert not any(rig.edu.buffer)
    assert rig.memory.read(RAM, 16) == BYTES
    assert (rig.wide(COMMAND), rig[INTERRUPTS]) == (command & ~1, 0x100)


class FaultAt:
    """Bypass, but for one page."""

    def __init__(self, page: int) -> None:
        self.page = page
        self.seen: list[int] = []

    def translate(self, transaction: Transaction) -> Translation | Fault:
        self.seen.append(transaction.iova)
        if transaction.iova & ~0xFFF == self.page:
            return Fault(0x10, transaction)
        return Translation(transaction.iova, 12, None)  # type: ignore[arg-type]


def test_aborted_words_are_zero_and_the_transfer_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FaultAt(RAM + 0x1000)
    monkeypatch.setattr(rig.edu.dma, "translator", fault)
    rig.memory.write(RAM + 0xFF0, b"\x11" * 0x20)
    rig.edu.buffer[:] = b"\xaa" * 4096

    rig.start(RAM + 0xFF8, BUFFER, 18, 1)
    rig.finish()

    assert rig.edu.buffer[:20] == b"\x11" * 8 + bytes(10) + b"\xaa" * 2
    assert fault.seen == [RAM + 0xFF8, RAM + 0x1000, RAM + 0x1004, RAM + 0x1008]


# -- properties, reset


def test_reset_forgets_everything(rig: Rig) -> None:
    rig[LIVENESS], rig[STATUS] = 1, 0x80
    rig[RAISE] = 1
    rig.edu.buffer[0] = 1
    rig.start(RAM, BUFFER, 16, 1)

    rig.edu.reset()

    assert not rig.line.level
    assert not any(rig.edu.buffer)
    assert rig.clock.next_deadline() is None
    rig.set_config(BAR0, BAR)
    rig.set_config(PCI_COMMAND, 6)
    registers = (LIVENESS, FACTORIAL, STATUS, INTERRUPTS, SOURCE, DESTINATION, COUNT, COMMAND)
    assert [rig[register] for register in registers] == [0] * 8


@pytest.mark.parametrize("value", ["", "x", "-1", "0x10000000000000000"])
def test_mask_must_be_a_number_of_64_bits(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"edu: dma_mask=.* is no number of 64 bits"):
        Machine.virt(devices=[f"edu,dma_mask={value}"])


@pytest.mark.parametrize("device", ["edu,speed=1", "iommu-testdev,dma_mask=1"])
def test_unknown_property_is_refused(device: str) -> None:
    with pytest.raises(ConfigurationError, match="has no property"):
        Machine.virt(devices=[device])
