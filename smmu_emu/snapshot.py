# SPDX-License-Identifier: GPL-2.0-or-later
"""A snapshot of a machine: everything that decides how it goes on, at one moment between runs.

It holds the core with its pending exceptions and interrupts, RAM (a copy of the pages that were
ever touched), all devices, caches of the SMMU, virtual time with all that is due later, what the
guest printed, what was reported as not modelled, counters, and what guests wrote to disks in
snapshot mode. It does not hold what belongs to the host: breakpoints and watchpoints, listeners of
taps, functions that stand before others (`smmu_emu.interpose`), the console, and disk images.
A machine with a disk whose file the guest may write has no snapshots, as nobody could take the
writes back.

Code that the core has translated stays, unless restoring changes it. The core's own TLB is emptied
by both, `Machine.snapshot` and `Machine.restore`, so that a run goes on the same way after either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smmu_emu.errors import ConfigurationError
from smmu_emu.state import Kept, keep

if TYPE_CHECKING:
    from smmu_emu.machine import Machine


class Snapshot:
    """What a machine held; `Machine.snapshot` makes it, `Machine.restore` brings it back.

    ``time`` is the virtual time in nanoseconds, ``instructions`` how many the core had begun.
    """

    def __init__(self, machine: Machine, kept: Kept) -> None:
        self.machine = machine
        self.time = machine.clock.now
        self.instructions = machine.instructions
        self.has_core = machine.has_core
        self.kept = kept

    def __repr__(self) -> str:
        return f"<Snapshot at {self.time} ns, {self.instructions} instructions>"


def take(machine: Machine, others: tuple[object, ...]) -> Snapshot:
    """Keep all of a machine that stands still, and of ``others`` that belong to it.

    Raises: ConfigurationError for a disk whose writes nobody could take back; StateError for
        something that cannot be kept.
    """
    for disk in machine.board.disks:
        if disk.writes_through:
            raise ConfigurationError(
                f"disk {disk.path}: writes go to the file, where no snapshot takes them back; "
                "use mode snapshot (writes are kept in memory) or ro"
            )
    return Snapshot(machine, keep(machine, *others))


def put_back(machine: Machine, snapshot: Snapshot) -> None:
    """Bring a machine back to a snapshot of it.

    Raises: ConfigurationError for a snapshot of another machine.
    """
    if snapshot.machine is not machine:
        raise ConfigurationError("this snapshot was taken of another machine")
    if machine.has_core and not snapshot.has_core:
        machine.core.reset(0)
    snapshot.kept.put_back()
    if machine.has_core and not snapshot.has_core:
        lines = machine.board.gic.cpu
        machine.core.irq.set(lines.irq.level)
        machine.core.fiq.set(lines.fiq.level)
