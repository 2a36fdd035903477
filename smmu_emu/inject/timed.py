# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that wait for a time alone: structures edited, devices that act, at a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smmu_emu.inject.armed import Access

if TYPE_CHECKING:
    from smmu_emu.inject.armed import Armed
    from smmu_emu.inject.injector import Injector


def install(injector: Injector) -> None:
    """Ask the clock for the moments that faults wait for."""
    for one in injector.timed:
        _appoint(injector, one)


def _appoint(injector: Injector, one: Armed) -> None:
    assert one.fault.when.time is not None
    start, end = one.fault.when.time
    clock = injector.machine.clock

    def moment() -> None:
        if injector.installed and clock.now < end:
            injector.let_rest(Access("time", name=one.fault.name), one)

    injector.later(max(0, start - clock.now), moment)
