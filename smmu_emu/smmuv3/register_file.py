# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers of one SMMUv3: their values, and who may change which bits when.

Spec: IHI 0070 6.2 (access sizes, guards), 6.3 (each register). `RegisterFile.values` is the only
place where register state lives. Where the architecture leaves a choice this model takes the
strictest one: illegal accesses and accesses to nothing are RAZ/WI, writes to guarded registers are
ignored in every version, and the page-0 twins of page-1 registers do not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from smmu_emu.bits import Word
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.smmuv3.ids import IdRegisters
from smmu_emu.smmuv3.spec.registers import (
    CR0,
    CR1,
    CR2,
    GBPA,
    GERROR,
    IRQ_CFG0,
    IRQ_CFG2,
    IRQ_CTRL,
    QUEUE_BASE,
    REGISTERS,
    STRTAB_BASE,
    STRTAB_BASE_CFG,
    Register,
)

RESET_GBPA = GBPA.make(SHCFG=1).value
"""Incoming attributes pass unchanged; an implementation's choice (6.3.14), the same as QEMU's."""

_INDEX = 0xFFFFF
_OVERFLOW = 1 << 31
_SMMUEN, _PRIQEN, _EVENTQEN, _CMDQEN = 1, 2, 4, 8


class _Part(NamedTuple):
    """What one aligned access of 4 or 8 bytes reaches: a register or one half of it."""

    name: str
    shift: int
    mask: int


class RegisterFile:
    """Register values and access rules.

    ``written`` holds what a write sets off, by register name: it is called after the value changed,
    with the value before. Registers that need more than that (CR0, GBPA ...) are named in
    ``intercept``: their function gets the new value and stores what it thinks right. ``report``
    hears of accesses that reach no register.
    """

    def __init__(self, ids: IdRegisters, report: Report = ignore) -> None:
        self.ids = ids
        self.report = report
        self.values: dict[str, int] = {}
        self.intercept: dict[str, Callable[[int], None]] = {}
        self.written: dict[str, Callable[[int], None]] = {}
        self._writable = _writable_masks(ids)
        self._parts = _all_parts()
        self.reset()

    def reset(self) -> None:
        """Power-on values; fields that reset to UNKNOWN read as zero. Spec: 6.3, 3.11."""
        self.values = dict.fromkeys(REGISTERS, 0)
        for number in range(6):
            self.values[f"IDR{number}"] = getattr(self.ids, f"idr{number}")
        self.values["IIDR"] = self.ids.iidr
        self.values["AIDR"] = self.ids.aidr
        self.values["GBPA"] = RESET_GBPA

    def read(self, offset: int, size: int) -> int:
        """What a read of ``size`` bytes at ``offset`` gives; 0 where it is illegal."""
        part = self._parts.get((offset, size))
        if part is None:
            self.report(offset, f"read of {size} bytes")
            return 0
        return self.values[part.name] >> part.shift & part.mask

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software; ignored where it is illegal, guarded, or the register read-only."""
        part = self._parts.get((offset, size))
        if part is None:
            self.report(offset, f"write of {size} bytes")
            return
        name, shift, mask = part
        writable = self._writable.get(name, 0) & mask << shift & ~self._guarded(name)
        old = self.values[name]
        new = old & ~writable | value << shift & writable
        intercept = self.intercept.get(name)
        if intercept is not None:
            intercept(new)
            return
        self.values[name] = new
        if (written := self.written.get(name)) is not None:
            written(old)

    def _guarded(self, name: str) -> int:
        """Bits of a register that are read-only for now because something is enabled."""
        enables = self.values["CR0"] | self.values["CR0ACK"]
        if name == "CR1":
            guarded = CR1.mask("TABLE_IC", "TABLE_OC", "TABLE_SH") if enables & _SMMUEN else 0
            if enables & (_PRIQEN | _EVENTQEN | _CMDQEN):
                guarded |= CR1.mask("QUEUE_IC", "QUEUE_OC", "QUEUE_SH")
            return guarded
        irq_enables = self.values["IRQ_CTRL"] | self.values["IRQ_CTRLACK"]
        if irq_enables & _IRQ_GUARDS.get(name, 0):
            return -1
        return -1 if enables & _GUARDS.get(name, 0) else 0


_GUARDS = {
    "CR2": _SMMUEN,
    "STRTAB_BASE": _SMMUEN,
    "STRTAB_BASE_CFG": _SMMUEN,
    "CMDQ_BASE": _CMDQEN,
    "CMDQ_CONS": _CMDQEN,
    "EVENTQ_BASE": _EVENTQEN,
    "EVENTQ_PROD": _EVENTQEN,
    "PRIQ_BASE": _PRIQEN,
    "PRIQ_PROD": _PRIQEN,
}
"""CR0 enables that make a register read-only while set or not yet acknowledged as clear."""

_IRQ_GUARDS = {
    f"{source}_IRQ_CFG{number}": IRQ_CTRL.mask(f"{source}_IRQEN")
    for source in ("GERROR", "EVENTQ", "PRIQ")
    for number in range(3)
}
"""IRQ_CTRL enables that do the same. Spec: 6.3.16."""


def _parts_of(register: Register) -> list[tuple[int, int, _Part]]:
    """(offset in the register, access size, part) of each legal access to it."""
    low = _Part(register.name, 0, 0xFFFF_FFFF)
    if register.size == 4:
        return [(0, 4, low)]
    whole = _Part(register.name, 0, (1 << 64) - 1)
    return [(0, 4, low), (4, 4, _Part(register.name, 32, 0xFFFF_FFFF)), (0, 8, whole)]


@cache
def _all_parts() -> dict[tuple[int, int], _Part]:
    """What each legal access reaches, by its offset and size; shared and never changed."""
    return {
        (register.offset + delta, size): part
        for register in REGISTERS.values()
        for delta, size, part in _parts_of(register)
    }


@cache
def _writable_masks(ids: IdRegisters) -> dict[str, int]:
    """Bits that exist and that software may write, by register; the others read as they are.

    Shared by all units with these ID registers, and never changed.
    """
    has = ids.features
    address = (1 << ids.output_bits) - 1
    queue_base = (QUEUE_BASE.mask("ADDR") & address) | QUEUE_BASE.mask("LOG2SIZE", "HINT")
    strtab = (STRTAB_BASE.mask("ADDR") & address) | STRTAB_BASE.mask("RA")
    strtab_cfg = STRTAB_BASE_CFG.mask()
    if not has.ST_LEVEL:
        strtab_cfg = STRTAB_BASE_CFG.mask("LOG2SIZE")
    masks = {
        "CR0": _existing(CR0, SMMUEN=1, EVENTQEN=1, CMDQEN=1, PRIQEN=has.PRI, ATSCHK=has.ATS),
        "CR1": CR1.mask(),
        "CR2": _existing(CR2, RECINVSID=1, E2H=has.Hyp, REC_CFG_ATS=has.ATSRECERR),
        "GBPA": GBPA.mask(),
        "IRQ_CTRL": _existing(IRQ_CTRL, GERROR_IRQEN=1, EVENTQ_IRQEN=1, PRIQ_IRQEN=has.PRI),
        "GERRORN": _error_mask(ids),
        "STRTAB_BASE": strtab,
        "STRTAB_BASE_CFG": strtab_cfg,
        "CMDQ_BASE": queue_base,
        "CMDQ_PROD": _INDEX,
        "CMDQ_CONS": _INDEX,
    }
    for queue in ("EVENTQ", "PRIQ") if has.PRI else ("EVENTQ",):
        masks[f"{queue}_BASE"] = queue_base
        masks[f"{queue}_PROD"] = masks[f"{queue}_CONS"] = _INDEX | _OVERFLOW
    for source in _message_sources(ids):
        masks[f"{source}_IRQ_CFG0"] = IRQ_CFG0.mask("ADDR") & address
        masks[f"{source}_IRQ_CFG1"] = 0xFFFF_FFFF
        masks[f"{source}_IRQ_CFG2"] = _existing(IRQ_CFG2, MEMATTR=1, SH=1, LO=source == "PRIQ")
    return masks


def _existing(word: type[Word], **fields: int) -> int:
    """Mask of the fields whose number is not 0."""
    return sum(word.mask(name) for name, exists in fields.items() if exists)


def _message_sources(ids: IdRegisters) -> tuple[str, ...]:
    """Sources of messages that are configured by registers."""
    if not ids.features.MSI:
        return ()
    return ("GERROR", "EVENTQ", "PRIQ") if ids.features.PRI else ("GERROR", "EVENTQ")


def _error_mask(ids: IdRegisters) -> int:
    has = ids.features
    messages = {f"MSI_{source}_ABT_ERR": 1 for source in _message_sources(ids)}
    return _existing(
        GERROR,
        CMDQ_ERR=1,
        EVENTQ_ABT_ERR=1,
        SFM_ERR=1,
        PRIQ_ABT_ERR=has.PRI,
        MSI_CMDQ_ABT_ERR=has.MSI,
        **messages,
    )
