# SPDX-License-Identifier: GPL-2.0-or-later
"""What a mapping means, whichever format it is written in: who may do what, on which memory.

Two descriptors with the same meaning are the same to everyone but the owner of the table, even if
they are encoded differently (a 2M block, or 512 pages). Differences are told in these words.

Spec: DDI 0487 D24.2 (MAIR_EL1), D8.6.5 and D8.6.6 (stage 2 MemAttr), G5.7.3 (TEX remap).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

READ, WRITE, EXECUTE = 1, 2, 4

SHAREABILITY = ("non-shareable", "reserved shareability", "outer-shareable", "inner-shareable")
DEVICE = ("Device-nGnRnE", "Device-nGnRE", "Device-nGRE", "Device-GRE")


class MemoryType(NamedTuple):
    """A memory type: one word for lists, the full words, and whether it is a reserved value."""

    short: str
    words: str
    reserved: bool = False

    @property
    def is_normal_cached(self) -> bool:
        """Whether shareability counts: it does for cacheable Normal memory only."""
        return not self.short.startswith(("device", "uncached"))


@dataclass(frozen=True)
class Meaning:
    """The effect of a leaf, apart from where it leads.

    `user` and `privileged` hold READ, WRITE, EXECUTE for the two levels of privilege; formats
    that do not tell them apart give both the same. `execute_words` is how the descriptor forbids
    execution. `shareability` is empty where it has no effect or does not exist. `flags` are words
    for everything else that hardware looks at; `software` are bits it does not look at.
    """

    user: int
    privileged: int
    execute_words: str
    memory: MemoryType
    shareability: str
    flags: tuple[str, ...] = ()
    software: int = 0

    @property
    def access(self) -> str:
        """Who may read and write: rw, ro, wo or none; `priv` where only privileged code may."""
        names = {0: "none", READ: "ro", WRITE: "wo", READ | WRITE: "rw"}
        user, privileged = self.user & 3, self.privileged & 3
        if user == privileged:
            return names[user]
        if not user:
            return f"{names[privileged]} priv"
        return f"{names[privileged]} priv/{names[user]} user"

    @property
    def permissions(self) -> str:
        """Access and execution, in words."""
        return f"{self.access} {self.execute_words}".rstrip()

    @property
    def attributes(self) -> str:
        """Memory type and shareability, in words."""
        return f"{self.memory.short} {self.shareability}".rstrip()

    @property
    def writable(self) -> bool:
        return bool((self.user | self.privileged) & WRITE)

    def __str__(self) -> str:
        return self.words

    @cached_property
    def words(self) -> str:
        """Everything in a few words: what differs between two meanings differs here."""
        words = [self.access, self.memory.short]
        if self.execute_words:
            words.append(self.execute_words)
        if self.shareability and self.shareability != self._usual_shareability:
            words.append(self.shareability)
        words.extend(self.flags)
        if self.software:
            words.append(f"sw={self.software:#x}")
        return " ".join(words)

    @property
    def _usual_shareability(self) -> str:
        return "inner-shareable" if self.memory.is_normal_cached else "outer-shareable"


def mair_type(attribute: int) -> MemoryType:
    """Return the memory type of one byte of MAIR_ELx."""
    outer, inner = attribute >> 4, attribute & 15
    if not outer:
        if inner & 2:
            return MemoryType("unpredictable", f"MAIR {attribute:#04x}: unpredictable", True)
        words = DEVICE[inner >> 2] + (", XS=0" if inner & 1 else "")
        return MemoryType(_device_word(inner >> 2), words)
    if attribute == 0x40:
        return MemoryType("uncached", "Normal non-cacheable, XS=0")
    if attribute == 0xA0:
        return MemoryType("write-through", "Normal write-through, XS=0")
    if attribute == 0xF0:
        return MemoryType("cached-tagged", "Normal write-back, tagged")
    if not inner:
        return MemoryType("unpredictable", f"MAIR {attribute:#04x}: unpredictable", True)
    return _normal(_cacheability(inner), _cacheability(outer), _hints(inner, outer))


def _device_word(kind: int) -> str:
    """Device-nGnRE is what almost everyone means by a device; others are named in full."""
    return "device" if kind == 1 else DEVICE[kind].replace("D", "d", 1)


def _cacheability(code: int) -> str:
    """Return the cacheability of four bits of MAIR, without allocation hints."""
    if code == 4:
        return "non-cacheable"
    return "write-back" if code & 4 else "write-through"


def _hints(inner: int, outer: int) -> str:
    """Return words for allocation hints that are not the usual allocate-always."""
    words = []
    for name, code in (("inner", inner), ("outer", outer)):
        if code == 4:
            continue
        if not code & 8:
            words.append(f"{name} transient")
        if code & 3 != 3:
            kind = ("no", "write", "read")[code & 3]
            words.append(f"{name} {kind}-allocate")
    return "".join(f", {word}" for word in words)


def _normal(inner: str, outer: str, hints: str = "") -> MemoryType:
    shorts = {"write-back": "cached", "write-through": "write-through", "non-cacheable": "uncached"}
    if inner == outer:
        return MemoryType(shorts[inner], f"Normal {inner}{hints}")
    short = f"inner-{shorts[inner]}/outer-{shorts[outer]}"
    return MemoryType(short, f"Normal inner {inner}, outer {outer}{hints}")


def stage_2_type(attribute: int, forced: bool) -> MemoryType:
    """Return the memory type of MemAttr[3:0]; `forced`: FEAT_S2FWB is in use."""
    if forced:
        return _forced_type(attribute)
    if attribute < 4:
        return MemoryType(_device_word(attribute), DEVICE[attribute])
    if attribute in (4, 8, 12):
        return MemoryType("reserved", f"MemAttr {attribute:#x}: reserved", True)
    names = ("", "non-cacheable", "write-through", "write-back")
    return _normal(names[attribute & 3], names[attribute >> 2])


def _forced_type(attribute: int) -> MemoryType:
    if attribute & 8 or attribute == 4:
        return MemoryType("reserved", f"MemAttr {attribute:#x}: reserved with FWB", True)
    if attribute < 4:
        return MemoryType(_device_word(attribute), DEVICE[attribute])
    if attribute == 5:
        return MemoryType("uncached", "Normal non-cacheable (a device of stage 1 stays one)")
    if attribute == 6:
        return MemoryType("cached", "Normal write-back, whatever stage 1 says")
    return MemoryType("as-stage-1", "the memory type of stage 1")


def remapped_type(index: int, prrr: int, nmrr: int) -> MemoryType:
    """Return the memory type that PRRR and NMRR give to an index made of TEX[0], C, B."""
    if index == 6:
        return MemoryType("impl-defined", "implementation defined")
    kind = prrr >> 2 * index & 3
    if kind < 2:
        return MemoryType(_device_word(kind), DEVICE[kind])
    if kind == 3:
        return MemoryType("reserved", f"PRRR.TR{index}: reserved", True)
    names = ("non-cacheable", "write-back", "write-through", "write-back")
    inner, outer = nmrr >> 2 * index & 3, nmrr >> 16 + 2 * index & 3
    no_write = ", no write-allocate" if 3 in (inner, outer) else ""
    return _normal(names[inner], names[outer], no_write)
