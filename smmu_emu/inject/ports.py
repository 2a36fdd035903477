# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of the SMMU's own accesses to memory, and of the data that DMA masters move.

A read is made first and judged afterwards, since what was read tells which one it is. A write that
is delayed, dropped or overtaken is reported to the device as done, as a posted write is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from smmu_emu.inject.armed import Access, Armed
from smmu_emu.inject.change import changed
from smmu_emu.inject.effects import Abort, Delay, Drop, Duplicate, Poison, Reorder
from smmu_emu.port import DmaPort, MemoryPort
from smmu_emu.smmuv3.queue import OutputQueue
from smmu_emu.smmuv3.spec.event import EventCode

if TYPE_CHECKING:
    from smmu_emu.inject.injector import Injector

Reader = Callable[[int, int], "bytes | None"]
Writer = Callable[[int, bytes], bool]
Describe = Callable[[int, bytes], dict[str, Any]]


def install(injector: Injector) -> None:
    """Stand before the functions of the ports that faults aim at."""
    smmu = injector.smmu
    serving = partial(_served, injector)
    for site, port in (("walk-read", "walk"), ("config-fetch", "config")):
        if injector.wants(site):
            _before_reads(injector, smmu.ports[port], Reads(injector, site, serving))
    for site, port, describe, again in (
        ("walk-write", "walk", serving, None),
        ("event-write", "event-queue", partial(_event, injector), smmu.event_queue),
        ("pri-write", "pri-queue", _nothing, smmu.page_requests.queue),
        ("msi-write", "msi", _nothing, None),
    ):
        if injector.wants(site):
            _before_writes(injector, smmu.ports[port], Writes(injector, site, describe, again))
    if injector.wants("dma-read", "dma-write"):
        _before_dma(injector)


_GARBAGE = b"\xba\xdb\xad\xba\xdb\xad\xba\xdb"
"""What is in memory where data are poisoned, until somebody writes there."""


class Reads:
    """What stands before the reads of one port. Poison lies on doublewords, and a write heals."""

    def __init__(self, injector: Injector, site: str, describe: Describe) -> None:
        self.injector = injector
        self.site = site
        self.describe = describe
        self.poisoned: dict[int, bytes] = {}
        """Addresses of doublewords, or parts of them, and the garbage that is there."""

    def read(self, do: Reader, address: int, size: int) -> bytes | None:
        """``do(address, size)``, as faults leave it."""
        data = do(address, size)
        if self.poisoned and data is not None and self._is_poisoned(address, size):
            data = None
        about = self.describe(address, data or b"")
        access = Access(self.site, address=address, data=data, **about)
        for one in self.injector.struck(access):
            self._strike(one, access, address)
        return access.data

    def _strike(self, one: Armed, access: Access, address: int) -> None:
        before, effect = access.data, one.fault.effect
        if isinstance(effect, Poison) and before is not None:
            self._poison(address, len(before))
        if isinstance(effect, Abort | Poison):
            access.data = None
        elif before is not None:
            access.data = changed(effect, before, one.random)
        self.injector.tell(one, access, before, access.data)

    def _poison(self, address: int, size: int) -> None:
        end = address + size
        while address < end:
            length = min(end - address, 8 - address % 8)
            self.poisoned[address] = _GARBAGE[:length]
            self.injector.machine.memory.write(address, _GARBAGE[:length])
            address += length

    def _is_poisoned(self, address: int, size: int) -> bool:
        hit = False
        memory = self.injector.machine.memory
        for start, garbage in list(self.poisoned.items()):
            if memory.read(start, len(garbage)) != garbage:
                del self.poisoned[start]
            elif start < address + size and address < start + len(garbage):
                hit = True
        return hit


class Writes:
    """What stands before the writes of one port. ``queue`` is where a duplicate takes a slot of
    its own."""

    def __init__(
        self, injector: Injector, site: str, describe: Describe, queue: OutputQueue | None = None
    ) -> None:
        self.injector = injector
        self.site = site
        self.describe = describe
        self.queue = queue
        self._overtaken: list[Callable[[], object]] = []

    def write(self, do: Writer, address: int, data: bytes) -> bool:
        """``do(address, data)``, as faults leave it."""
        access = Access(self.site, address=address, data=data, **self.describe(address, data))
        copies = delay = 0
        lost = overtaken = False
        for one in self.injector.struck(access):
            before, effect = access.data or b"", one.fault.effect
            after: bytes | None = before
            match effect:
                case Abort():
                    after = None
                case Drop():
                    lost = True
                case Duplicate(copies=more):
                    copies += more
                case Delay(ns=ns):
                    delay += ns
                case Reorder():
                    overtaken = True
                case _:
                    after = access.data = changed(effect, before, one.random)
            self.injector.tell(one, access, before, after)
            if after is None:
                return False
        if lost:
            return True
        final = access.data or b""
        if overtaken:
            self._overtaken.append(lambda: do(address, final))
            return True
        if delay:
            self.injector.later(delay, lambda: _ignore(do(address, final)))
            return True
        done = do(address, final)
        for _ in range(copies if done else 0):
            self._again(do, address, final)
        self._let_follow()
        return done

    def _again(self, do: Writer, address: int, data: bytes) -> None:
        """The same once more: in the next slot where it belongs to a queue that has one."""
        queue = self.queue
        if queue is None:
            do(address, data)
            return
        slot = queue.prod + 1 & queue.index_mask
        if slot ^ queue.cons != 1 << queue.size_lg2:
            values = queue.registers.values
            values[queue.prod_name] = values[queue.prod_name] & ~queue.index_mask | slot
            do(queue.address(slot), data)

    def _let_follow(self) -> None:
        """What was overtaken comes now."""
        waiting, self._overtaken = self._overtaken, []
        for action in waiting:
            action()


# -- standing before functions


def _before_reads(injector: Injector, port: MemoryPort, reads: Reads) -> None:
    def whole(function: Reader) -> Reader:
        return lambda address, size: reads.read(function, address, size)

    def word(function: Callable[[int], int | None]) -> Callable[[int], int | None]:
        def do(address: int, size: int) -> bytes | None:
            value = function(address)
            return None if value is None else value.to_bytes(8, "little")

        def read_u64(address: int) -> int | None:
            data = reads.read(do, address, 8)
            return None if data is None else int.from_bytes(data, "little")

        return read_u64

    injector.stand_before(port, "read", whole)
    injector.stand_before(port, "read_u64", word)


def _before_writes(injector: Injector, port: MemoryPort, writes: Writes) -> None:
    def whole(function: Writer) -> Writer:
        return lambda address, data: writes.write(function, address, bytes(data))

    def word(function: Callable[[int, int], bool]) -> Callable[[int, int], bool]:
        def do(address: int, data: bytes) -> bool:
            return function(address, int.from_bytes(data, "little"))

        return lambda address, value: writes.write(do, address, value.to_bytes(8, "little"))

    injector.stand_before(port, "write", whole)
    injector.stand_before(port, "write_u64", word)


def _before_dma(injector: Injector) -> None:
    """All DMA ports, also those that `Machine.dma` gives out later."""
    machine = injector.machine
    known: set[int] = set()

    def add(port: DmaPort) -> DmaPort:
        if id(port) not in known:
            known.add(id(port))

            def describe(address: int, data: bytes) -> dict[str, Any]:
                return {"stream": port.stream_id, "name": port.memory.name}

            if injector.wants("dma-read"):
                _before_reads(injector, port.memory, Reads(injector, "dma-read", describe))
            if injector.wants("dma-write"):
                _before_writes(injector, port.memory, Writes(injector, "dma-write", describe))
        return port

    for port in machine.dma_ports:
        add(port)

    def wrap(function: Callable[[int], DmaPort]) -> Callable[[int], DmaPort]:
        return lambda stream_id: add(function(stream_id))

    injector.stand_before(machine, "dma", wrap)


# -- what an access is


def _nothing(address: int, data: bytes) -> dict[str, Any]:
    return {}


def _served(injector: Injector, address: int, data: bytes) -> dict[str, Any]:
    """The transaction that is behind an access of the SMMU."""
    current = injector.current
    if current is None:
        return {}
    iova = getattr(current, "iova", getattr(current, "address", None))
    return {"stream": current.stream_id, "substream": current.substream_id, "iova": iova}


def _event(injector: Injector, address: int, data: bytes) -> dict[str, Any]:
    code = data[0]
    name = EventCode(code).name if code in set(EventCode) else f"{code:#x}"
    return _served(injector, address, data) | {"name": name}


def _ignore(result: object) -> None:
    """An action's result is nobody's business."""
