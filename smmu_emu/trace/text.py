# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as lines for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smmu_emu.trace.events import (
    KIND_OF,
    Access,
    AtcInvalidation,
    Command,
    ConfigFetch,
    ConfigInvalidation,
    DmaData,
    Event,
    Evict,
    Fill,
    Finding,
    Injected,
    Interrupt,
    Invalidation,
    Mapping,
    Note,
    Origin,
    Record,
    RegisterAccess,
    Sync,
    TableWrite,
    Update,
    Walk,
)

MOST_CALLERS = 3


class Describer:
    """Makes lines; remembers origins, so that events can be told with their cause."""

    def __init__(self, callers: int = MOST_CALLERS) -> None:
        self.origins: dict[int, Origin] = {}
        self._callers = callers
        self._causes: dict[int, str] = {}

    def line(self, event: Event) -> str:
        """One line: number, time in nanoseconds, unit, kind, what happened, who is behind it."""
        kind = type(event)
        seq, time, unit, cause = event[:4]
        what = self.what(event) if kind is Origin else _WORDS[kind](event)
        by = self._causes.get(cause, "")
        return f"{seq:>7} {time:>12,} {unit:<7} {KIND_OF[kind]:<12} {printable(what)}{by}"

    def what(self, event: Event) -> str:
        """What happened, in words."""
        if isinstance(event, Origin):
            self.meet(event)
            return place_of(event, 99)
        return _WORDS[type(event)](event)

    def meet(self, event: Event) -> None:
        """Remember an origin."""
        if isinstance(event, Origin) and self.origins.get(event.seq) is not event:
            self.origins[event.seq] = event
            self._causes[event.seq] = f"  by {printable(place_of(event, self._callers))}"

    def by(self, event: Event) -> str:
        """Who is behind an event: empty, or text that goes after its description."""
        return self._causes.get(event.cause, "")


def printable(text: str) -> str:
    """The same on one line, as any terminal can show it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def place_of(origin: Origin, callers: int) -> str:
    """An instruction and its callers, or a line of Python."""
    if origin.pc is None:
        return f"{origin.source} in {origin.symbol}"
    words = [f"{origin.pc:#x}"]
    if origin.symbol:
        words.append(f"{origin.symbol}+{origin.offset:#x}" if origin.offset else origin.symbol)
    if origin.source:
        words.append(f"({origin.source})")
    if origin.instruction:
        words.append(f"`{origin.instruction}`")
    return " ".join([*words, *(f"< {caller}" for caller in origin.callers[:callers])])


def stream(event: Any) -> str:
    """``stream 0x8`` and, if there is one, its substream."""
    if event.substream_id is None:
        return f"stream {event.stream_id:#x}"
    return f"stream {event.stream_id:#x} substream {event.substream_id:#x}"


def tag(world: str, vmid: int | None, asid: int | None) -> str:
    """``EL1 VMID 0 ASID 5``."""
    words = [world] if world else []
    if vmid is not None:
        words.append(f"VMID {vmid}")
    if asid is not None:
        words.append(f"ASID {asid}")
    return " ".join(words) or "everything"


def size(lg2: int) -> str:
    """``4K``."""
    lg2 = max(lg2, 0)
    unit = min(lg2 // 10, 6)
    return f"{1 << lg2 - 10 * unit}{'BKMGTPE'[unit]}"


def pairs(flat: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    """A flat tuple of pairs, as pairs."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def numbers(entries: tuple[int, ...]) -> str:
    """``#3 #5``, and how many more if there are many."""
    shown = " ".join(f"#{entry}" for entry in entries[:8])
    return f"{shown} and {len(entries) - 8} more" if len(entries) > 8 else shown


def left(event: Invalidation) -> str:
    """What an invalidation left though it overlapped, and why."""
    reasons: dict[str, list[int]] = {}
    for entry, why in pairs(event.left):
        reasons.setdefault(str(why), []).append(entry)
    return "; ".join(f"{numbers(tuple(them))} ({why})" for why, them in reasons.items())


def descriptors(flat: tuple[int, ...]) -> str:
    """``0x42001000=0x42002003 ...``."""
    return " ".join(
        f"{pa:#x}=" + ("abort" if value < 0 else f"{value:#x}") for pa, value in pairs(flat)
    )


def _register(event: RegisterAccess) -> str:
    name = event.name or f"nothing at {event.offset:#x}"
    return f"{'write' if event.write else 'read'} {name} {event.value:#x}"


def _command(event: Command) -> str:
    words = f"{event.name or 'no command'} slot {event.slot} {event.data.hex()}"
    return f"{words} {event.error}" if event.error else words


def reach(event: Invalidation) -> str:
    """What an invalidation was meant for."""
    words = [event.name or "invalidation", tag(event.world, event.vmid, event.asid)]
    if event.first is not None and event.last is not None:
        words.append(f"{event.first:#x}-{event.last:#x}")
    if event.level is not None:
        words.append(f"level {event.level}")
    if event.leaf:
        words.append("leaf only")
    return " ".join(words)


def _invalidation(event: Invalidation) -> str:
    words = [reach(event), f"removed {numbers(event.removed) or 'nothing'}"]
    if event.left:
        words.append(f"left {left(event)}")
    return ", ".join(words)


def _config_invalidation(event: ConfigInvalidation) -> str:
    whose = f"stream {event.stream_id:#x}"
    if event.streams > 1:
        whose += f" and {event.streams - 1:,} more"
    if event.substream_id is not None:
        whose += f" substream {event.substream_id:#x}"
    return f"{event.name} {event.what} {whose}, removed {numbers(event.removed) or 'nothing'}"


def _atc(event: AtcInvalidation) -> str:
    word = "answered" if event.done else "asked"
    return f"{word} {stream(event)} {event.first:#x}-{event.last:#x}"


def _sync(event: Sync) -> str:
    return f"completed, signal {event.signal}"


def _config_fetch(event: ConfigFetch) -> str:
    kept = f" cached as #{event.entry}" if event.entry else ""
    if not event.pa:
        return f"{event.structure} of {stream(event)}{kept} before the trace"
    what = "" if event.data else " aborted"
    return f"{event.structure} of {stream(event)} at {event.pa:#x}{what}{kept}"


def walk(event: Walk) -> str:
    """A walk and its end."""
    end = event.fault or (f"page {event.page:#x}" if event.page is not None else "no page")
    level = "" if event.level is None else f" level {event.level}"
    where = descriptors(event.reads)
    return f"stage {event.stage} {stream(event)} {event.iova:#x}: {where} -> {end}{level}"


def fill(event: Fill) -> str:
    """What is cached from now on."""
    whose = tag(event.world, event.vmid, event.asid)
    word = "table" if event.what == "walk-cache" else "->"
    where = f"{event.base:#x}+{size(event.size_lg2)} {word} {event.page:#x}"
    return f"#{event.entry} {event.what} {whose} {where} for {stream(event)}"


def _evict(event: Evict) -> str:
    return f"#{event.entry} goes: {event.reason}"


def access(event: Access) -> str:
    """An access and its answer."""
    words = [stream(event), f"{event.iova:#x}", "write" if event.write else "read"]
    words += [word for word in ("privileged", "instruction") if getattr(event, word)]
    if event.pa is not None:
        words.append(f"-> {event.pa:#x}")
    words.append(event.outcome)
    if event.entry:
        words.append(f"#{event.entry}")
    words += [word for word in (event.fault, event.reason) if word]
    return " ".join(words)


def _dma(event: DmaData) -> str:
    word = "write" if event.write else "read"
    end = "" if event.ok else " bus error"
    return f"stream {event.stream_id:#x} {word} {event.size} bytes at {event.pa:#x}{end}"


def _update(event: Update) -> str:
    return f"stage {event.stage} descriptor {event.pa:#x} {event.old:#x} -> {event.new:#x}"


def _record(event: Record) -> str:
    return f"{event.queue} queue{'' if event.written else ', lost'}: {event.text}"


def _interrupt(event: Interrupt) -> str:
    if event.pa is None:
        return f"wire {event.name}"
    return f"message {event.name} {event.data:#x} to {event.pa:#x}"


def table_write(event: TableWrite) -> str:
    """A watched word changes."""
    what = event.structure or "memory"
    return f"{event.agent} wrote {what} {event.pa:#x} {event.old:#x} -> {event.new:#x}"


def mapping(event: Mapping) -> str:
    """What software declares."""
    whose = [] if event.stream_id is None else [f"stream {event.stream_id:#x}"]
    if event.asid is not None or event.vmid is not None:
        whose.append(tag("", event.vmid, event.asid))
    where = "" if event.pa is None else f" -> {event.pa:#x}"
    rights = "r" * event.read + "w" * event.write
    word = "mapped" if event.mapped else "unmapped"
    return f"{word} {' '.join(whose)} {event.iova:#x}+{event.size:#x}{where} {rights}".rstrip()


def _injected(event: Injected) -> str:
    return f"{event.name} at {event.site}: {event.effect} {event.text}"


def _finding(event: Finding) -> str:
    return f"{event.severity} {event.name}: {event.text} ({event.rule})"


def _note(event: Note) -> str:
    return f"{event.name}: {event.text}"


_WORDS: dict[type[Event], Callable[[Any], str]] = {
    RegisterAccess: _register,
    Command: _command,
    Invalidation: _invalidation,
    ConfigInvalidation: _config_invalidation,
    AtcInvalidation: _atc,
    Sync: _sync,
    ConfigFetch: _config_fetch,
    Walk: walk,
    Fill: fill,
    Evict: _evict,
    Access: access,
    DmaData: _dma,
    Update: _update,
    Record: _record,
    Interrupt: _interrupt,
    TableWrite: table_write,
    Mapping: mapping,
    Injected: _injected,
    Finding: _finding,
    Note: _note,
}
