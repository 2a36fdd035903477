# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wrote it: for every word of a table, STE, CD or command its last writer, when, and what was
there before.

Two ways, one interface:

- `Provenance(machine)` hears of every store into RAM, of all that was written from then on. Right
  for small images.
- `Provenance(machine, where=scout(machine, run))` runs twice. `scout` lets the machine run as it
  is, notes what the SMMU reads, and brings the machine back; as runs are deterministic, the second
  one needs to hear of those pages alone, and knows who wrote them before they were first walked.

Stores of the core are heard of by `smmu_emu.cpu.writewatch` (what that costs is said there). What
DMA masters, the SMMU itself and Python write is seen at the ports and at `PhysicalMemory`, and at
the memory that tables in Python are made in (`Provenance.watch`); bytes that somebody puts into
``ram.view`` are not. A DMA's writer is the instruction that started it, also if that was long ago;
Python's is the line outside of this package that called. What was loaded before (`Machine.load`)
has no writer: `Provenance.loaded` names the file.

When the machine goes back to a snapshot, what was written since is forgotten.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from smmu_emu.clock import Appointment
from smmu_emu.errors import ConfigurationError
from smmu_emu.interpose import Function, Interposition, Layer, interpose
from smmu_emu.memory import PAGE
from smmu_emu.trace.events import TableWrite
from smmu_emu.trace.offences import Offence, Write
from smmu_emu.trace.structures import WORD, Structures
from smmu_emu.trace.table_views import Memory, address_of, watch

if TYPE_CHECKING:
    from smmu_emu.board.loader import Piece
    from smmu_emu.machine import Machine
    from smmu_emu.port import DmaPort, MemoryPort
    from smmu_emu.trace.tracer import Tracer
    from smmu_emu.transaction import Fault

DEPTH = 16
"""Writes of one word that are remembered."""
_ROOT = Path(__file__).resolve().parents[2]
_INSIDE = (f"{_ROOT / 'smmu_emu'}/", f"{_ROOT / 'pgtable'}/")


class _Cause(NamedTuple):
    """Who acts now."""

    pc: int | None
    instructions: int
    source: str


Where = dict[int, str]
"""Aligned words, by address, and what they turn out to be."""


def scout(machine: Machine, run: Callable[[], object]) -> Where:
    """Let a machine run, silently, and bring it back: what the SMMU read, and as what.

    Raises: ConfigurationError for a machine that has no snapshots; whatever ``run`` raises.
    """
    snapshot, console = machine.snapshot(), machine.console
    structures = Structures(machine.smmu)
    machine.console = None
    try:
        run()
    finally:
        machine.console = console
        structures.close()
        machine.restore(snapshot)
    return structures.known


class Provenance:
    """Remembers who wrote, until `close`; ``structures`` knows what the SMMU has read so far.

    ``where`` are the words that will be asked for (see `scout`), None for all of RAM. With a
    ``tracer``, writes to structures are told as events, and commands know who wrote them.
    """

    unsaved = ("*",)

    def __init__(
        self, machine: Machine, where: Where | None = None, *, tracer: Tracer | None = None
    ) -> None:
        self.machine = machine
        self.structures = Structures(machine.smmu)
        self.writes = 0
        self._ram = machine.ram
        self._where = where
        self._tracer = tracer
        self._origins: dict[int, int] = {}
        self._log: dict[int, list[Write]] = {}
        self._marks: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._deferred: _Cause | None = None
        self._inside = False
        self._frames = None if where is None else frozenset(word // PAGE for word in where)
        self._places: list[Interposition] = []
        self._ends: list[Callable[[], None]] = []
        self._watch_others()
        machine.core.watch_stores(self._stored, where)
        if tracer is not None:
            tracer.writer_of = self._origin_of

    def close(self) -> None:
        """Hear no more; what is known stays. Harmless when done already."""
        if self._places:
            self.machine.core.watch_no_stores()
        for place in self._places:
            place.remove()
        self._places.clear()
        for end in self._ends:
            end()
        self._ends.clear()
        self.structures.close()

    def __enter__(self) -> Provenance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch(self, memory: Memory) -> None:
        """Hear of what Python writes through a `pgtable.TableMemory` over this machine's RAM.

        Before tables are made in it: see `smmu_emu.trace.table_views`.

        Raises: ConfigurationError if it is not over this machine's RAM.
        """
        at = address_of(memory) - self._ram.host_address
        if not 0 <= at < self._ram.size:
            raise ConfigurationError("this memory for tables is not in the machine's RAM")
        self._ends.append(watch(memory, self._ram.base + at, self._written))

    # -- answers

    def history(self, pa: int) -> list[Write]:
        """The writes of the word around ``pa`` that are remembered, oldest first."""
        return list(self._log.get(pa & -WORD, ()))

    def writer_of(self, pa: int) -> Write | None:
        """The last write of the byte at ``pa``; None if nobody wrote it since this began."""
        for write in reversed(self._log.get(pa & -WORD, ())):
            if write.pa <= pa < write.pa + write.size:
                return write
        return None

    def last_writer(self, pa: int, size: int) -> Write | None:
        """The last write of any byte of a structure."""
        words = range(pa & -WORD, pa + size, WORD)
        found = [write for word in words for write in self._log.get(word, ())]
        inside = [write for write in found if write.pa < pa + size and pa < write.pa + write.size]
        return max(inside, default=None)

    def loaded(self, pa: int) -> Piece | None:
        """What was loaded to ``pa`` before anything ran; None if nothing was."""
        return self.machine.loaded_at(pa)

    def offence(self, fault: Fault) -> Offence | None:
        """The structure behind a fault that is being reported, and who wrote it."""
        read = self.structures.offence(fault)
        if read is None:
            return None
        write = self.last_writer(read.pa, max(len(read.value), 1))
        piece = self.loaded(read.pa) if write is None else None
        core = self.machine.core
        word = None if write is None or write.pc is None else core.read_virtual(write.pc, 4)
        name = "" if piece is None else piece.name
        return Offence(read, write, word, name, isa=core.isa)

    # -- the core's stores

    def _stored(
        self, pa: int, size: int, value: int, pc: int, instructions: int, time: int
    ) -> None:
        word = pa & -WORD
        offset, ram = word - self._ram.base, self._ram
        if pa + size <= word + WORD and 0 <= offset < ram.size:
            old, shift = ram.words[offset >> 3], 8 * (pa - word)
            new = old & ~((1 << 8 * size) - 1 << shift) | value << shift
            self.writes += 1
            self._note(
                word,
                Write(self.writes, time, instructions, pc, "core", "", pa, size, old, new),
            )
            return
        data = value.to_bytes(size, "little")
        cause = _Cause(pc, instructions, "")
        self._note_bytes(pa, data, self._words_before(pa, size), time, cause, "core")

    def _note_bytes(
        self,
        pa: int,
        data: bytes,
        before: dict[int, bytes],
        time: int,
        cause: _Cause,
        agent: str,
    ) -> None:
        """Remember a write of bytes to words that held ``before``; other words do not matter."""
        for word, first, part in _words(pa, data):
            held = before.get(word)
            if held is None:
                continue
            start = first - word
            after = held[:start] + part + held[start + len(part) :]
            old, new = int.from_bytes(held, "little"), int.from_bytes(after, "little")
            self.writes += 1
            head = self.writes, time, cause.instructions, cause.pc, agent, cause.source
            self._note(word, Write(*head, first, len(part), old, new))

    def _note(self, word: int, write: Write) -> None:
        log = self._log.get(word)
        if log is None:
            self._log[word] = [write]
        else:
            log.append(write)
            if len(log) > DEPTH:
                del log[0]
        if self._tracer is not None:
            self._tell(word, write)

    def _tell(self, word: int, write: Write) -> None:
        """Emit an event for a write to what is, or will be, a structure."""
        tracer = self._tracer
        assert tracer is not None
        structure = self.structures.known.get(word, "")
        if not structure and self._where is None:
            return
        origin = self._origins[word] = tracer.causes.find()
        if tracer.wants("write"):
            head = tracer.next(), write.time, "machine", origin
            event = TableWrite(*head, write.agent, structure, write.pa, write.old, write.new)
            tracer.emit(event)

    def _origin_of(self, pa: int) -> int:
        return self._origins.get(pa & -WORD, 0)

    # -- everybody else's writes

    def _watch_others(self) -> None:
        machine = self.machine
        memory = machine.memory
        places: list[tuple[object, str, Callable[[Function], Function]]] = [
            (memory, "write", self._writes("")),
            (memory, "write_u64", self._writes("")),
            (memory, "scatter", self._scatters),
            (machine.clock, "after", self._after),
            (machine, "dma", self._new_port),
            (machine, "snapshot", self._snapshot),
            (machine, "restore", self._restore),
        ]
        places += [place for port in _ports(machine) for place in self._of_port(port)]
        self._places += [
            interpose(owner, name, wrap, Layer.OBSERVE) for owner, name, wrap in places
        ]

    def _of_port(
        self, port: MemoryPort
    ) -> Iterator[tuple[object, str, Callable[[Function], Function]]]:
        yield port, "write", self._writes(port.name)
        yield port, "write_u64", self._writes(port.name)

    def _writes(self, port: str) -> Callable[[Function], Function]:
        """Stands before a function that writes bytes, or a word, at a physical address."""

        def wrap(write: Function) -> Function:
            def observed(pa: int, what: int | bytes | memoryview) -> Any:
                size = WORD if isinstance(what, int) else len(what)
                return self._observe(port, [(pa, size)], partial(write, pa, what))

            return observed

        return wrap

    def _scatters(self, scatter: Function) -> Function:
        def observed(stretches: Any, data: memoryview) -> Any:
            return self._observe("dma", stretches.tolist(), partial(scatter, stretches, data))

        return observed

    def _observe(self, port: str, pieces: list[Any], write: Callable[[], Any]) -> Any:
        """Remember what a write does to pieces of memory (address and size), unless it is part of
        one that is being observed."""
        if self._inside:
            return write()
        touched = [piece for piece in pieces if self._concerns(*piece)]
        self._inside = True
        try:
            before = [self._words_before(pa, size) for pa, size in touched]
            done = write()
        finally:
            self._inside = False
        if done is not False and touched:
            cause, now = self._cause(), self.machine.clock.now
            agent = port or ("host" if cause.pc is not None else "python")
            for (pa, size), words in zip(touched, before, strict=True):
                if words:
                    data = self._bytes(pa, size)
                    self._note_bytes(pa, data, words, now, cause, agent)
        return done

    def _written(self, pa: int, size: int, write: Callable[[], Any]) -> Any:
        """Somebody writes through a view of RAM."""
        return self._observe("", [(pa, size)], write)

    def _concerns(self, pa: int, size: int) -> bool:
        frames = self._frames
        if frames is None:
            return size > 0
        return not frames.isdisjoint(range(pa // PAGE, (pa + size - 1) // PAGE + 1))

    def _words_before(self, pa: int, size: int) -> dict[int, bytes]:
        """The words of RAM around some bytes that matter, as they are."""
        if self.machine.memory.find_ram(pa, size) is None:
            return {}
        return {
            word: self._bytes(word, WORD)
            for word in range(pa & -WORD, pa + size, WORD)
            if self._where is None or word in self._where
        }

    def _bytes(self, pa: int, size: int) -> bytes:
        ram = self.machine.memory.find_ram(pa, size)
        assert ram is not None
        return ram.buffer[pa - ram.base : pa - ram.base + size]

    # -- who acts

    def _cause(self) -> _Cause:
        if self._deferred is not None:
            return self._deferred
        core = self.machine.running_core
        if core is not None:
            return _Cause(core.pc, core.instructions, "")
        return _Cause(None, self.machine.instructions, _caller())

    def _after(self, after: Callable[..., Appointment]) -> Callable[..., Appointment]:
        """What runs late belongs to whoever asked for it."""

        def observed(delay: int, action: Callable[[], None]) -> Appointment:
            if delay <= 0:
                return after(delay, action)
            return after(delay, self._caused(self._cause(), action))

        return observed

    def _caused(self, cause: _Cause, action: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            outer, self._deferred = self._deferred, cause
            try:
                action()
            finally:
                self._deferred = outer

        # Snapshots keep, and tell files of, what is behind this function.
        run.__wrapped__ = action  # type: ignore[attr-defined]
        return run

    def _new_port(self, dma: Callable[[int], DmaPort]) -> Callable[[int], DmaPort]:
        def observed(stream_id: int) -> DmaPort:
            known = {id(port) for port in self.machine.dma_ports}
            port = dma(stream_id)
            if id(port) not in known:
                places = self._of_port(port.memory)
                self._places += [interpose(*place, Layer.OBSERVE) for place in places]
            return port

        return observed

    # -- going back

    def _snapshot(self, snapshot: Function) -> Function:
        def observed(*others: object) -> Any:
            taken = snapshot(*others)
            self._marks[taken] = self.writes
            return taken

        return observed

    def _restore(self, restore: Function) -> Function:
        """Forget what was written after a snapshot; all of it if that is older than this."""

        def observed(snapshot: Any) -> None:
            restore(snapshot)
            last = self._marks.get(snapshot, 0)
            for word, log in list(self._log.items()):
                kept = [write for write in log if write.number <= last]
                if kept:
                    self._log[word] = kept
                else:
                    del self._log[word]
            self._deferred = None

        return observed


def _words(pa: int, data: bytes) -> Iterable[tuple[int, int, bytes]]:
    """The aligned words that bytes touch: address, and which bytes at which address."""
    done, size = 0, len(data)
    while done < size:
        first = pa + done
        length = min(size - done, WORD - first % WORD)
        yield first & -WORD, first, data[done : done + length]
        done += length


def _ports(machine: Machine) -> list[MemoryPort]:
    """The ports of all devices, each once."""
    found: dict[int, MemoryPort] = {}
    for port in machine.dma_ports:
        found[id(port.memory)] = port.memory
    for device in machine.devices.values():
        for one in (*getattr(device, "ports", {}).values(), _of_endpoint(device)):
            if one is not None:
                found[id(one)] = one
    return list(found.values())


def _of_endpoint(device: Any) -> MemoryPort | None:
    """A device with a translation cache has a port of its own for translated accesses."""
    port: MemoryPort | None = getattr(getattr(device, "endpoint", None), "memory", None)
    return port


def _caller() -> str:
    """The innermost line of Python outside of this package, as "file.py:12"."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
