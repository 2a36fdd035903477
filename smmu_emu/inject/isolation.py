# SPDX-License-Identifier: GPL-2.0-or-later
"""Did DMA land where it may? Every landing behind an SMMU, judged by what software declared.

A *breach* is data that a DMA master moved through the SMMU to or from memory that no declared
mapping of its StreamID permits (`smmu_emu.inject.mappings`). It is judged when the data move, so
that a write which was in flight while its page was unmapped is seen. Accesses that devices make
beside the SMMU are not judged; streams are what the SMMU is told (IHI 0070 3.2): who can send
another's StreamID is that other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from smmu_emu.inject.mappings import Mappings
from smmu_emu.interpose import Interposition, Layer, Wrap, interpose
from smmu_emu.port import DmaPort, MemoryPort
from smmu_emu.transaction import Fault, Transaction, Translation

if TYPE_CHECKING:
    from smmu_emu.machine import Machine

_MOST = 1000
"""Breaches that are kept."""


class Breach(NamedTuple):
    """DMA landed where it must not. ``who`` is the DMA master's port, ``pc`` the core's then."""

    time: int
    who: str
    stream: int
    substream: int | None
    iova: int
    pa: int
    size: int
    write: bool
    why: str
    pc: int | None

    def __str__(self) -> str:
        substream = "" if self.substream is None else f" substream {self.substream:#x}"
        verb = "wrote" if self.write else "read"
        pc = "" if self.pc is None else f", pc {self.pc:#x}"
        return (
            f"stream {self.stream:#x}{substream} {verb} {self.size} bytes at pa {self.pa:#x} "
            f"through iova {self.iova:#x}: {self.why} (by {self.who} at {self.time} ns{pc})"
        )


class Isolation:
    """Watches one machine; ``breaches`` are in order, ``landings`` counts what was judged.

    ``listeners`` hear of each breach.
    """

    def __init__(self, machine: Machine, mappings: Mappings | None = None) -> None:
        self.machine = machine
        self.mappings = mappings or Mappings()
        self.breaches: list[Breach] = []
        self.landings = 0
        self.listeners: list[Callable[[Breach], None]] = []
        self._expected: dict[int, tuple[Transaction, bool]] = {}
        self._places: list[Interposition] = []
        self._known: set[int] = set()

    def install(self) -> None:
        """Watch from now on. Harmless when done already."""
        if self._places:
            return
        smmu = self.machine.smmu
        # Nearest to the SMMU: what counts is what it is told, also by a bus that changes it.
        self._stand(smmu, "translate", self._translates, Layer.POLICY)
        self._stand(smmu, "submit", self._submits, Layer.POLICY)
        self._stand(smmu.ats, "translated", self._believes, Layer.POLICY)
        for port in self.machine.dma_ports:
            self.watch(port.memory, port.memory.name)
        self._stand(self.machine, "dma", self._gives, Layer.OBSERVE)

    def remove(self) -> None:
        """Watch no more; what was found stays."""
        for place in self._places:
            place.remove()
        self._places.clear()
        self._known.clear()

    def begin(self) -> None:
        """Forget what was found, and what was declared by hand."""
        self.breaches.clear()
        self.landings = 0
        self._expected.clear()
        self.mappings.forget()

    def watch(self, port: MemoryPort, who: str) -> None:
        """Judge what moves through a port that is not of the machine's own, too."""
        if id(port) in self._known:
            return
        self._known.add(id(port))

        def reads(function: Callable[..., Any]) -> Callable[..., Any]:
            def read(pa: int, size: int) -> Any:
                data = function(pa, size)
                if data is not None:
                    self._landed(who, pa, size, False)
                return data

            return read

        def writes(function: Callable[..., Any]) -> Callable[..., Any]:
            def write(pa: int, data: bytes | memoryview) -> Any:
                done = function(pa, data)
                if done:
                    self._landed(who, pa, len(data), True)
                return done

            return write

        # Nearest to memory: what injected faults delay is judged when it lands.
        self._stand(port, "read", reads, Layer.POLICY)
        self._stand(port, "write", writes, Layer.POLICY)

    # -- inside

    def _stand(self, owner: object, name: str, wrap: Wrap, layer: Layer) -> None:
        self._places.append(interpose(owner, name, wrap, layer))

    def _gives(self, function: Callable[[int], DmaPort]) -> Callable[[int], DmaPort]:
        def dma(stream_id: int) -> DmaPort:
            port = function(stream_id)
            self.watch(port.memory, port.memory.name)
            return port

        return dma

    def _translates(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def translate(transaction: Transaction) -> Translation | Fault:
            result: Translation | Fault = function(transaction)
            self._expect(transaction, result)
            return result

        return translate

    def _believes(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def translated(transaction: Transaction) -> Translation | Fault:
            result: Translation | Fault = function(transaction)
            self._expect(transaction, result, translated=True)
            return result

        return translated

    def _submits(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def submit(
            transaction: Transaction, answer: Callable[[Translation | Fault], None]
        ) -> Translation | Fault:
            def answered(result: Translation | Fault) -> None:
                self._expect(transaction, result)
                answer(result)

            result: Translation | Fault = function(transaction, answered)
            self._expect(transaction, result)
            return result

        return submit

    def _expect(
        self, transaction: Transaction, result: Translation | Fault, *, translated: bool = False
    ) -> None:
        if isinstance(result, Translation):
            self._expected[result.pa] = transaction, translated

    def _landed(self, who: str, pa: int, size: int, write: bool) -> None:
        expected = self._expected.pop(pa, None)
        if expected is None or expected[0].write != write:
            return
        transaction, translated = expected
        self.landings += 1
        stream, iova, substream = (
            transaction.stream_id,
            transaction.iova,
            transaction.substream_id,
        )
        objection = self.mappings.objection
        if translated and iova == pa:
            objection = self.mappings.objection_to_translated
        why = objection(stream, substream, iova, pa, size, write)
        if why is None:
            return
        core = self.machine.running_core
        breach = Breach(
            self.machine.clock.now,
            who,
            stream,
            substream,
            iova,
            pa,
            size,
            write,
            why,
            None if core is None else core.pc,
        )
        if len(self.breaches) < _MOST:
            self.breaches.append(breach)
        for listener in self.listeners:
            listener(breach)
