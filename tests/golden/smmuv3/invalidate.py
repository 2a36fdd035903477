# SPDX-License-Identifier: GPL-2.0-or-later
"""TLB invalidation, QEMU's way, beside what the architecture wants gone.

Spec: IHI 0070 4.4; DDI 0487 D8.17 (blocks broken up, global entries, tags).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .fields import MASK64, Command, level_shift, low_mask
from .tlb import Entry, Key

if TYPE_CHECKING:
    from .twin import Twin

TLBI_NH_ALL, TLBI_NH_ASID, TLBI_NH_VA, TLBI_NH_VAA = 0x10, 0x11, 0x12, 0x13
TLBI_S12_VMALL, TLBI_S2_IPA, TLBI_NSNH_ALL = 0x28, 0x2A, 0x30

Matches = Callable[[Key, Entry], bool]


def invalidate(twin: Twin, command: Command) -> None:
    """Drop what QEMU drops; what should be gone and is not bears a name from now on."""
    must_go = twin.tlb.select(_architecture(twin, command))
    twin.result.dropped_entries.update(must_go)
    vmid = command.vmid if twin.has_stage2 else -1
    everything = _everything(command, vmid)
    if everything is None:
        _drop_range(twin, command, vmid)
    else:
        twin.tlb.remove(twin.tlb.select(everything))
    for key in must_go:
        entry = twin.tlb.entries.get(key)
        if entry is not None:
            entry.names |= {"short-invalidation"}
            twin.tlb.changes += 1


# What the architecture wants


def _architecture(twin: Twin, command: Command) -> Matches:
    """Return which entries have to go."""
    opcode = command.opcode

    def must_go(key: Key, entry: Entry) -> bool:
        asid, vmid = key[:2]
        if opcode == TLBI_NSNH_ALL:
            return True
        if twin.has_stage2 and vmid != command.vmid:
            return False
        if opcode == TLBI_S12_VMALL:
            return True
        if (asid < 0) != (opcode == TLBI_S2_IPA):
            return False
        if opcode == TLBI_NH_ASID:
            return asid == command.asid and entry.not_global
        if opcode == TLBI_NH_VA and asid != command.asid and entry.not_global:
            return False
        return opcode == TLBI_NH_ALL or _reaches(command, entry)

    return must_go


def _reaches(command: Command, entry: Entry) -> bool:
    """Say whether the addresses of a command touch the leaf that ``entry`` comes from."""
    first, last = command.address, command.address + 0xFFF
    if command.tg:
        granule = 10 + 2 * command.tg
        ttl = 0 if granule == 14 and command.ttl == 1 else command.ttl
        if entry.leaf[0] != granule or (ttl and entry.leaf[1] != ttl):
            return False
        if command.address & low_mask(level_shift(ttl or 3, granule)):
            return False  # misaligned: what is reached is unpredictable
        last = first + ((command.num + 1 << command.scale) << granule) - 1
    start = entry.canonical & ~entry.leaf_mask
    return start <= last and first <= start + entry.leaf_mask


# What QEMU does


def _everything(command: Command, vmid: int) -> Matches | None:
    """Return which entries a command without addresses drops."""
    opcode = command.opcode
    if opcode == TLBI_NSNH_ALL or (opcode == TLBI_NH_ALL and vmid < 0):
        return lambda key, entry: True
    if opcode == TLBI_NH_ALL:
        return lambda key, entry: key[0] >= 0 and key[1] == vmid
    if opcode == TLBI_NH_ASID:
        return lambda key, entry: key[:2] == (command.asid, vmid)
    if opcode == TLBI_S12_VMALL:
        return lambda key, entry: key[1] == vmid
    return None


def _drop_range(twin: Twin, command: Command, vmid: int) -> None:
    """Split the range in aligned powers of two and drop what each piece touches."""
    if not command.tg:
        _drop_piece(twin, command, vmid, command.address, 1)
        return
    granule = 10 + 2 * command.tg
    start = command.address
    length = (command.num + 1 << command.scale) << granule
    while length:
        alignment = start & -start if start else 1 << 64
        size = min(alignment, 1 << length.bit_length() - 1)
        _drop_piece(twin, command, vmid, start, size >> granule)
        start, length = start + size & MASK64, length - size


def _drop_piece(twin: Twin, command: Command, vmid: int, start: int, pages: int) -> None:
    stage2 = command.opcode == TLBI_S2_IPA
    asid = command.asid if command.opcode == TLBI_NH_VA else -1
    granule = 10 + 2 * command.tg if command.tg else 12
    if command.ttl and command.tg and pages == 1 and (stage2 or asid >= 0):
        key = (asid, vmid, start, granule, command.ttl)
        if key in twin.tlb.entries:
            twin.tlb.remove([key])
            return
    # A piece smaller than its granule counts as no page, and its mask as the whole address.
    mask = (pages << granule) - 1 & MASK64

    def touches(key: Key, entry: Entry) -> bool:
        if stage2:
            chosen = key[0] < 0 and key[1] == vmid
        else:
            chosen = asid in (-1, key[0]) and vmid in (-1, key[1])
        covered = start & ~entry.mask == entry.iova
        return chosen and (covered or entry.iova & ~mask == start)

    twin.tlb.remove(twin.tlb.select(touches))
