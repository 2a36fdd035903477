# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened in a run: counts, and every refused transaction with the instruction behind it.

`Recorder` listens to a machine's SMMU while it runs; `Summary` is the result, as text for people
and as plain data for machines (`Summary.as_dict` is the format of ``--json``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from smmu_emu.smmuv3.fault import describe
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.trace.contexts import ContextLog, StreamContext
from smmu_emu.trace.symbols import NOWHERE, Place, SymbolTable

if TYPE_CHECKING:
    from smmu_emu.devices.reporter import Site
    from smmu_emu.machine import Machine, RunResult
    from smmu_emu.trace.offences import Offence
    from smmu_emu.trace.tap import FaultEvent
    from smmu_emu.transaction import Fault

MAX_FAULTS = 10_000
SHOWN = 3
"""Addresses that one instruction touched in one device, in a line of the text."""
JSON_VERSION = 1


class Cause(NamedTuple):
    """The instruction that started something: its address, its word, and its names."""

    pc: int
    word: bytes | None
    place: Place = NOWHERE
    isa: str = "a64"

    def instruction(self) -> str | None:
        """The disassembly; None if the instruction could not be read."""
        from smmu_emu.trace.disassembly import disassemble

        return None if self.word is None else disassemble(self.word, self.pc, self.isa)

    def __str__(self) -> str:
        words = [f"{self.pc:#x}", str(self.place), f"`{self.instruction() or '?'}`"]
        return " ".join(word for word in words if word)


class RefusedTransaction(NamedTuple):
    """A fault, the record that reached the event queue (or None), and who started it.

    ``offence`` is the structure behind it and who wrote that, where that was watched.
    """

    fault: Fault
    record: bytes | None
    cause: Cause | None
    offence: Offence | None = None


class Recorder:
    """Keeps the first `MAX_FAULTS` refusals of a run and counts the rest.

    ``offence`` tells which structure is behind a fault, if somebody sets it.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.refused: list[RefusedTransaction] = []
        self.recorded = 0
        self.lost = 0
        self.offence: Callable[[Fault], Offence | None] = lambda fault: None
        self.contexts = ContextLog(machine.smmu)
        machine.smmu.tap.listen(self._on_fault)

    def _on_fault(self, event: FaultEvent) -> None:
        if event.record is None:
            self.lost += 1
        else:
            self.recorded += 1
        if len(self.refused) < MAX_FAULTS:
            cause, offence = self._cause(), self.offence(event.fault)
            self.refused.append(RefusedTransaction(event.fault, event.record, cause, offence))

    def _cause(self) -> Cause | None:
        core = self.machine.running_core
        if core is None:
            return None
        pc = core.pc
        return Cause(pc, core.read_virtual(pc, 4), isa=core.isa)

    def summary(self, result: RunResult, image: Path | None = None) -> Summary:
        """What happened so far, with addresses named from the image's symbols."""
        machine = self.machine
        symbols = SymbolTable(image)
        dma: dict[int, int] = {}
        for port in machine.dma_ports:
            if port.transactions:
                dma[port.stream_id] = dma.get(port.stream_id, 0) + port.transactions
        return Summary(
            image=image,
            result=result,
            dma=dict(sorted(dma.items())),
            contexts=dict(self.contexts.fetched),
            tlb_hits=machine.smmu.path.hits,
            tlb_misses=machine.smmu.path.misses,
            walks=machine.smmu.stages.walks,
            commands=dict(sorted(machine.smmu.commands.consumed.items())),
            events_recorded=self.recorded,
            events_lost=self.lost,
            refused=[_named(refused, symbols) for refused in self.refused],
            unmodelled=list(machine.unmodelled),
            unmodelled_not_kept=machine.reporter.dropped,
        )


def _named(refused: RefusedTransaction, symbols: SymbolTable) -> RefusedTransaction:
    cause, offence = refused.cause, refused.offence
    if cause is not None:
        cause = cause._replace(place=symbols.find(cause.pc))
    if offence is not None and offence.write is not None and offence.write.pc is not None:
        offence = offence._replace(place=symbols.find(offence.write.pc))
    return refused._replace(cause=cause, offence=offence)


class Summary(NamedTuple):
    """The result of a run, ready to be printed or written down."""

    image: Path | None
    result: RunResult
    dma: dict[int, int]
    contexts: dict[StreamContext, int]
    tlb_hits: int
    tlb_misses: int
    walks: int
    commands: dict[int, int]
    events_recorded: int
    events_lost: int
    refused: list[RefusedTransaction]
    unmodelled: list[Site]
    unmodelled_not_kept: int

    @property
    def refused_not_kept(self) -> int:
        """Refused transactions past the first `MAX_FAULTS`, which are counted alone."""
        return self.events_recorded + self.events_lost - len(self.refused)

    def lines(self) -> Iterator[str]:
        """The report, line by line."""
        result = self.result
        yield f"end            {result.reason} (status {result.status})"
        yield f"instructions   {result.instructions:,}"
        transactions = ", ".join(f"stream {sid:#x}: {count:,}" for sid, count in self.dma.items())
        yield f"DMA            {transactions or 'none'}"
        for number, (context, count) in enumerate(self.contexts.items()):
            again = f" ({count:,} times)" if count > 1 else ""
            yield f"{'contexts' if number == 0 else '':<15}{context}{again}"
        yield (
            f"TLB            {self.tlb_hits:,} hits, {self.tlb_misses:,} misses, "
            f"{self.walks:,} walks"
        )
        commands = ", ".join(f"{_name(op)} {count:,}" for op, count in self.commands.items())
        yield f"commands       {commands or 'none'}"
        yield f"events         {self.events_recorded:,} recorded, {self.events_lost:,} not recorded"
        for reasons, group in groupby(self.refused, _reason_lines):
            for line, same in groupby(map(_headline, group)):
                times = sum(1 for _ in same)
                yield line + (f"  ({times:,} times)" if times > 1 else "")
            yield from reasons
        if self.refused_not_kept:
            yield f"  and {self.refused_not_kept:,} more refused transactions, not kept"
        if self.unmodelled:
            yield "touched but not modelled:"
            yield from _site_lines(self.unmodelled)
        if self.unmodelled_not_kept:
            yield f"  and {self.unmodelled_not_kept:,} more accesses, not kept"

    def as_dict(self) -> dict[str, Any]:
        """Plain data; addresses are numbers, records hexadecimal in memory order."""
        return {
            "version": JSON_VERSION,
            "image": None if self.image is None else str(self.image),
            "exit": {
                "kind": self.result.kind.name.lower(),
                "status": self.result.status,
                "reason": self.result.reason,
            },
            "instructions": self.result.instructions,
            "dma": {f"{sid:#x}": count for sid, count in self.dma.items()},
            "contexts": [
                context._asdict() | {"fetched": count} for context, count in self.contexts.items()
            ],
            "tlb": {"hits": self.tlb_hits, "misses": self.tlb_misses, "walks": self.walks},
            "commands": {_name(opcode): count for opcode, count in self.commands.items()},
            "events": {"recorded": self.events_recorded, "not_recorded": self.events_lost},
            "faults": [_as_dict(refused) for refused in self.refused],
            "faults_not_kept": self.refused_not_kept,
            "unmodelled": [site._asdict() for site in self.unmodelled],
            "unmodelled_not_kept": self.unmodelled_not_kept,
        }


def _name(opcode: int) -> str:
    return Opcode(opcode).name


def _headline(refused: RefusedTransaction) -> str:
    silent = "" if refused.record is not None else "  [no record]"
    return f"  {describe(refused.fault)}{silent}"


def _reason_lines(refused: RefusedTransaction) -> list[str]:
    """Why, and by whom: the same for transactions of one loop, and then told once."""
    lines = [f"      why: {refused.fault.reason}"]
    if refused.cause is not None:
        lines.append(f"      by:  {refused.cause}")
    if refused.offence is not None:
        lines.append(f"      of:  {refused.offence}")
    return lines


def _site_lines(sites: list[Site]) -> Iterator[str]:
    """One line for all that an instruction does to a device, with the first addresses."""
    sweeps: dict[tuple[str, str, int | None], list[str]] = {}
    for pa, pc, kind, where in sites:
        addresses = sweeps.setdefault((where, kind, pc), [])
        if pa is not None:
            addresses.append(f"{pa:#x}")
    for (where, kind, pc), addresses in sweeps.items():
        at = f" at {', '.join(addresses[:SHOWN])}" if addresses else ""
        more = f" and {len(addresses) - SHOWN} more" if len(addresses) > SHOWN else ""
        yield f"  {where}{at}{more}: {kind}" + ("" if pc is None else f" (pc {pc:#x})")


def _as_dict(refused: RefusedTransaction) -> dict[str, Any]:
    fault, cause = refused.fault, refused.cause
    transaction = fault.transaction
    offence = {} if refused.offence is None else {"offence": refused.offence.as_dict()}
    return offence | {
        "text": describe(fault),
        "event": EventCode(fault.code).name if fault.code else None,
        "stream_id": transaction.stream_id,
        "substream_id": transaction.substream_id,
        "iova": transaction.iova,
        "write": transaction.write,
        "stage": fault.stage,
        "level": fault.level,
        "reason": fault.reason,
        "stall_tag": fault.stag,
        "record": None if refused.record is None else refused.record.hex(),
        "cause": None
        if cause is None
        else {
            "pc": cause.pc,
            "symbol": cause.place.symbol,
            "offset": cause.place.offset,
            "source": cause.place.source,
            "instruction": cause.instruction(),
        },
    }
