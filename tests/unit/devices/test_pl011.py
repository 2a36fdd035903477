# SPDX-License-Identifier: GPL-2.0-or-later
"""The PL011 against literal values of DDI 0183."""

from __future__ import annotations

import pytest

from smmu_emu.devices.pl011 import CR, FR, INTERRUPTS, Pl011

DR, RSR, FLAGS, IBRD, FBRD, LCR_H, CONTROL = 0x00, 0x04, 0x18, 0x24, 0x28, 0x2C, 0x30
IFLS, IMSC, RIS, MIS, ICR, DMACR = 0x34, 0x38, 0x3C, 0x40, 0x44, 0x48
TXFE_RXFE, RX, TX = 0x90, 1 << 4, 1 << 5
FIFOS_ON = 0x70


class Rig:
    """A UART with what it sent and what it reported."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.reported: list[tuple[int, str]] = []
        self.uart = Pl011(
            self.sent.extend, lambda offset, kind: self.reported.append((offset, kind))
        )

    def __getitem__(self, offset: int) -> int:
        return self.uart.read(offset, 4)

    def __setitem__(self, offset: int, value: int) -> None:
        self.uart.write(offset, 4, value)


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig[CONTROL] = 0x301
    return rig


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0x000, 0x00),
        (0x004, 0x00),
        (0x018, 0x90),
        (0x020, 0x00),
        (0x024, 0x00),
        (0x028, 0x00),
        (0x02C, 0x00),
        (0x030, 0x300),
        (0x034, 0x12),
        (0x038, 0x00),
        (0x03C, 0x00),
        (0x040, 0x00),
        (0x048, 0x00),
        (0xFE0, 0x11),
        (0xFE4, 0x10),
        (0xFE8, 0x14),
        (0xFEC, 0x00),
        (0xFF0, 0x0D),
        (0xFF4, 0xF0),
        (0xFF8, 0x05),
        (0xFFC, 0xB1),
    ],
)
def test_reset_value(offset: int, value: int) -> None:
    rig = Rig()
    assert rig[offset] == value
    assert rig.reported == []


@pytest.mark.parametrize(
    ("offset", "readback"),
    [
        (0x020, 0xFF),
        (0x024, 0xFFFF),
        (0x028, 0x3F),
        (0x02C, 0xFF),
        (0x030, 0xFF87),
        (0x034, 0x3F),
        (0x038, 0x7FF),
        (0x048, 0x7),
        (0x018, 0x90),
        (0x03C, 0x00),
        (0xFE0, 0x11),
    ],
)
def test_register_keeps_its_writable_bits(offset: int, readback: int) -> None:
    rig = Rig()
    rig[offset] = 0xFFFF_FFFF
    assert rig[offset] == readback


def test_field_positions() -> None:
    assert FR.make(CTS=1, DCD=1, RXFE=1, TXFE=1, RI=1).value == 0x195
    assert CR.make(UARTEN=1, LBE=1, TXE=1, RXE=1, RTS=1).value == 0xB81
    assert INTERRUPTS.make(RX=1, TX=1, RT=1, OE=1).value == 0x470


def test_character_leaves_at_once_and_raises_the_transmit_interrupt(rig: Rig) -> None:
    rig[DR] = ord("A")
    rig[DR] = 0x1_0042
    assert rig.sent == b"AB"
    assert rig[FLAGS] == TXFE_RXFE
    assert rig[RIS] == TX
    assert rig.reported == []


def test_narrow_store_sends(rig: Rig) -> None:
    rig.uart.write(DR, 1, ord("x"))
    rig.uart.write(DR, 2, ord("y"))
    rig.uart.write(DR + 1, 1, ord("z"))
    assert rig.sent == b"xy"


@pytest.mark.parametrize("control", [0x300, 0x201, 0x000])
def test_disabled_transmitter_sends_and_tells(control: int) -> None:
    rig = Rig()
    rig[CONTROL] = control
    rig[DR] = ord("A")
    assert rig.sent == b"A"
    assert [offset for offset, _ in rig.reported] == [0]


def test_received_character_waits_until_read(rig: Rig) -> None:
    rig[LCR_H] = FIFOS_ON
    rig.uart.feed(b"hi")
    assert rig[FLAGS] == 0x80
    assert rig[RIS] == RX
    assert rig[DR] == ord("h")
    assert rig[RIS] == RX
    assert rig[DR] == ord("i")
    assert rig[RIS] == 0
    assert rig[FLAGS] == TXFE_RXFE
    assert rig[DR] == 0


def test_fifo_holds_sixteen_and_the_rest_waits_outside(rig: Rig) -> None:
    rig[LCR_H] = FIFOS_ON
    text = bytes(range(1, 41))
    rig.uart.feed(text)
    assert rig[FLAGS] == 0xC0
    assert bytes(rig[DR] for _ in range(40)) == text
    assert rig[FLAGS] == TXFE_RXFE


def test_without_fifo_there_is_room_for_one(rig: Rig) -> None:
    rig.uart.feed(b"ab")
    assert rig[FLAGS] == 0xC0
    assert (rig[DR], rig[DR]) == (ord("a"), ord("b"))


def test_receive_interrupt_can_be_cleared_and_comes_with_the_next_first_character(rig: Rig) -> None:
    rig[LCR_H] = FIFOS_ON
    rig.uart.feed(b"a")
    rig[ICR] = RX
    assert rig[RIS] == 0
    rig.uart.feed(b"b")
    assert rig[RIS] == 0
    assert (rig[DR], rig[DR]) == (ord("a"), ord("b"))
    rig.uart.feed(b"c")
    assert rig[RIS] == RX


def test_interrupt_line_follows_mask_and_status(rig: Rig) -> None:
    line = rig.uart.interrupt
    rig[DR] = ord("x")
    assert line.level is False
    rig[IMSC] = TX
    assert (line.level, rig[MIS]) == (True, TX)
    rig[ICR] = TX
    assert (line.level, rig[MIS], rig[RIS]) == (False, 0, 0)
    rig[DR] = ord("y")
    rig[IMSC] = RX
    assert line.level is False
    rig.uart.feed(b"q")
    assert line.level is True
    assert rig[DR] == ord("q")
    assert line.level is False


def test_loopback_receives_what_it_sends_and_cuts_the_input_off(rig: Rig) -> None:
    rig[LCR_H] = FIFOS_ON
    rig[CONTROL] = 0x381
    rig.uart.feed(b"lost")
    rig[DR] = 0x51
    assert rig.sent == b"\x51"
    assert rig[RIS] == RX | TX
    assert rig[DR] == 0x51
    assert rig[FLAGS] == TXFE_RXFE


def test_loopback_overrun_is_an_interrupt_and_loses_the_new_character(rig: Rig) -> None:
    rig[CONTROL] = 0x381
    rig[DR] = 1
    rig[DR] = 2
    assert rig[RIS] & 0x400
    assert rig[DR] == 1
    assert rig[FLAGS] & 0x10


def test_loopback_connects_the_modem_lines(rig: Rig) -> None:
    rig[CONTROL] = 0x3F81
    assert rig[FLAGS] == 0x197
    assert rig[RIS] == 0xF
    rig[ICR] = 0xF
    rig[CONTROL] = 0x301
    assert rig[FLAGS] == 0x90
    assert rig[RIS] == 0xF


def test_break_in_loopback_is_received_with_its_error_bit(rig: Rig) -> None:
    rig[CONTROL] = 0x381
    rig[LCR_H] = FIFOS_ON | 1
    assert rig[DR] == 0x400
    assert rig[RSR] == 4
    rig[RSR] = 0xFF
    assert rig[RSR] == 0


def test_turning_fifos_over_empties_them(rig: Rig) -> None:
    rig[LCR_H] = FIFOS_ON
    rig.uart.feed(b"abc")
    rig[LCR_H] = 0x60
    assert rig[FLAGS] == TXFE_RXFE
    assert rig[RIS] == 0


def test_dma_enable_is_reported(rig: Rig) -> None:
    rig[DMACR] = 4
    assert rig.reported == []
    rig[DMACR] = 1
    assert [offset for offset, _ in rig.reported] == [DMACR]


def test_register_that_is_not_there_is_reported(rig: Rig) -> None:
    assert rig[0x80] == 0
    rig[0x8C] = 1
    assert rig.reported == [(0x80, "read"), (0x8C, "write")]


def test_reset_drops_everything(rig: Rig) -> None:
    rig[LCR_H] = FIFOS_ON
    rig[IMSC] = RX
    rig.uart.feed(bytes(100))
    rig.uart.reset()
    assert rig.uart.interrupt.level is False
    assert rig[FLAGS] == TXFE_RXFE
    assert rig[CONTROL] == 0x300
    rig[LCR_H] = FIFOS_ON
    assert rig[RIS] == 0


def test_uart_that_firmware_left_on_sends_without_a_word() -> None:
    told: list[str] = []
    sent: list[bytes] = []
    uart = Pl011(sent.append, lambda offset, kind: told.append(kind))
    uart.turn_on()
    uart.write(0, 4, ord("x"))
    assert (sent, told) == ([b"x"], [])
    assert uart.read(0x30, 4) & 0x301 == 0x301
