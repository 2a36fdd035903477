# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv2m: registers and interrupts, as QEMU 11.1 showed them on its qtest socket."""

from __future__ import annotations

import pytest

from smmu_emu.devices.gicv2 import Gicv2
from smmu_emu.devices.gicv2m import Gicv2m

PENDING, CONFIGURATION = 0x200, 0xC00


class Rig:
    """A frame for interrupts 80 to 143 of a GIC, all of them edge-triggered."""

    def __init__(self) -> None:
        self.gic = Gicv2()
        self.reported: list[tuple[int, str]] = []
        sinks = [self.gic.spi(number) for number in range(48, 112)]
        self.frame = Gicv2m(80, sinks, lambda offset, kind: self.reported.append((offset, kind)))
        for number in range(80, 144, 16):
            self.gic.distributor.write(CONFIGURATION + number // 4, 4, 0xAAAA_AAAA)

    @property
    def pending(self) -> list[int]:
        """The words of GICD_ISPENDR for interrupts 64 to 159."""
        return [self.gic.distributor.read(PENDING + 4 * word, 4) for word in (2, 3, 4)]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0x008, 4, 0x0050_0040),
        (0x008, 8, 0x0050_0040),
        (0x040, 4, 0),
        (0xFCC, 4, 0x0510_0000),
        (0xFC8, 8, 0x0510_0000_0000_0000),
        (0xFD0, 4, 0),
        (0xFE8, 4, 0),
        (0xFFC, 4, 0),
        (0x000, 4, 0),
        (0x008, 2, 0),
        (0x00B, 1, 0),
    ],
)
def test_registers_are_qemus(rig: Rig, offset: int, size: int, value: int) -> None:
    assert rig.frame.read(offset, size) == value


@pytest.mark.parametrize(
    ("message", "pending"),
    [
        (79, [0, 0, 0]),
        (80, [0x1_0000, 0, 0]),
        (106, [0, 0x400, 0]),
        (143, [0, 0, 0x8000]),
        (144, [0, 0, 0]),
        (0, [0, 0, 0]),
        (1023, [0, 0, 0]),
        (0x452, [0x4_0000, 0, 0]),
        (0x1_0053, [0x8_0000, 0, 0]),
    ],
)
def test_message_pends_its_interrupt(rig: Rig, message: int, pending: list[int]) -> None:
    rig.frame.write(0x40, 4, message)
    assert rig.pending == pending
    assert rig.frame.messages == (pending != [0, 0, 0])


@pytest.mark.parametrize(
    ("offset", "size", "value", "pending"),
    [
        (0x40, 2, 84, 1 << 20),
        (0x40, 1, 85, 0),
        (0x42, 2, 86, 0),
        (0x40, 8, 87, 1 << 23),
        (0x3C, 8, 88 << 32, 1 << 24),
    ],
)
def test_size_of_a_message(rig: Rig, offset: int, size: int, value: int, pending: int) -> None:
    rig.frame.write(offset, size, value)
    assert rig.pending == [pending, 0, 0]


def test_message_is_an_edge_that_a_level_sensitive_interrupt_does_not_keep(rig: Rig) -> None:
    rig.gic.distributor.write(CONFIGURATION + 80 // 4, 4, 0)
    rig.frame.write(0x40, 4, 80)
    assert rig.pending == [0, 0, 0]


def test_what_is_not_modelled_is_told(rig: Rig) -> None:
    rig.frame.read(0x8, 1)
    rig.frame.read(0x44, 4)
    rig.frame.write(0x8, 4, 0)
    rig.frame.write(0x40, 1, 80)
    rig.frame.write(0x40, 4, 200)
    assert rig.reported == [
        (0x8, "read of 1 bytes"),
        (0x44, "read of 4 bytes"),
        (0x8, "write of 4 bytes"),
        (0x40, "write of 1 bytes"),
        (0x40, "message for interrupt 200, which the frame lacks"),
    ]


def test_reset_forgets_the_count(rig: Rig) -> None:
    rig.frame.write(0x40, 4, 80)
    rig.frame.reset()
    assert rig.frame.messages == 0
    assert rig.frame.read(0x8, 4) == 0x0050_0040
