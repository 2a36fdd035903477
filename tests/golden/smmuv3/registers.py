# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's register file: what each offset stores, and what a read gives.

Spec: IHI 0070 6.2, 6.3. Page 1 is an alias of page 0, reserved bits are kept, and only the bases
and GERROR_IRQ_CFG0 answer 64-bit reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import low_mask

if TYPE_CHECKING:
    from .twin import Twin

IDR0, AIDR = 0x00, 0x1C
CR0, CR0ACK, CR1, CR2 = 0x20, 0x24, 0x28, 0x2C
STATUSR, GBPA = 0x40, 0x44
IRQ_CTRL, IRQ_CTRLACK = 0x50, 0x54
GERROR, GERRORN = 0x60, 0x64
GERROR_IRQ_CFG0, GERROR_IRQ_CFG1, GERROR_IRQ_CFG2 = 0x68, 0x70, 0x74
STRTAB_BASE, STRTAB_BASE_CFG = 0x80, 0x88
CMDQ_BASE, CMDQ_PROD, CMDQ_CONS = 0x90, 0x98, 0x9C
EVENTQ_BASE, EVENTQ_PROD, EVENTQ_CONS = 0xA0, 0xA8, 0xAC
EVENTQ_IRQ_CFG0 = 0xB0
PAGE1 = 0x1_0000
ID_REGISTERS = 0xFD0

_QEMU_CR0ACK = 0x5DF
_CR0ACK = 0x0D  # CMDQEN, EVENTQEN, SMMUEN
_IRQ_CTRLACK = 0x05  # EVENTQ_IRQEN, GERROR_IRQEN
_GBPA_RESET = 0x1000  # SHCFG: use incoming
_GBPA_UPDATE = 1 << 31
_ID_BYTES = (0x04, 0, 0, 0, 0x84, 0xB4, 0xF0, 0x10, 0x0D, 0xF0, 0x05, 0xB1)

_OAS_MASK = low_mask(44)
_HINT = 1 << 62  # RA, WA
_INDEX, _OVERFLOW = low_mask(20), 1 << 31
_ERR = 0x7F << 24

_DEFINED = {
    CR0: _CR0ACK,
    CR1: 0xFFF,
    CR2: 0x02,  # RECINVSID
    GBPA: 0x1F_3F1F,
    IRQ_CTRL: _IRQ_CTRLACK,
    GERROR: 0x105,  # SFM_ERR, EVENTQ_ABT_ERR, CMDQ_ERR
    GERRORN: 0x105,
    STRTAB_BASE: _HINT | _OAS_MASK & ~0x3F,
    STRTAB_BASE_CFG: 0x3_07FF,
    CMDQ_BASE: _HINT | _OAS_MASK,
    CMDQ_PROD: _INDEX,
    CMDQ_CONS: _ERR | _INDEX,
    EVENTQ_BASE: _HINT | _OAS_MASK,
    EVENTQ_PROD: _OVERFLOW | _INDEX,
    EVENTQ_CONS: _OVERFLOW | _INDEX,
}
"""Bits that exist in an SMMU with the recorded features; the others are RES0."""

_OWN_INDEX = {CMDQ_CONS: CMDQ_BASE, EVENTQ_PROD: EVENTQ_BASE}
"""Indexes that the SMMU moves, which have no bits above the wrap bit, and where their size is."""

_GUARDS = {
    CR1: 0x0D,
    CR2: 0x01,
    STRTAB_BASE: 0x01,
    STRTAB_BASE_CFG: 0x01,
    CMDQ_BASE: 0x08,
    CMDQ_CONS: 0x08,
    EVENTQ_BASE: 0x04,
    EVENTQ_PROD: 0x04,
}
"""CR0 enables that make a register read-only, or its writes unpredictable."""

_WIDE = (GERROR_IRQ_CFG0, STRTAB_BASE, CMDQ_BASE, EVENTQ_BASE)
_NARROW = (CR1, CR2, GERROR_IRQ_CFG1, GERROR_IRQ_CFG2, STRTAB_BASE_CFG)
_GERROR_CFG = range(GERROR_IRQ_CFG0, 0x78)
_ON_PAGE1 = {PAGE1 + EVENTQ_PROD, PAGE1 + EVENTQ_CONS}


class Queue:
    """A circular queue's registers. Spec: IHI 0070 3.5.1."""

    LARGEST_LG2 = 19

    def __init__(self, entry_bytes: int) -> None:
        self.entry_bytes = entry_bytes
        self.base = self.LARGEST_LG2  # as after reset, when the size is yet 1
        self.size_lg2 = 0
        self.prod = 0
        self.cons = 0

    @property
    def empty(self) -> bool:
        return not (self.prod ^ self.cons) & low_mask(self.size_lg2 + 1)

    @property
    def full(self) -> bool:
        return (self.prod ^ self.cons) & low_mask(self.size_lg2 + 1) == 1 << self.size_lg2

    def entry(self, index: int) -> int:
        """Return the address of the entry at ``index``, PROD or CONS."""
        start = self.base & low_mask(52) & ~0x3F
        return start + self.entry_bytes * (index & low_mask(self.size_lg2))


class RegisterFile:
    """Storage behind the offsets; queues and side effects belong to the twin."""

    def __init__(self, identification: tuple[int, ...]) -> None:
        self.identification = identification  # IDR0..IDR5, IIDR, AIDR
        self.stored: dict[int, int] = dict.fromkeys((CR0, IRQ_CTRL, *_WIDE, *_NARROW), 0)
        self.stored[GBPA] = _GBPA_RESET

    def __getitem__(self, offset: int) -> int:
        return self.stored[offset]


def read(twin: Twin, offset: int, size: int) -> int:
    """Return what QEMU gives for a read of ``size`` bytes."""
    _note_alias(twin, offset)
    offset &= ~PAGE1
    value = raw(twin, offset, size)
    if offset in _GERROR_CFG:
        return twin.acts("gerror-irq-cfg", value, 0)
    if offset == CR0ACK:
        return twin.acts("cr0ack", value, value & _CR0ACK)
    if offset == IRQ_CTRLACK:
        return twin.acts("irq-ctrl-ack", value, value & _IRQ_CTRLACK)
    if offset >= ID_REGISTERS:
        return twin.acts("id-bytes", value, 0)
    if offset <= AIDR:
        return value
    mask = defined(twin, offset & ~4 if offset & ~4 in _WIDE else offset)
    if size == 4 and offset & ~4 in _WIDE:
        mask >>= 8 * (offset & 4)
    return twin.acts("reserved-bits", value, value & mask)


def defined(twin: Twin, offset: int) -> int:
    """Return the bits that the register at ``offset`` has for now."""
    base = _OWN_INDEX.get(offset)
    if base is None:
        return _DEFINED.get(offset, 0)
    size_lg2 = min(_read_wide(twin, base) & 0x1F, Queue.LARGEST_LG2)
    return _DEFINED[offset] & ~_INDEX | low_mask(size_lg2 + 1)


def _note_alias(twin: Twin, offset: int) -> None:
    """Note accesses that find something only because page 1 repeats page 0."""
    if offset + PAGE1 in _ON_PAGE1 or (offset & PAGE1 and offset not in _ON_PAGE1):
        twin.note("page-alias")


def raw(twin: Twin, offset: int, size: int) -> int:
    """Return the stored value of the register at ``offset`` on page 0."""
    return _read_wide(twin, offset) if size == 8 else _read_narrow(twin, offset)


def _read_wide(twin: Twin, offset: int) -> int:
    if offset == CMDQ_BASE:
        return twin.command_queue.base
    if offset == EVENTQ_BASE:
        return twin.event_queue.base
    return twin.registers[offset] if offset in _WIDE else 0


def _read_narrow(twin: Twin, offset: int) -> int:
    registers = twin.registers
    if offset <= AIDR:
        return registers.identification[offset // 4]
    if offset in _NARROW or offset in (CR0, GBPA, IRQ_CTRL):
        return registers[offset]
    if offset & ~4 in _WIDE:
        return _read_wide(twin, offset & ~4) >> 8 * (offset & 4) & low_mask(32)
    if offset == CR0ACK:
        return registers[CR0] & _QEMU_CR0ACK
    if offset == IRQ_CTRLACK:
        return registers[IRQ_CTRL]
    if ID_REGISTERS <= offset < 0x1000:
        return _ID_BYTES[(offset - ID_REGISTERS) // 4]
    return _read_dynamic(twin, offset)


def _read_dynamic(twin: Twin, offset: int) -> int:
    return {
        GERROR: twin.gerror,
        GERRORN: twin.gerrorn,
        CMDQ_PROD: twin.command_queue.prod,
        CMDQ_CONS: twin.command_queue.cons,
        EVENTQ_PROD: twin.event_queue.prod,
        EVENTQ_CONS: twin.event_queue.cons,
    }.get(offset, 0)


def write(twin: Twin, offset: int, size: int, value: int) -> None:
    """Do what QEMU does for a write of ``size`` bytes."""
    _note_alias(twin, offset)
    offset &= ~PAGE1
    whole = offset & ~4 if offset & ~4 in _WIDE else offset
    guarded = bool(twin.registers[CR0] & _GUARDS.get(whole, 0))
    note_long_index(twin, whole)
    before = _visible(twin, whole) if guarded else 0
    if size == 8:
        if offset in _WIDE:
            _write_wide(twin, offset, value)
    elif whole in _WIDE:
        shift = 8 * (offset & 4)
        old = _read_wide(twin, whole)
        merged = old & ~(low_mask(32) << shift) | value << shift
        _write_wide(twin, whole, merged, sized=not shift)
    else:
        _write_narrow(twin, offset, value)
    note_long_index(twin, whole)
    if guarded and _visible(twin, whole) != before:
        twin.note("cr2-while-enabled" if whole == CR2 else "guarded-registers")


def _visible(twin: Twin, offset: int) -> int:
    return raw(twin, offset, 8 if offset in _WIDE else 4) & defined(twin, offset)


def note_long_index(twin: Twin, offset: int) -> None:
    """Note an index of the SMMU's that keeps bits above the wrap bit."""
    for index, base in _OWN_INDEX.items():
        if offset in (index, base) and raw(twin, index, 4) & _INDEX & ~defined(twin, index):
            twin.note("reserved-bits")


def _write_wide(twin: Twin, offset: int, value: int, sized: bool = True) -> None:
    """Store 64 bits; a write of the upper half leaves a queue's size as it was."""
    if offset in (CMDQ_BASE, EVENTQ_BASE):
        queue = twin.command_queue if offset == CMDQ_BASE else twin.event_queue
        queue.base = value
        if sized:
            queue.size_lg2 = min(value & 0x1F, Queue.LARGEST_LG2)
    else:
        twin.registers.stored[offset] = value


def _write_narrow(twin: Twin, offset: int, value: int) -> None:
    stored = twin.registers.stored
    if offset == GBPA:
        if value & _GBPA_UPDATE:
            stored[GBPA] = value & ~_GBPA_UPDATE
    elif offset == CMDQ_CONS:
        if (value ^ twin.command_queue.cons) & _ERR:
            twin.note("cons-error-code")
        twin.command_queue.cons = value
    elif offset == EVENTQ_PROD:
        twin.event_queue.prod = value
    elif offset == EVENTQ_CONS:
        twin.event_queue.cons = value
    elif offset == STRTAB_BASE_CFG:
        stored[STRTAB_BASE_CFG] = value
        if value >> 16 & 3 == 1:
            twin.two_level, twin.split = True, value >> 6 & 0x1F
    elif offset in _NARROW or offset == IRQ_CTRL:
        stored[offset] = value
    elif offset in (CR0, GERRORN, CMDQ_PROD):
        if offset == CR0:
            stored[CR0] = value
        elif offset == GERRORN:
            twin.gerrorn = value
        else:
            twin.command_queue.prod = value
        twin.consume_commands()
