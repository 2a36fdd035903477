# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of commands on their way to the SMMU: a broken driver, or a broken port.

A command that is dropped is fetched as one that does nothing (PREFETCH_CONFIG). One that is
duplicated or overtaken is fetched once more from a slot that was consumed already: CMDQ_CONS goes
back by one for that fetch, between two commands. If no further command is there, it comes with the
next doorbell. Spec: IHI 0070 4.1, 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smmu_emu.inject.armed import Access
from smmu_emu.inject.effects import Drop, Duplicate, Reorder
from smmu_emu.inject.ports import Reader, Reads
from smmu_emu.smmuv3.spec.command import COMMAND_SIZE, Opcode, Prefetch

if TYPE_CHECKING:
    from smmu_emu.inject.armed import Armed
    from smmu_emu.inject.injector import Injector

NOTHING = Prefetch.make(Opcode=Opcode.PREFETCH_CONFIG).to_bytes()
"""A command without effect."""
_WITH_STREAM = frozenset(
    {
        *(Opcode.PREFETCH_CONFIG, Opcode.PREFETCH_ADDR, Opcode.CFGI_STE, Opcode.CFGI_STE_RANGE),
        *(Opcode.CFGI_CD, Opcode.CFGI_CD_ALL, Opcode.ATC_INV, Opcode.PRI_RESP),
        *(Opcode.RESUME, Opcode.STALL_TERM),
    }
)


def install(injector: Injector) -> None:
    """Stand before the fetch of commands, if faults aim at it."""
    if not injector.wants("command-fetch"):
        return
    fetches = Fetches(injector)

    def wrap(function: Reader) -> Reader:
        return lambda address, size: fetches.read(function, address, size)

    injector.stand_before(injector.smmu.ports["command-queue"], "read", wrap)


class Fetches(Reads):
    """What stands before the fetch of commands; ``extra`` ones come before the next slot's."""

    def __init__(self, injector: Injector) -> None:
        super().__init__(injector, "command-fetch", _command)
        self.extra: list[bytes] = []
        self._overtaken: bytes | None = None
        self._instead: dict[int, bytes] = {}

    def read(self, do: Reader, address: int, size: int) -> bytes | None:
        """The next command, as faults leave it."""
        if address in self._instead:
            return self._instead.pop(address)
        queue = self.injector.smmu.commands.queue
        if self.extra:
            values = queue.registers.values
            back = queue.cons - 1 & queue.index_mask
            values[queue.cons_name] = values[queue.cons_name] & ~queue.index_mask | back
            return self.extra.pop(0)
        overtaken, self._overtaken = self._overtaken, None
        if overtaken is not None:
            self.extra.append(overtaken)
        data = do(address, size)
        about = Access(
            "command-fetch", address=address, data=data, **_command(address, data or b"")
        )
        self.injector.let_rest(about)
        return super().read(do, address, size)

    def _strike(self, one: Armed, access: Access, address: int) -> None:
        before = access.data
        if before is None or not isinstance(one.fault.effect, Drop | Duplicate | Reorder):
            super()._strike(one, access, address)
            return
        match one.fault.effect:
            case Drop():
                access.data = NOTHING
            case Duplicate(copies=copies):
                self.extra += [before] * copies
            case Reorder():
                access.data = self._swap(before, address)
        self.injector.tell(one, access, before, access.data)

    def _swap(self, command: bytes, address: int) -> bytes:
        """The command after this one, if it is there already, or none before it comes."""
        queue = self.injector.smmu.commands.queue
        following = queue.cons + 1 & queue.index_mask
        if following == queue.prod:
            self._overtaken = command
            return NOTHING
        port = queue.port
        data = port.memory.read(queue.address(following), COMMAND_SIZE)
        if data is None:
            return command
        self._instead[queue.address(following)] = command
        return data


def _command(address: int, data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    code = data[0]
    name = Opcode(code).name if code in set(Opcode) else f"{code:#x}"
    about: dict[str, Any] = {"name": name}
    if code in _WITH_STREAM:
        about["stream"] = int.from_bytes(data[4:8], "little")
    return about
