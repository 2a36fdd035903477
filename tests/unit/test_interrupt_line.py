# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupt wires: levels, pulses, and who hears them."""

from __future__ import annotations

from smmu_emu.interrupt import InterruptLine


def test_sink_hears_changes_only() -> None:
    heard = list[bool]()
    line = InterruptLine("x", heard.append)
    for level in (False, True, True, False, False, True):
        line.set(level)
    assert heard == [True, False, True]
    assert line.level is True


def test_pulses_count_rising_edges() -> None:
    line = InterruptLine("x")
    line.pulse()
    line.pulse()
    line.set(True)
    line.set(True)
    assert line.pulses == 3


def test_pulse_is_up_and_down() -> None:
    heard = list[bool]()
    InterruptLine("x", heard.append).pulse()
    assert heard == [True, False]
