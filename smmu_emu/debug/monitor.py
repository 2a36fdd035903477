# SPDX-License-Identifier: GPL-2.0-or-later
"""GDB's ``monitor`` commands: the SMMU's queues, contexts, TLB and refused transactions, as text.

Looking changes nothing: caches are read as they are, no structure is fetched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from smmu_emu.smmuv3.context import Context, Tag
from smmu_emu.smmuv3.fault import describe
from smmu_emu.transaction import INSTRUCTION, PRIVILEGED, WRITE

if TYPE_CHECKING:
    from smmu_emu.machine import Machine
    from smmu_emu.smmuv3.device import Smmuv3
    from smmu_emu.smmuv3.queue import Queue
    from smmu_emu.tlb import Entry
    from smmu_emu.trace.tap import FaultEvent

_SHOWN = 256
"""TLB entries or contexts in one answer."""
_KEPT = 32
"""Refused transactions that are remembered."""
_HELP = """\
smmu    enables, queue indexes, counters and cached contexts
tlb     cached translations, oldest first
events  the last refused transactions, whether recorded or not
time    instructions executed and virtual time
"""


class Monitor:
    """Answers about one machine; remembers refused transactions from when it is made."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._events: deque[FaultEvent] = deque(maxlen=_KEPT)
        self._seen = 0
        self._answers = {
            "smmu": self._smmu,
            "tlb": self._tlb,
            "events": self._list_events,
            "time": self._time,
        }
        smmu = machine.board.smmu
        if smmu is not None:
            smmu.tap.listen(self._note)

    def command(self, text: str) -> str:
        """The answer to a command, lines that end in a newline."""
        words = text.split()
        answer = self._answers.get(words[0]) if len(words) == 1 else None
        if answer is None:
            return _HELP
        return "".join(f"{line}\n" for line in answer())

    def _note(self, event: FaultEvent) -> None:
        self._events.append(event)
        self._seen += 1

    def _time(self) -> Iterator[str]:
        machine = self._machine
        yield f"{machine.core.instructions:,} instructions, {machine.clock.now:,} ns"

    def _smmu(self) -> Iterator[str]:
        smmu = self._machine.board.smmu
        if smmu is None:
            yield "no SMMU"
            return
        yield from _registers(smmu)
        path = smmu.path
        yield (
            f"TLB      {len(smmu.tlb):,} entries, {path.hits:,} hits, {path.misses:,} misses, "
            f"{smmu.stages.walks:,} walks"
        )
        contexts = smmu.configuration.contexts
        yield f"contexts {len(contexts):,} cached, {len(smmu.configuration.streams):,} STEs"
        for number, (key, context) in enumerate(contexts.items()):
            if number == _SHOWN:
                yield f"  and {len(contexts) - _SHOWN:,} more"
                return
            yield f"  {_context(key, context)}"

    def _tlb(self) -> Iterator[str]:
        smmu = self._machine.board.smmu
        tlb = smmu.tlb if smmu is not None else None
        if tlb is None or not len(tlb):
            yield "no entries"
            return
        shown = 0
        for space in tlb.spaces.values():
            for entry in space.entries():
                if shown == _SHOWN:
                    yield f"and {len(tlb) - shown:,} more"
                    return
                yield f"{_tag(space.tag)}  {_entry(entry)}"
                shown += 1

    def _list_events(self) -> Iterator[str]:
        if not self._events:
            yield "no transaction was refused"
        if self._seen > len(self._events):
            yield f"{self._seen - len(self._events):,} earlier ones"
        for event in self._events:
            silent = "" if event.record is not None else "  [no record]"
            yield f"{event.unit}: {describe(event.fault)}{silent}"
            yield f"    {event.fault.reason}"


def _registers(smmu: Smmuv3) -> Iterator[str]:
    values = smmu.registers.values
    errors = values["GERROR"] ^ values["GERRORN"]
    yield (
        f"{smmu.name}    CR0 {values['CR0']:#x}, CR0ACK {values['CR0ACK']:#x}, "
        f"errors {errors:#x}, stream table {values['STRTAB_BASE']:#x}"
    )
    yield f"CMDQ     {_queue(smmu.commands.queue)}"
    yield f"EVENTQ   {_queue(smmu.event_queue)}"
    if smmu.ids.features.PRI:
        yield f"PRIQ     {_queue(smmu.page_requests.queue)}"


def _queue(queue: Queue) -> str:
    waiting = queue.prod - queue.cons & queue.index_mask
    state = "full" if queue.full else f"{waiting:,} waiting"
    return (
        f"prod {queue.prod:#x}, cons {queue.cons:#x} of {1 << queue.size_lg2:,}, {state}, "
        f"at {queue.address(0):#x}"
    )


def _context(key: int, context: Context) -> str:
    name = f"stream {key & 0xFFFF_FFFF:#x}"
    if key >> 32:
        name += f" substream {(key >> 32) - 1:#x}"
    if context.aborts or context.bypass:
        return f"{name}: {'aborts' if context.aborts else 'bypass'}"
    parts = []
    if context.stage1 is not None:
        parts.append(f"stage 1 ({_tag(context.stage1.own.tag)})")
    if context.stage2 is not None:
        parts.append(f"stage 2 ({_tag(context.stage2.space.tag)})")
    return f"{name}: {', '.join(parts)}"


def _tag(tag: Any) -> str:
    if not isinstance(tag, Tag):
        return str(tag)
    words = [tag.world.value, f"vmid {tag.vmid:#x}"]
    if tag.asid is not None:
        words.append(f"asid {tag.asid:#x}")
    return " ".join(words)


def _entry(entry: Entry) -> str:
    rights = "/".join(_rights(entry.allowed, level) for level in (0, PRIVILEGED))
    return f"{entry.base:#x}+{entry.mask + 1:#x} -> {entry.page:#x} {rights}"


def _rights(allowed: int, level: int) -> str:
    """``rwx`` of what one privilege level may do."""
    kinds = (("r", level), ("w", level | WRITE), ("x", level | INSTRUCTION))
    return "".join(letter if allowed >> kind & 1 else "-" for letter, kind in kinds)
