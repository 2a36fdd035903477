# SPDX-License-Identifier: GPL-2.0-or-later
"""What a trace is made of: one named tuple for each kind of event, declared once.

Every event begins with the same four fields: ``seq`` (1, 2, 3 ... in one trace), ``time`` (virtual
nanoseconds), ``unit`` (whose event it is: "smmu0", "machine") and ``cause`` (the `Origin` of the
instruction behind it, 0 if none is known). Events name each other by ``seq``, cached things by the
number that their `Fill` or `ConfigFetch` gave them; 0 is nothing. Addresses and sizes are bytes.
`KINDS` maps the word in a file to the class; all fields are plain data (int, str, bool, None, bytes
or flat tuples of int and str), so that every sink can write every event.

They are named tuples as these are made three times as fast as frozen dataclasses.
"""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """An instruction, or a line of Python, that others name as their ``cause``.

    It comes before the first event that names it. ``pc`` and ``word`` (the instruction's 4 bytes)
    are None for Python's lines.
    """

    seq: int
    time: int
    unit: str
    cause: int
    pc: int | None
    word: bytes | None
    symbol: str
    offset: int
    source: str
    """File and line, as "dma.c:41"."""
    instruction: str
    """Disassembled."""
    callers: tuple[str, ...] = ()
    """Who called, innermost first, as "map_page (dma.c:77)", where symbols and frames tell."""


class RegisterAccess(NamedTuple):
    """Software read or wrote a register of the unit; ``name`` is empty where there is none."""

    seq: int
    time: int
    unit: str
    cause: int
    name: str
    offset: int
    size: int
    write: bool
    value: int
    """What was read; or what was written, whether or not it took effect."""


class Command(NamedTuple):
    """A command was consumed, or stopped the queue with an error (CMDQ_CONS.ERR)."""

    seq: int
    time: int
    unit: str
    cause: int
    """Who rang the doorbell (wrote CMDQ_PROD)."""
    name: str
    """As in the specification, without CMD_: "TLBI_NH_VA"."""
    slot: int
    """Index in the queue, without the wrap bit."""
    pa: int
    data: bytes
    """Its 16 bytes in memory order."""
    writer: int
    """Origin of who wrote the words, if that was watched."""
    error: str
    """Empty, or the error's name: "CERROR_ILL"."""


class Invalidation(NamedTuple):
    """A TLB invalidation took effect: what it was meant for, what it dropped, what it left.

    ``vmid`` and ``asid`` None mean any; ``first`` and ``last`` (inclusive) None mean all addresses.
    ``left`` has pairs of an entry's number and why it stayed although its addresses overlap:
    "asid", "vmid", "world", "leaf-only", "level" (TTL), "granule" (TG), "range" (another address
    of the same block), "global", "combined" (nested, and the command is for stage 2); at most 64.
    ``world`` is whose translations the command reaches: "EL1" (nested ones too), "S2", "EL1+S2",
    "EL2", "EL2_E2H"; empty, as ``name``, if no command is behind it.
    """

    seq: int
    time: int
    unit: str
    cause: int
    command: int
    name: str
    world: str
    vmid: int | None
    asid: int | None
    first: int | None
    last: int | None
    granule_lg2: int | None
    level: int | None
    leaf: bool
    removed: tuple[int, ...]
    left: tuple[int | str, ...]
    """Flat: number, reason, number, reason ..."""


class ConfigInvalidation(NamedTuple):
    """Cached STEs or CDs were dropped: those of ``streams`` streams from ``stream_id``.

    ``what`` is "STE" (which takes the stream's CDs along), "CD" (``substream_id`` tells which) or
    "CDs".
    """

    seq: int
    time: int
    unit: str
    cause: int
    command: int
    name: str
    what: str
    stream_id: int
    streams: int
    substream_id: int | None
    removed: tuple[int, ...]


class AtcInvalidation(NamedTuple):
    """An endpoint was asked to forget translations, or (``done``) has answered."""

    seq: int
    time: int
    unit: str
    cause: int
    command: int
    stream_id: int
    substream_id: int | None
    first: int
    last: int
    done: bool


class Sync(NamedTuple):
    """A CMD_SYNC completed: whatever was consumed before it has taken effect."""

    seq: int
    time: int
    unit: str
    cause: int
    command: int
    signal: str
    """"none", "irq", "msi" or "sev"."""


class ConfigFetch(NamedTuple):
    """A configuration structure was read: ``structure`` is "L1STD", "STE", "L1CD" or "CD".

    ``entry`` is the number of what is cached from now on; 0 if nothing is (level 1, errors).
    """

    seq: int
    time: int
    unit: str
    cause: int
    structure: str
    stream_id: int
    substream_id: int | None
    pa: int
    data: bytes
    """Empty if the fetch was aborted."""
    entry: int


class Walk(NamedTuple):
    """A table walk of one stage: every descriptor it read, and how it ended.

    ``reads`` is flat: address, value, address, value ...; a value of -1 is an external abort.
    ``iova`` is what was looked up, an IPA for stage 2. ``transaction`` names the access behind it;
    speculative walks have 0.
    """

    seq: int
    time: int
    unit: str
    cause: int
    transaction: int
    stream_id: int
    substream_id: int | None
    stage: int
    iova: int
    reads: tuple[int, ...]
    level: int | None
    page: int | None
    """Output address of the leaf; None after a fault."""
    fault: str
    """Empty, or the event's name: "F_TRANSLATION"."""


class Fill(NamedTuple):
    """Something is cached from now on, under the number ``entry``.

    ``what`` is "tlb" or "walk-cache" (then ``page`` is the address of a table). ``world`` is the
    StreamWorld ("EL1", "EL1_NESTED", "S2", "EL2", "EL2_E2H"); ``asid`` None is a global entry.
    ``allowed`` is the permission byte (see `smmu_emu.transaction`). ``ipa`` is what stage 2 was
    asked for.
    """

    seq: int
    time: int
    unit: str
    cause: int
    transaction: int
    entry: int
    what: str
    world: str
    vmid: int
    asid: int | None
    stream_id: int
    substream_id: int | None
    base: int
    size_lg2: int
    page: int
    ipa: int
    allowed: int
    level: int
    granule_lg2: int
    descriptors: tuple[int, ...]
    """Flat: address and value of every descriptor behind it, both stages, in order of reading."""


class Evict(NamedTuple):
    """An entry went without being invalidated: "capacity", "replaced", "update", "policy" or
    "reset"."""

    seq: int
    time: int
    unit: str
    cause: int
    entry: int
    reason: str


class Access(NamedTuple):
    """A transaction was answered: one access of a DMA master, within one page.

    ``outcome`` is "hit", "walk" (missed, then translated), "bypass", "translated" (by ATS before),
    "request" (ATS: an endpoint asked, and got a translation), "fault" or "stall" (answered later,
    by another event). ``entry`` is the TLB entry that served it, ``config`` the number of the
    cached STE or CD that ruled it. What the access brought about (fetches, walks, fills, records)
    comes before it, and names it.
    """

    seq: int
    time: int
    unit: str
    cause: int
    stream_id: int
    substream_id: int | None
    iova: int
    write: bool
    privileged: bool
    instruction: bool
    outcome: str
    pa: int | None
    entry: int
    config: int
    fault: str
    reason: str


class DmaData(NamedTuple):
    """A DMA master touched memory: where an access landed. ``ok`` is False after a bus error."""

    seq: int
    time: int
    unit: str
    cause: int
    transaction: int
    stream_id: int
    pa: int
    size: int
    write: bool
    ok: bool


class Update(NamedTuple):
    """Hardware wrote a descriptor: access flag or dirty state."""

    seq: int
    time: int
    unit: str
    cause: int
    transaction: int
    stream_id: int
    stage: int
    pa: int
    old: int
    new: int


class Record(NamedTuple):
    """A record for software: ``queue`` is "event" or "pri"; ``written`` False if it was lost."""

    seq: int
    time: int
    unit: str
    cause: int
    transaction: int
    queue: str
    name: str
    stream_id: int
    substream_id: int | None
    iova: int
    written: bool
    data: bytes
    text: str
    """One line for people."""
    pa: int
    """Address of the structure or descriptor that is at fault; 0 if there is none."""


class Interrupt(NamedTuple):
    """A wire changed, or (``pa`` not None) a message was written."""

    seq: int
    time: int
    unit: str
    cause: int
    name: str
    level: bool
    pa: int | None
    data: int


class TableWrite(NamedTuple):
    """Software, or a DMA master, wrote memory that is watched.

    ``structure`` tells what the memory is known as by then: "descriptor", "STE", "CD", "command",
    or "" if nothing has walked it yet. ``agent`` is "core", "python" or the name of a DMA port.
    ``old`` and ``new`` are the aligned 8 bytes around it, before and after.
    """

    seq: int
    time: int
    unit: str
    cause: int
    agent: str
    structure: str
    pa: int
    old: int
    new: int


class Mapping(NamedTuple):
    """What software declares: from now on the stream (or the ASID) may, or may no longer, use this.

    It comes from the reference driver's map and unmap, or from `Machine.allow`. ``pa`` None means
    that the declaration does not say where the addresses lead.
    """

    seq: int
    time: int
    unit: str
    cause: int
    stream_id: int | None
    substream_id: int | None
    vmid: int | None
    asid: int | None
    iova: int
    pa: int | None
    size: int
    read: bool
    write: bool
    mapped: bool
    """False: taken back."""


class Injected(NamedTuple):
    """A planned fault fired."""

    seq: int
    time: int
    unit: str
    cause: int
    name: str
    site: str
    effect: str
    text: str


class Finding(NamedTuple):
    """The checker found a defect, or has advice.

    ``story`` lists the events that led to it, in order; ``severity`` is "error", "warning" or
    "advice".
    """

    seq: int
    time: int
    unit: str
    cause: int
    name: str
    severity: str
    text: str
    rule: str
    advice: str
    stream_id: int | None
    iova: int | None
    story: tuple[int, ...]


class Note(NamedTuple):
    """Something about the run itself: "begin", "end", "reset", "dropped" ..., in words."""

    seq: int
    time: int
    unit: str
    cause: int
    name: str
    text: str


Event = (
    Origin
    | RegisterAccess
    | Command
    | Invalidation
    | ConfigInvalidation
    | AtcInvalidation
    | Sync
    | ConfigFetch
    | Walk
    | Fill
    | Evict
    | Access
    | DmaData
    | Update
    | Record
    | Interrupt
    | TableWrite
    | Mapping
    | Injected
    | Finding
    | Note
)

KINDS: dict[str, type[Event]] = {
    "origin": Origin,
    "register": RegisterAccess,
    "command": Command,
    "invalidation": Invalidation,
    "config-invalidation": ConfigInvalidation,
    "atc-invalidation": AtcInvalidation,
    "sync": Sync,
    "config-fetch": ConfigFetch,
    "walk": Walk,
    "fill": Fill,
    "evict": Evict,
    "access": Access,
    "dma": DmaData,
    "update": Update,
    "record": Record,
    "interrupt": Interrupt,
    "write": TableWrite,
    "mapping": Mapping,
    "injected": Injected,
    "finding": Finding,
    "note": Note,
}
"""Every kind of event by the word that files use."""

KIND_OF: dict[type[Event], str] = {one: kind for kind, one in KINDS.items()}
"""The word for the class of an event."""
