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

import os
from typing import TYPE_CHECKING

from smmu_emu.errors import ConfigurationError
from smmu_emu.state import Kept, keep

if TYPE_CHECKING:
    from smmu_emu.cpu.core import Core
    from smmu_emu.interrupt import InterruptLine
    from smmu_emu.machine import Machine
    from smmu_emu.snapshot_file import Contents


class Snapshot:
    """What a machine held; `Machine.snapshot` makes it, `Machine.restore` brings it back.

    ``time`` is the virtual time in nanoseconds, ``instructions`` how many the core had begun.
    One that was loaded from a file suits every machine with the same board.
    """

    def __init__(self, time: int, instructions: int, *, has_core: bool) -> None:
        self.time = time
        self.instructions = instructions
        self.has_core = has_core
        self._machine: Machine | None = None
        self._kept: Kept | None = None
        self._others = False
        self._contents: Contents | None = None

    def __repr__(self) -> str:
        return f"<Snapshot at {self.time} ns, {self.instructions} instructions>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file. It may be large: all of RAM that was touched, compressed.

        Raises: StateError for something pending that has no name; OSError.
        """
        from smmu_emu import snapshot_file

        snapshot_file.write(path, self.contents())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Snapshot:
        """Read one from a file.

        Raises: ConfigurationError in one line for a file that is none, damaged or of another
            version; OSError.
        """
        from smmu_emu import snapshot_file

        contents = snapshot_file.read(path)
        snapshot = cls(contents.time, contents.instructions, has_core=contents.has_core)
        snapshot._contents = contents
        return snapshot

    def contents(self) -> Contents:
        """All of it as plain data.

        Raises: StateError for something that has no name.
        """
        if self._contents is None:
            from smmu_emu import snapshot_file

            assert self._machine is not None
            assert self._kept is not None
            if self._others:
                raise ConfigurationError("a snapshot that holds more than a machine has no file")
            self._contents = snapshot_file.tell(self, self._machine, self._kept)
        return self._contents

    def take_of(self, machine: Machine, others: tuple[object, ...]) -> None:
        """Keep what a machine holds now."""
        self._others = bool(others)
        self._machine, self._kept = machine, keep(machine, *others)

    def kept_for(self, machine: Machine) -> Kept:
        """What to put back into a machine.

        Raises: ConfigurationError if it is not one that this snapshot suits.
        """
        if self._machine is machine and self._kept is not None:
            return self._kept
        if self._contents is None:
            raise ConfigurationError("this snapshot was taken of another machine")
        from smmu_emu import snapshot_file

        self._kept = snapshot_file.fit(self._contents, machine)
        self._machine = machine
        return self._kept


def check(machine: Machine) -> None:
    """Refuse machines that have no snapshots.

    Raises: ConfigurationError for a disk whose writes nobody could take back.
    """
    for disk in machine.board.disks:
        if disk.writes_through:
            raise ConfigurationError(
                f"disk {disk.path}: writes go to the file, where no snapshot takes them back; "
                "use mode snapshot (writes are kept in memory) or ro"
            )


def take(machine: Machine, others: tuple[object, ...]) -> Snapshot:
    """Keep all of a machine that stands still, and of ``others`` that belong to it.

    Raises: ConfigurationError as `check`; StateError for something that cannot be kept.
    """
    check(machine)
    snapshot = Snapshot(machine.clock.now, machine.instructions, has_core=machine.has_core)
    snapshot.take_of(machine, others)
    return snapshot


def put_back(machine: Machine, snapshot: Snapshot) -> None:
    """Bring a machine back to a snapshot of it, or of one with the same board.

    Raises: ConfigurationError for a snapshot of another board.
    """
    kept = snapshot.kept_for(machine)
    fresh_core = machine.core if machine.has_core and not snapshot.has_core else None
    if fresh_core is not None:
        fresh_core.reset(0)
        for line in _lines(fresh_core):
            line.level, line.pulses = False, 0
    kept.put_back()
    if fresh_core is not None:
        machine.connect_interrupts(fresh_core)


def _lines(core: Core) -> list[InterruptLine]:
    """All wires at a core."""
    names = "irq", "fiq", "virq", "vfiq", "physical_timer", "virtual_timer", "hypervisor_timer"
    lines = [getattr(core, name, None) for name in names]
    return [line for line in lines if line is not None]
