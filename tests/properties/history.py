# SPDX-License-Identifier: GPL-2.0-or-later
"""What memory, registers and commands were, state by state.

Time is counted in operations of a test: state ``n`` is what holds after operation ``n``. Software
that changes tables without telling the SMMU may be served from any state since the last command
that reaches what was cached then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.memory import PhysicalMemory

REGISTERS = ("CR0ACK", "CR2", "GBPA", "STRTAB_BASE", "STRTAB_BASE_CFG")
"""Those that decide what a structure means."""


class Command(NamedTuple):
    """A command that was consumed in a state."""

    state: int
    name: str
    fields: dict[str, int]


class RecordedMemory(PhysicalMemory):
    """RAM that tells a history about every write, whoever does it."""

    history: History | None = None

    def write(self, pa: int, data: bytes | memoryview) -> bool:
        if self.history is None:
            return super().write(pa, data)
        first, end = pa & ~7, pa + len(data)
        before = [self.read_u64(where) for where in range(first, end, 8)]
        done = super().write(pa, data)
        for number, old in enumerate(before):
            where = first + 8 * number
            new = self.read_u64(where)
            if new != old:
                self.history.changed(where, old, new)
        return done


class History:
    """The past of one SMMU and its memory. ``now`` is the state that operations make."""

    def __init__(self, read64: Callable[[int], int | None], register: Callable[[str], int]) -> None:
        self.now = 0
        self.commands: list[Command] = []
        self.changes: list[int] = [0]
        """States in which memory or registers changed."""
        self._read64 = read64
        self._register = register
        self._words: dict[int, list[tuple[int, int | None]]] = {}
        self._registers: list[tuple[int, dict[str, int]]] = []
        self.registers_written()

    def begin(self) -> None:
        """The next operation."""
        self.now += 1

    # -- what happens

    def changed(self, where: int, old: int | None, new: int | None) -> None:
        """A word of memory has another value from this state on."""
        versions = self._words.setdefault(where, [(0, old)])
        if versions[-1][0] == self.now:
            versions.pop()
        versions.append((self.now, new))
        self._note()

    def registers_written(self) -> None:
        """Look at the registers again."""
        self._registers.append((self.now, {name: self._register(name) for name in REGISTERS}))
        self._note()

    def consumed(self, name: str, fields: dict[str, int]) -> None:
        """The SMMU has executed a command."""
        self.commands.append(Command(self.now, name, fields))

    def _note(self) -> None:
        if self.changes[-1] != self.now:
            self.changes.append(self.now)

    # -- what was

    def word(self, where: int, state: int) -> int | None:
        """A 64-bit word as it was; None where there is no RAM."""
        versions = self._words.get(where)
        if versions is None:
            return self._read64(where)
        for since, value in reversed(versions):
            if since <= state:
                return value
        return versions[0][1]

    def register(self, name: str, state: int) -> int:
        """A register as it was; identification never changes."""
        if name not in REGISTERS:
            return self._register(name)
        for since, values in reversed(self._registers):
            if since <= state:
                return values[name]
        return self._registers[0][1][name]

    def states(self, first: int, last: int) -> list[int]:
        """States from the last back to the first that differ from the one after them."""
        found = [last] if first <= last else []
        for change in reversed(self.changes):
            if change - 1 < first:
                break
            if change - 1 < last:
                found.append(change - 1)
        return found

    def commands_after(self, state: int, until: int) -> list[Command]:
        """What was consumed after a state, up to and with another."""
        found = []
        for command in reversed(self.commands):
            if command.state <= state:
                break
            if command.state <= until:
                found.append(command)
        return found
