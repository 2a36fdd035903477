# SPDX-License-Identifier: GPL-2.0-or-later
"""The PL031: virtual seconds, and an alarm on a level-sensitive wire."""

from __future__ import annotations

from smmu_emu.clock import Clock
from smmu_emu.devices.pl031 import START, Pl031

SECOND = 1_000_000_000
DR, MR, LR, CR, IMSC, RIS, MIS, ICR = range(0, 0x20, 4)


def make() -> tuple[Pl031, Clock]:
    clock = Clock()
    return Pl031(clock), clock


def test_identification_is_that_of_the_manual() -> None:
    rtc, _ = make()
    assert [rtc.read(offset, 4) for offset in range(0xFE0, 0x1000, 4)] == [
        *(0x31, 0x10, 0x04, 0x00),
        *(0x0D, 0xF0, 0x05, 0xB1),
    ]


def test_time_begins_with_2024_and_is_virtual() -> None:
    rtc, clock = make()
    assert rtc.read(DR, 4) == START == 0x6592_0080
    clock.advance(SECOND - 1)
    assert rtc.read(DR, 4) == START
    clock.advance(SECOND)
    assert rtc.read(DR, 4) == START + 1


def test_loaded_time_goes_on_from_there_and_wraps() -> None:
    rtc, clock = make()
    clock.advance(5 * SECOND)
    rtc.write(LR, 4, 0xFFFF_FFFF)
    assert rtc.read(LR, 4) == rtc.read(DR, 4) == 0xFFFF_FFFF
    clock.advance(7 * SECOND)
    assert rtc.read(DR, 4) == 1


def test_alarm_rings_at_the_second_that_matches() -> None:
    rtc, clock = make()
    clock.advance(SECOND // 2)
    rtc.write(IMSC, 4, 1)
    rtc.write(MR, 4, START + 3)
    clock.advance(3 * SECOND - 1)
    assert not rtc.interrupt.level
    clock.advance(3 * SECOND)
    assert (rtc.interrupt.level, rtc.read(RIS, 4), rtc.read(MIS, 4)) == (True, 1, 1)
    rtc.write(ICR, 4, 1)
    assert (rtc.interrupt.level, rtc.read(RIS, 4)) == (False, 0)


def test_masked_alarm_shows_only_as_raw() -> None:
    rtc, _ = make()
    rtc.write(MR, 4, START)
    assert (rtc.read(RIS, 4), rtc.read(MIS, 4), rtc.interrupt.level) == (1, 0, False)
    rtc.write(IMSC, 4, 1)
    assert rtc.interrupt.level


def test_other_match_or_time_replaces_the_alarm() -> None:
    rtc, clock = make()
    rtc.write(MR, 4, START + 2)
    rtc.write(MR, 4, START + 9)
    clock.advance(3 * SECOND)
    assert rtc.read(RIS, 4) == 0
    rtc.write(LR, 4, START + 8)
    clock.advance(4 * SECOND)
    assert rtc.read(RIS, 4) == 1


def test_it_runs_always() -> None:
    rtc, _ = make()
    rtc.write(CR, 4, 0)
    assert rtc.read(CR, 4) == 1


def test_reset_forgets_time_and_alarm() -> None:
    rtc, clock = make()
    rtc.write(IMSC, 4, 1)
    rtc.write(MR, 4, START)
    rtc.write(LR, 4, 7)
    clock.reset()
    rtc.reset()
    assert not rtc.interrupt.level
    assert (rtc.read(DR, 4), rtc.read(MR, 4), rtc.read(IMSC, 4)) == (START, 0, 0)
